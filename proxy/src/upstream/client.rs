//! The real upstream: the distribution API over hyper.
//!
//! Every answer has a size limit and a deadline; redirects and token realms are followed only where the `origin` module allows;
//! manifests are verified before they are returned.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LINK};
use http::{Method, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use patchport_oci::digest::Algorithm;
use patchport_oci::manifest::MAX_SIZE as MAX_MANIFEST;
use patchport_oci::{Digest, Hasher, Manifest, Reference, Repository, Tag, media_type};
use serde::Deserialize;
use serde_json::Value;

use super::auth::Credentials;
use super::{Download, Upstream, UpstreamError};
use crate::net::connect::{self, HttpClient, TlsError};
use crate::net::origin::Origin;
use crate::referrers::descriptors;
use crate::respond::chain;

mod call;

use call::Call;

/// More pages than any list of referrers has.
const MAX_PAGES: usize = 32;
const CONTENT_DIGEST: &str = "docker-content-digest";
/// Tags that are asked for at once, and the largest answer, in bytes.
const TAGS: u32 = 1000;
const MAX_TAGS: usize = 4 * 1024 * 1024;

/// How to reach one upstream.
pub struct Settings {
    /// Its name in the table.
    pub name: Arc<str>,
    /// Where its `/v2/` stands, without that part.
    pub url: String,
    /// User name and password.
    pub user: Option<(String, String)>,
    /// More hosts that may receive them as a token realm.
    pub token_realms: Vec<String>,
    /// More roots to trust.
    pub ca: Option<std::path::PathBuf>,
    /// How long response headers may take.
    pub header_timeout: Duration,
    /// How long a body may give nothing.
    pub stall_timeout: Duration,
}

/// A client of one upstream registry.
pub struct Client {
    name: Arc<str>,
    base: String,
    origin: Origin,
    http: HttpClient,
    /// For where upstream leads us: the same, but never to local addresses (unless upstream is local itself).
    led: HttpClient,
    credentials: Credentials,
    header_timeout: Duration,
    stall_timeout: Duration,
}

/// Why an upstream cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Its URL.
    #[error("`{0}` is no http or https URL")]
    Url(String),
    /// Its certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What a registry says of its tags.
#[derive(Deserialize)]
struct TagList {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Client {
    /// A client; connects when it is first used.
    ///
    /// # Errors
    /// When the URL or the certificates are not usable.
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        let base = settings.url.trim_end_matches('/').to_owned();
        let origin = base
            .parse::<Uri>()
            .ok()
            .as_ref()
            .and_then(Origin::of)
            .ok_or(ClientError::Url(settings.url))?;
        let user = settings
            .user
            .as_ref()
            .map(|(name, password)| (name.as_str(), password.as_str()));
        Ok(Self {
            http: connect::client(settings.ca.as_deref(), true, settings.header_timeout)?,
            led: connect::client(settings.ca.as_deref(), origin.is_local(), settings.header_timeout)?,
            credentials: Credentials::new(user, settings.token_realms),
            name: settings.name,
            base,
            origin,
            header_timeout: settings.header_timeout,
            stall_timeout: settings.stall_timeout,
        })
    }

    fn call<'a>(&self, method: Method, kind: &str, repository: &'a Repository, reference: &str) -> Call<'a> {
        let separator = if reference.contains(':') { "@" } else { ":" };
        let (accept, what) = match kind {
            "manifests" => (media_type::ACCEPT_MANIFESTS, ""),
            "referrers" => (media_type::OCI_INDEX, "referrers of "),
            _ => ("*/*", "blob "),
        };
        Call {
            method,
            path: format!("{repository}/{kind}/{reference}"),
            accept,
            repository,
            subject: format!("{what}{repository}{separator}{reference}"),
        }
    }

    /// The path of the page after this one, as [`Call::path`] has it.
    fn next_page(&self, call: &Call<'_>, response: &Response<Incoming>) -> Result<Option<String>, UpstreamError> {
        let Some(link) = response
            .headers()
            .get(LINK)
            .and_then(|value| value.to_str().ok())
            .and_then(next)
        else {
            return Ok(None);
        };
        let unusable = |_| self.unreachable(call, "it names no usable next page".into());
        let own = url::Url::parse(&format!("{}/v2/", self.base)).map_err(unusable)?;
        let url = own
            .join(&call.path)
            .and_then(|page| page.join(link))
            .map_err(unusable)?;
        let path = url.as_str().strip_prefix(own.as_str()).map(ToOwned::to_owned);
        // Another repository's list is not what was asked for, whoever names it.
        let is_own = |path: &String| path.starts_with(&format!("{}/referrers/", call.repository));
        let path = path.filter(is_own);
        path.map(Some)
            .ok_or_else(|| self.untrusted(call, "its next page is of something else".into()))
    }
}

