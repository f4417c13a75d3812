//! The referrers route: ours for what we made, upstream's for the rest, behind the same gate as everything else.

use serde_json::{Value, json};

use super::*;
use crate::testing::described;

const SBOM: &str = "application/vnd.cyclonedx+json";

fn list(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(reply.header("content-type"), "application/vnd.oci.image.index.v1+json");
    let index: Value = serde_json::from_slice(reply.body.as_ref().unwrap()).unwrap();
    assert_eq!(index["schemaVersion"], 2);
    index["manifests"].as_array().unwrap().clone()
}

fn artifact(subject: &Digest, text: &str) -> Manifest {
    let json = json!({
        "schemaVersion": 2, "artifactType": "application/spdx+json",
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}"), "size": 2 },
        "layers": [{ "mediaType": "application/spdx+json", "digest": Digest::of(text.as_bytes()), "size": text.len() }],
        "subject": { "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject, "size": 1 },
    });
    Manifest::parse(json.to_string(), patchport_oci::media_type::OCI_MANIFEST).unwrap()
}

#[tokio::test]
async fn a_patched_image_comes_with_documents_that_can_be_pulled_where_it_can() {
    let index = Index::of(&[debian().build(), debian().architecture("s390x").build()], true);
    let bench = Bench::patching(Outcome::Tar(upgrade())).await;
    bench.memory.list_referrers();
    bench.memory.push_index("team/app", Some("v1"), &index);
    let served = bench.tag().await;
    let child = Manifest::parse(served.body.clone().unwrap(), served.header("content-type")).unwrap();
    let child = child.references().next().unwrap().digest.clone();
    for (digest, count) in [(served.digest(), 1), (&child.to_string(), 2)] {
        let documents = list(&bench.get(&format!("team/app/referrers/{digest}")).await);
        assert_eq!(documents.len(), count, "{documents:?}");
        for document in &documents {
            let document = document["digest"].as_str().unwrap();
            assert_eq!(bench.pull("team/app", document).await, Vec::<String>::new());
            assert_eq!(bench.get(&format!("team/other/manifests/{document}")).await.status, 404);
        }
    }
    let encoded = "application%2Fvnd.cyclonedx%2Bjson";
    for wanted in [SBOM, encoded] {
        let reply = bench
            .get(&format!("team/app/referrers/{child}?artifactType={wanted}"))
            .await;
        assert_eq!(reply.header("oci-filters-applied"), "artifactType");
        let documents = list(&reply);
        assert_eq!((documents.len(), &documents[0]["artifactType"]), (1, &json!(SBOM)));
    }
    let head = bench.head(&format!("team/app/referrers/{child}")).await;
    assert_eq!((head.status, head.header("oci-filters-applied")), (StatusCode::OK, ""));
    assert_eq!(
        bench.upstream.calls.of(Call::Referrers),
        0,
        "no upstream knows what we made"
    );
    // Where it was not published it is nothing of ours: upstream is asked, and has nothing.
    assert!(list(&bench.get(&format!("team/other/referrers/{child}")).await).is_empty());
    assert_eq!(bench.upstream.calls.of(Call::Referrers), 1);
}

#[tokio::test]
async fn the_same_image_of_two_repositories_comes_with_the_documents_of_each() {
    let bench = Bench::patching(Outcome::Tar(upgrade())).await;
    let docker = debian().docker().build();
    let mut documents = Vec::new();
    for repository in ["team/one", "team/two"] {
        bench.memory.push(repository, Some("v1"), &docker);
        let served = bench.get(&format!("{repository}/manifests/v1")).await;
        let listed = list(&bench.get(&format!("{repository}/referrers/{}", served.digest())).await);
        documents.push((repository, served.digest().to_owned(), listed));
    }
    assert_eq!(
        documents[0].1, documents[1].1,
        "Docker's manifests have no annotations that tell them apart"
    );
    assert_ne!(documents[0].2, documents[1].2);
    for (own, other) in [(0, 1), (1, 0)] {
        for document in &documents[own].2 {
            let path = |repository| format!("{repository}/manifests/{}", document["digest"].as_str().unwrap());
            assert_eq!(bench.get(&path(documents[own].0)).await.status, 200);
            assert_eq!(
                bench.get(&path(documents[other].0)).await.status,
                404,
                "the other's name is in it"
            );
        }
    }
}

