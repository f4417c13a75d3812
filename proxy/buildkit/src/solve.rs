//! A solve from beginning to end: a session for the blobs, the definition, progress beside it, and the result's
//! descriptor. It ends early only at its time limit or when BuildKit or the session is lost.

pub(crate) mod error;
pub(crate) mod exporter;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use serde::Deserialize;
use tokio::time::{Instant, timeout};
use tonic::transport::Channel;

use crate::client::{Client, collect_garbage};
use crate::connect::Connection;
use crate::llb::Definition;
use crate::progress::{Progress, Tracker};
use crate::session::Session;
use crate::session::content::Content;
use crate::session::secrets::Secrets;
use crate::source_policy::SourcePolicy;
use error::Error;
use exporter::Exporter;

/// How long the last progress may lag behind the result.
const LINGER: Duration = Duration::from_secs(1);
/// How much earlier than the connection the session may notice that BuildKit is gone.
const NOTICE: Duration = Duration::from_millis(200);
/// What a partial download left behind by an interrupted solve makes BuildKit say (v0.32.2).
const PARTIAL_DOWNLOAD: &str = "unsupported offset";

/// What is to be solved.
#[derive(Clone)]
pub struct Solve {
    /// The graph.
    pub definition: Definition,
    /// How the result is written.
    pub exporter: Exporter,
    /// What BuildKit may read, and where the result's blobs go: manifest and configuration always, layers unless the
    /// content has them.
    pub content: Arc<dyn Content>,
    /// What the graph's commands mount as secrets, by id.
    pub secrets: Secrets,
    /// Which sources may be used. Those that the content serves are not BuildKit's to judge: whoever serves them has.
    pub source_policy: Option<SourcePolicy>,
    /// The limit from the first attempt to connect to the result. The command is killed at it, and v0.32.2 keeps the
    /// half-done file system until it is restarted, so this should be the only reason to give a solve up.
    pub timeout: Duration,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solved {
    /// The digest of the result's manifest, `sha256:...`.
    pub digest: String,
    /// The manifest's media type; empty if BuildKit did not say.
    pub media_type: String,
    /// The manifest's size in bytes; 0 if BuildKit did not say.
    pub size: u64,
    /// Everything that the exporter said, by key.
    pub response: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Descriptor {
    media_type: String,
    size: u64,
}

impl Client {
    /// Solves and exports; `progress` hears of it as it happens and should return quickly.
    ///
    /// Dropping the future cancels the solve (see [`Solve::timeout`] for why not to).
    ///
    /// # Errors
    /// [`Error`], told apart by [`Error::kind`]. A partial download that an earlier solve left behind is cleared away
    /// and the solve tried once more before that error is reported.
    pub async fn solve(&self, solve: &Solve, progress: impl FnMut(Progress) + Send) -> Result<Solved, Error> {
        let mut job = Job {
            solve,
            progress,
            tracker: Tracker::default(),
        };
        let result = timeout(solve.timeout, self.run(&mut job)).await;
        result.unwrap_or_else(|_| {
            Err(Error::TimedOut {
                after: solve.timeout,
                running: job.tracker.running(),
            })
        })
    }

    async fn run(&self, job: &mut Job<'_, impl FnMut(Progress) + Send>) -> Result<Solved, Error> {
        let connection = self.connection().await.map_err(Error::Unreachable)?;
        match job.attempt(&connection).await {
            Err(Error::Failed { message, .. }) if message.contains(PARTIAL_DOWNLOAD) => {
                tracing::warn!(
                    buildkit.address = connection.address(),
                    "clearing a partial download, then once more"
                );
                if let Err(error) = collect_garbage(&connection).await {
                    tracing::warn!(error = crate::connect::chain(&error), "clearing failed");
                }
                job.attempt(&connection).await
            }
            result => result,
        }
    }
}

/// One call of [`Client::solve`].
struct Job<'a, P> {
    solve: &'a Solve,
    progress: P,
    tracker: Tracker,
}

/// How an attempt came to its end.
enum End {
    Answer(Result<wire::SolveResponse, tonic::Status>),
    SessionLost(crate::session::Lost),
    ConnectionLost,
}

impl<P: FnMut(Progress) + Send> Job<'_, P> {
    async fn attempt(&mut self, connection: &Connection) -> Result<Solved, Error> {
        let address = connection.address();
        let mut session = Session::open(connection, Arc::clone(&self.solve.content), self.solve.secrets.clone())
            .await
            .map_err(|status| self.failure(connection, &status))?;
        let request = request(self.solve, session.id());
        match self.drive(connection, &mut session, request).await {
            End::Answer(Ok(reply)) => solved(address, reply),
            End::Answer(Err(status)) => Err(self.failure(connection, &status)),
            End::ConnectionLost => Err(Error::ConnectionLost {
                address: address.to_owned(),
            }),
            End::SessionLost(lost) => {
                if timeout(NOTICE, connection.closed().cancelled()).await.is_ok() {
                    return Err(Error::ConnectionLost {
                        address: address.to_owned(),
                    });
                }
                Err(Error::SessionLost {
                    address: address.to_owned(),
                    source: Box::new(lost),
                })
            }
        }
    }

