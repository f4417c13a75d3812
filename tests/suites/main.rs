//! The black-box suites: the real binary between a registry that obeys the test and real clients. One binary,
//! one module per subject; a test's name says what is promised.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod bytes;
mod configuration;
mod fills;
mod names;
mod offline;
mod policy;
mod promise;
mod protocol;
mod ranges;
mod scene;
mod secrets;
mod upstreams;
