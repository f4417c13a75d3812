//! Patch jobs from an original to what is served, with an engine that makes what the test says.
//!
//! What is served is judged by the kit, as a client would.

use std::sync::Arc;
use std::time::Duration;

use patchport_config::{CacheScope, Compression, Patch as Settings, Selection, Terms};
use patchport_kit::image::validate;
use patchport_kit::{Image, Index, Layer};
use patchport_oci::media_type;
use serde_json::Value;
use tokio::time::Instant;

use self::bench::{Bench, patcher, patience};
use super::*;
use crate::store::memory::MemoryStore;
use crate::testing::images::{NEW, OLD, OS_RELEASE, changed, debian, stanza, status, upgrade, with_status};
use crate::testing::{Call, FakeEngine, Fault, Gate, Outcome, TERMS, place, tag};
use crate::upstream::Upstream;

mod bench;
mod evidence;
mod failures;
mod indexes;
mod workers;

#[tokio::test]
async fn an_image_is_patched_and_all_of_it_is_there_when_its_manifest_is() {
    for (name, docker, compression, layer_type) in [
        ("zstd", false, Compression::Zstd, media_type::OCI_LAYER_ZSTD),
        ("gzip", false, Compression::Gzip, media_type::OCI_LAYER_GZIP),
        ("docker", true, Compression::Zstd, media_type::DOCKER_LAYER_GZIP),
    ] {
        let settings = Settings {
            compression,
            ..Settings::default()
        };
        let bench = Bench::with(Outcome::Tar(upgrade()), settings).await;
        let builder = debian().config("Entrypoint", serde_json::json!(["/app"]));
        let original = bench.push(&if docker {
            builder.docker().build()
        } else {
            builder.build()
        });
        let patched = bench.patched(&original).await.unwrap();
        let pulled = bench.pulled(&patched).await;
        validate(&pulled);
        let json: Value = serde_json::from_slice(&patched.bytes).unwrap();
        assert_eq!(json["layers"][1]["mediaType"], layer_type, "{name}");
        assert_eq!(json["layers"].as_array().unwrap().len(), 2, "{name}");
        let files = patchport_kit::image::unpack(&pulled.layers[1]);
        assert_eq!(files["var/lib/dpkg/status"], status(&NEW).into_bytes(), "{name}");
        assert_eq!(pulled.config_json()["config"]["Entrypoint"][0], "/app", "{name}");
        let held = bench.catalog.manifest(&patched.digest).await.unwrap().unwrap();
        assert_eq!(held.bytes, patched.bytes, "{name}");
        assert_eq!(bench.engine.runs(), 1, "{name}");
    }
}

#[tokio::test]
async fn the_same_image_patched_twice_gives_the_same_digest() {
    let mut digests = Vec::new();
    for _ in 0..2 {
        let bench = Bench::new(Outcome::Tar(upgrade())).await;
        let original = bench.push(&debian().build());
        digests.push(bench.patched(&original).await.unwrap().digest);
    }
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test]
async fn however_many_ask_one_patch_runs_per_image() {
    let gate = Gate::new();
    let bench = Bench::new(Outcome::After(gate.clone(), Box::new(Outcome::Tar(upgrade())))).await;
    let original = bench.push(&debian().build());
    let asking = futures_util::future::join_all((0..8).map(|_| bench.patched(&original)));
    let opens = async {
        gate.reached().await;
        gate.open();
    };
    let (patched, ()) = tokio::join!(asking, opens);
    let digests: Vec<Digest> = patched.into_iter().map(|manifest| manifest.unwrap().digest).collect();
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    bench.patched(&original).await.unwrap();
    assert_eq!(bench.engine.runs(), 1);
}

#[tokio::test]
async fn repositories_share_a_patch_where_they_trust_one_another() {
    for (cache_scope, runs) in [(CacheScope::Distribution, 1), (CacheScope::Repository, 2)] {
        let settings = Settings {
            cache_scope,
            ..Settings::default()
        };
        let bench = Bench::with(Outcome::Tar(upgrade()), settings).await;
        let original = bench.push(&debian().build());
        bench.memory.push("team/other", None, &debian().build());
        let other = place("team/other", Arc::clone(&bench.upstream) as Arc<dyn Upstream>);
        bench.patched(&original).await.unwrap();
        let there = bench
            .patcher
            .patched(&other, &original, &TERMS, patience())
            .await
            .unwrap();
        let json: Value = serde_json::from_slice(&there.bytes).unwrap();
        assert_eq!(
            json["annotations"]["sh.copa.patch.origin.name"],
            "registry.example/team/other"
        );
        assert_eq!(bench.engine.runs(), runs, "{cache_scope:?}");
    }
}

#[tokio::test]
async fn a_request_leaves_at_its_deadline_and_the_patch_goes_on() {
    let gate = Gate::new();
    let bench = Bench::new(Outcome::After(gate.clone(), Box::new(Outcome::Tar(upgrade())))).await;
    let original = bench.push(&debian().build());
    let late = bench
        .patcher
        .patched(&bench.place, &original, &TERMS, Instant::now())
        .await;
    assert!(late.as_ref().is_err_and(PatchError::is_late), "{late:?}");
    gate.reached().await;
    gate.open();
    let patched = bench.patched(&original).await.unwrap();
    assert_ne!(patched.digest, original.digest);
    assert_eq!(bench.engine.runs(), 1);
}

