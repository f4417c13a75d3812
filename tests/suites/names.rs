//! Paths that clients never send and attackers do: `..`, encoded slashes, malformed digests, names that look like
//! routes. Each gets a clear answer, reaches no upstream, and leaves nothing in the store.

use patchport_kit::client::pull;
use patchport_kit::{Image, Registry};

use crate::scene::{assert_clear_error, setup};

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_path_is_refused_and_leaves_no_trace() {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    let hex = "a".repeat(64);
    let long = "a/".repeat(200) + "b";
    let cases: Vec<(&str, String)> = vec![
        ("dots", "/v2/../manifests/v1".to_owned()),
        ("dots within", "/v2/team/../app/manifests/v1".to_owned()),
        ("dots to the root", "/v2/../../../../etc/passwd/manifests/v1".to_owned()),
        ("encoded dots", "/v2/team/%2e%2e/app/manifests/v1".to_owned()),
        ("encoded slash in the name", "/v2/team%2fapp/manifests/v1".to_owned()),
        (
            "encoded slash in the tag",
            "/v2/team/app/manifests/..%2f..%2fv1".to_owned(),
        ),
        ("encoded slash twice", "/v2/team%252fapp/manifests/v1".to_owned()),
        ("backslashes", "/v2/team\\..\\app/manifests/v1".to_owned()),
        ("an empty segment", "/v2/team//app/manifests/v1".to_owned()),
        ("nothing but slashes", "/v2///manifests/v1".to_owned()),
        ("no name", "/v2/manifests/v1".to_owned()),
        ("an encoded NUL", "/v2/team/app%00/manifests/v1".to_owned()),
        ("an encoded line break", "/v2/team/app%0d%0ax/manifests/v1".to_owned()),
        ("capitals", "/v2/Team/App/manifests/v1".to_owned()),
        ("a space", "/v2/team/a%20b/manifests/v1".to_owned()),
        ("a semicolon", "/v2/team/a;b/manifests/v1".to_owned()),
        ("a tag of dots", "/v2/team/app/manifests/..".to_owned()),
        ("a tag that begins with a dash", "/v2/team/app/manifests/-v1".to_owned()),
        (
            "a tag of 129 letters",
            format!("/v2/team/app/manifests/{}", "t".repeat(129)),
        ),
        ("a name of 401 letters", format!("/v2/{long}/manifests/v1")),
        ("an unknown route", "/v2/team/app/secrets/v1".to_owned()),
        ("the catalog", "/v2/_catalog".to_owned()),
        ("version 1", "/v1/images".to_owned()),
        ("the root", "/".to_owned()),
        (
            "a digest that climbs",
            "/v2/team/app/blobs/sha256:../../../../etc/passwd".to_owned(),
        ),
        (
            "a digest that climbs, encoded",
            "/v2/team/app/blobs/sha256:..%2f..%2fetc%2fpasswd".to_owned(),
        ),
        ("a file for a digest", "/v2/team/app/blobs/catalog.sqlite".to_owned()),
        ("two prefixes", format!("/v2/v2/team/app/blobs/sha256:{hex}/x")),
    ];
    for (name, path) in cases {
        for method in ["GET", "HEAD"] {
            let answer = mirror.client().send(method, &path, &[]).await;
            if method == "GET" {
                assert_clear_error(name, &answer, &[400, 404]);
            }
            assert!(
                [400, 404].contains(&answer.status),
                "{method} {name}: {}",
                answer.status
            );
        }
    }
    assert!(registry.requests().is_empty(), "{:?}", registry.requests());
    assert!(mirror.stored_files().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_digest_is_a_bad_request() {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    let cases = [
        ("words", "sha256:baddigeststring".to_owned()),
        ("nothing", "sha256:".to_owned()),
        ("63 digits", format!("sha256:{}", "a".repeat(63))),
        ("65 digits", format!("sha256:{}", "a".repeat(65))),
        ("capitals", format!("sha256:{}", "A".repeat(64))),
        ("not hex", format!("sha256:{}", "g".repeat(64))),
        ("an unknown algorithm", format!("md5:{}", "a".repeat(32))),
        ("no algorithm", format!(":{}", "a".repeat(64))),
        ("two digests", format!("sha256:{0}:{0}", "a".repeat(64))),
    ];
    for (name, digest) in cases {
        for kind in ["blobs", "manifests"] {
            let answer = mirror.client().get(&format!("/v2/team/app/{kind}/{digest}")).await;
            assert_clear_error(&format!("{name} in {kind}"), &answer, &[400]);
            let code = answer.error_code();
            assert!(
                ["DIGEST_INVALID", "MANIFEST_INVALID", "TAG_INVALID", "NAME_INVALID"].contains(&code.as_str()),
                "{name} in {kind}: {code}"
            );
        }
    }
    assert!(registry.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_may_look_like_a_route() {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    for name in [
        "a/manifests/b",
        "a/blobs/b",
        "manifests/manifests",
        "v2/v2",
        "tags/list",
        "blobs/uploads",
    ] {
        let image = Image::tiny(name);
        registry.push(name, Some("manifests"), &image);
        let pulled = pull(&mirror.client(), name, "manifests").await;
        assert_eq!(pulled.digest(), image.digest(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_may_come_with_an_encoded_colon() {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    let image = Image::tiny("colon");
    registry.push("team/app", Some("v1"), &image);
    let path = format!("/v2/team/app/blobs/{}", image.config_digest().replace(':', "%3A"));
    assert_eq!(mirror.client().get(&path).await.digest, image.config_digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused() {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    let long = "x".repeat(1 << 20);
    let answer = mirror
        .client()
        .exchange("GET", &format!("/v2/{long}/manifests/v1"), &[], true)
        .await;
    // Refused with a status, or cut off while we still send: both are an end.
    assert!(answer.is_err() || answer.is_ok_and(|answer| (400..500).contains(&answer.status)));
    assert_eq!(mirror.client().get("/v2/").await.status, 200);
}
