//! Outcome or error to response: one exhaustive match gives status, code, blame and log level.
//!
//! A client sees a sentence that it can act on; what is our own fault is told to the log only.

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LINK, RETRY_AFTER, WARNING,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use patchport_oci::{ByteRange, Digest, ErrorCode, Tag, error, media_type};
use serde_json::{Value, json};
use tracing::Level;

use crate::answers::Answer;
use crate::blobs::{BlobError, Content};
use crate::handler::Failure;
use crate::patch::PatchError;
use crate::resolve::ResolveError;
use crate::route::{Page, RouteError};
use crate::upstream::UpstreamError;

/// The body of every response.
pub type Body = UnsyncBoxBody<Bytes, BlobError>;

/// The longest warning: proxies limit the size of all headers together.
const MAX_WARNING: usize = 500;
const CONTENT_DIGEST: &str = "docker-content-digest";
const API_VERSION: (&str, &str) = ("docker-distribution-api-version", "registry/2.0");

/// Whose fault an error is; labels logs, and later metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The request.
    Client,
    /// The operator's policy.
    Policy,
    /// The registry behind us.
    Upstream,
    /// BuildKit, or what runs in it.
    Builder,
    /// This program or its machine.
    Us,
}

/// How an error is answered.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The HTTP status.
    pub status: StatusCode,
    /// The OCI error code.
    pub code: ErrorCode,
    /// Whose fault it is.
    pub blame: Blame,
    /// How it is logged.
    pub level: Level,
}

fn verdict(status: StatusCode, code: ErrorCode, blame: Blame) -> Verdict {
    let level = match blame {
        Blame::Client | Blame::Policy => Level::INFO,
        Blame::Upstream | Blame::Builder => Level::WARN,
        Blame::Us => Level::ERROR,
    };
    Verdict {
        status,
        code,
        blame,
        level,
    }
}

/// Judges a failure.
pub fn judge(failure: &Failure) -> Verdict {
    let client = |status, code| verdict(status, code, Blame::Client);
    match failure {
        Failure::Method => client(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported),
        Failure::Route(error) => route(error),
        Failure::Range(_) => client(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::SizeInvalid),
        Failure::Denied(_) => verdict(StatusCode::FORBIDDEN, ErrorCode::Denied, Blame::Policy),
        Failure::Unpatched { .. } => verdict(StatusCode::FORBIDDEN, ErrorCode::Denied, Blame::Policy),
        Failure::Resolve(error) => match error {
            ResolveError::Upstream(error) => upstream(error, ErrorCode::ManifestUnknown),
            ResolveError::Late { .. } => verdict(StatusCode::GATEWAY_TIMEOUT, ErrorCode::Unavailable, Blame::Upstream),
            ResolveError::Catalog(_) => verdict(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unknown, Blame::Us),
            ResolveError::Interrupted(_) => verdict(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, Blame::Us),
        },
        Failure::Blob(error) => match error {
            BlobError::Upstream(error) => upstream(error, ErrorCode::BlobUnknown),
            BlobError::Lied { .. } => verdict(StatusCode::BAD_GATEWAY, ErrorCode::Unavailable, Blame::Upstream),
            BlobError::Store { .. } => verdict(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unknown, Blame::Us),
            BlobError::Interrupted(_) => verdict(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, Blame::Us),
        },
        Failure::Tags(error) => upstream(error, ErrorCode::NameUnknown),
        Failure::BlobLate { .. } => verdict(StatusCode::GATEWAY_TIMEOUT, ErrorCode::Unavailable, Blame::Upstream),
        Failure::Catalog(_) => verdict(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unknown, Blame::Us),
    }
}

