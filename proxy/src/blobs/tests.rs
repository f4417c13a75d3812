//! Blobs from an upstream that sends them in pieces of four bytes, stops, and lies.
//!
//! What counts is what a reader saw before it was told of the error, and what the store holds afterwards.

use futures_util::future::join_all;
use futures_util::{FutureExt as _, TryStreamExt as _};

use super::*;
use crate::store::memory::MemoryStore;
use crate::testing::{Call, Fault, Faulty, Gate, Memory, place};

/// Three pieces.
const TEXT: &[u8] = b"hello world!";

struct Bench {
    memory: Arc<Memory>,
    upstream: Arc<Faulty<Arc<Memory>>>,
    tasks: Tasks,
    blobs: Blobs,
    digest: Digest,
}

impl Bench {
    fn new() -> Self {
        let memory = Arc::new(Memory::default());
        let digest = memory.put_blob("team/app", TEXT);
        let tasks = Tasks::new();
        Self {
            upstream: Arc::new(Faulty::new(Arc::clone(&memory))),
            memory,
            blobs: Blobs::new(Arc::new(MemoryStore::default()), tasks.clone()),
            tasks,
            digest,
        }
    }

    /// A bench whose upstream goes wrong with blobs.
    fn faulty(fault: Fault) -> Self {
        let bench = Self::new();
        bench.upstream.always(Call::Blob, fault);
        bench
    }

    fn origin(&self, size: Option<u64>) -> Origin {
        Origin {
            place: place("team/app", Arc::clone(&self.upstream) as _),
            size,
        }
    }

    async fn fetch(&self) -> Result<Content, BlobError> {
        self.blobs
            .fetch(&self.digest, &self.origin(Some(TEXT.len() as u64)))
            .await
    }

    async fn is_stored(&self) -> bool {
        self.blobs.stored(&self.digest).await.unwrap().is_some()
    }

    /// How often upstream was asked for a blob.
    fn asked(&self) -> usize {
        self.upstream.calls.of(Call::Blob)
    }
}

async fn whole(content: Content) -> Result<Vec<u8>, BlobError> {
    let chunks: Vec<Bytes> = content.stream(None).try_collect().await?;
    Ok(chunks.concat())
}

/// What a reader got, and whether it was the end or an error that stopped it.
async fn read(content: Content, range: Option<ByteRange>) -> (Vec<u8>, Result<(), BlobError>) {
    let (mut stream, mut bytes) = (content.stream(range), Vec::new());
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(error) => return (bytes, Err(error)),
        }
    }
    (bytes, Ok(()))
}

#[tokio::test]
async fn many_readers_share_one_fetch_and_the_store_serves_the_next() {
    let gate = Gate::new();
    let bench = Bench::faulty(Fault::HoldAfter(8, gate.clone()));
    let opens = async {
        gate.reached().await;
        gate.open();
    };
    let readers = (0..8).map(|_| async { whole(bench.fetch().await?).await });
    let (read, ()) = tokio::join!(join_all(readers), opens);
    assert!(read.into_iter().all(|bytes| bytes.unwrap() == TEXT));
    let again = bench.fetch().await.unwrap();
    assert_eq!((again.size(), whole(again).await.unwrap()), (Some(12), TEXT.to_vec()));
    assert_eq!(bench.memory.calls.of(Call::Blob), 1);
}

#[tokio::test]
async fn the_last_piece_is_held_back_until_all_of_it_is_verified() {
    let gate = Gate::new();
    let bench = Bench::faulty(Fault::HoldAfter(8, gate.clone()));
    let mut stream = bench.fetch().await.unwrap().stream(None);
    gate.reached().await;
    assert_eq!(stream.next().await.unwrap().unwrap(), "hell");
    assert!(
        stream.next().now_or_never().is_none(),
        "the last piece that is here may be the last of all"
    );
    assert!(!bench.is_stored().await, "a blob is in the store before it is whole");
    gate.open();
    let rest: Vec<Bytes> = stream.try_collect().await.unwrap();
    assert_eq!(rest.concat(), b"o world!");
}

