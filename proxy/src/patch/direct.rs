//! The direct way: no container at all. Fetched packages are unpacked over the image's files, as its layers name them, into one layer;
//! for images that have nothing to run (distroless), and for those of apk where nothing would have to run. Any architecture, no worker,
//! no privileges.

use std::io::{BufReader, Read, Seek as _};
use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use patchport_oci::manifest::Content;
use patchport_oci::{Descriptor, Digest};
use patchport_packages::direct::{self, About, Incoming, Outcome, Refusal};
use patchport_packages::layer::{Files, LayerTree, Limits, Tree, Watch};
use patchport_packages::{apk, deb, rpm};
use tempfile::NamedTempFile;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::job::Patcher;
use super::packages::PackageFile;
use super::{ENGINE, EngineError, PatchError, RawLayer};
use crate::depot::{DepotError, Identity, Package};
use crate::flight::Interrupted;
use crate::inspect;
use crate::plan::{LeftOut, Plan, Tool};
use crate::respond::chain;
use crate::scan::Subject;
use crate::turns::Turns;

/// How many layers are read at once.
const PARALLEL: usize = 4;

/// How many images are patched this way at once, each holding a processor: those that somebody waits for take all, the others half.
pub(super) fn turns() -> Turns {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Turns::new(processors / 2, processors.max(2))
}

/// A package with its files in the scratch folder.
type Unpacked = Incoming<NamedTempFile>;

impl Patcher {
    /// The layer of a plan, and what it was made from.
    ///
    /// # Errors
    /// [`PatchError::LeftOut`] when the plan has packages that cannot be taken this way; without those it may do.
    pub(super) async fn direct(
        &self,
        plan: &Plan,
        subject: &Subject,
    ) -> Result<(RawLayer, Vec<PackageFile>), PatchError> {
        let supply = self.parts.scanners.packages(subject, &plan.upgrades).await;
        let packages = supply.map(|supply| supply.packages);
        let packages = packages.filter(|packages| packages.len() == plan.upgrades.len()).ok_or_else(|| {
            let reason = "the package indexes do not say where all that its upgrades need comes from, and it has no package manager that could find out";
            PatchError::Unsupported(reason.to_owned())
        })?;
        let fetches = packages.iter().map(|package| self.parts.depot.fetch(package));
        let digests = futures_util::future::try_join_all(fetches).await.map_err(stale)?;
        let (mut incoming, mut refused) = (Vec::with_capacity(packages.len()), Vec::new());
        for ((package, digest), upgrade) in packages.iter().zip(&digests).zip(&plan.upgrades) {
            match self.unpack(plan.tool, package, digest, &upgrade.architecture).await {
                Err(PatchError::LeftOut(more)) => refused.extend(more),
                unpacked => incoming.push(unpacked?),
            }
        }
        refused.extend(direct::refusals(&incoming).into_iter().map(self::refused));
        if !refused.is_empty() {
            return Err(PatchError::LeftOut(refused));
        }
        let parts = &self.parts;
        let files = inspect::files(&subject.manifest, &subject.place, &parts.library, &parts.catalog).await?;
        let files = Arc::new(files.unwrap_or_default());
        let (watch, incoming) = watched(Arc::clone(&files), incoming).await?;
        let tree = self.tree(subject, watch).await?;
        let raw = composed(files, tree, incoming, &parts.scratch).await?;
        let files = packages
            .iter()
            .zip(digests)
            .map(|(package, digest)| PackageFile::of(&parts.depot, package, digest))
            .collect();
        Ok((raw, files))
    }

    /// Unpacks a package that was fetched.
    async fn unpack(
        &self,
        tool: Tool,
        package: &Package,
        digest: &Digest,
        architecture: &str,
    ) -> Result<Unpacked, PatchError> {
        let content = self.parts.depot.blobs().stored(digest).await?;
        let gone = || PatchError::Depot(DepotError::Interrupted(Interrupted));
        let stream = content.ok_or_else(gone)?.stream(None).map_err(std::io::Error::other);
        let reader = SyncIoBridge::new(StreamReader::new(stream.boxed()));
        let (package, architecture) = (package.clone(), architecture.to_owned());
        let scratch = self.parts.scratch.clone();
        let work = move || {
            let mut data = NamedTempFile::new_in(scratch).map_err(scratch_error)?;
            let about = about(tool, &package, &architecture, reader, data.as_file_mut())?;
            Ok(Incoming {
                name: package.name,
                architecture,
                about,
                data,
            })
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Interrupted)?
    }

    /// What the image has, by its layers.
    pub(super) async fn tree(&self, subject: &Subject, watch: Watch) -> Result<Tree, PatchError> {
        let layers: &[Descriptor] = match &subject.manifest.content {
            Content::Image { layers, .. } => layers,
            Content::Index { .. } => &[],
        };
        let watch = Arc::new(watch);
        let mut reads = Vec::with_capacity(layers.len());
        for layer in layers {
            let watch = Arc::clone(&watch);
            let work = move |reader| LayerTree::read(reader, &watch, &Limits::default());
            reads.push(inspect::read_with(layer, &subject.place, &self.parts.library, work));
        }
        let mut reads = futures_util::stream::iter(reads).buffered(PARALLEL);
        let (mut tree, mut layers) = (Tree::default(), layers.iter());
        while let Some(read) = reads.try_next().await? {
            let digest = layers.next().map(|layer| layer.digest.clone());
            let applied = tokio::task::spawn_blocking(move || tree.apply(read).map(|()| tree)).await;
            tree = applied.map_err(|_| Interrupted)?.map_err(|error| {
                let digest = digest.map(|digest| digest.to_string()).unwrap_or_default();
                PatchError::Unsupported(format!("layer {digest}: {}", chain(&error)))
            })?;
        }
        Ok(tree)
    }
}

