//! containerd's content API over a [`Content`]: Info, Read and Write, which is all that BuildKit's `oci-layout` source
//! and `oci` exporter call. What comes in is bounded and checked; everything else is Unimplemented.

mod write;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use super::content::{ByteStream, Content};
use super::health::Pulse;
use super::wire::{Info, InfoRequest, InfoResponse, ReadRequest, ReadResponse, WriteRequest, WriteResponse};
use write::Writer;

pub(crate) const INFO: &str = "/containerd.services.content.v1.Content/Info";
pub(crate) const READ: &str = "/containerd.services.content.v1.Content/Read";
pub(crate) const WRITE: &str = "/containerd.services.content.v1.Content/Write";

/// The largest message that BuildKit may send, in bytes: it writes 1 MiB at a time, containerd's limit is 8.
const INCOMING_LIMIT: usize = 9 << 20;
/// The most bytes of a blob in one message.
const PIECE: usize = 1 << 20;
/// Blobs that may be written at once in one session; BuildKit uses a handful.
const INGESTS: usize = 64;

type Reply<T> = Result<Response<T>, Status>;

/// The tower service of one session.
#[derive(Clone)]
pub(crate) struct ContentService {
    content: Arc<dyn Content>,
    pulse: Pulse,
    ingests: Arc<Semaphore>,
}

impl ContentService {
    pub(crate) fn new(content: Arc<dyn Content>, pulse: Pulse) -> Self {
        Self {
            content,
            pulse,
            ingests: Arc::new(Semaphore::new(INGESTS)),
        }
    }

    async fn info(self, request: Request<InfoRequest>) -> Reply<InfoResponse> {
        let digest = request.into_inner().digest;
        let size = self.size(&digest).await?;
        let info = Info {
            digest,
            size: to_wire(size)?,
        };
        Ok(Response::new(InfoResponse { info: Some(info) }))
    }

    /// As containerd's own server does: beyond the end is OutOfRange, too long a range is cut, none means the rest.
    async fn read(self, request: Request<ReadRequest>) -> Reply<BoxStream<'static, Result<ReadResponse, Status>>> {
        let ReadRequest { digest, offset, size } = request.into_inner();
        let total = self.size(&digest).await?;
        let offset = u64::try_from(offset).unwrap_or(0);
        let Some(rest) = total.checked_sub(offset) else {
            return Err(Status::out_of_range(format!(
                "blob {digest}: offset {offset} is beyond its {total} bytes"
            )));
        };
        let length = match u64::try_from(size) {
            Ok(size @ 1..) => size.min(rest),
            _ => rest,
        };
        if length == 0 {
            return Ok(Response::new(stream::empty().boxed()));
        }
        let bytes = self.content.read(&digest, offset, length).await?;
        let pieces = Pieces {
            digest,
            bytes,
            buffered: Bytes::new(),
            offset,
            rest: length,
            pulse: self.pulse,
        };
        Ok(Response::new(stream::try_unfold(pieces, Pieces::next).boxed()))
    }

    async fn write(
        self,
        request: Request<Streaming<WriteRequest>>,
    ) -> Reply<BoxStream<'static, Result<WriteResponse, Status>>> {
        let writer = Writer::new(self.content, self.ingests, self.pulse, request.into_inner());
        Ok(Response::new(stream::try_unfold(writer, Writer::step).boxed()))
    }

    async fn size(&self, digest: &str) -> Result<u64, Status> {
        check_digest(digest)?;
        let not_found = || Status::not_found(format!("blob {digest}: not found"));
        self.content.info(digest).await?.ok_or_else(not_found)
    }

    async fn route(self, request: http::Request<Body>) -> http::Response<Body> {
        self.pulse.beat();
        match request.uri().path() {
            INFO => {
                let handler = service_fn(move |request| self.clone().info(request));
                grpc::<InfoResponse, InfoRequest>().unary(handler, request).await
            }
            READ => {
                let handler = service_fn(move |request| self.clone().read(request));
                grpc::<ReadResponse, ReadRequest>()
                    .server_streaming(handler, request)
                    .await
            }
            WRITE => {
                let handler = service_fn(move |request| self.clone().write(request));
                grpc::<WriteResponse, WriteRequest>().streaming(handler, request).await
            }
            path => Status::unimplemented(format!("{path} is not served")).into_http(),
        }
    }
}

impl NamedService for ContentService {
    const NAME: &'static str = "containerd.services.content.v1.Content";
}

impl Service<http::Request<Body>> for ContentService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.route(request).await) })
    }
}

fn grpc<Out, In>() -> Grpc<ProstCodec<Out, In>>
where
    Out: prost::Message + Default + Send + 'static,
    In: prost::Message + Default + Send + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(INCOMING_LIMIT)
}

/// A read on its way out: bounded messages, and never fewer bytes than were promised without an error.
struct Pieces {
    digest: String,
    bytes: ByteStream,
    buffered: Bytes,
    offset: u64,
    rest: u64,
    pulse: Pulse,
}

impl Pieces {
    async fn next(mut self) -> Result<Option<(ReadResponse, Self)>, Status> {
        if self.rest == 0 {
            return Ok(None);
        }
        while self.buffered.is_empty() {
            match self.bytes.next().await {
                Some(bytes) => self.buffered = bytes?,
                None => {
                    let Self { digest, rest, .. } = &self;
                    return Err(Status::data_loss(format!("blob {digest}: ended {rest} bytes early")));
                }
            }
        }
        let rest = usize::try_from(self.rest).unwrap_or(usize::MAX);
        let data = self.buffered.split_to(self.buffered.len().min(PIECE).min(rest));
        let reply = ReadResponse {
            offset: to_wire(self.offset)?,
            data,
        };
        let length = reply.data.len() as u64;
        self.offset += length;
        self.rest -= length;
        self.pulse.beat();
        Ok(Some((reply, self)))
    }
}

/// The one algorithm that BuildKit and registries use, in its one spelling.
fn check_digest(digest: &str) -> Result<(), Status> {
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(());
    }
    let shown: String = digest.chars().take(128).collect();
    Err(Status::invalid_argument(format!("{shown:?} is no sha256 digest")))
}

fn to_wire(number: u64) -> Result<i64, Status> {
    i64::try_from(number).map_err(|_| Status::internal("a size does not fit the content API"))
}

#[cfg(test)]
mod tests;
