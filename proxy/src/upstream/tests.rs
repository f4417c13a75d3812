//! The real client against a registry on loopback that goes wrong to order.
//!
//! One table of faults; the rest is who gets our credentials.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use patchport_kit::registry::{Access, basic};
use patchport_kit::{Fault, Gate, Image, Registry};

use super::client::Settings;
use super::conformance::{Shown, check};
use super::*;
use crate::testing::{Faulty, HOST, Memory, tag};

const REPOSITORY: &str = "team/app";
/// How long the client waits in tests of waiting.
const SHORT: Duration = Duration::from_millis(200);

fn image() -> Image {
    Image::tiny("a")
}

fn shown() -> Shown {
    Shown {
        repository: repository(),
        tag: tag("v1"),
        manifest: Manifest::parse(image().manifest, &image().media_type).unwrap(),
        blob: image().layers[0].bytes.clone(),
    }
}

fn repository() -> Repository {
    REPOSITORY.parse().unwrap()
}

async fn registry() -> Registry {
    let registry = Registry::start().await;
    registry.push(REPOSITORY, Some("v1"), &image());
    registry
}

fn settings(registry: &Registry) -> Settings {
    Settings {
        name: HOST.into(),
        url: registry.url(),
        user: None,
        token_realms: vec![],
        ca: None,
        header_timeout: Duration::from_secs(30),
        stall_timeout: Duration::from_secs(30),
    }
}

fn client(registry: &Registry) -> Client {
    Client::new(settings(registry)).unwrap()
}

#[tokio::test]
async fn conforms() {
    let memory = Memory::default();
    memory.push(REPOSITORY, Some("v1"), &image());
    check(&memory, &shown()).await;
    check(&Faulty::new(memory), &shown()).await;
    let registry = registry().await;
    check(&client(&registry), &shown()).await;
    registry.require(Access::Bearer {
        realm: None,
        user: None,
    });
    check(&client(&registry), &shown()).await;
}

/// What is asked of the client.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Resolve,
    ByTag,
    ByDigest,
    Size,
    Blob,
}

async fn ask(client: &Client, ask: Ask) -> Result<(), UpstreamError> {
    let (repository, shown) = (repository(), shown());
    let blob = Digest::of(&shown.blob);
    match ask {
        Ask::Resolve => client.resolve(&repository, &shown.tag).await.map(drop),
        Ask::ByTag => client.manifest(&repository, &Reference::Tag(shown.tag)).await.map(drop),
        Ask::ByDigest => {
            let reference = Reference::Digest(shown.manifest.digest);
            client.manifest(&repository, &reference).await.map(drop)
        }
        Ask::Size => client.blob_size(&repository, &blob).await.map(drop),
        Ask::Blob => {
            let download = client.blob(&repository, &blob).await?;
            download.body.try_collect::<Vec<Bytes>>().await.map(drop)
        }
    }
}

