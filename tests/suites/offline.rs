//! What was pulled once can be pulled while upstream is away: from a running mirror, and from one that was started
//! again. And how a tag moves on.

use std::time::{Duration, Instant};

use patchport_kit::client::pull;
use patchport_kit::{Fault, Gate, Image, Mirror, Registry};

use crate::promise::promise;
use crate::scene::{assert_clear_error, eventually, image, setup};

async fn scene(ttl: &str, seed: u64) -> (Registry, Mirror, Image) {
    let registry = Registry::start().await;
    let setup = setup(&registry)
        .set("cache", &format!("tag_ttl = \"{ttl}\""))
        .set("cache", "upstream_timeout = \"2s\"");
    let mirror = setup.start().await;
    let image = image(seed);
    registry.push("team/app", Some("v1"), &image);
    (registry, mirror, image)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_tag_is_served_while_upstream_is_down() {
    promise("When upstream is down, the last known answer is served.");
    let (mut registry, mirror, image) = scene("1ms", 600).await;
    pull(&mirror.client(), "team/app", "v1").await;
    registry.down().await;
    assert_eq!(pull(&mirror.client(), "team/app", "v1").await.digest(), image.digest());
    registry.up().await;
    registry.fault("/v2/", Fault::status(503));
    assert_eq!(
        pull(&mirror.client(), "team/app", "v1").await.digest(),
        image.digest(),
        "503 is down, too"
    );
    registry.heal();
    registry.fault("/v2/", Fault::Hold(Gate::default()));
    let begun = Instant::now();
    assert_eq!(
        pull(&mirror.client(), "team/app", "v1").await.digest(),
        image.digest(),
        "silence is down, too"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "a stale answer took {:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_serving_while_upstream_is_down() {
    for end in ["TERM", "KILL"] {
        let (mut registry, mut mirror, image) = scene("1ms", 601).await;
        pull(&mirror.client(), "team/app", "v1").await;
        registry.down().await;
        if end == "TERM" {
            assert!(mirror.sigterm().await.success());
        } else {
            mirror.kill9();
        }
        mirror.restart().await;
        assert_eq!(
            pull(&mirror.client(), "team/app", "v1").await.digest(),
            image.digest(),
            "after SIG{end}"
        );
        assert_eq!(
            pull(&mirror.client(), "team/app", &image.digest()).await.digest(),
            image.digest(),
            "after SIG{end}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_pulled_is_refused_at_once_while_upstream_is_down() {
    let (mut registry, mirror, image) = scene("5m", 602).await;
    registry.down().await;
    let begun = Instant::now();
    for path in [
        "manifests/v1".to_owned(),
        format!("manifests/{}", image.digest()),
        format!("blobs/{}", image.config_digest()),
    ] {
        let answer = mirror.client().get(&format!("/v2/team/app/{path}")).await;
        assert_clear_error(&path, &answer, &[502, 503, 504]);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "three refusals took {:?}",
        begun.elapsed()
    );
    registry.up().await;
    assert_eq!(pull(&mirror.client(), "team/app", "v1").await.digest(), image.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_stands_still_within_its_ttl_and_the_old_digest_can_be_pulled_after_it_moved() {
    let (registry, mirror, old) = scene("5m", 603).await;
    pull(&mirror.client(), "team/app", "v1").await;
    let new = image(604);
    registry.push("team/app", Some("v1"), &new);
    for _ in 0..3 {
        let head = mirror.client().head("/v2/team/app/manifests/v1").await;
        assert_eq!(head.header("docker-content-digest"), Some(old.digest().as_str()));
        assert_eq!(
            mirror.client().get("/v2/team/app/manifests/v1").await.digest,
            old.digest()
        );
    }
    assert_eq!(
        pull(&mirror.client(), "team/app", &new.digest()).await.digest(),
        new.digest()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moved_is_followed_after_its_ttl() {
    let (registry, mirror, old) = scene("1ms", 605).await;
    pull(&mirror.client(), "team/app", "v1").await;
    let new = image(606);
    registry.push("team/app", Some("v1"), &new);
    let client = mirror.client();
    eventually("the tag moves on", async || {
        let head = client.head("/v2/team/app/manifests/v1").await;
        let get = client.get("/v2/team/app/manifests/v1").await;
        let known = [old.digest(), new.digest()];
        assert!(known.contains(&get.digest), "only ever one of the two");
        // HEAD came first: GET may be newer, never older.
        head.header("docker-content-digest") == Some(new.digest().as_str()) && get.digest == new.digest()
    })
    .await;
    registry.remove("team/app", &old.digest());
    assert_eq!(
        pull(&mirror.client(), "team/app", &old.digest()).await.digest(),
        old.digest(),
        "the old digest is still here"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_upstream_deleted_is_not_served_for_ever() {
    let (registry, mirror, _) = scene("1ms", 607).await;
    pull(&mirror.client(), "team/app", "v1").await;
    registry.remove("team/app", "v1");
    let client = mirror.client();
    eventually("a deleted tag is gone", async || {
        client.get("/v2/team/app/manifests/v1").await.status == 404
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_download_leaves_no_half_blob() {
    let (registry, mut mirror, image) = scene("5m", 608).await;
    let gate = Gate::default();
    registry.fault_times(1, "GET /v2/team/app/blobs/", Fault::HoldAfter(200_000, gate.clone()));
    let digest = image.layers[1].digest();
    let path = format!("/v2/team/app/blobs/{digest}");
    mirror.client().leave_after(&path, 100_000).await;
    mirror.kill9();
    gate.open();
    assert!(!mirror.stores(&digest));
    mirror.restart().await;
    mirror.assert_store_is_true();
    mirror.assert_nothing_in_ingest().await;
    assert_eq!(pull(&mirror.client(), "team/app", "v1").await.digest(), image.digest());
    mirror.assert_store_is_true();
}
