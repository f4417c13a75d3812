//! What is fetched from where, what is refused, and what is not shown.

use std::net::SocketAddr;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use patchport_config::Config;
use tokio::net::TcpListener;

use super::*;
use crate::sources::Sources;

/// A server that answers each path so, for as long as the test runs; and what it was asked.
struct Server {
    address: SocketAddr,
    asked: tokio::sync::mpsc::UnboundedReceiver<(String, HeaderMap)>,
}

type Reply = fn(&str) -> http::Response<Full<Bytes>>;

impl Server {
    #[expect(clippy::disallowed_methods, reason = "ends with its test")]
    async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                let serve = service_fn(move |request: http::Request<Incoming>| {
                    let path = request.uri().path().to_owned();
                    let _ = sender.send((path.clone(), request.headers().clone()));
                    async move { Ok::<_, std::convert::Infallible>(reply(&path)) }
                });
                tokio::spawn(async move {
                    let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(stream), serve).await;
                });
            }
        });
        Self { address, asked }
    }
}

/// A fetcher with this table; `A` in it stands for the address.
fn fetcher(table: &str, address: SocketAddr) -> Fetcher {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), table.replace("{A}", &address.to_string())).unwrap();
    Fetcher::new(
        Config::load(Some(file.path()), []).unwrap().repositories,
        Sources::default(),
    )
    .unwrap()
}

const LISTED: &str = "[[repository]]\nmatch = \"{A}\"\n";

fn answer(status: u16, body: &'static str) -> http::Response<Full<Bytes>> {
    http::Response::builder()
        .status(status)
        .header("etag", "\"one\"")
        .body(Full::from(body))
        .unwrap()
}

#[tokio::test]
async fn files_come_with_what_tells_whether_they_changed() {
    let mut server = Server::start(|path| match path {
        "/debian/InRelease" => answer(200, "hello"),
        _ => answer(404, ""),
    })
    .await;
    let fetcher = fetcher(LISTED, server.address);
    let bases = fetcher.bases(&format!("http://{}/debian", server.address)).unwrap();
    let Answer::File(bytes, validators) = bases[0].fetch("InRelease", 5, None).await.unwrap() else {
        panic!("it has changed");
    };
    assert_eq!(bytes, "hello");
    server.asked.recv().await.unwrap();
    bases[0].fetch("InRelease", 5, Some(&validators)).await.unwrap();
    assert_eq!(server.asked.recv().await.unwrap().1["if-none-match"], "\"one\"");
    let missing = bases[0].fetch("Release", 5, None).await.unwrap_err();
    assert!(missing.is_missing(), "{missing}");
    let large = bases[0].fetch("InRelease", 4, None).await.unwrap_err();
    assert!(matches!(large, FetchError::TooLarge { limit: 4, .. }), "{large}");
    for path in [
        "../other/file",
        "/etc/passwd",
        "http://elsewhere.example/x",
        "//elsewhere.example/x",
    ] {
        let refused = bases[0].fetch(path, 5, None).await.unwrap_err();
        assert!(matches!(refused, FetchError::Untrusted { .. }), "{path}: {refused}");
    }
}

#[tokio::test]
async fn this_machine_is_read_only_where_the_table_says_so() {
    let nowhere: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let fetcher = fetcher("", nowhere);
    for url in [
        "http://127.0.0.1/a",
        "http://localhost:80",
        "https://[::1]/",
        "http://169.254.169.254/latest",
    ] {
        let refused = fetcher.bases(url).unwrap_err();
        assert!(refused.to_string().contains("[[repository]]"), "{url}: {refused}");
    }
    for url in ["ftp://a.example/", "file:///etc", "http://", "x"] {
        assert!(matches!(fetcher.bases(url), Err(FetchError::Url { .. })), "{url}");
    }
    // A name that leads here is found out when it is resolved.
    let local = fetcher.bases("http://localhost.localdomain/").unwrap();
    let refused = local[0].fetch("x", 1, None).await.unwrap_err();
    assert!(matches!(refused, FetchError::Unreachable { .. }), "{refused}");
}

#[tokio::test]
async fn the_table_says_what_is_asked_instead_and_next() {
    let server = Server::start(|_| answer(200, "x")).await;
    let fetcher = fetcher(
        "[[repository]]\nmatch = [\"deb.example/debian\"]\nmirror = \"http://{A}/mirror\"\narchive = [\"http://{A}/old\"]\n\
         username = \"robot\"\npassword = \"hunter2\"\n",
        server.address,
    );
    let bases = fetcher.bases("http://deb.example/debian/dists/bookworm/").unwrap();
    let urls: Vec<String> = bases.iter().map(Base::shown).collect();
    let at = |path: &str| format!("http://{}/{path}/dists/bookworm/", server.address);
    assert_eq!(urls, [at("mirror"), at("old")]);
    let mut asked = server.asked;
    for (base, has_password) in bases.iter().zip([true, false]) {
        base.fetch("x", 1, None).await.unwrap();
        let (_, headers) = asked.recv().await.unwrap();
        assert_eq!(headers.contains_key("authorization"), has_password, "{}", base.shown());
    }
    let other = fetcher.bases("http://deb.example/debian-security/").unwrap();
    assert_eq!(other[0].shown(), "http://deb.example/debian-security/");
}

#[tokio::test]
async fn a_redirect_keeps_to_the_rules_and_nothing_secret_is_shown() {
    let server = Server::start(|path| {
        let to = match path {
            "/a" => "http://169.254.169.254/latest",
            "/b" => "/b",
            _ => "/end",
        };
        let redirect = http::Response::builder().status(302).header("location", to);
        match path {
            "/end" => answer(200, "x"),
            _ => redirect.body(Full::default()).unwrap(),
        }
    })
    .await;
    let fetcher = fetcher(LISTED, server.address);
    let url = format!("http://user:hunter2@{}/?token=hunter2", server.address);
    let base = fetcher.bases(&url).unwrap().remove(0);
    assert!(!base.shown().contains("hunter2"), "{}", base.shown());
    assert!(matches!(base.fetch("c", 5, None).await.unwrap(), Answer::File(..)));
    for (path, text) in [("a", "link-local"), ("b", "redirects more than")] {
        let refused = base.fetch(path, 5, None).await.unwrap_err().to_string();
        assert!(
            refused.contains(text) && !refused.contains("hunter2"),
            "{path}: {refused}"
        );
    }
    let text = fetcher.bases("htp://user:hunter2@a.example/").unwrap_err().to_string();
    assert!(!text.contains("hunter2"), "{text}");
}
