//! What a repository may read from us, and reads.
//!
//! That the store holds a blob, or that some manifest mentions it, opens no way to it: upstream must have shown it under the
//! repository's name, or we must have made it for what we published there. Where neither is known, upstream is asked.

use std::sync::Arc;

use moka::future::Cache;
use patchport_oci::Digest;

use crate::blobs::{BlobError, Blobs, Content, Origin};
use crate::catalog::{Catalog, CatalogError};
use crate::route::Place;

/// How many pairs of repository and digest are kept in memory.
const REMEMBERED: u64 = 200_000;

/// Why a repository does not read a blob.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LibraryError {
    /// It cannot be had, or upstream does not give it there.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(Arc<CatalogError>),
}

impl From<CatalogError> for LibraryError {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(Arc::new(error))
    }
}

/// Blobs, for those who may read them.
pub struct Library {
    catalog: Catalog,
    blobs: Arc<Blobs>,
    open: Cache<(String, Digest), ()>,
}

impl Library {
    /// The blobs behind the records of `catalog`.
    pub fn new(catalog: Catalog, blobs: Arc<Blobs>) -> Self {
        let open = Cache::new(REMEMBERED);
        Self { catalog, blobs, open }
    }

    /// Whether a repository is known to be allowed to read a digest.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn may_read(&self, place: &Place, digest: &Digest) -> Result<bool, CatalogError> {
        let key = (place.to_string(), digest.clone());
        if self.open.contains_key(&key) {
            return Ok(true);
        }
        let open = self.catalog.may_read(place, digest).await?;
        if open {
            self.open.insert(key, ()).await;
        }
        Ok(open)
    }

    /// A blob, from the store or through the repository. `size` is what its descriptor says, if the caller has it.
    ///
    /// # Errors
    /// [`LibraryError`] when it cannot be had, or not there.
    pub async fn blob(&self, place: &Place, digest: &Digest, size: Option<u64>) -> Result<Content, LibraryError> {
        let known = self.may_read(place, digest).await?;
        let content = match self.blobs.stored(digest).await? {
            Some(content) => content,
            None => {
                let described = if size.is_some() {
                    size
                } else {
                    self.catalog.size(digest).await?
                };
                let (place, size) = (place.clone(), described);
                self.blobs.fetch(digest, &Origin { place, size }).await?
            }
        };
        if !known {
            if !content.came_through(place) {
                self.upstream_size(place, digest).await?;
            }
            self.record(place, digest).await?;
        }
        Ok(content)
    }

    /// The size of a blob that a repository may read.
    ///
    /// # Errors
    /// [`LibraryError`] when it is not there.
    pub async fn blob_size(&self, place: &Place, digest: &Digest) -> Result<u64, LibraryError> {
        let known = self.may_read(place, digest).await?;
        if known && let Some(size) = self.blobs.stored(digest).await?.and_then(|content| content.size()) {
            return Ok(size);
        }
        let size = self.upstream_size(place, digest).await?;
        if !known {
            self.record(place, digest).await?;
        }
        Ok(size)
    }

    /// Makes sure that a repository may read a digest, by upstream's word if by nothing else.
    ///
    /// # Errors
    /// [`LibraryError`] when upstream does not give it there.
    pub async fn vouch(&self, place: &Place, digest: &Digest) -> Result<(), LibraryError> {
        if !self.may_read(place, digest).await? {
            self.upstream_size(place, digest).await?;
            self.record(place, digest).await?;
        }
        Ok(())
    }

    async fn upstream_size(&self, place: &Place, digest: &Digest) -> Result<u64, LibraryError> {
        let asked = place.site.upstream.blob_size(&place.repository, digest).await;
        Ok(asked.map_err(BlobError::from)?)
    }

    async fn record(&self, place: &Place, digest: &Digest) -> Result<(), CatalogError> {
        self.catalog.seen(place, digest, None).await?;
        self.open.insert((place.to_string(), digest.clone()), ()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
