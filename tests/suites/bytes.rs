//! "Bytes are true": an upstream that lies, stops, stalls or talks for ever. Each fault gets a clear answer or a broken
//! connection, never a whole wrong answer; nothing of it is kept, and the next pull is good.

use std::time::Duration;

use bytes::Bytes;
use patchport_kit::client::{ACCEPT, pull};
use patchport_kit::image::media;
use patchport_kit::{Fault, Gate, Image, Mirror, Registry};

use crate::promise::promise;
use crate::scene::{assert_clear_error, image, setup};

/// A mirror that loses patience soon, so that stalls are seen within a test.
async fn impatient(registry: &Registry) -> Mirror {
    let setup = setup(registry)
        .set("cache", "upstream_timeout = \"1s\"")
        .set("cache", "stall_timeout = \"1s\"");
    setup.start().await
}

/// The fault for a blob, given as many bytes of garbage as it has.
type Spoil = fn(Bytes) -> Fault;

fn garbage(size: usize) -> Bytes {
    vec![b'x'; size].into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_not_what_it_says_is_never_served() {
    promise("What an upstream says wrongly is not stored.");
    let registry = Registry::start().await;
    let mirror = impatient(&registry).await;
    let both = Bytes::from(
        r#"{"schemaVersion":2,"manifests":[],"layers":[],"config":{"mediaType":"a/b","digest":"sha256:00","size":1}}"#,
    );
    let other = Image::tiny("other").manifest;
    let cases: Vec<(&str, Fault, &[u16])> = vec![
        ("is another manifest", Fault::Body(other), &[502]),
        ("is no JSON", Fault::Body(garbage(500)), &[502]),
        ("is empty", Fault::Body(Bytes::new()), &[502]),
        ("is both index and image", Fault::Body(both), &[502]),
        ("is shorter than it says", Fault::ContentLength(1_000_000), &[502, 504]),
        ("is longer than it says", Fault::ContentLength(10), &[502]),
        ("stops in the middle", Fault::StopAfter(20), &[502, 504]),
        (
            "stalls in the middle",
            Fault::HoldAfter(20, Gate::default()),
            &[502, 504],
        ),
        ("never begins", Fault::Hold(Gate::default()), &[502, 504]),
        ("has 100 MiB", Fault::Body(garbage(100 << 20)), &[502]),
        ("never ends", Fault::Endless, &[502]),
    ];
    for (number, (name, fault, statuses)) in cases.into_iter().enumerate() {
        let image = image(100 + number as u64);
        let tag = format!("t{number}");
        let digest = registry.push("team/app", Some(&tag), &image);
        for reference in [tag.as_str(), digest.as_str()] {
            registry.fault("GET /v2/team/app/manifests/", fault.clone());
            let path = format!("/v2/team/app/manifests/{reference}");
            let answer = mirror.client().send("GET", &path, &[("accept", ACCEPT)]).await;
            assert_clear_error(&format!("a manifest by {reference} that {name}"), &answer, statuses);
            registry.heal();
        }
        mirror.assert_nothing_in_ingest().await;
        assert_eq!(
            pull(&mirror.client(), "team/app", &tag).await.digest(),
            digest,
            "after a manifest that {name}"
        );
    }
    mirror.assert_store_is_true();
    let peak = peak_memory(mirror);
    assert!(
        peak < 256 << 10,
        "{peak} KiB of memory at the peak for manifests of 100 MiB and more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_lies_about_a_digest_is_believed_by_nobody() {
    promise("A pull by digest gets exactly that content or an error.");
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    let other = registry.push("team/app", Some("other"), &image(98));
    for (number, lie) in [patchport_kit::digest(b"nothing"), other, "sha256:x".to_owned()]
        .into_iter()
        .enumerate()
    {
        for on in [
            "HEAD /v2/team/app/manifests/",
            "GET /v2/team/app/manifests/",
            "/v2/team/app/manifests/",
        ] {
            let tag = format!("t{number}{}", on.len());
            let digest = registry.push(
                "team/app",
                Some(&tag),
                &image(1000 + number as u64 * 100 + on.len() as u64),
            );
            registry.fault(on, Fault::DigestHeader(lie.clone()));
            for reference in [tag.as_str(), digest.as_str()] {
                let path = format!("/v2/team/app/manifests/{reference}");
                let answer = mirror.client().send("GET", &path, &[("accept", ACCEPT)]).await;
                match answer.status {
                    200 => assert_eq!(
                        answer.header("docker-content-digest"),
                        Some(answer.digest.as_str()),
                        "{on} says {lie}"
                    ),
                    _ => assert_clear_error(&format!("{on} says {lie}"), &answer, &[404, 502]),
                }
                if answer.status == 200 && reference == digest {
                    assert_eq!(answer.digest, digest, "{on} says {lie}");
                }
            }
            registry.heal();
        }
    }
}

/// The largest resident set of the mirror's process so far, in KiB.
fn peak_memory(mut mirror: Mirror) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", mirror.process().pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_not_what_it_says_never_arrives_whole_and_is_not_kept() {
    promise("What is served under a digest hashes to it, always.");
    let registry = Registry::start().await;
    let mirror = impatient(&registry).await;
    let same_size = |image: &Image| garbage(image.layers[0].bytes.len());
    let cases: Vec<(&str, Spoil)> = vec![
        ("has other bytes", Fault::Body),
        ("is shorter", |bytes| Fault::Body(bytes.slice(..bytes.len() / 2))),
        ("is longer", |bytes| Fault::Body([bytes.clone(), bytes].concat().into())),
        ("is empty", |_| Fault::Body(Bytes::new())),
        ("says it is longer", |bytes| {
            Fault::ContentLength(bytes.len() as u64 + 1000)
        }),
        ("says it is shorter", |bytes| {
            Fault::ContentLength(bytes.len() as u64 - 1000)
        }),
        ("stops in the middle", |bytes| Fault::StopAfter(bytes.len() / 2)),
        ("stops before the last byte", |bytes| Fault::StopAfter(bytes.len() - 1)),
        ("stalls in the middle", |bytes| {
            Fault::HoldAfter(bytes.len() / 2, Gate::default())
        }),
        ("never begins", |_| Fault::Hold(Gate::default())),
        ("is gone", |_| Fault::status(404)),
        ("fails", |_| Fault::status(500)),
    ];
    for (number, (name, fault)) in cases.into_iter().enumerate() {
        let image = image(200 + number as u64);
        let tag = format!("t{number}");
        registry.push("team/app", Some(&tag), &image);
        let digest = image.layers[0].digest();
        let path = format!("/v2/team/app/blobs/{digest}");
        registry.fault("GET /v2/team/app/blobs/", fault(same_size(&image)));
        let answer = mirror.client().get(&path).await;
        assert!(
            answer.status != 200 || !answer.whole,
            "a blob that {name} arrives whole"
        );
        if answer.status != 200 {
            assert_clear_error(&format!("a blob that {name}"), &answer, &[404, 502, 504]);
        }
        assert!(!mirror.stores(&digest), "a blob that {name} is kept");
        mirror.assert_nothing_in_ingest().await;
        registry.heal();
        let good = mirror.client().weigh(&path).await;
        assert_eq!(
            (good.status, good.whole, good.digest),
            (200, true, digest),
            "after a blob that {name}"
        );
    }
    mirror.assert_store_is_true();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_without_end_is_given_up() {
    let registry = Registry::start().await;
    let mirror = impatient(&registry).await;
    let image = image(300);
    registry.push("team/app", Some("v1"), &image);
    pull_manifest_only(&mirror, "v1").await;
    registry.fault("GET /v2/team/app/blobs/", Fault::Endless);
    let path = format!("/v2/team/app/blobs/{}", image.layers[0].digest());
    let answer = tokio::time::timeout(Duration::from_secs(60), mirror.client().weigh(&path)).await;
    let answer = answer.expect("a blob without end is cut off: its size is known from the manifest");
    assert!(answer.status != 200 || !answer.whole);
    mirror.assert_nothing_in_ingest().await;
    assert!(!mirror.stores(&image.layers[0].digest()));
}

async fn pull_manifest_only(mirror: &Mirror, reference: &str) {
    patchport_kit::client::pull_manifest(&mirror.client(), "team/app", reference).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_status_of_an_upstream_is_told_as_what_it_means() {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    let cases: &[(u16, &[u16])] = &[
        (400, &[502]),
        (401, &[401, 403, 404]),
        (403, &[401, 403, 404]),
        (404, &[404]),
        (429, &[429]),
        (500, &[502, 503]),
        (502, &[502, 503]),
        (503, &[502, 503]),
        (504, &[502, 503, 504]),
    ];
    for (status, expected) in cases {
        let tag = format!("s{status}");
        registry.push("team/app", Some(&tag), &Image::tiny(&tag));
        registry.fault(
            "/manifests/",
            Fault::Status(*status, vec![("retry-after", "7".to_owned())]),
        );
        let answer = mirror.client().get(&format!("/v2/team/app/manifests/{tag}")).await;
        assert_clear_error(&format!("upstream answers {status}"), &answer, expected);
        registry.heal();
        assert_eq!(
            mirror
                .client()
                .get(&format!("/v2/team/app/manifests/{tag}"))
                .await
                .status,
            200,
            "a {status} is not remembered"
        );
    }
    assert!(mirror.stored_files().is_empty(), "manifests alone leave no blobs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_head_or_without_digest_headers_can_be_mirrored() {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    for (tag, on, fault) in [
        ("nodigest", "/v2/", Fault::NoDigestHeader),
        ("nohead", "HEAD /v2/", Fault::status(405)),
    ] {
        let image = image(400 + tag.len() as u64);
        registry.push("team/app", Some(tag), &image);
        registry.fault(on, fault);
        let head = mirror.client().head(&format!("/v2/team/app/manifests/{tag}")).await;
        assert_eq!(
            head.header("docker-content-digest"),
            Some(image.digest().as_str()),
            "{tag}"
        );
        assert_eq!(
            pull(&mirror.client(), "team/app", tag).await.digest(),
            image.digest(),
            "{tag}"
        );
        registry.heal();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_type_that_contradicts_the_manifest_is_refused_or_corrected() {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    let image = Image::tiny("type");
    registry.push("team/app", Some("v1"), &image);
    registry.fault("/manifests/", Fault::ContentType(media::OCI_INDEX));
    let answer = mirror.client().get("/v2/team/app/manifests/v1").await;
    match answer.status {
        200 => assert_eq!(answer.header("content-type"), Some(media::OCI_MANIFEST)),
        _ => assert_clear_error("an image manifest that is called an index", &answer, &[502]),
    }
}