#[async_trait]
impl Upstream for Client {
    async fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, UpstreamError> {
        let call = self.call(Method::HEAD, "manifests", repository, tag.as_str());
        match self.send(&call).await {
            Ok(response) => Ok(named_digest(&response)),
            // Some registries do not speak HEAD: the GET that follows will tell.
            Err(UpstreamError::Faulty { status: 405, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn manifest(&self, repository: &Repository, reference: &Reference) -> Result<Manifest, UpstreamError> {
        let call = self.call(Method::GET, "manifests", repository, &reference.to_string());
        let response = self.send(&call).await?;
        let promised = match reference {
            Reference::Digest(digest) => Some(digest.clone()),
            Reference::Tag(_) => named_digest(&response),
        };
        if let Some(size) = length(&response).filter(|size| *size > MAX_MANIFEST as u64) {
            return Err(self.lied(
                &call,
                format!("it has {size} bytes, more than the {MAX_MANIFEST} of a manifest"),
            ));
        }
        let header = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let content_type = header.unwrap_or_default().to_owned();
        let bytes = self.body(&call, response, MAX_MANIFEST).await?;
        // Under the algorithm that was promised: clients compare what they asked for with what they are told.
        let algorithm = promised.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        if let Some(promised) = promised {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&bytes);
            let found = hasher.finish();
            if found != promised {
                return Err(self.lied(&call, format!("it says {promised}, the bytes hash to {found}")));
            }
        }
        Manifest::parse_as(bytes, &content_type, algorithm).map_err(|source| UpstreamError::Manifest {
            upstream: Arc::clone(&self.name),
            subject: call.subject,
            source: Arc::new(source),
        })
    }

    async fn referrers(&self, repository: &Repository, digest: &Digest) -> Result<Option<Vec<Value>>, UpstreamError> {
        let mut call = self.call(Method::GET, "referrers", repository, &digest.to_string());
        let (mut list, mut room) = (Vec::new(), MAX_MANIFEST);
        for page in 0..MAX_PAGES {
            let response = match self.send(&call).await {
                Ok(response) => response,
                // Registries without this API say so in many ways.
                Err(UpstreamError::NotFound { .. } | UpstreamError::Refused { .. }) if page == 0 => return Ok(None),
                Err(UpstreamError::Faulty { status, .. }) if page == 0 && (400..500).contains(&status) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            let next = self.next_page(&call, &response)?;
            let body = self.body(&call, response, room).await?;
            room = room.saturating_sub(body.len());
            match descriptors(&body) {
                Some(more) => list.extend(more),
                None if page == 0 => return Ok(None),
                None => return Err(self.lied(&call, "a page of its list is none".into())),
            }
            match next {
                Some(path) => call.path = path,
                None => return Ok(Some(list)),
            }
        }
        Err(self.lied(&call, format!("its list has more than {MAX_PAGES} pages")))
    }

    async fn blob_size(&self, repository: &Repository, digest: &Digest) -> Result<u64, UpstreamError> {
        let call = self.call(Method::HEAD, "blobs", repository, &digest.to_string());
        let response = self.send(&call).await?;
        length(&response).ok_or_else(|| self.lied(&call, "it does not say how large it is".into()))
    }

    async fn tags(&self, repository: &Repository, last: Option<&Tag>) -> Result<(Vec<Tag>, bool), UpstreamError> {
        let from = last.map_or_else(String::new, |last| format!("&last={last}"));
        let call = Call {
            method: Method::GET,
            path: format!("{repository}/tags/list?n={TAGS}{from}"),
            accept: "application/json",
            repository,
            subject: format!("tags of {repository}"),
        };
        let response = self.send(&call).await?;
        // Distribution specification, "Listing Tags": there is more if there is a Link.
        let more = response.headers().contains_key(LINK);
        let bytes = self.body(&call, response, MAX_TAGS).await?;
        let listed: TagList = serde_json::from_slice(&bytes)
            .map_err(|error| self.lied(&call, format!("it is no list of tags: {error}")))?;
        let tags = listed.tags.unwrap_or_default();
        Ok((tags.iter().filter_map(|tag| tag.parse().ok()).collect(), more))
    }

    async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Download, UpstreamError> {
        let call = self.call(Method::GET, "blobs", repository, &digest.to_string());
        let response = self.send(&call).await?;
        let size = length(&response);
        let (upstream, subject, stall) = (Arc::clone(&self.name), call.subject, self.stall_timeout);
        let failed = move |reason| UpstreamError::Unreachable {
            upstream: Arc::clone(&upstream),
            subject: subject.clone(),
            reason,
        };
        let body = stream::unfold(Some(response.into_body()), move |body| {
            let failed = failed.clone();
            async move {
                let mut body = body?;
                match tokio::time::timeout(stall, body.frame()).await {
                    Err(_) => Some((Err(failed(format!("no byte for {stall:?}"))), None)),
                    Ok(None) => None,
                    Ok(Some(Err(error))) => Some((Err(failed(chain(&error))), None)),
                    Ok(Some(Ok(frame))) => Some((Ok(frame.into_data().unwrap_or_default()), Some(body))),
                }
            }
        });
        Ok(Download {
            size,
            body: body.boxed(),
        })
    }
}

/// The target of the link to the next page
/// ([distribution-spec, listing referrers](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers)).
fn next(header: &str) -> Option<&str> {
    let (target, parameters) = header.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = |parameter: &str| matches!(parameter.trim(), "rel=next" | "rel=\"next\"");
    parameters.split(';').any(is_next).then_some(target)
}

fn named_digest(response: &Response<Incoming>) -> Option<Digest> {
    response.headers().get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

fn length(response: &Response<Incoming>) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
