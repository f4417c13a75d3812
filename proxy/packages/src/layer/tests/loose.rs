//! Files that are wanted by a pattern: found anywhere, hidden by what upper layers do, left out when there are too many.

use tar::EntryType;

use crate::layer::tests::kit::{Tar, entry};
use crate::layer::{Compression, Files, LayerFiles, Limits, Node, Pattern, Wanted, merge, read};

fn layer_within(tar: Tar, limits: &Limits) -> LayerFiles {
    let wanted = Wanted::packages().with(Pattern::ALL);
    read(tar.end().as_slice(), Compression::Detect, &wanted, limits).unwrap()
}

/// Layers are given from the bottom.
fn image(layers: Vec<Tar>) -> Files {
    let layers: Vec<_> = layers
        .into_iter()
        .map(|tar| layer_within(tar, &Limits::default()))
        .collect();
    merge(layers.iter().rev())
}

fn found(files: &Files) -> Vec<String> {
    let found = files
        .loose()
        .map(|(path, _, bytes)| format!("{path}={}", String::from_utf8_lossy(bytes)));
    found.collect()
}

fn tar() -> Tar {
    Tar::default()
}

const METADATA: &str = "opt/app/lib/a-1.dist-info/METADATA";

fn base() -> Tar {
    tar()
        .dir("opt")
        .dir("opt/app")
        .dir("opt/app/lib")
        .file(METADATA, "Name: a")
}