/// What a package says about itself; its files go to `data`.
fn about(
    tool: Tool,
    package: &Package,
    architecture: &str,
    reader: impl Read,
    data: &mut std::fs::File,
) -> Result<About, PatchError> {
    let name = &package.name;
    match (tool, &package.identity) {
        (Tool::Manifest, _) => rpm::unpack(reader, data)
            .map(|head| About::Rpm(Box::new(head)))
            .map_err(|error| match error {
                rpm::FileError::Write(error) => scratch_error(error),
                error => broken(name, &error),
            }),
        (Tool::Apk | Tool::ApkFiles, Identity::Apk(checksum)) => {
            let version = package.version.to_string();
            let head = apk::unpack(BufReader::new(reader), name, &version, checksum, data);
            head.map(|head| About::Apk(Box::new(head)))
                .map_err(|error| match error {
                    apk::PackageError::Write(error) => scratch_error(error),
                    apk::PackageError::Version3 => PatchError::LeftOut(vec![Refused {
                        name: name.clone(),
                        architecture: architecture.to_owned(),
                        reason: error.to_string(),
                    }]),
                    error => broken(name, &error),
                })
        }
        _ => deb::read(reader, data).map(About::Debian).map_err(|error| match error {
            deb::Error::Write(error) => scratch_error(error),
            error => broken(name, &error),
        }),
    }
}

async fn watched(files: Arc<Files>, mut incoming: Vec<Unpacked>) -> Result<(Watch, Vec<Unpacked>), PatchError> {
    let work = move || direct::watch(&files, &mut incoming).map(|watch| (watch, incoming));
    let watched = tokio::task::spawn_blocking(work).await.map_err(|_| Interrupted)?;
    watched.map_err(|error| failed(&error))
}

async fn composed(
    files: Arc<Files>,
    tree: Tree,
    mut incoming: Vec<Unpacked>,
    scratch: &Path,
) -> Result<RawLayer, PatchError> {
    let scratch = scratch.to_owned();
    let work = move || {
        let mut tar = NamedTempFile::new_in(scratch).map_err(scratch_error)?;
        let mut output = std::io::BufWriter::new(tar.as_file_mut());
        let outcome = direct::compose(&files, tree, &mut incoming, &mut output);
        let outcome = outcome.map_err(|error| failed(&error))?;
        output.into_inner().map_err(|error| scratch_error(error.into_error()))?;
        tar.rewind().map_err(scratch_error)?;
        match outcome {
            Outcome::Refused(refusals) => Err(PatchError::LeftOut(refusals.into_iter().map(refused).collect())),
            Outcome::Layer { notes } => {
                for note in notes {
                    tracing::info!(note, "a configuration file stays");
                }
                Ok(RawLayer {
                    tar,
                    // Nothing in it was written by a run: all times are those of the packages.
                    started: u64::MAX,
                    from_packages: true,
                    engine: ENGINE.to_owned(),
                })
            }
        }
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| Interrupted)?
}

/// Takes out of a plan what cannot be done; nothing when that leaves nothing.
pub(super) fn without(mut plan: Plan, refused: &[Refused], left_out: &mut Vec<LeftOut>) -> Option<Plan> {
    let reason = |name: &str, architecture: &str| {
        let found = refused
            .iter()
            .find(|one| one.name == name && one.architecture == architecture);
        found.map(|found| found.reason.clone())
    };
    let (gone, stay) = plan
        .upgrades
        .into_iter()
        .partition(|upgrade| reason(&upgrade.name, &upgrade.architecture).is_some());
    plan.upgrades = stay;
    let gone: Vec<crate::plan::Upgrade> = gone;
    left_out.extend(gone.into_iter().map(|upgrade| LeftOut {
        reason: reason(&upgrade.name, &upgrade.architecture).unwrap_or_default(),
        name: upgrade.name,
        architecture: upgrade.architecture,
        installed: upgrade.from,
        fixed: Some(upgrade.to),
    }));
    (!plan.upgrades.is_empty()).then_some(plan)
}

/// A package that cannot be taken this way, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The package's name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Why.
    pub reason: String,
}

fn refused(refusal: Refusal) -> Refused {
    let Refusal {
        name,
        architecture,
        reason,
    } = refusal;
    Refused {
        name,
        architecture,
        reason,
    }
}

/// A repository that has moved on has something newer.
fn stale(error: DepotError) -> PatchError {
    if error.is_stale() {
        PatchError::Engine(EngineError::NotOffered { reason: chain(&error) })
    } else {
        PatchError::Depot(error)
    }
}

fn broken(name: &str, error: &(dyn std::error::Error + 'static)) -> PatchError {
    PatchError::Unproven(format!("the package {name} cannot be used: {}", chain(error)))
}

fn failed(error: &direct::Error) -> PatchError {
    match error {
        direct::Error::Write(error) => PatchError::Scratch(error.to_string()),
        error => PatchError::Unproven(chain(error)),
    }
}

fn scratch_error(error: std::io::Error) -> PatchError {
    PatchError::Scratch(error.to_string())
}
