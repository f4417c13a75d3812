//! Blobs in a local directory: `blobs/<algorithm>/<first two hex digits>/<hex>`, written under `ingest/` first.
//!
//! Temporary name, verify, fsync, rename, fsync of the folder: after a crash a blob is whole or absent.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use patchport_oci::digest::Algorithm;
use patchport_oci::{Digest, Hasher};
use tokio::task::spawn_blocking;

use super::{Blob, BlobStore, Ingest, ReadAt, StoreError};

/// How often the lock of a store is tried before it counts as somebody else's, and how long between.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// A blob store below one folder, which it has for itself.
#[derive(Clone, Debug)]
pub struct DiskStore {
    /// Locked for as long as the store is open; the lock goes with the process, however it ends.
    _lock: Arc<File>,
    blobs: PathBuf,
    ingest: PathBuf,
}

impl DiskStore {
    /// Opens the store below `root`, makes its folders, and removes what a crash left half written.
    ///
    /// # Errors
    /// When the folders cannot be made or emptied, or another process has the store open.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let failed = |action, path: &Path| {
            let subject = path.display().to_string();
            move |source| StoreError::Io {
                action,
                subject,
                source,
            }
        };
        let (blobs, ingest) = (root.join("blobs"), root.join("ingest"));
        for folder in [&blobs, &ingest] {
            std::fs::create_dir_all(folder).map_err(failed("create", folder))?;
        }
        let lock = root.join("lock");
        let file = File::create(&lock).map_err(failed("create", &lock))?;
        take(&file).map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::InUse(root.display().to_string()),
            TryLockError::Error(source) => failed("lock", &lock)(source),
        })?;
        let store = Self {
            _lock: Arc::new(file),
            blobs,
            ingest,
        };
        for entry in std::fs::read_dir(&store.ingest).map_err(failed("list", &store.ingest))? {
            let path = entry.map_err(failed("list", &store.ingest))?.path();
            std::fs::remove_file(&path).map_err(failed("remove the leftover", &path))?;
        }
        Ok(store)
    }

    /// The folder for bytes that are not blobs yet; emptied at every start.
    pub fn scratch(&self) -> &Path {
        &self.ingest
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs
            .join(digest.algorithm().name())
            .join(&digest.hex()[..2])
            .join(digest.hex())
    }
}

#[async_trait]
impl BlobStore for DiskStore {
    async fn open(&self, digest: &Digest) -> Result<Option<Blob>, StoreError> {
        let path = self.path(digest);
        let opened = blocking(move || match File::open(path) {
            Ok(file) => {
                let size = file.metadata()?.len();
                Ok(Some(Blob {
                    reader: Arc::new(FileReader(file)),
                    size,
                }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        });
        opened.await.map_err(|source| StoreError::Io {
            action: "open",
            subject: digest.to_string(),
            source,
        })
    }

    async fn ingest(&self) -> Result<Box<dyn Ingest>, StoreError> {
        let path = self.ingest.join(uuid::Uuid::new_v4().to_string());
        let subject = path.display().to_string();
        let opened = blocking({
            let path = path.clone();
            move || File::options().read(true).write(true).create_new(true).open(path)
        });
        let file = opened.await.map_err(|source| StoreError::Io {
            action: "create",
            subject,
            source,
        })?;
        Ok(Box::new(DiskIngest {
            file: Arc::new(FileReader(file)),
            path: Temporary(path),
            hasher: Some(Hasher::new(Algorithm::Sha256)),
            store: self.clone(),
        }))
    }
}

/// Takes the lock of a store. Whoever held it may have started a program a moment before it ended, and until that program has begun
/// it shares the lock: so a little patience.
#[expect(
    clippy::disallowed_methods,
    reason = "the store is opened before there is other work to hold up"
)]
fn take(lock: &File) -> Result<(), TryLockError> {
    for _ in 1..LOCK_TRIES {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            other => return other,
        }
    }
    lock.try_lock()
}

struct FileReader(File);

impl ReadAt for FileReader {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut bytes = BytesMut::zeroed(length);
        let mut filled = 0;
        while filled < length {
            match self.0.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes.freeze())
    }
}

/// A file that goes away with its owner, unless it was renamed before.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

struct DiskIngest {
    file: Arc<FileReader>,
    path: Temporary,
    /// Taken while a write is under way; a write that failed leaves nothing to commit.
    hasher: Option<Hasher>,
    store: DiskStore,
}

impl DiskIngest {
    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> StoreError + use<> {
        let subject = self.path.0.display().to_string();
        move |source| StoreError::Io {
            action,
            subject,
            source,
        }
    }
}

#[async_trait]
impl Ingest for DiskIngest {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        let file = Arc::clone(&self.file);
        let Some(mut hasher) = self.hasher.take() else {
            return Err(self.failed("write on after a failure to")(
                io::ErrorKind::BrokenPipe.into(),
            ));
        };
        // Hashing runs on the blocking pool too: it costs more than the write.
        let written = blocking(move || {
            (&file.0).write_all(&bytes)?;
            hasher.update(&bytes);
            Ok(hasher)
        });
        self.hasher = Some(written.await.map_err(self.failed("write"))?);
        Ok(())
    }

    fn reader(&self) -> Arc<dyn ReadAt> {
        Arc::clone(&self.file) as Arc<dyn ReadAt>
    }

    async fn commit(mut self: Box<Self>, digest: &Digest) -> Result<(), StoreError> {
        let Some(hasher) = self.hasher.take() else {
            return Err(self.failed("commit")(io::ErrorKind::BrokenPipe.into()));
        };
        let failed = self.failed("commit");
        let (digest, path) = (digest.clone(), self.store.path(digest));
        let committed = blocking(move || {
            let found = match digest.algorithm() {
                Algorithm::Sha256 => hasher.finish(),
                Algorithm::Sha512 => rehash(&self.file, digest.algorithm())?,
            };
            if found != digest {
                return Ok(Err(StoreError::WrongDigest {
                    expected: digest,
                    found,
                }));
            }
            self.file.0.sync_all()?;
            let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
            std::fs::create_dir_all(folder)?;
            std::fs::rename(&self.path.0, &path)?;
            File::open(folder)?.sync_all()?;
            Ok(Ok(()))
        });
        committed.await.map_err(failed)?
    }
}

/// SHA-512 digests are rare: they are computed from the file, so that the stream is hashed once only.
fn rehash(file: &FileReader, algorithm: Algorithm) -> io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    let mut offset = 0;
    loop {
        let chunk = file.read_at(offset, 1 << 20)?;
        if chunk.is_empty() {
            return Ok(hasher.finish());
        }
        offset += chunk.len() as u64;
        hasher.update(&chunk);
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[tokio::test]
    async fn conforms() {
        let folder = tempfile::tempdir().unwrap();
        conformance::check(&DiskStore::open(folder.path()).unwrap()).await;
        assert_eq!(
            std::fs::read_dir(folder.path().join("ingest")).unwrap().count(),
            0,
            "something was left behind"
        );
    }

    #[tokio::test]
    async fn a_start_removes_what_a_crash_left() {
        let folder = tempfile::tempdir().unwrap();
        DiskStore::open(folder.path()).unwrap();
        std::fs::write(folder.path().join("ingest/half"), "x").unwrap();
        DiskStore::open(folder.path()).unwrap();
        assert!(!folder.path().join("ingest/half").exists());
    }
}
