//! Where blobs are kept: content-addressed, verified before they are believed.
//!
//! A blob is either whole and verified, or not there. `disk` is the real store, `memory` the one for tests; both
//! pass `conformance`.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use patchport_oci::Digest;

#[cfg(test)]
pub mod conformance;
pub mod disk;
#[cfg(test)]
pub mod memory;

/// What went wrong in a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The medium failed: full, read-only, gone.
    #[error("cannot {action} {subject} in the blob store")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which blob or folder.
        subject: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Two processes would remove each other's half-written files.
    #[error("{0} is in use by another patchport; give each its own store.dir")]
    InUse(String),
    /// The bytes are not those that the digest names.
    #[error("the bytes of {expected} hash to {found}")]
    WrongDigest {
        /// What they should be.
        expected: Digest,
        /// What they are.
        found: Digest,
    },
}

/// Random access to the bytes of a blob, whole or still being written. Calls may block for a disk read.
pub trait ReadAt: Send + Sync + 'static {
    /// Reads up to `length` bytes at `offset`; fewer only at the end of what has been written.
    ///
    /// # Errors
    /// Those of the medium.
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes>;
}

/// A blob in the store.
#[derive(Clone)]
pub struct Blob {
    /// Its bytes.
    pub reader: Arc<dyn ReadAt>,
    /// Their number.
    pub size: u64,
}

/// A place for blobs.
#[async_trait]
pub trait BlobStore: Send + Sync {
    /// Opens a blob; `None` when it is not there.
    async fn open(&self, digest: &Digest) -> Result<Option<Blob>, StoreError>;

    /// Starts a new blob, invisible until it is committed, gone when it is dropped before.
    async fn ingest(&self) -> Result<Box<dyn Ingest>, StoreError>;
}

/// A blob on its way in.
#[async_trait]
pub trait Ingest: Send {
    /// Appends bytes.
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError>;

    /// Access to what has been written so far; it stays valid after the commit.
    fn reader(&self) -> Arc<dyn ReadAt>;

    /// Verifies that the bytes hash to `digest` and makes them durable and visible under it.
    ///
    /// # Errors
    /// [`StoreError::WrongDigest`]: the bytes are thrown away.
    async fn commit(self: Box<Self>, digest: &Digest) -> Result<(), StoreError>;
}
