//! Wiring: the only file that names concrete implementations, and the order of start and stop.
//!
//! Store, catalog, listeners bound and logged, ready; then SIGTERM, drain with a deadline, stop. No function below this
//! sees the whole configuration.

use std::sync::Arc;

use anyhow::Context as _;
use moka::future::Cache;
use patchport_config::{self as config, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, Readiness};
use crate::answers::Answers;
use crate::blobs::Blobs;
use crate::catalog::Catalog;
use crate::handler::Handler;
use crate::patch::buildkit::BuildKit;
use crate::patch::{self, Patcher};
use crate::policy::Policy;
use crate::resolve::Resolver;
use crate::route::{Site, Table};
use crate::serve::{Listener, serve};
use crate::service::Registry;
use crate::store::disk::DiskStore;
use crate::tasks::Tasks;
use crate::upstream::client::{Client, Settings};

/// Runs the mirror until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: Config, environment: patch::Environment) -> anyhow::Result<()> {
    let tasks = Tasks::new();
    let directory = &config.store.dir;
    let store = DiskStore::open(directory).with_context(|| format!("cannot use the store {}", directory.display()))?;
    let catalog = Catalog::open(&directory.join("catalog.sqlite")).await?;

    let admin = Listener::bind(config.admin.address, None).await?;
    let mut listeners = Vec::new();
    for listener in &config.listeners {
        let tls = listener.tls.as_ref().map(|tls| (tls.cert.as_path(), tls.key.as_path()));
        listeners.push((Listener::bind(listener.address, tls).await?, listener.default_upstream.as_deref().map(Arc::from)));
    }

    let blobs = Arc::new(Blobs::new(Arc::new(store.clone()), tasks.clone()));
    let resolver = Arc::new(Resolver::new(catalog.clone(), config.cache.tag_ttl, tasks.clone()));
    let state = directory.join("buildkit");
    let (timeout, scratch) = (config.patch.timeout, store.scratch());
    let engine = BuildKit::new(&config.buildkit, timeout, &state, environment, Arc::clone(&blobs), scratch)?;
    let engine = Arc::new(engine);
    let parts = patch::Parts {
        catalog: catalog.clone(),
        resolver: Arc::clone(&resolver),
        blobs: Arc::clone(&blobs),
        engine: Arc::clone(&engine) as Arc<dyn patch::Engine>,
        scratch: scratch.to_owned(),
    };
    let handler = Arc::new(Handler {
        table: table(config.upstreams, &config.cache)?,
        policy: Policy::new(config.rules),
        resolver,
        patcher: Patcher::new(parts, config.patch, tasks.clone()),
        answers: Answers::default(),
        blobs,
        catalog: catalog.clone(),
        admitted: Cache::new(200_000),
        published: Cache::new(100_000),
    });

    let ready = Readiness::default();
    let (stop, connections) = (CancellationToken::new(), Arc::new(Semaphore::new(config.server.max_connections as usize)));
    let mut serving = tokio::task::JoinSet::new();
    tracing::info!(listener.kind = "admin", listener.address = %admin.address, "listening");
    // The admin listener has connections of its own: probes are answered however busy the mirror is.
    let probes = Arc::new(Semaphore::new(64));
    let admin_stop = CancellationToken::new();
    serving.spawn(serve(admin, Admin(ready.clone()), probes, tasks.clone(), admin_stop.clone()));
    for (listener, default_upstream) in listeners {
        tracing::info!(listener.kind = "registry", listener.address = %listener.address, listener.tls = listener.is_tls(), "listening");
        let registry = Registry { handler: Arc::clone(&handler), default_upstream };
        serving.spawn(serve(listener, registry, Arc::clone(&connections), tasks.clone(), stop.clone()));
    }
    ready.set(true);
    tracing::info!("ready");

    stopped().await?;
    let deadline = Instant::now() + config.server.shutdown_timeout;
    tracing::info!(patience_s = config.server.shutdown_timeout.as_secs(), "shutting down");
    ready.set(false);
    stop.cancel();
    admin_stop.cancel();
    let drained = tokio::time::timeout_at(deadline, async { while serving.join_next().await.is_some() {} }).await;
    let finished = tasks.shut_down(deadline.saturating_duration_since(Instant::now())).await;
    engine.shut_down().await;
    catalog.close().await;
    tracing::info!(drained = drained.is_ok() && finished, "stopped");
    Ok(())
}

fn table(upstreams: Vec<config::Upstream>, cache: &config::Cache) -> anyhow::Result<Table> {
    let sites = upstreams.into_iter().map(|upstream| {
        let name: Arc<str> = upstream.name.as_str().into();
        let client = Client::new(Settings {
            name: Arc::clone(&name),
            url: upstream.url.as_str().to_owned(),
            user: upstream.credentials.map(|user| (user.username, user.password.expose().to_owned())),
            token_realms: upstream.token_realms,
            ca: upstream.ca,
            header_timeout: cache.upstream_timeout,
            stall_timeout: cache.stall_timeout,
        });
        let client = client.with_context(|| format!("cannot use the upstream {name}"))?;
        Ok(Site { name, upstream: Arc::new(client), docker_library: upstream.docker_library })
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

