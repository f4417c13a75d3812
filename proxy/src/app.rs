//! Wiring: the only file that names concrete implementations, and the order of start and stop.
//!
//! Store, catalog, listeners bound and logged, ready; then SIGTERM, drain with a deadline, stop. No function below this
//! sees the whole configuration.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use moka::future::Cache;
use patchport_config::{self as config, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, Readiness};
use crate::answers::Answers;
use crate::blobs::Blobs;
use crate::catalog::Catalog;
use crate::depot::Depot;
use crate::evidence::signature::Signer;
use crate::handler::Handler;
use crate::index::Indexes;
use crate::library::Library;
use crate::patch::builds::Builds;
use crate::patch::workers::Pool;
use crate::patch::{self, Engine as _, Helpers, Patcher};
use crate::policy::Policy;
use crate::referrers::Referrers;
use crate::resolve::Resolver;
use crate::respond::chain;
use crate::route::{Site, Table};
use crate::scan::Scanners;
use crate::serve::{Listener, serve};
use crate::service::Registry;
use crate::sources::Sources;
use crate::store::disk::DiskStore;
use crate::tasks::Tasks;
use crate::upstream::client::{Client, Settings};

/// Everything that serves, bound and wired, before it accepts.
struct App {
    handler: Arc<Handler>,
    workers: Arc<Pool>,
    builds: Builds,
    catalog: Catalog,
    admin: Listener,
    listeners: Vec<(Listener, Option<Arc<str>>)>,
    server: config::Server,
    indexes: Arc<Indexes>,
    /// How often indexes are looked at.
    refresh: Duration,
    tasks: Tasks,
}

/// Runs the mirror until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: Config, sources: Sources, environment: patch::Environment) -> anyhow::Result<()> {
    App::start(config, sources, environment).await?.serve().await
}

impl App {
    /// Opens store and catalog, binds the listeners, and puts the parts together.
    async fn start(config: Config, sources: Sources, environment: patch::Environment) -> anyhow::Result<Self> {
        let tasks = Tasks::new();
        let directory = &config.store.dir;
        let store =
            DiskStore::open(directory).with_context(|| format!("cannot use the store {}", directory.display()))?;
        let catalog = Catalog::open(&directory.join("catalog.sqlite")).await?;
        let admin = Listener::bind(config.admin.address, None).await?;
        let listeners = bind(&config.listeners).await?;

        let scratch = store.scratch().to_owned();
        let blobs = Arc::new(Blobs::new(Arc::new(store), tasks.clone()));
        let resolver = Arc::new(Resolver::new(catalog.clone(), config.cache.tag_ttl, tasks.clone()));
        let path = environment.path.clone();
        let state = directory.join("buildkit");
        let workers = Arc::new(Pool::configured(
            &config,
            &sources,
            &state,
            &environment,
            &blobs,
            &scratch,
            None,
        )?);
        let builds = Builds::new(directory.join("builds"));
        let library = Arc::new(Library::new(catalog.clone(), Arc::clone(&blobs)));
        let indexes = Indexes::new(config.repositories, sources.clone(), directory.join("indexes"), &tasks)?;
        let fetcher = Arc::clone(indexes.fetcher());
        let depot = Depot::new(fetcher, Arc::clone(&blobs), catalog.clone(), tasks.clone());
        let table = table(config.upstreams, &config.cache)?;
        let parts = patch::Parts {
            helpers: Helpers::new(config.helpers, table.clone()),
            catalog: catalog.clone(),
            resolver: Arc::clone(&resolver),
            depot,
            indexes: Arc::clone(&indexes),
            sources,
            blobs,
            library: Arc::clone(&library),
            scanners: Scanners::configured(&config.scan, path.as_deref(), &indexes, &library, &catalog),
            engine: Arc::clone(&workers) as Arc<dyn patch::Engine>,
            builds: builds.clone(),
            signer: Signer::configured(&config.sign)?,
            scratch,
        };
        let patcher = Patcher::new(parts, config.patch, tasks.clone());
        let policy = Policy::new(config.rules);
        let handler = handler((table, policy, patcher), resolver, library, &catalog, &tasks);
        Ok(Self {
            handler,
            workers,
            builds,
            catalog,
            admin,
            listeners,
            server: config.server,
            indexes,
            refresh: config.scan.refresh,
            tasks,
        })
    }

