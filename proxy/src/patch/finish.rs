//! An engine's raw layer to a [`PatchLayer`]: made deterministic, proven, compressed, stored.
//!
//! A fix is claimed only for what the package database in the layer shows.

use std::io::{self, Read as _, Seek as _, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use patchport_config::Compression;
use patchport_oci::digest::Algorithm;
use patchport_oci::{Digest, Hasher, media_type};
use patchport_packages::inventory::{Changes, Installed, Manager, Upgrade, changes, replaces};
use patchport_packages::layer::{self, LayerFiles, Node, Normalise, normalise};
use patchport_packages::{Inventory, apk, dpkg};
use tempfile::NamedTempFile;

use super::{PackageFile, PatchError, PatchLayer, RawLayer};
use crate::blobs::Blobs;
use crate::flight::Interrupted;
use crate::inspect;
use crate::plan::{self, Plan, is_major};
use crate::respond::chain;

/// zstd's own default: half the time of level 9 for 5 % more bytes.
const ZSTD_LEVEL: i32 = 3;
/// A constant, for the number of workers must not change the bytes.
const ZSTD_WORKERS: u32 = 2;

/// What a layer is finished with.
pub(super) struct Finishing {
    /// What was to be done.
    pub(super) plan: Plan,
    /// What was installed before.
    pub(super) before: Arc<Inventory>,
    /// What is kept of the image's layers, the top first.
    pub(super) below: Vec<LayerFiles>,
    /// The fetched packages that the layer was made from.
    pub(super) packages: Vec<PackageFile>,
}

/// A layer, its files that tell what is in it, and where it is.
type Written = (PatchLayer, LayerFiles, NamedTempFile);

impl Finishing {
    /// Turns what the engine made into a layer in the store, and gives its files that tell what is in it; `None` when no package
    /// changed.
    ///
    /// # Errors
    /// [`PatchError::Unproven`] when the result does not show an upgrade and nothing but upgrades.
    pub(super) async fn finish(
        self,
        raw: RawLayer,
        blobs: &Blobs,
        scratch: &std::path::Path,
    ) -> Result<Option<(PatchLayer, LayerFiles)>, PatchError> {
        let folder = scratch.to_owned();
        let written = tokio::task::spawn_blocking(move || self.write(raw, folder)).await;
        let Some(written) = written.map_err(|_| Interrupted)?? else {
            return Ok(None);
        };
        let (mut layer, files, mut file) = written;
        let mut ingest = blobs.store().ingest().await?;
        loop {
            let (chunk, rest) = tokio::task::spawn_blocking(move || {
                let mut chunk = Vec::with_capacity(1 << 20);
                let read = file.as_file_mut().take(1 << 20).read_to_end(&mut chunk);
                read.map(|_| (Bytes::from(chunk), file))
            })
            .await
            .map_err(|_| Interrupted)?
            .map_err(scratch_error)?;
            file = rest;
            if chunk.is_empty() {
                break;
            }
            layer.size += chunk.len() as u64;
            ingest.write(chunk).await?;
        }
        ingest.commit(&layer.digest).await?;
        Ok(Some((layer, files)))
    }

    /// Normalises and compresses the layer into a file, and proves it.
    fn write(self, raw: RawLayer, folder: PathBuf) -> Result<Option<Written>, PatchError> {
        let out = NamedTempFile::new_in(folder).map_err(scratch_error)?;
        let compression = self.plan.compression;
        let mut rules = Normalise::new(raw.started, 0);
        rules.wanted = inspect::wanted();
        let outer = Hashing::new(out);
        let (normalised, diff_id, outer) = match compression {
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(outer, ZSTD_LEVEL).map_err(scratch_error)?;
                encoder.multithread(ZSTD_WORKERS).map_err(scratch_error)?;
                let mut inner = Hashing::new(encoder);
                let normalised = normalise(raw.tar.as_file(), &mut inner, &rules).map_err(unusable)?;
                let (encoder, diff_id) = inner.finish();
                (normalised, diff_id, encoder.finish().map_err(scratch_error)?)
            }
            Compression::Gzip => {
                let mut inner = Hashing::new(flate2::write::GzEncoder::new(outer, flate2::Compression::default()));
                let normalised = normalise(raw.tar.as_file(), &mut inner, &rules).map_err(unusable)?;
                let (encoder, diff_id) = inner.finish();
                (normalised, diff_id, encoder.finish().map_err(scratch_error)?)
            }
        };
        let (mut file, digest) = outer.finish();
        file.rewind().map_err(scratch_error)?;
        if normalised.is_empty {
            return Ok(None);
        }
        let Some((changes, now)) = self.prove(&normalised.files)? else {
            return Ok(None);
        };
        let media_type = match compression {
            Compression::Zstd => media_type::OCI_LAYER_ZSTD,
            Compression::Gzip => media_type::OCI_LAYER_GZIP,
        };
        let (media_type, epoch) = (media_type.to_owned(), normalised.epoch);
        Ok(Some((
            PatchLayer {
                media_type,
                digest,
                size: 0,
                diff_id,
                epoch,
                changes,
                now,
                packages: self.packages,
                engine: String::new(),
                helper: self.plan.helper,
            },
            normalised.files,
            file,
        )))
    }

    /// Reads the packages of the result and compares them with those before: the changes, and the upgraded packages as they are
    /// now. `None` when no package changed.
    fn prove(&self, layer: &LayerFiles) -> Result<Option<(Changes, Vec<Installed>)>, PatchError> {
        let (plan, before) = (&self.plan, &*self.before);
        let after = layer::merge(std::iter::once(layer).chain(&self.below));
        match before.manager {
            Manager::Dpkg => settled(layer)?,
            Manager::Apk => unbroken(layer)?,
            _ => {}
        }
        let after = Inventory::read(&after)
            .map_err(|error| PatchError::Unproven(format!("its packages cannot be read: {}", chain(&error))))?;
        if after.manager != before.manager {
            return Err(PatchError::Unproven(
                "its packages are kept in another way than before".to_owned(),
            ));
        }
        if before.manager == Manager::Rpm {
            single(before, &after)?;
        }
        let changes = changes(before, &after);
        let names = |list: &mut dyn Iterator<Item = &str>| list.collect::<Vec<_>>().join(", ");
        if !changes.removed.is_empty() {
            let removed = names(&mut changes.removed.iter().map(|package| package.name.as_str()));
            return Err(PatchError::Unproven(format!("packages were removed: {removed}")));
        }
        if !changes.downgraded.is_empty() {
            let older = names(&mut changes.downgraded.iter().map(|package| package.name.as_str()));
            return Err(PatchError::Unproven(format!("packages became older: {older}")));
        }
        let held = |step: &&Upgrade| {
            before
                .held
                .iter()
                .any(|held| held.name == step.name && held.architecture == step.architecture)
        };
        if let Some(step) = changes.upgraded.iter().find(held) {
            return Err(PatchError::Unproven(format!(
                "{} was upgraded, though it is on hold",
                step.name
            )));
        }
        fulfils(&after, &changes, plan)?;
        let is_new = |package: &Installed| {
            let same = |step: &Upgrade| step.name == package.name && step.architecture == package.architecture;
            changes.upgraded.iter().any(same)
        };
        let now = after.packages.into_iter().filter(is_new).collect();
        Ok((!changes.upgraded.is_empty()).then_some((changes, now)))
    }
}

