//! Blobs for whoever asks: from the store, or streamed from upstream into the store and to every waiting reader at once.
//!
//! Each blob is fetched from upstream once, however many ask, and the fetch goes on when they leave. The last bytes of a
//! blob are held back until all of it was verified: a reader gets the whole, true blob or a broken stream.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use patchport_oci::{ByteRange, Digest};
use tokio::sync::watch;

use crate::flight::Interrupted;
use crate::route::Place;
use crate::store::{Blob, BlobStore, Ingest, ReadAt, StoreError};
use crate::tasks::Tasks;
use crate::upstream::{Download, UpstreamError};

/// How much one read takes from the store.
const CHUNK: usize = 512 * 1024;
/// How long an answer waits for the first bytes of a blob.
const FIRST_BYTES: std::time::Duration = std::time::Duration::from_secs(5);
/// The largest blob whose size nobody told us.
const MAX_UNANNOUNCED: u64 = 1 << 30;

/// Why a blob cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BlobError {
    /// Upstream did not give it.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The store failed.
    #[error("the blob store failed for {digest}")]
    Store {
        /// The blob.
        digest: Digest,
        /// Why.
        #[source]
        source: Arc<StoreError>,
    },
    /// Upstream's bytes are not the blob.
    #[error("{upstream} sent wrong bytes for blob {digest}: {reason}")]
    Lied {
        /// The repository asked.
        upstream: String,
        /// The blob.
        digest: Digest,
        /// How we know.
        reason: String,
    },
    /// The fetch ended without a result.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Where a blob can be fetched, when the store lacks it.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The repository.
    pub place: Place,
    /// What descriptors say of its size.
    pub size: Option<u64>,
}

/// Blobs, wherever they are.
pub struct Blobs {
    store: Arc<dyn BlobStore>,
    fills: Arc<Mutex<HashMap<Digest, Fill>>>,
    tasks: Tasks,
}

/// A blob that is whole, or on its way.
#[derive(Clone)]
pub struct Content {
    digest: Digest,
    reader: Arc<dyn ReadAt>,
    size: Option<u64>,
    /// The fill; `None` for a blob that is whole.
    fill: Option<Fill>,
}

/// A fetch under way, and the repository that it goes through.
#[derive(Clone)]
struct Fill {
    progress: watch::Receiver<Progress>,
    through: String,
}

#[derive(Clone, Default)]
struct Progress {
    /// Set when upstream's headers are here.
    opened: Option<(Arc<dyn ReadAt>, Option<u64>)>,
    /// How many bytes may be read.
    readable: u64,
    ended: Option<Result<(), BlobError>>,
}

impl Blobs {
    /// Blobs in `store`, filled by `tasks`.
    pub fn new(store: Arc<dyn BlobStore>, tasks: Tasks) -> Self {
        Self {
            store,
            fills: Arc::default(),
            tasks,
        }
    }

    /// The store below.
    pub fn store(&self) -> &Arc<dyn BlobStore> {
        &self.store
    }

