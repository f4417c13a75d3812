//! Reading one layer: formats, compressions, what is kept.

use crate::layer::tests::kit::{Entry, Tar, entry, gzip, look, zstd};
use crate::layer::{Compression, LayerFiles, Limits, Node, Wanted, read};

fn content<'a>(layer: &'a LayerFiles, path: &str) -> Option<&'a str> {
    match layer.node(path)? {
        Node::File(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

#[test]
fn keeps_what_is_wanted_and_nothing_else() {
    let layer = Tar::default()
        .dir("./")
        .dir("./etc/")
        .symlink("./etc/os-release", "../usr/lib/os-release")
        .file("./etc/passwd", "root")
        .dir("./etc/apt/sources.list.d/")
        .file("./etc/apt/sources.list.d/debian.sources", "Types: deb")
        .file("./etc/apt/sources.list.d/deeper/x.list", "no")
        .file("/usr/lib/os-release", "ID=debian")
        .file("var/lib/dpkg/./status", "Package: a")
        .file("var/lib/dpkg/status.d/base", "Package: b")
        .file("var/lib/dpkg/.wh.available", "")
        .file("var/lib/apt/.wh..wh..opq", "")
        .layer();
    assert_eq!(content(&layer, "usr/lib/os-release"), Some("ID=debian"));
    assert_eq!(content(&layer, "/var/lib/dpkg/status"), Some("Package: a"));
    assert_eq!(content(&layer, "var/lib/dpkg/status.d/base"), Some("Package: b"));
    assert_eq!(
        content(&layer, "etc/apt/sources.list.d/debian.sources"),
        Some("Types: deb")
    );
    assert_eq!(
        layer.node("etc/os-release"),
        Some(&Node::Symlink("../usr/lib/os-release".to_owned()))
    );
    assert_eq!(layer.node("etc"), Some(&Node::Directory));
    for absent in ["etc/passwd", "etc/apt/sources.list.d/deeper/x.list"] {
        assert_eq!(layer.node(absent), None, "{absent}");
    }
    assert!(!layer.is_whiteout("var/lib/dpkg/available") && !layer.is_opaque("var/lib/apt"));
}

#[test]
fn whiteouts_of_wanted_paths_and_of_what_is_above_them() {
    let layer = Tar::default()
        .file("var/.wh.lib", "")
        .file("etc/.wh.os-release", "")
        .file("var/lib/dpkg/.wh..wh..opq", "")
        .layer();
    assert!(layer.is_whiteout("var/lib") && layer.is_whiteout("etc/os-release") && layer.is_opaque("var/lib/dpkg"));
    assert!(!layer.is_whiteout("var") && !layer.is_opaque("var"));
}

#[test]
fn hard_links_share_the_content() {
    let layer = Tar::default()
        .file("usr/lib/os-release", "ID=a")
        .hard_link("etc/os-release", "./usr/lib/os-release")
        .hard_link("var/lib/dpkg/status", "etc/os-release")
        .hard_link("etc/apt/sources.list", "somewhere/else")
        .layer();
    assert_eq!(content(&layer, "etc/os-release"), Some("ID=a"));
    assert_eq!(content(&layer, "var/lib/dpkg/status"), Some("ID=a"));
    assert_eq!(
        layer.node("etc/apt/sources.list"),
        Some(&Node::HardLink("somewhere/else".to_owned()))
    );
}

#[test]
fn names_from_gnu_and_pax_extensions() {
    let long = format!("var/lib/dpkg/status.d/{}", "n".repeat(200));
    let by_record = Entry {
        records: vec![("path", b"var/lib/dpkg/status"), ("size", b"4")],
        ..entry(tar::EntryType::Regular)
    };
    let target = format!("../usr/{}", "t".repeat(150));
    let layer = Tar::default()
        .file(&long, "gnu")
        .add("short", &by_record, b"pax!")
        .symlink("etc/os-release", &target)
        .layer();
    assert_eq!(content(&layer, &long), Some("gnu"));
    assert_eq!(content(&layer, "var/lib/dpkg/status"), Some("pax!"));
    assert_eq!(layer.node("etc/os-release"), Some(&Node::Symlink(target)));
}

#[test]
fn every_compression_in_one_piece_and_in_several() {
    let tar = Tar::default()
        .file("filler", &"x".repeat(9000))
        .file("var/lib/dpkg/status", "Package: a")
        .end();
    let (one, two) = tar.split_at(3000);
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let table = [
        ("plain", Compression::None, tar.clone()),
        ("gzip", Compression::Gzip, gzip(&tar)),
        (
            "gzip members",
            Compression::Gzip,
            [gzip(one), gzip(two), gzip(b"")].concat(),
        ),
        ("zstd", Compression::Zstd, zstd(&tar)),
        ("zstd frames", Compression::Zstd, [zstd(one), zstd(two)].concat()),
        (
            "zstd skippable frames",
            Compression::Zstd,
            [skippable.to_vec(), zstd(one), zstd(two), skippable.to_vec()].concat(),
        ),
    ];
    for (name, compression, bytes) in table {
        for compression in [compression, Compression::Detect] {
            let layer = read(bytes.as_slice(), compression, &Wanted::packages(), &Limits::default()).unwrap();
            assert_eq!(
                content(&layer, "var/lib/dpkg/status"),
                Some("Package: a"),
                "{name} {compression:?}"
            );
        }
    }
    assert_eq!(look(b"").unwrap().node("etc"), None);
}

#[test]
fn media_types() {
    let table = [
        ("application/vnd.oci.image.layer.v1.tar", Some(Compression::None)),
        ("application/vnd.oci.image.layer.v1.tar+gzip", Some(Compression::Gzip)),
        ("application/vnd.oci.image.layer.v1.tar+zstd", Some(Compression::Zstd)),
        (
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            Some(Compression::Gzip),
        ),
        ("application/vnd.oci.image.config.v1+json", None),
        ("application/octet-stream", None),
    ];
    for (text, expected) in table {
        assert_eq!(Compression::of_media_type(text), expected, "{text}");
    }
}

#[test]
fn each_package_manager_has_its_files() {
    let kept = [
        "usr/lib/sysimage/rpm/rpmdb.sqlite",
        "usr/share/rpm/Packages.db",
        "var/lib/rpm/Packages",
        "var/lib/rpmmanifest/container-manifest-2",
        "etc/yum.repos.d/fedora.repo",
        "etc/dnf/vars/releasever",
        "etc/pki/rpm-gpg/RPM-GPG-KEY",
        "etc/zypp/locks",
        "etc/apk/world",
        "etc/apk/keys/a.rsa.pub",
        "usr/lib/apk/db/installed",
        "etc/apt/preferences.d/pin",
        "usr/share/keyrings/debian.gpg",
        "var/lib/pacman/local/glibc-2.40-1/desc",
    ];
    let other = [
        "var/lib/rpm/__db.001",
        "etc/yum.repos.d/deeper/x.repo",
        "var/lib/pacman/local/glibc-2.40-1/files",
        "var/lib/pacman/sync/core.db",
        "app/node_modules/a/package.json",
    ];
    let tar = kept
        .iter()
        .chain(&other)
        .fold(Tar::default(), |tar, path| tar.file(path, path));
    let layer = tar.layer();
    for path in kept {
        assert_eq!(content(&layer, path), Some(path));
    }
    for path in other {
        assert_eq!(content(&layer, path), None, "{path}");
    }
}

#[test]
fn a_database_may_be_larger_than_other_files() {
    let limits = Limits {
        database_bytes: 20,
        file_bytes: 10,
        ..Limits::default()
    };
    let within = |path: &str, bytes: usize| {
        let tar = Tar::default().file(path, &"x".repeat(bytes)).end();
        read(tar.as_slice(), Compression::Detect, &Wanted::packages(), &limits).map_err(|error| error.to_string())
    };
    assert!(within("var/lib/rpm/rpmdb.sqlite", 20).is_ok());
    let (database, status) = (
        within("var/lib/rpm/rpmdb.sqlite", 21),
        within("var/lib/dpkg/status", 11),
    );
    assert_eq!(
        database.unwrap_err(),
        "var/lib/rpm/rpmdb.sqlite in the layer is larger than 20 bytes"
    );
    assert_eq!(
        status.unwrap_err(),
        "var/lib/dpkg/status in the layer is larger than 10 bytes"
    );
}

#[test]
fn threads_may_share_what_was_read() {
    fn shared<T: Send + Sync>() {}
    shared::<LayerFiles>();
    shared::<crate::layer::Files>();
}
