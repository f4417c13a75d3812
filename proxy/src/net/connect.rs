//! HTTP over rustls, with deadlines and a guarded resolver.
//!
//! Names that others lead us to are resolved with local addresses taken out, so that a rebinding name reaches nothing
//! on this machine or its link.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tower::Service;

use super::origin::is_local_address;

/// A client for requests without a body.
pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector<GuardedResolver>>, Empty<Bytes>>;

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the certificates in {subject}: {reason}")]
pub struct TlsError {
    subject: String,
    reason: String,
}

/// A client that may (`allow_local`) or may not connect to local addresses, and trusts the system's roots and `ca`.
///
/// # Errors
/// When the file `ca` holds no usable certificate.
pub(crate) fn client(ca: Option<&Path>, allow_local: bool, connect_timeout: Duration) -> Result<HttpClient, TlsError> {
    let mut http = HttpConnector::new_with_resolver(GuardedResolver { allow_local });
    http.enforce_http(false);
    http.set_connect_timeout(Some(connect_timeout));
    http.set_nodelay(true);
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls(ca)?)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(http);
    Ok(Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .build(https))
}

/// TLS that trusts the roots in the file `ca`, else the system's.
///
/// # Errors
/// When the file `ca` holds no usable certificate.
pub(crate) fn tls(ca: Option<&Path>) -> Result<rustls::ClientConfig, TlsError> {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError {
            subject: "the TLS provider".into(),
            reason: error.to_string(),
        })?;
    Ok(builder.with_root_certificates(roots(ca)?).with_no_client_auth())
}

/// The operator's own roots where there are some, else the system's, else those that ship with us.
fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        let failed = |reason: String| TlsError {
            subject: path.display().to_string(),
            reason,
        };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| failed(error.to_string()))?;
            roots.add(certificate).map_err(|error| failed(error.to_string()))?;
        }
        return Ok(roots);
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(roots)
}

/// The system's resolver, perhaps without answers that point at this machine or its link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuardedResolver {
    pub(crate) allow_local: bool,
}

impl GuardedResolver {
    /// The addresses of a name that may be dialled.
    ///
    /// # Errors
    /// When it has none.
    pub(crate) async fn resolve(self, host: String) -> io::Result<Vec<SocketAddr>> {
        let name = host.clone();
        let resolve = move || (name.as_str(), 0).to_socket_addrs();
        let mut addresses: Vec<_> = tokio::task::spawn_blocking(resolve)
            .await
            .map_err(io::Error::other)??
            .collect();
        addresses.retain(|address| self.allow_local || !is_local_address(address.ip()));
        if addresses.is_empty() {
            return Err(io::Error::other(format!("{host} has no address that may be dialled")));
        }
        Ok(addresses)
    }
}

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = *self;
        Box::pin(async move { Ok(resolver.resolve(name.as_str().to_owned()).await?.into_iter()) })
    }
}
