//! What every blob store must do, checked by one function.
//!
//! Run on the disk store and on the one in memory.

use bytes::Bytes;
use patchport_oci::Digest;

use super::{BlobStore, StoreError};

/// Fails the test when `store` breaks a promise of [`BlobStore`].
pub async fn check(store: &dyn BlobStore) {
    let digest = Digest::of(b"hello world");
    assert!(
        store.open(&digest).await.unwrap().is_none(),
        "an empty store has a blob"
    );

    let mut ingest = store.ingest().await.unwrap();
    ingest.write(Bytes::from_static(b"hello ")).await.unwrap();
    let early = ingest.reader();
    assert_eq!(
        early.read_at(0, 100).unwrap(),
        "hello ",
        "what is written can be read at once"
    );
    assert!(
        store.open(&digest).await.unwrap().is_none(),
        "a blob is visible before it is whole"
    );
    ingest.write(Bytes::from_static(b"world")).await.unwrap();
    ingest.commit(&digest).await.unwrap();
    assert_eq!(
        early.read_at(6, 100).unwrap(),
        "world",
        "an early reader outlives the commit"
    );

    let blob = store.open(&digest).await.unwrap().expect("the blob was committed");
    assert_eq!(blob.size, 11);
    assert_eq!(blob.reader.read_at(4, 3).unwrap(), "o w");
    assert_eq!(blob.reader.read_at(11, 3).unwrap(), "");

    let other = Digest::of(b"other");
    let mut ingest = store.ingest().await.unwrap();
    ingest.write(Bytes::from_static(b"not other")).await.unwrap();
    assert!(matches!(
        ingest.commit(&other).await,
        Err(StoreError::WrongDigest { .. })
    ));
    assert!(store.open(&other).await.unwrap().is_none(), "wrong bytes were believed");

    let mut dropped = store.ingest().await.unwrap();
    dropped.write(Bytes::from_static(b"other")).await.unwrap();
    drop(dropped);
    assert!(store.open(&other).await.unwrap().is_none(), "a dropped blob was kept");

    let again = store.ingest().await.unwrap();
    assert!(again.commit(&Digest::of(b"")).await.is_ok(), "an empty blob is a blob");
}
