//! What other patchers of images get wrong, each seen in a report of their users or in their code, and what a patched image is
//! here. `docs/COPACETIC.md` lists them.

use patchport_kit::apt::Package;
use patchport_kit::client::pull;
use patchport_kit::debian::{self, Installed, Rootfs};
use patchport_kit::image::Pulled;
use patchport_kit::{Image, Layer};
use serde_json::json;

use crate::patch_scene::{REPOSITORY, Scene, pull_patched};
use crate::patched_image::assert_nothing_but_the_patch;

const DOING: &str = "\
ln /usr/share/kit-odd/version /usr/share/kit-odd/again
cp /bin/true /usr/share/kit-odd/special
chown 65534:65533 /usr/share/kit-odd/special
chmod 4751 /usr/share/kit-odd/special";

/// An image with all that gets lost elsewhere.
async fn odd(scene: &Scene) -> Image {
    let new = Package::new("kit-odd", "1.1").file("sbin/kit-tool", "tool\n");
    scene.apt.publish(&new.script("postinst", DOING));
    let old = Package::new("kit-odd", "1.0").file("usr/share/kit-odd/gone", "gone in 1.1\n");
    let unneeded = Package::new("kit-unneeded", "1.0");
    scene.apt.publish(&unneeded);
    let marks = "Package: kit-unneeded\nArchitecture: amd64\nAuto-Installed: 1\n\n";
    let layer = Layer::new()
        .file("var/lib/apt/extended_states", marks)
        .file("app/.keep", "");
    debian::image(&scene.apt, &[Installed::new(old), Installed::new(unneeded)])
        .await
        .layer(layer.gzip())
        .config("Labels", json!({ "BaseImage": "registry.invalid/no/such:image" }))
        .config(
            "Env",
            json!(["PATH=/nowhere", "LD_PRELOAD=/nowhere/lib.so", "DPKG_ROOT=/nowhere"]),
        )
        .config("WorkingDir", json!("/app"))
        .config("User", json!("65534"))
        .config("Entrypoint", json!(["/usr/share/kit-odd/special"]))
        .build()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_left_behind_in_a_patched_image() {
    let scene = Scene::shared().await;
    let image = odd(&scene).await;
    scene.registry.push(REPOSITORY, Some("odd"), &image);
    for packages in ["fetched", "image"] {
        let setup = scene.mirror("25s", "deny", "deny");
        let mirror = setup.set("patch", &format!("packages = \"{packages}\"")).start().await;
        let patched = pull_patched(&mirror, "odd", &image.digest()).await;
        // A label that others set too leads nowhere; configuration, environment and entrypoint stay.
        assert_nothing_but_the_patch(&Pulled::of(&image), &patched);
        let rootfs = Rootfs::unpack(&patched);
        assert_eq!(
            rootfs.version("kit-odd").await,
            "1.1 install ok installed",
            "{packages}"
        );
        let checks = [
            (
                "a file that the new version has not",
                "test ! -e /usr/share/kit-odd/gone",
            ),
            ("a package that nobody needs", "dpkg-query --show kit-unneeded"),
            ("a link for a directory", "test -L /sbin && test -f /usr/sbin/kit-tool"),
            (
                "a hard link",
                "test $(stat -c %i /usr/share/kit-odd/version) = $(stat -c %i /usr/share/kit-odd/again)",
            ),
            (
                "owner and mode",
                "test \"$(stat -c %u:%g:%a /usr/share/kit-odd/special)\" = 65534:65533:4751",
            ),
            (
                "files of the build",
                "test -z \"$(ls -A /tmp /var/tmp /run/lock 2>/dev/null | grep -v :)\" && test ! -e /app/error_log.txt && test ! -e /dev/patchport",
            ),
            (
                "md5sums",
                "cd / && md5sum --quiet -c /var/lib/dpkg/info/kit-odd.md5sums",
            ),
            ("services", "test ! -e /usr/sbin/policy-rc.d"),
        ];
        for (what, check) in checks {
            let outcome = rootfs.shell(check).await;
            assert!(outcome.success, "{packages}: {what}: {}", outcome.output);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_is_made_anew_from_the_original() {
    let scene = Scene::own().await;
    let setup = scene.mirror("25s", "deny", "deny");
    let mirror = setup.set("scan", "refresh = \"1s\"").start().await;
    let first = pull_patched(&mirror, "v1", &scene.image.digest()).await;
    scene.apt.publish(&Package::new("kit-hello", "1.2"));
    let original = Pulled::of(&scene.image);
    for _ in 0..120 {
        let next = pull(&mirror.client(), REPOSITORY, "v1").await;
        if next.digest() != first.digest() {
            assert_nothing_but_the_patch(&original, &next);
            let version = Rootfs::unpack(&next).version("kit-hello").await;
            assert_eq!(version, "1.2 install ok installed");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    panic!("the tag is not patched again: {}", mirror.log().text());
}
