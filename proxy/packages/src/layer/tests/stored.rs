//! Files of layers as bytes and back: the same, or an error; never a panic, never more than allowed.

use proptest::prelude::{ProptestConfig, any};
use proptest::{collection, prop_assert_eq, proptest};

use crate::layer::tests::kit::Tar;
use crate::layer::{Compression, LayerFiles, Limits, Pattern, StoredError, Wanted, merge, read};

fn wanted() -> Wanted {
    Wanted::packages().with(Pattern::ALL)
}

fn sample() -> LayerFiles {
    let tar = Tar::default()
        .dir("etc")
        .file("usr/lib/os-release", "ID=debian")
        .hard_link("etc/os-release", "usr/lib/os-release")
        .hard_link("etc/apt/sources.list", "elsewhere")
        .file("etc/apt/sources.list.d/empty.list", "")
        .file("etc/apt/sources.list.d/large.list", &"x".repeat(2 << 20))
        .symlink("var/lib/rpm", "../../usr/lib/sysimage/rpm")
        .file("var/.wh.cache", "")
        .file("var/lib/dpkg/.wh.status", "")
        .file("opt/.wh..wh..opq", "")
        .file("node_modules/a/package.json", r#"{"name":"a"}"#);
    read(tar.end().as_slice(), Compression::Detect, &wanted(), &Limits::default()).unwrap()
}

fn back(bytes: &[u8]) -> Result<LayerFiles, StoredError> {
    LayerFiles::from_bytes(bytes, &wanted(), &Limits::default())
}

#[test]
fn back_as_it_was() {
    let mut layer = sample();
    let bytes = layer.to_bytes().unwrap();
    let again = back(&bytes).unwrap();
    assert_eq!(again.to_bytes().unwrap(), bytes);
    assert_eq!(merge([&again]), merge([&layer]));
    assert_eq!(again.nodes, layer.nodes);
    layer.forget_loose();
    assert!(back(&layer.to_bytes().unwrap()).unwrap().truncated());
}

#[test]
fn what_is_not_ours_is_told() {
    let bytes = sample().to_bytes().unwrap();
    let other = LayerFiles::from_bytes(&bytes, &Wanted::packages(), &Limits::default());
    assert!(matches!(other, Err(StoredError::OtherWanted)));
    let mut newer = bytes.clone();
    newer[3] += 1;
    assert!(matches!(back(&newer), Err(StoredError::Version)));
    assert!(matches!(back(b""), Err(StoredError::Version)));
    for length in 4..bytes.len() {
        assert!(
            matches!(back(&bytes[..length]), Err(StoredError::Unpack(_))),
            "{length}"
        );
    }
    let small = Limits {
        kept_bytes: 100,
        ..Limits::default()
    };
    let error = LayerFiles::from_bytes(&bytes, &wanted(), &small).unwrap_err();
    assert!(
        matches!(error, StoredError::TooLarge(_) | StoredError::Damaged(_)),
        "{error}"
    );
}

/// What the compression does not see: bytes of ours after `spelling`.
fn forged(body: &[u8]) -> Vec<u8> {
    let spelling = wanted().spelling();
    let length = spelling.len();
    let length = [
        u8::try_from(length & 0x7f).unwrap() | 0x80,
        u8::try_from(length >> 7).unwrap(),
    ];
    let plain = [&length, spelling.as_bytes(), body].concat();
    [b"PPL\x01".to_vec(), zstd::encode_all(plain.as_slice(), 1).unwrap()].concat()
}

#[test]
fn forged_bytes() {
    let table: [(&[u8], &str); 8] = [
        (&[0, 0, 0, 0, 9], "something follows"),
        (&[0, 1, 2, b'/', b'a', 4], "a path that is not clean"),
        (&[0, 1, 1, 0xff, 4], "a path that is not text"),
        (&[0, 1, 1, b'a', 99], "a kind of node that is not known"),
        (&[0, 1, 1, b'a', 1, 0, 7], "a shared content that was not there"),
        (&[0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], "a text that is too long"),
        (
            &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            "a number that is too large",
        ),
        (
            &[0, 2, 1, b'a', 0, 1, b'x', 1, b'b', 1, 9, 0],
            "a kind of content that is not known",
        ),
    ];
    for (body, expected) in table {
        match back(&forged(body)) {
            Err(StoredError::Damaged(text)) => assert_eq!(text, expected),
            other => unreachable!("{expected}: {other:?}"),
        }
    }
    assert!(back(&forged(&[0, 0, 0, 0])).unwrap().nodes.is_empty());
    let endless = [&[0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f], vec![0; 1 << 20].as_slice()].concat();
    assert!(matches!(
        back(&forged(&endless)),
        Err(StoredError::Unpack(_) | StoredError::TooLarge(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_never_panics(body in collection::vec(any::<u8>(), 0..200)) {
        if let Ok(files) = back(&forged(&body)) {
            let bytes = files.to_bytes().unwrap();
            prop_assert_eq!(back(&bytes).unwrap(), files);
        }
    }
}
