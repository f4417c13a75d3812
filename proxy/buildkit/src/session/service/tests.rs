//! The content API against clients that do not behave: limits, order, and what a refusal leaves behind.

use std::collections::HashMap;
use std::sync::Mutex;

use futures_util::TryStreamExt as _;
use tonic::Code;
use tonic::client;

use super::*;
use crate::session::content::{Error, Ingest};
use crate::session::wire::WriteAction;

const BLOB: &[u8] = b"0123456789";

#[derive(Default)]
struct Memory(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    blobs: HashMap<String, Vec<u8>>,
    dropped: usize,
    short: bool,
}

struct Writing(Arc<Mutex<Kept>>, Vec<u8>, bool);

#[async_trait::async_trait]
impl Content for Memory {
    async fn info(&self, digest: &str) -> Result<Option<u64>, Error> {
        Ok((digest == known()).then_some(BLOB.len() as u64))
    }

    async fn read(&self, _: &str, offset: u64, length: u64) -> Result<ByteStream, Error> {
        let end = if self.0.lock().unwrap().short {
            5
        } else {
            offset + length
        };
        let bytes = Bytes::from_static(&BLOB[offset as usize..end as usize]);
        // One byte more than was asked for is not passed on.
        Ok(stream::iter([Ok(Bytes::new()), Ok(bytes)]).boxed())
    }

    async fn ingest(&self, digest: &str, _: u64) -> Result<Box<dyn Ingest>, Error> {
        if digest == known() {
            return Err(Error::AlreadyExists {
                digest: digest.to_owned(),
            });
        }
        Ok(Box::new(Writing(Arc::clone(&self.0), Vec::new(), false)))
    }
}

#[async_trait::async_trait]
impl Ingest for Writing {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.1.extend_from_slice(&bytes);
        Ok(())
    }

    async fn commit(mut self: Box<Self>, digest: &str, _: u64) -> Result<(), Error> {
        self.2 = true;
        let bytes = std::mem::take(&mut self.1);
        self.0.lock().unwrap().blobs.insert(digest.to_owned(), bytes);
        Ok(())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.2 {
            self.0.lock().unwrap().dropped += 1;
        }
    }
}

fn known() -> String {
    format!("sha256:{}", "a".repeat(64))
}

fn new() -> String {
    format!("sha256:{}", "b".repeat(64))
}

struct Bench {
    kept: Arc<Mutex<Kept>>,
    service: ContentService,
}

impl Bench {
    fn new() -> Self {
        let memory = Memory::default();
        let kept = Arc::clone(&memory.0);
        Self {
            kept,
            service: ContentService::new(Arc::new(memory), Pulse::default()),
        }
    }

    async fn client(&self) -> client::Grpc<ContentService> {
        let mut client = client::Grpc::new(self.service.clone());
        client.ready().await.unwrap();
        client
    }

    async fn read(&self, digest: &str, offset: i64, size: i64) -> Result<Vec<u8>, Status> {
        let request = Request::new(ReadRequest {
            digest: digest.to_owned(),
            offset,
            size,
        });
        let codec = ProstCodec::<ReadRequest, ReadResponse>::default();
        let path = http::uri::PathAndQuery::from_static(READ);
        let stream = self
            .client()
            .await
            .server_streaming(request, path, codec)
            .await?
            .into_inner();
        let pieces: Vec<_> = stream.try_collect().await?;
        Ok(pieces.iter().flat_map(|piece| piece.data.to_vec()).collect())
    }

    async fn write(&self, requests: Vec<WriteRequest>) -> Result<Vec<WriteResponse>, Status> {
        let request = Request::new(stream::iter(requests));
        let codec = ProstCodec::<WriteRequest, WriteResponse>::default();
        let path = http::uri::PathAndQuery::from_static(WRITE);
        let stream = self.client().await.streaming(request, path, codec).await?.into_inner();
        stream.try_collect().await
    }
}

fn stat(digest: &str, total: i64) -> WriteRequest {
    let action = WriteAction::Stat.into();
    WriteRequest {
        action,
        reference: "ref".into(),
        expected: digest.to_owned(),
        total,
        ..WriteRequest::default()
    }
}

fn piece(offset: i64, data: &'static [u8]) -> WriteRequest {
    let action = WriteAction::Write.into();
    WriteRequest {
        action,
        offset,
        data: Bytes::from_static(data),
        ..WriteRequest::default()
    }
}

fn commit(digest: &str, total: i64) -> WriteRequest {
    WriteRequest {
        action: WriteAction::Commit.into(),
        ..stat(digest, total)
    }
}

#[tokio::test]
async fn reads_are_clamped_as_containerd_clamps_them() {
    let bench = Bench::new();
    let table: [(i64, i64, &[u8]); 6] = [
        (0, 10, BLOB),
        (0, 0, BLOB),
        (3, -1, &BLOB[3..]),
        (8, i64::MAX, &BLOB[8..]),
        (-5, 2, &BLOB[..2]),
        (10, 5, b""),
    ];
    for (offset, size, expected) in table {
        assert_eq!(
            bench.read(&known(), offset, size).await.unwrap(),
            expected,
            "{offset} {size}"
        );
    }
}

