//! Images of apk, patched with packages that the mirror fetched and by the image's own apk: a real Alpine, its real apk, packages and
//! repositories of both formats, a real BuildKit.

use std::collections::BTreeSet;

use patchport_kit::alpine::{self, Key};
use patchport_kit::apk::{Format, Package, layer, publish};
use patchport_kit::apt::Repository;
use patchport_kit::debian::Rootfs;
use patchport_kit::image::{ImageBuilder, Pulled, unpack};
use patchport_kit::scanner::syft_of;
use patchport_kit::{Buildkitd, Image, Mirror, Registry};
use serde_json::json;

use crate::patch_scene::{LONG, REPOSITORY, get_tag, logged, pull_patched, rule};
use crate::patched_image::assert_nothing_but_the_patch;
use crate::promise::promise;
use crate::scene::{assert_clear_error, setup};

/// Everything but the mirror.
struct Scene {
    repository: Repository,
    key: Key,
    registry: Registry,
    buildkit: Buildkitd,
}

impl Scene {
    async fn new() -> Self {
        Self {
            repository: Repository::start().await,
            key: Key::new(),
            registry: Registry::start().await,
            buildkit: Buildkitd::shared().await,
        }
    }

    /// A mirror that takes packages so, and denies what is not patched.
    async fn mirror(&self, packages: &str) -> Mirror {
        setup(&self.registry)
            .buildkit(self.buildkit.address())
            .rule(&rule(LONG, "deny", "deny"))
            .set("patch", "retry_after = \"1s\"")
            .set("patch", &format!("packages = \"{packages}\""))
            .start()
            .await
    }

    /// Begins an Alpine with these packages, this `world` besides its own, and a repository with those.
    async fn image(
        &self,
        format: Format,
        installed: &[Package],
        edited: &[(&str, &str)],
        world: &str,
        offered: &[Package],
    ) -> ImageBuilder {
        let line = publish(&self.repository, &self.key, "main", format, offered);
        let mut layer = layer(&line, &self.key, world, installed).await;
        for (path, content) in edited {
            layer = layer.file(path, content);
        }
        // A tool of version 2, where there is one: it is in no package of any registry that tests may use.
        if let Some(tool) = std::env::var_os("PATCHPORT_TEST_APK2") {
            layer = layer.file_mode("sbin/apk", std::fs::read(tool).expect("the apk of version 2"), 0o755);
        }
        alpine::image().await.layer(layer.gzip())
    }

    fn push(&self, tag: &str, image: &Image) {
        self.registry.push(REPOSITORY, Some(tag), image);
    }
}

/// The formats that the image's apk reads.
fn formats() -> Vec<Format> {
    if std::env::var_os("PATCHPORT_TEST_APK2").is_some() {
        vec![Format::V2]
    } else {
        vec![Format::V2, Format::V3]
    }
}

/// `world` as nobody's tool would write it: it must come out byte for byte.
async fn world(more: &str) -> String {
    let own: Vec<&str> = alpine::base().await.world.lines().collect();
    format!("{}  {more}\n\n", own.into_iter().rev().collect::<Vec<_>>().join("\n"))
}

/// What the image's own apk says is installed of these, as `name-version`.
async fn installed(rootfs: &Rootfs, names: &str) -> Vec<String> {
    let said = rootfs
        .shell(&format!("apk info --installed --verbose {names} 2>/dev/null || true"))
        .await;
    let list = rootfs.shell("apk info -v 2>/dev/null").await;
    assert!(list.success, "{}{}", said.output, list.output);
    let wanted: BTreeSet<&str> = names.split(' ').collect();
    let mut found: Vec<String> = list
        .output
        .lines()
        .filter(|line| line.rsplitn(3, '-').nth(2).is_some_and(|name| wanted.contains(name)))
        .map(str::to_owned)
        .collect();
    found.sort();
    found
}

