//! A patched image with everything that it refers to: what was made here, and what stays as it was.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, bail};
use futures_util::TryStreamExt as _;
use patchport_oci::manifest::Content;
use patchport_oci::{Descriptor, Digest, Manifest, Platform};
use tokio::io::AsyncWriteExt as _;

use crate::blobs::Origin;
use crate::cli::image::Workbench;
use crate::route::Place;

/// More manifests than any real image has below its name.
const MAX_MANIFESTS: usize = 1024;

/// A patched image.
pub(super) struct Tree<'a> {
    pub(super) bench: &'a Workbench,
    /// Where the original is.
    pub(super) place: Place,
    /// What the name leads to: a manifest or an index.
    pub(super) root: Manifest,
    /// The manifests that were made here, without the root.
    pub(super) made: HashMap<Digest, Manifest>,
}

impl Tree<'_> {
    /// A manifest below the root.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(super) async fn manifest(&self, digest: &Digest) -> anyhow::Result<Manifest> {
        if let Some(made) = self.made.get(digest) {
            return Ok(made.clone());
        }
        let found = self.bench.resolver.digest(&self.place, digest, true).await;
        found.with_context(|| format!("cannot have {digest}, which belongs to the image"))
    }

    /// All manifests, children before what names them.
    ///
    /// # Errors
    /// When one cannot be had.
    pub(super) async fn manifests(&self) -> anyhow::Result<Vec<Manifest>> {
        let (mut found, mut seen) = (vec![self.root.clone()], HashSet::from([self.root.digest.clone()]));
        let mut at = 0;
        while let Some(manifest) = found.get(at).cloned() {
            at += 1;
            let Content::Index { manifests } = &manifest.content else {
                continue;
            };
            for child in manifests.iter() {
                if seen.insert(child.digest.clone()) {
                    anyhow::ensure!(
                        found.len() < MAX_MANIFESTS,
                        "the image has more than {MAX_MANIFESTS} manifests"
                    );
                    found.push(self.manifest(&child.digest).await?);
                }
            }
        }
        found.reverse();
        Ok(found)
    }

    /// The one image for places that have room for one: of this platform, or the only one that was made.
    ///
    /// # Errors
    /// When it is not clear which.
    pub(super) async fn single(&self, native: &Platform) -> anyhow::Result<Manifest> {
        let Content::Index { manifests } = &self.root.content else {
            return Ok(self.root.clone());
        };
        let has = |child: &&Descriptor, wanted: &Platform| child.platform.as_ref().is_some_and(|own| own.same(wanted));
        let made = || manifests.iter().filter(|child| self.made.contains_key(&child.digest));
        let chosen = made()
            .find(|child| has(child, native))
            .or_else(|| made().next().filter(|_| made().count() == 1));
        match chosen {
            Some(child) => self.manifest(&child.digest).await,
            None => bail!(
                "the image has several patched platforms, and none is {native}; choose one with --platform, or write all of \
                 them with --output oci:FOLDER"
            ),
        }
    }

    /// Writes a blob to a file; its bytes have been verified when this returns.
    ///
    /// # Errors
    /// When it cannot be had or written.
    pub(super) async fn copy(&self, blob: &Descriptor, file: &std::path::Path) -> anyhow::Result<()> {
        let failed = || format!("cannot write {}", file.display());
        let mut stream = Box::pin(self.stream(blob).await?);
        let mut output = tokio::fs::File::create(file).await.with_context(failed)?;
        while let Some(chunk) = stream.try_next().await? {
            output.write_all(&chunk).await.with_context(failed)?;
        }
        output.flush().await.with_context(failed)
    }

    /// The bytes of a blob.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(super) async fn stream(
        &self,
        blob: &Descriptor,
    ) -> anyhow::Result<impl futures_util::Stream<Item = Result<bytes::Bytes, crate::blobs::BlobError>> + Send + use<>>
    {
        let origin = Origin {
            place: self.place.clone(),
            size: Some(blob.size),
        };
        let content = self.bench.blobs.fetch(&blob.digest, &origin).await;
        Ok(content
            .with_context(|| format!("cannot have the blob {}", blob.digest))?
            .stream(None))
    }
}

/// The blobs of a manifest that a copy needs: all but layers that may not be distributed, which a client has from elsewhere.
pub(super) fn blobs(manifest: &Manifest) -> Vec<Descriptor> {
    let Content::Image { config, layers } = &manifest.content else {
        return Vec::new();
    };
    let is_foreign = |blob: &Descriptor| {
        blob.media_type.contains(".nondistributable.") || blob.media_type.contains(".rootfs.foreign.")
    };
    let all = std::iter::once(config).chain(layers.iter());
    all.filter(|blob| !is_foreign(blob)).cloned().collect()
}
