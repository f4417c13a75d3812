//! Images of apk without a container: a real Alpine where no upgrade has to run anything, and images that have apk's database and neither
//! apk nor a shell. On a mirror that knows no BuildKit. The real apk says whether what comes back is what it would have made.

use std::collections::{BTreeMap, BTreeSet};

use patchport_kit::alpine::{self, Key};
use patchport_kit::apk::{Format, Package, layer, publish, world};
use patchport_kit::apt::Repository;
use patchport_kit::client::pull_manifest;
use patchport_kit::debian::Rootfs;
use patchport_kit::distroless::tree;
use patchport_kit::image::{Pulled, native};
use patchport_kit::mirror::Setup;
use patchport_kit::scanner::syft_of;
use patchport_kit::{Buildkitd, Image, Index, Layer, Registry};

use crate::patch_scene::{LONG, REPOSITORY, get_tag, logged, pull_patched, rule, until_patched};
use crate::patched_image::assert_nothing_but_the_patch;
use crate::promise::promise;
use crate::scene::{assert_clear_error, setup};

/// A mirror that denies what is not patched.
fn mirror(registry: &Registry) -> Setup {
    setup(registry)
        .rule(&rule(LONG, "deny", "deny"))
        .set("patch", "retry_after = \"1s\"")
}

/// An image on the real Alpine, with these packages and these files of its owner's, that has repositories with those.
async fn image(line: &str, key: &Key, installed: &[Package], edited: &[(&str, &str)]) -> Image {
    image_for(native(), line, key, installed, edited).await
}

/// The same that says it is for another architecture; its packages are those of this machine all the same.
async fn image_for(architecture: &str, line: &str, key: &Key, installed: &[Package], edited: &[(&str, &str)]) -> Image {
    let mut layer = layer(line, key, &world(installed).await, installed).await;
    for (path, content) in edited {
        layer = layer.file(path, content);
    }
    alpine::image()
        .await
        .layer(layer.gzip())
        .architecture(architecture)
        .build()
}

/// What apk itself does not keep equal: when it wrote, and what it writes again whatever happens.
fn without_its_own(mut tree: BTreeMap<String, String>) -> BTreeMap<String, String> {
    for path in ["scripts.tar", "scripts.tar.gz", "triggers", "installed", "lock"] {
        tree.remove(&format!("lib/apk/db/{path}"));
    }
    // The trigger of busybox makes links for what the testbed's Alpine has lost with kmod.
    for name in ["depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod"] {
        tree.remove(&format!("sbin/{name}"));
    }
    tree
}

