//! When a patch is answered: one patch however many ask, one digest for `HEAD` and `GET` at every moment, at the
//! deadline what policy says, and at once from then on.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use patchport_kit::Gate;
use patchport_kit::apt::Package;
use patchport_kit::client::{ACCEPT, pull};
use patchport_kit::debian::{self, Installed};

use crate::patch_scene::{REPOSITORY, Scene, assert_original_with_warning, get_tag, until_patched};
use crate::promise::promise;
use crate::scene::assert_clear_error;

const TAG: &str = "/v2/team/app/manifests/v1";

#[tokio::test(flavor = "multi_thread")]
async fn the_second_pull_is_answered_from_the_catalog_without_a_container() {
    let scene = Scene::own().await;
    let mirror = scene.strict().await;
    let first = until_patched(&mirror, "v1", &scene.image.digest()).await;
    let (started, requests) = (scene.buildkit.containers_started(), scene.registry.count("/manifests/"));
    assert!(started > 0);
    let mut times = Vec::new();
    for _ in 0..21 {
        let head = mirror.client().head(TAG).await;
        assert_eq!(head.header("docker-content-digest"), Some(first.digest.as_str()));
        times.push(head.head_time);
    }
    times.sort_unstable();
    assert!(
        times[10] < Duration::from_millis(5),
        "the median HEAD takes {:?}, connecting included",
        times[10]
    );
    pull(&mirror.client(), REPOSITORY, "v1").await;
    assert_eq!(
        scene.buildkit.containers_started(),
        started,
        "no container for a second pull"
    );
    assert_eq!(
        scene.registry.count("/manifests/"),
        requests,
        "and no question to upstream within the TTL"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_of_a_cold_tag_cause_one_get_per_blob_and_one_solve() {
    promise("One patch runs per image however many ask, and each blob is fetched from upstream once.");
    let scene = Scene::own().await;
    let mirror = scene.strict().await;
    let client = mirror.client();
    let answers = join_all((0..50).map(|number| {
        let client = client.clone();
        // Half of them ask as containerd does, half as Podman does.
        async move {
            let method = if number % 2 == 0 { "HEAD" } else { "GET" };
            client.send(method, TAG, &[("accept", ACCEPT)]).await
        }
    }))
    .await;
    let digests: Vec<_> = answers
        .iter()
        .map(|answer| (answer.status, answer.header("docker-content-digest")))
        .collect();
    assert_eq!(digests[0].0, 200, "{}", answers[0].text());
    assert!(
        digests.iter().all(|digest| *digest == digests[0]),
        "one digest for all: {digests:?}"
    );
    let pulls = join_all((0..50).map(|_| client.weigh(TAG))).await;
    assert!(pulls.iter().all(|answer| Some(answer.digest.as_str()) == digests[0].1));
    let patched = pull(&client, REPOSITORY, "v1").await;
    assert_ne!(patched.digest(), scene.image.digest());
    assert_eq!(
        (scene.buildkit.solves(), scene.buildkit.containers_started()),
        (1, 1),
        "one solve, one container"
    );
    for (digest, count) in scene.registry.blob_gets() {
        assert_eq!(count, 1, "upstream GETs of {digest}");
    }
    mirror.assert_nothing_in_ingest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_and_get_agree_before_during_and_after_a_patch() {
    promise("While an answer for a tag stands, `HEAD` and `GET` name the same digest.");
    promise(
        "Everything that an answer refers to can be pulled under the same repository name before the first byte of it leaves",
    );
    let scene = Scene::shared().await;
    let gate = Gate::default();
    scene.apt.hold("kit-hello_", &gate);
    let mirror = scene.mirror("500ms", "serve-original", "deny").start().await;
    let original = scene.image.digest();
    let (mut seen, begun) = (Vec::new(), Instant::now());
    while seen.last().is_none_or(|digest| *digest == original) {
        assert!(begun.elapsed() < Duration::from_secs(90), "never patched");
        let head = mirror.client().send("HEAD", TAG, &[("accept", ACCEPT)]).await;
        let named = head.header("docker-content-digest").unwrap_or_default().to_owned();
        let get = get_tag(&mirror, "v1").await;
        assert_eq!(get.digest, named, "GET follows HEAD");
        assert_eq!(
            get.header("warning").is_some(),
            named == original,
            "an original, and only that, has a warning"
        );
        // What an answer names can be pulled at once.
        assert_eq!(pull(&mirror.client(), REPOSITORY, &named).await.digest(), named);
        assert_eq!(
            mirror
                .client()
                .weigh(&format!("/v2/{REPOSITORY}/manifests/{original}"))
                .await
                .digest,
            original
        );
        seen.push(named);
        if seen.len() == 2 {
            gate.reached(1).await;
            gate.open();
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(seen[0], original, "the first answer came before the patch");
    for _ in 0..5 {
        assert_eq!(
            get_tag(&mirror, "v1").await.digest,
            *seen.last().unwrap(),
            "a published answer stands"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_deadline_the_client_gets_what_on_timeout_says() {
    promise("An original that is served because its patch is not ready carries a `Warning` header.");
    let scene = Scene::shared().await;
    let gate = Gate::default();
    scene.apt.hold("kit-hello_", &gate);
    for on_timeout in ["deny", "serve-original", "serve-last-patched"] {
        let mirror = scene.mirror("1s", on_timeout, "deny").start().await;
        let answer = get_tag(&mirror, "v1").await;
        assert!(
            answer.head_time < Duration::from_secs(5),
            "{on_timeout} after {:?}",
            answer.head_time
        );
        if on_timeout == "deny" {
            assert_clear_error(on_timeout, &answer, &[403]);
            assert_eq!(answer.error_code(), "DENIED");
        } else {
            // There is no last patched image yet: the original.
            assert_original_with_warning(&answer, &scene.image.digest());
        }
    }
    gate.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_does_not_cancel_the_patch() {
    promise("A client that goes away never cancels a download or a patch.");
    let scene = Scene::own().await;
    let gate = Gate::default();
    scene.apt.hold("kit-hello_", &gate);
    let mirror = scene.strict().await;
    let asked = mirror.client().ask("GET", TAG).await;
    gate.reached(1).await;
    drop(asked);
    gate.open();
    let answer = until_patched(&mirror, "v1", &scene.image.digest()).await;
    assert_ne!(answer.digest, scene.image.digest());
    assert_eq!(
        (scene.buildkit.solves(), scene.buildkit.containers_started()),
        (1, 1),
        "one patch"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outdated_patch_stands_in_while_a_new_one_is_made() {
    let scene = Scene::shared().await;
    scene.apt.publish(&Package::new("kit-slow", "1.1"));
    let mirror = scene
        .mirror("25s", "serve-last-patched", "serve-last-patched")
        .set("cache", "tag_ttl = \"1ms\"")
        .start()
        .await;
    let first = until_patched(&mirror, "v1", &scene.image.digest()).await;
    // The tag moves on to another image whose patch cannot be made in time.
    let gate = Gate::default();
    scene.apt.hold("kit-slow_", &gate);
    let slow = [Installed::new(Package::new("kit-slow", "1.0"))];
    let next = debian::image(&scene.apt, &slow).await.build();
    scene.registry.push(REPOSITORY, Some("v1"), &next);
    let begun = Instant::now();
    let answer = get_tag(&mirror, "v1").await;
    assert!(begun.elapsed() < Duration::from_secs(28), "{:?}", begun.elapsed());
    assert_eq!(
        (answer.status, answer.digest.as_str()),
        (200, first.digest.as_str()),
        "the last patched image"
    );
    assert!(answer.header("warning").is_some());
    gate.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_images_are_patched_at_the_same_time_and_each_gets_its_own() {
    let scene = Scene::shared().await;
    let other = crate::patch_scene::image(&scene.apt, "1.0.1").await.build();
    scene.registry.push("team/other", Some("v1"), &other);
    let mirror = scene.strict().await;
    let client = mirror.client();
    let (one, two) =
        futures_util::future::join(pull(&client, REPOSITORY, "v1"), pull(&client, "team/other", "v1")).await;
    assert_ne!(one.digest(), two.digest());
    assert_eq!(one.layer_digests()[1], scene.image.layers[1].digest());
    assert_eq!(two.layer_digests()[1], other.layers[1].digest());
}
