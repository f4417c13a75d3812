//! Versions of the four families: each line of an input is one, and their order is one.

use std::cmp::Ordering;

use patchport_packages::{Family, Version};

use crate::assert_storable;

const FAMILIES: [Family; 4] = [Family::Deb, Family::Apk, Family::Rpm, Family::Pacman];

/// The most lines that are looked at: all are compared with all.
const MAX_LINES: usize = 8;

/// The order of versions must be an order, and what is equal must be equal to the same.
pub(crate) fn versions(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for family in FAMILIES {
        let lines = text.split('\n').take(MAX_LINES);
        let versions: Vec<Version> = lines.filter_map(|line| Version::parse(family, line).ok()).collect();
        versions.iter().for_each(assert_version);
        for one in &versions {
            for other in &versions {
                assert_eq!(
                    one.cmp(other),
                    other.cmp(one).reverse(),
                    "{one} and {other} of {family:?}"
                );
                assert_eq!(one == other, one.cmp(other) == Ordering::Equal);
                versions.iter().for_each(|third| assert_transitive(one, other, third));
            }
        }
    }
}

fn assert_version(version: &Version) {
    assert_storable(version);
    assert_eq!(version.cmp(version), Ordering::Equal);
    let again = Version::parse(version.family(), version.as_str()).expect("a version that was read");
    assert_eq!(again.as_str(), version.as_str());
    assert!(version.as_str().contains(version.upstream()));
    let release = version.release().unwrap_or_default();
    assert!(version.as_str().ends_with(release));
    let _ = version.epoch();
}

/// Pacman's own order is none: a release counts only where both have one, so `2-1` and `2-2` both equal `2`.
fn assert_transitive(one: &Version, other: &Version, third: &Version) {
    if one.family() == Family::Pacman {
        return;
    }
    if one <= other && other <= third {
        assert!(one <= third, "{one} <= {other} <= {third}, of {:?}", one.family());
    }
}