#[tokio::test]
async fn what_upstream_lists_stays_reachable_under_the_original() {
    let bench = Bench::patching(Outcome::Tar(upgrade())).await;
    bench.memory.list_referrers();
    let original = bench.memory.push("team/app", Some("v1"), &debian().build());
    let signature = artifact(&original.digest, "signature");
    for text in ["{}", "signature"] {
        bench.memory.put_blob("team/app", text);
    }
    bench.memory.put_manifest("team/app", None, &signature);
    assert_ne!(bench.tag().await.digest(), original.digest.to_string());
    let listed = list(&bench.get(&format!("team/app/referrers/{}", original.digest)).await);
    assert_eq!(listed, [described(&signature)]);
    assert_eq!(
        bench.pull("team/app", &signature.digest.to_string()).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn an_artifact_is_passed_on_without_a_job() {
    let bench = Bench::patching(Outcome::Fail(EngineError::Upgrade { reason: "r".into() })).await;
    bench.scanner.set(|_| Err("nobody asks".into()));
    let chart = artifact(&Digest::of(b"x"), "chart");
    let list = json!({ "schemaVersion": 2, "manifests": [described(&chart)] });
    let list = Manifest::parse(list.to_string(), patchport_oci::media_type::OCI_INDEX).unwrap();
    let tag = format!("sha256-{}", Digest::of(b"x").hex());
    for (tag, manifest) in [("chart", &chart), (&format!("{tag}.sig"), &chart), (&tag, &list)] {
        bench.memory.put_manifest("team/app", Some(tag), manifest);
        let reply = bench.get(&format!("team/app/manifests/{tag}")).await;
        assert_eq!(
            (reply.digest(), reply.header("warning")),
            (manifest.digest.to_string().as_str(), "")
        );
    }
    assert!(bench.handler.catalog.decisions().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_closed_gate_is_closed_for_lists_and_for_what_they_list() {
    let rules = [("beta", "**:beta", Action::Deny), ("all", "**", Action::Pass)];
    let bench = Bench::new(&rules, Outcome::Nothing).await;
    bench.memory.list_referrers();
    let stable = bench.memory.push("team/app", Some("v1"), &Image::tiny("good"));
    let beta = bench.memory.push("team/app", Some("beta"), &Image::tiny("bad"));
    let (good, bad) = (artifact(&stable.digest, "good"), artifact(&beta.digest, "bad"));
    for text in ["{}", "good", "bad"] {
        bench.memory.put_blob("team/app", text);
    }
    for manifest in [&good, &bad] {
        bench.memory.put_manifest("team/app", None, manifest);
    }
    let referrers = |digest: &Digest| format!("team/app/referrers/{digest}");
    let manifest = |digest: &Digest| format!("team/app/manifests/{digest}");
    assert_eq!(
        bench.get(&referrers(&stable.digest)).await.status,
        403,
        "nothing has led to it yet"
    );
    assert_eq!(bench.get("team/app/manifests/v1").await.status, 200);
    assert_eq!(
        bench.get(&manifest(&good.digest)).await.status,
        403,
        "nothing has listed it yet"
    );
    assert_eq!(list(&bench.get(&referrers(&stable.digest)).await), [described(&good)]);
    assert_eq!(
        bench.pull("team/app", &good.digest.to_string()).await,
        Vec::<String>::new()
    );
    for path in [referrers(&beta.digest), manifest(&bad.digest), manifest(&beta.digest)] {
        assert_eq!(bench.get(&path).await.status, 403, "{path}");
    }
    assert_eq!(
        bench
            .get(&format!("team/app/blobs/{}", Digest::of(b"bad")))
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn a_list_opens_no_way_to_what_says_nothing_of_its_subject() {
    let rules = [("beta", "**:beta", Action::Deny), ("all", "**", Action::Pass)];
    let bench = Bench::new(&rules, Outcome::Nothing).await;
    let stable = bench.memory.push("team/app", Some("v1"), &Image::tiny("good"));
    let beta = bench.memory.push("team/app", Some("beta"), &Image::tiny("bad"));
    // Anybody who may push can write such a list.
    let lie = json!({ "schemaVersion": 2, "manifests": [described(&beta)] });
    let lie = Manifest::parse(lie.to_string(), patchport_oci::media_type::OCI_INDEX).unwrap();
    bench
        .memory
        .put_manifest("team/app", Some(&format!("sha256-{}", stable.digest.hex())), &lie);
    assert_eq!(bench.get("team/app/manifests/v1").await.status, 200);
    assert_eq!(
        list(&bench.get(&format!("team/app/referrers/{}", stable.digest)).await).len(),
        1
    );
    assert_eq!(
        bench.get(&format!("team/app/manifests/{}", beta.digest)).await.status,
        403
    );
    assert_eq!(
        bench
            .get(&format!("team/app/blobs/{}", Digest::of(&Image::tiny("bad").config)))
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn an_upstream_that_says_no_is_not_an_empty_list() {
    let bench = Bench::patching(Outcome::Nothing).await;
    bench.memory.list_referrers();
    bench.upstream.always(Call::Referrers, Fault::unreachable());
    let reply = bench.get(&format!("team/app/referrers/{}", Digest::of(b"x"))).await;
    assert_eq!(reply.status, 502);
}
