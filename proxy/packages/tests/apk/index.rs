//! Signed indexes: of apk 2 as abuild signs them, of apk 3 as the real apk makes them, and those that must be refused.

use std::fs;
use std::process::Command;

use flate2::bufread::GzDecoder;
use patchport_packages::apk::{INDEX_LIMIT, Index, IndexError, Keys};
use proptest::prelude::{ProptestConfig, any};
use proptest::{collection, prop_assert, proptest};

use crate::kit::{self, KEY, KeyPair, Root, index_text, member, signed, signed3};

fn keys() -> Keys {
    Keys::new([(KEY, KeyPair::trusted().public().as_slice())])
}

fn read(bytes: &[u8]) -> Result<Index, IndexError> {
    Index::read("index", bytes, &keys(), INDEX_LIMIT)
}

fn sample() -> String {
    let more = "o:src\nD:so:libc.musl-x86_64.so.1 b>=2 !c\np:cmd:a=1.0-r0 so:liba.so.1=1.2\nk:100\ni:x y\n";
    index_text(&[
        ("b", "2.0-r0", ""),
        ("a", "1.0-r0", more),
        ("a", "1.1-r0", "A:noarch\n"),
        ("bad", "1-2", ""),
    ])
}

#[test]
fn an_index_is_read_by_each_kind_of_signature() {
    for algorithm in ["RSA", "RSA256", "RSA512"] {
        let bytes = signed(&sample(), &[(algorithm, KeyPair::trusted(), KEY)]);
        let index = read(&bytes).unwrap();
        assert_eq!((index.len(), index.left_out(), index.description()), (3, 1, "test 1"));
        let versions: Vec<_> = index
            .find("a")
            .map(|offer| (offer.version, offer.architecture, offer.origin))
            .collect();
        assert_eq!(versions, [("1.0-r0", "x86_64", "src"), ("1.1-r0", "noarch", "a")]);
        let offer = index.find("a").next().unwrap();
        assert_eq!((offer.size, offer.depends), (1, "so:libc.musl-x86_64.so.1 b>=2 !c"));
        assert_eq!(
            (offer.checksum, offer.provides),
            (&*kit::checksum("a", "1.0-r0"), "cmd:a=1.0-r0 so:liba.so.1=1.2")
        );
        assert_eq!(
            index.find("aa").count() + index.find("").count() + index.find("c").count(),
            0
        );
        // So does the real apk.
        let root = Root::new(&[], "");
        root.write("main/x86_64/APKINDEX.tar.gz", &bytes);
        let url = format!("--repository={}", root.path().join("main").display());
        let said = root.apk(&["list", "--available", &url]);
        assert!(
            said.contains("a-1.1-r0 noarch") && said.contains("b-2.0-r0 x86_64"),
            "{said}"
        );
    }
}

/// The first gzip member, and what comes after it.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut member = GzDecoder::new(bytes);
    std::io::copy(&mut member, &mut std::io::sink()).unwrap();
    bytes.split_at(bytes.len() - member.into_inner().len())
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn an_index_without_a_good_signature_is_refused_and_says_whose() {
    let (trusted, other) = (KeyPair::trusted(), KeyPair::new());
    let text = sample();
    let good = signed(&text, &[("RSA", trusted, KEY)]);
    let evil = signed(&text.replace("1.1-r0", "9.9-r9"), &[("RSA", trusted, KEY)]);
    let unsigned = member(&[("DESCRIPTION", b"x"), ("APKINDEX", text.as_bytes())], true);
    let swapped = [split(&good).0, split(&evil).1].concat();
    let unknown = "the index is signed by other.rsa.pub, and none of them is trusted";
    let table: [(&str, Vec<u8>, &str); 11] = [
        ("no signature", unsigned.clone(), "the index has no signature"),
        (
            "another key",
            signed(&text, &[("RSA", &other, "other.rsa.pub")]),
            unknown,
        ),
        (
            "a kind that is not known",
            signed(&text, &[("DSA", &other, KEY)]),
            &unknown.replace("other.rsa.pub", &format!("DSA.{KEY}")),
        ),
        (
            "another key by the name of ours",
            signed(&text, &[("RSA", &other, KEY)]),
            "the signature by KEY does not fit the index",
        ),
        (
            "another algorithm than it says",
            signed(&text, &[("RSA256", trusted, KEY)]).into_iter().collect(),
            "",
        ),
        (
            "the signature of another index",
            swapped,
            "the signature by KEY does not fit the index",
        ),
        (
            "something after it",
            [good.clone(), unsigned].concat(),
            "the signature by KEY does not fit the index",
        ),
        (
            "only a signature",
            split(&good).0.to_vec(),
            "not an index of apk: nothing comes after the signatures",
        ),
        (
            "cut",
            good[..good.len() - 9].to_vec(),
            "the signature by KEY does not fit the index",
        ),
        ("no gzip", b"hello".to_vec(), "the index has no signature"),
        (
            "nothing",
            Vec::new(),
            "not an index of apk: nothing comes after the signatures",
        ),
    ]
    .map(|(name, bytes, expected)| (name, bytes, &*expected.replace("KEY", KEY).leak()));
    for (name, bytes, expected) in table {
        let said = read(&bytes).map_or_else(|error| error.to_string(), |_| String::new());
        let expected = if expected.is_empty() {
            String::new()
        } else {
            format!("index: {expected}")
        };
        assert_eq!(said, expected, "{name}");
    }
    let both = signed(&text, &[("RSA", &other, "other.rsa.pub"), ("RSA256", trusted, KEY)]);
    assert_eq!(read(&both).unwrap().len(), 3);
}

