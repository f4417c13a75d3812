//! What is tried on every parser with any input: it must not panic, and what it promises must hold.
//! `tests/fuzz` feeds these functions with what libFuzzer makes up; the test of this crate with the inputs that are kept in
//! `tests/fuzz/corpus` and `tests/fuzz/regressions`. A target fails by panicking.

#![expect(clippy::expect_used, reason = "a target that panics is a finding")]

mod apk;
mod apt;
mod bundle;
mod databases;
mod documents;
mod image;
mod layers;
mod oci;
mod packages;
mod rpm;
mod scanners;
mod signatures;
mod versions;

/// One target: what is tried with an input.
pub type Target = fn(&[u8]);

/// Every target by its name, which its folder of inputs and its fuzzer have too.
pub const TARGETS: &[(&str, Target)] = &[
    ("apk_index", apk::index),
    ("apk_installed", apk::installed),
    ("apk_listing", apk::listing),
    ("apk_package", packages::apk_package),
    ("apt_decompress", apt::decompress),
    ("apt_packages", apt::packages),
    ("apt_release", apt::release),
    ("deb", packages::deb),
    ("direct", packages::direct),
    ("direct_apk", packages::direct_apk),
    ("dpkg", databases::dpkg),
    ("image", image::image),
    ("layer", layers::layer),
    ("layer_changes", layers::changes),
    ("layer_stored", layers::stored),
    ("oci_manifest", oci::manifest),
    ("oci_names", oci::names),
    ("openpgp", signatures::openpgp),
    ("os_release", databases::os_release),
    ("osv_archive", scanners::osv_archive),
    ("osv_record", scanners::osv_record),
    ("pacman", databases::pacman),
    ("pacman_index", databases::pacman_index),
    ("report", scanners::report),
    ("rpm_database", rpm::database),
    ("rpm_file", rpm::file),
    ("rpm_manifest", rpm::manifest),
    ("rpm_packages", rpm::packages),
    ("rpm_repository", rpm::repository),
    ("versions", versions::versions),
];

/// Runs the target of a name.
///
/// # Panics
/// If there is none, or as a finding.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = target.expect("a target of that name");
    target(input);
}

/// Asserts that a value survives being stored, as inventories and configurations are.
fn assert_storable<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let stored = serde_json::to_vec(value).expect("it can be stored");
    let read: T = serde_json::from_slice(&stored).expect("what was stored can be read");
    assert_eq!(*value, read);
    assert_eq!(stored, serde_json::to_vec(&read).expect("it can be stored"));
}
