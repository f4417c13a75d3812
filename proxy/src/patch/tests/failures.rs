//! Jobs that fail: what is remembered, for how long, and that nothing of a result that is not proven is served.
//!
//! A failure that would come again at once is remembered; one of the world outside is not.

use patchport_config::EndOfLife;

use super::*;

fn upgrade_failed() -> EngineError {
    EngineError::Upgrade { reason: "r".into() }
}

#[tokio::test]
async fn a_failed_upgrade_is_not_tried_again_at_once_and_a_builder_that_is_away_is() {
    let limit = Duration::from_secs(600);
    for (name, error, runs) in [
        ("upgrade", upgrade_failed(), 1),
        ("timed out", EngineError::TimedOut { limit }, 1),
        ("unusable", EngineError::Result { reason: "r".into() }, 1),
        ("unreachable", EngineError::Unreachable { reason: "r".into() }, 2),
    ] {
        let bench = Bench::new(Outcome::Fail(error.clone())).await;
        let original = bench.push(&debian().build());
        for _ in 0..2 {
            let failed = bench.patched(&original).await.unwrap_err();
            assert!(failed.to_string().starts_with(&error.to_string()), "{name}: {failed}");
        }
        assert_eq!(bench.engine.runs(), runs, "{name}");
        assert_eq!(bench.decision(&original).await, None, "{name}");
    }
}

#[tokio::test]
async fn a_failure_is_forgotten_after_a_pause_that_doubles_and_by_success() {
    let _clock = crate::testing::freeze();
    let settings = Settings {
        retry_after: Duration::from_secs(30),
        ..Settings::default()
    };
    let bench = Bench::with(Outcome::Fail(upgrade_failed()), settings).await;
    let original = bench.push(&debian().build());
    for (pause, runs) in [(0, 1), (29, 1), (2, 2), (31, 2), (27, 2), (3, 3), (100, 3), (21, 4)] {
        tokio::time::advance(Duration::from_secs(pause)).await;
        bench.patched(&original).await.unwrap_err();
        assert_eq!(bench.engine.runs(), runs, "after another {pause} s");
    }
    bench.engine.set(|_| Outcome::Tar(upgrade()));
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_ne!(bench.patched(&original).await.unwrap().digest, original.digest);
}

