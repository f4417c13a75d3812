//! Packages indexes: small ones in detail, and by hand the real one of this machine's apt.

use patchport_packages::apt::{Entry, Index};
use proptest::prelude::*;

const LIMIT: u64 = 1 << 30;

fn index(text: &str) -> Index {
    Index::parse(text.as_bytes(), LIMIT).unwrap()
}

fn stanza(name: &str, version: &str, more: &str) -> String {
    let digest = "ab".repeat(32);
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\n{more}Filename: pool/{name}_{version}_amd64.deb\n\
         Size: 12\nSHA256: {digest}\n\n"
    )
}

#[test]
fn fields() {
    let text = stanza(
        "b",
        "2:1.0-1",
        "Source: src (0.9)\nDepends: a (>= 1),\n c | d\nDescription: long\n text: here\nMulti-Arch: same\nPhased-Update-Percentage: 20\n",
    );
    let index = index(&(text + &stanza("a", "1", "")));
    let all: Vec<Entry<'_>> = index.entries().collect();
    assert_eq!(all.len(), 2);
    assert_eq!((all[0].name, all[0].source, all[0].source_version), ("a", "a", "1"));
    let b = &all[1];
    assert_eq!(
        (b.name, b.version, b.source, b.source_version),
        ("b", "2:1.0-1", "src", "0.9")
    );
    assert_eq!(
        (b.depends, b.phased, b.size, b.sha256),
        ("a (>= 1), c | d", 20, 12, [0xab; 32])
    );
    assert_eq!(b.filename(), "pool/b_2:1.0-1_amd64.deb");
    assert_eq!(all[0].filename(), "pool/a_1_amd64.deb");
    assert_eq!(index.versions("b").count(), 1);
    assert_eq!(index.versions("c").count(), 0);
}

#[test]
fn what_is_left_out_and_what_is_refused() {
    let bad = stanza("a", "1", "").replace("Size: 12", "Size: many");
    let text = bad + &stanza("-a", "1", "") + &stanza("a", "v 1", "") + &stanza("good", "1", "");
    let outside = stanza("out", "1", "").replace("pool/", "../");
    let found = index(&(text + &outside));
    assert_eq!((found.len(), found.skipped()), (1, 4));
    assert!(Index::parse(&b"no field\n"[..], LIMIT).is_err());
    assert!(Index::parse(stanza("a", "1", "").as_bytes(), 20).is_err());
    let long = format!("Package: {}\n", "a".repeat(2 << 20));
    assert!(Index::parse(long.as_bytes(), LIMIT).is_err());
}

proptest! {
    #[test]
    fn never_panics(text in "(Package: a\n|Version: 1\n|Architecture: all\n|Size: 1\n|Filename: [./a]{1,5}\n|Depends: [\\x00-\\x7f]{0,9}\n|\n|[ :ü\t]){0,60}") {
        if let Ok(index) = Index::parse(text.as_bytes(), LIMIT) {
            index.entries().for_each(|entry| drop(entry.filename()));
        }
    }
}
