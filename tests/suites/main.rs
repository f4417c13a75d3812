//! The black-box suites: the real binary between a registry that obeys the test and real clients. One binary,
//! one module per subject; a test's name says what is promised.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and starts tasks and processes of its own; a table of cases is read whole"
)]

mod buildkits;
mod bytes;
mod clients;
mod command_scene;
mod configuration;
mod conformance;
mod distroless;
mod fills;
mod names;
mod offline;
mod patch_answers;
mod patch_apk;
mod patch_apk_files;
mod patch_bulk;
mod patch_command;
mod patch_failures;
mod patch_helper;
mod patch_packages;
mod patch_pacman;
mod patch_push;
mod patch_reports;
mod patch_repositories;
mod patch_rpm;
mod patch_scene;
mod patched_image;
mod peer_faults;
mod policy;
mod promise;
mod protocol;
mod ranges;
mod referrers;
mod rpm_manifest;
mod scan_command;
mod scan_indexes;
mod scan_inventories;
mod scan_rpm;
mod scan_scene;
mod scan_trivy;
mod scan_updates;
mod scene;
mod secrets;
mod source_policies;
mod tags;
mod testbed_images;
mod upstreams;
mod workers;