/// The paths in the patch layer.
fn patched_paths(image: &Pulled) -> BTreeSet<String> {
    let entries = unpack(image.layers.last().unwrap());
    entries.into_keys().filter(|path| !path.ends_with('/')).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alpine_is_patched_both_ways_and_nothing_else_changes() {
    promise("`world` of an apk image stays byte for byte what it was.");
    let old = [
        Package::new("kit-app", "1.0-r0")
            .file("usr/bin/kit-app", "#!/bin/sh\necho app 1.0\n", 0o755)
            .file("etc/kit-app.conf", "shipped 1.0\n", 0o644)
            .file("etc/kit-plain.conf", "shipped 1.0\n", 0o644),
        Package::new("kit-ping", "1.0-r0").file("usr/bin/kit-ping", "old\n", 0o755),
        Package::new("kit-pinned", "1.0-r0").file("usr/share/kit-pinned", "old\n", 0o644),
        Package::new("kit-current", "1.0-r0").file("usr/share/kit-current", "old\n", 0o644),
    ];
    let new = [
        Package::new("kit-app", "1.1-r0")
            .file("usr/bin/kit-app", "#!/bin/sh\necho app 1.1\n", 0o755)
            .file("etc/kit-app.conf", "shipped 1.1\n", 0o644)
            .file("etc/kit-plain.conf", "shipped 1.1\n", 0o644)
            .script("post-upgrade", "#!/bin/sh\necho ran > /usr/share/kit-script\n"),
        Package::new("kit-ping", "1.1-r0").capable("usr/bin/kit-ping", "new\n"),
        Package::new("kit-pinned", "1.1-r0").file("usr/share/kit-pinned", "new\n", 0o644),
        Package::new("kit-current", "1.0-r0").file("usr/share/kit-current", "old\n", 0o644),
    ];
    let names = "kit-app kit-ping kit-pinned kit-current";
    for format in formats() {
        let scene = Scene::new().await;
        let world = world("kit-ping kit-app kit-current kit-pinned=1.0-r0").await;
        let image = scene
            .image(format, &old, &[("etc/kit-app.conf", "mine\n")], &world, &new)
            .await
            .config("Entrypoint", json!(["/usr/bin/kit-app"]))
            .config("Labels", json!({ "kit": "label" }))
            .build();
        scene.push("v1", &image);
        let before = Rootfs::unpack(&Pulled::of(&image));
        assert_eq!(outdated(&before).await, 2, "{format:?}");
        let mut digests = Vec::new();
        for way in ["fetched", "image", "fetched"] {
            let mirror = scene.mirror(way).await;
            let requests = scene.repository.count("kit-app-1.1-r0.apk");
            let patched = pull_patched(&mirror, "v1", &image.digest()).await;
            let context = format!("{format:?} {way}");
            assert!(
                scene.repository.count("kit-app-1.1-r0.apk") > requests,
                "{context}: fetched anew"
            );
            digests.push(patched.digest());
            let rootfs = Rootfs::unpack(&patched);
            assert_eq!(
                installed(&rootfs, names).await,
                [
                    "kit-app-1.1-r0",
                    "kit-current-1.0-r0",
                    "kit-ping-1.1-r0",
                    "kit-pinned-1.0-r0"
                ],
                "{context}"
            );
            assert_eq!(outdated(&rootfs).await, 0, "{context}");
            assert_nothing_but_the_patch(&Pulled::of(&image), &patched);
            let seen = syft_of(&patched).await;
            for package in ["kit-app 1.1-r0 ", "kit-ping 1.1-r0 ", "kit-pinned 1.0-r0 "] {
                let is_there = seen.iter().any(|line| line.starts_with(package));
                assert!(is_there, "{context}: syft has {package}: {seen:?}");
            }
            let read = |path: &str| rootfs.read(path).unwrap_or_default();
            assert_eq!(read("etc/apk/world"), world, "{context}");
            assert_eq!(read("etc/kit-app.conf"), "mine\n", "{context}: a changed file stays");
            assert_eq!(read("etc/kit-app.conf.apk-new"), "shipped 1.1\n", "{context}");
            assert_eq!(read("etc/kit-plain.conf"), "shipped 1.1\n", "{context}");
            assert_eq!(read("usr/share/kit-script"), "ran\n", "{context}: scripts run");
            let entrypoint = rootfs.shell("/usr/bin/kit-app").await;
            assert_eq!(
                (entrypoint.success, &*entrypoint.output),
                (true, "app 1.1\n"),
                "{context}"
            );
            // The trigger of busybox runs, as `usr/bin` has changed, and makes links for what the testbed's Alpine has lost with kmod.
            let applets =
                ["depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod"].map(|name| format!("sbin/{name}"));
            let expected = [
                "etc/kit-app.conf.apk-new",
                "etc/kit-plain.conf",
                "lib/apk/db/installed",
                "lib/apk/db/scripts.tar",
                "lib/apk/db/scripts.tar.gz",
                "lib/apk/db/triggers",
                "usr/bin/kit-app",
                "usr/bin/kit-ping",
                "usr/share/kit-script",
            ];
            let more: BTreeSet<_> = patched_paths(&patched);
            let is_more = |path: &&String| !expected.contains(&path.as_str()) && !applets.contains(path);
            let unexpected: Vec<_> = more.iter().filter(is_more).collect();
            assert_eq!(unexpected, Vec::<&String>::new(), "{context}");
            assert!(more.contains("usr/bin/kit-app"), "{context}: {more:?}");
            assert_eq!(
                capability(&patched).is_some(),
                format == Format::V2,
                "{context}: capabilities"
            );
            assert_eq!(
                &patched.layers[..2],
                &Pulled::of(&image).layers[..],
                "{context}: the base is as it was"
            );
        }
        assert_eq!(digests[0], digests[2], "{format:?}: fetched twice");
        assert_eq!(digests[0], digests[1], "{format:?}: fetched, and by apk");
    }
}

/// How many of the kit's packages the image's own apk calls upgradable and may upgrade.
async fn outdated(rootfs: &Rootfs) -> usize {
    let said = rootfs
        .shell("apk --no-cache --no-progress upgrade --simulate 2>&1 | grep -c ') Upgrading kit-' || true")
        .await;
    said.output.trim().parse().unwrap_or_else(|_| panic!("{}", said.output))
}

/// `security.capability` of `usr/bin/kit-ping` in the patch layer.
fn capability(image: &Pulled) -> Option<Vec<u8>> {
    let plain = patchport_kit::image::inflate(image.layers.last().unwrap());
    let mut archive = tar::Archive::new(&plain[..]);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().ends_with("kit-ping") {
            let mut records = entry.pax_extensions().unwrap()?;
            let found = records.find_map(|record| {
                let record = record.unwrap();
                (record.key_bytes() == b"SCHILY.xattr.security.capability").then(|| record.value_bytes().to_vec())
            });
            return found;
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_apk_upgrade_newly_needs_comes_along() {
    let scene = Scene::new().await;
    let old = [
        Package::new("kit-app", "1.0-r0"),
        Package::new("kit-library", "1.0-r0").provides("so:libkit.so.1=1.0"),
    ];
    let new = [
        Package::new("kit-app", "1.1-r0")
            .needs("so:libkit.so.1")
            .needs("kit-new>=1")
            .needs("so:libnew.so.2"),
        Package::new("kit-library", "1.0-r0").provides("so:libkit.so.1=1.0"),
        Package::new("kit-new", "1.2-r0"),
        Package::new("kit-newer", "2.0-r0").provides("so:libnew.so.2=2.0"),
    ];
    let world = world("kit-app kit-library").await;
    let image = scene.image(Format::V2, &old, &[], &world, &new).await.build();
    scene.push("needs", &image);
    for way in ["fetched", "image"] {
        let patched = pull_patched(&scene.mirror(way).await, "needs", &image.digest()).await;
        let rootfs = Rootfs::unpack(&patched);
        let found = installed(&rootfs, "kit-app kit-library kit-new kit-newer").await;
        let all = [
            "kit-app-1.1-r0",
            "kit-library-1.0-r0",
            "kit-new-1.2-r0",
            "kit-newer-2.0-r0",
        ];
        assert_eq!(found, all, "{way}");
        assert_eq!(rootfs.read("etc/apk/world").unwrap(), world, "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apk_package_that_is_not_what_the_index_says_is_never_installed() {
    let scene = Scene::new().await;
    let name = |format| if format == Format::V2 { "two" } else { "three" };
    for format in formats() {
        let old = [Package::new("kit-app", "1.0-r0").file("usr/share/kit-app", "old\n", 0o644)];
        let new = [Package::new("kit-app", "1.1-r0").file("usr/share/kit-app", "new\n", 0o644)];
        let image = scene
            .image(format, &old, &[], &world("kit-app").await, &new)
            .await
            .build();
        scene.push(name(format), &image);
        // Signed by the right key, of the right name and version, and yet another.
        let other = [Package::new("kit-app", "1.1-r0").file("usr/share/kit-app", "bad\n", 0o644)];
        let elsewhere = Repository::start().await;
        publish(&elsewhere, &scene.key, "main", format, &other);
        let path = format!("main/{}/kit-app-1.1-r0.apk", std::env::consts::ARCH);
        let bad = elsewhere.get(&path);
        scene.repository.put(&path, bad);
        for way in ["auto", "fetched"] {
            let mirror = scene.mirror(way).await;
            assert_clear_error(way, &get_tag(&mirror, name(format)).await, &[403]);
            logged(&mirror, "kit-app-1.1-r0.apk").await;
            mirror.assert_nothing_in_ingest().await;
        }
    }
}
