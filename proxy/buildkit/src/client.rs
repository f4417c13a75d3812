//! The client: one connection that is made on first use and made anew when it has died. Clones share it.
//! Every call has a deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::{ListWorkersRequest, PruneRequest};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::address::Address;
use crate::auto;
use crate::connect::{self, Connection, Endpoint};
use crate::daemon::Daemon;
use crate::llb::Platform;

/// How long a small call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// How long a garbage collection may take: it walks the whole store.
const PRUNE_DEADLINE: Duration = Duration::from_secs(60);

/// What BuildKit says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its version, `v0.32.2`; builds from source may say `v0.0.0+unknown`.
    pub version: String,
    /// The source revision; may be empty.
    pub revision: String,
}

/// Something that runs builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// BuildKit's name for it.
    pub id: String,
    /// What it can run, its own platform first; others may be emulated.
    pub platforms: Vec<Platform>,
    /// Labels such as `org.mobyproject.buildkit.worker.snapshotter`.
    pub labels: BTreeMap<String, String>,
}

impl Worker {
    /// The platform that it runs without an emulator: the first one that it lists.
    pub fn native_platform(&self) -> Option<&Platform> {
        self.platforms.first()
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection.
    #[error(transparent)]
    Unreachable(connect::Error),
    /// BuildKit refused the call or went away during it.
    #[error("BuildKit at {address}: {call} failed")]
    Call {
        /// The place.
        address: String,
        /// The method.
        call: &'static str,
        /// BuildKit's answer.
        #[source]
        source: tonic::Status,
    },
    /// No answer in time.
    #[error("BuildKit at {address}: {call} gave no answer within {after:?}")]
    TimedOut {
        /// The place.
        address: String,
        /// The method.
        call: &'static str,
        /// The deadline.
        after: Duration,
    },
}

/// A client of one BuildKit.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    connection: Option<Connection>,
    daemon: Option<Daemon>,
}

impl Client {
    /// A client that connects at its first call; [`Client::info`] is a call that does nothing else.
    ///
    /// A `buildkitd` that it starts is killed when the last clone is dropped, and ended properly by
    /// [`Client::shutdown`].
    pub fn new(endpoint: Endpoint) -> Self {
        Self(Arc::new(Inner {
            endpoint,
            held: Mutex::default(),
        }))
    }

    /// What BuildKit said of itself when the present connection was made, which is now if there was none.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn info(&self) -> Result<Info, Error> {
        let connection = self.connection().await.map_err(Error::Unreachable)?;
        Ok(connection.info().clone())
    }

    /// The workers, the default one first.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or what became of the call.
    pub async fn workers(&self) -> Result<Vec<Worker>, Error> {
        let connection = self.connection().await.map_err(Error::Unreachable)?;
        let mut control = connection.control();
        let listing = control.list_workers(ListWorkersRequest::default());
        let reply = call("ListWorkers", CALL_DEADLINE, &connection, listing).await?;
        let worker = |record: bollard_buildkit_proto::moby::buildkit::v1::types::WorkerRecord| Worker {
            id: record.id,
            platforms: record.platforms.into_iter().map(Platform::from).collect(),
            labels: record.labels.into_iter().collect(),
        };
        Ok(reply.into_inner().record.into_iter().map(worker).collect())
    }

    /// Closes the connection and ends a `buildkitd` that this client started. Solves that run fail; the next call
    /// would connect (and start one) again.
    pub async fn shutdown(&self) {
        let mut held = self.0.held.lock().await;
        held.connection = None;
        if let Some(daemon) = &mut held.daemon {
            daemon.stop().await;
        }
    }

    /// The live connection, or a new one. Callers that come at the same time wait for the same attempt.
    pub(crate) async fn connection(&self) -> Result<Connection, connect::Error> {
        let mut held = self.0.held.lock().await;
        if let Some(live) = held.connection.as_ref().filter(|connection| connection.is_usable()) {
            return Ok(live.clone());
        }
        held.connection = None;
        let endpoint = &self.0.endpoint;
        let connection = match &endpoint.address {
            Address::Auto => auto::find(endpoint, &mut held.daemon).await?,
            address => Connection::open(address, &endpoint.dial()).await?,
        };
        tracing::info!(
            buildkit.address = connection.address(),
            buildkit.version = connection.info().version,
            "connected to BuildKit"
        );
        held.connection = Some(connection.clone());
        Ok(connection)
    }
}

/// Makes BuildKit collect its garbage and delete nothing else: no record has that id.
///
/// This is the cure for partial downloads that an interrupted solve left behind (seen with v0.32.2): they make every
/// later solve of the same image fail.
pub(crate) async fn collect_garbage(connection: &Connection) -> Result<(), Error> {
    let mut control = connection.control();
    let request = PruneRequest {
        filter: vec!["id==nonexistent".to_owned()],
        ..PruneRequest::default()
    };
    let pruning = async {
        let mut records = control.prune(request).await?.into_inner();
        while records.message().await?.is_some() {}
        Ok(())
    };
    call("Prune", PRUNE_DEADLINE, connection, pruning).await
}

async fn call<T>(
    call: &'static str,
    after: Duration,
    connection: &Connection,
    answer: impl Future<Output = Result<T, tonic::Status>>,
) -> Result<T, Error> {
    let address = connection.address().to_owned();
    match timeout(after, answer).await {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(source)) => {
            connection.is_broken_by(&source);
            Err(Error::Call { address, call, source })
        }
        Err(_) => Err(Error::TimedOut { address, call, after }),
    }
}