#[tokio::test]
async fn reads_that_cannot_be_are_refused() {
    let bench = Bench::new();
    let table = [
        (known(), 11, Code::OutOfRange),
        (new(), 0, Code::NotFound),
        ("sha256:A".to_owned(), 0, Code::InvalidArgument),
    ];
    for (digest, offset, code) in table {
        assert_eq!(
            bench.read(&digest, offset, 1).await.unwrap_err().code(),
            code,
            "{digest} {offset}"
        );
    }
    bench.kept.lock().unwrap().short = true;
    assert_eq!(bench.read(&known(), 0, 10).await.unwrap_err().code(), Code::DataLoss);
}

#[tokio::test]
async fn a_blob_is_written_as_buildkit_writes_it() {
    let bench = Bench::new();
    let again = WriteRequest {
        action: WriteAction::Stat.into(),
        ..WriteRequest::default()
    };
    let requests = vec![
        stat(&new(), 5),
        again,
        piece(0, b"01"),
        piece(2, b"234"),
        commit(&new(), 5),
    ];
    let replies = bench.write(requests).await.unwrap();
    assert_eq!(
        replies.iter().map(|reply| reply.offset).collect::<Vec<_>>(),
        [0, 0, 2, 5, 5]
    );
    assert_eq!(replies[4].digest, new());
    let kept = bench.kept.lock().unwrap();
    assert_eq!((kept.blobs[&new()].as_slice(), kept.dropped), (b"01234".as_slice(), 0));
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
#[tokio::test]
async fn writes_out_of_order_are_refused_and_leave_nothing() {
    let nameless = WriteRequest {
        reference: String::new(),
        ..stat(&new(), 5)
    };
    let endless = WriteRequest {
        reference: "r".repeat(2000),
        ..stat(&new(), 5)
    };
    let table = [
        ("known", vec![stat(&known(), 10)], Code::AlreadyExists),
        ("nameless", vec![nameless], Code::InvalidArgument),
        ("endless name", vec![endless], Code::InvalidArgument),
        ("no digest", vec![stat("", 5)], Code::InvalidArgument),
        ("no size", vec![stat(&new(), 0)], Code::InvalidArgument),
        ("negative size", vec![stat(&new(), -1)], Code::InvalidArgument),
        (
            "unknown action",
            vec![WriteRequest {
                action: 7,
                ..stat(&new(), 5)
            }],
            Code::InvalidArgument,
        ),
        ("gap", vec![stat(&new(), 5), piece(1, b"1")], Code::OutOfRange),
        (
            "rewind",
            vec![stat(&new(), 5), piece(0, b"0"), piece(0, b"0")],
            Code::OutOfRange,
        ),
        (
            "too much",
            vec![stat(&new(), 5), piece(0, b"012345")],
            Code::ResourceExhausted,
        ),
        (
            "too little",
            vec![stat(&new(), 5), piece(0, b"0"), commit(&new(), 5)],
            Code::FailedPrecondition,
        ),
        (
            "another digest",
            vec![stat(&new(), 1), piece(0, b"0"), commit(&known(), 1)],
            Code::FailedPrecondition,
        ),
        (
            "another size",
            vec![stat(&new(), 1), piece(0, b"0"), commit(&new(), 2)],
            Code::FailedPrecondition,
        ),
        (
            "after the end",
            vec![stat(&new(), 1), piece(0, b"0"), commit(&new(), 1), piece(1, b"1")],
            Code::FailedPrecondition,
        ),
    ];
    for (name, requests, code) in table {
        let bench = Bench::new();
        let opened = matches!(code, Code::OutOfRange | Code::ResourceExhausted)
            || name == "too little"
            || name.starts_with("another");
        assert_eq!(bench.write(requests).await.unwrap_err().code(), code, "{name}");
        assert_eq!(bench.kept.lock().unwrap().dropped, usize::from(opened), "{name}");
    }
    let bench = Bench::new();
    bench.write(vec![stat(&new(), 5), piece(0, b"0")]).await.unwrap();
    assert_eq!(bench.kept.lock().unwrap().dropped, 1, "hung up");
}

#[tokio::test]
async fn ingests_are_bounded() {
    let bench = Bench::new();
    let all = Arc::clone(&bench.service.ingests)
        .try_acquire_many_owned(INGESTS as u32)
        .unwrap();
    assert_eq!(
        bench.write(vec![stat(&new(), 5)]).await.unwrap_err().code(),
        Code::Unavailable
    );
    drop(all);
    bench.write(vec![stat(&new(), 5)]).await.unwrap();
}

#[tokio::test]
async fn other_methods_are_unimplemented() {
    let codec = ProstCodec::<InfoRequest, InfoResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/containerd.services.content.v1.Content/Delete");
    let request = Request::new(InfoRequest { digest: known() });
    let answer = Bench::new().client().await.unary(request, path, codec).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}
