//! The engine that runs the image's own package manager in BuildKit.
//!
//! BuildKit reads the base image from our store through its session and writes only the new layer back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use patchport_buildkit::llb::{self, State};
use patchport_buildkit::{
    Address, AddressError, AutoOptions, Client, Compression, DockerOptions, Endpoint, Exporter, Progress, Solve,
    SolveError, SolveErrorKind, Tls, TlsError,
};
use patchport_config as config;
use patchport_oci::manifest::Content;
use patchport_oci::{Digest, Manifest, Platform, media_type};
use tempfile::NamedTempFile;

use super::builds;
use super::content::SolveContent;
use super::detour::DETOUR;
use super::job::now;
use super::recipe::{self, Ending, Recipe};
use super::{Base, Detour, Engine, EngineError, Environment, Order, Platforms, RawLayer};
use crate::blobs::Blobs;
use crate::plan::{Plan, Tool};
use crate::respond::chain;
use crate::sources::Sources;

/// The largest file that an upgrade may write, in bytes: an image that fills the disk is stopped before its time is over.
const MAX_FILE: i64 = 4 << 30;

/// Hears of what a build does as it happens, and for which plan; it should return quickly.
pub type Watch = Arc<dyn Fn(&Plan, &Progress) + Send + Sync>;

/// BuildKit, at one address.
pub struct BuildKit {
    client: Client,
    blobs: Arc<Blobs>,
    scratch: std::path::PathBuf,
    timeout: Duration,
    watch: Option<Watch>,
    sources: Sources,
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
    /// BuildKit at one of the operator's addresses; a `buildkitd` of our own would live in `state`. Connects when it is needed.
    ///
    /// # Errors
    /// [`SetupError`] when the address or the certificates are not usable.
    pub fn new(
        settings: &config::BuildKit,
        address: &str,
        timeout: Duration,
        state: &Path,
        environment: Environment,
        blobs: &Arc<Blobs>,
        scratch: &Path,
    ) -> Result<Self, SetupError> {
        let address: Address = address.parse()?;
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
            docker: DockerOptions {
                host: environment.docker_host,
                certificates: environment.docker_certificates,
                ..DockerOptions::default()
            },
            ..AutoOptions::default()
        };
        Ok(Self {
            client: Client::new(Endpoint { address, tls, auto }),
            blobs: Arc::clone(blobs),
            scratch: scratch.to_owned(),
            timeout,
            watch: None,
            sources: Sources::default(),
        })
    }

    /// The same, under a source policy.
    #[must_use]
    pub fn judged(mut self, sources: Sources) -> Self {
        self.sources = sources;
        self
    }

    /// The same, watched.
    #[must_use]
    pub fn watched(mut self, watch: Watch) -> Self {
        self.watch = Some(watch);
        self
    }
}

#[async_trait]
impl Engine for BuildKit {
    async fn platforms(&self) -> Result<Platforms, EngineError> {
        let workers = self.client.workers().await;
        let workers = workers.map_err(|error| EngineError::Unreachable { reason: chain(&error) })?;
        let mut all = Platforms::default();
        for worker in &workers {
            let Some(native) = worker.native_platform() else {
                continue;
            };
            let runs = |platform: &llb::Platform| {
                platform.os == native.os
                    && (platform.architecture == native.architecture
                        // An amd64 processor runs 386 without an emulator.
                        || (native.architecture == "amd64" && platform.architecture == "386"))
            };
            let (own, emulated): (Vec<_>, Vec<_>) = worker.platforms.iter().partition(|platform| runs(platform));
            let named = |platforms: Vec<&llb::Platform>| {
                let platforms = platforms.into_iter();
                platforms
                    .map(|platform| Platform::new(&platform.os, &platform.architecture, &platform.variant))
                    .collect()
            };
            all = all.and(Platforms {
                native: named(own),
                emulated: named(emulated),
            });
        }
        Ok(all)
    }