#[test]
fn found_anywhere_and_condensed() {
    let files = image(vec![
        tar()
            .file(
                "usr/lib/python3/dist-packages/a-1.dist-info/METADATA",
                "Name: a\n\nText",
            )
            .file("b.egg-info", "Name: b")
            .file(
                "app/node_modules/@s/c/package.json",
                r#"{"name":"@s/c","version":"1","x":1}"#,
            )
            .file("app/node_modules/c/test/package.json", "{}")
            .file("app/App.deps.json", r#"{"libraries":{"D/1":{"type":"package"}}}"#)
            .file("app/other.json", "{}"),
    ]);
    let expected = [
        r#"app/App.deps.json={"libraries":{"D/1":{"type":"package"}}}"#,
        r#"app/node_modules/@s/c/package.json={"name":"@s/c","version":"1"}"#,
        "b.egg-info=Name: b",
        "usr/lib/python3/dist-packages/a-1.dist-info/METADATA=Name: a\n",
    ];
    assert_eq!(found(&files), expected);
    let patterns: Vec<Pattern> = files.loose().map(|(_, pattern, _)| pattern).collect();
    assert_eq!(
        patterns,
        [Pattern::Dotnet, Pattern::Node, Pattern::Python, Pattern::Python]
    );
    assert!(!files.truncated() && files.notes().is_empty());
}

#[test]
fn without_patterns_nothing_of_it_is_remembered() {
    let layer = base().file("opt/.wh.x", "").symlink("opt/y", "app").layer();
    assert_eq!(layer.kept_bytes(), 0);
}

#[test]
fn what_upper_layers_hide() {
    let here = vec![format!("{METADATA}=Name: a")];
    let gone = Vec::new();
    let table: [(&str, Tar, &Vec<String>); 13] = [
        ("nothing", tar().dir("opt").dir("opt/app"), &here),
        (
            "whiteout",
            tar().file("opt/app/lib/a-1.dist-info/.wh.METADATA", ""),
            &gone,
        ),
        (
            "whiteout of its directory",
            tar().file("opt/app/lib/.wh.a-1.dist-info", ""),
            &gone,
        ),
        ("whiteout far above", tar().file(".wh.opt", ""), &gone),
        ("whiteout of a neighbour", tar().file("opt/.wh.application", ""), &here),
        ("opaque", tar().file("opt/app/.wh..wh..opq", ""), &gone),
        ("opaque neighbour", tar().file("opt/ap/.wh..wh..opq", ""), &here),
        (
            "a link in place of a directory",
            tar().symlink("opt/app", "/srv"),
            &gone,
        ),
        (
            "a file in place of its directory",
            tar().file("opt/app/lib/a-1.dist-info", ""),
            &gone,
        ),
        ("a symlink in its place", tar().symlink(METADATA, "/x"), &gone),
        ("a directory in its place", tar().dir(METADATA), &gone),
        ("too large", tar().file(METADATA, &"x".repeat(3 << 20)), &gone),
        (
            "another package",
            tar().file("opt/app/lib/.wh.b-1.dist-info", ""),
            &here,
        ),
    ];
    for (name, upper, expected) in table {
        assert_eq!(&found(&image(vec![base(), upper])), expected, "{name}");
    }
    let large = image(vec![tar().file(METADATA, &"x".repeat(3 << 20))]);
    assert_eq!(
        large.notes(),
        [format!("{METADATA} is not read: it is larger than 2097152 bytes")]
    );
}

#[test]
fn links_and_directories_above() {
    let through = image(vec![
        tar().dir("real").symlink("opt", "real"),
        tar().file("opt/node_modules/a/package.json", "{}"),
    ]);
    assert_eq!(found(&through), ["real/node_modules/a/package.json={}"]);
    let replaced = image(vec![
        tar().dir("real").symlink("opt", "real"),
        tar()
            .dir("opt")
            .dir("opt/node_modules")
            .file("opt/node_modules/a/package.json", "{}"),
    ]);
    assert_eq!(found(&replaced), ["opt/node_modules/a/package.json={}"]);
    let linked = image(vec![
        tar().file("node_modules/a/package.json", "{}"),
        tar().hard_link("node_modules/b/package.json", "node_modules/a/package.json"),
    ]);
    assert_eq!(
        found(&linked),
        ["node_modules/a/package.json={}", "node_modules/b/package.json={}"]
    );
    let workspace = image(vec![
        tar()
            .symlink("node_modules/a", ".pnpm/a@1/node_modules/a")
            .file("node_modules/.pnpm/a@1/node_modules/a/package.json", "{}"),
    ]);
    assert_eq!(
        found(&workspace),
        ["node_modules/.pnpm/a@1/node_modules/a/package.json={}"]
    );
}

/// An executable that Go built, as far as anybody looks.
fn go(module: &str) -> Vec<u8> {
    let modules = format!("path\t{module}\n");
    let mut bytes = b"\x7fELF".to_vec();
    bytes.resize(160, 0);
    bytes.extend_from_slice(b"\xff Go buildinf:\x08\x02");
    bytes.resize(192, 0);
    bytes.extend_from_slice(b"\x06go1.24");
    bytes.push(u8::try_from(modules.len() + 32).unwrap());
    bytes.extend_from_slice(&[&[0; 16], modules.as_bytes(), &[0; 16]].concat());
    bytes
}

fn executable(tar: Tar, path: &str, content: &[u8]) -> Tar {
    tar.add_with_mode(path, &entry(EntryType::Regular), content, 0o755)
}

#[test]
fn go_executables() {
    let base = || {
        executable(tar(), "usr/bin/x", &go("m"))
            .hard_link("usr/bin/y", "usr/bin/x")
            .add("usr/bin/z", &entry(EntryType::Regular), &go("not executable"))
    };
    let (x, y) = ("usr/bin/x=go\tgo1.24\npath\tm\n", "usr/bin/y=go\tgo1.24\npath\tm\n");
    assert_eq!(found(&image(vec![base()])), [x, y]);
    let other = executable(tar(), "usr/bin/x", b"#!/bin/sh");
    assert_eq!(found(&image(vec![base(), other])), [y]);
    let newer = executable(tar(), "usr/bin/x", &go("n"));
    assert_eq!(
        found(&image(vec![base(), newer])),
        ["usr/bin/x=go\tgo1.24\npath\tn\n", y]
    );
    let gone = tar().file("usr/.wh.bin", "");
    assert_eq!(found(&image(vec![base(), gone])), [""; 0]);
}

#[test]
fn too_many_are_left_out_and_packages_stay() {
    let many = (0..50).fold(tar(), |tar, index| {
        tar.file(&format!("node_modules/p{index:02}/package.json"), "{}")
    });
    let status = "var/lib/dpkg/status";
    let many = many.file(status, "Package: a");
    let by_count = Limits {
        loose_files: 20,
        ..Limits::default()
    };
    let by_bytes = Limits {
        loose_bytes: 20 * (64 + 29 + 2),
        ..Limits::default()
    };
    for limits in [by_count, by_bytes] {
        let layer = layer_within(many.clone(), &limits);
        assert!(layer.truncated());
        let files = merge([&layer]);
        assert_eq!((files.loose().count(), files.truncated()), (20, true));
        assert_eq!(files.read(status).unwrap(), Some(&b"Package: a"[..]));
        assert_eq!(
            files.notes(),
            ["there are too many packages of programming languages: some are missing here"]
        );
    }
    let mut forgotten = layer_within(many, &Limits::default());
    assert!(!forgotten.truncated());
    forgotten.forget_loose();
    assert_eq!((forgotten.kept_bytes(), forgotten.truncated()), (64 + 19 + 10, true));
    assert!(matches!(forgotten.node(status), Some(Node::File(_))));
}

#[test]
fn paths_behind_endless_links_take_a_bounded_time() {
    let deep = "a/".repeat(1500);
    let mut layers = vec![tar().symlink("a", &format!("{deep}a"))];
    let many = (0..200).fold(tar(), |tar, index| {
        tar.symlink(&format!("{deep}{index}"), &format!("{deep}x"))
    });
    layers.extend((0..20).map(|_| many.clone()));
    let begin = std::time::Instant::now();
    let _ = image(layers);
    assert!(begin.elapsed().as_secs() < 20);
}

#[test]
fn databases_in_directories_of_their_own() {
    let local = "var/lib/pacman/local";
    let base = tar()
        .file(&format!("{local}/ALPM_DB_VERSION"), "9")
        .file(&format!("{local}/a-1/desc"), "%NAME%\na")
        .file(&format!("{local}/a-1/files"), "no")
        .file(&format!("{local}/b-1/desc"), "%NAME%\nb");
    let upper = tar()
        .file(&format!("{local}/.wh.a-1"), "")
        .file(&format!("{local}/a-2/desc"), "%NAME%\na2");
    let files = image(vec![base, upper]);
    let listed = files.list_nested(local, "desc").unwrap();
    let expected = [
        (format!("{local}/a-2/desc"), &b"%NAME%\na2"[..]),
        (format!("{local}/b-1/desc"), &b"%NAME%\nb"[..]),
    ];
    assert_eq!(listed, expected);
}

#[test]
fn configuration_that_is_too_large_is_a_note() {
    let large = "x".repeat((1 << 20) + 1);
    let files = image(vec![
        tar()
            .file("etc/apt/sources.list", "old")
            .file("etc/yum.repos.d/a.repo", "[a]"),
        tar()
            .file("etc/apt/sources.list", &large)
            .file("etc/yum.repos.d/b.repo", &large),
    ]);
    assert_eq!(files.read("etc/apt/sources.list").unwrap(), None);
    assert_eq!(files.list("etc/yum.repos.d").unwrap().len(), 1);
    let note = |path: &str| format!("{path} is not read: it is larger than 1048576 bytes");
    assert_eq!(
        files.notes(),
        [note("etc/apt/sources.list"), note("etc/yum.repos.d/b.repo")]
    );
}
