//! Packages of apk over images that are made entry by entry: what is written, what apk's database says then, and what is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::scene::{Scene, Tar, text};
use super::*;

/// apk's checksum of an installed package.
const OLD: &str = "Q1b2xkb2xkb2xkb2xkb2xkb2xkb2w=";
const OTHER: &str = "Q1b3Rob3Rob3Rob3Rob3Rob3Rob3Q=";

fn sum(content: &str) -> String {
    format!("Q1{}", STANDARD.encode(Algorithm::Sha1.sum(content.as_bytes()).bytes()))
}

/// The paragraph of `foo`, with folders and their files.
fn foo(more: &str, folders: &[(&str, &[(&str, &str)])]) -> String {
    let folders = folders.iter().map(|(folder, files)| {
        let files = files
            .iter()
            .map(|(name, content)| format!("R:{name}\nZ:{}\n", sum(content)));
        format!("F:{folder}\n{}", files.collect::<String>())
    });
    let folders: String = folders.collect();
    format!("C:{OLD}\nP:foo\nV:1.0-r0\nA:x86_64\nS:1\nI:1\nT:foo\nU:u\nL:MIT\n{more}{folders}\n")
}

const BAR: &str = "C:Q1b3Rob3Rob3Rob3Rob3Rob3Rob3Q=\nP:bar\nV:1.0-r0\nA:x86_64\nS:1\nI:1\nT:bar\nU:u\nL:MIT\nD:foo so:libfoo.so.1 gone!\nF:usr\nF:usr/share\nR:bar\n\n";

/// An image with this database.
fn image(database: &str) -> Tar {
    Tar::default()
        .file("etc/os-release", "ID=alpine\nVERSION_ID=3.20\n")
        .file("lib/apk/db/installed", database)
}

