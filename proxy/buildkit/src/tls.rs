//! mTLS for `tcp://`: PEM files in, a rustls client configuration out. One protocol is offered, the one that will be spoken.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// The PEM files of a TLS connection. The server is checked against `ca` alone and must carry the host's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificates that may sign the server's.
    pub ca: PathBuf,
    /// Our certificate chain, ours first.
    pub cert: PathBuf,
    /// Our private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

/// Why the files give no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or is not PEM.
    #[error("TLS file {path}: not readable as PEM")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// A file is PEM but holds no certificate.
    #[error("TLS file {path}: it holds no certificate")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// rustls refuses what the files hold.
    #[error("TLS files {cert} and {key}: not usable")]
    Unusable {
        /// Our certificate chain, or the CA file if that is at fault.
        cert: PathBuf,
        /// Our private key.
        key: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
}

impl Tls {
    /// Reads the files. `protocol` is that of the application, by its name in ALPN.
    pub(crate) fn client_config(&self, protocol: &str) -> Result<Arc<ClientConfig>, Error> {
        let unusable = |cert: &Path| {
            let (cert, key) = (cert.to_owned(), self.key.clone());
            move |source| Error::Unusable { cert, key, source }
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots.add(certificate).map_err(unusable(&self.ca))?;
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|source| Error::Pem {
            path: self.key.clone(),
            source,
        })?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable(&self.cert))?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&self.cert)?, key)
            .map_err(unusable(&self.cert))?;
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = |source| Error::Pem {
        path: path.to_owned(),
        source,
    };
    let all: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(pem)?
        .collect::<Result<_, _>>()
        .map_err(pem)?;
    if all.is_empty() {
        return Err(Error::NoCertificate { path: path.to_owned() });
    }
    Ok(all)
}