#[tokio::test]
async fn a_failed_second_look_leaves_the_first_answer_and_is_remembered() {
    let settings = Settings {
        refresh_after: Duration::ZERO,
        ..Settings::default()
    };
    let bench = Bench::with(Outcome::Tar(upgrade()), settings).await;
    let original = bench.push(&debian().build());
    let first = bench.patched(&original).await.unwrap();
    bench.engine.set(|_| Outcome::Fail(upgrade_failed()));
    bench
        .scanner
        .set(|_| Ok(vec![("libc6".into(), "2.36-9+deb12u9".into())]));
    assert_eq!(bench.patched(&original).await.unwrap().digest, first.digest);
    bench.settled().await;
    assert_eq!(bench.patched(&original).await.unwrap().digest, first.digest);
    let decided = bench.decision(&original).await.unwrap();
    assert_eq!(decided.served, first.digest);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
async fn a_result_is_believed_only_for_what_its_database_shows() {
    let (libc, zlib) = (NEW[0], NEW[1]);
    let new = || status(&NEW);
    let with = |line: String| Outcome::Tar(changed(&(new() + &line)));
    let whiteout = Layer::new()
        .file("usr/x", "x")
        .file("var/lib/dpkg/.wh.status", "")
        .plain()
        .bytes;
    let elsewhere = Layer::new()
        .file("usr/x", "x")
        .symlink("var/lib/dpkg/status", "/tmp/status")
        .plain()
        .bytes;
    let escapes = {
        let mut bytes = Layer::new().file("aa/escape", "x").plain().bytes.to_vec();
        // The kit's builder refuses the name that an attacker would give.
        bytes[..9].copy_from_slice(b"../escape");
        checksummed(bytes)
    };
    for (name, outcome, text) in [
        (
            "removed",
            Outcome::Tar(changed(&status(&[libc]))),
            "packages were removed: zlib1g",
        ),
        (
            "empty database",
            Outcome::Tar(changed("")),
            "the image has no package database",
        ),
        (
            "older",
            Outcome::Tar(changed(&status(&[libc, ("zlib1g", "1:1.2.12")]))),
            "packages became older: zlib1g",
        ),
        (
            "older by its epoch",
            Outcome::Tar(changed(&status(&[libc, ("zlib1g", "9.9")]))),
            "packages became older: zlib1g",
        ),
        (
            "half installed",
            with(stanza("x", "1", "install ok half-installed")),
            "x is not fully installed",
        ),
        (
            "unpacked",
            with(stanza("x", "1", "install ok unpacked")),
            "x is not fully installed",
        ),
        (
            "not configured",
            with(stanza("x", "1", "install ok half-configured")),
            "x is not fully installed",
        ),
        (
            "triggers",
            with(stanza("x", "1", "install ok triggers-pending")),
            "x is not fully installed",
        ),
        (
            "not read",
            Outcome::Tar(changed("Package: libc6\nStatus: hm\n\n")),
            "package database cannot be read",
        ),
        ("no database", Outcome::Tar(whiteout), "not the package database"),
        (
            "a link for a database",
            Outcome::Tar(elsewhere),
            "not the package database",
        ),
        (
            "no tar",
            Outcome::Tar("x".repeat(1024).into()),
            "its layer cannot be read",
        ),
        (
            "a path that leads out",
            Outcome::Tar(escapes),
            "its layer cannot be read",
        ),
    ] {
        let bench = Bench::new(outcome).await;
        let original = bench.push(&debian().build());
        for _ in 0..2 {
            let error = bench.patched(&original).await.expect_err(name);
            assert!(matches!(error, PatchError::Unproven(_)), "{name}: {error:?}");
            assert!(error.to_string().contains(text), "{name}: {error}");
        }
        assert_eq!(bench.engine.runs(), 1, "{name}: it would fail again");
        assert_eq!(bench.decision(&original).await, None, "{name}");
    }
    assert_eq!(zlib, OLD[1]);
}

/// A tar whose first header has the checksum that its name asks for.
fn checksummed(mut tar: Vec<u8>) -> bytes::Bytes {
    tar[148..156].fill(b' ');
    let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.into()
}

#[tokio::test]
async fn packages_that_are_gone_on_purpose_or_on_hold_do_not_stand_in_the_way() {
    let before = status(&OLD) + &stanza("bash", "5.2", "hold ok installed");
    for (name, after, refused) in [
        (
            "removed long ago",
            stanza("old", "1", "deinstall ok config-files"),
            None,
        ),
        ("never there", stanza("old", "1", "purge ok not-installed"), None),
        ("a new dependency", stanza("fresh", "1", "install ok installed"), None),
        ("on hold and left alone", String::new(), None),
        (
            "on hold and upgraded",
            String::new(),
            Some("bash was upgraded, though it is on hold"),
        ),
    ] {
        let bash = if refused.is_some() { "5.3" } else { "5.2" };
        let after = status(&NEW) + &stanza("bash", bash, "hold ok installed") + &after;
        let bench = Bench::new(Outcome::Tar(changed(&after))).await;
        let original = bench.push(&with_status(&before).build());
        match (bench.patched(&original).await, refused) {
            (Ok(patched), None) => {
                let json: Value = serde_json::from_slice(&patched.bytes).unwrap();
                assert_eq!(json["annotations"]["dev.patchport.held"], "bash:amd64", "{name}");
            }
            (Err(error), Some(text)) => assert!(error.to_string().contains(text), "{name}: {error}"),
            (answer, _) => panic!("{name}: {answer:?}"),
        }
    }
}

#[tokio::test]
async fn what_upstream_does_not_give_fails_the_job_but_not_the_next() {
    for (name, fault) in [
        ("down", Fault::unreachable()),
        ("broken off", Fault::Break(40)),
        ("wrong bytes", Fault::Bytes(b"lies")),
    ] {
        let bench = Bench::new(Outcome::Tar(upgrade())).await;
        let original = bench.push(&debian().build());
        bench.upstream.always(Call::Blob, fault);
        bench.patched(&original).await.expect_err(name);
        assert_eq!(bench.engine.runs(), 0, "{name}");
        bench.upstream.heal();
        assert_ne!(
            bench.patched(&original).await.expect(name).digest,
            original.digest,
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_image_that_cannot_be_inspected_is_not_patched() {
    let text = "these are the bytes of no archive that anybody knows";
    let blob = patchport_kit::image::Blob {
        bytes: text.into(),
        diff_id: patchport_kit::digest(text.as_bytes()),
        compression: patchport_kit::image::Compression::Gzip,
    };
    let damaged = Image::builder().architecture("amd64").layer(blob).build();
    let broken_database = with_status("Package: libc6\nStatus: what\n\n").build();
    for (name, image) in [("damaged layer", damaged), ("damaged database", broken_database)] {
        let bench = Bench::new(Outcome::Tar(upgrade())).await;
        let original = bench.push(&image);
        let error = bench.patched(&original).await.expect_err(name);
        assert!(matches!(error, PatchError::Inspect(_)), "{name}: {error:?}");
        assert_eq!(bench.engine.runs(), 0, "{name}");
    }
}

#[tokio::test]
async fn shutdown_ends_a_job_and_tells_those_who_wait() {
    let gate = Gate::new();
    let bench = Bench::new(Outcome::After(gate.clone(), Box::new(Outcome::Nothing))).await;
    let original = bench.push(&debian().build());
    let stops = async {
        gate.reached().await;
        assert!(!bench.tasks.shut_down(Duration::ZERO).await);
    };
    let (answer, ()) = tokio::join!(bench.patched(&original), stops);
    assert!(matches!(answer, Err(PatchError::Interrupted(_))), "{answer:?}");
    assert_eq!(bench.decision(&original).await, None);
}

#[tokio::test]
async fn what_is_no_longer_maintained_is_patched_or_not_as_the_rule_says() {
    let bench = Bench::new(Outcome::Tar(upgrade())).await;
    let old = Layer::new().file("etc/os-release", "ID=debian\nVERSION_ID=10\nPRETTY_NAME=Buster\n");
    let original = bench.push(&debian().layer(old.gzip()).build());
    let terms = Terms {
        end_of_life: EndOfLife::Fail,
        ..TERMS
    };
    let asked = bench.patcher.patched(&bench.place, &original, &terms, patience());
    let error = asked.await.expect_err("it is not maintained").to_string();
    assert!(error.contains("Buster") && error.contains("2024-06-30"), "{error}");
    assert_eq!(bench.engine.runs(), 0);
    bench.patched(&original).await.unwrap();
    let decision = bench.decision(&original).await.expect("it is decided");
    assert!(
        decision.note.contains("no longer maintained since 2024-06-30"),
        "{}",
        decision.note
    );
    let maintained = bench.push(&debian().build());
    let asked = bench.patcher.patched(&bench.place, &maintained, &terms, patience());
    assert_ne!(asked.await.unwrap().digest, maintained.digest);
}