#[test]
fn an_upgrade_of_apk_is_written_as_apk_would() {
    let database = foo(
        "D:so:libc.musl-x86_64.so.1\np:so:libfoo.so.1=1.0\n",
        &[
            (
                "etc",
                &[
                    ("changed", "old"),
                    ("gone", "old"),
                    ("gone-changed", "old"),
                    ("plain", "old"),
                    ("dropped", "old"),
                ],
            ),
            ("etc/free", &[("file", "old")]),
            ("usr", &[]),
            ("usr/lib", &[("libfoo.so.1", "libfoo.so.1.0"), ("libfoo.so.1.0", "old")]),
            ("usr/share", &[]),
            ("usr/share/foo-1.0", &[("one", "old")]),
            ("usr/share/foo-1.0/deep", &[("two", "old")]),
            ("usr/share/shared", &[("gone", "old")]),
            ("usr/share/used", &[("gone", "old")]),
        ],
    );
    let image = image(&format!("{BAR}{database}"))
        .directory("etc/")
        .file("etc/changed", "mine")
        .file("etc/gone", "old")
        .file("etc/gone-changed", "mine")
        .file("etc/gone-changed.apk-new", "older")
        .file("etc/plain", "old")
        .file("etc/free/file", "mine")
        .file("etc/apk/protected_paths.d/own.list", "# free\n-etc/free\n")
        .directory("usr/")
        .add(EntryType::Directory, "usr/lib/", "", 0o750, b"")
        .symlink("usr/lib/libfoo.so.1", "libfoo.so.1.0")
        .file("usr/lib/libfoo.so.1.0", "old")
        .file("usr/share/foo-1.0/one", "old")
        .file("usr/share/foo-1.0/deep/two", "old")
        .file("usr/share/shared/gone", "old")
        .file("usr/share/shared/own", "mine")
        .file("usr/share/used/gone", "old")
        .file("usr/share/used/by/others", "mine")
        .file("usr/share/bar", "bar")
        .file(
            "lib/apk/db/triggers",
            &format!("{OTHER} /usr/share/icons /lib/modules/*\n"),
        );
    let data = Tar::default()
        .directory("etc/")
        .file("etc/changed", "new")
        .file("etc/plain", "new")
        .file("etc/dropped", "new")
        .file("etc/fresh", "new")
        .directory("etc/free/")
        .file("etc/free/file", "new")
        .directory("usr/")
        .directory("usr/lib/")
        .symlink("usr/lib/libfoo.so.1", "libfoo.so.1.1")
        .add(EntryType::Regular, "usr/lib/libfoo.so.1.1", "", 0o755, b"new")
        .directory("usr/share/")
        .add(EntryType::Directory, "usr/share/private/", "", 0o700, b"")
        .file("usr/share/private/file", "new")
        .hard_link("usr/share/private/again", "usr/share/private/file")
        .summed();
    let more = "pkgdesc = a foo\nurl = https://example.org\nlicense = MIT\nbuilddate = 1700000000\ncommit = c0ffee\norigin = foo\ndepend = bar\ndepend = !foe\nprovides = so:libfoo.so.1=1.1\nreplaces = old-foo\nreplaces_priority = 5\n# comment = x\n";
    let layer = Scene::new(image).apk("foo", "1.1-r0", data, more).layer();
    let written: Vec<(&str, u32, &str)> = layer
        .iter()
        .filter(|(path, _)| !path.ends_with('/') && !path.ends_with("installed"))
        .map(|(path, (_, mode, content))| (path.as_str(), *mode, content.as_str()))
        .collect();
    let expected = [
        ("etc/.wh.gone", 0o644, ""),
        ("etc/.wh.gone-changed.apk-new", 0o644, ""),
        ("etc/changed.apk-new", 0o644, "new"),
        ("etc/free/file", 0o644, "new"),
        ("etc/fresh", 0o644, "new"),
        ("etc/plain", 0o644, "new"),
        ("usr/lib/.wh.libfoo.so.1.0", 0o644, ""),
        ("usr/lib/libfoo.so.1", 0o777, "libfoo.so.1.1"),
        ("usr/lib/libfoo.so.1.1", 0o755, "new"),
        ("usr/share/.wh.foo-1.0", 0o644, ""),
        ("usr/share/private/again", 0o644, "usr/share/private/file"),
        ("usr/share/private/file", 0o644, "new"),
        ("usr/share/shared/.wh.gone", 0o644, ""),
        ("usr/share/used/.wh.gone", 0o644, ""),
    ];
    assert_eq!(written, expected);
    assert_eq!(layer["usr/lib/"].1, 0o750, "the image's own folders stay as they are");
    assert_eq!(layer["usr/share/private/"].1, 0o700);

    let new = sum("new");
    let paragraph = format!(
        "C:Q1bmV3bmV3bmV3bmV3bmV3bmV3bmU=\nP:foo\nV:1.1-r0\nA:x86_64\nS:0\nI:7\nT:a foo\nU:https://example.org\nL:MIT\no:foo\nt:1700000000\nc:c0ffee\nD:bar !foe\np:so:libfoo.so.1=1.1\nr:old-foo\nq:5\n\
         F:etc\nR:changed\nZ:{new}\nR:dropped\nZ:{new}\nR:fresh\nZ:{new}\nR:plain\nZ:{new}\n\
         F:etc/free\nR:file\nZ:{new}\n\
         F:usr\n\
         F:usr/lib\nR:libfoo.so.1\na:0:0:777\nZ:{}\nR:libfoo.so.1.1\na:0:0:755\nZ:{new}\n\
         F:usr/share\n\
         F:usr/share/private\nM:0:0:700\nR:again\nZ:{new}\nR:file\nZ:{new}\n\n",
        sum("libfoo.so.1.1")
    );
    assert_eq!(text(&layer, "lib/apk/db/installed"), format!("{BAR}{paragraph}"));
}