/// Puts bytes that we made into the store.
///
/// # Errors
/// Those of the store.
pub(super) async fn keep(blobs: &Blobs, digest: &Digest, bytes: Bytes) -> Result<(), PatchError> {
    let mut ingest = blobs.store().ingest().await?;
    ingest.write(bytes).await?;
    Ok(ingest.commit(digest).await?)
}

/// Whether the result has what was planned, and nothing went where the plan does not lead.
fn fulfils(after: &Inventory, changes: &Changes, plan: &Plan) -> Result<(), PatchError> {
    let has = |upgrade: &&plan::Upgrade| {
        let same = |package: &Installed| {
            package.name == upgrade.name && replaces(&package.architecture, &upgrade.architecture)
        };
        !after
            .packages
            .iter()
            .any(|package| same(package) && package.version >= upgrade.to)
    };
    if let Some(missed) = plan.upgrades.iter().find(has) {
        let (name, to) = (&missed.name, &missed.to);
        return Err(PatchError::Unproven(format!("{name} is not at {to} as was planned")));
    }
    let planned = |step: &Upgrade| {
        let same = |upgrade: &plan::Upgrade| upgrade.name == step.name && upgrade.exact && upgrade.to == step.to;
        plan.upgrades.iter().any(same)
    };
    let strays = |step: &&Upgrade| !plan.major_upgrades && is_major(&step.from, &step.to) && !planned(step);
    match changes.upgraded.iter().find(strays) {
        Some(Upgrade { name, from, to, .. }) => Err(PatchError::Unproven(format!(
            "{name} went from {from} to {to}, another major version"
        ))),
        None => Ok(()),
    }
}

