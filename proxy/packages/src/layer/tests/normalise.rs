//! Making a patch layer deterministic: what goes, what stays, which times it gets.

use std::io::Cursor;

use tar::EntryType;

use crate::layer::tests::kit::{Entry, Tar, entry, listing};
use crate::layer::{Error, Node, Normalise, Normalised, normalise};

const START: u64 = 5000;

fn run(tar: Tar) -> (Vec<u8>, Normalised) {
    let mut output = Vec::new();
    let normalised = normalise(Cursor::new(tar.end()), &mut output, &Normalise::new(START, 42)).unwrap();
    (output, normalised)
}

fn paths(tar: Tar) -> Vec<String> {
    listing(&run(tar).0).into_iter().map(|(path, ..)| path).collect()
}

/// A patch as apt leaves it, built at `at`.
fn patch(at: u64) -> Tar {
    let times = format!("{at}.123456789");
    let times = [
        ("mtime", times.as_bytes()),
        ("atime", times.as_bytes()),
        ("ctime", times.as_bytes()),
    ];
    let capability = ("SCHILY.xattr.security.capability", &b"\x01\0\0\x02\0\x20\n\0"[..]);
    let program = Entry {
        records: [&times[..1], &[capability]].concat(),
        owner: "builder",
        mtime: at,
        ..entry(EntryType::Regular)
    };
    let status = Entry {
        records: times.to_vec(),
        mtime: at,
        ..entry(EntryType::Regular)
    };
    Tar::default()
        .dir_at("etc/", at)
        .file_at("etc/resolv.conf", at, "")
        .file_at("etc/ld.so.cache", at, "cache")
        .dir_at("tmp/", at)
        .dir_at("usr/", at)
        .add("usr/bin/ping", &program, b"ping")
        .hard_link("usr/bin/ping6", "usr/bin/ping")
        .file_at("usr/lib/libssl.so.3", 4100, "library")
        .file_at(&format!("usr/share/{}", "n".repeat(120)), 4000, "long")
        .file_at("usr/share/.wh.gone", at, "")
        .symlink("usr/lib/libssl.so", "libssl.so.3")
        .dir_at("var/cache/", at)
        .dir_at("var/cache/apt/archives/", at)
        .file_at("var/cache/ldconfig/aux-cache", at, &at.to_string())
        .dir_at("var/lib/dpkg/", at)
        .add("var/lib/dpkg/status", &status, b"Package: a")
        .file_at("var/lib/dpkg/status-old", at, "Package: old")
        .dir_at("var/log/", at)
        .file_at("var/log/dpkg.log", at, &at.to_string())
}

#[test]
fn the_same_content_gives_the_same_bytes() {
    let (first, normalised) = run(patch(5000));
    for at in [5001, 6000, 1_700_000_000] {
        assert!(run(patch(at)).0 == first, "built at {at}");
    }
    assert_eq!(
        (
            normalised.epoch,
            normalised.is_empty,
            normalised.kept,
            normalised.omitted
        ),
        (4100, false, 11, 8)
    );
    assert_eq!(
        normalised.files.node("var/lib/dpkg/status"),
        Some(&Node::File(b"Package: a"[..].into()))
    );
    let later = Normalise::new(9000, 42);
    let mut output = Vec::new();
    normalise(Cursor::new(patch(9500).end()), &mut output, &later).unwrap();
    assert!(output == first, "another start of the build");
    let mut again = Vec::new();
    normalise(Cursor::new(&first), &mut again, &later).unwrap();
    assert!(again == first, "normalising twice");
}

#[test]
fn what_stays_stays_as_it_was() {
    let (output, _) = run(patch(7000));
    let long = format!("usr/share/{}", "n".repeat(120));
    let row = |path: &str, kind, mtime, link: &str, content: &str| {
        (path.to_owned(), kind, mtime, link.to_owned(), content.to_owned())
    };
    let expected = [
        row("etc/", EntryType::Directory, 4100, "", ""),
        row("etc/ld.so.cache", EntryType::Regular, 4100, "", "cache"),
        row("usr/", EntryType::Directory, 4100, "", ""),
        row("usr/bin/ping", EntryType::Regular, 4100, "", "ping"),
        row("usr/bin/ping6", EntryType::Link, 1000, "usr/bin/ping", ""),
        row("usr/lib/libssl.so.3", EntryType::Regular, 4100, "", "library"),
        row(&long, EntryType::Regular, 4000, "", "long"),
        row("usr/share/.wh.gone", EntryType::Regular, 4100, "", ""),
        row("usr/lib/libssl.so", EntryType::Symlink, 1000, "libssl.so.3", ""),
        row("var/lib/dpkg/", EntryType::Directory, 4100, "", ""),
        row("var/lib/dpkg/status", EntryType::Regular, 4100, "", "Package: a"),
    ];
    assert_eq!(listing(&output), expected);
    let capability = b"SCHILY.xattr.security.capability=\x01\0\0\x02\0\x20\n\0\n";
    assert!(output.windows(capability.len()).any(|window| window == capability));
    for gone in ["mtime=", "atime=", "ctime=", "builder"] {
        assert!(
            !output.windows(gone.len()).any(|window| window == gone.as_bytes()),
            "{gone}"
        );
    }
    let mut archive = tar::Archive::new(output.as_slice());
    let header = archive.entries().unwrap().nth(3).unwrap().unwrap().header().clone();
    assert_eq!(
        (header.uid().unwrap(), header.gid().unwrap(), header.mode().unwrap()),
        (7, 8, 0o644)
    );
}

