//! BuildKit's control service as far as the client calls it, following a script, on a Unix socket.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bollard_buildkit_proto::moby::buildkit::v1::control_server::{Control, ControlServer};
use bollard_buildkit_proto::moby::buildkit::v1::{self as wire, BytesMessage};
use futures_util::{Stream, StreamExt as _, stream};
use patchport_buildkit::{Address, AutoOptions, Endpoint};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::bridge::Bridge;

type Reply<T> = Result<Response<T>, Status>;
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the next solve does.
pub(crate) enum Solving {
    Works(Option<&'static str>),
    Fails(Status),
    ClosesSession,
    Hangs,
}

#[derive(Default)]
pub(crate) struct Script {
    pub(crate) solving: Vec<Solving>,
    pub(crate) session: Option<Status>,
    pub(crate) status: Option<Status>,
    /// What it says when it is asked for its version; the version without.
    pub(crate) info: Option<Status>,
    /// What it says to a solve of nothing; without, it waits for a client to build over it.
    pub(crate) probe: Option<Status>,
    /// Whether it does without an image store, as Docker may.
    pub(crate) no_store: bool,
    /// The operations that it does not have.
    pub(crate) lacking: &'static [&'static str],
}

pub(crate) struct Fake {
    dir: TempDir,
    shared: Arc<Shared>,
    _server: AbortOnDropHandle<()>,
}

struct Shared {
    solving: Mutex<VecDeque<Solving>>,
    session: Option<Status>,
    status: Option<Status>,
    info: Option<Status>,
    probe: Option<Status>,
    close_session: CancellationToken,
    pruned: Mutex<Vec<wire::PruneRequest>>,
    last_session: Mutex<MetadataMap>,
    last_solve: Mutex<wire::SolveRequest>,
    began: Semaphore,
    cancelled: Semaphore,
}

impl Fake {
    pub(crate) fn start(script: Script) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("b.sock")).unwrap();
        let shared = Arc::new(Shared {
            solving: Mutex::new(script.solving.into()),
            session: script.session,
            status: script.status,
            info: script.info,
            probe: script.probe,
            close_session: CancellationToken::new(),
            pruned: Mutex::default(),
            last_session: Mutex::default(),
            last_solve: Mutex::default(),
            began: Semaphore::new(0),
            cancelled: Semaphore::new(0),
        });
        let serving = tonic::transport::Server::builder()
            .add_service(ControlServer::from_arc(Arc::clone(&shared)))
            .add_service(Bridge {
                open: shared.probe.is_none(),
                store: !script.no_store,
                lacking: script.lacking,
            })
            .serve_with_incoming(UnixListenerStream::new(listener));
        let server = AbortOnDropHandle::new(tokio::spawn(async move { serving.await.unwrap() }));
        Self {
            dir,
            shared,
            _server: server,
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        let auto = AutoOptions {
            sockets: Vec::new(),
            ..AutoOptions::default()
        };
        Endpoint {
            address: Address::Unix(self.dir.path().join("b.sock")),
            tls: None,
            auto,
        }
    }

    pub(crate) fn pruned(&self) -> Vec<wire::PruneRequest> {
        self.shared.pruned.lock().unwrap().clone()
    }

    /// The metadata of the last session and the last solve request.
    pub(crate) fn last(&self) -> (MetadataMap, wire::SolveRequest) {
        (
            self.shared.last_session.lock().unwrap().clone(),
            self.shared.last_solve.lock().unwrap().clone(),
        )
    }

    pub(crate) async fn solve_began(&self) {
        self.shared.began.acquire().await.unwrap().forget();
    }

    pub(crate) async fn solve_was_cancelled(&self) {
        self.shared.cancelled.acquire().await.unwrap().forget();
    }
}

/// Tells when the call that holds it is dropped.
struct Cancelled<'a>(&'a Semaphore);

impl Drop for Cancelled<'_> {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

#[async_trait]
impl Control for Shared {
    type PruneStream = Messages<wire::UsageRecord>;
    type StatusStream = Messages<wire::StatusResponse>;
    type SessionStream = Messages<BytesMessage>;
    type ListenBuildHistoryStream = Messages<wire::BuildHistoryEvent>;

    async fn info(&self, _: Request<wire::InfoRequest>) -> Reply<wire::InfoResponse> {
        match &self.info {
            Some(status) => Err(status.clone()),
            None => Ok(Response::new(wire::InfoResponse::default())),
        }
    }

    async fn solve(&self, request: Request<wire::SolveRequest>) -> Reply<wire::SolveResponse> {
        let request = request.into_inner();
        if request.definition.is_none() {
            return match &self.probe {
                Some(status) => Err(status.clone()),
                None => std::future::pending().await,
            };
        }
        *self.last_solve.lock().unwrap() = request;
        let next = self.solving.lock().unwrap().pop_front().unwrap_or(Solving::Hangs);
        match next {
            Solving::Works(digest) => {
                let mut reply = wire::SolveResponse::default();
                if let Some(digest) = digest {
                    reply
                        .exporter_response
                        .insert("containerimage.digest".to_owned(), digest.to_owned());
                }
                return Ok(Response::new(reply));
            }
            Solving::Fails(status) => return Err(status),
            Solving::ClosesSession => self.close_session.cancel(),
            Solving::Hangs => {}
        }
        let _cancelled = Cancelled(&self.cancelled);
        self.began.add_permits(1);
        std::future::pending().await
    }

    async fn status(&self, _: Request<wire::StatusRequest>) -> Reply<Self::StatusStream> {
        match &self.status {
            Some(status) => Err(status.clone()),
            None => Ok(Response::new(stream::empty().boxed())),
        }
    }

    async fn session(&self, request: Request<Streaming<BytesMessage>>) -> Reply<Self::SessionStream> {
        *self.last_session.lock().unwrap() = request.metadata().clone();
        match &self.session {
            Some(status) => Err(status.clone()),
            None => Ok(Response::new(
                stream::pending()
                    .take_until(self.close_session.clone().cancelled_owned())
                    .boxed(),
            )),
        }
    }

    async fn prune(&self, request: Request<wire::PruneRequest>) -> Reply<Self::PruneStream> {
        self.pruned.lock().unwrap().push(request.into_inner());
        Ok(Response::new(stream::empty().boxed()))
    }

    async fn disk_usage(&self, _: Request<wire::DiskUsageRequest>) -> Reply<wire::DiskUsageResponse> {
        Err(Status::unimplemented("not called"))
    }

    async fn list_workers(&self, _: Request<wire::ListWorkersRequest>) -> Reply<wire::ListWorkersResponse> {
        Err(Status::unimplemented("not called"))
    }

    async fn listen_build_history(
        &self,
        _: Request<wire::BuildHistoryRequest>,
    ) -> Reply<Self::ListenBuildHistoryStream> {
        Err(Status::unimplemented("not called"))
    }

    async fn update_build_history(
        &self,
        _: Request<wire::UpdateBuildHistoryRequest>,
    ) -> Reply<wire::UpdateBuildHistoryResponse> {
        Err(Status::unimplemented("not called"))
    }
}