/// Whether dpkg has finished with all packages.
fn settled(layer: &LayerFiles) -> Result<(), PatchError> {
    const STATUS: &str = "var/lib/dpkg/status";
    let Some(Node::File(status)) = layer.node(STATUS) else {
        let found = "files have changed, but not the package database";
        return Err(PatchError::Unproven(found.to_owned()));
    };
    let packages = dpkg::read(STATUS, dpkg::Kind::Status, &status[..], dpkg::DEFAULT_LIMIT)
        .map_err(|error| PatchError::Unproven(format!("its package database cannot be read: {error}")))?;
    match packages.iter().find(|package| !is_settled(package)) {
        Some(broken) => Err(PatchError::Unproven(format!("{} is not fully installed", broken.name))),
        None => Ok(()),
    }
}

/// Whether rpm has finished with all packages: of a transaction that broke off, both the old and the new version are there.
fn single(before: &Inventory, after: &Inventory) -> Result<(), PatchError> {
    let count = |inventory: &Inventory, own: &Installed| {
        let same = |other: &&Installed| other.name == own.name && other.architecture == own.architecture;
        inventory.packages.iter().filter(same).count()
    };
    let is_doubled = |own: &&Installed| {
        let [one, two] = [count(before, own), count(after, own)];
        two > one.max(1) && !own.name.starts_with("kernel")
    };
    let mut neighbours = after.packages.windows(2).filter_map(|pair| match pair {
        [one, two] if one.name == two.name && one.architecture == two.architecture => Some(one),
        _ => None,
    });
    match neighbours.find(|own| is_doubled(own)) {
        Some(broken) => Err(PatchError::Unproven(format!(
            "{} is installed in two versions",
            broken.name
        ))),
        None => Ok(()),
    }
}

/// Whether apk has no trouble with a file or script of any package.
fn unbroken(layer: &LayerFiles) -> Result<(), PatchError> {
    for database in apk::DATABASES {
        let Some(Node::File(installed)) = layer.node(database) else {
            continue;
        };
        let packages = apk::read(database, &installed[..], apk::DEFAULT_LIMIT)
            .map_err(|error| PatchError::Unproven(format!("its package database cannot be read: {error}")))?;
        if let Some(broken) = packages.iter().find(|package| package.broken) {
            return Err(PatchError::Unproven(format!("{} is not fully installed", broken.name)));
        }
    }
    Ok(())
}

/// Whether dpkg has finished with a package, one way or the other.
fn is_settled(package: &dpkg::Package) -> bool {
    matches!(
        package.status.state,
        dpkg::State::Installed | dpkg::State::NotInstalled | dpkg::State::ConfigFiles
    )
}

fn scratch_error(error: io::Error) -> PatchError {
    PatchError::Scratch(error.to_string())
}

fn unusable(error: layer::Error) -> PatchError {
    PatchError::Unproven(format!("its layer cannot be read: {}", chain(&error)))
}

/// Hashes what passes through to the writer below.
struct Hashing<W> {
    inner: W,
    hasher: Hasher,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Hasher::new(Algorithm::Sha256),
        }
    }

    fn finish(self) -> (W, Digest) {
        (self.inner, self.hasher.finish())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
