//! Originals to patched images: one job per image, one run per plan, however many ask.
//!
//! A job is detached: callers wait for it until their deadline, and it goes on when they leave. What it makes is published
//! blobs first, then manifests and decision in one switch.

use std::sync::Arc;

use async_trait::async_trait;
use patchport_oci::{Digest, Manifest};
use patchport_packages::inventory::{Changes, Installed};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::assemble::AssembleError;
use crate::blobs::{BlobError, Blobs};
use crate::catalog::{Catalog, CatalogError};
use crate::depot::{Depot, DepotError};
use crate::evidence::EvidenceError;
use crate::evidence::signature::Signer;
use crate::flight::{Interrupted, Urgency};
use crate::index::Indexes;
use crate::inspect::InspectError;
use crate::library::{Library, LibraryError};
use crate::plan::{self, NoPlan, Plan};
use crate::resolve::{ResolveError, Resolver};
use crate::route::Place;
use crate::scan::{ScanError, Scanners};
use crate::sources::{SourceError, Sources};
use crate::store::StoreError;

pub mod buildkit;
pub mod builds;
mod content;
mod detour;
mod direct;
mod evidence;
mod finish;
mod helper;
mod image;
mod index;
mod job;
mod layer;
mod once;
mod packages;
mod platforms;
mod recipe;
mod roster;
pub mod workers;

pub use detour::Detour;
pub use direct::Refused;
pub use helper::{Helpers, Helping};
pub use job::Patcher;
pub use once::Once;
pub use packages::{PackageFile, Packages};
pub use platforms::Platforms;
pub(crate) use recipe::{PACKAGES, REPOSITORIES};

/// What the environment says about where to find BuildKit.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `$BUILDKIT_HOST`.
    pub buildkit_host: Option<String>,
    /// `$PATH`.
    pub path: Option<std::ffi::OsString>,
    /// `$DOCKER_HOST`.
    pub docker_host: Option<String>,
    /// `$DOCKER_CERT_PATH`, where `$DOCKER_TLS_VERIFY` is set.
    pub docker_certificates: Option<std::path::PathBuf>,
}

/// The layer that a plan made; its blob is in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatchLayer {
    /// Media type of the blob.
    pub media_type: String,
    /// Digest of the blob.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Digest of the tar inside.
    pub diff_id: Digest,
    /// The newest time of a packaged file, in seconds since the epoch: the time of everything that was made on the way.
    pub epoch: u64,
    /// What the package database shows, before and after.
    pub changes: Changes,
    /// The upgraded packages as the package database has them after.
    #[serde(default)]
    pub now: Vec<Installed>,
    /// The packages that were fetched for it; none when the image's own tool fetched them.
    #[serde(default)]
    pub packages: Vec<PackageFile>,
    /// What made it, with its version; empty when that is not known.
    #[serde(default)]
    pub engine: String,
    /// The image whose package manager was used, where that was another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helper: Option<plan::Helper>,
}

impl PatchLayer {
    /// The time for the history entry: a function of the packages, not of the clock.
    pub fn created(&self) -> String {
        jiff::Timestamp::from_second(i64::try_from(self.epoch).unwrap_or_default())
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
            .to_string()
    }

    /// Whether it was made without a container.
    pub fn is_direct(&self) -> bool {
        self.engine.split_once(' ').is_some_and(|(name, _)| name == "patchport")
    }

    /// What was done, for people.
    pub fn summary(&self) -> String {
        let steps = self
            .changes
            .upgraded
            .iter()
            .map(|step| format!("{} {} -> {}", step.name, step.from, step.to));
        format!("patchport: upgraded {}", steps.collect::<Vec<_>>().join(", "))
    }
}

/// The image that an engine starts from.
#[derive(Clone)]
pub struct Base {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its configuration.
    pub config: bytes::Bytes,
    /// Its `host/repository`.
    pub name: String,
    /// Where its layers are, when the store lacks them. It may read them.
    pub place: Place,
    /// The packages of the plan, where they were fetched.
    pub packages: Option<Arc<Packages>>,
    /// Whether the image's own tool may fetch packages.
    pub own_tool: bool,
    /// What the image's own tool is told of its repositories, or why it cannot be told that.
    pub detour: Result<Detour, String>,
    /// The image that has the package manager, where that is another.
    pub helper: Option<Arc<Helping>>,
}

