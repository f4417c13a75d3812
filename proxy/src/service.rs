//! One request at one listener: the handler's answer, or the response to its failure, and one log event for either.
//!
//! The event is the only place that logs a failure.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;
use tracing::Level;

use crate::handler::Handler;
use crate::respond::{self, Body};
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
        let (method, uri) = (request.method(), request.uri());
        let status = response.status().as_u16();
        let digest = response.headers().get("docker-content-digest").and_then(|value| value.to_str().ok());
        let digest = digest.unwrap_or_default();
        let warned = response.headers().contains_key(http::header::WARNING);
        let elapsed_ms = started.elapsed().as_secs_f64() * 1000.0;
        // A query of ours is `ns` only, but a stranger's may hold anything: the path is logged, the query is not.
        let path = uri.path();
        macro_rules! event {
            ($level:expr, $text:literal $(, $field:ident = $value:expr)*) => {
                tracing::event!(
                    $level, http.method = %method, http.path = path, http.status = status, served.digest = digest,
                    served.warned = warned, elapsed_ms $(, $field = $value)*, $text
                )
            };
        }
        match failure {
            None => event!(Level::INFO, "request answered"),
            Some((failure, verdict)) => {
                let (error, blame) = (respond::chain(&failure), tracing::field::debug(verdict.blame));
                match verdict.level {
                    Level::ERROR => event!(Level::ERROR, "request failed", error = error, blame = blame),
                    Level::WARN => event!(Level::WARN, "request failed", error = error, blame = blame),
                    _ => event!(Level::INFO, "request refused", error = error, blame = blame),
                }
            }
        }
        response
    }
}
