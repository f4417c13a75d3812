//! The way of a request, stage by stage.
//!
//! The handler holds the arrows and nothing else: what a stage does is in the stage's own file.

use std::sync::Arc;
use std::time::Duration;

use http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, Method, Request, Response};
use moka::future::Cache;
use patchport_config::{Fallback, Terms};
use patchport_oci::range::Unsatisfiable;
use patchport_oci::{ByteRange, Digest, Manifest, Tag};
use tokio::time::Instant;

use crate::answers::{Answer, Answers};
use crate::blobs::BlobError;
use crate::catalog::{Catalog, CatalogError};
use crate::evidence::signature;
use crate::library::{Library, LibraryError};
use crate::patch::{PatchError, Patcher};
use crate::policy::{Decision, Denial, Policy};
use crate::referrers::{List, Referrers};
use crate::resolve::{self, ResolveError, Resolver};
use crate::respond::{self, Body};
use crate::route::{Page, Place, Route, RouteError, Table};
use crate::subject;
use crate::upstream::UpstreamError;

/// How long a blob may take to begin: clients give up after 30 s.
const BLOB_PATIENCE: Duration = Duration::from_secs(25);

/// Why a request is not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Neither `GET` nor `HEAD`.
    #[error("this mirror is read-only: only GET and HEAD are served")]
    Method,
    /// It leads nowhere.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The manifest cannot be had.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The list of tags cannot be had.
    #[error(transparent)]
    Tags(UpstreamError),
    /// The blob cannot be had.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The blob did not begin in time.
    #[error("upstream {upstream} has not begun to send blob {digest} within {BLOB_PATIENCE:?}")]
    BlobLate {
        /// The upstream.
        upstream: String,
        /// The blob.
        digest: Digest,
    },
    /// The range selects nothing.
    #[error(transparent)]
    Range(#[from] Unsatisfiable),
    /// Policy forbids it.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// Policy forbids the original, and there is no patched image.
    #[error("{subject} is not served unpatched by this mirror, and its patch is not to be had")]
    Unpatched {
        /// The image.
        subject: String,
        /// Why there is no patch.
        #[source]
        error: PatchError,
    },
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Serves the registry API.
pub struct Handler {
    /// The upstreams.
    pub table: Table,
    /// The operator's rules.
    pub policy: Policy,
    /// Tags and digests to manifests.
    pub resolver: Arc<Resolver>,
    /// What refers to manifests.
    pub referrers: Arc<Referrers>,
    /// Originals to patched images.
    pub patcher: Arc<Patcher>,
    /// Answers that stand.
    pub answers: Answers,
    /// What repositories may read.
    pub library: Arc<Library>,
    /// What we remember.
    pub catalog: Catalog,
    /// What tags were last answered with, when that was the patcher's answer.
    pub published: Cache<String, Digest>,
}

impl Handler {
    /// Answers a request that came to a listener with this default upstream.
    pub async fn answer<B>(&self, request: &Request<B>, default: Option<&str>) -> Result<Response<Body>, Failure> {
        let head = match *request.method() {
            Method::GET => false,
            Method::HEAD => true,
            _ => return Err(Failure::Method),
        };
        match self.table.route(request.uri(), default)? {
            Route::Base => Ok(respond::base()),
            Route::Tag(place, tag) => {
                let answer = self.tag(&place, &tag).await?;
                Ok(respond::manifest(&answer, request.headers().get(IF_NONE_MATCH)))
            }
            Route::Manifest(place, digest) => {
                let manifest = self.manifest(&place, &digest).await?;
                let answer = Answer {
                    manifest,
                    warning: None,
                };
                Ok(respond::manifest(&answer, request.headers().get(IF_NONE_MATCH)))
            }
            Route::Referrers(place, digest, artifact_type) => {
                let list = self.referrers(&place, &digest).await?;
                Ok(respond::referrers(&list, artifact_type.as_deref()))
            }
            Route::Tags(place, page) => {
                let (tags, last) = self.tags(&place, &page).await?;
                Ok(respond::tags(&page, &tags, last.as_ref()))
            }
            Route::Blob(place, digest) if head => self.blob_head(&place, &digest).await,
            Route::Blob(place, digest) => self.blob(&place, &digest, request.headers()).await,
        }
    }

    /// A tag: policy, resolve, and the patched image where policy asks for it.
    async fn tag(&self, place: &Place, tag: &Tag) -> Result<Answer, Failure> {
        let started = Instant::now();
        let terms = match self.policy.decide(place, tag) {
            Decision::Deny(denial) => return Err(denial.into()),
            Decision::Pass => None,
            Decision::Patch(terms) => Some(terms),
        };
        if let Some(signature) = self.signature(place, tag).await? {
            return Ok(signature);
        }
        let original = self.resolver.tag(place, tag).await?;
        let Some(terms) = terms.filter(|_| subject::may_be_patched(&original)) else {
            return Ok(Answer {
                manifest: original,
                warning: None,
            });
        };
        if let Some(answer) = self.answers.unpatched(place, tag, &original.digest).await {
            return Ok(answer);
        }
        let source = original.digest.clone();
        let answer = match self
            .patcher
            .patched(place, &original, &terms, started + terms.wait)
            .await
        {
            Ok(patched) => {
                self.publish(place, tag, &source, &patched.digest).await?;
                Answer {
                    manifest: patched,
                    warning: None,
                }
            }
            Err(error) => self.fall_back(place, tag, original, terms, error).await?,
        };
        Ok(self.answers.settle(place, tag, &source, answer, started).await)
    }

    /// Our signature of an image that we made, under the tag that cosign gives it; nothing for any other tag.
    async fn signature(&self, place: &Place, tag: &Tag) -> Result<Option<Answer>, Failure> {
        let Some(subject) = signature::signed_by(tag) else {
            return Ok(None);
        };
        if !self.library.may_read(place, &subject).await? {
            return Ok(None);
        }
        let Some(digest) = signature::find(&self.catalog.referrers(place, &subject).await?) else {
            return Ok(None);
        };
        self.pass_gate(place, &subject).await?;
        let manifest = self.resolver.held(&digest).await?;
        Ok(manifest.map(|manifest| Answer {
            manifest,
            warning: None,
        }))
    }

    /// What refers to a manifest, if the gate is open for that.
    async fn referrers(&self, place: &Place, digest: &Digest) -> Result<List, Failure> {
        self.pass_gate(place, digest).await?;
        let readable = self.library.may_read(place, digest).await?;
        Ok(self.referrers.of(place, digest, readable).await?)
    }

    /// Some tags of a repository, as upstream lists them, without those that policy denies; and the one that the next page comes
    /// after, when there is one.
    async fn tags(&self, place: &Place, page: &Page) -> Result<(Vec<Tag>, Option<Tag>), Failure> {
        if page.limit == Some(0) {
            return Ok((vec![], None));
        }
        let late = |_| ResolveError::Late {
            upstream: place.upstream().into(),
            subject: format!("the tags of {place}"),
        };
        let listed = tokio::time::timeout(resolve::PATIENCE, listed(place, page.last.as_ref())).await;
        let (mut tags, mut more) = listed.map_err(late)?.map_err(Failure::Tags)?;
        if let Some(limit) = page.limit.filter(|limit| *limit < tags.len()) {
            tags.truncate(limit);
            more = true;
        }
        let last = tags.last().filter(|_| more).cloned();
        let mut denial = None;
        tags.retain(|tag| match self.policy.decide(place, tag) {
            Decision::Deny(denied) => {
                denial.get_or_insert(denied);
                false
            }
            Decision::Pass | Decision::Patch(_) => true,
        });
        match denial {
            Some(denial) if tags.is_empty() && page.last.is_none() && last.is_none() => Err(denial.into()),
            _ => Ok((tags, last)),
        }
    }

    /// Makes the patcher's answer readable under the tag's repository before it leaves, and the tag's last one.
    async fn publish(&self, place: &Place, tag: &Tag, source: &Digest, served: &Digest) -> Result<(), Failure> {
        let key = format!("{place}:{tag}");
        if self.published.get(&key).await.as_ref() != Some(served) {
            self.catalog.publish(place, tag, source, served).await?;
            self.published.insert(key, served.clone()).await;
        }
        Ok(())
    }

    /// What policy says is served when there is no patched image (yet).
    async fn fall_back(
        &self,
        place: &Place,
        tag: &Tag,
        original: Manifest,
        terms: Terms,
        error: PatchError,
    ) -> Result<Answer, Failure> {
        let subject = format!("{place}:{tag}");
        let reason = respond::chain(&error);
        tracing::warn!(image.reference = %subject, image.digest = %original.digest, %reason, "no patched image to serve");
        let fallback = if error.is_late() {
            terms.on_timeout
        } else {
            terms.on_failure
        };
        if fallback == Fallback::ServeLastPatched
            && let Some(last) = self.catalog.last_patched(place, tag).await?
            && let Some(manifest) = self.resolver.held(&last).await?
        {
            let warning = Some(format!("{subject} is an older patched image: {reason}"));
            return Ok(Answer { manifest, warning });
        }
        match fallback {
            Fallback::Deny => Err(Failure::Unpatched { subject, error }),
            Fallback::ServeLastPatched | Fallback::ServeOriginal => Ok(Answer {
                manifest: original,
                warning: Some(format!("{subject} is not patched: {reason}")),
            }),
        }
    }

    /// A manifest by digest: exactly those bytes, if the gate is open and the repository has them.
    async fn manifest(&self, place: &Place, digest: &Digest) -> Result<Manifest, Failure> {
        if let Err(closed) = self.pass_gate(place, digest).await {
            return self.artifact(place, digest).await?.ok_or(closed);
        }
        let readable = self.library.may_read(place, digest).await?;
        Ok(self.resolver.digest(place, digest, readable).await?)
    }

    /// A manifest that no tag has led to, but that upstream has listed as an artifact about another: if it says so itself, and the
    /// gate is open for the other. From then on its blobs are open, too.
    async fn artifact(&self, place: &Place, digest: &Digest) -> Result<Option<Manifest>, Failure> {
        if !self.referrers.were_listed(place, digest) {
            return Ok(None);
        }
        let readable = self.library.may_read(place, digest).await?;
        let manifest = self.resolver.digest(place, digest, readable).await?;
        match manifest.subject.as_ref().filter(|_| manifest.is_artifact()) {
            Some(subject) if self.pass_gate(place, subject).await.is_ok() => Ok(Some(manifest)),
            _ => Ok(None),
        }
    }

    /// Whether policy lets a digest of a repository out. Asks the catalog only where some rule closes the gate at all.
    async fn pass_gate(&self, place: &Place, digest: &Digest) -> Result<(), Failure> {
        if !self.policy.is_gated(place) {
            return Ok(());
        }
        let ways = self.catalog.ways_to(place, digest).await?;
        Ok(self.policy.admits(place, &digest.to_string(), &ways)?)
    }

    async fn blob_head(&self, place: &Place, digest: &Digest) -> Result<Response<Body>, Failure> {
        self.pass_gate(place, digest).await?;
        let size = in_time(place, digest, self.library.blob_size(place, digest)).await?;
        Ok(respond::blob_head(digest, size))
    }

    /// A blob: from the store, else from upstream into the store and to the client at once.
    async fn blob(&self, place: &Place, digest: &Digest, headers: &HeaderMap) -> Result<Response<Body>, Failure> {
        self.pass_gate(place, digest).await?;
        let content = in_time(place, digest, self.library.blob(place, digest, None)).await?;
        content.begun().await?;
        let range = match (headers.get(RANGE).and_then(|value| value.to_str().ok()), content.size()) {
            (Some(range), Some(size)) if !headers.contains_key(IF_RANGE) => ByteRange::parse(range, size)?,
            _ => None,
        };
        Ok(respond::blob(digest, content, range))
    }
}

/// The tags after `last`, and whether there are more. Not every registry puts its list in order, or looks at `last`: what comes in
/// one piece is taken whole, and put in order here.
async fn listed(place: &Place, last: Option<&Tag>) -> Result<(Vec<Tag>, bool), UpstreamError> {
    let upstream = &place.site.upstream;
    let (mut tags, more) = upstream.tags(&place.repository, None).await?;
    if more && last.is_some() {
        return upstream.tags(&place.repository, last).await;
    }
    if !more {
        tags.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        tags.retain(|tag| last.is_none_or(|last| tag.as_str() > last.as_str()));
    }
    Ok((tags, more))
}

async fn in_time<T>(
    place: &Place,
    digest: &Digest,
    asked: impl Future<Output = Result<T, LibraryError>>,
) -> Result<T, Failure> {
    let late = || Failure::BlobLate {
        upstream: place.upstream().into(),
        digest: digest.clone(),
    };
    let answer = tokio::time::timeout(BLOB_PATIENCE, asked).await.map_err(|_| late())?;
    answer.map_err(|error| match error {
        LibraryError::Blob(error) => Failure::Blob(error),
        LibraryError::Catalog(error) => Failure::Resolve(ResolveError::Catalog(error)),
    })
}

#[cfg(test)]
mod tests;
