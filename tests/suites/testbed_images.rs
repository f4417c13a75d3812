//! The images of the testbed, out of a real registry: a real Debian with the fixes that are pending today, and fixtures
//! whose scripts do what scripts do.

use patchport_kit::client::{Client, pull};
use patchport_kit::debian::{Rootfs, testbed};
use patchport_kit::image::{Pulled, unpack};
use patchport_kit::{Buildkitd, Mirror};

use crate::patch_scene::{LONG, rule, until_patched_in};
use crate::patched_image::assert_nothing_but_the_patch;

/// Through a real registry, with packages whose scripts do what scripts do.
#[tokio::test(flavor = "multi_thread")]
async fn the_fixtures_of_the_testbed_are_patched_and_no_service_is_started() {
    let (mirror, _buildkit) = testbed_mirror().await;
    let (repository, tag) = split(&testbed("PATCHPORT_TEST_IMAGE_OUTDATED"));
    let original = pull(&Client::new(testbed("PATCHPORT_TEST_REGISTRY")), &repository, &tag).await;
    let patched = pull_patched(&mirror, &repository, &tag, &original.digest()).await;
    assert_nothing_but_the_patch(&original, &patched);
    let rootfs = Rootfs::unpack(&patched);
    assert_eq!(rootfs.outdated().await, Vec::<String>::new());
    assert_eq!(rootfs.read("srv/service-started"), None, "no service is started");
    assert_eq!(
        rootfs.read("usr/share/fixture-simple/gone"),
        None,
        "a file that the new version lacks is gone"
    );
    assert_eq!(
        rootfs.read("usr/share/fixture-simple/version").as_deref(),
        Some("1.1\n")
    );
    assert_eq!(
        rootfs.read("etc/fixture/edited.conf").as_deref(),
        Some("changed by the user\n")
    );
    assert_eq!(
        rootfs.version("fixture-added").await,
        "1.0-1 install ok installed",
        "a new dependency comes along"
    );
    assert_eq!(
        rootfs.read("usr/sbin/policy-rc.d"),
        None,
        "what keeps services from starting does not stay"
    );
}

/// The main promise, on a real distribution with its real fixes.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_debian_comes_back_with_nothing_outdated() {
    let (mirror, _buildkit) = testbed_mirror().await;
    let (repository, tag) = split(&testbed("PATCHPORT_TEST_IMAGE_DEBIAN"));
    let original = pull(&Client::new(testbed("PATCHPORT_TEST_REGISTRY")), &repository, &tag).await;
    let outdated = Rootfs::unpack(&original).outdated().await;
    assert!(!outdated.is_empty(), "the testbed's Debian has fixes pending");
    let patched = pull_patched(&mirror, &repository, &tag, &original.digest()).await;
    assert_nothing_but_the_patch(&original, &patched);
    let rootfs = Rootfs::unpack(&patched);
    assert_eq!(rootfs.outdated().await, Vec::<String>::new(), "of {outdated:?}");
    // What debconf keeps below var/cache is its database, and scripts of upgraded packages may change it.
    let logs_and_caches = [
        "var/cache/apt/",
        "var/cache/ldconfig/",
        "var/log/",
        "var/lib/apt/lists/",
        "tmp/",
        "run/",
    ];
    let left = unpack(patched.layers.last().unwrap()).into_keys();
    let left: Vec<String> = left
        .filter(|path| !path.ends_with('/') && logs_and_caches.iter().any(|place| path.starts_with(place)))
        .collect();
    assert_eq!(
        left,
        Vec::<String>::new(),
        "logs, lists and caches are left out of the layer"
    );
}

async fn testbed_mirror() -> (Mirror, Buildkitd) {
    let buildkit = Buildkitd::shared().await;
    let url = format!("http://{}", testbed("PATCHPORT_TEST_REGISTRY"));
    let setup = Mirror::setup()
        .upstream("bed.test", &url)
        .default_upstream("bed.test")
        .buildkit(buildkit.address());
    (setup.rule(&rule(LONG, "deny", "deny")).start().await, buildkit)
}

fn split(image: &str) -> (String, String) {
    let (repository, tag) = image.rsplit_once(':').unwrap();
    (repository.to_owned(), tag.to_owned())
}

async fn pull_patched(mirror: &Mirror, repository: &str, tag: &str, original: &str) -> Pulled {
    until_patched_in(mirror, repository, tag, original).await;
    pull(&mirror.client(), repository, tag).await
}
