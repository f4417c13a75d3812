//! A session: BuildKit's way back to us. `Control.Session` carries a byte pipe in which we are the HTTP/2 server, for
//! the content API, the health check and secrets. One session serves one solve and ends when it is dropped.

pub(crate) mod content;
mod health;
pub(crate) mod secrets;
mod service;
mod wire;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bollard_buildkit_proto::health::health_server::HealthServer;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::SecretsServer;
use bollard_buildkit_proto::moby::buildkit::v1::BytesMessage;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use tokio_util::sync::PollSender;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;
use tonic::{Request, Status};

use crate::connect::Connection;
use content::Content;
use health::{Health, Pulse};
use secrets::{Secrets, SecretsService};
use service::ContentService;

/// How long opening may take; it takes about a millisecond.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);
/// After this long without a sign of life the session counts as lost: BuildKit checks our health every 5 seconds.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// Messages of the pipe that wait for the connection.
const PIPE_DEPTH: usize = 16;
/// HTTP/2 windows, in bytes: layers are written to us through one stream of this connection.
const WINDOW: u32 = 4 << 20;
/// The largest HTTP/2 frame that we take, in bytes.
const FRAME: u32 = 1 << 20;

/// An open session. Dropping it ends it.
pub(crate) struct Session {
    id: String,
    server: AbortOnDropHandle<Result<(), hyper::Error>>,
    pulse: Pulse,
}

/// How a session ended on its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("BuildKit closed the session")]
    Closed,
    #[error("the session's connection failed")]
    Failed(#[source] hyper::Error),
    #[error("BuildKit has not checked the session for {SILENCE_LIMIT:?}")]
    Silent,
    #[error("the session's server ended early")]
    Ended(#[source] tokio::task::JoinError),
}

impl Session {
    /// Opens a session through which BuildKit may use `content` and `secrets`.
    pub(crate) async fn open(
        connection: &Connection,
        content: Arc<dyn Content>,
        secrets: Secrets,
    ) -> Result<Self, Status> {
        let id = uuid::Uuid::new_v4().to_string();
        let (sender, receiver) = mpsc::channel::<BytesMessage>(PIPE_DEPTH);
        let mut request = Request::new(ReceiverStream::new(receiver));
        announce(request.metadata_mut(), &id)?;
        let mut control = connection.control();
        let incoming = timeout(OPEN_DEADLINE, control.session(request))
            .await
            .map_err(|_| Status::deadline_exceeded(format!("no session within {OPEN_DEADLINE:?}")))??
            .into_inner();
        let reader = StreamReader::new(incoming.map(|message| match message {
            Ok(message) => Ok(Bytes::from(message.data)),
            Err(status) => Err(io::Error::other(status)),
        }));
        let sink = PollSender::new(sender)
            .sink_map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
            .with(async |data: Bytes| Ok::<_, io::Error>(BytesMessage { data: data.into() }));
        let writer = SinkWriter::new(CopyToBytes::new(Box::pin(sink)));
        let pulse = Pulse::default();
        let pipe = tokio::io::join(reader, writer);
        #[expect(clippy::disallowed_methods, reason = "the session that holds it aborts it")]
        let server = tokio::spawn(serve(pipe, content, secrets, pulse.clone()));
        Ok(Self {
            id,
            server: AbortOnDropHandle::new(server),
            pulse,
        })
    }

    /// The id that a solve request names.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Waits until the session is lost. Not to be called again after it has returned.
    pub(crate) async fn lost(&mut self) -> Lost {
        tokio::select! {
            end = &mut self.server => match end {
                Ok(Ok(())) => Lost::Closed,
                Ok(Err(error)) => Lost::Failed(error),
                Err(error) => Lost::Ended(error),
            },
            () = self.pulse.silent_for(SILENCE_LIMIT) => Lost::Silent,
        }
    }
}

/// The request's metadata: who we are and which methods BuildKit may call.
fn announce(metadata: &mut tonic::metadata::MetadataMap, id: &str) -> Result<(), Status> {
    let value = id
        .parse()
        .map_err(|_| Status::internal("the session's id is no header value"))?;
    metadata.insert("x-docker-expose-session-uuid", value);
    metadata.insert(
        "x-docker-expose-session-name",
        tonic::metadata::MetadataValue::from_static("patchport"),
    );
    metadata.insert(
        "x-docker-expose-session-sharedkey",
        tonic::metadata::MetadataValue::from_static(""),
    );
    for method in [
        service::INFO,
        service::READ,
        service::WRITE,
        health::CHECK,
        secrets::READ,
    ] {
        let value = tonic::metadata::MetadataValue::from_static(method);
        metadata.append("x-docker-expose-session-grpc-method", value);
    }
    Ok(())
}

async fn serve<P>(pipe: P, content: Arc<dyn Content>, secrets: Secrets, pulse: Pulse) -> Result<(), hyper::Error>
where
    P: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let routes = Routes::new(HealthServer::new(Health::new(pulse.clone())))
        .add_service(SecretsServer::new(SecretsService::new(secrets, pulse.clone())))
        .add_service(ContentService::new(content, pulse))
        .prepare();
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW)
        .max_frame_size(FRAME)
        .serve_connection(TokioIo::new(pipe), TowerToHyperService::new(routes))
        .await
}
