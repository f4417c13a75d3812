//! The fake registry as its tests want it: right where it is told to be right, wrong where it is told to be wrong.

use std::time::Duration;

use super::*;
use crate::client::{Client, pull};
use crate::image::Layer;

#[tokio::test]
async fn an_image_that_was_pushed_is_pulled_whole_and_its_requests_are_counted() {
    let registry = Registry::start().await;
    let image = Image::tiny("a");
    registry.push("team/app", Some("v1"), &image);
    let pulled = pull(&Client::new(registry.host()), "team/app", "v1").await;
    assert_eq!(pulled.digest(), image.digest());
    assert_eq!(registry.count("GET /v2/team/app/manifests/v1"), 1);
    assert!(registry.blob_gets().values().all(|count| *count == 1));
}

#[tokio::test]
async fn each_fault_is_seen_by_a_client() {
    let registry = Registry::start().await;
    let blob = registry.put_blob("a", Layer::new().noise("n", 1, 200_000).plain().bytes);
    let client = Client::new(registry.host());
    let path = format!("/v2/a/blobs/{blob}");
    let cases: Vec<(&str, Fault, u16, bool, bool)> = vec![
        ("none", Fault::Delay(Duration::ZERO), 200, true, true),
        ("status", Fault::status(503), 503, true, false),
        ("other bytes", Fault::Body("no".into()), 200, true, false),
        ("stop", Fault::StopAfter(70_000), 200, false, false),
        ("length too long", Fault::ContentLength(300_000), 200, false, true),
        ("length too short", Fault::ContentLength(1000), 200, true, false),
        (
            "redirect",
            Fault::Redirect("http://127.0.0.1:1".to_owned()),
            307,
            true,
            false,
        ),
    ];
    for (name, fault, status, whole, right) in cases {
        registry.fault("/blobs/", fault);
        let response = client.weigh(&path).await;
        assert_eq!(
            (response.status, response.whole, response.digest == blob),
            (status, whole, right),
            "{name}"
        );
        registry.heal();
    }
}

#[tokio::test]
async fn a_held_answer_waits_for_its_gate() {
    let registry = Registry::start().await;
    let blob = registry.put_blob("a", Layer::new().noise("n", 2, 100_000).plain().bytes);
    let gate = Gate::default();
    registry.fault("/blobs/", Fault::HoldAfter(10, gate.clone()));
    let client = Client::new(registry.host());
    let waiting = tokio::spawn(async move { client.weigh(&format!("/v2/a/blobs/{blob}")).await });
    gate.reached(1).await;
    assert!(!waiting.is_finished());
    gate.open();
    assert!(waiting.await.unwrap().whole);
}

#[tokio::test]
async fn ranges_are_served_as_http_says() {
    let registry = Registry::start().await;
    let blob = registry.put_blob("a", "0123456789");
    let client = Client::new(registry.host());
    for (range, status, body) in [
        ("bytes=2-4", 206, "234"),
        ("bytes=7-", 206, "789"),
        ("bytes=-2", 206, "89"),
        ("bytes=10-", 416, ""),
    ] {
        let response = client
            .send("GET", &format!("/v2/a/blobs/{blob}"), &[("range", range)])
            .await;
        assert_eq!(response.status, status, "{range}");
        assert!(
            status == 416 || response.text() == body,
            "{range} gives {}",
            response.text()
        );
    }
}

#[tokio::test]
async fn access_is_asked_for_and_given() {
    let registry = Registry::start().await;
    registry.push("a", Some("t"), &Image::tiny("x"));
    let path = "/v2/a/manifests/t";
    let client = Client::new(registry.host());
    registry.require(Access::Basic("me".to_owned(), "secret".to_owned()));
    assert_eq!(client.get(path).await.status, 401);
    assert_eq!(
        client
            .send("GET", path, &[("authorization", &basic("me", "secret"))])
            .await
            .status,
        200
    );
    registry.require(Access::Bearer {
        realm: None,
        user: Some(("me".to_owned(), "secret".to_owned())),
    });
    let refused = client.get(path).await;
    assert!(refused.header("www-authenticate").unwrap().contains("/token\""));
    assert_eq!(client.get("/token").await.status, 401);
    let token = client
        .send("GET", "/token", &[("authorization", &basic("me", "secret"))])
        .await
        .json();
    let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
    assert_eq!(
        client.send("GET", path, &[("authorization", &bearer)]).await.status,
        200
    );
}

#[tokio::test]
async fn a_registry_that_is_down_refuses_and_comes_back_on_its_port() {
    let mut registry = Registry::start().await;
    registry.push("a", Some("t"), &Image::tiny("x"));
    let client = Client::new(registry.host());
    registry.down().await;
    assert!(client.exchange("GET", "/v2/", &[], true).await.is_err());
    registry.up().await;
    assert_eq!(client.get("/v2/a/manifests/t").await.status, 200);
}