    /// Runs the solve with its status beside it, and watches connection and session.
    async fn drive(&mut self, connection: &Connection, session: &mut Session, request: wire::SolveRequest) -> End {
        let mut control = connection.control();
        let mut status = pin!(follow(
            connection.control(),
            request.r#ref.clone(),
            &mut self.tracker,
            &mut self.progress
        ));
        let mut solving = pin!(control.solve(request));
        let mut followed = false;
        let end = loop {
            tokio::select! {
                biased;
                reply = &mut solving => break End::Answer(reply.map(tonic::Response::into_inner)),
                () = connection.closed().cancelled() => break End::ConnectionLost,
                lost = session.lost() => break End::SessionLost(lost),
                () = &mut status, if !followed => followed = true,
            }
        };
        // The log of a failed command may come after the failure.
        if !followed && matches!(end, End::Answer(_)) {
            let _ = timeout(LINGER, status).await;
        }
        end
    }

    /// A status that BuildKit sent, or one that tonic made because the connection broke.
    fn failure(&self, connection: &Connection, status: &tonic::Status) -> Error {
        if connection.is_broken_by(status) {
            return Error::ConnectionLost {
                address: connection.address().to_owned(),
            };
        }
        error::classify(connection.address(), status, &self.tracker)
    }
}

/// Reads the status stream to its end. Progress is a courtesy: a stream that fails is merely over.
async fn follow(
    mut control: ControlClient<Channel>,
    reference: String,
    tracker: &mut Tracker,
    progress: &mut (impl FnMut(Progress) + Send),
) {
    let started = Instant::now();
    match control.status(wire::StatusRequest { r#ref: reference }).await {
        Ok(stream) => {
            let mut stream = stream.into_inner();
            while let Ok(Some(status)) = stream.message().await {
                tracker.update(status, &mut *progress);
            }
        }
        Err(status) => {
            tracing::debug!(error = %status, elapsed = ?started.elapsed(), "no progress for a solve")
        }
    }
}

fn request(solve: &Solve, session: &str) -> wire::SolveRequest {
    let exporter = wire::Exporter {
        r#type: "oci".to_owned(),
        attrs: solve.exporter.attrs().collect(),
    };
    wire::SolveRequest {
        r#ref: uuid::Uuid::new_v4().simple().to_string(),
        definition: Some(solve.definition.to_wire()),
        source_policy: solve
            .source_policy
            .as_ref()
            .map(|policy| policy.to_wire(solve.definition.served())),
        session: session.to_owned(),
        // Daemons before v0.13 read only the old pair of fields, later ones prefer the list.
        exporter_deprecated: exporter.r#type.clone(),
        exporter_attrs_deprecated: exporter.attrs.clone(),
        exporters: vec![exporter],
        cache: Some(wire::CacheOptions::default()),
        // No entry in the build history, which would keep logs and provenance of every patch.
        internal: true,
        ..wire::SolveRequest::default()
    }
}

fn solved(address: &str, reply: wire::SolveResponse) -> Result<Solved, Error> {
    let response: BTreeMap<_, _> = reply.exporter_response.into_iter().collect();
    let Some(digest) = response.get("containerimage.digest").cloned() else {
        let message = "the exporter named no manifest".to_owned();
        return Err(Error::Failed {
            address: address.to_owned(),
            vertex: None,
            message,
        });
    };
    let encoded = response.get("containerimage.descriptor").map_or("", String::as_str);
    let json = STANDARD.decode(encoded).unwrap_or_default();
    let Descriptor { media_type, size } = serde_json::from_slice(&json).unwrap_or_default();
    Ok(Solved {
        digest,
        media_type,
        size,
        response,
    })
}
