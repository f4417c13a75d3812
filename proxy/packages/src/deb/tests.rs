//! Packages made byte by byte, whole and hostile.

#![expect(
    clippy::too_many_lines,
    clippy::type_complexity,
    reason = "a table of cases is read whole"
)]

use std::io::Write as _;

use super::*;

/// A package as a test wants it.
#[derive(Clone, Default)]
pub(crate) struct Deb {
    /// Control files: name and text.
    pub(crate) control: Vec<(String, String)>,
    /// The tar of its files.
    pub(crate) data: Vec<u8>,
}

impl Deb {
    pub(crate) fn new(name: &str, version: &str) -> Self {
        let control =
            format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\nDescription: made\n of tests\n");
        Self {
            control: vec![("control".to_owned(), control)],
            data: tar(&[]),
        }
    }

    /// The package, its data compressed as this suffix says.
    pub(crate) fn bytes(&self, suffix: &str) -> Vec<u8> {
        let entries: Vec<(&str, &[u8])> = self
            .control
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_bytes()))
            .collect();
        let control = tar(&entries);
        ar(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar.gz", &packed(&control, ".gz")),
            (&format!("data.tar{suffix}"), &packed(&self.data, suffix)),
        ])
    }
}

pub(crate) fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (name, content) in members {
        writeln!(
            bytes,
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`",
            0,
            0,
            0,
            100_644,
            content.len()
        )
        .unwrap();
        bytes.extend_from_slice(content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

fn packed(bytes: &[u8], suffix: &str) -> Vec<u8> {
    match suffix {
        ".gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        ".xz" => {
            let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        ".zst" => zstd::encode_all(bytes, 1).unwrap(),
        _ => bytes.to_vec(),
    }
}

fn read_all(bytes: &[u8]) -> Result<(Control, Vec<u8>), Error> {
    let mut data = Vec::new();
    read(bytes, &mut data).map(|control| (control, data))
}

#[test]
fn what_a_package_says_and_brings() {
    let mut deb = Deb::new("foo", "1.0");
    deb.data = tar(&[("./usr/bin/foo", b"program")]);
    deb.control.push((
        "conffiles".into(),
        "/etc/foo\nremove-on-upgrade /etc/old\n/etc/a//b\n".into(),
    ));
    deb.control.push(("postinst".into(), "#!/bin/sh\n".into()));
    deb.control.push((
        "triggers".into(),
        "# made by a tool\n\nactivate-noawait ldconfig\n".into(),
    ));
    for suffix in ["", ".gz", ".xz", ".zst"] {
        let (control, data) = read_all(&deb.bytes(suffix)).unwrap();
        assert!(control.stanza.starts_with(b"Package: foo\n"), "{suffix}");
        assert_eq!(control.conffiles, ["etc/foo", "etc/a/b"], "{suffix}");
        assert_eq!(control.scripts, ["postinst"]);
        assert_eq!(control.triggers, ["activate-noawait ldconfig"]);
        assert!(data == deb.data, "{suffix}");
    }
}

#[test]
fn truncated_packages_are_refused() {
    let mut deb = Deb::new("foo", "1.0");
    deb.data = tar(&[("./usr/bin/foo", &[7; 5000])]);
    for suffix in ["", ".gz", ".xz", ".zst"] {
        let bytes = deb.bytes(suffix);
        let step = bytes.len() / 97 + 1;
        for length in (0..bytes.len() - 2).step_by(step).chain([bytes.len() - 2]) {
            assert!(
                read_all(&bytes[..length]).is_err(),
                "{suffix}, {length} of {}",
                bytes.len()
            );
        }
    }
}

#[test]
fn wrong_members_are_refused() {
    let control = packed(&tar(&[("control", b"Package: foo\n")]), ".gz");
    let (version, data): (&[u8], Vec<u8>) = (b"2.0\n", tar(&[]));
    let whole = [
        ("debian-binary", version),
        ("control.tar.gz", &control),
        ("_extra", b"x"),
        ("data.tar", &data),
    ];
    assert!(
        read_all(&ar(&whole)).is_ok(),
        "members that begin with _ are passed over"
    );
    let empty = packed(&tar(&[]), ".gz");
    let cases: Vec<(&str, Vec<(&str, &[u8])>)> = vec![
        ("no version", vec![("control.tar.gz", &control), ("data.tar", &data)]),
        (
            "another version",
            vec![
                ("debian-binary", b"3.0\n"),
                ("control.tar.gz", &control),
                ("data.tar", &data),
            ],
        ),
        (
            "files first",
            vec![
                ("debian-binary", version),
                ("data.tar", &data),
                ("control.tar.gz", &control),
            ],
        ),
        (
            "no control file",
            vec![
                ("debian-binary", version),
                ("control.tar.gz", &empty),
                ("data.tar", &data),
            ],
        ),
        (
            "something else",
            vec![
                ("debian-binary", version),
                ("control.tar.gz", &control),
                ("evil", b""),
                ("data.tar", &data),
            ],
        ),
        (
            "a name table",
            vec![
                ("debian-binary", version),
                ("//", b"x"),
                ("control.tar.gz", &control),
                ("data.tar", &data),
            ],
        ),
        (
            "bzip2",
            vec![
                ("debian-binary", version),
                ("control.tar.gz", &control),
                ("data.tar.bz2", &data),
            ],
        ),
        (
            "two of control",
            vec![
                ("debian-binary", version),
                ("control.tar.gz", &control),
                ("control.tar.gz", &control),
            ],
        ),
        (
            "no files",
            vec![("debian-binary", version), ("control.tar.gz", &control)],
        ),
    ];
    for (what, members) in cases {
        assert!(read_all(&ar(&members)).is_err(), "{what}");
    }
    let many: Vec<(&str, &[u8])> = std::iter::once(("debian-binary", version))
        .chain([("_x", &b""[..]); 30])
        .collect();
    assert!(read_all(&ar(&many)).is_err());
    for size in ["-1        ", "+1        ", "0x10      ", "9999999999", "          "] {
        let mut bytes = ar(&whole);
        bytes[MAGIC.len() + 48..MAGIC.len() + 58].copy_from_slice(size.as_bytes());
        assert!(read_all(&bytes).is_err(), "{size}");
    }
}

#[test]
fn bombs_are_refused() {
    let bomb = packed(&vec![0; 40 << 20], ".xz");
    let bytes = ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", &bomb),
        ("data.tar", b""),
    ]);
    assert!(read_all(&bytes).is_err(), "a control archive");
    let control = packed(&tar(&[("control", b"Package: foo\n")]), ".gz");
    let zeros = packed(&vec![0; 1 << 20], ".zst");
    let bomb = zeros.repeat((MAX_DATA >> 20) as usize + 1);
    let bytes = ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", &control),
        ("data.tar.zst", &bomb),
    ]);
    let error = read(&bytes[..], &mut io::sink()).unwrap_err();
    assert!(matches!(error, Error::Read(_)), "{error:?}");
    let large = packed(&tar(&[("control", &vec![b'x'; 2 << 20])]), ".gz");
    let bytes = ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", &large),
        ("data.tar", b""),
    ]);
    assert!(read_all(&bytes).is_err(), "a control file");
}

proptest::proptest! {
    #[test]
    fn never_panics(at in 0_usize..2000, with: u8, suffix in 0_usize..4) {
        let mut bytes = Deb::new("foo", "1.0").bytes(["", ".gz", ".xz", ".zst"][suffix]);
        let at = at % bytes.len();
        bytes[at] = with;
        let _ = read_all(&bytes);
    }
}
