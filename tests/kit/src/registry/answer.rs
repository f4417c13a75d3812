//! How the fake registry answers one request: content first, then the faults that apply are laid over it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LINK, LOCATION, RANGE, WWW_AUTHENTICATE,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};

use super::access::TOKEN;
use super::fault::{Fault, Gate};
use super::{Record, State};
use crate::image::media;

type Body = BoxBody<Bytes, io::Error>;

/// One thing that happens while a body is sent.
enum Step {
    Data(Bytes),
    Wait(Gate),
    Break,
    Forever,
}

/// An answer before it is sent.
struct Answer {
    status: StatusCode,
    headers: Vec<(http::HeaderName, String)>,
    content: Bytes,
}

impl Answer {
    fn error(status: u16, code: &str) -> Self {
        let content = serde_json::json!({ "errors": [{ "code": code, "message": "the kit says no" }] }).to_string();
        Self {
            status: StatusCode::from_u16(status).unwrap(),
            headers: vec![(CONTENT_TYPE, "application/json".to_owned())],
            content: content.into(),
        }
    }

    fn set(&mut self, name: http::HeaderName, value: String) {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value));
    }
}

pub(super) async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let record = Record::of(&request);
    let faults = state.record(&record);
    for fault in &faults {
        match fault {
            Fault::Delay(pause) => tokio::time::sleep(*pause).await,
            Fault::Hold(gate) => gate.pass().await,
            _ => {}
        }
    }
    let mut answer = refused(&faults, &record).unwrap_or_else(|| content(&state, &request, &faults));
    let mut steps = vec![Step::Data(answer.content.clone())];
    for fault in &faults {
        lay_over(&mut answer, &mut steps, fault);
    }
    Ok(assemble(request.method(), answer, steps))
}

/// Faults that take the place of the content.
fn refused(faults: &[Fault], record: &Record) -> Option<Answer> {
    faults.iter().find_map(|fault| match fault {
        Fault::Status(code, headers) => {
            let mut answer = Answer::error(*code, "UNKNOWN");
            for (name, value) in headers {
                answer.set(http::HeaderName::from_static(name), value.clone());
            }
            Some(answer)
        }
        Fault::Redirect(base) => {
            let mut answer = Answer::error(307, "UNKNOWN");
            answer.set(
                LOCATION,
                format!("{base}{}?X-Signature=kit-signed-url-canary", record.path),
            );
            Some(answer)
        }
        _ => None,
    })
}

fn content(state: &State, request: &Request<Incoming>, faults: &[Fault]) -> Answer {
    let path = request.uri().path();
    let authorization = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if path == "/token" {
        return token(state, authorization);
    }
    let Some((repository, kind, reference)) = split(path) else {
        return Answer::error(404, "NAME_UNKNOWN");
    };
    let access = state.access();
    if !access.allows(authorization) {
        let mut answer = Answer::error(401, "UNAUTHORIZED");
        answer.set(WWW_AUTHENTICATE, access.challenge(&state.url(), repository));
        return answer;
    }
    match kind {
        "" => Answer {
            status: StatusCode::OK,
            headers: Vec::new(),
            content: "{}".into(),
        },
        "tags" => tags(state, repository, request.uri().query().unwrap_or_default()),
        "referrers" => referrers(state, repository, reference, request.uri().query().unwrap_or_default()),
        _ => {
            let ignored = faults.iter().any(|fault| matches!(fault, Fault::IgnoreRange));
            let range = request.headers().get(RANGE).filter(|_| !ignored);
            stored(state, repository, kind, reference, range)
        }
    }
}

/// A manifest, or a blob or a part of one.
fn stored(state: &State, repository: &str, kind: &str, reference: &str, range: Option<&HeaderValue>) -> Answer {
    let found = match kind {
        "manifests" => state.manifest(repository, reference).ok_or("MANIFEST_UNKNOWN"),
        _ => state
            .blob(repository, reference)
            .map(|bytes| ("application/octet-stream".to_owned(), bytes))
            .ok_or("BLOB_UNKNOWN"),
    };
    let (media_type, bytes) = match found {
        Ok(found) => found,
        Err(code) => return Answer::error(404, code),
    };
    let digest = if kind == "manifests" {
        crate::digest(&bytes)
    } else {
        reference.to_owned()
    };
    let mut answer = Answer {
        status: StatusCode::OK,
        headers: vec![(CONTENT_TYPE, media_type)],
        content: bytes,
    };
    answer.set(http::HeaderName::from_static("docker-content-digest"), digest);
    if kind != "blobs" {
        return answer;
    }
    answer.set(ACCEPT_RANGES, "bytes".to_owned());
    match range {
        Some(range) => part(answer, range),
        None => answer,
    }
}

