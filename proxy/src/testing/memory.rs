//! An upstream in memory: what was pushed to a repository can be pulled from that repository, and each call is counted.
//!
//! Passes the conformance function of [`crate::upstream`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use patchport_kit::{Image, Index};
use patchport_oci::{Digest, Manifest, Reference, Repository, Tag};
use serde_json::{Value, json};

use super::HOST;
use crate::upstream::{Download, Upstream, UpstreamError};

/// Blobs come in pieces of so many bytes, so that a short text is a stream.
pub(crate) const CHUNK: usize = 4;

/// A method of [`Upstream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Call {
    Resolve,
    Manifest,
    BlobSize,
    Blob,
    Referrers,
}

/// How often each method was called.
#[derive(Default)]
pub(crate) struct Calls(Mutex<HashMap<Call, usize>>);

impl Calls {
    /// Counts a call; gives its number, from 1.
    pub(super) fn count(&self, call: Call) -> usize {
        let mut counts = self.0.lock().unwrap();
        let count = counts.entry(call).or_default();
        *count += 1;
        *count
    }

    /// How often a method was called.
    pub(crate) fn of(&self, call: Call) -> usize {
        self.0.lock().unwrap().get(&call).copied().unwrap_or_default()
    }
}

/// Content by repository and name.
type Named<T> = HashMap<(String, String), T>;

#[derive(Default)]
struct Content {
    tags: Named<Manifest>,
    manifests: Named<Manifest>,
    blobs: Named<Bytes>,
    lists_referrers: bool,
}

/// The upstream.
#[derive(Default)]
pub(crate) struct Memory {
    content: Mutex<Content>,
    /// What was asked.
    pub(crate) calls: Calls,
}

impl Memory {
    /// Keeps a manifest under its digest, and under `tag` when there is one.
    pub(crate) fn put_manifest(&self, repository: &str, tag: Option<&str>, manifest: &Manifest) {
        let key = |name: &str| (repository.to_owned(), name.to_owned());
        let mut content = self.content.lock().unwrap();
        let digest = key(&manifest.digest.to_string());
        content.manifests.insert(digest, manifest.clone());
        if let Some(tag) = tag {
            content.tags.insert(key(tag), manifest.clone());
        }
    }

    /// Has the referrers API from now on.
    pub(crate) fn list_referrers(&self) {
        self.content.lock().unwrap().lists_referrers = true;
    }

    /// Keeps a blob.
    pub(crate) fn put_blob(&self, repository: &str, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let key = (repository.to_owned(), digest.to_string());
        self.content.lock().unwrap().blobs.insert(key, bytes);
        digest
    }

    /// Keeps an image with its blobs.
    pub(crate) fn push(&self, repository: &str, tag: Option<&str>, image: &Image) -> Manifest {
        self.put_blob(repository, image.config.clone());
        for layer in &image.layers {
            self.put_blob(repository, layer.bytes.clone());
        }
        let manifest = Manifest::parse(image.manifest.clone(), &image.media_type).unwrap();
        self.put_manifest(repository, tag, &manifest);
        manifest
    }

    /// Keeps an index with its children.
    pub(crate) fn push_index(&self, repository: &str, tag: Option<&str>, index: &Index) -> Manifest {
        for image in &index.images {
            self.push(repository, None, image);
        }
        let manifest = Manifest::parse(index.manifest.clone(), &index.media_type).unwrap();
        self.put_manifest(repository, tag, &manifest);
        manifest
    }

    fn found<T: Clone>(
        &self,
        pick: impl FnOnce(&Content) -> &Named<T>,
        repository: &Repository,
        name: &str,
        subject: &str,
    ) -> Result<T, UpstreamError> {
        let key = (repository.to_string(), name.to_owned());
        let found = pick(&self.content.lock().unwrap()).get(&key).cloned();
        found.ok_or_else(|| UpstreamError::NotFound {
            upstream: HOST.into(),
            subject: subject.to_owned(),
        })
    }

    fn bytes(&self, repository: &Repository, digest: &Digest) -> Result<Bytes, UpstreamError> {
        let subject = format!("blob {repository}@{digest}");
        self.found(|content| &content.blobs, repository, &digest.to_string(), &subject)
    }
}

#[async_trait]
impl Upstream for Memory {
    async fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, UpstreamError> {
        self.calls.count(Call::Resolve);
        let subject = format!("{repository}:{tag}");
        let manifest = self.found(|content| &content.tags, repository, tag.as_str(), &subject)?;
        Ok(Some(manifest.digest))
    }

    async fn manifest(&self, repository: &Repository, reference: &Reference) -> Result<Manifest, UpstreamError> {
        self.calls.count(Call::Manifest);
        match reference {
            Reference::Tag(tag) => {
                let subject = format!("{repository}:{tag}");
                self.found(|content| &content.tags, repository, tag.as_str(), &subject)
            }
            Reference::Digest(digest) => {
                let subject = format!("{repository}@{digest}");
                self.found(|content| &content.manifests, repository, &digest.to_string(), &subject)
            }
        }
    }

    async fn blob_size(&self, repository: &Repository, digest: &Digest) -> Result<u64, UpstreamError> {
        self.calls.count(Call::BlobSize);
        Ok(self.bytes(repository, digest)?.len() as u64)
    }

    async fn referrers(&self, repository: &Repository, digest: &Digest) -> Result<Option<Vec<Value>>, UpstreamError> {
        self.calls.count(Call::Referrers);
        let content = self.content.lock().unwrap();
        if !content.lists_referrers {
            return Ok(None);
        }
        let manifests = content.manifests.iter();
        let found = manifests
            .filter(|((known, _), manifest)| known == repository.as_str() && manifest.subject.as_ref() == Some(digest));
        Ok(Some(found.map(|(_, manifest)| described(manifest)).collect()))
    }

    async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Download, UpstreamError> {
        self.calls.count(Call::Blob);
        let bytes = self.bytes(repository, digest)?;
        Ok(Download {
            size: Some(bytes.len() as u64),
            body: stream::iter(pieces(&bytes).map(Ok)).boxed(),
        })
    }
}

/// The pieces in which bytes travel.
pub(super) fn pieces(bytes: &Bytes) -> impl Iterator<Item = Bytes> + Send + use<> {
    let bytes = bytes.clone();
    (0..bytes.len())
        .step_by(CHUNK)
        .map(move |at| bytes.slice(at..bytes.len().min(at + CHUNK)))
}

/// What a list of referrers shows of a manifest.
pub(crate) fn described(manifest: &Manifest) -> Value {
    let json: Value = serde_json::from_slice(&manifest.bytes).unwrap();
    json!({
        "mediaType": manifest.media_type, "digest": manifest.digest, "size": manifest.bytes.len(),
        "artifactType": json["artifactType"],
    })
}

/// Shares the fake between a test and what it tests.
#[async_trait]
impl<U: Upstream + ?Sized> Upstream for Arc<U> {
    async fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, UpstreamError> {
        (**self).resolve(repository, tag).await
    }

    async fn manifest(&self, repository: &Repository, reference: &Reference) -> Result<Manifest, UpstreamError> {
        (**self).manifest(repository, reference).await
    }

    async fn blob_size(&self, repository: &Repository, digest: &Digest) -> Result<u64, UpstreamError> {
        (**self).blob_size(repository, digest).await
    }

    async fn referrers(&self, repository: &Repository, digest: &Digest) -> Result<Option<Vec<Value>>, UpstreamError> {
        (**self).referrers(repository, digest).await
    }

    async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Download, UpstreamError> {
        (**self).blob(repository, digest).await
    }
}