#[test]
fn an_index_over_the_limit_is_refused() {
    let bytes = signed(&sample(), &[("RSA", KeyPair::trusted(), KEY)]);
    for limit in [0, 100, 600, 2000] {
        let error = Index::read("index", &bytes, &keys(), limit).unwrap_err();
        assert!(
            matches!(error, IndexError::TooLarge { .. } | IndexError::Unpack { .. }),
            "{limit}: {error}"
        );
    }
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let trusted = KeyPair::trusted();
    let short = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"])
        .output();
    let folder = tempfile::tempdir().unwrap();
    let private = folder.path().join("short");
    fs::write(&private, short.unwrap().stdout).unwrap();
    let short = kit::said(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(private));
    let public = trusted.public();
    let keys = Keys::new([
        ("good", public.as_slice()),
        ("text", b"text"),
        ("short", short.as_bytes()),
        ("cut", &public[..99]),
    ]);
    assert_eq!(keys.unusable(), ["text", "short", "cut"]);
    let alpine = kit::alpine().join("etc/apk/keys");
    let files = fs::read_dir(alpine)
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let files: Vec<Vec<u8>> = files.collect();
    let keys = Keys::new(files.iter().map(|bytes| ("alpine", bytes.as_slice())));
    assert!(keys.unusable().is_empty() && !files.is_empty());
}

/// A package that the real apk makes, signed.
fn make_package(root: &Root, name: &str, version: &str, more: &[&str]) -> String {
    let file = root.path().join(format!("repository/x86_64/{name}-{version}.apk"));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let (file, key) = (file.to_str().unwrap(), KeyPair::trusted().private());
    let (name, version) = (format!("name:{name}"), format!("version:{version}"));
    let mut arguments = vec![
        "mkpkg",
        "--info",
        &name,
        "--info",
        &version,
        "--info",
        "arch:x86_64",
        "--output",
        file,
    ];
    more.iter().for_each(|field| arguments.extend(["--info", field]));
    kit::said(kit::apk(arguments).arg("--sign-key").arg(key));
    file.to_owned()
}

#[test]
fn an_index_of_apk_3_is_read_in_each_compression() {
    let root = Root::new(&[("a", "0.9-r0", "")], "a");
    let more = [
        "origin:src",
        "depends:so:libc.musl-x86_64.so.1 b>=2 !c d~3 e",
        "provides:cmd:a=1.0-r0",
    ];
    let packages = [
        make_package(&root, "a", "1.0-r0", &more),
        make_package(&root, "b", "2.0_p1-r0", &[]),
    ];
    let file = root.path().join("repository/x86_64/Packages.adb");
    for compression in ["none", "deflate", "deflate:9", "zstd"] {
        let key = KeyPair::trusted().private();
        // Alpine builds apk without zstd.
        let made = if compression == "zstd" { "none" } else { compression };
        let mut make = kit::apk(["mkndx", "--description", "test 3", "--compression", made, "--output"]);
        let make = make
            .arg(&file)
            .arg("--keys-dir")
            .arg(root.path().join("etc/apk/keys"))
            .arg("--sign-key")
            .arg(key);
        kit::said(make.args(&packages));
        let mut bytes = fs::read(&file).unwrap();
        if compression == "zstd" {
            bytes = [b"ADBc\x02\x03", &*zstd::encode_all(&*bytes, 3).unwrap()].concat();
        }
        let index = read(&bytes).unwrap();
        assert_eq!(
            (index.len(), index.left_out(), index.description()),
            (2, 0, "test 3"),
            "{compression}"
        );
        let offer = index.find("a").next().unwrap();
        assert_eq!(
            (offer.version, offer.architecture, offer.origin),
            ("1.0-r0", "x86_64", "src")
        );
        assert_eq!(
            (offer.depends, offer.provides),
            ("b>=2 !c d~3 e so:libc.musl-x86_64.so.1", "cmd:a=1.0-r0")
        );
        assert_eq!(offer.size, fs::metadata(&packages[0]).unwrap().len());
        let offer = index.find("b").next().unwrap();
        assert_eq!((offer.version, offer.origin, offer.depends), ("2.0_p1-r0", "b", ""));
        refused_when_changed(&bytes);
    }
    let url = root.path().join("repository").display().to_string();
    root.write("etc/apk/repositories", format!("v3 {url}\n").as_bytes());
    assert!(root.apk(&["list", "--upgradeable"]).starts_with("a-1.0-r0 "));
    let (configuration, indexes) = root.read();
    assert_eq!((configuration.notes.len(), indexes[0].1.len()), (0, 2));
}

