//! rpm's databases and manifest, and the indexes of its repositories.

use patchport_packages::rpm::metadata::{Metalink, Repomd, mirror_list};
use patchport_packages::rpm::{self, Configuration, Index, Visible};

use crate::assert_storable;
use crate::bundle::parts;

/// A database of any of the three kinds: what comes out is not more than what went in.
pub(crate) fn database(input: &[u8]) {
    if let Ok(packages) = rpm::read_database("Packages", input) {
        let _ = rpm::release(&packages);
        let length: usize = packages.iter().map(|package| package.name.len()).sum();
        assert!(length <= input.len());
        let again = rpm::read_database("Packages", input).expect("it could be read before");
        assert_eq!(format!("{packages:?}"), format!("{again:?}"));
    }
}

/// The manifest of distroless images.
pub(crate) fn manifest(input: &[u8]) {
    let Ok(packages) = rpm::read_manifest("manifest", input) else {
        return;
    };
    let lines = input.split(|byte| *byte == b'\n').count();
    assert!(packages.len() <= lines);
}

/// `primary.xml`, and `updateinfo.xml` in a second part.
pub(crate) fn packages(input: &[u8]) {
    let parts = parts(input);
    let mut parts = parts.iter().map(|(_, content)| *content);
    let primary = parts.next().unwrap_or_default();
    let Ok(mut index) = Index::read("primary.xml", primary) else {
        return;
    };
    let advised = parts.next().map(|part| index.add_advisories("updateinfo.xml", part));
    assert_eq!(index.is_advised(), advised.is_some());
    let visible = Visible::new(&Configuration::default(), None);
    for word in primary.split(|byte| b"<>\"'".contains(byte)).take(200) {
        let name = String::from_utf8_lossy(word);
        let offered = index.of(&name);
        assert!(offered.map(|package| package.name).all(|found| found == name));
        let candidate = index.candidate(&name, "x86_64", &visible);
        let Some(candidate) = candidate else { continue };
        let same = index.of(&name).filter(|other| visible.shows(other));
        let newer = same.filter(|other| other.architecture == "x86_64" && other.version > candidate.version);
        assert_eq!(newer.count(), 0, "the candidate is the newest");
        let _ = index.advisories(&name, "x86_64").count();
    }
}

/// `repomd.xml`, a metalink, and a list of mirrors: an input is tried as each.
pub(crate) fn repository(input: &[u8]) {
    if let Ok(repomd) = Repomd::parse("repomd.xml", input) {
        assert!(repomd.primary().is_some());
        let _ = (repomd.updateinfo(), repomd.modules());
        let again = Repomd::parse("repomd.xml", input).expect("it could be read before");
        assert_eq!(format!("{repomd:?}"), format!("{again:?}"));
    }
    if let Ok(metalink) = Metalink::parse("metalink", input) {
        assert!(!metalink.mirrors.is_empty());
        assert!(
            metalink
                .mirrors
                .is_sorted_by_key(|mirror| std::cmp::Reverse(mirror.preference))
        );
        assert_storable(&metalink);
    }
    let mirrors = mirror_list(input);
    assert_eq!(mirrors, mirror_list(mirrors.join("\n").as_bytes()));
}

/// A package file, up to its payload: what comes out is not more than what went in.
pub(crate) fn file(input: &[u8]) {
    let Ok(head) = rpm::Head::read(&mut &input[..]) else {
        return;
    };
    let lengths = head.entries.iter().map(|entry| entry.digest.len() + entry.link.len());
    // Both may be the same bytes.
    assert!(lengths.sum::<usize>() <= 2 * input.len());
    assert!(head.package.name.len() <= input.len());
    let again = rpm::Head::read(&mut &input[..]).expect("it could be read before");
    assert_eq!(format!("{head:?}"), format!("{again:?}"));
}
