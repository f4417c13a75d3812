//! Databases as an attacker would make them: nothing panics, and reading takes time and memory in proportion.

use std::time::{Duration, Instant};

use patchport_packages::rpm;
use proptest::prelude::{ProptestConfig, any};
use proptest::{collection, proptest};

use crate::kit;

/// A header image: tags with the kind of their value and its bytes.
fn header(tags: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let (mut index, mut store) = (Vec::new(), Vec::new());
    for (tag, kind, value) in tags {
        for number in [*tag, *kind, u32::try_from(store.len()).unwrap(), 1] {
            index.extend(number.to_be_bytes());
        }
        store.extend_from_slice(value);
    }
    let lengths = [tags.len(), store.len()].map(|length| u32::try_from(length).unwrap().to_be_bytes());
    [lengths.concat(), index, store].concat()
}

const GOOD: [(u32, u32, &[u8]); 6] = [
    (1003, 4, b"\0\0\0\x02"),
    (1000, 6, b"a\0"),
    (1001, 6, b"1\0"),
    (1002, 6, b"2\0"),
    (1022, 6, b"noarch\0"),
    (1044, 6, b"s-3-4.nosrc.rpm\0"),
];

fn with(tag: (u32, u32, &'static [u8])) -> Vec<u8> {
    let tags: Vec<_> = GOOD.into_iter().filter(|good| good.0 != tag.0).chain([tag]).collect();
    header(&tags)
}

fn read(header: Vec<u8>) -> Result<Vec<rpm::Package>, rpm::Error> {
    rpm::read_database("d", &kit::ndb(&[(1, header)]))
}

#[test]
fn headers() {
    let package = &read(header(&GOOD)).unwrap()[0];
    assert_eq!(
        (package.version.as_str(), package.source.version.as_str()),
        ("2:1-2", "2:3-4")
    );
    // What was added on installation counts.
    let twice: Vec<_> = GOOD.into_iter().chain([(1001, 6, b"9\0".as_slice())]).collect();
    assert_eq!(read(header(&twice)).unwrap()[0].version.as_str(), "2:9-2");
    assert_eq!(read(with((1000, 6, b"gpg-pubkey\0"))).unwrap(), []);
    assert_eq!(read(with((1044, 6, b"odd\0"))).unwrap()[0].source.name, "a");
    let long: &'static [u8] = Box::leak(vec![b'a'; 5000].into_boxed_slice());
    let table = [
        (header(&GOOD[..1]), "d: package 1: it has no name"),
        (header(&GOOD[..4]), "d: package 1: it has no architecture"),
        (with((1000, 6, b"a;b\0")), "d: package 1: the name is \"a;b\""),
        (with((1000, 6, b"a")), "d: package 1: its name is no text"),
        (with((1000, 6, long)), "d: package 1: its name is no text"),
        (with((1000, 4, b"abcd")), "d: package 1: its name is no text"),
        (with((1003, 6, b"1\0")), "d: package 1: its epoch is no number"),
        (with((1001, 6, b"1-1\0")), "d: package 1 has no version that rpm takes"),
        (
            with((1003, 4, b"\xff\0\0\0")),
            "d: package 1 has no version that rpm takes",
        ),
        (b"\0\0".to_vec(), "d: package 1: its header ends too early"),
        (vec![0xff; 100], "d: package 1: its header has too many tags"),
        (vec![0, 0, 0, 9, 0, 0, 0, 0], "d: package 1: its header ends too early"),
    ];
    for (bytes, expected) in table {
        assert_eq!(read(bytes).unwrap_err().to_string(), expected);
    }
}

/// A database of each kind, small.
fn databases() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let made: Vec<_> = (0..30)
        .map(|index| kit::Made {
            lines: index * 3,
            ..kit::Made::new(&format!("p{index}"), "1-1")
        })
        .collect();
    let built = kit::build(folder.path(), "s", "noarch", &made);
    let database = folder.path().join("sqlite");
    kit::install(&database, &built);
    let headers = kit::headers(&database);
    let sqlite = std::fs::read(database.join("rpmdb.sqlite")).unwrap();
    vec![
        sqlite,
        kit::ndb(&headers),
        kit::berkeley(&folder.path().join("little"), &headers, 4096, 1234),
        kit::berkeley(&folder.path().join("big"), &headers, 512, 4321),
    ]
}

