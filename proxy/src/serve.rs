//! Listeners: bind, accept, TLS, one event per request, drain.
//!
//! Connections and header time are limited; a slow client holds nothing but its own socket.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::tasks::Tasks;

/// How long a client may take for a TLS handshake or a request's headers.
const HEADER_PATIENCE: Duration = Duration::from_secs(15);

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
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            break;
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.socket.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: give connections time to end.
                tracing::warn!(listener.address = %listener.address, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, respond, watcher) = (listener.tls.clone(), respond.clone(), graceful.watcher());
        tasks.spawn(async move {
            let _permit = permit;
            if let Err(error) = connection(stream, tls, respond, watcher).await {
                tracing::debug!(error = %error, "connection ended");
            }
        });
    }
    // From here on connections are refused, not left waiting in the socket's queue.
    drop(listener.socket);
    graceful.shutdown().await;
}

async fn connection<R: Respond>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    respond: R,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let service = service_fn(move |request| {
        let respond = respond.clone();
        async move { Ok::<_, Infallible>(respond.respond(request).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_concurrent_streams(256);
    match tls {
        None => {
            watcher
                .watch(builder.serve_connection(TokioIo::new(stream), service))
                .await
        }
        Some(tls) => {
            let stream = tokio::time::timeout(HEADER_PATIENCE, tls.accept(stream)).await??;
            watcher
                .watch(builder.serve_connection(TokioIo::new(stream), service))
                .await
        }
    }
}
