//! The byte stream under a connection: a socket, TLS over one, or the standard streams of a child process.
//! It tells when it is dropped, which is how a connection's death becomes known, and takes its child along.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
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
use crate::tls::Tls;

/// How much of a child's standard error is kept, in bytes.
const STDERR_TAIL: usize = 4096;

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
    #[error("the socket or program cannot be opened")]
    Io(#[from] io::Error),
    #[error("the TLS files cannot be used")]
    Tls(#[from] crate::tls::Error),
}

/// What opening a stream may need beside the address.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    /// For TCP alone.
    pub(crate) tls: Option<Tls>,
    /// The program `docker`, for containers alone.
    pub(crate) docker: PathBuf,
}

/// Opens a stream to a concrete address ([`Address::Auto`] is none). The caller sets the deadline.
pub(crate) async fn open(address: &Address, dial: &Dial) -> Result<Opened, Error> {
    match address {
        Address::Auto => Err(io::Error::other("`auto` is no single place").into()),
        Address::Unix(path) => Ok(Opened::new(
            Box::new(UnixStream::connect(path).await?),
            None,
            Tail::default(),
        )),
        Address::Tcp { host, port } => open_tcp(host, *port, dial.tls.as_ref()).await,
        Address::DockerContainer(name) => Ok(open_container(&dial.docker, name)?),
    }
}

async fn open_tcp(host: &str, port: u16, tls: Option<&Tls>) -> Result<Opened, Error> {
    let config = tls.map(Tls::client_config).transpose()?;
    let tcp = TcpStream::connect((host, port)).await?;
    tcp.set_nodelay(true)?;
    let Some(config) = config else {
        return Ok(Opened::new(Box::new(tcp), None, Tail::default()));
    };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await?;
    Ok(Opened::new(Box::new(stream), None, Tail::default()))
}

fn open_container(docker: &Path, name: &str) -> io::Result<Opened> {
    let mut child = Command::new(docker)
        .args(["exec", "-i", name, "buildctl", "dial-stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: Ctrl-C in a terminal is for us.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
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
    fn new(io: Box<dyn Duplex>, child: Option<Child>, stderr: Tail) -> Self {
        let closed = CancellationToken::new();
        let stream = Stream {
            io,
            _child: child,
            _closed: closed.clone().drop_guard(),
        };
        Self { stream, closed, stderr }
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

    /// What was written, once the child has ended or [`TAIL_DEADLINE`] has passed.
    pub(crate) async fn text(&self) -> String {
        if let Some(reader) = &self.reader {
            // Late is no failure: what is there is told.
            let _ = timeout(TAIL_DEADLINE, reader.cancelled()).await;
        }
        let tail = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
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