/// How a plan is to be carried out.
#[derive(Clone, Default)]
pub struct Order {
    /// Whether somebody waits for it.
    pub urgency: Urgency,
    /// Whether an emulator will do.
    pub emulation: bool,
    /// Where what happens is written down.
    pub log: builds::Log,
}

/// What makes a layer out of a plan.
#[async_trait]
pub trait Engine: Send + Sync {
    /// The platforms that it patches, asked anew.
    async fn platforms(&self) -> Result<Platforms, EngineError>;

    /// Carries out the plan. Gives the change to the file system as an uncompressed layer tar, `None` for no change.
    async fn run(&self, plan: &Plan, base: &Base, order: &Order) -> Result<Option<RawLayer>, EngineError>;

    /// Ends what it keeps open, and what it has started.
    async fn shut_down(&self) {}
}

/// What made a layer, where that was nobody but Patchport.
const ENGINE: &str = concat!("patchport ", env!("CARGO_PKG_VERSION"));

/// A layer as an engine leaves it.
pub struct RawLayer {
    /// The tar.
    pub tar: NamedTempFile,
    /// When the work began, in seconds since the epoch: files that are newer were made by it.
    pub started: u64,
    /// Whether it was made from the packages that were fetched.
    pub from_packages: bool,
    /// What made it, such as `buildkit v0.32.2`; empty when that cannot be told.
    pub engine: String,
}

/// Why an engine made no layer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no builder.
    #[error("BuildKit cannot be used: {reason}")]
    Unreachable {
        /// Why not, and what to do.
        reason: String,
    },
    /// The upgrade itself failed.
    #[error("the upgrade failed in the image: {reason}")]
    Upgrade {
        /// What it said.
        reason: String,
    },
    /// The image's repositories do not give what was planned: they have moved on since, or the builder sees others.
    #[error("the image's package repositories do not give the planned upgrades: {reason}")]
    NotOffered {
        /// What it said.
        reason: String,
    },
    /// It took too long.
    #[error("the upgrade did not end within {limit:?}")]
    TimedOut {
        /// The limit.
        limit: std::time::Duration,
    },
    /// It gave something that we cannot use.
    #[error("BuildKit's result cannot be used: {reason}")]
    Result {
        /// Why not.
        reason: String,
    },
}

impl EngineError {
    /// The same in other words, of which the engine's own are given. A limit has none.
    fn told(self, retell: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Unreachable { reason } => Self::Unreachable {
                reason: retell(&reason),
            },
            Self::Upgrade { reason } => Self::Upgrade {
                reason: retell(&reason),
            },
            Self::NotOffered { reason } => Self::NotOffered {
                reason: retell(&reason),
            },
            Self::Result { reason } => Self::Result {
                reason: retell(&reason),
            },
            Self::TimedOut { limit } => Self::TimedOut { limit },
        }
    }
}

