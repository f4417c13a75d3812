//! The admin listener: `/livez`, `/readyz`, and the logs of builds under `/builds`, and nothing else.
//!
//! Live: the process answers. Ready: the store, the catalog and the listeners are there, and no shutdown has begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::patch::builds::{Builds, Head};
use crate::serve::Respond;

/// Whether the mirror serves; clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says whether the mirror serves from now on.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }
}

/// Answers on the admin listener.
#[derive(Clone)]
pub struct Admin {
    /// Whether the mirror serves.
    pub ready: Readiness,
    /// The logs of builds.
    pub builds: Builds,
}

/// What a path is about.
enum Subject<'a> {
    Live,
    Ready,
    Builds,
    Build(&'a str),
}

impl Subject<'_> {
    fn of(path: &str) -> Option<Subject<'_>> {
        match path {
            "/livez" => Some(Subject::Live),
            "/readyz" => Some(Subject::Ready),
            "/builds" => Some(Subject::Builds),
            _ => path.strip_prefix("/builds/").map(Subject::Build),
        }
    }
}

impl Respond for Admin {
    type Body = Full<Bytes>;

    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let Some(subject) = Subject::of(request.uri().path()) else {
            let text = "there are /livez, /readyz, /builds and /builds/KEY here\n";
            return said(StatusCode::NOT_FOUND, text);
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return said(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        }
        match subject {
            Subject::Live => said(StatusCode::OK, "live\n"),
            Subject::Ready if self.ready.0.load(Ordering::Acquire) => said(StatusCode::OK, "ready\n"),
            Subject::Ready => said(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            Subject::Builds => {
                let heads = read(&self.builds, |builds| Some(builds.list())).await;
                said(StatusCode::OK, table(&heads.unwrap_or_default()))
            }
            Subject::Build(key) => {
                let key = key.to_owned();
                match read(&self.builds, move |builds| builds.read(&key)).await {
                    Some(log) => said(StatusCode::OK, log),
                    None => said(
                        StatusCode::NOT_FOUND,
                        "no log is kept under this key, /builds lists them\n",
                    ),
                }
            }
        }
    }
}

/// One line for each build: its key, when it began, its platform and image, and what came of it.
fn table(heads: &[Head]) -> String {
    let lines = heads.iter().map(|head| {
        let Head {
            plan,
            image,
            platform,
            started,
            result,
        } = head;
        let key = plan.get(..16).unwrap_or(plan);
        format!("{key}  {started}  {platform:<14}  {image}  {result}\n")
    });
    lines.collect()
}

/// Reads logs where waiting for the disk keeps nobody else.
async fn read<T: Send + 'static>(
    builds: &Builds,
    read: impl FnOnce(&Builds) -> Option<T> + Send + 'static,
) -> Option<T> {
    let builds = builds.clone();
    tokio::task::spawn_blocking(move || read(&builds)).await.ok().flatten()
}

fn said(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
