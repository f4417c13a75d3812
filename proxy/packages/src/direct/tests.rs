//! Packages over images that are made entry by entry; what comes out is looked at entry by entry, too.

#![expect(
    clippy::too_many_lines,
    clippy::type_complexity,
    reason = "a table of cases is read whole"
)]

use tar::EntryType;

use super::*;
use crate::layer::Limits;
use crate::layer::archive::Archive;

mod apk;
mod scene;

use scene::{Scene, Tar, listing, md5, text};

const STATUS: &str = "var/lib/dpkg/status.d";

/// A distroless image with one package, whose files have these sums.
fn image(name: &str, files: &[(&str, &str)]) -> Tar {
    let stanza =
        format!("Package: {name}\nVersion: 1.0\nArchitecture: amd64\nDepends: old\nDescription: made\n of tests\n\n");
    let sums: String = files
        .iter()
        .map(|(path, content)| format!("{}  {path}\n", md5(content)))
        .collect();
    Tar::default()
        .directory("var/lib/dpkg/status.d/")
        .file(&format!("{STATUS}/{name}"), &stanza)
        .file(&format!("{STATUS}/{name}.md5sums"), &sums)
}

#[test]
fn files_land_where_the_image_really_has_them() {
    let old = [
        ("lib/x86/libfoo.so.1.0", "old"),
        ("usr/share/doc/foo/copyright", "(c)"),
        ("usr/share/doc/foo/changelog", "1"),
    ];
    let image = image("foo", &old)
        .directory("usr/")
        .add(EntryType::Directory, "usr/lib/", "", 0o2750, b"")
        .record("SCHILY.xattr.user.kept", b"yes")
        .symlink("lib", "usr/lib")
        .file("usr/lib/x86/libfoo.so.1.0", "old")
        .symlink("usr/lib/x86/libfoo.so.1", "libfoo.so.1.0")
        .file("usr/share/doc/foo/copyright", "(c)");
    let new = Tar::default()
        .directory("./")
        .directory("./lib/")
        .directory("./lib/x86/")
        .symlink("./lib/x86/libfoo.so.1", "libfoo.so.1.1")
        .file("./lib/x86/libfoo.so.1.1", "new")
        .directory("./usr/share/doc/foo/")
        .file("./usr/share/doc/foo/changelog", "2")
        .file("./usr/share/doc/foo/copyright", "(c) 2")
        .file("./usr/share/doc/foo/NEWS", "n")
        .file("./usr/share/man/man1/foo.1", "m");
    let layer = Scene::new(image)
        .deb("foo", "1.1", new, &[("triggers", "activate-noawait ldconfig")])
        .layer();
    assert_eq!(text(&layer, "usr/lib/x86/libfoo.so.1.1"), "new");
    assert_eq!(text(&layer, "usr/lib/x86/libfoo.so.1"), "libfoo.so.1.1");
    assert_eq!(
        text(&layer, "usr/lib/x86/.wh.libfoo.so.1.0"),
        "",
        "the old library is removed"
    );
    assert_eq!(layer["usr/lib/"].1, 0o2750, "folders are named as the image has them");
    assert!(
        !layer.keys().any(|path| path == "lib" || path.starts_with("lib/")),
        "{:?}",
        layer.keys()
    );
    assert_eq!(text(&layer, "usr/share/doc/foo/copyright"), "(c) 2");
    for gone in ["changelog", "NEWS"] {
        assert!(
            !layer.contains_key(&format!("usr/share/doc/foo/{gone}")),
            "{gone} was dropped and stays away"
        );
    }
    assert!(
        !layer.keys().any(|path| path.contains("/man")),
        "no folder for what does not come"
    );
    let stanza = text(&layer, "var/lib/dpkg/status.d/foo");
    assert_eq!(
        stanza,
        "Package: foo\nVersion: 1.1\nArchitecture: amd64\nDescription: made\n of tests\n\n"
    );
    let sums = text(&layer, "var/lib/dpkg/status.d/foo.md5sums");
    let expected = [
        ("lib/x86/libfoo.so.1.1", "new"),
        ("usr/share/doc/foo/copyright", "(c) 2"),
    ];
    let expected: String = expected
        .iter()
        .map(|(path, content)| format!("{}  {path}\n", md5(content)))
        .collect();
    assert_eq!(sums, expected);
}