fn refused_when_changed(bytes: &[u8]) {
    let other = KeyPair::new();
    let error = Index::read(
        "index",
        bytes,
        &Keys::new([(KEY, other.public().as_slice())]),
        INDEX_LIMIT,
    )
    .unwrap_err();
    assert!(matches!(error, IndexError::UnknownKey { .. }), "{error}");
    let mut accepted = 0;
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 0x20;
        // A byte of the compression's framing may mean nothing; what was signed must be the same.
        accepted += usize::from(read(&changed).is_ok_and(|index| Some(index) != read(bytes).ok()));
    }
    assert_eq!(accepted, 0);
    let error = Index::read("index", bytes, &keys(), 64).unwrap_err();
    assert!(matches!(error, IndexError::TooLarge { limit: 64, .. }), "{error}");
}

/// Values of an index whose packages are all the same one, and its dependencies too: much from little.
fn bomb(count: u32) -> Vec<u8> {
    let mut words: Vec<u32> = vec![0, 0];
    let mut put = |more: &[u32]| {
        let offset = u32::try_from(words.len() * 4).unwrap();
        words.extend(more);
        offset
    };
    let text = |bytes: &[u8; 3]| u32::from_le_bytes([3, bytes[0], bytes[1], bytes[2]]);
    let blob = |offset: u32| 0x8 << 28 | offset;
    let array = |items: &[u32]| [&[u32::try_from(items.len()).unwrap() + 1], items].concat();
    let name = blob(put(&[text(b"abc")]));
    let version = blob(put(&[text(b"1.0")]));
    let hash = blob(put(&[20, 0, 0, 0, 0, 0]));
    let dependency = 0xe << 28 | put(&array(&[name]));
    let depends = 0xd << 28 | put(&array(&vec![dependency; count as usize]));
    let mut fields = [0; 16];
    (fields[0], fields[1], fields[2], fields[14]) = (name, version, hash, depends);
    let package = 0xe << 28 | put(&array(&fields));
    let packages = 0xd << 28 | put(&array(&vec![package; count as usize]));
    let root = 0xe << 28 | put(&array(&[0, packages]));
    words[1] = root;
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn a_signed_index_that_points_at_itself_stays_within_the_limit() {
    let index = read(&signed3(&bomb(9), KeyPair::trusted())).unwrap();
    assert_eq!((index.len(), index.find("abc").count()), (9, 9));
    assert_eq!(index.offers().next().unwrap().depends, ["abc"; 9].join(" "));
    let bytes = signed3(&bomb(200_000), KeyPair::trusted());
    let error = Index::read("index", &bytes, &keys(), 8 << 20).unwrap_err();
    assert!(matches!(error, IndexError::TooLarge { .. }), "{error}");
}

#[test]
fn tens_of_thousands_of_packages_take_little_memory() {
    let depends =
        "D:so:libc.musl-x86_64.so.1 so:libcrypto.so.3 so:libssl.so.3 so:libz.so.1\np:cmd:x=1 so:libx.so.1=1.2.3\n";
    let names: Vec<(String, String)> = (0..30_000)
        .map(|number| (format!("package-{number}"), format!("1.{number}-r0")))
        .collect();
    let offers: Vec<_> = names
        .iter()
        .map(|(name, version)| (name.as_str(), version.as_str(), depends))
        .collect();
    let index = read(&signed(&index_text(&offers), &[("RSA", KeyPair::trusted(), KEY)])).unwrap();
    assert_eq!((index.len(), index.find("package-29999").count()), (30_000, 1));
    assert!(index.memory() < 30_000 * 256, "{} bytes", index.memory());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_are_read_or_refused(bytes in collection::vec(any::<u8>(), 0..300), head in 0..5_usize) {
        let heads: [&[u8]; 5] = [b"", b"ADB.indx", b"ADBd", b"ADBc\x02\x00", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"];
        prop_assert!(read(&[heads[head], &bytes].concat()).is_err());
    }

    #[test]
    fn any_values_that_are_signed_are_read_or_refused(
        words in collection::vec((0..16_u32, 0..99_u32), 0..60), root in 0..240_u32, count in 1..20_u32,
    ) {
        // Words that are often values, and often point at others.
        let words = words.into_iter().map(|(kind, value)| kind << 28 | value);
        let words = [0, 0xe << 28 | root].into_iter().chain(words).chain(std::iter::repeat_n(count, 20));
        let _ = read(&signed3(&words.flat_map(u32::to_le_bytes).collect::<Vec<u8>>(), KeyPair::trusted()));
    }

    #[test]
    fn any_text_that_is_signed_is_read_or_refused(text in "([PVACDopSx]:[a-zQ0-9. ]{0,9}\n|\n|[a-z]{2}\n){0,12}") {
        let _ = read(&signed(&text, &[("RSA", KeyPair::trusted(), KEY)]));
    }
}
