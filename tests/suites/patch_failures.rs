//! When a patch cannot be made: a script that fails, a builder that is not there or dies, a mirror that is killed at the
//! worst moments. The client gets what policy says, nothing half made is served, and the next pull works.

use std::collections::BTreeSet;
use std::time::Duration;

use patchport_kit::apt::Package;
use patchport_kit::client::pull;
use patchport_kit::debian::{self, Installed};
use patchport_kit::{Fault, Gate, Mirror};
use tokio::time::{Instant, sleep};

use crate::patch_scene::{REPOSITORY, Scene, assert_original_with_warning, get_tag, logged, rule, until_patched};
use crate::promise::promise;
use crate::scene::{assert_clear_error, setup};

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_fails_leads_to_what_on_failure_says() {
    let scene = Scene::shared().await;
    scene
        .apt
        .publish(&Package::new("kit-failing", "1.1").script("postinst", "echo kit-postinst-says-no >&2; exit 7"));
    let image = debian::image(&scene.apt, &[Installed::new(Package::new("kit-failing", "1.0"))])
        .await
        .build();
    scene.registry.push(REPOSITORY, Some("failing"), &image);
    for on_failure in ["serve-original", "serve-last-patched", "deny"] {
        let mirror = scene.mirror("25s", "deny", on_failure).start().await;
        let answer = get_tag(&mirror, "failing").await;
        if on_failure == "deny" {
            assert_clear_error(on_failure, &answer, &[403]);
            assert_eq!(answer.error_code(), "DENIED");
        } else {
            assert_original_with_warning(&answer, &image.digest());
        }
        logged(&mirror, "kit-failing").await;
        mirror.assert_nothing_in_ingest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_builder_the_answer_is_what_on_failure_says_and_quick() {
    let scene = Scene::own().await;
    let addresses = ["unix:///nonexistent/buildkitd.sock", "tcp://127.0.0.1:1"];
    for (address, on_failure) in addresses.into_iter().zip(["serve-original", "deny"]) {
        let mirror = scene.mirror("20s", "deny", on_failure).buildkit(address).start().await;
        let begun = Instant::now();
        let answer = get_tag(&mirror, "v1").await;
        assert!(
            begun.elapsed() < Duration::from_secs(8),
            "{address}: {:?}",
            begun.elapsed()
        );
        if on_failure == "deny" {
            assert_clear_error(address, &answer, &[403]);
        } else {
            assert_original_with_warning(&answer, &scene.image.digest());
        }
        mirror.assert_nothing_in_ingest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builder_that_is_killed_in_a_solve_leads_to_on_failure_and_the_next_pull_is_patched() {
    let mut scene = Scene::own().await;
    let gate = Gate::default();
    scene.apt.hold("kit-hello_", &gate);
    let mirror = scene.own_tool("20s", "deny", "serve-original").start().await;
    let client = mirror.client();
    let begun = Instant::now();
    let asked = tokio::spawn(async move { client.get("/v2/team/app/manifests/v1").await });
    gate.reached(1).await;
    scene.buildkit.kill9();
    let answer = asked.await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(25),
        "within its wait: {:?}",
        begun.elapsed()
    );
    assert_original_with_warning(&answer, &scene.image.digest());
    gate.open();
    scene.buildkit.restart().await;
    until_patched(&mirror, "v1", &scene.image.digest()).await;
    pull(&mirror.client(), REPOSITORY, "v1").await;
}

/// After a kill: starts the mirror again, and panics unless its store is true and the tag is patched and whole.
async fn recovers(scene: &Scene, mirror: &mut Mirror) {
    mirror.assert_store_is_true();
    mirror.restart().await;
    mirror.assert_store_is_true();
    mirror.assert_nothing_in_ingest().await;
    until_patched(mirror, "v1", &scene.image.digest()).await;
    let patched = pull(&mirror.client(), REPOSITORY, "v1").await;
    assert_eq!(patched.layers.len(), scene.image.layers.len() + 1);
    assert_eq!(
        pull(&mirror.client(), REPOSITORY, &scene.image.digest()).await.digest(),
        scene.image.digest()
    );
    mirror.assert_store_is_true();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_killed_while_it_downloads_for_a_patch_recovers() {
    let scene = Scene::shared().await;
    let mut mirror = scene.mirror("25s", "deny", "deny").start().await;
    let base = format!("GET /v2/team/app/blobs/{}", scene.image.layers[0].digest());
    let gate = Gate::default();
    scene
        .registry
        .fault_times(1, &base, Fault::HoldAfter(1 << 20, gate.clone()));
    let _asked = mirror.client().ask("GET", "/v2/team/app/manifests/v1").await;
    gate.reached(1).await;
    mirror.kill9();
    gate.open();
    recovers(&scene, &mut mirror).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_killed_in_a_solve_recovers() {
    let scene = Scene::own().await;
    let mut mirror = scene.own_tool("25s", "deny", "deny").start().await;
    let gate = Gate::default();
    scene.apt.hold("kit-hello_", &gate);
    let _asked = mirror.client().ask("GET", "/v2/team/app/manifests/v1").await;
    gate.reached(1).await;
    mirror.kill9();
    gate.open();
    recovers(&scene, &mut mirror).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_killed_between_store_and_publish_recovers() {
    promise("A crash at any point loses no published answer and never publishes half of one.");
    let scene = Scene::own().await;
    let mut mirror = scene.mirror("25s", "deny", "deny").start().await;
    let known: BTreeSet<String> = scene
        .image
        .blob_digests()
        .iter()
        .map(|digest| digest.trim_start_matches("sha256:").to_owned())
        .collect();
    let _asked = mirror.client().ask("GET", "/v2/team/app/manifests/v1").await;
    let end = Instant::now() + Duration::from_secs(60);
    // The first blob in the store that upstream does not have is the patch's: its publication is still to come.
    while !stored_names(&mirror)
        .iter()
        .any(|name| name.len() == 64 && !known.contains(name))
    {
        assert!(
            Instant::now() < end,
            "no patch layer in the store after a minute: {}",
            mirror.log().text()
        );
        sleep(Duration::from_millis(1)).await;
    }
    mirror.kill9();
    recovers(&scene, &mut mirror).await;
}

fn stored_names(mirror: &Mirror) -> BTreeSet<String> {
    let blobs = mirror.store().join("blobs");
    let files = mirror
        .stored_files()
        .into_iter()
        .filter(|file| file.starts_with(&blobs));
    files
        .filter_map(|file| file.file_name().map(|name| name.to_string_lossy().into_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_published_answer() {
    promise("A crash at any point loses no published answer and never publishes half of one.");
    let scene = Scene::own().await;
    let mut mirror = scene.strict().await;
    let first = until_patched(&mirror, "v1", &scene.image.digest()).await;
    let started = scene.buildkit.containers_started();
    assert!(started > 0);
    mirror.kill9();
    mirror.restart().await;
    assert_eq!(pull(&mirror.client(), REPOSITORY, "v1").await.digest(), first.digest);
    assert_eq!(
        scene.buildkit.containers_started(),
        started,
        "a published answer is not made again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_a_solve_ends_the_process_in_time() {
    let scene = Scene::own().await;
    let gate = Gate::default();
    scene.apt.hold("kit-hello_", &gate);
    let mut mirror = scene
        .own_tool("25s", "deny", "deny")
        .set("server", "shutdown_timeout = \"2s\"")
        .start()
        .await;
    let _asked = mirror.client().ask("GET", "/v2/team/app/manifests/v1").await;
    gate.reached(1).await;
    mirror.process().signal("TERM");
    mirror.process().ended(Duration::from_secs(10)).await;
    gate.open();
    recovers(&scene, &mut mirror).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_that_runs_over_its_time_has_failed() {
    for packages in ["fetched", "image"] {
        let scene = Scene::own().await;
        let gate = Gate::default();
        scene.apt.hold("kit-hello_", &gate);
        let mirror = scene
            .mirror("20s", "deny", "serve-original")
            .set("patch", &format!("timeout = \"3s\"\npackages = \"{packages}\""))
            .start()
            .await;
        let answer = get_tag(&mirror, "v1").await;
        assert!(
            answer.head_time < Duration::from_secs(15),
            "{packages}: {:?}",
            answer.head_time
        );
        assert_original_with_warning(&answer, &scene.image.digest());
        logged(&mirror, "did not end within 3s").await;
        gate.open();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_lies_is_neither_patched_nor_kept() {
    let scene = Scene::shared().await;
    let mirror = scene.mirror("20s", "deny", "deny").start().await;
    let lie = format!("GET /v2/team/app/blobs/{}", scene.image.layers[1].digest());
    scene
        .registry
        .fault(&lie, Fault::Body(vec![b'x'; scene.image.layers[1].bytes.len()].into()));
    let answer = get_tag(&mirror, "v1").await;
    assert_clear_error("a layer that lies", &answer, &[403, 502]);
    assert!(!mirror.stores(&scene.image.layers[1].digest()));
    mirror.assert_nothing_in_ingest().await;
    scene.registry.heal();
    until_patched(&mirror, "v1", &scene.image.digest()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_source_that_cannot_be_read_never_means_that_there_is_nothing_to_do() {
    let Scene {
        apt,
        registry,
        buildkit,
        image,
    } = Scene::shared().await;
    drop(apt);
    let rule = rule("25s", "serve-original", "serve-original");
    let mirror = setup(&registry).buildkit(buildkit.address()).rule(&rule).start().await;
    // Without a warning the answer would mean that nothing is outdated.
    assert_original_with_warning(&get_tag(&mirror, "v1").await, &image.digest());
}