#[tokio::test]
async fn what_is_not_the_blob_is_neither_given_whole_nor_kept() {
    // The fault, what the manifest says of the size, how much a reader may see at most.
    let said = Some(12);
    for (name, fault, size, seen) in [
        ("other bytes", Fault::Bytes(b"jello world!"), said, 8),
        ("other bytes, size unknown", Fault::Bytes(b"jello world!"), None, 8),
        ("other bytes at the end", Fault::Bytes(b"hello world?"), said, 8),
        ("too short", Fault::Truncate(8), said, 4),
        ("nothing at all", Fault::Truncate(0), said, 0),
        ("broken off", Fault::Break(8), said, 4),
        ("broken off before the last byte", Fault::Break(11), said, 8),
        ("broken off after the last byte", Fault::Break(12), said, 8),
        ("too long", Fault::Bytes(b"hello world! and more"), said, 8),
        ("endless", Fault::Endless, said, 8),
        ("says another size", Fault::Size(Some(13)), said, 0),
        ("says no size, and breaks", Fault::Break(4), None, 0),
    ] {
        let bench = Bench::faulty(fault);
        let (bytes, end) = match bench.blobs.fetch(&bench.digest, &bench.origin(size)).await {
            Ok(content) => read(content, None).await,
            Err(error) => (Vec::new(), Err(error)),
        };
        assert!(end.is_err(), "{name}: the reader was told that all was well");
        assert!(bytes.len() <= seen, "{name}: the reader saw {} bytes", bytes.len());
        assert!(!bench.is_stored().await, "{name}: something was kept");
        // The next one starts afresh.
        bench.upstream.heal();
        assert_eq!(whole(bench.fetch().await.unwrap()).await.unwrap(), TEXT, "{name}");
        assert_eq!(bench.asked(), 2, "{name}");
    }
}

