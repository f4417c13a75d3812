//! Which upstream a request means: `?ns=`, the first path segment, or the listener's default, all through one closed
//! table. What is not in the table is never dialled.

use patchport_kit::client::{Client, pull};
use patchport_kit::{Image, Mirror, Registry};

use crate::scene::assert_clear_error;

struct Scene {
    one: Registry,
    two: Registry,
    mirror: Mirror,
    images: [Image; 2],
}

async fn scene(default: Option<&str>) -> Scene {
    let (one, two) = (Registry::start().await, Registry::start().await);
    let images = [Image::tiny("one"), Image::tiny("two")];
    one.push("team/app", Some("v1"), &images[0]);
    two.push("team/app", Some("v1"), &images[1]);
    let mut setup = Mirror::setup()
        .upstream("one.test", &one.url())
        .upstream("two.test:5000", &two.url());
    if let Some(name) = default {
        setup = setup.default_upstream(name);
    }
    Scene {
        mirror: setup.start().await,
        one,
        two,
        images,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ns_the_first_segment_and_the_default_choose_the_upstream() {
    let Scene {
        mirror,
        images,
        one: _one,
        two: _two,
    } = scene(Some("one.test")).await;
    let cases = [
        ("default", "/v2/team/app/manifests/v1", 0),
        ("ns", "/v2/team/app/manifests/v1?ns=one.test", 0),
        ("other ns", "/v2/team/app/manifests/v1?ns=two.test:5000", 1),
        ("encoded ns", "/v2/team/app/manifests/v1?ns=two.test%3A5000", 1),
        ("ns among others", "/v2/team/app/manifests/v1?x=1&ns=two.test:5000", 1),
        ("first segment", "/v2/one.test/team/app/manifests/v1", 0),
        ("other first segment", "/v2/two.test:5000/team/app/manifests/v1", 1),
    ];
    for (name, path, image) in cases {
        let answer = mirror.client().get(path).await;
        assert_eq!((answer.status, answer.digest), (200, images[image].digest()), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_image_can_be_pulled_under_the_name_of_its_upstream() {
    let Scene {
        mirror,
        images,
        two: _two,
        ..
    } = scene(None).await;
    let pulled = pull(&mirror.client(), "two.test:5000/team/app", "v1").await;
    assert_eq!(pulled.digest(), images[1].digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_default_a_bare_name_is_unknown() {
    let Scene { mirror, one, two, .. } = scene(None).await;
    let answer = mirror.client().get("/v2/team/app/manifests/v1").await;
    assert_clear_error("a bare name", &answer, &[404]);
    assert_eq!(answer.error_code(), "NAME_UNKNOWN");
    assert!(one.requests().is_empty() && two.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_outside_the_table_is_never_dialled() {
    let Scene { mirror, one, .. } = scene(Some("one.test")).await;
    let bait = Registry::start().await;
    bait.push("team/app", Some("v1"), &Image::tiny("bait"));
    let host = bait.host();
    let port = host.rsplit_once(':').unwrap().1.to_owned();
    let names = [
        host.clone(),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        format!("2130706433:{port}"),
        format!("0x7f.1:{port}"),
        format!("one.test@{host}"),
        format!("one.test%40{host}"),
        format!("one.test%23@{host}"),
        format!("http://{host}"),
        format!("one.test:{port}"),
        "127.0.0.1".to_owned(),
        "one.test.".to_owned(),
        "One.Test/../x".to_owned(),
        String::new(),
    ];
    for name in &names {
        let answer = mirror
            .client()
            .get(&format!("/v2/team/app/manifests/v1?ns={name}"))
            .await;
        assert_clear_error(&format!("ns={name}"), &answer, &[400, 404]);
    }
    let twice = mirror
        .client()
        .get(&format!("/v2/team/app/manifests/v1?ns=one.test&ns={host}"))
        .await;
    assert!([200, 400, 404].contains(&twice.status), "two ns");
    for name in names.iter().filter(|name| !name.contains("..")) {
        let answer = mirror.client().get(&format!("/v2/{name}/team/app/manifests/v1")).await;
        assert!(
            [400, 404].contains(&answer.status),
            "first segment {name}: {}",
            answer.status
        );
    }
    assert!(bait.requests().is_empty(), "{:?}", bait.requests());
    assert!(one.requests().iter().all(|request| !request.query.contains("ns=")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_header_and_the_forwarding_headers_choose_nothing() {
    let Scene {
        mirror,
        images,
        one: _one,
        ..
    } = scene(Some("one.test")).await;
    let bait = Registry::start().await;
    let client = Client::new(mirror.host())
        .with_header("x-forwarded-host", &bait.host())
        .with_header("forwarded", &format!("host={}", bait.host()));
    assert_eq!(client.get("/v2/team/app/manifests/v1").await.digest, images[0].digest());
    let whole = mirror
        .client()
        .get(&format!("{}/v2/team/app/manifests/v1", bait.url()))
        .await;
    assert!([200, 400, 404].contains(&whole.status), "an absolute URL as the target");
    assert!(bait.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_library_is_added_for_upstreams_that_have_one() {
    let registry = Registry::start().await;
    let image = Image::tiny("library");
    registry.push("library/debian", Some("12"), &image);
    let setup = Mirror::setup()
        .upstream_with("hub.test", &registry.url(), "docker_library = true")
        .default_upstream("hub.test");
    let mirror = setup.start().await;
    for repository in ["debian", "library/debian", "hub.test/debian", "hub.test/library/debian"] {
        assert_eq!(
            pull(&mirror.client(), repository, "12").await.digest(),
            image.digest(),
            "{repository}"
        );
    }
}
