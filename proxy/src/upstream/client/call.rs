//! One call to an upstream: tried again when it fails in passing, with a token where one is asked for, along redirects; and how it
//! fails.
//!
//! Credentials go to nobody but upstream itself and the token realms that the `origin` module and the settings allow.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use patchport_oci::Repository;

use super::Client;
use crate::net::origin::Origin;
use crate::respond::chain;
use crate::upstream::UpstreamError;
use crate::upstream::auth::{self, Challenge};

const MAX_REDIRECTS: usize = 5;
const AGENT: &str = concat!("patchport/", env!("CARGO_PKG_VERSION"));

/// One request: what it is for, and how.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) accept: &'a str,
    pub(super) repository: &'a Repository,
    pub(super) subject: String,
}

impl Client {
    /// Sends a call, again when it fails in passing, and turns any status but success into an error.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Response<Incoming>, UpstreamError> {
        let attempts = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(100))
            .with_max_times(2);
        let attempt = || async {
            let response = self.authenticated(call).await?;
            self.checked(call, response)
        };
        attempt
            .retry(attempts.with_jitter())
            .when(UpstreamError::is_transient)
            .await
    }

    /// Sends a call with what authenticates it, once more after a challenge.
    async fn authenticated(&self, call: &Call<'_>) -> Result<Response<Incoming>, UpstreamError> {
        let repository = call.repository.as_str();
        let response = self.followed(call, self.credentials.held(repository).await).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        self.credentials.forget(repository).await;
        let (value, lifetime) = match auth::challenge(response.headers()) {
            Some(Challenge::Basic) => match self.credentials.basic() {
                Some(value) => (value, Duration::from_secs(3600)),
                None => return Ok(response),
            },
            Some(Challenge::Bearer { realm, service, scope }) => {
                self.token(call, &realm, service.as_deref(), scope.as_deref()).await?
            }
            None => return Ok(response),
        };
        let response = self.followed(call, Some(value.clone())).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            self.credentials.keep(repository, value, lifetime).await;
        }
        Ok(response)
    }

    async fn token(
        &self,
        call: &Call<'_>,
        realm: &str,
        service: Option<&str>,
        scope: Option<&str>,
    ) -> Result<(HeaderValue, Duration), UpstreamError> {
        let untrusted = |reason| self.untrusted(call, reason);
        let url = auth::token_url(realm, service, scope, call.repository.as_str());
        let url = url.ok_or_else(|| untrusted("its token realm is no URL".into()))?;
        let target = Origin::of(&url).ok_or_else(|| untrusted("its token realm is no http or https URL".into()))?;
        if let Some(reason) = self.origin.refuses(&target) {
            return Err(untrusted(format!("token realm: {reason}")));
        }
        let authorization = self.credentials.for_realm(&self.origin, &target).map_err(untrusted)?;
        let response = self
            .once(call, &Method::GET, &url, "application/json", authorization, &target)
            .await?;
        match response.status() {
            status if status.is_success() => {}
            status if matches!(status.as_u16(), 401 | 403) => return Err(self.refused(call, status)),
            status => return Err(self.faulty(call, status)),
        }
        let body = self.body(call, response, auth::MAX_TOKEN_ANSWER).await?;
        auth::token(&body).ok_or_else(|| self.unreachable(call, "its token service sent no token".into()))
    }

    /// Sends a call and follows redirects, without credentials as soon as the origin changes.
    async fn followed(
        &self,
        call: &Call<'_>,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let url = format!("{}/v2/{}", self.base, call.path);
        let mut url: Uri = url
            .parse()
            .map_err(|_| self.unreachable(call, "its URL is not valid".into()))?;
        let mut target = self.origin.clone();
        for _ in 0..=MAX_REDIRECTS {
            let authorization = authorization.clone().filter(|_| target == self.origin);
            let response = self
                .once(call, &call.method, &url, call.accept, authorization, &target)
                .await?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            url = self.redirected(call, &url, &response)?;
            target = Origin::of(&url)
                .ok_or_else(|| self.untrusted(call, "it redirects to something else than http or https".into()))?;
            if let Some(reason) = target_refused(&self.origin, &target) {
                return Err(self.untrusted(call, format!("redirect: {reason}")));
            }
        }
        Err(self.unreachable(call, format!("it redirects more than {MAX_REDIRECTS} times")))
    }

    fn redirected(&self, call: &Call<'_>, from: &Uri, response: &Response<Incoming>) -> Result<Uri, UpstreamError> {
        let broken = || self.unreachable(call, "it redirects without a usable Location".into());
        let location = response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(broken)?;
        let base = url::Url::parse(&from.to_string()).map_err(|_| broken())?;
        base.join(location)
            .map_err(|_| broken())?
            .as_str()
            .parse()
            .map_err(|_| broken())
    }

    /// One request and its response headers, within the deadline.
    async fn once(
        &self,
        call: &Call<'_>,
        method: &Method,
        url: &Uri,
        accept: &str,
        authorization: Option<HeaderValue>,
        target: &Origin,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, accept);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|_| self.unreachable(call, "no request could be made".into()))?;
        let client = if *target == self.origin { &self.http } else { &self.led };
        match tokio::time::timeout(self.header_timeout, client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            // The error's own text, and its cause's: never the URL, which may carry a signature.
            Ok(Err(error)) => Err(self.unreachable(call, chain(&error))),
            Err(_) => Err(self.unreachable(call, format!("no response headers within {:?}", self.header_timeout))),
        }
    }

    fn checked(&self, call: &Call<'_>, response: Response<Incoming>) -> Result<Response<Incoming>, UpstreamError> {
        let (upstream, subject) = (Arc::clone(&self.name), call.subject.clone());
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::NOT_FOUND => Err(UpstreamError::NotFound { upstream, subject }),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(self.refused(call, status)),
            StatusCode::TOO_MANY_REQUESTS => {
                let header = response
                    .headers()
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok());
                let retry_after = header.and_then(|text| text.parse().ok()).map(Duration::from_secs);
                Err(UpstreamError::RateLimited {
                    upstream,
                    subject,
                    retry_after,
                })
            }
            status => Err(self.faulty(call, status)),
        }
    }

    /// Reads a whole body of at most `limit` bytes.
    pub(super) async fn body(
        &self,
        call: &Call<'_>,
        response: Response<Incoming>,
        limit: usize,
    ) -> Result<Bytes, UpstreamError> {
        let mut body = response.into_body();
        let mut bytes = BytesMut::new();
        loop {
            let frame = tokio::time::timeout(self.stall_timeout, body.frame()).await;
            let frame = frame.map_err(|_| self.unreachable(call, format!("no byte for {:?}", self.stall_timeout)))?;
            let Some(frame) = frame else { return Ok(bytes.freeze()) };
            let frame = frame.map_err(|error| self.unreachable(call, chain(&error)))?;
            if let Ok(data) = frame.into_data() {
                if bytes.len() + data.len() > limit {
                    return Err(self.lied(call, format!("it is larger than the limit of {limit} bytes")));
                }
                bytes.extend_from_slice(&data);
            }
        }
    }

    pub(super) fn unreachable(&self, call: &Call<'_>, reason: String) -> UpstreamError {
        UpstreamError::Unreachable {
            upstream: Arc::clone(&self.name),
            subject: call.subject.clone(),
            reason,
        }
    }

    pub(super) fn untrusted(&self, call: &Call<'_>, reason: String) -> UpstreamError {
        UpstreamError::Untrusted {
            upstream: Arc::clone(&self.name),
            subject: call.subject.clone(),
            reason,
        }
    }

    pub(super) fn lied(&self, call: &Call<'_>, reason: String) -> UpstreamError {
        UpstreamError::Lied {
            upstream: Arc::clone(&self.name),
            subject: call.subject.clone(),
            reason,
        }
    }

    pub(super) fn refused(&self, call: &Call<'_>, status: StatusCode) -> UpstreamError {
        let (upstream, subject) = (Arc::clone(&self.name), call.subject.clone());
        UpstreamError::Refused {
            upstream,
            subject,
            status: status.as_u16(),
        }
    }

    pub(super) fn faulty(&self, call: &Call<'_>, status: StatusCode) -> UpstreamError {
        let (upstream, subject) = (Arc::clone(&self.name), call.subject.clone());
        UpstreamError::Faulty {
            upstream,
            subject,
            status: status.as_u16(),
        }
    }
}

fn target_refused(origin: &Origin, target: &Origin) -> Option<String> {
    if target == origin { None } else { origin.refuses(target) }
}
