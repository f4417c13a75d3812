//! What a patched image is: one layer more, nothing outdated by its own package manager, and otherwise the original.

use std::collections::BTreeSet;

use patchport_kit::apt::{Package, Repository};
use patchport_kit::client::{pull, pull_manifest};
use patchport_kit::debian::{self, Installed, Rootfs};
use patchport_kit::image::{Pulled, media, unpack};
use patchport_kit::scanner::syft_of;
use patchport_kit::{Buildkitd, Image, Index, Layer, Registry};
use serde_json::Value;

use crate::patch_scene::{LONG, REPOSITORY, Scene, get_tag, image, pull_patched, rule, until_patched};
use crate::promise::promise;
use crate::scene::setup;

/// Panics unless `patched` is `original` with one layer, one history entry and annotations more.
#[track_caller]
pub(crate) fn assert_nothing_but_the_patch(original: &Pulled, patched: &Pulled) {
    assert_ne!(patched.digest(), original.digest(), "the image is patched");
    let (layers, base) = (patched.layer_digests(), original.layer_digests());
    assert_eq!(layers[..base.len()], base[..], "base layers keep their digests");
    assert_eq!(layers.len(), base.len() + 1, "one layer is added");
    assert_eq!(patched.media_type, original.media_type);
    assert_config_is_kept(&original.config_json(), &patched.config_json());
    let (mut before, mut after) = (original.manifest_json(), patched.manifest_json());
    let annotations = after["annotations"].clone();
    for (name, value) in before["annotations"].as_object().into_iter().flatten() {
        assert_eq!(annotations[name], *value, "annotation {name} is kept");
    }
    for manifest in [&mut before, &mut after] {
        for member in ["config", "layers", "annotations"] {
            manifest.as_object_mut().unwrap().remove(member);
        }
    }
    assert_eq!(after, before, "all other members of the manifest are kept");
}