    async fn run(&self, plan: &Plan, base: &Base, order: &Order) -> Result<Option<RawLayer>, EngineError> {
        let recipe = recipe::of(plan.tool);
        let platform = llb::Platform::new(plan.platform.os.clone(), plan.platform.architecture.clone())
            .with_variant(plan.platform.variant.clone());
        let image = State::oci_layout("patchport", &base.name, &base.manifest.digest.to_string(), &platform);
        let upgrade = || own_tool(recipe, &image, plan, base);
        let packages = base.packages.as_deref();
        let install = packages.and_then(|packages| {
            let exec = match base.helper.as_deref() {
                Some(helping) => {
                    let digest = helping.manifest.digest.to_string();
                    let helper = State::oci_layout("patchport", &helping.place.to_string(), &digest, &platform);
                    recipe::helper::install(&helper, &image, helping, plan, &packages.paths, &run())
                }
                None => recipe.install(&image, plan, &packages.paths, &run())?,
            };
            let digest = Digest::of(&packages.manifest).to_string();
            let mounted = State::oci_layout("patchport", "patchport.invalid/packages", &digest, &platform);
            Some(exec.bind(recipe::PACKAGES, &mounted))
        });
        if let Some(exec) = install {
            match self.solve(plan, base, exec, &platform, order).await {
                Err((Some(Ending::Incomplete), error)) => {
                    let Some(exec) = upgrade()? else { return Err(error) };
                    tracing::info!(image.digest = %plan.image, %error, "the image's own tool is tried");
                    return self
                        .solve(plan, base, exec, &platform, order)
                        .await
                        .map_err(|(_, error)| error);
                }
                ended => {
                    let raw = ended.map_err(|(_, error)| error)?;
                    return Ok(raw.map(|raw| RawLayer {
                        from_packages: true,
                        ..raw
                    }));
                }
            }
        }
        let exec = upgrade()?.ok_or_else(|| EngineError::Upgrade {
            reason: format!("the image's {} can only install packages that Patchport fetches, and the package indexes do not say all that these upgrades need", plan.tool),
        })?;
        self.solve(plan, base, exec, &platform, order)
            .await
            .map_err(|(_, error)| error)
    }

    async fn shut_down(&self) {
        self.client.shutdown().await;
    }
}

/// What differs from run to run.
fn run() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The upgrade by the image's own tool, which is told what the operator says of its repositories; nothing where it has no part.
fn own_tool(recipe: &dyn Recipe, image: &State, plan: &Plan, base: &Base) -> Result<Option<llb::Exec>, EngineError> {
    let Some(exec) = recipe.upgrade(image, plan, &run()).filter(|_| base.own_tool) else {
        return Ok(None);
    };
    let detour = base
        .detour
        .as_ref()
        .map_err(|reason| EngineError::Upgrade { reason: reason.clone() })?;
    if detour.is_empty() {
        return Ok(Some(exec));
    }
    let exec = detour
        .variables()
        .fold(exec.env("DETOUR", DETOUR), |exec, (name, value)| exec.env(name, value));
    Ok(Some(detour.paths().fold(exec, |exec, path| {
        exec.secret(format!("{DETOUR}/{path}"), path)
    })))
}

impl BuildKit {
    /// Runs a recipe; an error comes with what it is to the recipe, where that is known.
    async fn solve(
        &self,
        plan: &Plan,
        base: &Base,
        exec: llb::Exec,
        platform: &llb::Platform,
        order: &Order,
    ) -> Result<Option<RawLayer>, (Option<Ending>, EngineError)> {
        let started = now();
        // What writes times of its own takes this one, so that the same plan gives the same layer: rpm's database has them.
        let exec = exec.env("SOURCE_DATE_EPOCH", made(&base.config).to_string());
        let content = Arc::new(SolveContent::new(base, Arc::clone(&self.blobs), self.scratch.clone()));
        let solve = Solve {
            definition: exec.platform(platform).limit("fsize", MAX_FILE).run().definition(),
            exporter: Exporter::new(Compression::Uncompressed).config(&String::from_utf8_lossy(&base.config)),
            content: Arc::clone(&content) as Arc<dyn patchport_buildkit::Content>,
            secrets: base.detour.as_ref().map(Detour::secrets).unwrap_or_default(),
            source_policy: self.sources.policy().cloned(),
            timeout: self.timeout,
        };
        let told = |event: Progress| {
            order.log.progress(&event);
            if let Some(watch) = &self.watch {
                watch(plan, &event);
            }
            progress(event);
        };
        let solved = self.client.solve(&solve, told).await;
        let solved = solved.map_err(|error| failed(&error, plan.tool, self.timeout))?;
        let tar = taken(&content, &solved.digest, base).map_err(|reason| (None, EngineError::Result { reason }))?;
        let info = self.client.info().await;
        let engine = info.map_or_else(|_| String::new(), |info| format!("buildkit {}", info.version));
        Ok(tar.map(|tar| RawLayer {
            tar,
            started,
            from_packages: false,
            engine,
        }))
    }
}