fn token(state: &State, authorization: Option<&str>) -> Answer {
    if !state.access().grants(authorization) {
        return Answer::error(401, "UNAUTHORIZED");
    }
    let content = serde_json::json!({ "token": TOKEN, "access_token": TOKEN, "expires_in": 300 }).to_string();
    Answer {
        status: StatusCode::OK,
        headers: vec![(CONTENT_TYPE, "application/json".to_owned())],
        content: content.into(),
    }
}

/// The list of what refers to a manifest, two on a page, as the specification has it (distribution-spec, "Listing Referrers").
fn referrers(state: &State, repository: &str, subject: &str, query: &str) -> Answer {
    const PAGE: usize = 2;
    let Some(all) = state.referrers(repository, subject) else {
        return Answer::error(404, "NOT_FOUND");
    };
    let from: usize = query
        .strip_prefix("from=")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let page: Vec<_> = all.iter().skip(from).take(PAGE).collect();
    let content =
        serde_json::json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": page }).to_string();
    let mut answer = Answer {
        status: StatusCode::OK,
        headers: vec![(CONTENT_TYPE, media::OCI_INDEX.to_owned())],
        content: content.into(),
    };
    if from + PAGE < all.len() {
        let next = format!(
            "</v2/{repository}/referrers/{subject}?from={}>; rel=\"next\"",
            from + PAGE
        );
        answer.set(LINK, next);
    }
    answer
}

/// The tags after `last`, at most `n` of them.
fn tags(state: &State, repository: &str, query: &str) -> Answer {
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name));
    let (last, limit) = (
        value("last=").unwrap_or_default(),
        value("n=").and_then(|n| n.parse().ok()),
    );
    let all = state.tags(repository);
    if all.is_empty() {
        return Answer::error(404, "NAME_UNKNOWN");
    }
    let mut tags: Vec<&String> = all.iter().filter(|tag| tag.as_str() > last).collect();
    let rest = tags.split_off(limit.unwrap_or(usize::MAX).min(tags.len()));
    let content = serde_json::json!({ "name": repository, "tags": tags }).to_string();
    let mut answer = Answer {
        status: StatusCode::OK,
        headers: vec![(CONTENT_TYPE, "application/json".to_owned())],
        content: content.into(),
    };
    if let (Some(last), false) = (tags.last(), rest.is_empty()) {
        answer.set(LINK, format!("</v2/{repository}/tags/list?last={last}>; rel=\"next\""));
    }
    answer
}

/// `/v2/<repository>/<kind>/<reference>`; `/v2/` alone has an empty kind. A repository may look like a route: the
/// segment before the last decides.
fn split(path: &str) -> Option<(&str, &str, &str)> {
    let rest = path.strip_prefix("/v2/")?;
    if rest.is_empty() {
        return Some(("", "", ""));
    }
    let (front, reference) = rest.rsplit_once('/')?;
    let (repository, kind) = front.rsplit_once('/')?;
    ["manifests", "blobs", "tags", "referrers"]
        .contains(&kind)
        .then_some((repository, kind, reference))
}

/// One byte range of the content (RFC 9110 section 14); what this cannot read is answered 416.
fn part(mut answer: Answer, range: &HeaderValue) -> Answer {
    let total = answer.content.len();
    let bounds = range
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("bytes="))
        .and_then(|text| text.split_once('-'));
    let bounds = bounds.and_then(|(first, last)| match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => Some((first, last.min(total.saturating_sub(1)))),
        (Ok(first), Err(_)) => Some((first, total.saturating_sub(1))),
        (Err(_), Ok(suffix)) => Some((total.saturating_sub(suffix), total.saturating_sub(1))),
        (Err(_), Err(_)) => None,
    });
    let Some((first, last)) = bounds.filter(|(first, last)| first <= last && *first < total) else {
        return Answer::error(416, "RANGE_INVALID");
    };
    answer.status = StatusCode::PARTIAL_CONTENT;
    answer.set(CONTENT_RANGE, format!("bytes {first}-{last}/{total}"));
    answer.content = answer.content.slice(first..=last);
    answer
}