#[tokio::test]
async fn errors_say_whose_fault_it_is() {
    for (name, fault, text) in [
        ("digest", Fault::Bytes(b"jello world!"), "the bytes hash to sha256:"),
        ("short", Fault::Truncate(8), "it ended after 8 of 12 bytes"),
        ("long", Fault::Endless, "it is longer than 12 bytes"),
        (
            "size",
            Fault::Size(Some(13)),
            "its manifest says 12 bytes, upstream says 13",
        ),
        ("down", Fault::unreachable(), "could not be read for"),
    ] {
        let bench = Bench::faulty(fault);
        let error = match bench.fetch().await {
            Ok(content) => whole(content).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(text), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_blob_of_unknown_size_is_served_and_may_be_empty() {
    let bench = Bench::faulty(Fault::Size(None));
    let content = bench.blobs.fetch(&bench.digest, &bench.origin(None)).await.unwrap();
    assert_eq!((content.size(), whole(content).await.unwrap()), (None, TEXT.to_vec()));
    let empty = bench.memory.put_blob("team/app", "");
    for size in [None, Some(0)] {
        let content = bench.blobs.fetch(&empty, &bench.origin(size)).await.unwrap();
        assert_eq!(whole(content).await.unwrap(), b"", "{size:?}");
    }
}

#[tokio::test]
async fn a_reader_that_leaves_does_not_stop_the_fill() {
    let gate = Gate::new();
    let bench = Bench::faulty(Fault::HoldAfter(4, gate.clone()));
    drop(bench.fetch().await.unwrap());
    // One that leaves before the headers are here.
    let other = bench.memory.put_blob("team/app", "other");
    let headers = Gate::new();
    bench.upstream.always(Call::Blob, Fault::Hang(headers.clone()));
    let origin = bench.origin(Some(5));
    tokio::select! {
        biased;
        _ = bench.blobs.fetch(&other, &origin) => panic!("the headers are held back"),
        () = headers.reached() => {}
    }
    gate.open();
    headers.open();
    assert!(bench.tasks.shut_down(std::time::Duration::from_secs(30)).await);
    assert!(bench.is_stored().await);
    assert!(bench.blobs.stored(&other).await.unwrap().is_some());
}

#[tokio::test]
async fn a_range_of_a_cold_blob_comes_as_it_arrives_but_for_its_last_byte() {
    for (first, last) in [(0, 0), (0, 3), (0, 11), (4, 7), (5, 9), (11, 11)] {
        let gate = Gate::new();
        let bench = Bench::faulty(Fault::HoldAfter(8, gate.clone()));
        let mut stream = bench.fetch().await.unwrap().stream(Some(ByteRange { first, last }));
        gate.reached().await;
        // The first piece is readable; the second may yet be the last.
        let early = last.min(4).saturating_sub(first);
        let mut bytes = Vec::new();
        while bytes.len() < usize::try_from(early).unwrap() {
            bytes.extend(stream.next().await.unwrap().unwrap());
        }
        assert_eq!(
            bytes.len() as u64,
            early,
            "{first}-{last}: bytes before the blob was verified"
        );
        assert!(stream.next().now_or_never().is_none(), "{first}-{last}");
        gate.open();
        bytes.extend(stream.try_collect::<Vec<Bytes>>().await.unwrap().concat());
        let expected = usize::try_from(first).unwrap()..=usize::try_from(last).unwrap();
        assert_eq!(bytes, TEXT[expected], "{first}-{last}");
    }
}

#[tokio::test]
async fn a_reader_of_wrong_bytes_sees_all_but_the_last_of_what_it_wants_and_then_an_error() {
    let range = |first, last| Some(ByteRange { first, last });
    // What upstream sends, how much of it before it pauses, what is wanted, how many bytes are seen meanwhile.
    for (name, bytes, sent, range, seen) in [
        ("all of other bytes", &b"jello world!"[..], 12, None, 8),
        ("wrong at the end", b"hello world?", 12, None, 8),
        ("too short", b"hello wo", 8, None, 4),
        ("too long", b"hello world! and more", 12, None, 8),
        ("one byte", b"jello world!", 12, range(0, 0), 0),
        ("a range at the start", b"jello world!", 12, range(0, 3), 3),
        ("a range inside", b"jello world!", 12, range(5, 7), 2),
        ("a range at the end", b"jello world!", 12, range(6, 11), 2),
    ] {
        let gate = Gate::new();
        let bench = Bench::faulty(Fault::Bytes(bytes));
        bench.upstream.always(Call::Blob, Fault::HoldAfter(sent, gate.clone()));
        let mut stream = bench.fetch().await.unwrap().stream(range);
        gate.reached().await;
        let mut got = 0;
        while got < seen {
            got += stream.next().await.unwrap().unwrap().len();
        }
        assert_eq!(got, seen, "{name}");
        assert!(
            stream.next().now_or_never().is_none(),
            "{name}: more was given before it was verified"
        );
        gate.open();
        assert!(stream.try_collect::<Vec<Bytes>>().await.is_err(), "{name}");
        assert!(!bench.is_stored().await, "{name}");
    }
}

#[tokio::test]
async fn a_fill_shows_through_which_repository_it_comes_and_when_it_is_verified() {
    let gate = Gate::new();
    let bench = Bench::faulty(Fault::HoldAfter(8, gate.clone()));
    let other = place("team/other", Arc::clone(&bench.upstream) as _);
    let content = bench.fetch().await.unwrap();
    assert!(content.came_through(&bench.origin(None).place));
    assert!(
        !content.came_through(&other),
        "another repository may not take it for its own"
    );
    let origin = Origin {
        place: other,
        size: Some(12),
    };
    let joined = bench.blobs.fetch(&bench.digest, &origin).await.unwrap();
    assert!(!joined.came_through(&origin.place), "that it was joined shows nothing");
    assert!(content.clone().verified().now_or_never().is_none());
    gate.open();
    content.verified().await.unwrap();
    assert!(!bench.fetch().await.unwrap().came_through(&origin.place));
}

#[tokio::test]
async fn a_large_blob_is_read_in_bounded_steps_and_from_any_offset() {
    let bench = Bench::new();
    let large: Vec<u8> = (0..CHUNK * 2 + 5).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let digest = Digest::of(&large);
    let mut ingest = bench.blobs.store().ingest().await.unwrap();
    ingest.write(Bytes::from(large.clone())).await.unwrap();
    ingest.commit(&digest).await.unwrap();
    let content = bench.blobs.stored(&digest).await.unwrap().unwrap();
    let chunks: Vec<Bytes> = content.clone().stream(None).try_collect().await.unwrap();
    assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK));
    assert_eq!(chunks.concat(), large);
    let (first, last) = (CHUNK as u64 - 1, CHUNK as u64 + 1);
    let (bytes, _) = read(content, Some(ByteRange { first, last })).await;
    assert_eq!(bytes, large[CHUNK - 1..=CHUNK + 1]);
}

#[tokio::test]
async fn shutdown_breaks_a_stream_off_and_keeps_nothing() {
    let gate = Gate::new();
    let bench = Bench::faulty(Fault::HoldAfter(8, gate.clone()));
    let content = bench.fetch().await.unwrap();
    gate.reached().await;
    assert!(!bench.tasks.shut_down(std::time::Duration::ZERO).await);
    let (bytes, end) = read(content, None).await;
    assert!(matches!(end, Err(BlobError::Interrupted(_))), "{end:?}");
    assert!(bytes.len() <= 4 && !bench.is_stored().await);
}

#[tokio::test]
async fn what_is_stored_needs_no_upstream() {
    let bench = Bench::new();
    whole(bench.fetch().await.unwrap()).await.unwrap();
    bench.upstream.always(Call::Blob, Fault::unreachable());
    assert_eq!(whole(bench.fetch().await.unwrap()).await.unwrap(), TEXT);
    assert_eq!(bench.asked(), 1);
}