#[test]
fn conffiles_stay_as_the_image_has_them() {
    let image = image("foo", &[])
        .file("etc/foo/edited", "mine")
        .file("etc/foo/same", "1")
        .file("etc/foo/plain", "old");
    let new = Tar::default()
        .file("./etc/foo/edited", "theirs")
        .file("./etc/foo/same", "1")
        .file("./etc/foo/deleted", "back?")
        .file("./usr/lib/foo", "x");
    let conffiles = [("conffiles", "/etc/foo/edited\n/etc/foo/same\n/etc/foo/deleted\n")];
    let scene = Scene::new(image).deb("foo", "1.1", new.clone(), &conffiles);
    let layer = scene.layer();
    assert_eq!(text(&layer, "usr/lib/foo"), "x");
    assert!(!layer.keys().any(|path| path.starts_with("etc")), "{:?}", layer.keys());
    let Outcome::Layer { notes } = scene.run().unwrap().0 else {
        panic!()
    };
    assert_eq!(notes, ["/etc/foo/edited stays as the image has it"]);

    // Where the database says what they were, one that nobody changed is replaced, and one that is new comes.
    let (old, other) = (md5("mine"), md5("other"));
    let stanza = format!(
        "Package: foo\nStatus: install ok installed\nVersion: 1.0\nArchitecture: amd64\nConffiles:\n /etc/foo/edited {old}\n /etc/foo/changed {other}\n"
    );
    let image = Tar::default()
        .file(&format!("{STATUS}/anything"), &stanza)
        .file("etc/foo/edited", "mine")
        .file("etc/foo/changed", "mine, too");
    let new = new.file("./etc/foo/changed", "theirs");
    let conffiles = "/etc/foo/edited\n/etc/foo/same\n/etc/foo/deleted\n/etc/foo/changed\n";
    let layer = Scene::new(image)
        .deb("foo", "1.1", new, &[("conffiles", conffiles)])
        .layer();
    assert_eq!(text(&layer, "etc/foo/edited"), "theirs");
    assert_eq!(
        text(&layer, "etc/foo/deleted"),
        "back?",
        "the old version had none of that name"
    );
    assert!(!layer.contains_key("etc/foo/changed"));
    let stanza = text(&layer, "var/lib/dpkg/status.d/anything");
    assert!(
        stanza.contains("Status: install ok installed\n") && stanza.contains("Version: 1.1\n"),
        "{stanza}"
    );
    assert!(
        stanza.contains(&format!(" /etc/foo/changed {}\n", md5("theirs"))),
        "{stanza}"
    );
    assert!(
        !layer.contains_key("var/lib/dpkg/status.d/anything.md5sums"),
        "there was none"
    );
}

#[test]
fn hard_links_modes_and_capabilities_survive() {
    let image = image(
        "foo",
        &[("usr/bin/foo", "old"), ("usr/bin/alias", "old"), ("usr/bin/cap", "old")],
    )
    .file("usr/bin/foo", "old")
    .hard_link("usr/bin/alias", "usr/bin/foo")
    .file("usr/bin/cap", "old")
    .record("SCHILY.xattr.security.capability", b"\x01\n\x02");
    let new = Tar::default()
        .add(EntryType::Regular, "./usr/bin/foo", "", 0o4755, b"new")
        .hard_link("./usr/bin/alias", "./usr/bin/foo")
        .hard_link("./usr/bin/dropped", "./usr/bin/foo")
        .file("./usr/bin/cap", "new");
    let (_, bytes) = Scene::new(image).deb("foo", "1.1", new, &[]).run().unwrap();
    let layer = listing(&bytes);
    assert_eq!(layer["usr/bin/foo"], (EntryType::Regular, 0o4755, "new".to_owned()));
    assert_eq!(layer["usr/bin/alias"].2, "usr/bin/foo");
    assert_eq!(layer["usr/bin/dropped"].2, "usr/bin/foo", "it is new");
    let sums = text(&layer, "var/lib/dpkg/status.d/foo.md5sums");
    assert!(sums.contains(&format!("{}  usr/bin/alias\n", md5("new"))), "{sums}");
    let mut archive = Archive::new(&bytes[..], Limits::default());
    let mut found = None;
    while let Some(member) = archive.next().unwrap() {
        if member.path == b"usr/bin/cap" {
            found = member
                .records
                .into_iter()
                .find(|record| record.key == b"SCHILY.xattr.security.capability");
        }
    }
    assert_eq!(found.unwrap().value, b"\x01\n\x02");
}