    /// A blob that the store has.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn stored(&self, digest: &Digest) -> Result<Option<Content>, BlobError> {
        let found = self
            .store
            .open(digest)
            .await
            .map_err(|source| store_error(digest, source))?;
        Ok(found.map(|Blob { reader, size }| Content {
            digest: digest.clone(),
            reader,
            size: Some(size),
            fill: None,
        }))
    }

    /// A blob from the store, else from `origin`. Returns when its size is known (or upstream does not tell it).
    /// Whether the origin's repository may read it is not asked here: see [`Content::came_through`].
    ///
    /// # Errors
    /// [`BlobError`] when neither has it.
    pub async fn fetch(&self, digest: &Digest, origin: &Origin) -> Result<Content, BlobError> {
        if let Some(content) = self.stored(digest).await? {
            return Ok(content);
        }
        let mut fill = self.fill(digest, origin);
        let opened = fill
            .progress
            .wait_for(|state| state.opened.is_some() || state.ended.is_some());
        let state = opened.await.map_err(|_| Interrupted)?.clone();
        if let Some(Err(error)) = state.ended {
            return Err(error);
        }
        match state.opened {
            Some((reader, size)) => Ok(Content {
                digest: digest.clone(),
                reader,
                size,
                fill: Some(fill),
            }),
            // The fill found the blob in the store after all.
            None => self.stored(digest).await?.ok_or(BlobError::Interrupted(Interrupted)),
        }
    }

    /// Joins the fill of a blob, or starts it.
    fn fill(&self, digest: &Digest, origin: &Origin) -> Fill {
        let mut fills = self.fills.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fill) = fills.get(digest) {
            return fill.clone();
        }
        let (sender, progress) = watch::channel(Progress::default());
        let fill = Fill {
            progress,
            through: origin.place.to_string(),
        };
        fills.insert(digest.clone(), fill.clone());
        drop(fills);
        let entry = Entry {
            fills: Arc::clone(&self.fills),
            digest: digest.clone(),
        };
        let (store, digest, origin) = (Arc::clone(&self.store), digest.clone(), origin.clone());
        self.tasks.spawn(async move {
            let result = run(&*store, &digest, &origin, &sender).await;
            if let Err(error) = &result {
                tracing::warn!(blob.digest = %digest, error = %crate::respond::chain(error), "blob was not fetched");
            }
            drop(entry);
            sender.send_modify(|state| state.ended = Some(result));
        });
        fill
    }
}

/// Takes the fill off the table, also when it panics or is cancelled.
struct Entry {
    fills: Arc<Mutex<HashMap<Digest, Fill>>>,
    digest: Digest,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.fills
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.digest);
    }
}

fn store_error(digest: &Digest, source: StoreError) -> BlobError {
    match source {
        StoreError::WrongDigest { expected, found } => BlobError::Lied {
            upstream: "upstream".into(),
            digest: expected,
            reason: format!("the bytes hash to {found}"),
        },
        StoreError::Io { .. } | StoreError::InUse(_) => BlobError::Store {
            digest: digest.clone(),
            source: Arc::new(source),
        },
    }
}

async fn run(
    store: &dyn BlobStore,
    digest: &Digest,
    origin: &Origin,
    progress: &watch::Sender<Progress>,
) -> Result<(), BlobError> {
    // Another fill may have ended between the caller's look into the store and ours.
    if store
        .open(digest)
        .await
        .map_err(|source| store_error(digest, source))?
        .is_some()
    {
        return Ok(());
    }
    let download = origin
        .place
        .site
        .upstream
        .blob(&origin.place.repository, digest)
        .await?;
    let lied = |reason| BlobError::Lied {
        upstream: origin.place.to_string(),
        digest: digest.clone(),
        reason,
    };
    if let (Some(said), Some(expected)) = (download.size, origin.size)
        && said != expected
    {
        return Err(lied(format!(
            "its manifest says {expected} bytes, upstream says {said}"
        )));
    }
    let size = origin.size.or(download.size);
    let mut ingest = store.ingest().await.map_err(|source| store_error(digest, source))?;
    progress.send_modify(|state| state.opened = Some((ingest.reader(), size)));
    let written = copy(download, &mut *ingest, digest, size, progress, &lied).await?;
    ingest
        .commit(digest)
        .await
        .map_err(|source| store_error(digest, source))?;
    progress.send_modify(|state| state.readable = written);
    Ok(())
}

/// Copies a download into the store; readers may have all but what came last. Returns the number of bytes.
async fn copy(
    mut download: Download,
    ingest: &mut dyn Ingest,
    digest: &Digest,
    size: Option<u64>,
    progress: &watch::Sender<Progress>,
    lied: &(impl Fn(String) -> BlobError + Sync),
) -> Result<u64, BlobError> {
    let limit = size.unwrap_or(MAX_UNANNOUNCED);
    let mut written = 0;
    while let Some(chunk) = download.body.next().await {
        let chunk = chunk?;
        if chunk.is_empty() {
            continue;
        }
        let end = written + chunk.len() as u64;
        if end > limit {
            return Err(lied(format!("it is longer than {limit} bytes")));
        }
        ingest
            .write(chunk)
            .await
            .map_err(|source| store_error(digest, source))?;
        progress.send_modify(|state| state.readable = written);
        written = end;
    }
    match size {
        Some(size) if size != written => Err(lied(format!("it ended after {written} of {size} bytes"))),
        _ => Ok(written),
    }
}

