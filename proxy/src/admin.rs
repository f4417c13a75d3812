//! The admin listener: `/livez` and `/readyz`, and nothing else.
//!
//! Live: the process answers. Ready: the store, the catalog and the listeners are there, and no shutdown has begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

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
pub struct Admin(pub Readiness);

impl Respond for Admin {
    type Body = Full<Bytes>;

    async fn respond(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, text) = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/livez") => (StatusCode::OK, "live\n"),
            (&Method::GET | &Method::HEAD, "/readyz") if self.0.0.load(Ordering::Acquire) => {
                (StatusCode::OK, "ready\n")
            }
            (&Method::GET | &Method::HEAD, "/readyz") => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            (_, "/livez" | "/readyz") => (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n"),
            _ => (StatusCode::NOT_FOUND, "there are /livez and /readyz here\n"),
        };
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        response
    }
}
