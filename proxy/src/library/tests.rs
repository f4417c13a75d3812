//! Two repositories over one store: what one was shown, the other must be shown too.
//!
//! Counts what upstream was asked, for a question too few is a leak and one too many a slow pull.

use futures_util::TryStreamExt as _;

use super::*;
use crate::store::memory::MemoryStore;
use crate::tasks::Tasks;
use crate::testing::{Call, Fault, Faulty, Gate, Memory, place};
use crate::upstream::UpstreamError;

const TEXT: &str = "hello world!";

struct Bench {
    memory: Arc<Memory>,
    upstream: Arc<Faulty<Arc<Memory>>>,
    catalog: Catalog,
    blobs: Arc<Blobs>,
    library: Library,
    /// Upstream has the blob here, and not in the other.
    here: Place,
    elsewhere: Place,
    digest: Digest,
}

impl Bench {
    async fn new() -> Self {
        let memory = Arc::new(Memory::default());
        let upstream = Arc::new(Faulty::new(Arc::clone(&memory)));
        let catalog = Catalog::in_memory().await.unwrap();
        let blobs = Arc::new(Blobs::new(Arc::new(MemoryStore::default()), Tasks::new()));
        Self {
            digest: memory.put_blob("team/here", TEXT),
            library: Library::new(catalog.clone(), Arc::clone(&blobs)),
            here: place("team/here", Arc::clone(&upstream) as _),
            elsewhere: place("team/elsewhere", Arc::clone(&upstream) as _),
            memory,
            upstream,
            catalog,
            blobs,
        }
    }

    async fn read(&self, place: &Place) -> Result<Vec<u8>, LibraryError> {
        let content = self.library.blob(place, &self.digest, None).await?;
        Ok(content.stream(None).try_collect::<Vec<bytes::Bytes>>().await?.concat())
    }

    /// How often upstream was asked for the size, and for the bytes.
    fn asked(&self) -> (usize, usize) {
        (
            self.upstream.calls.of(Call::BlobSize),
            self.upstream.calls.of(Call::Blob),
        )
    }
}

fn is_not_found<T>(answer: &Result<T, LibraryError>) -> bool {
    matches!(
        answer,
        Err(LibraryError::Blob(BlobError::Upstream(UpstreamError::NotFound { .. })))
    )
}

#[tokio::test]
async fn a_blob_that_came_through_the_repository_needs_no_second_question_ever() {
    let bench = Bench::new().await;
    assert!(!bench.library.may_read(&bench.here, &bench.digest).await.unwrap());
    for _ in 0..2 {
        assert_eq!(bench.read(&bench.here).await.unwrap(), TEXT.as_bytes());
        assert_eq!(bench.library.blob_size(&bench.here, &bench.digest).await.unwrap(), 12);
        bench.library.vouch(&bench.here, &bench.digest).await.unwrap();
    }
    assert_eq!(bench.asked(), (0, 1));
    // Also not after a restart.
    let again = Library::new(bench.catalog.clone(), Arc::clone(&bench.blobs));
    again.blob(&bench.here, &bench.digest, None).await.unwrap();
    assert_eq!(bench.asked(), (0, 1));
}

#[tokio::test]
async fn that_the_store_has_a_blob_opens_no_way_to_it() {
    let bench = Bench::new().await;
    bench.read(&bench.here).await.unwrap();
    for _ in 0..2 {
        assert!(is_not_found(&bench.read(&bench.elsewhere).await));
        assert!(is_not_found(
            &bench.library.blob_size(&bench.elsewhere, &bench.digest).await
        ));
        assert!(is_not_found(
            &bench.library.vouch(&bench.elsewhere, &bench.digest).await
        ));
    }
    assert!(!bench.library.may_read(&bench.elsewhere, &bench.digest).await.unwrap());
    assert_eq!(
        bench.asked(),
        (6, 1),
        "a refusal is not remembered: the blob may be pushed there"
    );
    bench.memory.put_blob("team/elsewhere", TEXT);
    assert_eq!(bench.read(&bench.elsewhere).await.unwrap(), TEXT.as_bytes());
    assert_eq!(bench.read(&bench.elsewhere).await.unwrap(), TEXT.as_bytes());
    assert_eq!(bench.asked(), (7, 1), "its word is enough, the bytes are here");
}

#[tokio::test]
async fn who_joins_the_fetch_of_another_repository_is_asked_for_too() {
    let (bench, gate) = (Bench::new().await, Gate::new());
    bench.upstream.always(Call::Blob, Fault::HoldAfter(8, gate.clone()));
    let content = bench.library.blob(&bench.here, &bench.digest, None).await.unwrap();
    gate.reached().await;
    assert!(is_not_found(&bench.read(&bench.elsewhere).await));
    bench.memory.put_blob("team/elsewhere", TEXT);
    let joined = bench.library.blob(&bench.elsewhere, &bench.digest, None).await.unwrap();
    gate.open();
    for content in [content, joined] {
        let chunks: Vec<bytes::Bytes> = content.stream(None).try_collect().await.unwrap();
        assert_eq!(chunks.concat(), TEXT.as_bytes());
    }
    assert_eq!(bench.asked(), (2, 1));
}

#[tokio::test]
async fn upstreams_word_opens_the_way_and_its_silence_does_not() {
    for (name, fault, opened) in [("a size", None, true), ("nothing", Some(Fault::unreachable()), false)] {
        let bench = Bench::new().await;
        if let Some(fault) = fault {
            bench.upstream.always(Call::BlobSize, fault);
        }
        let vouched = bench.library.vouch(&bench.here, &bench.digest).await;
        assert_eq!(vouched.is_ok(), opened, "{name}");
        assert_eq!(
            bench.library.may_read(&bench.here, &bench.digest).await.unwrap(),
            opened,
            "{name}"
        );
        assert_eq!(bench.asked(), (1, 0), "{name}");
    }
}

#[tokio::test]
async fn a_blob_that_fails_on_its_way_opens_nothing() {
    let bench = Bench::new().await;
    bench.upstream.always(Call::Blob, Fault::unreachable());
    assert!(bench.read(&bench.here).await.is_err());
    assert!(!bench.library.may_read(&bench.here, &bench.digest).await.unwrap());
    bench.upstream.heal();
    let wrong = bench.library.blob(&bench.here, &bench.digest, Some(13)).await;
    assert!(matches!(wrong, Err(LibraryError::Blob(BlobError::Lied { .. }))));
    assert_eq!(
        bench.read(&bench.here).await.unwrap(),
        TEXT.as_bytes(),
        "a wrong descriptor spoils nothing"
    );
}

#[tokio::test]
async fn the_size_of_a_blob_that_may_be_read_is_asked_for_until_it_is_here() {
    let bench = Bench::new().await;
    for _ in 0..2 {
        assert_eq!(bench.library.blob_size(&bench.here, &bench.digest).await.unwrap(), 12);
    }
    assert_eq!(bench.asked(), (2, 0));
    bench.read(&bench.here).await.unwrap();
    assert_eq!(bench.library.blob_size(&bench.here, &bench.digest).await.unwrap(), 12);
    assert_eq!(bench.asked(), (2, 1));
}