impl Content {
    /// The size, when it is known before the end.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Whether this blob is being fetched through a repository right now, which shows that upstream gives it there.
    pub fn came_through(&self, place: &Place) -> bool {
        self.fill.as_ref().is_some_and(|fill| fill.through == place.to_string())
    }

    /// The bytes of `range`, or all, as they become readable.
    pub fn stream(self, range: Option<ByteRange>) -> BoxStream<'static, Result<Bytes, BlobError>> {
        let end = range.map(|range| range.last + 1).or(self.size);
        let at = range.map_or(0, |range| range.first);
        stream::try_unfold((self, at), move |(mut content, at)| async move {
            let length = content.readable(at, end).await?;
            if length == 0 {
                return Ok(None);
            }
            let bytes = content.read(at, length).await?;
            let next = at + bytes.len() as u64;
            Ok(Some((bytes, (content, next))))
        })
        .boxed()
    }

    /// Waits until bytes at `at` can be read and says how many to read now; zero at the end. The last byte that a reader
    /// wants is not given before all of the blob was verified, be it the blob's last or that of a range.
    async fn readable(&mut self, at: u64, end: Option<u64>) -> Result<usize, BlobError> {
        let length = |stop: u64| usize::try_from(stop.saturating_sub(at)).unwrap_or(CHUNK).min(CHUNK);
        let Some(fill) = &mut self.fill else {
            return Ok(length(end.or(self.size).unwrap_or(at)));
        };
        let withheld = end.map_or(u64::MAX, |end| end.saturating_sub(1));
        let ready = |state: &Progress| state.readable.min(withheld) > at || state.ended.is_some();
        let state = fill.progress.wait_for(ready).await.map_err(|_| Interrupted)?;
        match &state.ended {
            // What is here goes out first, so that the answer has begun when it breaks off.
            Some(Err(_)) if state.readable.min(withheld) > at => Ok(length(state.readable.min(withheld))),
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(())) => Ok(length(end.map_or(state.readable, |end| end.min(state.readable)))),
            None => Ok(length(state.readable.min(withheld))),
        }
    }

    /// Waits until all of the blob was verified.
    ///
    /// # Errors
    /// [`BlobError`] when it is not what it should be.
    pub async fn verified(mut self) -> Result<(), BlobError> {
        let Some(fill) = &mut self.fill else { return Ok(()) };
        let ended = fill.progress.wait_for(|state| state.ended.is_some());
        let state = ended.await.map_err(|_| Interrupted)?;
        state.ended.clone().unwrap_or(Ok(()))
    }

    /// Waits for the first bytes, so that a fetch that fails before them can still be told as an error. A blob without
    /// bytes is waited for to its end: its answer has nothing to hold back. An upstream that is slow to begin is not
    /// waited for longer than a moment.
    ///
    /// # Errors
    /// [`BlobError`] when the fetch has failed.
    pub async fn begun(&self) -> Result<(), BlobError> {
        if self.size == Some(0) {
            return self.clone().verified().await;
        }
        let Some(mut fill) = self.fill.clone() else {
            return Ok(());
        };
        let begun = fill
            .progress
            .wait_for(|state| state.readable > 0 || state.ended.is_some());
        match tokio::time::timeout(FIRST_BYTES, begun).await {
            Ok(state) => match &state.map_err(|_| Interrupted)?.ended {
                Some(Err(error)) => Err(error.clone()),
                Some(Ok(())) | None => Ok(()),
            },
            Err(_) => Ok(()),
        }
    }

    async fn read(&self, at: u64, length: usize) -> Result<Bytes, BlobError> {
        let reader = Arc::clone(&self.reader);
        let read = tokio::task::spawn_blocking(move || reader.read_at(at, length))
            .await
            .map_err(|_| Interrupted)?;
        let failed = |source| BlobError::Store {
            digest: self.digest.clone(),
            source: Arc::new(StoreError::Io {
                action: "read",
                subject: "a blob".into(),
                source,
            }),
        };
        match read {
            Ok(bytes) if bytes.is_empty() => Err(failed(io::ErrorKind::UnexpectedEof.into())),
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests;
