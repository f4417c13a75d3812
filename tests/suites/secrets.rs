//! Credentials go to the upstream and to nobody else; what is secret is written nowhere; and a repository shows only
//! what upstream shows under its name.

use patchport_kit::client::pull;
use patchport_kit::mirror::Setup;
use patchport_kit::registry::{Access, basic};
use patchport_kit::{Fault, Image, Mirror, Registry};

use crate::promise::promise;
use crate::scene::{UPSTREAM, assert_clear_error, image};

const USER: &str = "kit-user";
const PASSWORD: &str = "kit-password-canary";

fn user() -> Option<(String, String)> {
    Some((USER.to_owned(), PASSWORD.to_owned()))
}

fn setup(registry: &Registry) -> Setup {
    let login = format!("username = \"{USER}\"\npassword = \"{PASSWORD}\"");
    let setup = Mirror::setup()
        .upstream_with(UPSTREAM, &registry.url(), &login)
        .default_upstream(UPSTREAM);
    setup.set("log", "level = \"trace\"")
}

/// Panics if anything secret stands in the log.
#[track_caller]
fn assert_log_is_clean(mirror: &Mirror) {
    let log = mirror.log().text();
    let encoded = basic(USER, PASSWORD);
    for canary in [
        PASSWORD,
        encoded.trim_start_matches("Basic "),
        "kit-bearer-token-canary",
        "kit-signed-url-canary",
    ] {
        let line = log.lines().find(|line| line.contains(canary));
        assert_eq!(line, None, "a secret in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mirror_logs_in_with_basic_or_with_a_token_and_writes_no_secret() {
    let cases = [
        ("basic", Access::Basic(USER.to_owned(), PASSWORD.to_owned())),
        (
            "token with a login",
            Access::Bearer {
                realm: None,
                user: user(),
            },
        ),
        (
            "anonymous token",
            Access::Bearer {
                realm: None,
                user: None,
            },
        ),
    ];
    for (name, access) in cases {
        let registry = Registry::start().await;
        registry.require(access);
        let image = image(700);
        registry.push("team/app", Some("v1"), &image);
        let mirror = setup(&registry).start().await;
        assert_eq!(
            pull(&mirror.client(), "team/app", "v1").await.digest(),
            image.digest(),
            "{name}"
        );
        assert_log_is_clean(&mirror);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_token_realm_never_gets_the_credentials() {
    let registry = Registry::start().await;
    let foreign = Registry::start().await;
    let port = foreign.host().rsplit_once(':').unwrap().1.to_owned();
    registry.push("team/app", Some("v1"), &Image::tiny("realm"));
    let mirror = setup(&registry).start().await;
    let realms = [
        format!("http://localhost:{port}/token"),
        format!("http://LOCALHOST:{port}/token"),
        format!("http://[::ffff:127.0.0.1]:{port}/token"),
        format!("http://127.1.2.3:{port}/token"),
        format!("http://up.test@localhost:{port}/token"),
        format!("http://localhost:{port}/../token"),
        "http://127.0.0.1:1/token".to_owned(),
        "file:///etc/passwd".to_owned(),
        "/token".to_owned(),
        "not a url".to_owned(),
    ];
    for realm in realms {
        registry.require(Access::Bearer {
            realm: Some(realm.clone()),
            user: user(),
        });
        let answer = mirror.client().get("/v2/team/app/manifests/v1").await;
        assert_clear_error(&realm, &answer, &[401, 403, 404, 502]);
        assert!(!answer.text().contains(PASSWORD), "{realm}");
    }
    let told = foreign
        .requests()
        .iter()
        .any(|request| request.header("authorization").is_some());
    assert!(!told, "credentials at a foreign realm: {:?}", foreign.requests());
    assert_log_is_clean(&mirror);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_realm_that_the_operator_named_gets_the_credentials() {
    let registry = Registry::start().await;
    let realm = Registry::start().await;
    realm.require(Access::Bearer {
        realm: None,
        user: user(),
    });
    let port = realm.host().rsplit_once(':').unwrap().1.to_owned();
    registry.require(Access::Bearer {
        realm: Some(format!("http://localhost:{port}/token")),
        user: user(),
    });
    registry.push("team/app", Some("v1"), &Image::tiny("realm"));
    let login = format!("username = \"{USER}\"\npassword = \"{PASSWORD}\"\ntoken_realms = [\"localhost\"]");
    let mirror = Mirror::setup()
        .upstream_with(UPSTREAM, &registry.url(), &login)
        .default_upstream(UPSTREAM)
        .start()
        .await;
    pull(&mirror.client(), "team/app", "v1").await;
    assert!(
        realm
            .requests()
            .iter()
            .any(|request| request.header("authorization") == Some(&basic(USER, PASSWORD)))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirected_blob_is_fetched_without_credentials() {
    for access in [
        Access::Basic(USER.to_owned(), PASSWORD.to_owned()),
        Access::Bearer {
            realm: None,
            user: user(),
        },
    ] {
        let (registry, elsewhere) = (Registry::start().await, Registry::start().await);
        let image = image(701);
        registry.push("team/app", Some("v1"), &image);
        elsewhere.push("team/app", None, &image);
        registry.require(access);
        registry.fault("GET /v2/team/app/blobs/", Fault::Redirect(elsewhere.url()));
        let mirror = setup(&registry).start().await;
        assert_eq!(pull(&mirror.client(), "team/app", "v1").await.digest(), image.digest());
        let requests = elsewhere.requests();
        assert!(!requests.is_empty());
        for request in requests {
            assert_eq!(
                (request.header("authorization"), request.header("cookie")),
                (None, None),
                "{} {}",
                request.method,
                request.path
            );
        }
        assert_log_is_clean(&mirror);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_without_end_or_to_nowhere_is_an_upstream_fault() {
    let registry = Registry::start().await;
    let image = image(702);
    registry.push("team/app", Some("v1"), &image);
    let mirror = setup(&registry).start().await;
    let path = format!("/v2/team/app/blobs/{}", image.layers[0].digest());
    for target in [
        registry.url(),
        "http://127.0.0.1:1".to_owned(),
        "ftp://127.0.0.1".to_owned(),
    ] {
        registry.fault("GET /v2/team/app/blobs/", Fault::Redirect(target.clone()));
        let answer = mirror.client().get(&path).await;
        assert_clear_error(&target, &answer, &[502, 504]);
        assert!(!answer.text().contains("kit-signed-url-canary"), "{}", answer.text());
        registry.heal();
    }
    assert_eq!(mirror.client().weigh(&path).await.digest, image.layers[0].digest());
    assert_log_is_clean(&mirror);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_a_clear_error_without_the_password() {
    let registry = Registry::start().await;
    registry.push("team/app", Some("v1"), &Image::tiny("wrong"));
    registry.require(Access::Basic(USER.to_owned(), "another".to_owned()));
    let mirror = setup(&registry).start().await;
    let answer = mirror.client().get("/v2/team/app/manifests/v1").await;
    assert_clear_error("a wrong password", &answer, &[401, 403, 404, 502]);
    assert_log_is_clean(&mirror);
    registry.require(Access::Basic(USER.to_owned(), PASSWORD.to_owned()));
    pull(&mirror.client(), "team/app", "v1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_one_repository_is_not_shown_under_another() {
    promise("A repository gives from the cache only what upstream showed under its name.");
    let registry = Registry::start().await;
    let secret = image(703);
    registry.push("private/app", Some("v1"), &secret);
    registry.push("public/app", Some("v1"), &Image::tiny("public"));
    let mirror = setup(&registry).start().await;
    pull(&mirror.client(), "private/app", "v1").await;
    pull(&mirror.client(), "public/app", "v1").await;
    let digests = secret
        .blob_digests()
        .into_iter()
        .map(|digest| format!("blobs/{digest}"));
    for what in digests.chain([format!("manifests/{}", secret.digest())]) {
        let answer = mirror
            .client()
            .send("GET", &format!("/v2/public/app/{what}"), &[("range", "bytes=0-9")])
            .await;
        assert_clear_error(&what, &answer, &[404]);
        assert_eq!(
            mirror.client().head(&format!("/v2/public/app/{what}")).await.status,
            404,
            "HEAD {what}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_send_us_to_log_in_is_not_passed_on() {
    let registry = Registry::start().await;
    registry.push("team/app", Some("v1"), &Image::tiny("client"));
    let mirror = setup(&registry).start().await;
    let client = mirror
        .client()
        .with_header("authorization", "Bearer kit-client-canary")
        .with_header("cookie", "kit-client-canary");
    pull(&client, "team/app", "v1").await;
    assert!(
        registry
            .requests()
            .iter()
            .all(|request| !format!("{:?}", request.headers).contains("kit-client-canary"))
    );
    assert!(!mirror.log().text().contains("kit-client-canary"));
}
