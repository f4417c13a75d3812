//! Listeners: bind, accept, TLS, one event per request, drain.
//!
//! A client holds its connection for as long as it gets on: it has limited time for handshake and headers, and a write
//! has to make progress. Without TLS only HTTP/1.1 is spoken, with TLS what was agreed on: nothing is guessed.

use std::convert::Infallible;
use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::tasks::Tasks;

/// How long a client may take for a TLS handshake or a request's headers, and be idle between two requests.
const HEADER_PATIENCE: Duration = Duration::from_secs(15);
/// How long a client may take nothing of what we have for it.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);
/// How many bytes the kernel may hold unsent for a client. Its own buffer grows to megabytes, of which a third must be
/// gone before a write counts as progress: a slow client would seem to stand still.
const UNSENT: u32 = 128 * 1024;
/// What a client of HTTP/2 says first (RFC 9113, 3.4).
const PREFACE: usize = 24;

/// Why a listener cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificate or its key is not usable.
    #[error("cannot use the TLS certificate {certificate} with the key {key}: {reason}")]
    Tls {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

/// A bound listener that does not accept yet.
pub struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    /// Where it is bound.
    pub address: SocketAddr,
}

impl Listener {
    /// Binds `address`; with `tls` (certificate chain and key, PEM files) connections are encrypted.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn bind(address: SocketAddr, tls: Option<(&Path, &Path)>) -> Result<Self, ServeError> {
        let tls = tls.map(|(certificate, key)| acceptor(certificate, key)).transpose()?;
        let failed = |source| ServeError::Bind { address, source };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, tls, address })
    }

    /// Whether clients speak TLS to it.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, ServeError> {
    let failed = |reason: String| ServeError::Tls {
        certificate: certificate.display().to_string(),
        key: key.display().to_string(),
        reason,
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(error.to_string()))?;
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| failed(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What answers requests; it always answers.
pub trait Respond: Clone + Send + Sync + 'static {
    /// The body of its responses.
    type Body: hyper::body::Body<Data = bytes::Bytes, Error: std::error::Error + Send + Sync + 'static> + Send + 'static;

    /// Answers one request.
    fn respond(&self, request: Request<Incoming>) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Accepts on `listener` until `stop`, then waits for the requests under way.
pub async fn serve<R: Respond>(
    listener: Listener,
    respond: R,
    connections: Arc<Semaphore>,
    tasks: Tasks,
    stop: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener.socket, &connections) => accepted,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: give connections time to end.
                tracing::warn!(listener.address = %listener.address, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, respond, watcher) = (listener.tls.clone(), respond.clone(), graceful.watcher());
        let stop = stop.clone();
        tasks.spawn(async move {
            let _permit = permit;
            if let Err(error) = connection(stream, tls, respond, watcher, stop).await {
                tracing::debug!(error = %error, "connection ended");
            }
        });
    }
    // From here on connections are refused, not left waiting in the socket's queue.
    drop(listener.socket);
    graceful.shutdown().await;
}

/// The next connection, once there is room for it.
async fn accept(socket: &TcpListener, room: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = socket.accept().await?;
    Ok((stream, permit))
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn connection<R: Respond>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    respond: R,
    watcher: Watcher,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let stream = guarded(stream)?;
    let service = service_fn(move |request| {
        let respond = respond.clone();
        async move { Ok::<_, Infallible>(respond.respond(request).await) }
    });
    let Some(tls) = tls else {
        return serve_http1(stream, service, watcher).await;
    };
    let stream = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        stream = tokio::time::timeout(HEADER_PATIENCE, handshake(stream, &tls)) => stream??,
    };
    match stream {
        Encrypted::Http1(stream) => serve_http1(stream, service, watcher).await,
        Encrypted::Http2(stream, preface) => {
            let (reader, writer) = tokio::io::split(stream);
            let stream = tokio::io::join(Cursor::new(preface).chain(reader), writer);
            let mut builder = http2::Builder::new(TokioExecutor::new());
            // Clients that are gone do not answer; those that are there may take their time.
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(Duration::from_secs(30))
                .keep_alive_timeout(HEADER_PATIENCE)
                .max_concurrent_streams(100);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            Ok(watcher.watch(connection).await?)
        }
    }
}

async fn serve_http1<B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    service: impl HttpService<Incoming, ResBody = B, Error = Infallible>,
    watcher: Watcher,
) -> Result<(), Failure>
where
    B: hyper::body::Body<Error: std::error::Error + Send + Sync> + 'static,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    Ok(watcher.watch(connection).await?)
}

/// A connection that fails when the client takes nothing for [`WRITE_PATIENCE`], and whose client is asked from time to
/// time whether it is still there: a machine that lost its power says nothing.
type Guarded = Pin<Box<TimeoutStream<TcpStream>>>;

fn guarded(stream: TcpStream) -> io::Result<Guarded> {
    stream.set_nodelay(true)?;
    let asked = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&asked)?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_PATIENCE));
    Ok(Box::pin(stream))
}

/// What client and server agreed on.
enum Encrypted {
    Http1(TlsStream<Guarded>),
    /// With the preface, which was read already: hyper would wait for it without a limit.
    Http2(TlsStream<Guarded>, [u8; PREFACE]),
}

async fn handshake(stream: Guarded, tls: &TlsAcceptor) -> io::Result<Encrypted> {
    let mut stream = tls.accept(stream).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Ok(Encrypted::Http1(stream));
    }
    let mut preface = [0; PREFACE];
    stream.read_exact(&mut preface).await?;
    Ok(Encrypted::Http2(stream, preface))
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[derive(Clone)]
    struct Nothing;

    impl Respond for Nothing {
        type Body = Empty<bytes::Bytes>;

        async fn respond(&self, _: Request<Incoming>) -> Response<Self::Body> {
            Response::new(Empty::new())
        }
    }

    /// A listener with room for so many connections, and what stops it.
    async fn listening(room: usize) -> (SocketAddr, CancellationToken, tokio::task::JoinSet<()>) {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), None).await.unwrap();
        let (address, stop, mut serving) = (listener.address, CancellationToken::new(), tokio::task::JoinSet::new());
        let room = Arc::new(Semaphore::new(room));
        serving.spawn(serve(listener, Nothing, room, Tasks::new(), stop.clone()));
        (address, stop, serving)
    }

    /// What the server says to `request` until it closes the connection.
    async fn said(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn stopping_does_not_wait_for_room() {
        let (address, stop, mut serving) = listening(0).await;
        let _waiting = TcpStream::connect(address).await.unwrap();
        stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), serving.join_next()).await;
        assert!(ended.is_ok_and(|ended| ended.is_some()), "it waits for room");
    }

    #[tokio::test]
    async fn http_1_is_what_is_spoken_without_tls() {
        let (address, _stop, _serving) = listening(1).await;
        let answer = said(address, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let preface = said(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        assert_eq!(preface, "");
    }
}
