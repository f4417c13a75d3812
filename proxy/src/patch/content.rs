//! What BuildKit may read from and write to during one solve: the base image, a helper if there is one, and a scratch folder.
//!
//! It sees the blobs of these and nothing else of the store; what it writes is verified, kept aside, and gone when the
//! solve's owner is.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use patchport_buildkit::{ByteStream, Content, ContentError, Ingest};
use patchport_oci::{ByteRange, Digest, Hasher};
use tempfile::NamedTempFile;

use super::{Base, Packages};
use crate::blobs::{Blobs, Origin};
use crate::route::Place;

/// The largest layer that is taken back, in bytes: no upgrade of packages is near it.
const MAX_LAYER: u64 = 4 << 30;

/// The most that is read of a file at once, in bytes.
const MAX_PART: u64 = 4 << 20;

/// The content of one solve.
pub(super) struct SolveContent {
    /// Manifest and configuration.
    small: HashMap<String, Bytes>,
    /// The layers of the base image and of the helper, with where they are.
    layers: HashMap<String, (Digest, u64, Place)>,
    /// The packages, whose layer is a file.
    packages: Option<Arc<Packages>>,
    blobs: Arc<Blobs>,
    scratch: PathBuf,
    received: Arc<Mutex<HashMap<String, NamedTempFile>>>,
}

impl SolveContent {
    /// The content for patching `base`; what comes back is kept in `scratch`.
    pub(super) fn new(base: &Base, blobs: Arc<Blobs>, scratch: PathBuf) -> Self {
        let (mut small, mut layers) = (HashMap::new(), HashMap::new());
        let helper = base.helper.as_deref();
        let helper = helper.map(|helper| (&helper.manifest, &helper.config, &helper.place));
        // What both have is read where the base image is.
        for (manifest, config, place) in helper.into_iter().chain([(&base.manifest, &base.config, &base.place)]) {
            small.insert(manifest.digest.to_string(), manifest.bytes.clone());
            for (at, descriptor) in manifest.references().enumerate() {
                let digest = descriptor.digest.clone();
                if at == 0 {
                    small.insert(digest.to_string(), config.clone());
                } else {
                    layers.insert(digest.to_string(), (digest, descriptor.size, place.clone()));
                }
            }
        }
        if let Some(packages) = &base.packages {
            for bytes in [&packages.manifest, &packages.config] {
                small.insert(Digest::of(bytes).to_string(), bytes.clone());
            }
        }
        Self {
            small,
            layers,
            packages: base.packages.clone(),
            blobs,
            scratch,
            received: Arc::default(),
        }
    }

    /// Takes out a blob that BuildKit wrote.
    pub(super) fn take(&self, digest: &str) -> Option<NamedTempFile> {
        self.received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(digest)
    }

    /// The packages, if that is the digest of their layer.
    fn packages(&self, digest: &str) -> Option<&Arc<Packages>> {
        let packages = self.packages.as_ref()?;
        (packages.layer.to_string() == digest).then_some(packages)
    }

    fn has_received(&self, digest: &str) -> bool {
        self.received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(digest)
    }
}

#[async_trait]
impl Content for SolveContent {
    async fn info(&self, digest: &str) -> Result<Option<u64>, ContentError> {
        if let Some(bytes) = self.small.get(digest) {
            return Ok(Some(bytes.len() as u64));
        }
        if let Some(packages) = self.packages(digest) {
            return Ok(Some(packages.size));
        }
        Ok(self.layers.get(digest).map(|(_, size, _)| *size))
    }

    async fn read(&self, digest: &str, offset: u64, length: u64) -> Result<ByteStream, ContentError> {
        if let Some(bytes) = self.small.get(digest) {
            let first = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let last = first
                .saturating_add(usize::try_from(length).unwrap_or(usize::MAX))
                .min(bytes.len());
            return Ok(stream::iter([Ok(bytes.slice(first..last))]).boxed());
        }
        if let Some(packages) = self.packages(digest) {
            return packages_part(Arc::clone(packages), offset, length)
                .await
                .map_err(|error| failure(digest, "read")(Box::new(error)));
        }
        let (layer, size, place) = self
            .layers
            .get(digest)
            .ok_or_else(|| ContentError::NotFound { digest: digest.into() })?;
        let failed = failure(digest, "read");
        let origin = Origin {
            place: place.clone(),
            size: Some(*size),
        };
        let content = self
            .blobs
            .fetch(layer, &origin)
            .await
            .map_err(|error| failed(Box::new(error)))?;
        let range = length.checked_sub(1).map(|more| ByteRange {
            first: offset,
            last: offset.saturating_add(more),
        });
        Ok(content
            .stream(range)
            .map(move |chunk| chunk.map_err(|error| failed(Box::new(error))))
            .boxed())
    }