    /// Accepts until a signal, then drains with a deadline.
    async fn serve(self) -> anyhow::Result<()> {
        let (ready, stop, mut serving) = (Readiness::default(), CancellationToken::new(), JoinSet::new());
        tracing::info!(listener.kind = "admin", listener.address = %self.admin.address, "listening");
        // The admin listener has connections of its own: probes are answered however busy the mirror is.
        let probes = Arc::new(Semaphore::new(64));
        serving.spawn(serve(
            self.admin,
            Admin {
                ready: ready.clone(),
                builds: self.builds,
            },
            probes,
            self.tasks.clone(),
            stop.clone(),
        ));
        let connections = Arc::new(Semaphore::new(self.server.max_connections as usize));
        for (listener, default_upstream) in self.listeners {
            let address = listener.address;
            tracing::info!(listener.kind = "registry", listener.address = %address, listener.tls = listener.is_tls(), "listening");
            let registry = Registry {
                handler: Arc::clone(&self.handler),
                default_upstream,
            };
            serving.spawn(serve(
                listener,
                registry,
                Arc::clone(&connections),
                self.tasks.clone(),
                stop.clone(),
            ));
        }
        let (handler, indexes) = (Arc::clone(&self.handler), Arc::clone(&self.indexes));
        self.tasks.spawn(watch(handler, indexes, self.refresh, stop.clone()));
        self.tasks.spawn(Arc::clone(&self.workers).watch(stop.clone()));
        ready.set(true);
        tracing::info!("ready");

        stopped().await?;
        let deadline = Instant::now() + self.server.shutdown_timeout;
        tracing::info!(patience_s = self.server.shutdown_timeout.as_secs(), "shutting down");
        ready.set(false);
        stop.cancel();
        let drained = tokio::time::timeout_at(deadline, async { while serving.join_next().await.is_some() {} }).await;
        let finished = self
            .tasks
            .shut_down(deadline.saturating_duration_since(Instant::now()))
            .await;
        self.workers.shut_down().await;
        self.catalog.close().await;
        tracing::info!(drained = drained.is_ok() && finished, "stopped");
        Ok(())
    }
}

/// What answers, put together.
fn handler(
    (table, policy, patcher): (Table, Policy, Arc<Patcher>),
    resolver: Arc<Resolver>,
    library: Arc<Library>,
    catalog: &Catalog,
    tasks: &Tasks,
) -> Arc<Handler> {
    Arc::new(Handler {
        table,
        policy,
        resolver,
        referrers: Referrers::new(catalog.clone(), tasks.clone()),
        patcher,
        answers: Answers::default(),
        library,
        catalog: catalog.clone(),
        published: Cache::new(100_000),
    })
}

/// Takes the decisions of earlier processes in mind, then looks at package indexes on a timer until it is told to stop. When one
/// has changed, what it changes is planned anew, and patches are queued before anyone asks for them.
async fn watch(handler: Arc<Handler>, indexes: Arc<Indexes>, every: Duration, stop: CancellationToken) {
    let looking = async {
        match handler.patcher.recall(&handler.table).await {
            Ok(decisions) => tracing::info!(decisions, "decisions of earlier are kept in mind"),
            Err(error) => tracing::warn!(
                error = chain(&error),
                "decisions of earlier cannot be read, they are looked at when they are due"
            ),
        }
        loop {
            tokio::time::sleep(every).await;
            if indexes.refresh().await {
                let jobs = handler.patcher.replan().await;
                tracing::info!(jobs, "package indexes have changed");
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = looking => {}
    }
}

async fn bind(listeners: &[config::Listener]) -> anyhow::Result<Vec<(Listener, Option<Arc<str>>)>> {
    let mut bound = Vec::with_capacity(listeners.len());
    for listener in listeners {
        let tls = listener.tls.as_ref().map(|tls| (tls.cert.as_path(), tls.key.as_path()));
        bound.push((
            Listener::bind(listener.address, tls).await?,
            listener.default_upstream.as_deref().map(Arc::from),
        ));
    }
    Ok(bound)
}

/// The table of upstreams.
///
/// # Errors
/// When one cannot be used.
pub(crate) fn table(upstreams: Vec<config::Upstream>, cache: &config::Cache) -> anyhow::Result<Table> {
    let sites = upstreams.into_iter().map(|upstream| {
        let name: Arc<str> = upstream.name.as_str().into();
        let client = Client::new(Settings {
            name: Arc::clone(&name),
            url: upstream.url.as_str().to_owned(),
            user: upstream
                .credentials
                .map(|user| (user.username, user.password.expose().to_owned())),
            token_realms: upstream.token_realms,
            ca: upstream.ca,
            header_timeout: cache.upstream_timeout,
            stall_timeout: cache.stall_timeout,
        });
        let client = client.with_context(|| format!("cannot use the upstream {name}"))?;
        Ok(Site {
            name,
            upstream: Arc::new(client),
            docker_library: upstream.docker_library,
        })
    });
    Ok(Table::new(sites.collect::<anyhow::Result<Vec<_>>>()?))
}

async fn stopped() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
