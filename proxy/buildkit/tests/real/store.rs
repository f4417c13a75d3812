//! Blobs in memory, with a record of what BuildKit did and one fault to order: a read that breaks off.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use patchport_buildkit::{ByteStream, Content, ContentError, Ingest};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[derive(Default)]
pub(crate) struct Memory(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    blobs: HashMap<String, Bytes>,
    read: HashMap<String, u64>,
    written: Vec<String>,
    breaks: Option<(String, u64)>,
}

impl Memory {
    pub(crate) fn put(&self, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let digest = digest(&bytes);
        self.0.lock().unwrap().blobs.insert(digest.clone(), bytes);
        digest
    }

    pub(crate) fn blob(&self, digest: &str) -> Bytes {
        self.0
            .lock()
            .unwrap()
            .blobs
            .get(digest)
            .unwrap_or_else(|| panic!("no blob {digest}"))
            .clone()
    }

    pub(crate) fn json(&self, digest: &str) -> serde_json::Value {
        serde_json::from_slice(&self.blob(digest)).unwrap()
    }

    /// The bytes that BuildKit was sent of a blob.
    pub(crate) fn read_of(&self, digest: &str) -> u64 {
        self.0.lock().unwrap().read.get(digest).copied().unwrap_or(0)
    }

    /// The blobs that BuildKit committed since the last call.
    pub(crate) fn take_written(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().written)
    }

    /// Once `after` bytes of that blob were sent, its reads fail until [`Memory::mend`].
    pub(crate) fn break_after(&self, digest: &str, after: u64) {
        self.0.lock().unwrap().breaks = Some((digest.to_owned(), after));
    }

    pub(crate) fn mend(&self) {
        self.0.lock().unwrap().breaks = None;
    }
}

#[async_trait]
impl Content for Memory {
    async fn info(&self, digest: &str) -> Result<Option<u64>, ContentError> {
        Ok(self.0.lock().unwrap().blobs.get(digest).map(|blob| blob.len() as u64))
    }

    async fn read(&self, digest: &str, offset: u64, length: u64) -> Result<ByteStream, ContentError> {
        let mut inner = self.0.lock().unwrap();
        let blob = inner.blobs[digest].clone();
        *inner.read.entry(digest.to_owned()).or_default() += length;
        let broken = || ContentError::Failed {
            digest: digest.to_owned(),
            action: "reading",
            source: "ordered".into(),
        };
        if let Some((_, after)) = inner.breaks.as_ref().filter(|(broken, _)| broken == digest) {
            let end = (offset + length).min(*after).max(offset);
            if end < offset + length {
                let some = blob.slice(offset as usize..end as usize);
                return Ok(stream::iter([Ok(some), Err(broken())]).boxed());
            }
        }
        // Odd pieces, so that nobody leans on their size.
        let range = blob.slice(offset as usize..(offset + length) as usize);
        let pieces: Vec<_> = range.chunks(70_001).map(Bytes::copy_from_slice).map(Ok).collect();
        Ok(stream::iter(pieces).boxed())
    }

    async fn ingest(&self, digest: &str, size: u64) -> Result<Box<dyn Ingest>, ContentError> {
        if self.0.lock().unwrap().blobs.contains_key(digest) {
            return Err(ContentError::AlreadyExists {
                digest: digest.to_owned(),
            });
        }
        Ok(Box::new(Writing {
            store: Arc::clone(&self.0),
            bytes: Vec::with_capacity(size as usize),
        }))
    }
}

struct Writing {
    store: Arc<Mutex<Inner>>,
    bytes: Vec<u8>,
}

#[async_trait]
impl Ingest for Writing {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ContentError> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn commit(self: Box<Self>, stated: &str, size: u64) -> Result<(), ContentError> {
        assert_eq!((digest(&self.bytes).as_str(), self.bytes.len() as u64), (stated, size));
        let mut inner = self.store.lock().unwrap();
        inner.blobs.insert(stated.to_owned(), self.bytes.into());
        inner.written.push(stated.to_owned());
        Ok(())
    }
}