#[test]
fn what_another_package_has_is_not_removed_and_what_is_the_same_is_not_written() {
    let image = image(
        "foo",
        &[
            ("usr/lib/shared", "s"),
            ("usr/lib/moved", "m"),
            ("usr/lib/same", "x"),
            ("usr/lib/gone", "g"),
        ],
    )
    .file("usr/lib/shared", "s")
    .file("usr/lib/moved", "m")
    .file("usr/lib/same", "x")
    .file("usr/lib/gone", "g")
    .file(
        &format!("{STATUS}/bar"),
        "Package: bar\nVersion: 1.0\nArchitecture: amd64\n",
    )
    .file(&format!("{STATUS}/bar.md5sums"), "")
    .file(
        &format!("{STATUS}/other"),
        "Package: other\nVersion: 1.0\nArchitecture: amd64\n",
    )
    .file(
        &format!("{STATUS}/other.md5sums"),
        &format!("{}  usr/lib/shared\n", md5("s")),
    );
    let layer = Scene::new(image)
        .deb("foo", "1.1", Tar::default().file("./usr/lib/same", "x"), &[])
        .deb("bar", "1.1", Tar::default().file("./usr/lib/moved", "m"), &[])
        .layer();
    let paths: Vec<&str> = layer
        .keys()
        .map(String::as_str)
        .filter(|path| !path.ends_with('/'))
        .collect();
    let expected = [
        "usr/lib/.wh.gone",
        &format!("{STATUS}/bar"),
        &format!("{STATUS}/bar.md5sums"),
        &format!("{STATUS}/foo"),
        &format!("{STATUS}/foo.md5sums"),
    ];
    assert_eq!(paths, expected);
}

#[test]
fn what_cannot_be_done_is_refused_with_its_reason() {
    let plain = || image("foo", &[("usr/lib/foo", "old")]).file("usr/lib/foo", "old");
    let new = || Tar::default().file("./usr/lib/foo", "new");
    let lines = [("triggers", "activate-noawait ldconfig\n")];
    let cases: Vec<(&str, Tar, Tar, Vec<(&str, &str)>, &str)> = vec![
        (
            "a script",
            plain(),
            new(),
            vec![("postinst", "#!/bin/sh\n")],
            "its postinst",
        ),
        (
            "a trigger",
            plain(),
            new(),
            vec![("triggers", "interest /usr/lib\n")],
            "its trigger",
        ),
        ("not installed", image("bar", &[]), new(), vec![], "exactly once"),
        (
            "upwards",
            plain(),
            new().file("./usr/../../etc/passwd", "x"),
            vec![],
            "leads upwards",
        ),
        (
            "an upward hard link",
            plain(),
            new().hard_link("./x", "../../etc/shadow"),
            vec![],
            "leads upwards",
        ),
        (
            "a whiteout",
            plain(),
            new().file("./usr/lib/.wh.libc.so", ""),
            vec![],
            "removed",
        ),
        (
            "an opaque folder",
            plain(),
            new().file("./.wh..wh..opq/x", ""),
            vec![],
            "removed",
        ),
        (
            "the database",
            plain(),
            new().file("./var/lib/dpkg/status.d/libc6", "x"),
            vec![],
            "database",
        ),
        (
            "a device",
            plain(),
            new().add(EntryType::Char, "./dev/mem", "", 0o666, b""),
            vec![],
            "neither file",
        ),
        (
            "a file over a folder",
            plain(),
            Tar::default().file("./usr/lib", "x"),
            vec![],
            "has a folder",
        ),
        (
            "a folder over a file",
            plain(),
            Tar::default().directory("./usr/lib/foo/"),
            vec![],
            "else than a folder",
        ),
        (
            "a file below a file",
            plain(),
            Tar::default().file("./usr/lib/foo/x", "x"),
            vec![],
            "else than a folder",
        ),
        (
            "a link to nothing",
            plain(),
            new().hard_link("./usr/lib/new", "./usr/lib/absent"),
            vec![],
            "shares a file",
        ),
        (
            "a loop",
            plain().symlink("loop", "loop"),
            new().file("./loop/x", "x"),
            vec![],
            "too many symbolic links",
        ),
        (
            "a cache of libraries",
            plain().file("etc/ld.so.cache", "cache"),
            new().file("./usr/lib/libnew.so.1", "x"),
            lines.to_vec(),
            "ldconfig",
        ),
    ];
    for (what, image, data, control, reason) in cases {
        let refused = Scene::new(image).deb("foo", "1.1", data, &control).refused();
        assert!(refused.contains(reason), "{what}: {refused}");
    }
    // With the same libraries as before, the cache is right.
    let image = image("foo", &[("usr/lib/libfoo.so.1", "old")])
        .file("usr/lib/libfoo.so.1", "old")
        .file("etc/ld.so.cache", "cache");
    let layer = Scene::new(image)
        .deb(
            "foo",
            "1.1",
            Tar::default().file("./usr/lib/libfoo.so.1", "new"),
            &lines,
        )
        .layer();
    assert_eq!(text(&layer, "usr/lib/libfoo.so.1"), "new");
}

