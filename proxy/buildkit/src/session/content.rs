//! What BuildKit may read from us and write to us during one solve. Digests are strings as BuildKit sends them; whoever
//! implements [`Content`] decides which of them it may have, and verifies what is written.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;

/// A blob's bytes as they become available; an error ends it.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// Blobs by digest, for one solve.
#[async_trait]
pub trait Content: Send + Sync + 'static {
    /// The size in bytes of a blob that can be read, `None` if there is none by that digest. A blob that is still
    /// being downloaded counts as there if its size is known.
    async fn info(&self, digest: &str) -> Result<Option<u64>, Error>;

    /// The bytes from `offset` on, `length` of them. Both lie within the size that [`Content::info`] gave. The stream
    /// may wait for a download; if it ends early, BuildKit's read fails.
    async fn read(&self, digest: &str, offset: u64, length: u64) -> Result<ByteStream, Error>;

    /// Starts to receive a blob, of which BuildKit states digest and size beforehand. [`Error::AlreadyExists`] saves
    /// the transfer; [`Error::Busy`] makes BuildKit come again.
    async fn ingest(&self, digest: &str, size: u64) -> Result<Box<dyn Ingest>, Error>;
}

/// A blob that BuildKit is writing. Dropped without a commit, it leaves nothing.
#[async_trait]
pub trait Ingest: Send {
    /// Takes the next bytes, in order and never beyond the stated size.
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error>;

    /// Verifies digest and size and keeps the blob.
    async fn commit(self: Box<Self>, digest: &str, size: u64) -> Result<(), Error>;
}

/// What BuildKit is told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such blob, or BuildKit may not have it.
    #[error("blob {digest}: not found")]
    NotFound {
        /// The blob.
        digest: String,
    },
    /// The blob is here; no byte of it need be sent.
    #[error("blob {digest}: already here")]
    AlreadyExists {
        /// The blob.
        digest: String,
    },
    /// Somebody else is writing the blob.
    #[error("blob {digest}: being written")]
    Busy {
        /// The blob.
        digest: String,
    },
    /// What was written is not what was stated.
    #[error("blob {digest}: {reason}")]
    Mismatch {
        /// The blob.
        digest: String,
        /// What is wrong.
        reason: String,
    },
    /// Storage or upstream failed.
    #[error("blob {digest}: {action} failed")]
    Failed {
        /// The blob.
        digest: String,
        /// What was being done.
        action: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        let text = crate::connect::chain(&error);
        match error {
            Error::NotFound { .. } => Self::not_found(text),
            Error::AlreadyExists { .. } => Self::already_exists(text),
            Error::Busy { .. } => Self::unavailable(text),
            Error::Mismatch { .. } => Self::failed_precondition(text),
            Error::Failed { .. } => Self::internal(text),
        }
    }
}