/// When an image was made, in seconds since the epoch; zero when it does not say.
fn made(config: &[u8]) -> i64 {
    #[derive(serde::Deserialize)]
    struct Config {
        created: Option<String>,
    }
    let config: Option<Config> = serde_json::from_slice(config).ok();
    let created: Option<jiff::Timestamp> = config.and_then(|config| config.created?.parse().ok());
    created.map_or(0, |created| created.as_second().max(0))
}

/// The new layer out of what BuildKit sent; nothing when there is none.
fn taken(content: &SolveContent, digest: &str, base: &Base) -> Result<Option<NamedTempFile>, String> {
    let manifest = content.take(digest).ok_or("it sent no manifest")?;
    let manifest = std::fs::read(manifest.path()).map_err(|error| error.to_string())?;
    let manifest = Manifest::parse(manifest, media_type::OCI_MANIFEST).map_err(|error| chain(&error))?;
    let Content::Image { config, .. } = &manifest.content else {
        return Err("it is no image".into());
    };
    let stands = || {
        let config = content.take(&config.digest.to_string())?;
        let (old, new) = (diff_ids(&base.config)?, diff_ids(&std::fs::read(config.path()).ok()?)?);
        Some(!old.is_empty() && new.starts_with(&old))
    };
    let Some(digest) = added(&base.manifest, &manifest, || stands().unwrap_or(false))? else {
        return Ok(None);
    };
    let tar = content.take(&digest).ok_or("it did not send the new layer")?;
    Ok(Some(tar))
}

/// The digests of the tars that an image's layers are, lowest first.
fn diff_ids(config: &[u8]) -> Option<Vec<Digest>> {
    let config: serde_json::Value = serde_json::from_slice(config).ok()?;
    let listed = config.pointer("/rootfs/diff_ids")?.as_array()?.iter();
    listed.map(|digest| digest.as_str()?.parse().ok()).collect()
}

/// The layer that the result has on top of its base. Where BuildKit has had a layer of the base before, of another image and in
/// another compression, it names that one: then `stands` tells whether the layers are the same inside.
fn added(base: &Manifest, result: &Manifest, stands: impl FnOnce() -> bool) -> Result<Option<String>, String> {
    let (Content::Image { layers: old, .. }, Content::Image { layers: new, .. }) = (&base.content, &result.content)
    else {
        return Err("it is no image".into());
    };
    let same = || old.iter().zip(new.iter()).all(|(old, new)| old.digest == new.digest);
    if old.len() > new.len() || !(same() || stands()) {
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

fn failed(error: &SolveError, tool: Tool, limit: Duration) -> (Option<Ending>, EngineError) {
    let (mut ending, mut reason) = (None, chain(error));
    if let SolveError::ExecFailed { exit_code, log, .. } = error {
        let (comes_to, meaning) = recipe::explain(tool, i64::from(*exit_code));
        let tail: Vec<&str> = log.lines().rev().take(5).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        ending = Some(comes_to);
        reason = format!("{meaning}, exit code {exit_code}: {}", tail.join(" | "));
    }
    // What ran in the image may have said anything.
    let reason = builds::one_line(&reason);
    let error = match error.kind() {
        SolveErrorKind::Unreachable | SolveErrorKind::SessionLost => EngineError::Unreachable { reason },
        SolveErrorKind::TimedOut => EngineError::TimedOut { limit },
        SolveErrorKind::ExecFailed if ending == Some(Ending::NotOffered) => EngineError::NotOffered { reason },
        SolveErrorKind::ExecFailed => EngineError::Upgrade { reason },
        SolveErrorKind::MissingCapability | SolveErrorKind::Other => EngineError::Result { reason },
    };
    (ending, error)
}
