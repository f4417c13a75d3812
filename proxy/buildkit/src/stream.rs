//! The byte stream under a connection: a socket, TLS over one, Docker's engine, or the standard streams of a child process.
//! It tells when it is dropped, which is how a connection's death becomes known, and takes its child along.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::Address;
use crate::container::Container;
use crate::docker::{self, DockerOptions};
use crate::tls::Tls;

/// How much of a child's standard error is kept, in bytes.
const STDERR_TAIL: usize = 4096;

/// How many of its last lines are told.
const STDERR_LINES: usize = 3;

/// How long a failure waits for the child's last words.
const TAIL_DEADLINE: Duration = Duration::from_millis(200);

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An open byte stream. hyper drops it when the connection ends, and that cancels the token.
pub(crate) struct Stream {
    io: Box<dyn Duplex>,
    _child: Option<Child>,
    _closed: DropGuard,
}

/// A stream together with what can be known about it once hyper owns it.
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    pub(crate) closed: CancellationToken,
    pub(crate) stderr: Tail,
    /// What Docker's engine calls itself; empty without one.
    pub(crate) engine: String,
}

/// The end of what a child wrote to its standard error; empty without a child.
#[derive(Clone, Default)]
pub(crate) struct Tail {
    bytes: Arc<Mutex<VecDeque<u8>>>,
    reader: Option<CancellationToken>,
}

/// Why no stream was opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the socket cannot be opened")]
    Io(#[from] io::Error),
    #[error("there is no program {program} on the PATH")]
    NoProgram { program: &'static str },
    #[error("the program {program} cannot be run")]
    Program { program: &'static str, source: io::Error },
    #[error("Docker's engine at {place}")]
    Engine {
        place: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("no engine of Docker")]
    NoEngine(#[source] docker::Error),
    #[error("the TLS files cannot be used")]
    Tls(#[from] crate::tls::Error),
}

/// What opening a stream may need beside the address.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    /// For TCP alone.
    pub(crate) tls: Option<Tls>,
    /// Docker's engine, for `docker://` alone.
    pub(crate) docker: DockerOptions,
    /// Where programs are looked for; by the system's own search without it.
    pub(crate) path: Option<OsString>,
}

impl Dial {
    /// The first executable file of that name in the absolute directories of the path.
    pub(crate) fn search(&self, name: &str) -> Option<PathBuf> {
        let runs = |file: &PathBuf| {
            std::fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        std::env::split_paths(self.path.as_deref()?)
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(name))
            .find(runs)
    }
}

/// Opens a stream to a concrete address ([`Address::Auto`] is none). The caller sets the deadline.
pub(crate) async fn open(address: &Address, dial: &Dial) -> Result<Opened, Error> {
    match address {
        Address::Auto => Err(io::Error::other("`auto` is no single place").into()),
        Address::Unix(_) | Address::Tcp { .. } => Ok(Opened::of(open_socket(address, dial.tls.as_ref(), "h2").await?)),
        Address::Docker(socket) => {
            let (place, tls) = dial.docker.place(socket.as_deref()).map_err(Error::NoEngine)?;
            open_engine(&place, tls.as_ref()).await.map_err(|source| Error::Engine {
                place: place.to_string(),
                source,
            })
        }
        Address::Container(container) => open_container(container, dial),
    }
}

async fn open_engine(place: &Address, tls: Option<&Tls>) -> Result<Opened, Box<dyn std::error::Error + Send + Sync>> {
    let socket = open_socket(place, tls, "http/1.1").await?;
    let (io, engine) = docker::upgrade(socket).await?;
    Ok(Opened {
        engine,
        ..Opened::of(Box::new(io))
    })
}

async fn open_socket(address: &Address, tls: Option<&Tls>, protocol: &str) -> Result<Box<dyn Duplex>, Error> {
    match address {
        Address::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        Address::Tcp { host, port } => open_tcp(host, *port, tls, protocol).await,
        Address::Auto | Address::Docker(_) | Address::Container(_) => {
            Err(io::Error::other(format!("`{address}` is no socket")).into())
        }
    }
}

async fn open_tcp(host: &str, port: u16, tls: Option<&Tls>, protocol: &str) -> Result<Box<dyn Duplex>, Error> {
    let config = tls.map(|tls| tls.client_config(protocol)).transpose()?;
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    let Some(config) = config else {
        return Ok(Box::new(tcp));
    };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await?;
    Ok(Box::new(stream))
}

fn open_container(container: &Container, dial: &Dial) -> Result<Opened, Error> {
    let program = container.runner().program();
    let found = match dial.path {
        Some(_) => dial.search(program).ok_or(Error::NoProgram { program })?,
        // The system's own search decides.
        None => PathBuf::from(program),
    };
    let mut child = Command::new(found)
        .args(container.arguments())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: Ctrl-C in a terminal is for us.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Error::Program { program, source })?;
    let closed = || io::Error::other("the child has no standard streams");
    let stdin = child.stdin.take().ok_or_else(closed)?;
    let stdout = child.stdout.take().ok_or_else(closed)?;
    let stderr = Tail::of(child.stderr.take().ok_or_else(closed)?);
    Ok(Opened::new(
        Box::new(tokio::io::join(stdout, stdin)),
        Some(child),
        stderr,
    ))
}

impl Opened {
    fn of(io: Box<dyn Duplex>) -> Self {
        Self::new(io, None, Tail::default())
    }

    fn new(io: Box<dyn Duplex>, child: Option<Child>, stderr: Tail) -> Self {
        let closed = CancellationToken::new();
        let stream = Stream {
            io,
            _child: child,
            _closed: closed.clone().drop_guard(),
        };
        Self {
            stream,
            closed,
            stderr,
            engine: String::new(),
        }
    }
}

impl Tail {
    fn of(stderr: ChildStderr) -> Self {
        let done = CancellationToken::new();
        let tail = Self {
            bytes: Arc::default(),
            reader: Some(done.clone()),
        };
        let bytes = Arc::clone(&tail.bytes);
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the child, which is killed with its stream"
        )]
        tokio::spawn(async move {
            let _done = done.drop_guard();
            keep_tail(stderr, &bytes).await;
        });
        tail
    }

    /// The last lines of what was written, once the child has ended or [`TAIL_DEADLINE`] has passed.
    pub(crate) async fn text(&self) -> String {
        if let Some(reader) = &self.reader {
            // Late is no failure: what is there is told.
            let _ = timeout(TAIL_DEADLINE, reader.cancelled()).await;
        }
        let tail = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = tail.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(STDERR_LINES)..].join(" | ")
    }
}

/// Reads until the child is gone: a full pipe would block it, a closed one would kill it.
async fn keep_tail(mut from: ChildStderr, tail: &Mutex<VecDeque<u8>>) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(&buffer[..length]);
        let excess = tail.len().saturating_sub(STDERR_TAIL);
        tail.drain(..excess);
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