fn kind(error: &UpstreamError) -> &'static str {
    match error {
        UpstreamError::NotFound { .. } => "not found",
        UpstreamError::Refused { .. } => "refused",
        UpstreamError::RateLimited { .. } => "limited",
        UpstreamError::Faulty { .. } => "faulty",
        UpstreamError::Unreachable { .. } => "unreachable",
        UpstreamError::Lied { .. } => "lied",
        UpstreamError::Manifest { .. } => "manifest",
        UpstreamError::Untrusted { .. } => "untrusted",
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
async fn what_upstream_does_wrong_is_told_apart_and_tried_again_where_that_may_help() {
    let other = Digest::of(b"other").to_string();
    let limited = Fault::Status(429, vec![("retry-after", "7".into())]);
    let location = |url: &str| Fault::Status(302, vec![("location", url.to_owned())]);
    // The fault, what is asked, the kind of error (none for success), how often upstream is asked.
    for (name, fault, asked, expected, requests) in [
        ("401 without a challenge", Fault::status(401), Ask::ByTag, "refused", 1),
        ("403", Fault::status(403), Ask::Blob, "refused", 1),
        ("404", Fault::status(404), Ask::Size, "not found", 1),
        ("405 to HEAD", Fault::status(405), Ask::Resolve, "", 1),
        ("405 to GET", Fault::status(405), Ask::ByTag, "faulty", 1),
        ("418", Fault::status(418), Ask::ByTag, "faulty", 1),
        ("204", Fault::status(204), Ask::ByTag, "faulty", 1),
        ("429", limited, Ask::ByTag, "limited", 1),
        ("500", Fault::status(500), Ask::ByTag, "faulty", 3),
        ("503", Fault::status(503), Ask::Resolve, "faulty", 3),
        (
            "a digest that is not the tag's",
            Fault::DigestHeader(other.clone()),
            Ask::ByTag,
            "lied",
            1,
        ),
        (
            "a wrong header on what was asked by digest",
            Fault::DigestHeader(other),
            Ask::ByDigest,
            "",
            1,
        ),
        ("no digest", Fault::NoDigestHeader, Ask::Resolve, "", 1),
        ("no digest, by tag", Fault::NoDigestHeader, Ask::ByTag, "", 1),
        ("other bytes", Fault::Body("{}".into()), Ask::ByDigest, "lied", 1),
        ("an endless manifest", Fault::Endless, Ask::ByDigest, "lied", 1),
        (
            "an announced giant",
            Fault::ContentLength(5 << 20),
            Ask::ByDigest,
            "lied",
            1,
        ),
        (
            "a manifest broken off",
            Fault::StopAfter(20),
            Ask::ByDigest,
            "unreachable",
            1,
        ),
        ("a blob broken off", Fault::StopAfter(20), Ask::Blob, "unreachable", 1),
        (
            "a redirect without a target",
            Fault::status(302),
            Ask::ByTag,
            "unreachable",
            3,
        ),
        (
            "a redirect to a file",
            location("file:///etc/passwd"),
            Ask::Blob,
            "unreachable",
            3,
        ),
        (
            "a redirect to no web",
            location("ftp://registry.example/x"),
            Ask::Blob,
            "untrusted",
            1,
        ),
        (
            "a redirect to metadata",
            location("http://169.254.169.254/"),
            Ask::Blob,
            "untrusted",
            1,
        ),
        (
            "a redirect in a circle",
            location("/v2/team/app/blobs/x"),
            Ask::Blob,
            "unreachable",
            18,
        ),
    ] {
        let registry = registry().await;
        registry.fault("/team/app/", fault);
        let answer = ask(&client(&registry), asked).await;
        let found = answer.as_ref().err().map_or("", kind);
        assert_eq!(found, expected, "{name}: {answer:?}");
        assert_eq!(registry.count("/team/app/"), requests, "{name}");
        if let Err(error) = answer {
            let text = error.to_string();
            assert!(text.contains(HOST) && text.contains(REPOSITORY), "{name}: {text}");
        }
    }
}

#[tokio::test]
async fn a_rate_limit_says_for_how_long() {
    for (header, expected) in [("7", Some(7)), ("soon", None), ("-1", None)] {
        let registry = registry().await;
        registry.fault("/manifests/", Fault::Status(429, vec![("retry-after", header.into())]));
        match ask(&client(&registry), Ask::ByTag).await {
            Err(UpstreamError::RateLimited { retry_after, .. }) => {
                assert_eq!(retry_after, expected.map(Duration::from_secs), "{header}");
            }
            other => panic!("{header}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    for (name, fault) in [("503", Fault::status(503)), ("broken", Fault::StopAfter(0))] {
        let registry = registry().await;
        registry.fault_times(2, "HEAD", fault);
        ask(&client(&registry), Ask::Resolve).await.expect(name);
    }
    let mut registry = registry().await;
    registry.down().await;
    let client = client(&registry);
    assert_eq!(kind(&ask(&client, Ask::ByTag).await.unwrap_err()), "unreachable");
    registry.up().await;
    ask(&client, Ask::ByTag).await.unwrap();
}

#[tokio::test]
async fn a_silent_upstream_is_given_up() {
    for (name, fault, asked) in [
        ("no headers", Fault::Hold(Gate::default()), Ask::Resolve),
        ("no body", Fault::HoldAfter(0, Gate::default()), Ask::ByTag),
        (
            "a manifest that stops",
            Fault::HoldAfter(20, Gate::default()),
            Ask::ByTag,
        ),
        ("a blob that stops", Fault::HoldAfter(20, Gate::default()), Ask::Blob),
    ] {
        let registry = registry().await;
        registry.fault("/team/app/", fault);
        let (header_timeout, stall_timeout) = (SHORT, SHORT);
        let client = Client::new(Settings {
            header_timeout,
            stall_timeout,
            ..settings(&registry)
        });
        let error = ask(&client.unwrap(), asked).await.unwrap_err();
        assert_eq!(kind(&error), "unreachable", "{name}: {error}");
        assert!(error.to_string().contains("200ms"), "{name}: {error}");
    }
}

#[tokio::test]
async fn what_is_no_manifest_is_refused() {
    let registry = registry().await;
    for (name, body, media_type) in [
        (
            "schema 1",
            r#"{"schemaVersion":1}"#,
            "application/vnd.docker.distribution.manifest.v1+json",
        ),
        ("no JSON", "<html>", "text/html"),
        ("both", r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#, ""),
    ] {
        registry.put_manifest(REPOSITORY, Some("v1"), media_type, body);
        let error = ask(&client(&registry), Ask::ByTag).await.unwrap_err();
        assert_eq!(kind(&error), "manifest", "{name}: {error}");
    }
}

fn with_user(registry: &Registry, password: &str) -> Client {
    let user = Some(("user".to_owned(), password.to_owned()));
    Client::new(Settings {
        user,
        ..settings(registry)
    })
    .unwrap()
}

#[tokio::test]
async fn a_password_opens_what_asks_for_it_and_a_token_is_asked_for_once() {
    let user = ("user".to_owned(), "right".to_owned());
    let bearer = Access::Bearer {
        realm: None,
        user: Some(user.clone()),
    };
    for (name, access, tokens) in [("basic", Access::Basic(user.0, user.1), 0), ("bearer", bearer, 1)] {
        let registry = registry().await;
        registry.require(access);
        let right = with_user(&registry, "right");
        for asked in [Ask::Resolve, Ask::ByTag, Ask::Blob, Ask::Size] {
            ask(&right, asked)
                .await
                .unwrap_or_else(|error| panic!("{name}, {asked:?}: {error}"));
        }
        assert_eq!(registry.count("/token"), tokens, "{name}");
        assert_eq!(
            registry.count("/team/app/"),
            5,
            "{name}: only the first request meets a challenge"
        );
        for client in [with_user(&registry, "wrong"), client(&registry)] {
            let error = ask(&client, Ask::ByTag).await.unwrap_err();
            assert_eq!(kind(&error), "refused", "{name}: {error}");
            assert!(!error.to_string().contains("wrong"), "{error}");
        }
    }
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_origin() {
    let (registry, cdn) = (registry().await, registry().await);
    registry.require(Access::Basic("user".into(), "right".into()));
    registry.fault("/blobs/", Fault::Redirect(cdn.url()));
    ask(&with_user(&registry, "right"), Ask::ByTag).await.unwrap();
    let client = with_user(&registry, "right");
    ask(&client, Ask::ByTag).await.unwrap();
    ask(&client, Ask::Blob).await.unwrap();
    let here = registry.requests();
    let sent = here.last().unwrap().header("authorization");
    assert_eq!(sent, Some(basic("user", "right").as_str()));
    let there = cdn.requests();
    assert_eq!(there.len(), 1);
    assert_eq!(there[0].header("authorization"), None);
}

#[tokio::test]
async fn a_realm_on_another_host_gets_no_password_and_is_not_asked() {
    let (registry, elsewhere) = (registry().await, registry().await);
    let realm = format!("{}/token", elsewhere.url().replace("127.0.0.1", "localhost"));
    registry.require(Access::Bearer {
        realm: Some(realm),
        user: None,
    });
    let error = ask(&with_user(&registry, "canary"), Ask::ByTag).await.unwrap_err();
    assert_eq!(kind(&error), "untrusted", "{error}");
    assert!(
        error.to_string().contains("token_realms") && !error.to_string().contains("canary"),
        "{error}"
    );
    assert_eq!(elsewhere.requests().len(), 0);
    let named = Client::new(Settings {
        user: Some(("user".into(), "right".into())),
        token_realms: vec!["localhost".into()],
        ..settings(&registry)
    });
    ask(&named.unwrap(), Ask::ByTag).await.unwrap();
    assert_eq!(
        elsewhere.requests()[0].header("authorization"),
        Some(basic("user", "right").as_str())
    );
}

#[tokio::test]
async fn what_is_no_url_is_no_upstream() {
    let registry = registry().await;
    for url in [
        "",
        "registry.example",
        "ftp://registry.example",
        "http://user@registry.example",
        "http://",
    ] {
        let client = Client::new(Settings {
            url: url.into(),
            ..settings(&registry)
        });
        assert!(client.is_err(), "{url}");
    }
}

#[tokio::test]
async fn a_list_of_referrers_is_read_page_by_page() {
    let registry = registry().await;
    let subject = shown().manifest.digest;
    let attached: Vec<String> = (0..5)
        .map(|number| {
            registry.attach(
                REPOSITORY,
                None,
                &subject.to_string(),
                "text/plain",
                &number.to_string(),
            )
        })
        .collect();
    let client = client(&registry);
    let list = client.referrers(&repository(), &subject).await.unwrap().unwrap();
    let mut digests: Vec<&str> = list.iter().map(|one| one["digest"].as_str().unwrap()).collect();
    digests.sort_unstable();
    let mut expected: Vec<&str> = attached.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(digests, expected);
    assert_eq!(registry.count("/referrers/"), 3, "two on a page");
    let nothing = client.referrers(&repository(), &Digest::of(b"other")).await.unwrap();
    assert_eq!(nothing, Some(vec![]));
}

#[tokio::test]
async fn a_registry_without_the_referrers_api_is_told_from_one_that_fails() {
    let registry = registry().await;
    let client = client(&registry);
    let subject = shown().manifest.digest;
    for (name, fault) in [
        ("not found", Fault::status(404)),
        ("not allowed", Fault::status(405)),
        ("bad request", Fault::status(400)),
        ("refused", Fault::status(401)),
        ("a page for people", Fault::Body("<html>".into())),
    ] {
        registry.fault("/referrers/", fault);
        assert_eq!(client.referrers(&repository(), &subject).await.unwrap(), None, "{name}");
        registry.heal();
    }
    let elsewhere = |target: &str| Fault::Status(200, vec![("link", format!("<{target}>; rel=\"next\""))]);
    for (name, fault) in [
        ("fails", Fault::status(503)),
        ("limits", Fault::status(429)),
        ("endless", Fault::Endless),
        ("another repository", elsewhere("/v2/team/secret/referrers/x")),
        ("another host", elsewhere("http://127.0.0.1:1/v2/team/app/referrers/x")),
        (
            "up and away",
            elsewhere("/v2/team/app/referrers/../../secret/referrers/x"),
        ),
    ] {
        registry.fault("/referrers/", fault);
        assert!(client.referrers(&repository(), &subject).await.is_err(), "{name}");
        registry.heal();
    }
}