    async fn ingest(&self, digest: &str, size: u64) -> Result<Box<dyn Ingest>, ContentError> {
        let is_known = self.layers.contains_key(digest) || self.small.contains_key(digest);
        if is_known || self.packages(digest).is_some() || self.has_received(digest) {
            return Err(ContentError::AlreadyExists { digest: digest.into() });
        }
        if size > MAX_LAYER {
            let reason = format!("it has {size} bytes, more than the {MAX_LAYER} of the largest patch");
            return Err(ContentError::Mismatch {
                digest: digest.into(),
                reason,
            });
        }
        let wanted: Digest = digest
            .parse()
            .map_err(|_| ContentError::NotFound { digest: digest.into() })?;
        let scratch = self.scratch.clone();
        let failed = failure(digest, "create");
        let created = tokio::task::spawn_blocking(move || NamedTempFile::new_in(scratch)).await;
        let file = match created {
            Ok(Ok(file)) => file,
            Ok(Err(error)) => return Err(failed(Box::new(error))),
            Err(error) => return Err(failed(Box::new(error))),
        };
        let hasher = Hasher::new(wanted.algorithm());
        Ok(Box::new(Received {
            wanted,
            state: Some((file, hasher)),
            received: Arc::clone(&self.received),
        }))
    }
}

/// A part of the packages' layer, as BuildKit asks for it: a mebibyte.
async fn packages_part(packages: Arc<Packages>, offset: u64, length: u64) -> std::io::Result<ByteStream> {
    let read = tokio::task::spawn_blocking(move || {
        let length = length.min(MAX_PART).min(packages.size.saturating_sub(offset));
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        packages.tar.as_file().read_exact_at(&mut bytes, offset).map(|()| bytes)
    });
    let bytes = read.await.map_err(std::io::Error::other)??;
    Ok(stream::iter([Ok(Bytes::from(bytes))]).boxed())
}

struct Received {
    wanted: Digest,
    /// Taken while a write is under way.
    state: Option<(NamedTempFile, Hasher)>,
    received: Arc<Mutex<HashMap<String, NamedTempFile>>>,
}

#[async_trait]
impl Ingest for Received {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ContentError> {
        let failed = failure(&self.wanted.to_string(), "write");
        let Some((mut file, mut hasher)) = self.state.take() else {
            return Err(failed("an earlier write failed".into()));
        };
        let written = tokio::task::spawn_blocking(move || {
            file.write_all(&bytes)?;
            hasher.update(&bytes);
            Ok::<_, std::io::Error>((file, hasher))
        });
        match written.await {
            Ok(Ok(state)) => {
                self.state = Some(state);
                Ok(())
            }
            Ok(Err(error)) => Err(failed(Box::new(error))),
            Err(error) => Err(failed(Box::new(error))),
        }
    }

    async fn commit(mut self: Box<Self>, digest: &str, _: u64) -> Result<(), ContentError> {
        let mismatch = |reason| ContentError::Mismatch {
            digest: digest.into(),
            reason,
        };
        let (file, hasher) = self
            .state
            .take()
            .ok_or_else(|| mismatch("an earlier write failed".into()))?;
        let found = hasher.finish();
        if found != self.wanted || digest != self.wanted.to_string() {
            return Err(mismatch(format!("the bytes hash to {found}")));
        }
        self.received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest.to_owned(), file);
        Ok(())
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn failure(digest: &str, action: &'static str) -> impl Fn(Cause) -> ContentError + Clone + Send + use<> {
    let digest = digest.to_owned();
    move |source| ContentError::Failed {
        digest: digest.clone(),
        action,
        source,
    }
}
