//! The pull part of the distribution specification, as a client sees it: `/v2/`, manifests and blobs, `HEAD` and
//! `GET`, error bodies, methods.

use patchport_kit::client::{ACCEPT, pull};
use patchport_kit::image::media;
use patchport_kit::{Image, Index, Layer, Registry};

use crate::scene::{assert_clear_error, image, setup};

#[tokio::test(flavor = "multi_thread")]
async fn the_base_is_answered_without_asking_an_upstream() {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    for (method, path) in [("GET", "/v2/"), ("HEAD", "/v2/"), ("GET", "/v2")] {
        assert_eq!(
            mirror.client().send(method, path, &[]).await.status,
            200,
            "{method} {path}"
        );
    }
    assert!(registry.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_arrives_byte_for_byte_whatever_its_media_types() {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    let layers = || {
        Image::builder()
            .layer(Layer::new().file("a", "1").plain())
            .layer(Layer::new().file("b", "2").zstd())
    };
    let docker = Image::builder()
        .docker()
        .layer(Layer::new().file("a", "1").gzip())
        .build();
    for (name, image) in [("oci", layers().annotation("k", "v").build()), ("docker", docker)] {
        let digest = registry.push("team/app", Some(name), &image);
        for reference in [name, digest.as_str()] {
            let pulled = pull(&mirror.client(), "team/app", reference).await;
            assert_eq!(pulled.manifest, image.manifest, "{name} by {reference}");
            assert_eq!(pulled.media_type, image.media_type, "{name} by {reference}");
        }
    }
    mirror.assert_store_is_true();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_arrives_as_an_index_and_all_its_children_can_be_pulled() {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    let foreign = Image::builder()
        .architecture("s390x")
        .layer(Layer::new().file("a", "z").gzip())
        .build();
    let index = Index::of(&[Image::tiny("native"), foreign], true);
    registry.push_index("team/app", Some("v1"), &index);
    let answer = mirror
        .client()
        .send("GET", "/v2/team/app/manifests/v1", &[("accept", ACCEPT)])
        .await;
    assert_eq!(answer.header("content-type"), Some(media::OCI_INDEX));
    assert_eq!(answer.digest, index.digest());
    for child in &index.images {
        let got = mirror
            .client()
            .get(&format!("/v2/team/app/manifests/{}", child.digest()))
            .await;
        assert_eq!((got.status, got.digest), (200, child.digest()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_and_get_say_the_same_cold_and_warm() {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    let image = image(1);
    let digest = registry.push("team/app", Some("v1"), &image);
    let manifests = ["v1", &digest].map(|reference| format!("/v2/team/app/manifests/{reference}"));
    let blobs = image
        .blob_digests()
        .into_iter()
        .map(|digest| format!("/v2/team/app/blobs/{digest}"));
    for path in manifests.into_iter().chain(blobs) {
        for state in ["cold", "warm"] {
            let head = mirror.client().send("HEAD", &path, &[("accept", ACCEPT)]).await;
            let get = mirror.client().send("GET", &path, &[("accept", ACCEPT)]).await;
            assert_eq!((head.status, get.status), (200, 200), "{state} {path}");
            assert!(head.body.is_empty(), "{state} HEAD {path} has no body");
            for name in [
                "content-type",
                "content-length",
                "docker-content-digest",
                "accept-ranges",
            ] {
                assert_eq!(head.header(name), get.header(name), "{name} of {state} {path}");
            }
            assert_eq!(
                get.header("docker-content-digest"),
                Some(get.digest.as_str()),
                "{state} {path}"
            );
            assert_eq!(
                get.header("content-length"),
                Some(get.length.to_string().as_str()),
                "{state} {path}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_never_encoded_anew() {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    let image = image(2);
    registry.push("team/app", Some("v1"), &image);
    for digest in image.blob_digests() {
        let path = format!("/v2/team/app/blobs/{digest}");
        let answer = mirror
            .client()
            .send("GET", &path, &[("accept-encoding", "zstd,gzip,deflate")])
            .await;
        assert_eq!((answer.status, answer.header("content-encoding")), (200, None));
        assert_eq!(answer.digest, digest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found_with_the_code_of_the_specification() {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    registry.push("team/app", Some("v1"), &Image::tiny("x"));
    let unknown = patchport_kit::digest(b"unknown");
    let cases = [
        ("a tag", "/v2/team/app/manifests/v2".to_owned(), "MANIFEST_UNKNOWN"),
        (
            "a manifest",
            format!("/v2/team/app/manifests/{unknown}"),
            "MANIFEST_UNKNOWN",
        ),
        ("a blob", format!("/v2/team/app/blobs/{unknown}"), "BLOB_UNKNOWN"),
        (
            "a repository",
            "/v2/team/other/manifests/v1".to_owned(),
            "MANIFEST_UNKNOWN",
        ),
    ];
    for (name, path, code) in cases {
        let answer = mirror.client().get(&path).await;
        assert_clear_error(name, &answer, &[404]);
        assert!(
            [code, "NAME_UNKNOWN"].contains(&answer.error_code().as_str()),
            "{name}: {}",
            answer.text()
        );
        let head = mirror.client().head(&path).await;
        assert_eq!((head.status, head.body.len()), (404, 0), "HEAD of {name}");
    }
    assert!(mirror.stored_files().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_be_written_and_upstream_is_not_asked() {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    let digest = registry.push("team/app", Some("v1"), &Image::tiny("x"));
    let paths = [
        "/v2/".to_owned(),
        "/v2/team/app/manifests/v1".to_owned(),
        format!("/v2/team/app/blobs/{digest}"),
        "/v2/team/app/blobs/uploads/".to_owned(),
    ];
    for method in ["PUT", "POST", "PATCH", "DELETE"] {
        for path in &paths {
            let answer = mirror.client().send(method, path, &[("content-length", "0")]).await;
            assert_clear_error(&format!("{method} {path}"), &answer, &[405]);
            assert_eq!(answer.error_code(), "UNSUPPORTED", "{method} {path}");
        }
    }
    assert!(registry.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_routes_are_not_on_the_data_listener_and_the_other_way_round() {
    let registry = Registry::start().await;
    let mut mirror = setup(&registry).start().await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(mirror.admin().get(path).await.status, 200, "{path}");
        assert_eq!(
            mirror.client().get(path).await.status,
            404,
            "{path} on the data listener"
        );
    }
    assert_eq!(mirror.admin().get("/v2/").await.status, 404);
    assert!(mirror.sigterm().await.success(), "SIGTERM ends the process with 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_a_running_download_end() {
    let registry = Registry::start().await;
    let mut mirror = setup(&registry).start().await;
    let image = image(3);
    registry.push("team/app", Some("v1"), &image);
    let gate = patchport_kit::Gate::default();
    registry.fault("/blobs/", patchport_kit::Fault::HoldAfter(70_000, gate.clone()));
    let digest = image.layers[0].digest();
    let client = mirror.client();
    let path = format!("/v2/team/app/blobs/{digest}");
    let download = tokio::spawn(async move { client.weigh(&path).await });
    gate.reached(1).await;
    mirror.process().signal("TERM");
    let client = mirror.client();
    crate::scene::eventually("new connections are refused", async || {
        client.exchange("GET", "/v2/", &[], true).await.is_err()
    })
    .await;
    gate.open();
    let answer = download.await.unwrap();
    assert!(
        answer.whole && answer.digest == digest,
        "the download that ran at SIGTERM ends whole"
    );
    assert!(
        mirror
            .process()
            .ended(std::time::Duration::from_secs(25))
            .await
            .success()
    );
}
