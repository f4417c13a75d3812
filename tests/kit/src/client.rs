//! A tiny HTTP/1.1 client that sends what it is told, byte for byte: odd paths, odd methods, no normalising,
//! no redirects, no retries. And a pull on top of it that checks all it gets.

mod pull;

use std::io;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

pub use pull::{ACCEPT, pull, pull_artifact, pull_manifest};

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names (lower case) and values in order.
    pub headers: Vec<(String, String)>,
    /// The body, or nothing if only its digest was asked for.
    pub body: Vec<u8>,
    /// Digest of the body.
    pub digest: String,
    /// Bytes of the body.
    pub length: u64,
    /// Whether the body came to the end that its framing promised.
    pub whole: bool,
    /// From the first byte sent to the end of the headers.
    pub head_time: Duration,
}

impl Response {
    /// The first header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics with the body if it is none.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the body {:?} of a {}", self.text(), self.status))
    }

    /// The code of the first error of an OCI error body; panics unless it is one (OCI distribution
    /// specification, "Error Codes").
    #[track_caller]
    pub fn error_code(&self) -> String {
        let body = self.json();
        assert!(
            body["errors"][0]["message"].is_string(),
            "an OCI error has a message: {body}"
        );
        body["errors"][0]["code"]
            .as_str()
            .unwrap_or_else(|| panic!("an OCI error has a code: {body}"))
            .to_owned()
    }
}

/// Sends requests to one host.
#[derive(Clone, Debug)]
pub struct Client {
    host: String,
    headers: Vec<(String, String)>,
}

impl Client {
    /// A client of `HOST:PORT` that sends no headers but `Host` and `Connection`.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            headers: Vec::new(),
        }
    }

    /// Sends this header with every request.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[]).await
    }

    /// `HEAD`.
    pub async fn head(&self, path: &str) -> Response {
        self.send("HEAD", path, &[]).await
    }

    /// Sends one request and reads the whole answer; panics if there is no answer at all.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        let answered = self.exchange(method, path, headers, true).await;
        answered.unwrap_or_else(|error| panic!("{method} {path} at {} has no answer: {error}", self.host))
    }

    /// `GET` that keeps only digest and length of the body.
    pub async fn weigh(&self, path: &str) -> Response {
        let answered = self.exchange("GET", path, &[], false).await;
        answered.unwrap_or_else(|error| panic!("GET {path} at {} has no answer: {error}", self.host))
    }

    /// Sends one request; an error if the peer is not there or leaves before the headers are complete.
    pub async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        keep: bool,
    ) -> io::Result<Response> {
        let begun = Instant::now();
        let mut stream = self.open(method, path, headers).await?;
        let (status, headers) = read_head(&mut stream).await?;
        let head_time = begun.elapsed();
        let mut body = Body {
            kept: keep.then(Vec::new),
            hash: Sha256::new(),
            length: 0,
        };
        let whole = read_body(&mut stream, method, status, &headers, &mut body).await;
        Ok(Response {
            status,
            headers,
            body: body.kept.unwrap_or_default(),
            digest: format!("sha256:{}", hex::encode(body.hash.finalize())),
            length: body.length,
            whole,
            head_time,
        })
    }

    /// Sends a `GET`, reads `count` bytes of the body and goes away.
    pub async fn leave_after(&self, path: &str, count: usize) {
        let mut stream = self.open("GET", path, &[]).await.expect("the mirror takes connections");
        let (status, _) = read_head(&mut stream).await.expect("the mirror answers");
        assert_eq!(status, 200, "GET {path}");
        let mut some = vec![0; count];
        stream.read_exact(&mut some).await.expect("the body begins");
    }

    /// Sends a request and keeps the connection without reading from it; dropping it is a client that goes away.
    pub async fn ask(&self, method: &str, path: &str) -> Asked {
        Asked {
            _stream: self
                .open(method, path, &[])
                .await
                .expect("the mirror takes connections"),
        }
    }

    async fn open(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> io::Result<BufReader<TcpStream>> {
        let mut stream = TcpStream::connect(&self.host).await?;
        stream.set_nodelay(true)?;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n",
            self.host
        );
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.chain(headers.iter().copied()) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        Ok(BufReader::with_capacity(256 << 10, stream))
    }
}

/// A request under way that nobody reads the answer of.
#[must_use = "dropped, the client goes away before the mirror has read its request"]
pub struct Asked {
    _stream: BufReader<TcpStream>,
}

struct Body {
    kept: Option<Vec<u8>>,
    hash: Sha256,
    length: u64,
}

impl Body {
    fn take(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(bytes);
        }
    }
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<(u16, Vec<(String, String)>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let status = lines
        .first()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok());
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(':'));
    let headers = headers
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, headers))
}

/// Reads the body by its framing; gives whether it came to its end.
async fn read_body(
    stream: &mut BufReader<TcpStream>,
    method: &str,
    status: u16,
    headers: &[(String, String)],
    body: &mut Body,
) -> bool {
    let header = |name: &str| {
        headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    if method == "HEAD" || matches!(status, 204 | 304) {
        return true;
    }
    if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return read_chunks(stream, body).await.is_ok();
    }
    match header("content-length").map(str::parse) {
        Some(Ok(length)) => read_some(stream, length, body).await.is_ok(),
        Some(Err(_)) => false,
        None => read_some(stream, u64::MAX, body).await.is_err(),
    }
}

async fn read_chunks(stream: &mut BufReader<TcpStream>, body: &mut Body) -> io::Result<()> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        read_some(stream, size, body).await?;
        stream.read_line(&mut line).await?;
        if size == 0 {
            return Ok(());
        }
    }
}

async fn read_some(stream: &mut BufReader<TcpStream>, mut length: u64, body: &mut Body) -> io::Result<()> {
    while length > 0 {
        let bytes = stream.fill_buf().await?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let count = bytes.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        body.take(&bytes[..count]);
        stream.consume(count);
        length -= count as u64;
    }
    Ok(())
}