#[test]
fn what_only_apk_can_do_is_refused() {
    let folders: &[(&str, &[(&str, &str)])] = &[("usr", &[]), ("usr/share", &[("foo", "old")])];
    let plain = foo("", folders);
    let there = |database: &str| image(database).file("usr/share/foo", "old");
    let package = || {
        Tar::default()
            .directory("usr/")
            .directory("usr/share/")
            .file("usr/share/foo", "new")
    };
    let own = |more: Tar| {
        Scene::new(there(&format!("{BAR}{plain}"))).apk("foo", "1.1-r0", more.summed(), "provides = so:libfoo.so.1=1\n")
    };
    let with = |image: Tar, more: &str| Scene::new(image).apk("foo", "1.1-r0", package().summed(), more);
    let scripts = |kind: &str| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        let name = format!("foo-1.0-r0.X1{}.{kind}", "6f6c64".repeat(6) + "6f6c");
        tar.append_data(&mut header, name, std::io::empty()).unwrap();
        tar.into_inner().unwrap()
    };
    let strange = |kind: EntryType, path: &str, edit: fn(&mut tar::Header)| {
        let mut tar = package().add(kind, path, "", 0o755, b"");
        edit(&mut tar.0.last_mut().unwrap().0);
        tar.0.last_mut().unwrap().0.set_cksum();
        tar
    };
    let two = format!("{plain}{}", plain.replace("x86_64", "x86"));
    let cases: Vec<(Scene, &str)> = vec![
        (own(package()).script("trigger"), "its script trigger"),
        (with(there(&plain), "triggers = /usr/lib\n"), "it has a trigger"),
        (with(there(&foo("s:edge\n", folders)), ""), "a tagged repository"),
        (with(there(&foo("f:S\n", folders)), ""), "only apk can settle"),
        (
            with(
                there(&plain).add(
                    EntryType::Regular,
                    "lib/apk/db/scripts.tar",
                    "",
                    0o644,
                    &scripts("post-install"),
                ),
                "",
            ),
            "its installed version has a script",
        ),
        (
            with(there(&plain).file("lib/apk/db/scripts.tar.gz", "no gzip"), ""),
            "/lib/apk/db/scripts.tar.gz cannot be read",
        ),
        (
            with(there(&plain).directory("lib/apk/db/triggers/"), ""),
            "/lib/apk/db/triggers is no file",
        ),
        (
            with(there(&plain).symlink("etc/apk/protected_paths.d/a.list", "b"), ""),
            "a.list is no file",
        ),
        (
            own(package().file("usr/share/foo", "again")),
            "it has /usr/share/foo twice",
        ),
        (
            own(package().file(".hidden", "x")),
            "apk would not install its \".hidden\"",
        ),
        (
            own(package().file("usr/share/a\nb", "x")),
            "apk would not install its \"usr/share/a\\nb\"",
        ),
        (own(package().file("usr/share/../../a", "x")), "leads upwards"),
        (
            own(package()
                .directory("lib/")
                .directory("lib/apk/")
                .file("lib/apk/db/installed", "x")),
            "a part of the package database",
        ),
        (own(package().file("usr/local/x", "x")), "not the folder of that"),
        (
            own(package().file("usr/share/bar", "x")),
            "/usr/share/bar is a file of bar",
        ),
        (
            own(package().hard_link("usr/share/x", "usr/share/y")),
            "shares a file that it does not have",
        ),
        (
            own(strange(EntryType::Regular, "usr/share/x", |header| header.set_uid(7))),
            "",
        ),
        (
            own(strange(EntryType::Regular, "usr/share/x", |header| {
                header.set_groupname("shadow").unwrap()
            })),
            "its /usr/share/x belongs to a user or group that",
        ),
        (
            own(package().file("usr/share/x", "x").record("SCHILY.xattr.user.x", b"1")),
            "extended attributes",
        ),
        (
            own(strange(EntryType::Fifo, "usr/share/x", |_| ())),
            "neither file, folder nor link",
        ),
        (
            Scene::new(there(&plain)).apk("foo", "1.1-r0", package(), ""),
            "it does not say the sum of its /usr/share/foo",
        ),
        (own(package().directory("etc/").symlink("etc/link", "target")), ""),
        (
            Scene::new(there(&plain).file("etc/link", "mine")).apk(
                "foo",
                "1.1-r0",
                package().directory("etc/").symlink("etc/link", "target").summed(),
                "",
            ),
            "/etc/link is something else in the image",
        ),
        (
            Scene::new(there(&plain).add(EntryType::Directory, "opt/", "", 0o700, b"")).apk(
                "foo",
                "1.1-r0",
                package().directory("opt/").summed(),
                "",
            ),
            "the image has the folder /opt with another owner or mode",
        ),
        (
            with(
                there(&plain)
                    .file("lib/apk/db/triggers", &format!("{OTHER} /usr/*\n"))
                    .file("x", ""),
                "",
            ),
            "",
        ),
        (
            with(
                there(&format!("{BAR}{plain}")).file("lib/apk/db/triggers", &format!("{OTHER} /usr/*\n")),
                "provides = so:libfoo.so.1=1\n",
            ),
            "the trigger of bar would have to hear of /usr/share",
        ),
        (
            with(there(&format!("{}{}", BAR, foo("p:so:libfoo.so.1=1.0\n", folders))), ""),
            "bar needs so:libfoo.so.1 as it is",
        ),
        (
            with(there(&format!("{BAR}{plain}")), "depend = baz\n"),
            "what it needs or must not be with, baz, is not so",
        ),
        (
            with(there(&format!("{BAR}{plain}")), "depend = !bar\n"),
            "what it needs or must not be with, bar, is not so",
        ),
        (
            with(there(&format!("{BAR}{plain}")), "depend = bar>1.0-r0\n"),
            "what it needs or must not be with, bar, is not so",
        ),
        (
            with(there(&plain).file("lib/apk/commit_hooks.d/hook", "#!/bin/sh"), ""),
            "the image's /lib/apk/commit_hooks.d/hook would have to run",
        ),
        (
            Scene::new(there(&plain)).apk(
                "foo",
                "1.1-r0",
                package().summed().symlink("usr/share/unsummed", "foo"),
                "",
            ),
            "",
        ),
        (with(there(&two), ""), "does not have it exactly once"),
        (
            with(there(&plain.replace("P:foo", "P:fool")), ""),
            "does not have it exactly once",
        ),
    ];
    for (scene, expected) in cases {
        if expected.is_empty() {
            scene.layer();
        } else {
            let reason = scene.refused();
            assert!(reason.contains(expected), "{expected}: {reason}");
        }
    }
}

