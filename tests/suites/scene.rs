//! The stage on which most suites play: a mirror in front of one scripted upstream, and what is asserted of every
//! failure.

use std::time::Duration;

use patchport_kit::client::Response;
use patchport_kit::image::Layer;
use patchport_kit::mirror::Setup;
use patchport_kit::{Image, Mirror, Registry};
use tokio::time::{Instant, sleep};

/// The name of the scripted upstream in every configuration.
pub(crate) const UPSTREAM: &str = "up.test";

/// A configuration whose default upstream is this registry; everything passes.
pub(crate) fn setup(registry: &Registry) -> Setup {
    Mirror::setup()
        .upstream(UPSTREAM, &registry.url())
        .default_upstream(UPSTREAM)
}

/// An image of two layers, large enough that a fault can strike in the middle of a blob.
pub(crate) fn image(seed: u64) -> Image {
    let base = Layer::new().noise("base", seed, 300_000).gzip();
    let top = Layer::new().noise("top", seed + 1000, 500_000).zstd();
    Image::builder().layer(base).layer(top).build()
}

/// Panics unless this is a refusal that a person can read: an OCI error body under a failing status.
#[track_caller]
pub(crate) fn assert_clear_error(name: &str, response: &Response, statuses: &[u16]) {
    assert!(
        statuses.contains(&response.status),
        "{name}: {} is none of {statuses:?}: {}",
        response.status,
        response.text()
    );
    assert!(response.whole, "{name}: an error body is whole");
    assert_eq!(
        response.header("content-type"),
        Some("application/json"),
        "{name}: content type of an error"
    );
    assert!(!response.error_code().is_empty(), "{name}: the error has a code");
}

/// Asks until it is so; panics with `what` after 10 s.
pub(crate) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !so().await {
        assert!(Instant::now() < end, "{what}: not within 10 s");
        sleep(Duration::from_millis(20)).await;
    }
}