#[tokio::test]
async fn nothing_to_patch_is_remembered_also_by_the_next_process() {
    let bench = Bench::new(Outcome::Tar(upgrade())).await;
    bench.scanner.set(|_| Ok(vec![]));
    let original = bench.push(&debian().build());
    for _ in 0..2 {
        assert_eq!(bench.patched(&original).await.unwrap().digest, original.digest);
    }
    // From here on a look would find something, but none is taken.
    bench.scanner.set(|_| Err("nobody is asked".into()));
    let again = bench
        .restarted(&bench.engine)
        .patched(&bench.place, &original, &TERMS, patience())
        .await;
    assert_eq!((again.unwrap().digest, bench.engine.runs()), (original.digest, 0));
}

#[tokio::test]
async fn an_upgrade_that_was_planned_and_did_not_happen_is_a_failure() {
    let unchanged = Outcome::Tar(changed(&status(&OLD)));
    let logs = Outcome::Tar(Layer::new().file("var/log/dpkg.log", "x").plain().bytes);
    let older = Outcome::Tar(changed(&status(&[("libc6", "2.36-9+deb12u1"), OLD[1]])));
    for (name, outcome) in [
        ("no layer", Outcome::Nothing),
        ("no upgrade", unchanged),
        ("only logs", logs),
        ("not far enough", older),
    ] {
        let bench = Bench::new(outcome).await;
        let original = bench.push(&debian().build());
        let error = bench.patched(&original).await.expect_err(name);
        assert!(matches!(error, PatchError::Unproven(_)), "{name}: {error:?}");
        assert!(error.to_string().contains("libc6"), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_scanner_that_cannot_tell_is_a_failure_and_no_pass() {
    let bench = Bench::new(Outcome::Tar(upgrade())).await;
    bench.scanner.set(|_| Err("its index is not signed".into()));
    let original = bench.push(&debian().build());
    let error = bench.patched(&original).await.unwrap_err();
    assert!(matches!(error, PatchError::Scan(_)), "{error:?}");
    assert!(error.to_string().contains("its index is not signed"), "{error}");
    assert_eq!((bench.decision(&original).await, bench.engine.runs()), (None, 0));
}

#[tokio::test]
async fn rules_that_select_other_packages_have_answers_of_their_own() {
    let bench = Bench::new(Outcome::Tar(upgrade())).await;
    let original = bench.push(&debian().build());
    let security = Terms {
        patch: Selection::Security,
        ..TERMS
    };
    let ordinary = |subject: &crate::scan::Subject| {
        let _ = subject;
        Ok(vec![])
    };
    let patched = bench.patched(&original).await.unwrap();
    bench.scanner.set(ordinary);
    let other = bench
        .patcher
        .patched(&bench.place, &original, &security, patience())
        .await;
    assert_eq!(other.unwrap().digest, original.digest);
    assert_eq!(bench.patched(&original).await.unwrap().digest, patched.digest);
}

#[tokio::test]
async fn what_has_no_packages_to_upgrade_starts_no_container() {
    let held = stanza("libc6", "2.36-9", "hold ok installed");
    let bare = Image::builder()
        .architecture("amd64")
        .layer(Layer::new().file("app", "x").gzip());
    let foreign = Image::builder().architecture("amd64").layer(
        Layer::new()
            .file("etc/os-release", "ID=alpine\n")
            .file(
                "lib/apk/db/installed",
                "C:Q1MfRnAEVxfdfBdKNcg+dDhJrJHdM=\nP:musl\nV:1.2.5-r0\nA:x86_64\n\n",
            )
            .gzip(),
    );
    let no_release = Image::builder()
        .architecture("amd64")
        .layer(Layer::new().file("var/lib/dpkg/status", status(&OLD)).gzip());
    let distroless = Image::builder().architecture("amd64").layer(
        Layer::new()
            .file("etc/os-release", OS_RELEASE)
            .file(
                "var/lib/dpkg/status.d/libc6",
                stanza("libc6", "1", "install ok installed"),
            )
            .gzip(),
    );
    for (name, image, refused) in [
        ("all held", with_status(&held).build(), None),
        ("no distribution", bare.build(), None),
        ("another package manager with nothing outdated", foreign.build(), None),
        ("packages of no distribution", no_release.build(), Some("no os-release")),
        (
            "distroless, of packages that nobody has",
            distroless.build(),
            Some("the package indexes do not say"),
        ),
        (
            "another architecture",
            debian().architecture("s390x").build(),
            Some("no builder runs linux/s390x"),
        ),
    ] {
        let bench = Bench::new(Outcome::Tar(upgrade())).await;
        let original = bench.push(&image);
        match (bench.patched(&original).await, refused) {
            (Ok(served), None) => assert_eq!(served.digest, original.digest, "{name}"),
            (Err(error), Some(text)) => assert!(error.to_string().contains(text), "{name}: {error}"),
            (answer, _) => panic!("{name}: {answer:?}"),
        }
        assert_eq!(bench.engine.runs(), 0, "{name}");
    }
}

#[tokio::test]
async fn an_old_answer_is_served_while_a_new_look_is_taken() {
    let settings = Settings {
        refresh_after: Duration::ZERO,
        ..Settings::default()
    };
    let bench = Bench::with(Outcome::Tar(upgrade()), settings).await;
    let original = bench.push(&debian().build());
    let first = bench.patched(&original).await.unwrap();
    let (gate, newer) = (Gate::new(), changed(&status(&[("libc6", "2.36-9+deb12u9"), OLD[1]])));
    let next = Outcome::After(gate.clone(), Box::new(Outcome::Tar(newer)));
    bench.engine.set(move |_| next.clone());
    bench
        .scanner
        .set(|_| Ok(vec![("libc6".into(), "2.36-9+deb12u9".into())]));
    for _ in 0..3 {
        assert_eq!(bench.patched(&original).await.unwrap().digest, first.digest);
    }
    gate.reached().await;
    gate.open();
    bench.settled().await;
    let decided = bench.decision(&original).await.unwrap();
    assert_ne!(decided.served, first.digest);
    assert!(decided.note.contains("2.36-9+deb12u9"), "{}", decided.note);
    assert_eq!(bench.engine.runs(), 2);
}

#[tokio::test]
async fn a_changed_index_has_the_images_that_it_touches_patched_before_anyone_asks() {
    let bench = Bench::new(Outcome::Tar(upgrade())).await;
    let original = bench.push(&debian().build());
    let current = bench
        .memory
        .push("team/app", Some("v2"), &with_status(&status(&NEW)).build());
    for (name, manifest) in [("v1", &original), ("v2", &current)] {
        bench
            .catalog
            .resolved(&bench.place, &tag(name), manifest)
            .await
            .unwrap();
    }
    bench.scanner.know(NEW[0].0, NEW[0].1);
    let first = bench.patched(&original).await.unwrap();
    assert_eq!(bench.patched(&current).await.unwrap().digest, current.digest);
    assert_eq!(bench.patcher.replan().await, 0, "nothing has changed");
    let newer = "2.36-9+deb12u9";
    let layer = Outcome::Tar(changed(&status(&[("libc6", newer), OLD[1]])));
    bench.engine.set(move |_| layer.clone());
    bench.scanner.know("libc6", newer);
    assert_eq!(bench.patcher.replan().await, 2, "both have an older one");
    bench.settled().await;
    let decided = bench.decision(&original).await.unwrap();
    assert!(
        decided.served != first.digest && decided.note.contains(newer),
        "{}",
        decided.note
    );
    assert_ne!(bench.decision(&current).await.unwrap().served, current.digest);
}

#[tokio::test]
async fn decisions_of_an_earlier_process_are_planned_anew_too() {
    let bench = Bench::new(Outcome::Tar(upgrade())).await;
    let original = bench.push(&debian().build());
    bench
        .catalog
        .resolved(&bench.place, &tag("v1"), &original)
        .await
        .unwrap();
    bench.scanner.know(NEW[0].0, NEW[0].1);
    bench.patched(&original).await.unwrap();
    let engine = Arc::new(FakeEngine::new(&["amd64"], Outcome::Tar(upgrade())));
    let patcher = bench.restarted(&engine);
    let table = crate::route::Table::new([crate::testing::site(
        crate::testing::HOST,
        Arc::clone(&bench.upstream) as Arc<dyn Upstream>,
    )]);
    assert_eq!(patcher.recall(&table).await.unwrap(), 1);
    assert_eq!(patcher.replan().await, 0);
    bench.scanner.know("zlib1g", "1:1.2.14");
    assert_eq!(patcher.replan().await, 1);
    bench.settled().await;
}

#[tokio::test]
async fn a_patched_image_that_lost_a_blob_is_made_again() {
    let bench = Bench::new(Outcome::Tar(upgrade())).await;
    let original = bench.push(&debian().build());
    let patched = bench.patched(&original).await.unwrap();
    // The same catalog over a store that somebody cleared.
    let engine = Arc::new(FakeEngine::new(&["amd64"], Outcome::Tar(upgrade())));
    let blobs = Arc::new(Blobs::new(Arc::new(MemoryStore::default()), bench.tasks.clone()));
    let scratch = bench.scratch.path();
    let patcher = patcher(
        &bench.catalog,
        &blobs,
        &engine,
        &bench.scanner,
        &bench.tasks,
        scratch,
        Settings::default(),
    );
    let again = patcher
        .patched(&bench.place, &original, &TERMS, patience())
        .await
        .unwrap();
    assert_eq!((&again.digest, engine.runs()), (&patched.digest, 1));
    // Base layers can be had from upstream; what we made, from nobody else.
    let made: Vec<&Digest> = again.references().map(|descriptor| &descriptor.digest).collect();
    for digest in [made[0], made[2]] {
        assert!(blobs.stored(digest).await.unwrap().is_some(), "{digest} is not there");
    }
}