/// Faults that spoil a good answer.
fn lay_over(answer: &mut Answer, steps: &mut Vec<Step>, fault: &Fault) {
    let digest = http::HeaderName::from_static("docker-content-digest");
    match fault {
        Fault::Body(bytes) => *steps = vec![Step::Data(bytes.clone())],
        Fault::DigestHeader(text) => answer.set(digest, text.clone()),
        Fault::NoDigestHeader => answer.headers.retain(|(name, _)| *name != digest),
        Fault::ContentType(text) => answer.set(CONTENT_TYPE, (*text).to_owned()),
        Fault::ContentLength(length) => answer.set(CONTENT_LENGTH, length.to_string()),
        Fault::StopAfter(count) => *steps = vec![Step::Data(head(&answer.content, *count)), Step::Break],
        Fault::HoldAfter(count, gate) => {
            let first = head(&answer.content, *count);
            let rest = answer.content.slice(first.len()..);
            *steps = vec![Step::Data(first), Step::Wait(gate.clone()), Step::Data(rest)];
        }
        Fault::Endless => *steps = vec![Step::Forever],
        Fault::Status(..) | Fault::Redirect(_) | Fault::IgnoreRange | Fault::Hold(_) | Fault::Delay(_) => {}
    }
}

fn head(content: &Bytes, count: usize) -> Bytes {
    content.slice(..count.min(content.len()))
}

fn assemble(method: &Method, mut answer: Answer, mut steps: Vec<Step>) -> Response<Body> {
    let known: Option<usize> = steps.iter().try_fold(0, |sum, step| match step {
        Step::Data(bytes) => Some(sum + bytes.len()),
        Step::Wait(_) => Some(sum),
        Step::Break => Some(answer.content.len()),
        Step::Forever => None,
    });
    let claimed = answer
        .headers
        .iter()
        .find(|(name, _)| *name == CONTENT_LENGTH)
        .and_then(|(_, value)| value.parse().ok());
    match (known, claimed) {
        (Some(length), None) => answer.set(CONTENT_LENGTH, length.to_string()),
        // Less than promised is a connection that breaks.
        (Some(length), Some(claimed)) if length < claimed => steps.push(Step::Break),
        _ => {}
    }
    if method == Method::HEAD {
        steps.clear();
    }
    let mut response = Response::new(body(steps));
    *response.status_mut() = answer.status;
    for (name, value) in answer.headers {
        response
            .headers_mut()
            .append(name, HeaderValue::from_str(&value).unwrap());
    }
    response
}

/// Plays the steps; data goes out in pieces, so that a test sees a stream and not one write.
fn body(steps: Vec<Step>) -> Body {
    let steps: VecDeque<Step> = steps
        .into_iter()
        .filter(|step| !matches!(step, Step::Data(bytes) if bytes.is_empty()))
        .collect();
    let played = stream::unfold(steps, async |mut steps| {
        loop {
            match steps.pop_front()? {
                Step::Data(mut bytes) => {
                    let piece = bytes.split_to(bytes.len().min(64 << 10));
                    if !bytes.is_empty() {
                        steps.push_front(Step::Data(bytes));
                    }
                    return Some((Ok(Frame::data(piece)), steps));
                }
                Step::Wait(gate) => gate.pass().await,
                Step::Break => {
                    // Let what was sent reach the peer before the connection breaks; order on the wire is kept anyway.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    return Some((Err(io::Error::other("the kit breaks this connection")), VecDeque::new()));
                }
                Step::Forever => {
                    steps.push_front(Step::Forever);
                    return Some((Ok(Frame::data(Bytes::from_static(&[b' '; 64 << 10]))), steps));
                }
            }
        }
    });
    StreamBody::new(played).boxed()
}