#[test]
fn nothing_is_written_through_links_that_lead_outside() {
    let image = image("foo", &[])
        .symlink("usr/lib", "../../../../outside")
        .symlink("abs", "/etc");
    let data = Tar::default()
        .file("/usr/lib/x", "1")
        .file("./abs/y", "2")
        .symlink("./usr/link", "../../../../../etc/passwd");
    let layer = Scene::new(image).deb("foo", "1.1", data, &[]).layer();
    assert_eq!(text(&layer, "outside/x"), "1", "inside the root");
    assert_eq!(text(&layer, "etc/y"), "2");
    assert!(
        layer.keys().all(|path| !path.contains("..") && !path.starts_with('/')),
        "{:?}",
        layer.keys()
    );
}

fn certificate(name: &str) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{name}\n-----END CERTIFICATE-----\n")
}

#[test]
fn the_bundle_of_certificates_is_made_anew() {
    let folder = "usr/share/ca-certificates/mozilla";
    let path = |name: &str| format!("{folder}/{name}.crt");
    let files = ["A", "B", "C", "D"].map(|name| (path(name), certificate(name)));
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, content)| (path.as_str(), content.as_str()))
        .collect();
    let bundle = ["A", "B", "D", "own"].map(certificate).concat();
    let image = image("ca-certificates", &files).file("etc/ssl/certs/ca-certificates.crt", &bundle);
    let data = ["A", "C", "D", "E"].iter().fold(Tar::default(), |tar, name| {
        let content = certificate(if *name == "D" { "D2" } else { name });
        tar.file(&format!("./{}", path(name)), &content)
    });
    let control = [
        ("postinst", "#!/bin/sh\n"),
        ("triggers", "interest update-ca-certificates\n"),
    ];
    let scene = Scene::new(image.clone()).deb("ca-certificates", "1.1", data.clone(), &control);
    let layer = scene.layer();
    // B is distrusted now, C was taken out by the image's owner, E is new.
    let expected = ["A", "D2", "E", "own"].map(certificate).concat();
    assert_eq!(text(&layer, "etc/ssl/certs/ca-certificates.crt"), expected);
    assert!(
        !layer.keys().any(|path| path.starts_with("usr/share")),
        "the image has dropped them"
    );

    let hashed = image.symlink("etc/ssl/certs/1234.0", "A.pem");
    let refused = Scene::new(hashed)
        .deb("ca-certificates", "1.1", data.clone(), &control)
        .refused();
    assert!(refused.contains("links by name and hash"), "{refused}");
    let unknown = self::image("ca-certificates", &[]).file("etc/ssl/certs/ca-certificates.crt", &bundle);
    let refused = Scene::new(unknown)
        .deb("ca-certificates", "1.1", data.clone(), &control)
        .refused();
    assert!(refused.contains("does not tell"), "{refused}");
    let none = self::image("ca-certificates", &files);
    let layer = Scene::new(none).deb("ca-certificates", "1.1", data, &control).layer();
    assert!(
        !layer.contains_key("etc/ssl/certs/ca-certificates.crt"),
        "there was none"
    );
}

#[test]
fn the_fields_of_a_stanza_keep_their_form() {
    let stanza = "Version: 1.0\nPackage: foo\nArchitecture: amd64\nSection: libs\nDepends: libc6 (>= 2.30),\n libold\nInstalled-Size: 5\nTag: gone\nDescription: old\n text\n .\n more\n";
    let image = Tar::default().file(&format!("{STATUS}/5f6"), stanza);
    let control = "Package: foo\nSource: src (1.1)\nVersion: 1.1\nArchitecture: amd64\nMaintainer: m\nInstalled-Size: 6\nDepends: libc6 (>= 2.36)\nBreaks: bar\nSection: libs\nDescription: new\n text\n";
    let mut scene = Scene::new(image).deb("foo", "1.1", Tar::default(), &[]);
    scene.debs[0].1.control[0].1 = control.to_owned();
    let layer = scene.layer();
    let expected = "Version: 1.1\nPackage: foo\nArchitecture: amd64\nSection: libs\nDepends: libc6 (>= 2.36)\nInstalled-Size: 6\nSource: src (1.1)\nBreaks: bar\nDescription: new\n text\n";
    assert_eq!(text(&layer, "var/lib/dpkg/status.d/5f6"), expected);
}

proptest::proptest! {
    #[test]
    fn never_panics(at in 0_usize..8000, with: u8) {
        let image = image("foo", &[("usr/lib/foo", "old")]).file("usr/lib/foo", "old").symlink("lib", "usr/lib");
        let data = Tar::default().directory("./lib/").file("./lib/foo", "new").hard_link("./lib/bar", "./lib/foo").symlink("./lib/c", "foo");
        let mut scene = Scene::new(image).deb("foo", "1.1", data, &[]);
        let bytes = &mut scene.debs[0].1.data;
        let at = at % bytes.len();
        bytes[at] = with;
        let _ = scene.run();
    }
}
