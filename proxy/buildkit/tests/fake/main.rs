//! The client against a stand-in for BuildKit that misbehaves to order: faults that a real one shows too seldom.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "tests end with their tasks")]

mod bridge;
mod control;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use patchport_buildkit::llb::{Platform, State};
use patchport_buildkit::{
    ByteStream, Client, ClientError, ConnectError, Content, ContentError, Exporter, Ingest, Secrets, Solve, SolveError,
    SolveErrorKind, Solved,
};
use tonic::Status;

use control::{Fake, Script, Solving};

/// A store without a blob.
struct Empty;

#[async_trait]
impl Content for Empty {
    async fn info(&self, _: &str) -> Result<Option<u64>, ContentError> {
        Ok(None)
    }

    async fn read(&self, digest: &str, _: u64, _: u64) -> Result<ByteStream, ContentError> {
        Err(ContentError::NotFound {
            digest: digest.to_owned(),
        })
    }

    async fn ingest(&self, digest: &str, _: u64) -> Result<Box<dyn Ingest>, ContentError> {
        Err(ContentError::Busy {
            digest: digest.to_owned(),
        })
    }
}

fn plan() -> Solve {
    let state = State::oci_layout("base", "example.org/base", "sha256:0", &Platform::new("linux", "amd64"));
    Solve {
        definition: state.definition(),
        exporter: Exporter::default(),
        content: Arc::new(Empty),
        secrets: Secrets::default(),
        source_policy: None,
        timeout: Duration::from_secs(2),
    }
}

async fn solve(fake: &Fake) -> Result<Solved, SolveError> {
    Client::new(fake.endpoint()).solve(&plan(), |_| ()).await
}

const PARTIAL: &str = "failed to copy: unsupported offset";

fn fails(message: &str) -> Solving {
    Solving::Fails(Status::unknown(message))
}

#[tokio::test]
async fn faults_have_their_kinds() {
    let table = [
        ("refused", vec![fails("no")], SolveErrorKind::Other),
        (
            "BuildKit says unavailable",
            vec![Solving::Fails(Status::unavailable("full"))],
            SolveErrorKind::Other,
        ),
        (
            "no manifest in the reply",
            vec![Solving::Works(None)],
            SolveErrorKind::Other,
        ),
        (
            "session closed",
            vec![Solving::ClosesSession],
            SolveErrorKind::SessionLost,
        ),
        ("hangs", vec![Solving::Hangs], SolveErrorKind::TimedOut),
        (
            "stays partial",
            vec![fails(PARTIAL), fails(PARTIAL), Solving::Works(Some("sha256:d"))],
            SolveErrorKind::Other,
        ),
        (
            "too old",
            vec![fails("unknown API capability source.ocilayout")],
            SolveErrorKind::MissingCapability,
        ),
    ];
    for (name, solving, kind) in table {
        let fake = Fake::start(Script {
            solving,
            ..Script::default()
        });
        let begun = Instant::now();
        let error = solve(&fake).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error:?}");
        assert!(
            kind == SolveErrorKind::TimedOut || begun.elapsed() < Duration::from_secs(1),
            "{name}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_partial_download_is_cleared_away_and_nothing_else() {
    let works = Solving::Works(Some("sha256:d"));
    let fake = Fake::start(Script {
        solving: vec![fails(PARTIAL), works],
        ..Script::default()
    });
    assert_eq!(solve(&fake).await.unwrap().digest, "sha256:d");
    let pruned = fake.pruned();
    assert_eq!(pruned.len(), 1);
    assert_eq!(
        (pruned[0].filter.as_slice(), pruned[0].all),
        (["id==nonexistent".to_owned()].as_slice(), false)
    );
}

#[tokio::test]
async fn a_solve_without_progress_is_a_solve() {
    let solving = vec![Solving::Works(Some("sha256:d"))];
    let fake = Fake::start(Script {
        solving,
        status: Some(Status::not_found("no such job")),
        ..Script::default()
    });
    assert_eq!(solve(&fake).await.unwrap().digest, "sha256:d");
}

#[tokio::test]
async fn a_refused_session_is_told() {
    let session = Some(Status::unimplemented("no sessions"));
    let fake = Fake::start(Script {
        session,
        ..Script::default()
    });
    let error = solve(&fake).await.unwrap_err();
    assert_eq!(error.kind(), SolveErrorKind::MissingCapability, "{error:?}");
}

#[tokio::test]
async fn dropping_a_solve_cancels_it() {
    let fake = Fake::start(Script {
        solving: vec![Solving::Hangs],
        ..Script::default()
    });
    let client = Client::new(fake.endpoint());
    let solving = tokio::spawn(async move { client.solve(&plan(), |_| ()).await });
    fake.solve_began().await;
    solving.abort();
    fake.solve_was_cancelled().await;
}

#[tokio::test]
async fn the_session_announces_what_it_serves_and_is_the_solves_own() {
    let fake = Fake::start(Script {
        solving: vec![Solving::Works(Some("sha256:d"))],
        ..Script::default()
    });
    solve(&fake).await.unwrap();
    let (session, solve) = fake.last();
    let values = |name: &str| {
        session
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        values("x-docker-expose-session-uuid"),
        std::slice::from_ref(&solve.session)
    );
    let methods = values("x-docker-expose-session-grpc-method");
    for method in ["Info", "Read", "Write"] {
        assert!(
            methods.contains(&format!("/containerd.services.content.v1.Content/{method}")),
            "{methods:?}"
        );
    }
    assert_eq!(solve.exporters[0].r#type, "oci");
    assert_eq!(solve.exporters[0].attrs["tar"], "false");
    assert!(solve.entitlements.is_empty());
}

#[tokio::test]
async fn a_buildkit_that_cannot_make_patches_is_refused_before_anything_is_built() {
    let ill = Status::unknown("no worker");
    let script = Script::default;
    let table = [
        (
            Script {
                info: Some(Status::unimplemented("unknown method Info")),
                ..script()
            },
            "of a version that it does not tell) cannot make patches: it is older than v0.11; use BuildKit v0.11",
        ),
        (
            Script {
                no_store: true,
                ..script()
            },
            "it lacks the exporter `oci`; use BuildKit v0.11 or newer, or run one in a container",
        ),
        (
            Script {
                lacking: &["source.ocilayout", "exec.meta.ulimit"],
                ..script()
            },
            "it lacks exec.meta.ulimit, source.ocilayout",
        ),
    ];
    for (script, expected) in table {
        let fake = Fake::start(script);
        let error = Client::new(fake.endpoint()).info().await.unwrap_err();
        let ClientError::Unreachable(error) = error else {
            panic!("{error:?}")
        };
        assert!(matches!(error, ConnectError::Unfit { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let fake = Fake::start(Script {
        probe: Some(ill),
        ..script()
    });
    let error = Client::new(fake.endpoint()).info().await.unwrap_err();
    assert!(
        matches!(error, ClientError::Unreachable(ConnectError::NoAnswer { .. })),
        "another fault is no lack: {error:?}"
    );
}
