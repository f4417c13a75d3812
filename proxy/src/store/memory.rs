//! Blobs in memory, for tests of what stands on a store.
//!
//! Passes the same conformance function as the disk store.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use patchport_oci::Digest;

use super::{Blob, BlobStore, Ingest, ReadAt, StoreError};

/// A store that forgets everything when it is dropped.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<HashMap<Digest, Arc<Shared>>>>);

#[derive(Default)]
struct Shared(Mutex<Vec<u8>>);

impl ReadAt for Shared {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let bytes = self.0.lock().unwrap();
        let first = usize::try_from(offset).unwrap().min(bytes.len());
        Ok(Bytes::copy_from_slice(&bytes[first..bytes.len().min(first + length)]))
    }
}

struct MemoryIngest(Arc<Shared>, MemoryStore);

#[async_trait]
impl BlobStore for MemoryStore {
    async fn open(&self, digest: &Digest) -> Result<Option<Blob>, StoreError> {
        let found = self.0.lock().unwrap().get(digest).cloned();
        Ok(found.map(|reader| {
            let size = reader.0.lock().unwrap().len() as u64;
            Blob { reader, size }
        }))
    }

    async fn ingest(&self) -> Result<Box<dyn Ingest>, StoreError> {
        Ok(Box::new(MemoryIngest(Arc::default(), self.clone())))
    }
}

#[async_trait]
impl Ingest for MemoryIngest {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.0.0.lock().unwrap().extend_from_slice(&bytes);
        Ok(())
    }

    fn reader(&self) -> Arc<dyn ReadAt> {
        Arc::clone(&self.0) as Arc<dyn ReadAt>
    }

    async fn commit(self: Box<Self>, digest: &Digest) -> Result<(), StoreError> {
        let found = Digest::of(&self.0.0.lock().unwrap());
        if found != *digest {
            return Err(StoreError::WrongDigest {
                expected: digest.clone(),
                found,
            });
        }
        self.1.0.lock().unwrap().insert(digest.clone(), self.0);
        Ok(())
    }
}

#[tokio::test]
async fn conforms() {
    super::conformance::check(&MemoryStore::default()).await;
}
