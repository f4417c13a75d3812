//! A blob is fetched once, however many ask for it, and whoever asks gets its bytes as they arrive. The fill belongs to
//! nobody: clients come and go.

use futures_util::future::join_all;
use patchport_kit::client::pull;
use patchport_kit::{Fault, Gate, Image, Mirror, Registry};

use crate::promise::promise;
use crate::scene::{eventually, image, setup};

async fn scene(seed: u64) -> (Registry, Mirror, Image) {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    let image = image(seed);
    registry.push("team/app", Some("v1"), &image);
    (registry, mirror, image)
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_cause_one_upstream_get_per_blob() {
    promise("One patch runs per image however many ask, and each blob is fetched from upstream once.");
    let (registry, mirror, image) = scene(500).await;
    let gate = Gate::default();
    registry.fault("GET /v2/team/app/blobs/", Fault::HoldAfter(1000, gate.clone()));
    let client = mirror.client();
    let pulls = join_all((0..50).map(|_| pull(&client, "team/app", "v1")));
    let opening = async {
        gate.reached(1).await;
        gate.open();
    };
    let (pulled, ()) = futures_util::future::join(pulls, opening).await;
    assert!(pulled.iter().all(|one| one.digest() == image.digest()));
    for digest in image.blob_digests() {
        assert_eq!(registry.blob_gets()[&digest], 1, "upstream GETs of {digest}");
    }
    assert_eq!(
        registry.count("GET /v2/team/app/manifests/"),
        1,
        "upstream GETs of the manifest"
    );
    mirror.assert_store_is_true();
    mirror.assert_nothing_in_ingest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_waiting_client_gets_bytes_before_the_download_ends() {
    let (registry, mirror, image) = scene(501).await;
    let gate = Gate::default();
    registry.fault("GET /v2/team/app/blobs/", Fault::HoldAfter(200_000, gate.clone()));
    let digest = image.layers[1].digest();
    let path = format!("/v2/team/app/blobs/{digest}");
    for _ in 0..3 {
        // Returns although upstream still holds the rest back.
        mirror.client().leave_after(&path, 100_000).await;
    }
    gate.open();
    assert_eq!(mirror.client().weigh(&path).await.digest, digest);
    assert_eq!(registry.blob_gets()[&digest], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_does_not_stop_the_fill() {
    promise("A client that goes away never cancels a download or a patch.");
    let (registry, mirror, image) = scene(502).await;
    let (early, late) = (Gate::default(), Gate::default());
    let digests = [image.layers[0].digest(), image.layers[1].digest()];
    let paths = digests.clone().map(|digest| format!("/v2/team/app/blobs/{digest}"));
    registry.fault(&format!("GET {}", paths[0]), Fault::Hold(early.clone()));
    registry.fault(&format!("GET {}", paths[1]), Fault::HoldAfter(70_000, late.clone()));
    let asked = mirror.client().ask("GET", &paths[0]).await;
    early.reached(1).await;
    drop(asked);
    mirror.client().leave_after(&paths[1], 1000).await;
    early.open();
    late.open();
    for (digest, path) in digests.iter().zip(&paths) {
        eventually("the blob is stored though nobody waits", async || mirror.stores(digest)).await;
        assert_eq!(mirror.client().weigh(path).await.digest, *digest);
        assert_eq!(registry.blob_gets()[digest], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_here_is_not_fetched_again() {
    let (registry, mirror, image) = scene(503).await;
    pull(&mirror.client(), "team/app", "v1").await;
    registry.forget_requests();
    pull(&mirror.client(), "team/app", "v1").await;
    assert!(
        registry.requests().is_empty(),
        "a second pull within the TTL asks upstream nothing: {:?}",
        registry.requests()
    );
    drop(image);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_fails_fails_for_all_its_clients_and_is_begun_anew() {
    let (registry, mirror, image) = scene(504).await;
    let gate = Gate::default();
    registry.fault("GET /v2/team/app/blobs/", Fault::Hold(gate.clone()));
    registry.fault("GET /v2/team/app/blobs/", Fault::StopAfter(100_000));
    let digest = image.layers[1].digest();
    let (path, client) = (format!("/v2/team/app/blobs/{digest}"), mirror.client());
    let downloads = join_all((0..10).map(|_| client.weigh(&path)));
    let opening = async {
        gate.reached(1).await;
        gate.open();
    };
    let (answers, ()) = futures_util::future::join(downloads, opening).await;
    assert!(answers.iter().all(|answer| answer.status != 200 || !answer.whole));
    registry.heal();
    assert_eq!(mirror.client().weigh(&path).await.digest, digest);
}