#[test]
fn no_changed_byte_and_no_cut_panics() {
    for database in databases() {
        assert_eq!(rpm::read_database("d", &database).unwrap().len(), 30);
        let began = Instant::now();
        let mut state = 7_u64;
        let mut next = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        let mut changed = database.clone();
        for round in 0..600 {
            if round % 5 == 0 {
                changed.clone_from(&database);
            }
            // The first bytes decide the most.
            let at = next(if round % 2 == 0 { database.len() } else { 200 });
            changed[at] = [0, 1, 0x7f, 0xff, u8::try_from(next(256)).unwrap()][next(5)];
            let _ = rpm::read_database("d", &changed);
            let _ = rpm::read_database("d", &database[..next(database.len())]);
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    }
}

#[test]
fn parts_that_are_used_twice_are_refused() {
    // Each slot leads to the same header: many times the file.
    let mut ndb = kit::ndb(&(1..200).map(|_| (1, with((1000, 6, b"a\0")))).collect::<Vec<_>>());
    let first: [u8; 16] = ndb[32..48].try_into().unwrap();
    for at in (32..4096).step_by(16) {
        ndb[at..at + 16].copy_from_slice(&first);
    }
    // They are small here, so let each be as large as the file allows.
    let size = u32::try_from(ndb.len() - 4096).unwrap() / 16;
    for at in (32..4096).step_by(16) {
        ndb[at + 12..at + 16].copy_from_slice(&size.to_le_bytes());
    }
    let end = ndb.len() - 12;
    let length: [u8; 4] = ndb[4096 + 12..4096 + 16].try_into().unwrap();
    ndb[end + 4..end + 8].copy_from_slice(&length);
    let error = rpm::read_database("d", &ndb).unwrap_err().to_string();
    assert_eq!(
        error,
        "d: the NDB database is malformed at byte 48: the headers are larger than the file"
    );
    // A page of a table that is its own child.
    let mut sqlite = databases().swap_remove(0);
    let pages = sqlite.len() / 4096;
    for page in 1..pages {
        let start = page * 4096;
        sqlite[start..start + 12].copy_from_slice(&[5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        sqlite[start + 11] = u8::try_from(page + 1).unwrap();
    }
    let error = rpm::read_database("d", &sqlite).unwrap_err().to_string();
    assert!(error.ends_with("a page is used twice"), "{error}");
}

#[test]
fn other_files_are_of_no_kind() {
    for bytes in [
        b"".as_slice(),
        b"x",
        b"Rpm",
        &[0; 4096],
        b"PK\x03\x04",
        b"SQLite format 2\0",
    ] {
        assert_eq!(
            rpm::read_database("d", bytes).unwrap_err().to_string(),
            "d: not a package database of a kind that is known here"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_behind_any_magic(kind in 0..4_usize, bytes in collection::vec(any::<u8>(), 0..9000)) {
        let mut file = bytes;
        let (at, magic): (usize, &[u8]) = [
            (0, b"SQLite format 3\0\x02\0".as_slice()),
            (0, b"RpmP\0\0\0\0\0\0\0\0\x01\0\0\0".as_slice()),
            (12, b"\x61\x15\x06\0\x09\0\0\0\0\x02\0\0\0\x08\0\0".as_slice()),
            (12, b"\0\x06\x15\x61\0\0\0\x09\0\0\x02\0\0\x08\0\0".as_slice()),
        ][kind];
        if file.len() >= at + magic.len() {
            file[at..at + magic.len()].copy_from_slice(magic);
        }
        let _ = rpm::read_database("d", &file);
    }

    #[test]
    fn any_manifest(text in "[a-z0-9.\t\n()-]{0,300}") {
        let _ = rpm::read_manifest("m", text.as_bytes());
    }
}