#[test]
fn busybox_need_not_hear_of_programs_that_come() {
    let busybox = BAR
        .replace("bar", "busybox")
        .replace("D:foo so:libfoo.so.1 gone!\n", "");
    let database = format!(
        "{busybox}{}",
        foo("", &[("usr", &[]), ("usr/bin", &[("foo", "old"), ("gone", "old")])])
    );
    let image = |database: &str| {
        image(database).file("usr/bin/foo", "old").file(
            "lib/apk/db/triggers",
            &format!("{OTHER} /bin /usr/bin /lib/modules/*\n"),
        )
    };
    let programs = || {
        Tar::default()
            .directory("usr/")
            .directory("usr/bin/")
            .file("usr/bin/foo", "new")
    };
    let scene = |image: Tar, data: Tar| Scene::new(image).apk("foo", "1.1-r0", data.summed(), "");
    let layer = scene(image(&database), programs().file("usr/bin/more", "new")).layer();
    assert!(layer.contains_key("usr/bin/more"));
    let gone = scene(image(&database).file("usr/bin/gone", "old"), programs()).refused();
    assert!(gone.contains("/usr/bin/gone goes"), "{gone}");
    let modules = programs()
        .directory("lib/")
        .directory("lib/modules/")
        .directory("lib/modules/6.1/");
    let modules = scene(image(&database), modules.file("lib/modules/6.1/x.ko", "new")).refused();
    assert!(
        modules.contains("the trigger of busybox would have to hear of"),
        "{modules}"
    );
}

#[test]
fn a_package_of_endless_files_is_refused_while_it_is_read() {
    let files: String = (0..600_000).map(|number| format!("R:{number}\n")).collect();
    let database = foo("", &[("usr", &[])]);
    let image = image(&format!(
        "{}{files}\n",
        database.trim_end_matches('\n').to_owned() + "\n"
    ));
    let error = Scene::new(image)
        .apk("foo", "1.1-r0", Tar::default(), "")
        .run()
        .unwrap_err();
    assert!(
        matches!(error, Error::Database(layer::Error::TooMuch { .. })),
        "{error:?}"
    );
}

proptest::proptest! {
    #[test]
    fn never_panics(at in 0_usize..12_000, with: u8, of_image: bool) {
        let folders: &[(&str, &[(&str, &str)])] = &[("etc", &[("foo", "old")]), ("usr", &[]), ("usr/lib", &[("foo", "old")])];
        let image = image(&format!("{BAR}{}", foo("D:bar\n", folders)))
            .file("etc/foo", "mine")
            .file("usr/lib/foo", "old")
            .file("lib/apk/db/triggers", &format!("{OTHER} /usr/share/*\n"));
        let data = Tar::default().directory("etc/").file("etc/foo", "new").directory("usr/").directory("usr/lib/").file("usr/lib/foo", "new").symlink("usr/lib/c", "foo");
        let (mut image, mut data) = (image.bytes(), data.summed().bytes());
        let bytes = if of_image { &mut image } else { &mut data };
        let at = at % bytes.len();
        bytes[at] = with;
        scene::apk_over(&image, "foo", data);
    }
}
