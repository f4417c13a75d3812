//! Laying layers over one another: whiteouts, links, replaced directories.

use crate::layer::tests::kit::Tar;
use crate::layer::{Error, Files, merge};

/// Layers are given from the bottom, as one reads them in a history.
fn image(layers: &[Tar]) -> Files {
    let layers: Vec<_> = layers.iter().cloned().map(Tar::layer).collect();
    merge(layers.iter().rev())
}

fn text<'a>(files: &'a Files, path: &str) -> Option<&'a str> {
    files
        .read(path)
        .unwrap()
        .map(|bytes| std::str::from_utf8(bytes).unwrap())
}

fn tar() -> Tar {
    Tar::default()
}

const STATUS: &str = "var/lib/dpkg/status";

#[test]
fn neighbours_of_what_is_removed_stay() {
    const LIST: &str = "etc/apt/sources.list";
    const LISTED: &str = "etc/apt/sources.list.d/a.list";
    let base = || {
        tar()
            .file(LIST, "one")
            .file(LISTED, "two")
            .symlink("etc/apt/sources.list.d/b", "c")
    };
    let table = [
        ("the file", "etc/apt/.wh.sources.list", None, Some("two")),
        ("the directory", "etc/apt/.wh.sources.list.d", Some("one"), None),
        ("its content", "etc/apt/sources.list.d/.wh..wh..opq", Some("one"), None),
        ("one of it", "etc/apt/sources.list.d/.wh.b", Some("one"), Some("two")),
        ("both", "etc/.wh.apt", None, None),
    ];
    for (name, whiteout, list, listed) in table {
        let files = image(&[base(), tar().file(whiteout, "")]);
        assert_eq!((text(&files, LIST), text(&files, LISTED)), (list, listed), "{name}");
    }
}

#[test]
fn the_upper_layer_decides() {
    let base = || tar().dir("var").file(STATUS, "old");
    let table: [(&str, Vec<Tar>, Option<&str>); 10] = [
        ("replaced", vec![base(), tar().file(STATUS, "new")], Some("new")),
        ("untouched", vec![base(), tar().dir("var/lib")], Some("old")),
        (
            "whiteout",
            vec![base(), tar().file("var/lib/dpkg/.wh.status", "")],
            None,
        ),
        ("whiteout of an ancestor", vec![base(), tar().file(".wh.var", "")], None),
        ("opaque", vec![base(), tar().file("var/lib/.wh..wh..opq", "")], None),
        ("opaque root", vec![base(), tar().file(".wh..wh..opq", "")], None),
        (
            "whiteout and new in one layer",
            vec![base(), tar().file(STATUS, "new").file(".wh.var", "")],
            Some("new"),
        ),
        (
            "opaque and new in one layer",
            vec![base(), tar().file(STATUS, "new").file("var/lib/dpkg/.wh..wh..opq", "")],
            Some("new"),
        ),
        (
            "directory became a file",
            vec![base(), tar().file("var/lib", "x")],
            None,
        ),
        (
            "and came back",
            vec![base(), tar().file(".wh.var", ""), tar().file(STATUS, "back")],
            Some("back"),
        ),
    ];
    for (name, layers, expected) in table {
        assert_eq!(text(&image(&layers), STATUS), expected, "{name}");
    }
}

#[test]
fn links_are_followed_inside_the_root() {
    let debian = image(&[tar()
        .symlink("etc/os-release", "../usr/lib/os-release")
        .file("usr/lib/os-release", "ID=debian")]);
    assert_eq!(text(&debian, "etc/os-release"), Some("ID=debian"));
    let absolute = image(&[
        tar().symlink("etc/os-release", "/usr/lib/os-release"),
        tar().file("usr/lib/os-release", "ID=x"),
    ]);
    assert_eq!(text(&absolute, "etc/os-release"), Some("ID=x"));
    let climbing = image(&[tar()
        .symlink("etc/os-release", "../../../../usr/lib/os-release")
        .file("usr/lib/os-release", "ID=y")]);
    assert_eq!(text(&climbing, "etc/os-release"), Some("ID=y"));
    let dangling = image(&[tar().symlink("etc/os-release", "../usr/lib/os-release")]);
    assert_eq!(text(&dangling, "etc/os-release"), None);
    let circle = image(&[
        tar().symlink("etc", "etc"),
        tar().symlink("var", "run").symlink("usr", "usr/../usr"),
    ]);
    assert!(matches!(circle.read("etc/os-release"), Err(Error::SymlinkLoop(path)) if path == "etc/os-release"));
    let error = circle.read(STATUS).unwrap_err().to_string();
    assert_eq!(
        error,
        "var/lib/dpkg/status is a link to run/lib/dpkg/status, which is not there or was not read"
    );
}

#[test]
fn a_merged_usr_is_one_place() {
    let installed = "lib/apk/db/installed";
    // The base makes /lib a link; a later layer writes through it, as containerd unpacks.
    let base = || tar().symlink("lib", "usr/lib").file("usr/lib/apk/db/installed", "old");
    assert_eq!(text(&image(&[base()]), installed), Some("old"));
    let through = image(&[base(), tar().file(installed, "new")]);
    assert_eq!(
        (text(&through, installed), text(&through, "usr/lib/apk/db/installed")),
        (Some("new"), Some("new"))
    );
    let removed = image(&[base(), tar().file("lib/apk/db/.wh.installed", "")]);
    assert_eq!(text(&removed, "usr/lib/apk/db/installed"), None);
    let replaced = image(&[base(), tar().dir("lib").file(installed, "own")]);
    assert_eq!(
        (text(&replaced, installed), text(&replaced, "usr/lib/apk/db/installed")),
        (Some("own"), Some("old"))
    );
    assert_eq!(text(&image(&[tar().symlink("lib", "usr/lib")]), installed), None);
}

#[test]
fn hard_links_keep_what_they_were_linked_to() {
    let base = tar().file("usr/lib/os-release", "ID=a");
    let linked = [
        base,
        tar().hard_link("etc/os-release", "usr/lib/os-release"),
        tar().file("usr/lib/os-release", "ID=b"),
    ];
    assert_eq!(text(&image(&linked), "etc/os-release"), Some("ID=a"));
    let lost = image(&[tar().hard_link("etc/os-release", "opt/x")]);
    assert!(matches!(lost.read("etc/os-release"), Err(Error::NotKept { target, .. }) if target == "opt/x"));
}

#[test]
fn directories_are_listed_in_order() {
    let files = image(&[
        tar()
            .file("var/lib/dpkg/status.d/b", "2")
            .file("var/lib/dpkg/status.d/c", "3"),
        tar()
            .file("var/lib/dpkg/status.d/a", "1")
            .file("var/lib/dpkg/status.d/.wh.c", ""),
    ]);
    let listed: Vec<(String, &[u8])> = files.list("var/lib/dpkg/status.d").unwrap();
    assert_eq!(
        listed,
        [
            ("var/lib/dpkg/status.d/a".to_owned(), &b"1"[..]),
            ("var/lib/dpkg/status.d/b".to_owned(), b"2")
        ]
    );
    assert_eq!(files.list("etc/apt/sources.list.d").unwrap(), []);
}
