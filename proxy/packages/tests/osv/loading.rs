//! Loading advisories: what cannot be read, limits, archives, and hostile bytes.

use std::io::Write as _;

use patchport_packages::Family;
use patchport_packages::osv::{Error, Limits, Loader, read_archive};
use proptest::prelude::any;
use proptest::{collection, proptest, sample};
use serde_json::{Value, json};

use crate::fixtures::{affected, debian, load, record};

#[test]
fn what_cannot_be_read_is_told() {
    let mut loader = Loader::new(Limits::default());
    loader.add("broken.json", b"{").unwrap();
    loader.add("README.md", b"{").unwrap();
    let odd = record(
        "A-1",
        json!([affected(
            "Debian:12",
            "openssl",
            json!([{"introduced": "0"}, {"fixed": "1;rm"}])
        )]),
    );
    loader.add("odd\n.json", odd.to_string().as_bytes()).unwrap();
    let right = record(
        "A-2",
        json!([affected("Debian:12", "openssl", json!([{"introduced": "0"}])), {"ranges": []}]),
    );
    loader.add("right.json", right.to_string().as_bytes()).unwrap();
    let database = loader.finish();
    let problems = database.problems();
    assert_eq!((problems.count, problems.first.len(), database.len()), (2, 2, 1));
    assert!(problems.first[0].starts_with("\"broken.json\": ") && problems.first[1].starts_with("\"odd\\n.json\": "));
    assert_eq!(
        database.scan(&debian()).unwrap().notes,
        ["2 parts of advisories could not be read"]
    );
}

#[test]
fn limits() {
    let bytes = record(
        "A-1",
        json!([affected("Debian:12", "openssl", json!([{"introduced": "0"}]))]),
    )
    .to_string();
    let default = Limits::default();
    for (limits, text) in [
        (
            Limits {
                record_bytes: 10,
                ..default
            },
            "\"a.json\" has more than 10 bytes",
        ),
        (
            Limits { records: 1, ..default },
            "\"a.json\": the advisories exceed 1 records",
        ),
        (
            Limits {
                kept_bytes: 400,
                ..default
            },
            "\"a.json\": the advisories exceed 400 bytes of memory",
        ),
    ] {
        let mut loader = Loader::new(limits);
        let error = (0..10)
            .find_map(|_| loader.add("a.json", bytes.as_bytes()).err())
            .unwrap();
        assert_eq!(error.to_string(), text);
    }
}

/// An archive of one record; deflated, as OSV's are.
fn archive(name: &str, record: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = rawzip::ZipArchiveWriter::new(&mut bytes);
    let method = rawzip::CompressionMethod::DEFLATE;
    let (mut entry, config) = archive.new_file(name).compression_method(method).start().unwrap();
    let encoder = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::default());
    let mut writer = config.wrap(encoder);
    writer.write_all(record.as_bytes()).unwrap();
    let (encoder, descriptor) = writer.finish().unwrap();
    encoder.finish().unwrap();
    entry.finish(descriptor).unwrap();
    archive.finish().unwrap();
    bytes
}

#[test]
fn archives() {
    let bytes = record(
        "A-1",
        json!([affected("Debian:12", "openssl", json!([{"introduced": "0"}]))]),
    )
    .to_string();
    let good = archive("A-1.json", &bytes);
    let mut loader = Loader::new(Limits::default());
    read_archive(&good, &mut loader).unwrap();
    read_archive(&archive("A-1.txt", "x"), &mut loader).unwrap();
    assert_eq!(loader.finish().len(), 1);

    let bomb = archive("A-1.json", &" ".repeat(1_000_000));
    let mut loader = Loader::new(Limits {
        record_bytes: 1_000,
        ..Limits::default()
    });
    assert!(matches!(
        read_archive(&bomb, &mut loader),
        Err(Error::RecordTooLarge { limit: 1_000, .. })
    ));

    let mut loader = Loader::new(Limits::default());
    assert!(matches!(
        read_archive(b"no archive", &mut loader),
        Err(Error::Archive { .. })
    ));
    let mut flipped = good;
    flipped[60] ^= 0xff;
    assert!(matches!(read_archive(&flipped, &mut loader), Err(Error::Unpack { .. })));
}

proptest! {
    #[test]
    fn never_panics(bytes in collection::vec(any::<u8>(), 0..300), flip in any::<sample::Index>(), with in any::<u8>()) {
        let mut loader = Loader::new(Limits::default());
        let _ = read_archive(&bytes, &mut loader);
        let _ = loader.add("a.json", &bytes);
        let text = record("A-1", json!([affected("Debian:12", "openssl", json!([{"introduced": "0"}]))])).to_string();
        let mut broken = archive("A-1.json", &text);
        let at = flip.index(broken.len());
        broken[at] = with;
        let _ = read_archive(&broken, &mut loader);
    }

    /// A fixed version is one that is newer than what is installed.
    #[test]
    fn fixes_are_newer(events in collection::vec((0..3_usize, "[0-9]{1,2}(\\.[0-9])?(-[0-9])?"), 0..5)) {
        let words = ["introduced", "fixed", "last_affected"];
        let events: Vec<Value> = events.iter().map(|(word, version)| json!({(words[*word]): version})).collect();
        let entries: Vec<Value> = ["openssl", "lvm2", "libzstd"].iter().map(|name| affected("Debian:12", name, json!(events))).collect();
        let database = load(&[record("A-1", json!(entries))]);
        if database.is_empty() {
            return Ok(());
        }
        for found in database.scan(&debian()).unwrap().findings {
            assert!(found.installed.family() == Family::Deb && found.fixed.is_none_or(|fixed| fixed > found.installed));
        }
    }
}