#[test]
fn directories_stay_when_something_needs_them() {
    let tar = || Tar::default();
    let table: [(&str, Tar, &[&str]); 8] = [
        (
            "all below is left out",
            tar().dir("var/").dir("var/log/").file("var/log/dpkg.log", ""),
            &[],
        ),
        (
            "something below stays",
            tar()
                .dir("var/")
                .dir("var/log/")
                .file("var/log/dpkg.log", "")
                .file("var/log/btmp", ""),
            &["var/", "var/log/", "var/log/btmp"],
        ),
        ("new and empty", tar().dir("usr/share/new/"), &["usr/share/new/"]),
        (
            "new and empty next to what is left out",
            tar().dir("var/").dir("var/tmp/").dir("var/new/"),
            &["var/", "var/new/"],
        ),
        (
            "mount points",
            tar()
                .dir("dev/")
                .dir("proc/")
                .dir("sys/")
                .dir("run/")
                .dir("tmp/")
                .file("tmp/x", "y"),
            &[],
        ),
        (
            "a whiteout stays",
            tar().dir("etc/").file("etc/.wh.old", ""),
            &["etc/", "etc/.wh.old"],
        ),
        (
            "a whiteout of what is left out",
            tar().dir("var/log/").file("var/log/.wh.dpkg.log", ""),
            &[],
        ),
        (
            "opaque",
            tar()
                .dir("opt/")
                .file("opt/.wh..wh..opq", "")
                .file("tmp/.wh..wh..opq", ""),
            &["opt/", "opt/.wh..wh..opq"],
        ),
    ];
    for (name, tar, expected) in table {
        assert_eq!(paths(tar), expected, "{name}");
    }
}

#[test]
fn stubs_of_mounts_go_when_they_are_empty() {
    let tar = Tar::default()
        .file("etc/hosts", "")
        .file("etc/hostname", "me")
        .file("etc/resolv.conf", "nameserver ::1");
    assert_eq!(paths(tar), ["etc/hostname", "etc/resolv.conf"]);
}

#[test]
fn a_hard_link_keeps_its_file() {
    let tar = Tar::default()
        .file("var/lib/dpkg/status-old", "x")
        .hard_link("var/lib/dpkg/diverted", "./var/lib/dpkg/status-old");
    assert_eq!(paths(tar), ["var/lib/dpkg/status-old", "var/lib/dpkg/diverted"]);
}

#[test]
fn empty_layers_and_the_fallback_epoch() {
    let table = [
        (Tar::default(), true, 42),
        (Tar::default().dir_at("usr/", 9000), true, 42),
        (Tar::default().dir_at("usr/", 4000).file_at("tmp/x", 4500, ""), true, 42),
        (Tar::default().file_at("usr/x", 9000, "x"), false, 42),
        (
            Tar::default().file_at("usr/x", 9000, "x").file_at("usr/y", 4999, "y"),
            false,
            4999,
        ),
    ];
    for (tar, is_empty, epoch) in table {
        let (output, normalised) = run(tar);
        assert_eq!((normalised.is_empty, normalised.epoch), (is_empty, epoch));
        assert!(listing(&output).iter().all(|(_, _, mtime, ..)| *mtime < START));
        assert_eq!(output.len() % 512, 0);
    }
}

#[test]
fn devices_and_large_content_pass() {
    let large = "z".repeat(300_000);
    let mut device = Vec::new();
    let tar =
        Tar::default()
            .add("opt/null", &entry(EntryType::Char), b"")
            .add("opt/pipe", &entry(EntryType::Fifo), b"");
    normalise(
        Cursor::new(tar.file("opt/large", &large).end()),
        &mut device,
        &Normalise::new(START, 42),
    )
    .unwrap();
    let rows = listing(&device);
    assert_eq!((rows[0].1, rows[1].1), (EntryType::Char, EntryType::Fifo));
    assert!(rows[2].4 == large);
    let sparse = Tar::default()
        .add("opt/sparse", &entry(EntryType::GNUSparse), b"")
        .end();
    let error = normalise(Cursor::new(sparse), Vec::new(), &Normalise::new(START, 42)).unwrap_err();
    assert!(matches!(error, Error::Sparse(path) if path == "opt/sparse"));
}
