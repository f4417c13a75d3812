//! Files of repositories on disk: what was fetched once is not fetched again while the server says that it is the same.
//!
//! A file is written under a temporary name and renamed; what is damaged is as good as not there. Nothing here is believed:
//! signatures and digests are checked by whoever reads.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use moka::future::Cache;
use patchport_oci::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use super::fetch::{Answer, Base, FetchError, Validators};

/// How long a file is taken for the same without asking: several indexes are below one root.
const MOMENT: Duration = Duration::from_secs(5);
/// Files that are remembered for that moment.
const RECENT: u64 = 1000;
/// The longest head of a kept file, in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// Fetches files, with a folder of those it had.
pub struct Files {
    folder: PathBuf,
    recent: Cache<String, Bytes>,
}

/// The first line of a kept file.
#[derive(Serialize, Deserialize)]
struct Head {
    url: String,
    validators: Validators,
    digest: Digest,
}

impl Files {
    /// Files in `folder`, which is made when the first is kept.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            recent: Cache::builder().max_capacity(RECENT).time_to_live(MOMENT).build(),
        }
    }

    /// A file that may change, as the server has it now; as it was last time when the server cannot be reached.
    ///
    /// # Errors
    /// [`FetchError`] when neither has it.
    pub async fn current(&self, base: &Base, path: &str, limit: usize) -> Result<Bytes, FetchError> {
        let name = format!("{}{path}", base.shown());
        if let Some(bytes) = self.recent.get(&name).await {
            return Ok(bytes);
        }
        let kept = self.kept(&name, limit).await;
        let validators = kept.as_ref().map(|(validators, _)| validators);
        let bytes = match (base.fetch(path, limit, validators).await, kept) {
            (Ok(Answer::File(bytes, validators)), _) => {
                self.keep(&name, &bytes, validators).await;
                bytes
            }
            (Ok(Answer::Unchanged), Some((_, bytes))) => bytes,
            (Ok(Answer::Unchanged), None) => return Err(FetchError::Status { url: name, status: 304 }),
            (Err(error), Some((_, bytes))) if error.is_passing() => {
                tracing::warn!(%error, "a repository cannot be read, what it said last is used");
                bytes
            }
            (Err(error), _) => return Err(error),
        };
        self.recent.insert(name, bytes.clone()).await;
        Ok(bytes)
    }

    /// A file that never changes, for its name or its index says its digest.
    ///
    /// # Errors
    /// [`FetchError`] when the server does not give it.
    pub async fn fixed(&self, base: &Base, path: &str, digest: &Digest, limit: usize) -> Result<Bytes, FetchError> {
        let name = digest.to_string();
        let is_it = |bytes: &[u8]| {
            let mut hasher = Hasher::new(digest.algorithm());
            hasher.update(bytes);
            hasher.finish() == *digest
        };
        if let Some((_, bytes)) = self.kept(&name, limit).await
            && is_it(&bytes)
        {
            return Ok(bytes);
        }
        let bytes = match base.fetch(path, limit, None).await? {
            Answer::File(bytes, _) => bytes,
            Answer::Unchanged => Bytes::new(),
        };
        if is_it(&bytes) {
            self.keep(&name, &bytes, Validators::default()).await;
        }
        Ok(bytes)
    }

    /// Forgets a fixed file: a newer one has taken its place.
    pub async fn forget(&self, digest: &Digest) {
        let _ = tokio::fs::remove_file(self.path(&digest.to_string())).await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(Digest::of(name.as_bytes()).hex())
    }

    async fn kept(&self, name: &str, limit: usize) -> Option<(Validators, Bytes)> {
        let path = self.path(name);
        let length = tokio::fs::metadata(&path).await.ok()?.len();
        if length > (limit + MAX_HEAD) as u64 {
            return None;
        }
        let mut bytes = Bytes::from(tokio::fs::read(&path).await.ok()?);
        let end = bytes.iter().take(MAX_HEAD).position(|byte| *byte == b'\n')?;
        let head: Head = serde_json::from_slice(&bytes.split_to(end)).ok()?;
        let content = bytes.split_off(1);
        (head.url == name && head.digest == Digest::of(&content)).then_some((head.validators, content))
    }

    /// Keeps a file as well as it can: a disk that is full costs a fetch next time, and nothing else.
    async fn keep(&self, name: &str, bytes: &Bytes, validators: Validators) {
        let head = Head {
            url: name.to_owned(),
            validators,
            digest: Digest::of(bytes),
        };
        let (folder, path, bytes) = (self.folder.clone(), self.path(name), bytes.clone());
        let written = tokio::task::spawn_blocking(move || write(&folder, &path, &head, &bytes)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, folder = %self.folder.display(), "a package index cannot be kept");
        }
    }
}

fn write(folder: &Path, path: &Path, head: &Head, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;

    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, head)?;
    file.write_all(b"\n")?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_is_read_back_and_what_is_damaged_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path().join("indexes"));
        let bytes = Bytes::from_static(b"line\nline\n");
        assert!(files.kept("a", 100).await.is_none());
        files.keep("a", &bytes, Validators::default()).await;
        assert_eq!(files.kept("a", 100).await.unwrap().1, bytes);
        assert!(files.kept("b", 100).await.is_none());
        let path = files.path("a");
        let mut damaged = std::fs::read(&path).unwrap();
        *damaged.last_mut().unwrap() = b'!';
        std::fs::write(&path, damaged).unwrap();
        assert!(files.kept("a", 100).await.is_none());
        std::fs::write(&path, "no head").unwrap();
        assert!(files.kept("a", 100).await.is_none());
    }
}
