//! Layers that are made to hurt: bombs, broken headers, endless records, truncation, noise.

use std::io::Cursor;

use proptest::prelude::{Just, ProptestConfig, any, prop_oneof};
use proptest::{collection, prop_assert, proptest};
use tar::EntryType;

use crate::layer::tests::kit::{Entry, Tar, entry, gzip, look, zstd};
use crate::layer::{Compression, Error, Limits, Normalise, Wanted, merge, normalise, read};

fn small() -> Limits {
    Limits {
        entries: 3,
        file_bytes: 10,
        listed_file_bytes: 5,
        // Two short paths with what each counts for, and two bytes.
        kept_bytes: 2 * 64 + 19 + 14 + 11,
        unpacked_bytes: 8192,
        path_bytes: 150,
        record_bytes: 600,
        ..Limits::default()
    }
}

#[test]
fn each_limit_is_named() {
    let long = "n".repeat(151);
    let record = vec![b'v'; 600];
    let with_record = Entry {
        records: vec![("k", record.as_slice())],
        ..entry(EntryType::Regular)
    };
    const KEPT: &str = "the layer has more than 172 bytes of wanted files";
    let listed = |name: &str| format!("etc/apt/sources.list.d/{name}-{}", "n".repeat(30));
    let status = "var/lib/dpkg/status";
    let two_files = Tar::default()
        .file(status, "123456789")
        .file("etc/os-release", "1234567");
    let table = [
        (
            Tar::default().file("1", "").file("2", "").file("3", "").file("4", ""),
            "the layer has more than 3 entries",
        ),
        (
            Tar::default().file(status, "12345678901"),
            "var/lib/dpkg/status in the layer is larger than 10 bytes",
        ),
        (
            Tar::default().file("var/lib/dpkg/status.d/a", "123456"),
            "var/lib/dpkg/status.d/a in the layer is larger than 5 bytes",
        ),
        (two_files, KEPT),
        (Tar::default().symlink(&listed("a"), "").symlink(&listed("b"), ""), KEPT),
        (
            Tar::default().file(&listed(".wh.a"), "").file(&listed(".wh.b"), ""),
            KEPT,
        ),
        (
            Tar::default().file("filler", &"x".repeat(9000)),
            "the layer has more than 8192 unpacked bytes",
        ),
        (
            Tar::default().file(&long, ""),
            "the layer has more than 150 bytes in a path",
        ),
        (
            Tar::default().symlink("x", &long),
            "the layer has more than 150 bytes in a path",
        ),
        (
            Tar::default().add("x", &with_record, b""),
            "the layer has more than 600 bytes of extended records",
        ),
    ];
    for (tar, expected) in table {
        let error = read(tar.end().as_slice(), Compression::Detect, &Wanted::packages(), &small()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_bomb_is_stopped_by_its_ratio() {
    let zeros = Tar::default()
        .add("zeros", &entry(EntryType::Regular), &vec![0; 4 << 20])
        .end();
    let limits = Limits {
        ratio: 10,
        unpacked_free: 1 << 20,
        ..Limits::default()
    };
    for bomb in [gzip(&zeros), zstd(&zeros)] {
        let error = read(bomb.as_slice(), Compression::Detect, &Wanted::packages(), &limits).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the layer has more than 10 unpacked bytes per compressed byte"
        );
    }
}

#[test]
fn truncation_is_noticed_everywhere_inside_an_entry() {
    let tar = Tar::default()
        .file("var/lib/dpkg/status", &"x".repeat(700))
        .unfinished();
    for length in (1..tar.len()).filter(|length| length % 512 != 0 || *length > 512) {
        assert!(matches!(look(&tar[..length]), Err(Error::Truncated)), "{length}");
    }
    let whole = Tar::default().file("var/lib/dpkg/status", &"x".repeat(700)).end();
    for packed in [gzip(&whole), zstd(&whole)] {
        for length in 5..packed.len() {
            let error = look(&packed[..length]).unwrap_err();
            assert!(matches!(error, Error::Truncated | Error::Read(_)), "{length}: {error}");
        }
    }
    let mut checksum = gzip(&whole);
    let last = checksum.len() - 6;
    checksum[last] ^= 1;
    assert!(matches!(look(&checksum), Err(Error::Read(_))));
}

#[test]
fn broken_headers_are_told() {
    let good = Tar::default().file("a", "").end();
    let broken = |offset: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[offset] = byte;
        look(&bytes).unwrap_err().to_string()
    };
    assert_eq!(
        broken(0, b'b'),
        "entry 1 of the layer is malformed: its checksum is wrong"
    );
    let huge = Entry {
        records: vec![("size", b"18446744073709551615")],
        ..entry(EntryType::Regular)
    };
    let table = [
        (huge.records, "its size is too large"),
        (vec![("size", &b"-1"[..])], "its size record is no number"),
        (vec![("path", &b"a\0b"[..])], "its path is empty or has a zero byte"),
    ];
    for (records, expected) in table {
        let tar = Tar::default()
            .add(
                "a",
                &Entry {
                    records,
                    ..entry(EntryType::Regular)
                },
                b"",
            )
            .end();
        assert_eq!(
            look(&tar).unwrap_err().to_string(),
            format!("entry 2 of the layer is malformed: {expected}")
        );
    }
}

#[test]
fn paths_cannot_leave_the_root() {
    let layer = Tar::default().file("../../var/lib/dpkg/status", "x").layer();
    assert_eq!(merge([&layer]).read("var/lib/dpkg/status").unwrap(), Some(&b"x"[..]));
    let climbing = Cursor::new(Tar::default().file("usr/../../x", "").end());
    let error = normalise(climbing, Vec::new(), &Normalise::new(5, 5)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the layer has an entry with the path \"usr/../../x\""
    );
}

#[test]
fn what_is_kept_is_counted() {
    let layer = Tar::default()
        .dir("etc")
        .dir("home/a")
        .file("home/a/b", "not wanted")
        .file("etc/os-release", "12345")
        .file("etc/apt/.wh.sources.list", "")
        .layer();
    assert_eq!(layer.kept_bytes(), 3 * 64 + 3 + 14 + 5 + 20);
}

#[test]
fn normalising_remembers_no_more_than_it_may() {
    let tar = || Tar::default().file("a", "").symlink("b", "123").dir("c").end();
    let run = |entries, all_path_bytes| {
        let mut rules = Normalise::new(5, 5);
        rules.limits = Limits {
            entries,
            all_path_bytes,
            ..rules.limits
        };
        normalise(Cursor::new(tar()), Vec::new(), &rules).map_err(|error| error.to_string())
    };
    assert_eq!(run(3, 6).unwrap().kept, 3);
    assert_eq!(run(2, 6).unwrap_err(), "the layer has more than 2 entries");
    assert_eq!(run(3, 5).unwrap_err(), "the layer has more than 5 bytes in all paths");
    let usual = Normalise::new(5, 5).limits;
    assert_eq!((usual.entries, usual.all_path_bytes), (300_000, 64 << 20));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_never_panics(
        start in prop_oneof![Just(vec![]), Just(vec![0x1f, 0x8b, 8]), Just(vec![0x28, 0xb5, 0x2f, 0xfd])],
        noise in collection::vec(any::<u8>(), 0..3000),
    ) {
        let bytes = [start, noise].concat();
        let _ = look(&bytes);
        let _ = normalise(Cursor::new(&bytes), Vec::new(), &Normalise::new(5, 5));
    }

    #[test]
    fn flipped_bytes_never_panic(flips in collection::vec((0..6000_usize, any::<u8>()), 1..6), fix in any::<bool>()) {
        let records = vec![("path", &b"var/lib/dpkg/status"[..]), ("SCHILY.xattr.user.x", b"\n\0")];
        let mut bytes = Tar::default()
            .add("x", &Entry { records, ..entry(EntryType::Regular) }, b"Package: a")
            .symlink("etc/os-release", "../usr/lib/os-release")
            .file(&"n".repeat(180), "long")
            .hard_link("var/lib/dpkg/status", "x")
            .end();
        for (offset, byte) in flips {
            let offset = offset % bytes.len();
            bytes[offset] ^= byte;
        }
        if fix {
            fix_checksums(&mut bytes);
        }
        if let Ok(layer) = look(&bytes) {
            let _ = merge([&layer, &layer]).read("var/lib/dpkg/status");
        }
        let mut output = Vec::new();
        if normalise(Cursor::new(&bytes), &mut output, &Normalise::new(5, 5)).is_ok() {
            prop_assert!(look(&output).is_ok());
        }
    }

    #[test]
    fn links_in_every_direction_end(links in collection::vec((0..6_usize, 0..6_usize), 0..12)) {
        let names = ["etc", "etc/os-release", "usr", "usr/lib", "usr/lib/os-release", "var"];
        let layers: Vec<_> = links.iter().map(|(from, to)| Tar::default().symlink(names[*from], names[*to]).layer()).collect();
        let files = merge(layers.iter());
        for name in names {
            let _ = (files.read(name), files.list(name));
        }
    }
}

/// Makes flipped headers pass as headers, so that the flips reach what comes after the checksum.
fn fix_checksums(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}