fn route(error: &RouteError) -> Verdict {
    use patchport_oci::route::RouteError as Path;
    let (status, code) = match error {
        RouteError::Path(Path::NotServed(_)) => (StatusCode::NOT_FOUND, ErrorCode::Unsupported),
        RouteError::Path(Path::Reference(_)) => (StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid),
        RouteError::Path(Path::Digest(_)) => (StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid),
        RouteError::Name(_) | RouteError::AmbiguousHost => (StatusCode::BAD_REQUEST, ErrorCode::NameInvalid),
        RouteError::Page { .. } => (StatusCode::BAD_REQUEST, ErrorCode::PaginationInvalid),
        RouteError::UnknownHost { .. } | RouteError::NoUpstream { .. } => {
            (StatusCode::NOT_FOUND, ErrorCode::NameUnknown)
        }
    };
    verdict(status, code, Blame::Client)
}

fn upstream(error: &UpstreamError, missing: ErrorCode) -> Verdict {
    let (status, code) = match error {
        UpstreamError::NotFound { .. } => (StatusCode::NOT_FOUND, missing),
        // Registries answer 401 or 403 for what does not exist; a mirror's client has no use for our credentials' fate.
        UpstreamError::Refused { .. } => (StatusCode::NOT_FOUND, ErrorCode::NameUnknown),
        UpstreamError::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests),
        UpstreamError::Faulty { .. } | UpstreamError::Unreachable { .. } | UpstreamError::Untrusted { .. } => {
            (StatusCode::BAD_GATEWAY, ErrorCode::Unavailable)
        }
        UpstreamError::Lied { .. } => (StatusCode::BAD_GATEWAY, ErrorCode::Unavailable),
        UpstreamError::Manifest { .. } => (StatusCode::BAD_GATEWAY, ErrorCode::ManifestInvalid),
    };
    verdict(status, code, Blame::Upstream)
}

/// The response to a failure. What is our fault gets a fixed text; the rest is told with its causes.
pub fn failure(failure: &Failure, verdict: &Verdict) -> Response<Body> {
    let message = match verdict.blame {
        Blame::Us => "this mirror met an internal fault; its log tells more".to_owned(),
        Blame::Client | Blame::Policy | Blame::Upstream | Blame::Builder => chain(failure),
    };
    let mut response = Response::new(full(error::body(verdict.code, &message)));
    *response.status_mut() = verdict.status;
    let headers = common(response.headers_mut());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match failure {
        Failure::Method => {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        Failure::Range(unsatisfiable) => {
            put(headers, CONTENT_RANGE, format!("bytes */{}", unsatisfiable.size));
        }
        Failure::Resolve(ResolveError::Upstream(UpstreamError::RateLimited {
            retry_after: Some(after),
            ..
        }))
        | Failure::Blob(BlobError::Upstream(UpstreamError::RateLimited {
            retry_after: Some(after),
            ..
        }))
        | Failure::Tags(UpstreamError::RateLimited {
            retry_after: Some(after),
            ..
        }) => {
            put(headers, RETRY_AFTER, after.as_secs().to_string());
        }
        Failure::Unpatched {
            error: PatchError::Late,
            ..
        } => {
            put(headers, RETRY_AFTER, "10".into());
        }
        _ => {}
    }
    response
}

/// `GET /v2/`.
pub fn base() -> Response<Body> {
    let mut response = Response::new(full("{}"));
    common(response.headers_mut()).insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A manifest.
pub fn manifest(answer: &Answer, if_none_match: Option<&HeaderValue>) -> Response<Body> {
    let manifest = &answer.manifest;
    let etag = format!("\"{}\"", manifest.digest);
    let unchanged = if_none_match
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains(&etag));
    let mut response = Response::new(full(if unchanged {
        Bytes::new()
    } else {
        manifest.bytes.clone()
    }));
    let headers = common(response.headers_mut());
    put(headers, CONTENT_TYPE, manifest.media_type.to_string());
    put(headers, CONTENT_LENGTH, manifest.bytes.len().to_string());
    identity(headers, &manifest.digest);
    if let Some(warning) = &answer.warning {
        // RFC 7234, 5.5: a quoted string. containerd and others show warnings with code 299.
        let text: String = warning
            .chars()
            .filter(|c| !c.is_control() && !matches!(c, '"' | '\\') && c.is_ascii())
            .take(MAX_WARNING)
            .collect();
        put(headers, WARNING, format!("299 - \"{text}\""));
    }
    if unchanged {
        headers.remove(CONTENT_LENGTH);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response
}

/// What refers to a manifest, perhaps of one artifact type only.
pub fn referrers(list: &[Value], artifact_type: Option<&str>) -> Response<Body> {
    let is_wanted = |descriptor: &&Value| artifact_type.is_none_or(|wanted| descriptor["artifactType"] == wanted);
    let manifests: Vec<&Value> = list.iter().filter(is_wanted).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests });
    let bytes = index.to_string();
    let mut response = Response::new(full(Bytes::new()));
    let headers = common(response.headers_mut());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type::OCI_INDEX));
    put(headers, CONTENT_LENGTH, bytes.len().to_string());
    if artifact_type.is_some() {
        headers.insert("oci-filters-applied", HeaderValue::from_static("artifactType"));
    }
    *response.body_mut() = full(bytes);
    response
}