/// The paragraphs of a database, sorted: apk sorts them when it writes.
fn paragraphs(rootfs: &Rootfs) -> BTreeSet<String> {
    let text = rootfs.read("lib/apk/db/installed").unwrap();
    text.split("\n\n")
        .map(|one| one.trim().to_owned())
        .filter(|one| !one.is_empty())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alpine_whose_upgrades_run_nothing_is_patched_without_a_container_as_apk_would_have_done_it() {
    promise("An image of apk whose upgrades have nothing to run is patched without a container.");
    let old = [
        Package::new("kit-app", "1.0-r0")
            .file("usr/bin/kit-app", "#!/bin/sh\necho app 1.0\n", 0o755)
            .file("etc/kit/changed.conf", "shipped 1.0\n", 0o644)
            .file("etc/kit/plain.conf", "shipped 1.0\n", 0o644)
            .file("etc/kit/gone.conf", "shipped 1.0\n", 0o644)
            .file("etc/kit/mine-and-gone.conf", "shipped 1.0\n", 0o644)
            .file("etc/init.d/kit-app", "#!/sbin/openrc-run\n# 1.0\n", 0o755)
            .file("usr/share/kit-app/same", "same\n", 0o600)
            .file("usr/share/kit-app/gone/deep/down", "old\n", 0o644)
            .file("usr/share/kit-app/gone/shared", "old\n", 0o644)
            .symlink("usr/lib/libkit.so.1", "libkit.so.1.0")
            .file("usr/lib/libkit.so.1.0", "library 1.0\n", 0o755),
        Package::new("kit-other", "1.0-r0").file("usr/share/kit-app/other", "other\n", 0o644),
        Package::new("kit-needs", "1.0-r0")
            .needs("kit-app")
            .needs("so:libkit.so.1"),
    ];
    let new = [
        Package::new("kit-app", "1.1-r0")
            .provides("so:libkit.so.1=1.1")
            .needs("kit-other>=1.0")
            .file("usr/bin/kit-app", "#!/bin/sh\necho app 1.1\n", 0o755)
            .file("etc/kit/changed.conf", "shipped 1.1\n", 0o644)
            .file("etc/kit/plain.conf", "shipped 1.1\n", 0o644)
            .file("etc/kit/new.conf", "shipped 1.1\n", 0o644)
            .file("etc/init.d/kit-app", "#!/sbin/openrc-run\n# 1.1\n", 0o755)
            .file("usr/share/kit-app/same", "same\n", 0o600)
            .file("usr/share/kit-app/fresh/file", "new\n", 0o640)
            .symlink("usr/lib/libkit.so.1", "libkit.so.1.1")
            .file("usr/lib/libkit.so.1.1", "library 1.1\n", 0o755)
            .hard_link("usr/share/kit-app/again", "usr/share/kit-app/same"),
        Package::new("kit-other", "1.0-r0").file("usr/share/kit-app/other", "other\n", 0o644),
        Package::new("kit-needs", "1.0-r0")
            .needs("kit-app")
            .needs("so:libkit.so.1"),
    ];
    let (repository, key, registry) = (Repository::start().await, Key::new(), Registry::start().await);
    let line = publish(&repository, &key, "main", Format::V2, &new);
    let edited = [
        ("etc/kit/changed.conf", "mine\n"),
        ("etc/kit/mine-and-gone.conf", "mine\n"),
        ("etc/init.d/kit-app", "#!/sbin/openrc-run\n# mine\n"),
    ];
    let image = image(&line, &key, &old, &edited).await;
    registry.push(REPOSITORY, Some("v1"), &image);
    let original = Pulled::of(&image);

    let patched = pull_patched(&mirror(&registry).start().await, "v1", &image.digest()).await;
    assert_nothing_but_the_patch(&original, &patched);
    let again = pull_patched(&mirror(&registry).start().await, "v1", &image.digest()).await;
    assert_eq!(again.digest(), patched.digest(), "the same each time");
    let buildkit = Buildkitd::shared().await;
    let by_apk = mirror(&registry)
        .buildkit(buildkit.address())
        .set("patch", "packages = \"image\"");
    let by_apk = pull_patched(&by_apk.start().await, "v1", &image.digest()).await;

    let (ours, theirs) = (Rootfs::unpack(&patched), Rootfs::unpack(&by_apk));
    assert_eq!(ours.read("usr/bin/kit-app").unwrap(), "#!/bin/sh\necho app 1.1\n");
    assert_eq!(ours.read("etc/kit/changed.conf").unwrap(), "mine\n");
    assert_eq!(ours.read("etc/kit/mine-and-gone.conf").unwrap(), "mine\n");
    assert_eq!(ours.read("usr/share/kit-app/gone/shared"), None);
    let (own, apks) = (without_its_own(tree(ours.path())), without_its_own(tree(theirs.path())));
    for path in own.keys().chain(apks.keys()) {
        assert_eq!(own.get(path), apks.get(path), "/{path}");
    }
    let (own, apks) = (paragraphs(&ours), paragraphs(&theirs));
    let differ: Vec<_> = own.symmetric_difference(&apks).collect();
    assert_eq!(differ, Vec::<&String>::new(), "the database says the same");
    assert_eq!(syft_of(&patched).await, syft_of(&by_apk).await, "by syft");

    let check = "apk --no-network audit --system 2>/dev/null | grep kit; apk info -v | grep kit; apk --no-network fix --simulate 2>&1";
    let said = [ours.shell(check).await, theirs.shell(check).await];
    assert_eq!(said[0].output, said[1].output, "apk finds nothing else wrong with it");
    assert!(said[0].output.contains("kit-app-1.1-r0"), "{}", said[0].output);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_apk_can_do_is_left_to_it() {
    let registry = Registry::start().await;
    let plain = |version: &str| Package::new("kit-app", version).file("usr/share/kit/app", version, 0o644);
    let library = |version: &str| Package::new("kit-library", version).file("usr/lib/kit/library", version, 0o644);
    let cases: [(&str, Vec<Package>, Vec<Package>, &str); 7] = [
        (
            "a-script",
            vec![plain("1.0-r0")],
            vec![plain("1.1-r0").script("post-upgrade", "#!/bin/sh\ntrue\n")],
            "its script post-upgrade would have to run",
        ),
        (
            "a-capability",
            vec![plain("1.0-r0")],
            vec![plain("1.1-r0").capable("usr/share/kit/ping", "new\n")],
            "its /usr/share/kit/ping has extended attributes",
        ),
        (
            "a-trigger-of-another",
            vec![plain("1.0-r0")],
            vec![plain("1.1-r0").file("usr/share/ca-certificates/kit", "new\n", 0o644)],
            "the trigger of ca-certificates would have to hear of /usr/share/ca-certificates",
        ),
        (
            "a-program-that-goes",
            vec![plain("1.0-r0").file("usr/bin/kit-gone", "old\n", 0o755)],
            vec![plain("1.1-r0")],
            "/usr/bin/kit-gone goes, and busybox might have to take its place",
        ),
        (
            "a-file-of-another",
            vec![plain("1.0-r0"), library("1.0-r0")],
            vec![
                plain("1.1-r0").file("usr/lib/kit/library", "new\n", 0o644),
                library("1.0-r0"),
            ],
            "/usr/lib/kit/library is a file of kit-library",
        ),
        (
            "a-need-of-another",
            vec![plain("1.0-r0").needs("kit-library=1.0-r0"), library("1.0-r0")],
            vec![
                plain("1.0-r0").needs("kit-library=1.0-r0"),
                plain("1.1-r0").needs("kit-library=1.1-r0"),
                library("1.1-r0"),
            ],
            "",
        ),
        (
            "a-newer-format",
            vec![plain("1.0-r0")],
            vec![plain("1.1-r0")],
            "it is of version 3, which only apk installs",
        ),
    ];
    for (name, old, new, reason) in cases {
        let (repository, key) = (Repository::start().await, Key::new());
        let format = if name == "a-newer-format" {
            Format::V3
        } else {
            Format::V2
        };
        let line = publish(&repository, &key, "main", format, &new);
        let image = image(&line, &key, &old, &[]).await;
        registry.push(REPOSITORY, Some(name), &image);
        let without = mirror(&registry).start().await;
        if reason.is_empty() {
            // Both go together.
            pull_patched(&without, name, &image.digest()).await;
            continue;
        }
        assert_clear_error(name, &get_tag(&without, name).await, &[403]);
        logged(&without, reason).await;
    }
}

/// An image of apk without apk and without a shell.
fn bare(line: &str, key: &Key, installed: &[Package], architecture: &str) -> Image {
    let database: String = installed.iter().map(Package::installed).collect();
    let layer = Layer::new()
        .file(
            "etc/os-release",
            "ID=wolfi\nNAME=\"Wolfi\"\nPRETTY_NAME=\"Wolfi\"\nVERSION_ID=\"20230201\"\n",
        )
        .file("etc/apk/keys/kit.rsa.pub", key.public())
        .file("etc/apk/repositories", line)
        .file("etc/apk/world", "kit-app\nkit-server\n")
        .file("usr/lib/apk/db/installed", database);
    let layer = installed.iter().fold(layer, |layer, package| package.put(layer));
    Image::builder().architecture(architecture).layer(layer.gzip()).build()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_apk_without_apk_and_without_a_shell_is_patched_on_any_platform() {
    promise(
        "An image that has apk's database and no apk that could run gets the files of the upgraded packages and their entries.",
    );
    let (repository, key, registry) = (Repository::start().await, Key::new(), Registry::start().await);
    let app = |version: &str| {
        Package::new("kit-app", version)
            .file("usr/bin/kit-app", version, 0o755)
            .file(&format!("usr/lib/kit/{version}"), version, 0o644)
    };
    let server = |version: &str| Package::new("kit-server", version).file("usr/bin/kit-server", version, 0o755);
    let new = [
        app("1.1-r0"),
        server("1.1-r0").script("post-upgrade", "#!/bin/sh\ntrue\n"),
    ];
    let line = publish(&repository, &key, "main", Format::V2, &new);
    let other = if native() == "amd64" { "arm64" } else { "amd64" };
    for architecture in [native(), other] {
        // Packages are those of this machine, whatever the platform is called.
        let image = bare(&line, &key, &[app("1.0-r0"), server("1.0-r0")], architecture);
        registry.push(REPOSITORY, Some(architecture), &image);
        let mirror = mirror(&registry).start().await;
        let patched = pull_patched(&mirror, architecture, &image.digest()).await;
        assert_nothing_but_the_patch(&Pulled::of(&image), &patched);
        let rootfs = Rootfs::unpack(&patched);
        assert_eq!(rootfs.read("usr/bin/kit-app").unwrap(), "1.1-r0");
        assert_eq!(rootfs.read("usr/lib/kit/1.1-r0").unwrap(), "1.1-r0");
        assert_eq!(rootfs.read("usr/lib/kit/1.0-r0"), None);
        assert_eq!(rootfs.read("usr/bin/kit-server").unwrap(), "1.0-r0");
        let seen = syft_of(&patched).await;
        for package in ["kit-app 1.1-r0 ", "kit-server 1.0-r0 "] {
            let is_there = seen.iter().any(|line| line.starts_with(package));
            assert!(is_there, "{architecture}: {package}: {seen:?}");
        }
        logged(
            &mirror,
            "kit-server left as it is: its script post-upgrade would have to run",
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn platforms_of_an_alpine_that_no_worker_runs_are_patched_where_nothing_has_to_run() {
    let (key, registry, buildkit) = (Key::new(), Registry::start().await, Buildkitd::shared().await);
    let other = if native() == "amd64" { "arm64" } else { "amd64" };
    let old = |name: &str| Package::new(name, "1.0-r0").file(&format!("usr/share/{name}"), "old\n", 0o644);
    let new = |name: &str| Package::new(name, "1.1-r0").file(&format!("usr/share/{name}"), "new\n", 0o644);
    let script = new("kit-script").script("post-upgrade", "#!/bin/sh\ntrue\n");
    // The image of the other platform has a package with a script, or has not.
    for has_script in [false, true] {
        let repository = Repository::start().await;
        let line = publish(&repository, &key, "main", Format::V2, &[new("kit-app"), script.clone()]);
        let own = image(&line, &key, &[old("kit-app")], &[]).await;
        let foreign = if has_script {
            vec![old("kit-app"), old("kit-script")]
        } else {
            vec![old("kit-app")]
        };
        let foreign = image_for(other, &line, &key, &foreign, &[]).await;
        let index = Index::of(&[own, foreign], false);
        let tag = format!("script-{has_script}");
        registry.push_index(REPOSITORY, Some(&tag), &index);
        let mirror = mirror(&registry).buildkit(buildkit.address()).start().await;
        until_patched(&mirror, &tag, &index.digest()).await;
        let after = pull_manifest(&mirror.client(), REPOSITORY, &tag).await.json()["manifests"].clone();
        let changed = |number: usize| after[number]["digest"] != index.images[number].digest();
        assert_eq!((changed(0), changed(1)), (true, !has_script), "{tag}: {after}");
    }
}
