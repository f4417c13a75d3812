//! One request at one listener: the handler's answer, or the response to its failure, and one log event for either.
//!
//! The event is the only place that logs a failure.

use std::sync::Arc;

use http::header::WARNING;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;
use tracing::Level;

use crate::handler::{Failure, Handler};
use crate::respond::{self, Body, Verdict};
use crate::serve::Respond;

/// The registry API at one listener.
#[derive(Clone)]
pub struct Registry {
    /// What answers.
    pub handler: Arc<Handler>,
    /// The upstream of requests that name none.
    pub default_upstream: Option<Arc<str>>,
}

impl Respond for Registry {
    type Body = Body;

    async fn respond(&self, request: Request<Incoming>) -> Response<Body> {
        let started = Instant::now();
        let answer = self.handler.answer(&request, self.default_upstream.as_deref()).await;
        let (response, failure) = match answer {
            Ok(response) => (response, None),
            Err(failure) => {
                let verdict = respond::judge(&failure);
                (respond::failure(&failure, &verdict), Some((failure, verdict)))
            }
        };
        log(
            &request,
            &response,
            failure.as_ref(),
            started.elapsed().as_secs_f64() * 1000.0,
        );
        response
    }
}

/// The one event of a request. A query of ours is `ns` only, but a stranger's may hold anything: it is not logged.
fn log(request: &Request<Incoming>, response: &Response<Body>, failure: Option<&(Failure, Verdict)>, elapsed_ms: f64) {
    let digest = response
        .headers()
        .get("docker-content-digest")
        .and_then(|value| value.to_str().ok());
    let error = failure.map(|(failure, _)| respond::chain(failure));
    let blame = failure.map(|(_, verdict)| tracing::field::debug(verdict.blame));
    macro_rules! event {
        ($level:expr, $text:literal) => {
            tracing::event!(
                $level,
                http.method = %request.method(),
                http.path = request.uri().path(),
                http.status = response.status().as_u16(),
                served.digest = digest,
                served.warned = response.headers().contains_key(WARNING),
                elapsed_ms,
                error,
                blame,
                $text
            )
        };
    }
    match failure.map(|(_, verdict)| verdict.level) {
        None => event!(Level::INFO, "request answered"),
        Some(Level::ERROR) => event!(Level::ERROR, "request failed"),
        Some(Level::WARN) => event!(Level::WARN, "request failed"),
        Some(_) => event!(Level::INFO, "request refused"),
    }
}
