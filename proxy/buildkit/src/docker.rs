//! The BuildKit inside Docker: the engine says who it is, then the same connection becomes one of HTTP/2 (`POST /grpc`).
//! What answers and has no BuildKit is told apart from what does not answer.

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::address::{self, Address};
use crate::auto;
use crate::tls::Tls;

/// How much of an answer is read, in bytes.
const ANSWER: usize = 4096;

/// Where Docker's engine is. The crate reads no environment variable; the caller passes them in.
#[derive(Clone, Debug)]
pub struct DockerOptions {
    /// The value of `DOCKER_HOST`: `unix://PATH` or `tcp://HOST:PORT`.
    pub host: Option<String>,
    /// The value of `DOCKER_CERT_PATH`, if `DOCKER_TLS_VERIFY` is set: the folder of `ca.pem`, `cert.pem` and `key.pem`.
    pub certificates: Option<PathBuf>,
    /// Without a host: the sockets where it may be, of which the first that exists is taken.
    pub sockets: Vec<PathBuf>,
}

impl Default for DockerOptions {
    /// The sockets of Docker's packages: the system's and, for a rootless daemon, the user's.
    fn default() -> Self {
        let user = auto::runtime_dir().map(|dir| dir.join("docker.sock"));
        Self {
            host: None,
            certificates: None,
            sockets: [PathBuf::from("/var/run/docker.sock")]
                .into_iter()
                .chain(user)
                .collect(),
        }
    }
}

/// Why there is no BuildKit inside Docker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "DOCKER_HOST is {host:?}, which docker:// does not speak to; it speaks to unix:// and tcp:// (docker-container:// has \
         Docker's own command for all others)"
    )]
    Host { host: String, source: address::ParseError },
    #[error("there is no socket of Docker ({sockets}); is Docker installed, and does it run?")]
    NoSocket { sockets: String },
    #[error("Docker's engine gave no proper answer")]
    Http(#[from] hyper::Error),
    #[error("what answers there is {server} and has no BuildKit inside: POST /grpc gave {status} {message}")]
    NoBuildKit {
        server: String,
        status: StatusCode,
        message: String,
    },
}

impl DockerOptions {
    /// The engine's address, and its certificates where it has any.
    pub(crate) fn place(&self, socket: Option<&Path>) -> Result<(Address, Option<Tls>), Error> {
        if let Some(socket) = socket {
            return Ok((Address::Unix(socket.to_owned()), None));
        }
        if let Some(host) = self.host.as_ref().filter(|host| !host.is_empty()) {
            return self.exported(host);
        }
        let found = self.sockets.iter().find(|socket| socket.exists());
        match found {
            Some(socket) => Ok((Address::Unix(socket.clone()), None)),
            None => Err(Error::NoSocket {
                sockets: Paths(&self.sockets).to_string(),
            }),
        }
    }

    fn exported(&self, host: &str) -> Result<(Address, Option<Tls>), Error> {
        let refused = |reason| Error::Host {
            host: host.to_owned(),
            source: address::ParseError {
                address: host.to_owned(),
                reason,
            },
        };
        match host.parse::<Address>() {
            Ok(address @ Address::Unix(_)) => Ok((address, None)),
            Ok(address @ Address::Tcp { .. }) => {
                let tls = self.certificates.as_ref().map(|dir| Tls {
                    ca: dir.join("ca.pem"),
                    cert: dir.join("cert.pem"),
                    key: dir.join("key.pem"),
                });
                Ok((address, tls))
            }
            Ok(_) => Err(refused("it is no place of an engine")),
            Err(source) => Err(refused(source.reason)),
        }
    }
}

struct Paths<'a>(&'a [PathBuf]);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.0.iter().map(|path| path.to_string_lossy()).collect();
        f.write_str(&paths.join(", "))
    }
}

/// Turns a connection to the engine into one to its BuildKit; also what the engine calls itself. The caller sets the deadline.
pub(crate) async fn upgrade<S>(stream: S) -> Result<(TokioIo<Upgraded>, String), Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with its stream, or with the upgrade that takes the stream over"
    )]
    tokio::spawn(connection.with_upgrades());
    // Only ordinary answers carry the engine's name.
    let pong = requests.send_request(request(Method::GET, "/_ping")).await?;
    let server = server(&pong);
    text(pong).await;
    let reply = requests.send_request(request(Method::POST, "/grpc")).await?;
    if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::NoBuildKit {
            server,
            status: reply.status(),
            message: text(reply).await,
        });
    }
    Ok((TokioIo::new(hyper::upgrade::on(reply).await?), server))
}

fn request(method: Method, path: &'static str) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    let is_upgrade = method == Method::POST;
    *request.method_mut() = method;
    *request.uri_mut() = http::Uri::from_static(path);
    let headers = request.headers_mut();
    headers.insert(header::HOST, header::HeaderValue::from_static("localhost"));
    if is_upgrade {
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, header::HeaderValue::from_static("h2c"));
    }
    request
}

fn server(response: &Response<Incoming>) -> String {
    let named = response.headers().get(header::SERVER);
    let named = named.and_then(|value| value.to_str().ok()).unwrap_or_default();
    named.chars().take(64).collect()
}

/// What an answer says, as far as it can be read.
async fn text(response: Response<Incoming>) -> String {
    let body = Limited::new(response.into_body(), ANSWER).collect().await;
    let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(host: Option<&str>, sockets: &[PathBuf]) -> DockerOptions {
        DockerOptions {
            host: host.map(str::to_owned),
            certificates: Some("/certs".into()),
            sockets: sockets.to_owned(),
        }
    }

    #[test]
    fn the_engine_is_where_the_address_the_environment_or_the_machine_says() {
        let dir = tempfile::tempdir().unwrap();
        let (missing, there) = (dir.path().join("missing"), dir.path().join("there"));
        std::fs::write(&there, "").unwrap();
        let sockets = [missing.clone(), there.clone()];
        let place = |host, socket: Option<&str>| options(host, &sockets).place(socket.map(Path::new));
        let unix = |path: &str| Address::Unix(path.into());
        assert_eq!(place(Some("tcp://a:1"), Some("/x")).unwrap().0, unix("/x"));
        assert_eq!(place(Some("unix:///y"), None).unwrap(), (unix("/y"), None));
        let (address, tls) = place(Some("tcp://a:1"), None).unwrap();
        assert_eq!(address.to_string(), "tcp://a:1");
        assert_eq!(tls.unwrap().key, Path::new("/certs/key.pem"));
        for none in [None, Some("")] {
            assert_eq!(place(none, None).unwrap().0, Address::Unix(there.clone()));
        }
        let error = options(None, &[missing]).place(None).unwrap_err().to_string();
        assert!(error.contains("/missing") && error.contains("does it run?"), "{error}");
        for host in ["ssh://a", "nonsense", "auto"] {
            let error = place(Some(host), None).unwrap_err().to_string();
            assert!(error.contains(host) && error.contains("unix:// and tcp://"), "{error}");
        }
    }
}