/// A page of a list of tags; `last` is the tag that the next page comes after, when there is one.
pub fn tags(page: &Page, tags: &[Tag], last: Option<&Tag>) -> Response<Body> {
    let name = page.path.trim_start_matches("/v2/").trim_end_matches("/tags/list");
    let bytes = json!({ "name": name, "tags": tags.iter().map(Tag::as_str).collect::<Vec<_>>() }).to_string();
    let mut response = Response::new(full(Bytes::new()));
    let headers = common(response.headers_mut());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    put(headers, CONTENT_LENGTH, bytes.len().to_string());
    if let Some(last) = last {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(page.limit.map(|limit| ("n", limit.to_string())));
        query.append_pair("last", last.as_str());
        query.extend_pairs(page.namespace.as_ref().map(|namespace| ("ns", namespace)));
        put(
            headers,
            LINK,
            format!("<{}?{}>; rel=\"next\"", page.path, query.finish()),
        );
    }
    *response.body_mut() = full(bytes);
    response
}

/// The head of a blob, whose size is known.
pub fn blob_head(digest: &Digest, size: u64) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    put(response.headers_mut(), CONTENT_LENGTH, size.to_string());
    blob_headers(response.headers_mut(), digest);
    response
}

/// A blob, or a range of it.
pub fn blob(digest: &Digest, content: Content, range: Option<ByteRange>) -> Response<Body> {
    let size = content.size();
    let stream = content.stream(range).then(async |chunk| {
        if chunk.is_err() {
            // hyper sends what it has when a body has nothing more for now: so the answer begins before it breaks off.
            tokio::task::yield_now().await;
        }
        chunk.map(Frame::data)
    });
    let mut response = Response::new(StreamBody::new(stream).boxed_unsync());
    let headers = response.headers_mut();
    match (range, size) {
        (Some(range), Some(size)) => {
            put(headers, CONTENT_LENGTH, range.length().to_string());
            put(
                headers,
                CONTENT_RANGE,
                format!("bytes {}-{}/{size}", range.first, range.last),
            );
        }
        (_, Some(size)) => put(headers, CONTENT_LENGTH, size.to_string()),
        (_, None) => {}
    }
    blob_headers(headers, digest);
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

fn blob_headers(headers: &mut HeaderMap, digest: &Digest) {
    let headers = common(headers);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    identity(headers, digest);
}

fn identity(headers: &mut HeaderMap, digest: &Digest) {
    if let Ok(value) = HeaderValue::from_str(&digest.to_string()) {
        headers.insert(CONTENT_DIGEST, value);
    }
    put(headers, ETAG, format!("\"{digest}\""));
}

fn common(headers: &mut HeaderMap) -> &mut HeaderMap {
    headers.insert(API_VERSION.0, HeaderValue::from_static(API_VERSION.1));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers
}

fn put(headers: &mut HeaderMap, name: http::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// A body that is here already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
