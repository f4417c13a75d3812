//! The indexes of apt's repositories, and what they are compressed with.

use std::io::{BufReader, Read as _};

use patchport_packages::apt::{Index, Release, decompress as unpack};

/// Room for what an index unpacks to.
const LIMIT: u64 = 1 << 20;

/// An index in any compression: what comes out is no more than allowed.
pub(crate) fn decompress(input: &[u8]) {
    for path in [
        "main/Packages",
        "main/Packages.xz",
        "main/Packages.gz",
        "main/Packages.zst",
    ] {
        let Ok(reader) = unpack(path, input, LIMIT) else {
            continue;
        };
        let mut unpacked = Vec::new();
        let result = BufReader::new(reader).read_to_end(&mut unpacked);
        assert!(unpacked.len() as u64 <= LIMIT);
        if result.is_ok() {
            let limit = unpacked.len() as u64;
            let mut again = Vec::new();
            let reader = unpack(path, input, limit).expect("it could be unpacked before");
            BufReader::new(reader)
                .read_to_end(&mut again)
                .expect("so much is allowed");
            assert!(unpacked == again);
        }
    }
}

/// `Packages`.
pub(crate) fn packages(input: &[u8]) {
    let Ok(index) = Index::parse(input, LIMIT) else { return };
    assert_eq!(index.entries().count(), index.len());
    assert_eq!(index.is_empty(), index.entries().next().is_none());
    assert!(index.kept_bytes() <= 64 * input.len() + (64 << 10));
    let mut last = "";
    for entry in index.entries() {
        assert!(last <= entry.name, "packages are ordered by name");
        last = entry.name;
        assert!(entry.parsed().is_some(), "{} has a version", entry.name);
        assert!(entry.phased <= 100);
        let _ = entry.filename();
    }
    for entry in index.entries().take(100) {
        let mut versions = index.versions(entry.name);
        assert!(versions.any(|found| found.version == entry.version && found.architecture == entry.architecture));
    }
    let short = (input.len() as u64)
        .checked_sub(1)
        .map(|limit| Index::parse(input, limit));
    assert!(!matches!(short, Some(Ok(_))), "a limit is kept");
}

/// `Release`.
pub(crate) fn release(input: &[u8]) {
    let Ok(release) = Release::parse(input) else { return };
    assert_eq!(Some(&release), Release::parse(input).ok().as_ref());
    for component in &release.components {
        for architecture in &release.architectures {
            let path = format!("{component}/binary-{architecture}/Packages");
            let files = release.files(&path);
            assert!(files.iter().all(|file| file.path.starts_with(&path)));
            assert!(files.is_sorted_by_key(|file| file.size));
        }
    }
}
