//! A guarded way to a repository's files, as companies have them: behind a certificate of their own, a login, or both. It notes who
//! asked for what, and whether they were let in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use crate::apt::Repository;
use crate::process::run;
use crate::registry::basic;

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who says to ask, the `User-Agent`.
    pub agent: String,
    /// The path without a leading `/`.
    pub path: String,
    /// Whether the login was right, or none was wanted.
    pub is_admitted: bool,
}

/// Serves a repository's files below `/guarded/`; gone when dropped.
pub struct Front {
    port: u16,
    scheme: &'static str,
    certificates: TempDir,
    asked: Arc<Mutex<Vec<Asked>>>,
    serving: AbortHandle,
}

impl Front {
    /// Over TLS with a certificate authority of its own, for `localhost`.
    pub async fn secure(repository: &Repository, login: Option<(&str, &str)>) -> Self {
        Self::start(repository, login, true).await
    }

    /// Without TLS.
    pub async fn plain(repository: &Repository, login: Option<(&str, &str)>) -> Self {
        Self::start(repository, login, false).await
    }

    async fn start(repository: &Repository, login: Option<(&str, &str)>, tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let port = listener.local_addr().unwrap().port();
        let certificates = tempfile::tempdir().unwrap();
        let acceptor = tls.then(|| acceptor(certificates.path()));
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (noted, files) = (Arc::clone(&asked), repository.reader());
        let wanted = login.map(|(user, password)| basic(user, password));
        let answer = move |request: http::Request<hyper::body::Incoming>| {
            let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
            let path = request.uri().path().trim_start_matches('/').replace("/./", "/");
            let is_admitted = wanted.is_none() || header("authorization") == wanted.as_deref();
            let file = path.strip_prefix("guarded/").and_then(&files);
            let answer = match file {
                _ if !is_admitted => http::Response::builder()
                    .status(401)
                    .header("www-authenticate", "Basic realm=\"kit\"")
                    .body(Full::default()),
                Some(bytes) => Ok(http::Response::new(Full::new(bytes))),
                None => http::Response::builder().status(404).body(Full::default()),
            };
            noted.lock().unwrap().push(Asked {
                agent: header("user-agent").unwrap_or_default().to_owned(),
                path,
                is_admitted,
            });
            answer
        };
        let serving = tokio::spawn(serve(listener, acceptor, answer)).abort_handle();
        Self {
            port,
            scheme: if tls { "https" } else { "http" },
            certificates,
            asked,
            serving,
        }
    }

    /// `https://localhost:PORT/guarded`.
    pub fn url(&self) -> String {
        format!("{}://localhost:{}/guarded", self.scheme, self.port)
    }

    /// The certificate authority, a PEM file.
    pub fn authority(&self) -> PathBuf {
        self.certificates.path().join("ca.pem")
    }

    /// Who asked for what so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Whether an agent was given a file whose path contains `part`.
    pub fn gave(&self, agent: &str, part: &str) -> bool {
        let is_it = |asked: &Asked| asked.is_admitted && asked.agent.contains(agent) && asked.path.contains(part);
        self.asked().iter().any(is_it)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve<F>(listener: TcpListener, acceptor: Option<TlsAcceptor>, answer: F)
where
    F: Fn(http::Request<hyper::body::Incoming>) -> http::Result<http::Response<Full<Bytes>>> + Clone + Send + 'static,
{
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (acceptor, answer) = (acceptor.clone(), answer.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| std::future::ready(answer(request)));
            let http = hyper::server::conn::http1::Builder::new();
            match acceptor {
                None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        drop(http.serve_connection(TokioIo::new(stream), service).await);
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Makes an authority and a certificate for `localhost` with the machine's openssl.
fn acceptor(folder: &Path) -> TlsAcceptor {
    let file = |name: &str| folder.join(name).display().to_string();
    let openssl = |arguments: &[&str]| run(Command::new("openssl").args(arguments).current_dir(folder));
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let make = |more: &[&str]| openssl(&[&["req"], &key[..], more].concat());
    make(&[
        "-x509",
        "-days",
        "2",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=kit authority",
    ]);
    make(&["-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"]);
    std::fs::write(file("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    openssl(&[
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "names",
        "-out",
        "server.pem",
    ]);
    let certificate = CertificateDer::from_pem_file(file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config).into()
}
