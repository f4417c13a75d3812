//! Indexes: which children are patched, which keep their descriptor, and when the whole job has failed.
//!
//! The engine runs amd64 and 386; the indexes hold those and one that nobody runs.

use std::collections::HashMap;

use super::*;

/// An index of images for these architectures, with an attestation for each.
fn index(architectures: &[&str]) -> Index {
    let images: Vec<Image> = architectures
        .iter()
        .map(|name| debian().architecture(name).build())
        .collect();
    Index::of(&images, true)
}

fn entries(manifest: &Manifest) -> Vec<Value> {
    let json: Value = serde_json::from_slice(&manifest.bytes).unwrap();
    json["manifests"].as_array().unwrap().clone()
}

/// The entry of a platform.
fn entry(manifest: &Manifest, architecture: &str) -> Value {
    let entries = entries(manifest);
    let found = entries
        .iter()
        .find(|entry| entry["platform"]["architecture"] == architecture);
    found.unwrap_or_else(|| panic!("there is no {architecture}")).clone()
}

/// The digests that attestations speak of.
fn attested(manifest: &Manifest) -> Vec<Value> {
    let entries = entries(manifest);
    let subjects = entries
        .iter()
        .map(|entry| entry["annotations"]["vnd.docker.reference.digest"].clone());
    subjects.filter(|subject| !subject.is_null()).collect()
}

#[tokio::test]
async fn what_the_builder_runs_is_patched_and_the_rest_keeps_its_descriptor() {
    let bench = Bench::new(Outcome::Tar(upgrade())).await;
    let original = bench
        .memory
        .push_index("team/app", Some("v1"), &index(&["amd64", "s390x", "386"]));
    let patched = bench.patched(&original).await.unwrap();
    assert_eq!(patched.media_type, original.media_type);
    assert_eq!(entry(&patched, "s390x"), entry(&original, "s390x"));
    assert_eq!(attested(&patched), [entry(&original, "s390x")["digest"].clone()]);
    for architecture in ["amd64", "386"] {
        let digest = entry(&patched, architecture)["digest"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let child = bench.catalog.manifest(&digest).await.unwrap().expect(architecture);
        validate(&bench.pulled(&child).await);
        let json: Value = serde_json::from_slice(&child.bytes).unwrap();
        let origin = &json["annotations"]["sh.copa.patch.origin.digest"];
        assert_eq!(*origin, entry(&original, architecture)["digest"], "{architecture}");
    }
    // What is not patched is not even looked at.
    assert_eq!(bench.memory.calls.of(Call::Manifest), 2);
    assert_eq!(bench.engine.runs(), 2);
}

/// What the engine makes for each architecture; where that is nothing, nothing is outdated.
async fn bench(outcomes: &[(&str, Outcome)]) -> Bench {
    let outcomes: HashMap<String, Outcome> = outcomes
        .iter()
        .map(|(name, outcome)| ((*name).to_owned(), outcome.clone()))
        .collect();
    let bench = Bench::new(Outcome::Nothing).await;
    let quiet: Vec<String> = outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Nothing))
        .map(|(name, _)| name.clone())
        .collect();
    bench.scanner.set(move |subject| {
        let (name, version) = NEW[0];
        let has_nothing = quiet.contains(&subject.platform.architecture);
        Ok(if has_nothing {
            vec![]
        } else {
            vec![(name.into(), version.into())]
        })
    });
    bench
        .engine
        .set(move |plan| outcomes[&plan.platform.architecture].clone());
    bench
}

#[tokio::test]
async fn a_platform_that_fails_keeps_its_descriptor_unless_none_was_patched() {
    let failed = || Outcome::Fail(EngineError::Upgrade { reason: "r".into() });
    let patched = || Outcome::Tar(upgrade());
    for (name, amd64, i386, expected) in [
        ("one fails", patched(), failed(), Some(&["amd64"][..])),
        ("the other fails", failed(), patched(), Some(&["386"])),
        ("one has nothing", patched(), Outcome::Nothing, Some(&["amd64"])),
        ("both have nothing", Outcome::Nothing, Outcome::Nothing, Some(&[])),
        ("both fail", failed(), failed(), None),
        ("one fails, the other has nothing", failed(), Outcome::Nothing, None),
    ] {
        let bench = bench(&[("amd64", amd64), ("386", i386)]).await;
        let original = bench
            .memory
            .push_index("team/app", Some("v1"), &index(&["amd64", "386"]));
        let (served, expected) = match (bench.patched(&original).await, expected) {
            (Ok(served), Some(expected)) => (served, expected),
            (Err(PatchError::Engine(EngineError::Upgrade { .. })), None) => continue,
            (answer, _) => panic!("{name}: {answer:?}"),
        };
        for architecture in ["amd64", "386"] {
            let kept = entry(&served, architecture) == entry(&original, architecture);
            assert_eq!(kept, !expected.contains(&architecture), "{name}: {architecture}");
            let digest = entry(&original, architecture)["digest"].clone();
            assert_eq!(
                attested(&served).contains(&digest),
                kept,
                "{name}: attestation of {architecture}"
            );
        }
        assert_eq!(served.digest == original.digest, expected.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn an_index_for_other_machines_says_who_could_not_run_it() {
    let bench = Bench::new(Outcome::Tar(upgrade())).await;
    let original = bench
        .memory
        .push_index("team/app", Some("v1"), &index(&["s390x", "riscv64"]));
    let error = bench.patched(&original).await.unwrap_err();
    assert!(matches!(error, PatchError::NoWorker { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("linux/s390x, linux/riscv64") && text.contains("linux/amd64, linux/386"),
        "{text}"
    );
}

#[tokio::test]
async fn an_index_without_images_for_linux_is_served_as_it_is() {
    let windows = r#"{"digest":"D","size":2,"platform":{"os":"windows","architecture":"amd64"}}"#;
    let unknown = r#"{"digest":"D","size":2,"platform":{"os":"unknown","architecture":"unknown"}}"#;
    let bare = r#"{"digest":"D","size":2}"#;
    for entry in [windows, unknown, bare, ""] {
        let entry = entry.replace('D', &Digest::of(b"{}").to_string());
        let json = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
        let original = Manifest::parse(json, media_type::OCI_INDEX).unwrap();
        let bench = Bench::new(Outcome::Tar(upgrade())).await;
        bench.memory.put_manifest("team/app", Some("v1"), &original);
        assert_eq!(
            bench.patched(&original).await.unwrap().digest,
            original.digest,
            "{entry}"
        );
        assert_eq!(bench.engine.runs(), 0, "{entry}");
    }
}

#[tokio::test]
async fn a_child_that_upstream_does_not_have_fails_the_job_until_it_has_it() {
    let bench = Bench::new(Outcome::Tar(upgrade())).await;
    let original = bench
        .memory
        .push_index("team/app", Some("v1"), &index(&["amd64", "386"]));
    bench.upstream.always(Call::Manifest, Fault::unreachable());
    let error = bench.patched(&original).await.unwrap_err();
    assert!(matches!(error, PatchError::Resolve(_)), "{error:?}");
    bench.upstream.heal();
    assert_ne!(bench.patched(&original).await.unwrap().digest, original.digest);
}
