//! What scanners say about an image, and the advisories that say it without one.

use patchport_oci::{Digest, Platform};
use patchport_packages::osv::{Limits, Loader, read_archive};
use patchport_packages::report::{Binding, Required, parse};
use patchport_packages::{Findings, Inventory};

use crate::documents::assert_documents;
use crate::image::samples;

/// A report of any scanner about one image: what it finds is about packages that the image has.
pub(crate) fn report(input: &[u8]) {
    for inventory in samples() {
        let digest = Digest::of(b"image");
        let mut expected = Binding {
            manifests: vec![digest.clone()],
            config: Digest::of(b"config"),
            indexes: vec![Digest::of(b"index")],
            diff_ids: vec![Digest::of(b"layer")],
            platform: Platform::new("linux", "amd64", ""),
            inventory: &inventory,
            required: Required::Distribution,
        };
        let Ok(findings) = parse(input, &expected) else {
            continue;
        };
        assert_findings(&inventory, &findings);
        expected.required = Required::Image;
        let strict = parse(input, &expected);
        assert!(strict.is_err() || strict.is_ok_and(|strict| strict == findings));
    }
}

/// An archive of advisories.
pub(crate) fn osv_archive(input: &[u8]) {
    let mut loader = Loader::new(limits());
    let result = read_archive(input, &mut loader);
    let database = loader.finish();
    assert!(result.is_err() || database.len() as u64 <= limits().records);
}

/// One advisory, and what it says of images.
pub(crate) fn osv_record(input: &[u8]) {
    let mut loader = Loader::new(limits());
    if loader.add("record.json", input).is_err() {
        return;
    }
    let database = loader.finish();
    assert!(database.len() <= 1);
    for inventory in samples() {
        if let Ok(findings) = database.scan(&inventory) {
            assert!(database.covers(&inventory.os));
            assert_findings(&inventory, &findings);
        }
    }
}

fn limits() -> Limits {
    Limits {
        record_bytes: 1 << 20,
        records: 1000,
        kept_bytes: 16 << 20,
    }
}

fn assert_findings(inventory: &Inventory, findings: &Findings) {
    crate::assert_storable(findings);
    for finding in &findings.findings {
        let is = inventory.packages.iter().any(|package| {
            package.name == finding.package
                && package.architecture == finding.architecture
                && package.version == finding.installed
        });
        assert!(is, "{} is not installed", finding.package);
        if let Some(fixed) = &finding.fixed {
            assert!(*fixed > finding.installed, "{} is fixed already", finding.package);
        }
    }
    assert_documents(inventory, &[], Some(findings), &findings.notes);
}
