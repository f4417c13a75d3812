//! Fetched packages as BuildKit takes them: files in the one layer of an image that exists only to be mounted.
//!
//! The same packages make the same image, so BuildKit reads it once.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use patchport_oci::digest::Algorithm;
use patchport_oci::{Digest, Hasher, Platform, media_type};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::NamedTempFile;

use super::PatchError;
use super::recipe::PACKAGES;
use crate::depot::{Depot, DepotError, Package, Supply};
use crate::flight::Interrupted;

/// A package that went into a patch layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageFile {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Its version, as its repository writes it.
    pub version: String,
    /// Where it was fetched from, as it may be shown.
    pub url: String,
    /// The digest of its file.
    pub digest: Digest,
    /// The size of its file in bytes.
    pub size: u64,
}

impl PackageFile {
    /// What is said of a package of a depot whose file has this digest.
    pub(super) fn of(depot: &Depot, package: &Package, digest: Digest) -> Self {
        Self {
            name: package.name.clone(),
            architecture: package.architecture.clone(),
            version: package.version.to_string(),
            url: depot.shown(package),
            digest,
            size: package.size,
        }
    }
}

/// The image of a plan's packages.
pub struct Packages {
    /// What is in it, in the order of the plan.
    pub files: Vec<PackageFile>,
    /// Where they are in the container, in the same order.
    pub paths: Vec<String>,
    /// Its one layer, an uncompressed tar.
    pub tar: NamedTempFile,
    /// The layer's digest.
    pub layer: Digest,
    /// The layer's size in bytes.
    pub size: u64,
    /// Its configuration.
    pub config: Bytes,
    /// Its manifest.
    pub manifest: Bytes,
}

impl Packages {
    /// Fetches packages, and makes the image of them, and of what else belongs to them, for a platform in `scratch`.
    ///
    /// # Errors
    /// [`DepotError`] when one cannot be had, [`PatchError::Scratch`] when the layer cannot be written.
    pub(super) async fn fetch(
        depot: &Arc<Depot>,
        supply: &Supply,
        platform: &Platform,
        scratch: &Path,
    ) -> Result<Self, PatchError> {
        let packages = &supply.packages;
        let digests = futures_util::future::try_join_all(packages.iter().map(|package| depot.fetch(package))).await?;
        let files = packages
            .iter()
            .zip(digests)
            .map(|(package, digest)| PackageFile::of(depot, package, digest));
        let files: Vec<PackageFile> = files.collect();
        let names: Vec<String> = packages
            .iter()
            .enumerate()
            .map(|(at, package)| package.place.clone().unwrap_or_else(|| file_name(at, package)))
            .collect();
        let mut layer = Layer::new(scratch)?;
        for (name, bytes) in &supply.files {
            layer.add_bytes(bytes.clone(), name).await?;
        }
        for (file, name) in files.iter().zip(&names) {
            layer.add(depot, file, name).await?;
        }
        let (tar, digest, size) = layer.finish()?;
        let (config, manifest) = described(&digest, size, platform);
        Ok(Self {
            files,
            paths: names.iter().map(|name| format!("{PACKAGES}/{name}")).collect(),
            tar,
            layer: digest,
            size,
            config,
            manifest,
        })
    }
}

/// A name that says which package it is, and that no package can make anything else of.
fn file_name(at: usize, package: &Package) -> String {
    let own = package.path.rsplit('/').next().unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+~-".contains(&byte);
    let name: String = own
        .bytes()
        .map(|byte| if is_plain(byte) { char::from(byte) } else { '_' })
        .collect();
    format!("{at:03}-{name}")
}

/// Configuration and manifest of an image of one layer.
fn described(layer: &Digest, size: u64, platform: &Platform) -> (Bytes, Bytes) {
    let mut config = json!({
        "architecture": platform.architecture, "os": platform.os,
        "config": {}, "rootfs": { "type": "layers", "diff_ids": [layer] },
    });
    if let (false, Some(config)) = (platform.variant.is_empty(), config.as_object_mut()) {
        config.insert("variant".into(), json!(platform.variant));
    }
    let config = config.to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": { "mediaType": media_type::OCI_CONFIG, "digest": Digest::of(config.as_bytes()), "size": config.len() },
        "layers": [{ "mediaType": media_type::OCI_LAYER, "digest": layer, "size": size }],
    });
    (config.into(), manifest.to_string().into())
}

/// The layer while it is written.
struct Layer {
    file: NamedTempFile,
    hasher: Hasher,
    size: u64,
}

impl Layer {
    fn new(scratch: &Path) -> Result<Self, PatchError> {
        Ok(Self {
            file: NamedTempFile::new_in(scratch).map_err(scratch_error)?,
            hasher: Hasher::new(Algorithm::Sha256),
            size: 0,
        })
    }

    /// Adds a package under a name.
    async fn add(&mut self, depot: &Depot, file: &PackageFile, name: &str) -> Result<(), PatchError> {
        let gone = || DepotError::Mismatch {
            url: file.url.clone(),
            reason: "it has another size".to_owned(),
        };
        let content = depot.blobs().stored(&file.digest).await?.ok_or_else(gone)?;
        if content.size() != Some(file.size) {
            return Err(gone().into());
        }
        self.head(name, file.size).await?;
        let mut stream = content.stream(None);
        while let Some(chunk) = stream.next().await {
            self.write(chunk?).await?;
        }
        self.pad(file.size).await
    }

    /// Adds a small file under a name.
    async fn add_bytes(&mut self, bytes: Bytes, name: &str) -> Result<(), PatchError> {
        let size = bytes.len() as u64;
        self.head(name, size).await?;
        self.write(bytes).await?;
        self.pad(size).await
    }

    async fn head(&mut self, name: &str, size: u64) -> Result<(), PatchError> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).map_err(scratch_error)?;
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        self.write(Bytes::copy_from_slice(header.as_bytes())).await
    }

    async fn pad(&mut self, size: u64) -> Result<(), PatchError> {
        let used = usize::try_from(size % 512).unwrap_or_default();
        self.write(Bytes::from(vec![0; (512 - used) % 512])).await
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), PatchError> {
        self.hasher.update(&bytes);
        self.size += bytes.len() as u64;
        let mut file = self.file.as_file().try_clone().map_err(scratch_error)?;
        let written = tokio::task::spawn_blocking(move || file.write_all(&bytes)).await;
        written.map_err(|_| Interrupted)?.map_err(scratch_error)
    }

    fn finish(mut self) -> Result<(NamedTempFile, Digest, u64), PatchError> {
        let end = [0; 1024];
        self.file.write_all(&end).map_err(scratch_error)?;
        self.hasher.update(&end);
        Ok((self.file, self.hasher.finish(), self.size + end.len() as u64))
    }
}

fn scratch_error(error: std::io::Error) -> PatchError {
    PatchError::Scratch(error.to_string())
}
