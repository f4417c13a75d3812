//! An OCI image layout in a folder, as an upstream: images that no registry has.
//!
//! Everything is verified as if it came over a wire.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use patchport_oci::manifest::MAX_SIZE;
use patchport_oci::{Digest, Hasher, Manifest, Reference, Repository, Tag};
use serde::Deserialize;
use tokio_util::io::ReaderStream;

use super::{Download, Upstream, UpstreamError};

/// The annotation that names an image in a layout (OCI image spec, annotations.md).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A layout.
pub struct Layout {
    name: Arc<str>,
    folder: PathBuf,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

impl Layout {
    /// Opens a layout.
    ///
    /// # Errors
    /// When the folder has no `index.json` that can be read.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        use anyhow::Context as _;

        let file = folder.join("index.json");
        let subject = || format!("cannot read {}", file.display());
        let mut bytes = Vec::new();
        let opened = std::fs::File::open(&file).with_context(subject)?;
        opened
            .take(MAX_SIZE as u64 + 1)
            .read_to_end(&mut bytes)
            .with_context(subject)?;
        anyhow::ensure!(
            bytes.len() <= MAX_SIZE,
            "{} is larger than {MAX_SIZE} bytes",
            file.display()
        );
        let index: Index = serde_json::from_slice(&bytes).with_context(subject)?;
        Ok(Self {
            name: folder.display().to_string().into(),
            folder: folder.to_owned(),
            entries: index.manifests,
        })
    }

    /// The images: each digest with its name, if it has one.
    pub fn images(&self) -> Vec<(Digest, Option<String>)> {
        let image = |entry: &Entry| (entry.digest.clone(), entry.annotations.get(REF_NAME).cloned());
        self.entries.iter().map(image).collect()
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder
            .join("blobs")
            .join(digest.algorithm().name())
            .join(digest.hex())
    }

    fn not_found(&self, subject: &impl ToString) -> UpstreamError {
        UpstreamError::NotFound {
            upstream: Arc::clone(&self.name),
            subject: subject.to_string(),
        }
    }

    async fn size(&self, digest: &Digest) -> Result<u64, UpstreamError> {
        let found = tokio::fs::metadata(self.path(digest))
            .await
            .ok()
            .filter(std::fs::Metadata::is_file);
        found.map(|file| file.len()).ok_or_else(|| self.not_found(digest))
    }
}

#[async_trait]
impl Upstream for Layout {
    async fn resolve(&self, _: &Repository, tag: &Tag) -> Result<Option<Digest>, UpstreamError> {
        let mut images = self.images().into_iter();
        let named = images.find(|(_, name)| name.as_deref() == Some(tag.as_str()));
        named.map(|(digest, _)| Some(digest)).ok_or_else(|| self.not_found(tag))
    }

    async fn manifest(&self, repository: &Repository, reference: &Reference) -> Result<Manifest, UpstreamError> {
        let digest = match reference {
            Reference::Digest(digest) => Some(digest.clone()),
            Reference::Tag(tag) => self.resolve(repository, tag).await?,
        };
        let digest = digest.ok_or_else(|| self.not_found(&reference.to_string()))?;
        let lied = |reason: String| UpstreamError::Lied {
            upstream: Arc::clone(&self.name),
            subject: digest.to_string(),
            reason,
        };
        if self.size(&digest).await? > MAX_SIZE as u64 {
            return Err(lied(format!("it is larger than the {MAX_SIZE} bytes of a manifest")));
        }
        let read = tokio::fs::read(self.path(&digest)).await;
        let bytes = read.map_err(|error| lied(error.to_string()))?;
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        let found = hasher.finish();
        if found != digest {
            return Err(lied(format!("its bytes hash to {found}")));
        }
        let entry = self.entries.iter().find(|entry| entry.digest == digest);
        let media_type = entry.map(|entry| entry.media_type.clone()).unwrap_or_default();
        Manifest::parse_as(bytes, &media_type, digest.algorithm()).map_err(|source| UpstreamError::Manifest {
            upstream: Arc::clone(&self.name),
            subject: digest.to_string(),
            source: Arc::new(source),
        })
    }

    async fn blob_size(&self, _: &Repository, digest: &Digest) -> Result<u64, UpstreamError> {
        self.size(digest).await
    }

    async fn blob(&self, _: &Repository, digest: &Digest) -> Result<Download, UpstreamError> {
        let size = self.size(digest).await?;
        let file = tokio::fs::File::open(self.path(digest)).await;
        let file = file.map_err(|_| self.not_found(digest))?;
        let (upstream, subject) = (Arc::clone(&self.name), digest.to_string());
        let body = ReaderStream::with_capacity(file, 256 * 1024).map(move |chunk| {
            chunk.map_err(|error| UpstreamError::Unreachable {
                upstream: Arc::clone(&upstream),
                subject: subject.clone(),
                reason: error.to_string(),
            })
        });
        Ok(Download {
            size: Some(size),
            body: body.boxed(),
        })
    }
}
