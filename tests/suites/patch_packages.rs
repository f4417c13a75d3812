//! Where the packages of a patch come from: fetched by the mirror and installed without a network, or by the image's own tool; and
//! what becomes of a patch when a package is not what the index says.

use patchport_kit::Gate;
use patchport_kit::apt::Package;
use patchport_kit::client::pull;
use patchport_kit::debian::{self, Installed, Rootfs};
use patchport_kit::image::Pulled;

use crate::patch_scene::{
    LONG, REPOSITORY, Scene, assert_original_with_warning, get_tag, logged, pull_patched, until_patched,
    until_patched_in,
};
use crate::promise::promise;
use crate::scene::assert_clear_error;

/// A mirror that takes packages so, and denies what is not patched.
async fn mirror(scene: &Scene, packages: &str) -> patchport_kit::Mirror {
    let setup = scene.mirror(LONG, "deny", "deny");
    setup.set("patch", &format!("packages = \"{packages}\"")).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_in_the_image_has_no_network_and_each_package_is_fetched_once() {
    promise("What runs in an image has no network, where the plan says all that is needed.");
    let scene = Scene::own().await;
    let tells = "mkdir -p /usr/share/kit-net; cat /proc/net/dev | grep -c : > /usr/share/kit-net/devices";
    scene
        .apt
        .publish(&Package::new("kit-net", "1.1").script("postinst", tells));
    let old = Installed::new(Package::new("kit-net", "1.0"));
    let mirror = mirror(&scene, "fetched").await;
    for tag in ["one", "two"] {
        let image = debian::image(&scene.apt, std::slice::from_ref(&old)).await;
        let image = image.config("Labels", serde_json::json!({ "kit": tag })).build();
        scene.registry.push(REPOSITORY, Some(tag), &image);
        let original = image.digest();
        let rootfs = Rootfs::unpack(&pull_patched(&mirror, tag, &original).await);
        assert_eq!(rootfs.version("kit-net").await, "1.1 install ok installed");
        let devices = rootfs.read("usr/share/kit-net/devices");
        assert_eq!(devices.as_deref(), Some("1\n"), "nothing but loopback");
    }
    assert_eq!(scene.apt.count("kit-net_1.1_all.deb"), 1, "one download for both");
    assert_eq!(scene.apt.count("Packages"), 1, "only the mirror reads the index");
}

/// The entries of the patch layer: path, and what tells whether it is the same.
fn tar(image: &Pulled) -> Vec<(String, String)> {
    let plain = patchport_kit::image::inflate(image.layers.last().expect("a layer"));
    let mut archive = tar::Archive::new(&plain[..]);
    let entries = archive.entries().expect("a tar").map(|entry| {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        let header = format!("{:?}", entry.header());
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).expect("its content");
        (path, format!("{header} {}", patchport_kit::digest(&content)))
    });
    entries.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_makes_the_same_image_each_time_and_both_the_same_packages() {
    promise("The same image patched against the same state of its package sources gives the same digest.");
    let scene = Scene::own().await;
    let mut made = Vec::new();
    for packages in ["fetched", "image", "fetched"] {
        let mirror = mirror(&scene, packages).await;
        made.push(pull_patched(&mirror, "v1", &scene.image.digest()).await);
    }
    assert_eq!(made[0].digest(), made[2].digest(), "fetched twice");
    // apt writes its list of marks anew, though they are the same.
    let packages = |image| {
        tar(image)
            .into_iter()
            .filter(|(path, _)| !path.starts_with("var/lib/apt/"))
    };
    for (name, other) in [("fetched twice", &made[2]), ("fetched, and by apt-get", &made[1])] {
        let (one, two): (Vec<_>, Vec<_>) = (packages(&made[0]).collect(), packages(other).collect());
        let differ = one.iter().filter(|entry| !two.contains(entry));
        let differ: Vec<_> = differ.chain(two.iter().filter(|entry| !one.contains(entry))).collect();
        assert!(differ.is_empty(), "{name}: {differ:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upgrade_needs_comes_along_and_is_marked_so() {
    let scene = Scene::own().await;
    scene.apt.publish(&Package::new("kit-new", "1.0"));
    let mut needs = Package::new("kit-needs", "1.1");
    needs.control = "Depends: kit-new\n".to_owned();
    scene.apt.publish(&needs);
    let old = [Installed::new(Package::new("kit-needs", "1.0"))];
    let image = debian::image(&scene.apt, &old).await.build();
    scene.registry.push(REPOSITORY, Some("needs"), &image);
    for packages in ["fetched", "image"] {
        let mirror = mirror(&scene, packages).await;
        let rootfs = Rootfs::unpack(&pull_patched(&mirror, "needs", &image.digest()).await);
        assert_eq!(
            rootfs.version("kit-needs").await,
            "1.1 install ok installed",
            "{packages}"
        );
        assert_eq!(
            rootfs.version("kit-new").await,
            "1.0 install ok installed",
            "{packages}"
        );
        let marks = rootfs.read("var/lib/apt/extended_states").unwrap_or_default();
        assert!(marks.contains("Package: kit-new\n"), "{packages}: {marks}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_dpkg_alone_does_not_install_is_left_to_the_images_own_tool() {
    let scene = Scene::own().await;
    // dpkg unpacks and configures in the order of the plan, in which the one that must be there first comes last.
    let mut first = Package::new("kit-a-needs-before", "1.1");
    first.control = "Pre-Depends: kit-z-before (>= 1.1)\n".to_owned();
    let before = Package::new("kit-z-before", "1.1");
    scene.apt.publish(&first);
    scene.apt.publish(&before);
    let old = ["kit-a-needs-before", "kit-z-before"].map(|name| Installed::new(Package::new(name, "1.0")));
    let image = debian::image(&scene.apt, &old).await.build();
    scene.registry.push(REPOSITORY, Some("order"), &image);
    let mirror = mirror(&scene, "auto").await;
    let rootfs = Rootfs::unpack(&pull_patched(&mirror, "order", &image.digest()).await);
    assert_eq!(rootfs.version("kit-a-needs-before").await, "1.1 install ok installed");
    assert_eq!(rootfs.version("kit-z-before").await, "1.1 install ok installed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_is_not_what_the_index_says_is_never_installed() {
    let scene = Scene::own().await;
    for (tag, garbage) in [("other", "not a package".to_owned()), ("longer", "x".repeat(1 << 20))] {
        let name = format!("kit-{tag}");
        scene.apt.publish(&Package::new(&name, "1.1"));
        scene.apt.put(&format!("{name}_1.1_all.deb"), garbage);
        let image = debian::image(&scene.apt, &[Installed::new(Package::new(&name, "1.0"))])
            .await
            .build();
        scene.registry.push(REPOSITORY, Some(tag), &image);
        for packages in ["auto", "fetched"] {
            let mirror = mirror(&scene, packages).await;
            let answer = get_tag(&mirror, tag).await;
            assert_clear_error(tag, &answer, &[403]);
            logged(&mirror, &format!("{name}_1.1_all.deb")).await;
            mirror.assert_nothing_in_ingest().await;
        }
    }
    // The worker goes on.
    let mirror = mirror(&scene, "auto").await;
    until_patched(&mirror, "v1", &scene.image.digest()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_server_that_hangs_costs_its_own_image_only() {
    let scene = Scene::own().await;
    scene.apt.publish(&Package::new("kit-slow", "1.1"));
    let image = debian::image(&scene.apt, &[Installed::new(Package::new("kit-slow", "1.0"))])
        .await
        .build();
    scene.registry.push("team/slow", Some("v1"), &image);
    let gate = Gate::default();
    scene.apt.hold("kit-slow_1.1", &gate);
    let setup = scene.mirror("2s", "serve-original", "deny");
    let mirror = setup.set("patch", "packages = \"fetched\"").start().await;
    let path = "/v2/team/slow/manifests/v1";
    let answer = mirror.client().get(path).await;
    assert_original_with_warning(&answer, &image.digest());
    until_patched(&mirror, "v1", &scene.image.digest()).await;
    logged(&mirror, "no answer within").await;
    assert!(
        mirror.log().text().contains("kit-slow_1.1_all.deb"),
        "the package is named"
    );
    gate.open();
    until_patched_in(&mirror, "team/slow", "v1", &image.digest()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_whose_tools_lie_is_not_believed() {
    promise("After a patch the package database of the result is read again, and only what it shows is claimed.");
    let scene = Scene::own().await;
    let lies = "#!/bin/sh\necho 'Inst kit-hello [1.0] (1.1 kit:stable [all])'\nexit 0\n";
    let builder = crate::patch_scene::image(&scene.apt, "1.0").await;
    let layer = patchport_kit::Layer::new()
        .file_mode("usr/bin/dpkg", lies, 0o755)
        .file_mode("usr/bin/apt-get", lies, 0o755);
    let image = builder.layer(layer.gzip()).build();
    scene.registry.push(REPOSITORY, Some("liar"), &image);
    for packages in ["fetched", "image"] {
        let mirror = mirror(&scene, packages).await;
        assert_clear_error(packages, &get_tag(&mirror, "liar").await, &[403]);
        logged(&mirror, "upgraded none of kit-hello").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_does_not_end_is_ended() {
    let scene = Scene::own().await;
    let forks = "#!/bin/sh\nf() { sleep 1 | sleep 1 & f; }\nwhile :; do f & sleep 1; done\n";
    let fills = "#!/bin/sh\nwhile :; do cat /dev/zero > /filled; sleep 1; done\n";
    let mirror = {
        let setup = scene.mirror(LONG, "deny", "serve-original");
        let terms = "packages = \"fetched\"\ntimeout = \"6s\"";
        setup.set("patch", terms).start().await
    };
    for (tag, script) in [("forks", forks), ("fills", fills)] {
        let builder = crate::patch_scene::image(&scene.apt, "1.0").await;
        let layer = patchport_kit::Layer::new().file_mode("usr/bin/dpkg", script, 0o755);
        let image = builder.layer(layer.gzip()).build();
        scene.registry.push(REPOSITORY, Some(tag), &image);
        assert_original_with_warning(&get_tag(&mirror, tag).await, &image.digest());
        logged(&mirror, "did not end within").await;
    }
    // The worker goes on, with the time that an honest patch takes.
    let patient = scene.strict().await;
    until_patched(&patient, "v1", &scene.image.digest()).await;
    pull(&patient.client(), REPOSITORY, "v1").await;
}
