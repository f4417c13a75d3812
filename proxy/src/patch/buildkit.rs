//! The engine that runs the image's own package manager in BuildKit.
//!
//! BuildKit reads the base image from our store through its session and writes only the new layer back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moka::future::Cache;
use patchport_buildkit::llb::{self, State};
use patchport_buildkit::{
    Address, AddressError, AutoOptions, Client, Compression, Endpoint, Exporter, Progress, Solve, SolveError,
    SolveErrorKind, Tls, TlsError,
};
use patchport_config as config;
use patchport_oci::manifest::Content;
use patchport_oci::{Manifest, Platform, media_type};

use super::content::SolveContent;
use super::job::now;
use super::{Base, Engine, EngineError, Environment, RawLayer, apt};
use crate::blobs::Blobs;
use crate::plan::Plan;
use crate::respond::chain;

/// How long the list of a builder's platforms is believed.
const PLATFORMS_TTL: Duration = Duration::from_secs(60);

/// BuildKit, at one address.
pub struct BuildKit {
    client: Client,
    platforms: Cache<(), Vec<Platform>>,
    blobs: Arc<Blobs>,
    scratch: std::path::PathBuf,
    timeout: Duration,
}

/// Why BuildKit cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The address.
    #[error("buildkit.address")]
    Address(#[from] AddressError),
    /// The certificates.
    #[error("buildkit.ca, .cert or .key")]
    Tls(#[from] TlsError),
}

impl BuildKit {
    /// BuildKit as the operator wants it; a `buildkitd` of our own would live in `state`. Connects when it is needed.
    ///
    /// # Errors
    /// [`SetupError`] when the address or the certificates are not usable.
    pub fn new(
        settings: &config::BuildKit,
        timeout: Duration,
        state: &Path,
        environment: Environment,
        blobs: &Arc<Blobs>,
        scratch: &Path,
    ) -> Result<Self, SetupError> {
        let address: Address = settings.address.parse()?;
        let tls = match (&settings.ca, &settings.cert, &settings.key) {
            (Some(ca), Some(cert), Some(key)) => Some(Tls {
                ca: ca.clone(),
                cert: cert.clone(),
                key: key.clone(),
            }),
            _ => None,
        };
        let auto = AutoOptions {
            buildkit_host: environment.buildkit_host,
            path: environment.path,
            state_dir: state.to_owned(),
            ..AutoOptions::default()
        };
        Ok(Self {
            client: Client::new(Endpoint { address, tls, auto }),
            platforms: Cache::builder().max_capacity(1).time_to_live(PLATFORMS_TTL).build(),
            blobs: Arc::clone(blobs),
            scratch: scratch.to_owned(),
            timeout,
        })
    }

    /// Ends the connection, and a `buildkitd` of our own.
    pub async fn shut_down(&self) {
        self.client.shutdown().await;
    }
}

#[async_trait]
impl Engine for BuildKit {
    async fn platforms(&self) -> Result<Vec<Platform>, EngineError> {
        if let Some(platforms) = self.platforms.get(&()).await {
            return Ok(platforms);
        }
        let workers = self.client.workers().await;
        let workers = workers.map_err(|error| EngineError::Unreachable { reason: chain(&error) })?;
        let mut platforms = Vec::new();
        for worker in &workers {
            let Some(native) = worker.native_platform() else {
                continue;
            };
            let runs = |platform: &&llb::Platform| {
                platform.os == native.os
                    && (platform.architecture == native.architecture
                        // An amd64 processor runs 386 without an emulator.
                        || (native.architecture == "amd64" && platform.architecture == "386"))
            };
            platforms.extend(
                worker
                    .platforms
                    .iter()
                    .filter(runs)
                    .map(|platform| Platform::new(&platform.os, &platform.architecture, &platform.variant)),
            );
        }
        self.platforms.insert((), platforms.clone()).await;
        Ok(platforms)
    }

    async fn run(&self, plan: &Plan, base: &Base) -> Result<Option<RawLayer>, EngineError> {
        let platform = llb::Platform::new(plan.platform.os.clone(), plan.platform.architecture.clone())
            .with_variant(plan.platform.variant.clone());
        let image = State::oci_layout("patchport", &base.name, &base.manifest.digest.to_string(), &platform);
        let started = now();
        let state = apt::upgrade(&image, plan, &uuid::Uuid::new_v4().to_string())
            .platform(&platform)
            .run();
        let content = Arc::new(SolveContent::new(base, Arc::clone(&self.blobs), self.scratch.clone()));
        let solve = Solve {
            definition: state.definition(),
            exporter: Exporter::new(Compression::Uncompressed).config(&String::from_utf8_lossy(&base.config)),
            content: Arc::clone(&content) as Arc<dyn patchport_buildkit::Content>,
            timeout: self.timeout,
        };
        let solved = self
            .client
            .solve(&solve, progress)
            .await
            .map_err(|error| failed(&error, self.timeout))?;
        let unusable = |reason: &str| EngineError::Result {
            reason: reason.to_owned(),
        };
        let manifest = content
            .take(&solved.digest)
            .ok_or_else(|| unusable("it sent no manifest"))?;
        let manifest = std::fs::read(manifest.path()).map_err(|error| unusable(&error.to_string()))?;
        let manifest = Manifest::parse(manifest, media_type::OCI_MANIFEST).map_err(|error| unusable(&chain(&error)))?;
        let Some(digest) = added(&base.manifest, &manifest).map_err(|reason| unusable(&reason))? else {
            return Ok(None);
        };
        let tar = content
            .take(&digest)
            .ok_or_else(|| unusable("it did not send the new layer"))?;
        Ok(Some(RawLayer { tar, started }))
    }
}

/// The layer that the result has on top of its base.
fn added(base: &Manifest, result: &Manifest) -> Result<Option<String>, String> {
    let (Content::Image { layers: old, .. }, Content::Image { layers: new, .. }) = (&base.content, &result.content)
    else {
        return Err("it is no image".into());
    };
    let same = old.len() <= new.len() && old.iter().zip(new.iter()).all(|(old, new)| old.digest == new.digest);
    if !same {
        return Err("it does not stand on the layers of the original".into());
    }
    match &new[old.len()..] {
        [] => Ok(None),
        [layer] => Ok(Some(layer.digest.to_string())),
        more => Err(format!("it has {} new layers, one was expected", more.len())),
    }
}

fn progress(progress: Progress) {
    match progress {
        Progress::Log(line) => tracing::debug!(vertex = line.vertex, text = line.text, "builder"),
        other => tracing::debug!(progress = ?other, "builder"),
    }
}

fn failed(error: &SolveError, limit: Duration) -> EngineError {
    match error.kind() {
        SolveErrorKind::Unreachable | SolveErrorKind::SessionLost => EngineError::Unreachable { reason: chain(error) },
        SolveErrorKind::TimedOut => EngineError::TimedOut { limit },
        SolveErrorKind::ExecFailed if is_not_offered(error) => EngineError::NotOffered {
            reason: exec_failure(error),
        },
        SolveErrorKind::ExecFailed => EngineError::Upgrade {
            reason: exec_failure(error),
        },
        SolveErrorKind::MissingCapability | SolveErrorKind::Other => EngineError::Result { reason: chain(error) },
    }
}

fn is_not_offered(error: &SolveError) -> bool {
    matches!(error, SolveError::ExecFailed { exit_code, .. } if i64::from(*exit_code) == apt::NOT_OFFERED)
}

fn exec_failure(error: &SolveError) -> String {
    match error {
        SolveError::ExecFailed { exit_code, log, .. } => {
            let meaning = apt::explain(i64::from(*exit_code)).unwrap_or("the upgrade ended with an error");
            let tail: Vec<&str> = log.lines().rev().take(5).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            format!("{meaning}, exit code {exit_code}: {}", tail.join(" | "))
        }
        other => chain(other),
    }
}