/// Why there is no patched image.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PatchError {
    /// The patch is not ready yet; it goes on.
    #[error("its patch is not ready yet, and goes on in the background")]
    Late,
    /// What is in the image cannot be told.
    #[error("it cannot be inspected")]
    Inspect(#[source] Arc<InspectError>),
    /// The image is not of a kind that can be patched.
    #[error("it cannot be patched: {0}")]
    Unsupported(String),
    /// Its distribution is no longer maintained, and only what is may be patched.
    #[error(
        "{distribution} is no longer maintained since {last}, which is to fail (end_of_life = \"fail\" of the rule, or --exit-on-eol)"
    )]
    EndOfLife {
        /// The distribution.
        distribution: String,
        /// The last day of its support.
        last: String,
    },
    /// What is outdated in it cannot be told.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The operator's source policy has it otherwise.
    #[error(transparent)]
    Source(Box<SourceError>),
    /// There is no plan for it.
    #[error(transparent)]
    NoPlan(#[from] NoPlan),
    /// No worker runs its platform.
    #[error("no builder runs {platforms}; it runs {workers}")]
    NoWorker {
        /// The platforms of the image.
        platforms: String,
        /// Those of the workers.
        workers: String,
    },
    /// The image whose package manager it needs cannot be had.
    #[error("it has no package manager, and the helper image {image} for it cannot be had")]
    Helper {
        /// The helper image.
        image: String,
        /// Why not.
        #[source]
        source: Box<Self>,
    },
    /// Some of what was planned cannot be done in this image; the rest may be.
    #[error("these packages cannot be upgraded in it: {}", names(.0))]
    LeftOut(Vec<Refused>),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The result does not show what it should.
    #[error("the patched image was not believed: {0}")]
    Unproven(String),
    /// The patched manifest cannot be made.
    #[error(transparent)]
    Assemble(Arc<AssembleError>),
    /// A manifest cannot be had.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A blob cannot be had.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// What comes with a patched image cannot be made.
    #[error(transparent)]
    Evidence(Arc<EvidenceError>),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(Arc<CatalogError>),
    /// The store failed.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// A package cannot be had.
    #[error("its packages cannot be fetched")]
    Depot(#[from] DepotError),
    /// The scratch folder failed.
    #[error("the patch layer cannot be written: {0}")]
    Scratch(String),
    /// The job was cut off.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl PatchError {
    /// Whether the patch may still come.
    pub fn is_late(&self) -> bool {
        matches!(self, Self::Late)
    }

    /// Whether the same job would fail again at once, so that the next pull need not try.
    fn is_lasting(&self) -> bool {
        match self {
            Self::Engine(error) => match error {
                EngineError::Upgrade { .. }
                | EngineError::NotOffered { .. }
                | EngineError::TimedOut { .. }
                | EngineError::Result { .. } => true,
                EngineError::Unreachable { .. } => false,
            },
            Self::Inspect(error) => {
                matches!(**error, InspectError::Layer { .. } | InspectError::Packages { .. })
            }
            Self::Unproven(_)
            | Self::LeftOut(_)
            | Self::Assemble(_)
            | Self::Evidence(_)
            | Self::Unsupported(_)
            | Self::EndOfLife { .. }
            | Self::NoPlan(_)
            | Self::Source(_)
            | Self::Scan(_) => true,
            Self::Late
            | Self::NoWorker { .. }
            | Self::Helper { .. }
            | Self::Resolve(_)
            | Self::Blob(_)
            | Self::Depot(_)
            | Self::Catalog(_)
            | Self::Store(_)
            | Self::Scratch(_)
            | Self::Interrupted(_) => false,
        }
    }
}

fn names(refused: &[Refused]) -> String {
    let each = refused.iter().map(|one| format!("{} ({})", one.name, one.reason));
    each.collect::<Vec<_>>().join(", ")
}

impl From<SourceError> for PatchError {
    fn from(error: SourceError) -> Self {
        Self::Source(Box::new(error))
    }
}

impl From<LibraryError> for PatchError {
    fn from(error: LibraryError) -> Self {
        match error {
            LibraryError::Blob(error) => Self::Blob(error),
            LibraryError::Catalog(error) => Self::Catalog(error),
        }
    }
}

impl From<InspectError> for PatchError {
    fn from(error: InspectError) -> Self {
        Self::Inspect(Arc::new(error))
    }
}

impl From<CatalogError> for PatchError {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(Arc::new(error))
    }
}

impl From<StoreError> for PatchError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<EvidenceError> for PatchError {
    fn from(error: EvidenceError) -> Self {
        Self::Evidence(Arc::new(error))
    }
}

impl From<AssembleError> for PatchError {
    fn from(error: AssembleError) -> Self {
        Self::Assemble(Arc::new(error))
    }
}

/// What a [`Patcher`] works with.
pub struct Parts {
    /// What we remember.
    pub catalog: Catalog,
    /// Where manifests come from.
    pub resolver: Arc<Resolver>,
    /// Where blobs go to.
    pub blobs: Arc<Blobs>,
    /// Where blobs come from, for those who may read them.
    pub library: Arc<Library>,
    /// What tells what is outdated.
    pub scanners: Scanners,
    /// How package repositories are reached.
    pub indexes: Arc<Indexes>,
    /// Which sources may be used.
    pub sources: Sources,
    /// Where packages come from.
    pub depot: Arc<Depot>,
    /// Images with package managers, for images that have none.
    pub helpers: Helpers,
    /// What makes layers.
    pub engine: Arc<dyn Engine>,
    /// Where the logs of builds are kept.
    pub builds: builds::Builds,
    /// Who signs what is made, if anybody.
    pub signer: Option<Signer>,
    /// A folder for layers on their way.
    pub scratch: std::path::PathBuf,
}

#[cfg(test)]
mod tests;
