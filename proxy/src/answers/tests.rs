//! How long an answer stands, on a clock that the tests move.
//!
//! Fractions of a second are left out of account on purpose: the limits are tested a tenth before and at them.

use std::sync::Arc;

use patchport_oci::media_type;
use tokio::time::advance;

use super::*;
use crate::testing::{Memory, place, tag};

struct Bench {
    answers: Answers,
    place: Place,
    source: Digest,
}

impl Bench {
    fn new() -> Self {
        Self {
            answers: Answers::default(),
            place: place("team/app", Arc::new(Memory::default())),
            source: Digest::of(b"source"),
        }
    }

    /// The annotation of the manifest that is given when `fresh` could be.
    async fn given(&self, fresh: &str) -> String {
        let tag = tag("v1");
        let now = Instant::now();
        let settled = self.answers.settle(&self.place, &tag, &self.source, answer(fresh), now);
        name(&settled.await.manifest)
    }
}

fn answer(name: &str) -> Answer {
    let json = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"name":"{name}"}}}}"#);
    Answer {
        manifest: Manifest::parse(json, media_type::OCI_INDEX).unwrap(),
        warning: (name == "original").then(|| "not patched".to_owned()),
    }
}

fn name(manifest: &Manifest) -> String {
    let json: serde_json::Value = serde_json::from_slice(&manifest.bytes).unwrap();
    json["annotations"]["name"].as_str().unwrap().to_owned()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[tokio::test(start_paused = true)]
async fn an_answer_stands_until_it_was_not_given_for_five_seconds() {
    for (name, pause, expected) in [("before", 4_900, "original"), ("after", 5_000, "patched")] {
        let bench = Bench::new();
        assert_eq!(bench.given("original").await, "original");
        advance(ms(pause)).await;
        assert_eq!(bench.given("patched").await, expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_given_again_and_again_ends_ten_seconds_after_a_newer_one_was_offered() {
    let bench = Bench::new();
    bench.given("original").await;
    advance(ms(3_000)).await;
    for second in 0..10 {
        assert_eq!(bench.given("patched").await, "original", "{second} s after the offer");
        advance(ms(1_000)).await;
    }
    assert_eq!(bench.given("patched").await, "patched");
    assert_eq!(
        bench.given("patched again").await,
        "patched",
        "the new answer stands in its turn"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_when_its_source_moves_and_is_of_one_tag_and_repository() {
    let bench = Bench::new();
    bench.given("original").await;
    let (other, fresh) = (Digest::of(b"moved"), answer("moved"));
    let elsewhere = place("team/other", Arc::new(Memory::default()));
    for (subject, place, tag_name, source) in [
        ("other repository", &elsewhere, "v1", &bench.source),
        ("other tag", &bench.place, "v2", &bench.source),
        ("other source", &bench.place, "v1", &other),
    ] {
        let tag = tag(tag_name);
        let settled = bench.answers.settle(place, &tag, source, fresh.clone(), Instant::now());
        assert_eq!(name(&settled.await.manifest), "moved", "{subject}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_an_answer_without_a_patch_spares_the_next_request_its_wait() {
    let bench = Bench::new();
    let other = Digest::of(b"moved");
    for (subject, given, pause, source, expected) in [
        ("just given", Some("original"), 0, &bench.source, true),
        ("still standing", Some("original"), 4_900, &bench.source, true),
        ("no longer", Some("original"), 5_000, &bench.source, false),
        ("moved", Some("original"), 0, &other, false),
        ("patched", Some("patched"), 0, &bench.source, false),
        ("none", None, 0, &bench.source, false),
    ] {
        let tag = tag(&subject.replace(' ', "-"));
        if let Some(given) = given {
            let now = Instant::now();
            let settled = bench
                .answers
                .settle(&bench.place, &tag, &bench.source, answer(given), now);
            settled.await;
        }
        advance(ms(pause)).await;
        let spared = bench.answers.unpatched(&bench.place, &tag, source).await;
        assert_eq!(spared.is_some(), expected, "{subject}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_spares_waits_ends_however_often_it_is_given() {
    let bench = Bench::new();
    bench.given("original").await;
    let tag = tag("v1");
    let spared = async || bench.answers.unpatched(&bench.place, &tag, &bench.source).await;
    for second in 0..5 {
        assert!(spared().await.is_some(), "{second} s after the patcher was asked");
        advance(ms(1_000)).await;
    }
    assert!(spared().await.is_none(), "the patcher must be asked again");
    assert_eq!(bench.given("patched").await, "original", "it was given a second ago");
    assert!(spared().await.is_none(), "something newer is there");
    advance(ms(10_000)).await;
    assert_eq!(bench.given("patched").await, "patched");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stood_when_a_request_came_is_not_lost_while_the_request_waits() {
    let bench = Bench::new();
    bench.given("original").await;
    advance(ms(4_000)).await;
    let asked = Instant::now();
    advance(ms(3_000)).await;
    let tag = tag("v1");
    let settled = bench
        .answers
        .settle(&bench.place, &tag, &bench.source, answer("patched"), asked);
    assert_eq!(name(&settled.await.manifest), "original");
}
