//! Upstream's lists: by its API, by the tag that takes its place, and kept for a moment.

use patchport_oci::{Manifest, media_type};
use serde_json::json;

use super::*;
use crate::testing::{Call, Fault, Faulty, Gate, Memory, described, place};
use crate::upstream::Upstream;

const SBOM: &str = "application/spdx+json";

struct Bench {
    memory: Arc<Memory>,
    upstream: Arc<Faulty<Arc<Memory>>>,
    referrers: Arc<Referrers>,
    place: Place,
}

impl Bench {
    async fn new() -> Self {
        let memory = Arc::new(Memory::default());
        let upstream = Arc::new(Faulty::new(Arc::clone(&memory)));
        let catalog = Catalog::in_memory().await.unwrap();
        Self {
            place: place("team/app", Arc::clone(&upstream) as Arc<dyn Upstream>),
            referrers: Referrers::new(catalog, Tasks::new()),
            memory,
            upstream,
        }
    }

    async fn of(&self, digest: &Digest) -> Result<Vec<Value>, ResolveError> {
        let list = self.referrers.of(&self.place, digest, false).await;
        list.map(|list| (*list).clone())
    }
}

fn sbom(subject: &Digest) -> Manifest {
    let json = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": SBOM,
        "config": { "mediaType": media_type::OCI_EMPTY, "digest": Digest::of(b"{}"), "size": 2 }, "layers": [],
        "subject": { "mediaType": media_type::OCI_MANIFEST, "digest": subject, "size": 1 },
    });
    Manifest::parse(json.to_string(), "").unwrap()
}

#[tokio::test]
async fn the_api_is_asked_first_and_the_tag_where_there_is_none() {
    let image = Digest::of(b"image");
    let artifact = sbom(&image);
    for has_api in [true, false] {
        let bench = Bench::new().await;
        bench.memory.put_manifest("team/app", None, &artifact);
        if has_api {
            bench.memory.list_referrers();
        } else {
            let index =
                json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [described(&artifact)] });
            let index = Manifest::parse(index.to_string(), "").unwrap();
            bench
                .memory
                .put_manifest("team/app", Some(&format!("sha256-{}", image.hex())), &index);
        }
        assert_eq!(
            bench.of(&image).await.unwrap(),
            [described(&artifact)],
            "API: {has_api}"
        );
        assert_eq!(bench.upstream.calls.of(Call::Manifest), usize::from(!has_api));
        assert!(bench.referrers.were_listed(&bench.place, &artifact.digest));
        assert_eq!(
            bench.of(&Digest::of(b"other")).await.unwrap(),
            Vec::<Value>::new(),
            "nothing is an empty list"
        );
    }
}

#[tokio::test]
async fn an_answer_is_kept_and_asked_for_once_however_many_want_it() {
    let bench = Bench::new().await;
    bench.memory.list_referrers();
    let (image, gate) = (Digest::of(b"image"), Gate::new());
    bench.upstream.always(Call::Referrers, Fault::Hang(gate.clone()));
    let asking = futures_util::future::join_all((0..5).map(|_| bench.of(&image)));
    let opens = async {
        gate.reached().await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(asking, opens);
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    bench.of(&image).await.unwrap();
    assert_eq!(bench.upstream.calls.of(Call::Referrers), 1);
}

#[tokio::test]
async fn a_failure_is_one_and_is_not_kept() {
    let bench = Bench::new().await;
    bench.memory.list_referrers();
    let image = Digest::of(b"image");
    bench.upstream.nth(Call::Referrers, 1, Fault::unreachable());
    assert!(matches!(bench.of(&image).await, Err(ResolveError::Upstream(_))));
    assert!(bench.of(&image).await.is_ok());
    // Without the API the tag is asked, and its failure is one.
    let bench = Bench::new().await;
    bench.upstream.always(Call::Manifest, Fault::unreachable());
    assert!(bench.of(&image).await.is_err());
}

#[test]
fn what_names_no_digest_is_no_descriptor() {
    let digest = Digest::of(b"x");
    let index = json!({ "manifests": [{ "digest": digest }, { "digest": "../../x" }, 3, { "size": 1 }] });
    assert_eq!(
        descriptors(index.to_string().as_bytes()).unwrap(),
        [json!({ "digest": digest })]
    );
    assert_eq!(descriptors(b"<html>"), None);
    assert_eq!(descriptors(b"{}"), None);
}