#[track_caller]
fn assert_config_is_kept(before: &Value, after: &Value) {
    let (mut before, mut after) = (before.clone(), after.clone());
    let count = |config: &Value, member: &str| config.pointer(member).and_then(Value::as_array).map_or(0, Vec::len);
    for member in ["/rootfs/diff_ids", "/history"] {
        assert_eq!(
            count(&after, member),
            count(&before, member) + 1,
            "{member} has one entry more"
        );
        after.pointer_mut(member).unwrap().as_array_mut().unwrap().pop();
    }
    // When an image was made is when its last layer was made.
    for config in [&mut before, &mut after] {
        config.as_object_mut().unwrap().remove("created");
    }
    assert_eq!(after, before, "nothing else in the configuration changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tag_comes_back_with_nothing_outdated_and_nothing_but_the_patch() {
    promise("A patched image differs from the original by one layer, one history entry, and annotations.");
    let scene = Scene::shared().await;
    let original = Pulled::of(&scene.image);
    assert_eq!(
        Rootfs::unpack(&original).outdated().await,
        ["kit-hello"],
        "the original is outdated"
    );
    let mirror = scene.strict().await;
    let patched = pull_patched(&mirror, "v1", &scene.image.digest()).await;
    assert_nothing_but_the_patch(&original, &patched);
    let rootfs = Rootfs::unpack(&patched);
    assert_eq!(rootfs.outdated().await, Vec::<String>::new(), "by the image's own apt");
    assert_eq!(rootfs.version("kit-hello").await, "1.1 install ok installed");
    assert_eq!(rootfs.read("usr/share/kit-hello/version").as_deref(), Some("1.1\n"));
    let entry = rootfs.shell("/bin/echo original entrypoint: original command").await;
    assert_eq!(
        entry.output, "original entrypoint: original command\n",
        "its entrypoint runs"
    );
    let seen = syft_of(&patched).await;
    assert!(
        seen.iter().any(|line| line.starts_with("kit-hello 1.1 ")),
        "by syft: {seen:?}"
    );
    let foreign: BTreeSet<String> = unpack(patched.layers.last().unwrap())
        .into_keys()
        .filter(|path| !belongs_to_an_upgrade(path))
        .collect();
    assert_eq!(
        foreign,
        BTreeSet::new(),
        "the layer holds only what the upgrade changed"
    );
    mirror.assert_store_is_true();
}

/// Files of the upgraded package and of the package database, and the folders that lead there.
fn belongs_to_an_upgrade(path: &str) -> bool {
    path.ends_with('/')
        || path.starts_with("usr/share/kit-hello")
        || path.starts_with("var/lib/dpkg/")
        || path.starts_with("var/lib/apt/extended_states")
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_tell_the_origin() {
    let scene = Scene::shared().await;
    let mirror = scene.strict().await;
    let answer = until_patched(&mirror, "v1", &scene.image.digest()).await;
    let manifest = answer.json();
    let annotations = manifest["annotations"].as_object().unwrap();
    assert_eq!(annotations["sh.copa.patch.origin.digest"], scene.image.digest());
    assert!(
        annotations["sh.copa.patch.origin.name"]
            .as_str()
            .unwrap()
            .contains("up.test/team/app"),
        "{annotations:?}"
    );
    assert!(annotations.contains_key("sh.copa.patch.origin.kind"), "{annotations:?}");
    assert!(
        annotations.keys().any(|name| name.starts_with("dev.patchport.")),
        "{annotations:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_original_digest_still_gives_the_original_bytes() {
    let scene = Scene::shared().await;
    let mirror = scene.strict().await;
    pull_patched(&mirror, "v1", &scene.image.digest()).await;
    let original = pull(&mirror.client(), REPOSITORY, &scene.image.digest()).await;
    assert_eq!(original.manifest, scene.image.manifest);
    assert_eq!(original.config, scene.image.config);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_image_stays_one() {
    let scene = Scene::shared().await;
    let docker = image(&scene.apt, "1.0").await.docker().build();
    scene.registry.push(REPOSITORY, Some("docker"), &docker);
    let mirror = scene.strict().await;
    let patched = pull_patched(&mirror, "docker", &docker.digest()).await;
    assert_eq!(patched.media_type, media::DOCKER_MANIFEST);
    assert_nothing_but_the_patch(&Pulled::of(&docker), &patched);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_stays_an_index_with_every_other_child_untouched() {
    promise("If upstream answers a tag with an index, so do we.");
    promise("Every other entry keeps its descriptor");
    let scene = Scene::shared().await;
    let foreign = Image::builder()
        .architecture("s390x")
        .layer(Layer::new().file("a", "z").gzip())
        .build();
    let index = Index::of(&[scene.image.clone(), foreign.clone()], true);
    scene.registry.push_index(REPOSITORY, Some("multi"), &index);
    let mirror = scene.strict().await;
    let answer = until_patched(&mirror, "multi", &index.digest()).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some(media::OCI_INDEX))
    );
    let (before, after): (Value, Value) = (serde_json::from_slice(&index.manifest).unwrap(), answer.json());
    assert_eq!(
        after["annotations"]["kit"], "index",
        "annotations of the index are kept"
    );
    let children = after["manifests"].as_array().unwrap();
    assert_eq!(
        children.len(),
        3,
        "the attestation of the replaced child is gone, that of the other stays: {after}"
    );
    assert_eq!(children[1], before["manifests"][1], "the foreign child");
    assert_eq!(children[2], before["manifests"][3], "the foreign child's attestation");
    assert_ne!(
        children[0]["digest"], before["manifests"][0]["digest"],
        "the native child is patched"
    );
    assert_eq!(children[0]["platform"], before["manifests"][0]["platform"]);
    let patched = pull(&mirror.client(), REPOSITORY, "multi").await;
    assert_nothing_but_the_patch(&Pulled::of(&scene.image), &patched);
    for digest in index.images.iter().map(Image::digest).chain([index.digest()]) {
        pull_manifest(&mirror.client(), REPOSITORY, &digest).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_fresh_mirrors_with_two_fresh_builders_make_the_same_digest() {
    promise("The same image patched against the same state of its package sources gives the same digest.");
    let scene = Scene::own().await;
    let mirror = scene.strict().await;
    let first = pull_patched(&mirror, "v1", &scene.image.digest()).await;
    let referrers = format!("/v2/{REPOSITORY}/referrers/{}", first.digest());
    let first_with = mirror.client().get(&referrers).await.json();
    let other = Buildkitd::own().await;
    let mirror = setup(&scene.registry)
        .buildkit(other.address())
        .rule(&rule(LONG, "deny", "deny"))
        .start()
        .await;
    let second = pull_patched(&mirror, "v1", &scene.image.digest()).await;
    let second_with = mirror.client().get(&referrers).await.json();
    assert_eq!(first.config, second.config);
    assert_eq!(first.digest(), second.digest());
    assert_eq!(second_with, first_with, "and so is what comes with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_nothing_to_do_is_served_as_it_is_and_the_answer_is_remembered() {
    promise("That an image needs no patch is found out without a container");
    promise("It is remembered: the next pull starts no container and reads no layer.");
    let scene = Scene::own().await;
    let current = image(&scene.apt, "1.1").await.build();
    scene.registry.push(REPOSITORY, Some("current"), &current);
    let mut mirror = scene.strict().await;
    let answer = get_tag(&mirror, "current").await;
    assert_eq!(
        (answer.digest.as_str(), answer.header("warning")),
        (current.digest().as_str(), None)
    );
    assert_eq!(scene.buildkit.solves(), 0, "the package index said so");
    assert_eq!(get_tag(&mirror, "current").await.digest, current.digest());
    mirror.kill9();
    mirror.restart().await;
    assert_eq!(
        pull(&mirror.client(), REPOSITORY, "current").await.digest(),
        current.digest()
    );
    assert_eq!(scene.buildkit.solves(), 0, "nor is it asked again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_no_package_manager_made_is_served_as_it_is() {
    let scene = Scene::own().await;
    let scratch = Image::tiny("scratch");
    scene.registry.push(REPOSITORY, Some("scratch"), &scratch);
    let mirror = scene.mirror(LONG, "deny", "serve-original").start().await;
    let answer = get_tag(&mirror, "scratch").await;
    assert_eq!((answer.status, answer.digest), (200, scratch.digest()));
    assert_eq!(scene.buildkit.solves(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_respected_and_an_edited_conffile_is_kept() {
    let scene = Scene::shared().await;
    let old = |name: &str| Package::new(name, "1.0").conffile(&format!("etc/{name}.conf"), "as shipped 1.0\n");
    let new = |name: &str| Package::new(name, "1.1").conffile(&format!("etc/{name}.conf"), "as shipped 1.1\n");
    for name in ["kit-held", "kit-edited", "kit-plain"] {
        scene.apt.publish(&new(name));
    }
    let installed = [
        Installed::new(old("kit-held")).held(),
        Installed::new(old("kit-edited")).edited("etc/kit-edited.conf", "the owner's\n"),
        Installed::new(old("kit-plain")),
    ];
    let image = debian::image(&scene.apt, &installed).await.build();
    scene.registry.push(REPOSITORY, Some("conf"), &image);
    let mirror = scene.strict().await;
    let patched = pull_patched(&mirror, "conf", &image.digest()).await;
    let rootfs = Rootfs::unpack(&patched);
    assert_eq!(rootfs.version("kit-held").await, "1.0 hold ok installed");
    assert_eq!(rootfs.version("kit-edited").await, "1.1 install ok installed");
    assert_eq!(rootfs.read("etc/kit-edited.conf").as_deref(), Some("the owner's\n"));
    assert_eq!(rootfs.read("etc/kit-plain.conf").as_deref(), Some("as shipped 1.1\n"));
    let held = patched.manifest_json()["annotations"]["dev.patchport.held"].to_string();
    assert!(held.contains("kit-held"), "what was held back is reported: {held}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_not_patched_is_not_touched_by_the_builder() {
    let buildkit = Buildkitd::own().await;
    let apt = Repository::start().await;
    apt.publish(&Package::new("kit-hello", "1.1"));
    let registry = Registry::start().await;
    let original = image(&apt, "1.0").await.build();
    registry.push("team/raw", Some("v1"), &original);
    let setup = setup(&registry).buildkit(buildkit.address());
    let pass = "name = \"raw\"\nmatch = [\"up.test/team/raw\"]\naction = \"pass\"";
    let mirror = setup.rule(pass).rule(&rule(LONG, "deny", "deny")).start().await;
    assert_eq!(
        pull(&mirror.client(), "team/raw", "v1").await.digest(),
        original.digest()
    );
    assert_eq!((buildkit.solves(), apt.count("")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_package_database_shows_is_claimed() {
    promise("After a patch the package database of the result is read again, and only what it shows is claimed.");
    let scene = Scene::shared().await;
    // The repository says 1.9, the package within is 1.5.
    scene.apt.publish_as(&Package::new("kit-liar", "1.5"), "1.9");
    let installed = [Installed::new(Package::new("kit-liar", "1.0"))];
    let original = debian::image(&scene.apt, &installed).await.build();
    scene.registry.push(REPOSITORY, Some("liar"), &original);
    let mirror = scene.mirror(LONG, "deny", "deny").start().await;
    let answer = get_tag(&mirror, "liar").await;
    if answer.status == 200 {
        let annotations = answer.json()["annotations"].to_string();
        assert!(
            annotations.contains("1.5") && !annotations.contains("1.9"),
            "{annotations}"
        );
    } else {
        assert_eq!(
            answer.error_code(),
            "DENIED",
            "a result that was not what was wanted is a failure"
        );
    }
}
