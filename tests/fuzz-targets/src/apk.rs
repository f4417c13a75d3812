//! apk's database, and the indexes of its repositories in both formats.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use patchport_packages::apk::{self, Index, Keys};

use crate::assert_storable;
use crate::bundle::tars;

/// Room for what an index unpacks to.
const LIMIT: u64 = 4 << 20;

/// `lib/apk/db/installed`: what was read, written again, is read as the same.
pub(crate) fn installed(input: &[u8]) {
    let Ok(packages) = apk::read("installed", input, apk::DEFAULT_LIMIT) else {
        return;
    };
    assert_storable(&packages);
    let written: String = packages.iter().map(record).collect();
    let again = apk::read("installed", written.as_bytes(), apk::DEFAULT_LIMIT);
    assert_eq!(packages, again.expect("what was read, written again"));
}

fn record(package: &apk::Package) -> String {
    let tag = package.tag.as_ref().map(|tag| format!("s:{tag}\n")).unwrap_or_default();
    let broken = if package.broken { "f:f\n" } else { "" };
    format!(
        "P:{}\nV:{}\nA:{}\no:{}\n{tag}{broken}\n",
        package.name, package.version, package.architecture, package.origin
    )
}

/// An index as it comes: of apk 3, or of apk 2 with its compression.
pub(crate) fn index(input: &[u8]) {
    assert_index(input);
}

/// An index of apk 2, whose files a bundle describes; the compression, which no fuzzer gets right, is put around them.
pub(crate) fn listing(input: &[u8]) {
    let mut bytes = Vec::new();
    // A signature and the rest are packed one after the other, and both are tars.
    for tar in tars(input) {
        let mut packer = GzEncoder::new(&mut bytes, Compression::fast());
        packer.write_all(&tar).expect("it can be packed");
        packer.finish().expect("it can be packed");
    }
    assert_index(&bytes);
}

fn assert_index(bytes: &[u8]) {
    let trusted = Index::read("index", bytes, &Keys::default(), LIMIT);
    assert!(trusted.is_err(), "nobody is trusted, so nothing is");
    let Ok(index) = Index::unverified("index", bytes, LIMIT) else {
        return;
    };
    assert_eq!(index.offers().count(), index.len());
    assert!(index.memory() as u64 <= 64 * LIMIT);
    let mut last = "";
    for offer in index.offers() {
        assert!(last <= offer.name, "offers are ordered by name");
        last = offer.name;
    }
    for offer in index.offers().take(100) {
        assert!(index.find(offer.name).any(|found| found == offer));
    }
}
