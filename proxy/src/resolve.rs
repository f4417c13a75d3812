//! Tag to manifest: from the catalog while fresh, stale while a slow upstream is asked, stale when upstream is down.
//!
//! One question to upstream per tag however many ask. A manifest is in the catalog before it is returned.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use moka::future::Cache;
use patchport_oci::{Digest, Manifest, Reference, Tag};

use crate::catalog::{Catalog, CatalogError};
use crate::flight::{Flights, Interrupted};
use crate::route::Place;
use crate::tasks::Tasks;
use crate::upstream::UpstreamError;

/// How long a request waits for upstream when it has a stale answer.
const REVALIDATION_PATIENCE: Duration = Duration::from_secs(1);
/// How long nobody waits for an upstream again that was just found slow or down.
const STALE_FOR: Duration = Duration::from_secs(5);
/// How long a request waits for upstream when it has none: clients give up after 30 s.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How many bytes of manifests are kept in memory.
const HOT_BYTES: u64 = 64 * 1024 * 1024;

/// Why a manifest cannot be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// Upstream did not give it.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(Arc<CatalogError>),
    /// The question was not answered in time.
    #[error("upstream {upstream} has not answered for {subject} within {PATIENCE:?}")]
    Late {
        /// The upstream.
        upstream: String,
        /// The image.
        subject: String,
    },
    /// The question was cut off.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl From<CatalogError> for ResolveError {
    fn from(error: CatalogError) -> Self {
        Self::Catalog(Arc::new(error))
    }
}

type Key = (Arc<str>, String, String);
type Resolution = Result<Manifest, ResolveError>;

/// Resolves tags and digests to manifests.
pub struct Resolver {
    catalog: Catalog,
    tags: Cache<Key, (Digest, SystemTime)>,
    manifests: Cache<Digest, Manifest>,
    flights: Flights<Key, Resolution>,
    /// Tags whose upstream was just found slow or down.
    unwell: Cache<Key, ()>,
    ttl: Duration,
}

impl Resolver {
    /// A resolver that asks upstream again after `ttl`.
    pub fn new(catalog: Catalog, ttl: Duration, tasks: Tasks) -> Self {
        let weigh = |_: &Digest, manifest: &Manifest| u32::try_from(manifest.bytes.len() + 512).unwrap_or(u32::MAX);
        Self {
            catalog,
            tags: Cache::new(100_000),
            manifests: Cache::builder().max_capacity(HOT_BYTES).weigher(weigh).build(),
            flights: Flights::new(tasks),
            unwell: Cache::builder().max_capacity(100_000).time_to_live(STALE_FOR).build(),
            ttl,
        }
    }

    /// The manifest that a tag names now.
    ///
    /// # Errors
    /// [`ResolveError`] when upstream says no, or cannot be asked and no older answer is known.
    pub async fn tag(self: &Arc<Self>, place: &Place, tag: &Tag) -> Resolution {
        let known = self.known(place, tag).await?;
        let key = key(place, tag.as_str());
        if let Some((manifest, checked_at)) = &known
            && (checked_at.elapsed().is_ok_and(|age| age < self.ttl) || self.unwell.contains_key(&key))
        {
            return Ok(manifest.clone());
        }
        let asked = self.flights.join(key.clone(), || {
            let (resolver, place, tag) = (Arc::clone(self), place.clone(), tag.clone());
            async move { resolver.ask(&place, &tag).await }
        });
        let patience = if known.is_some() {
            REVALIDATION_PATIENCE
        } else {
            PATIENCE
        };
        let answer = tokio::time::timeout(patience, asked.result()).await;
        let (stale, reason) = match (answer, known) {
            (Ok(Ok(Err(ResolveError::Upstream(error)))), Some((stale, _))) if error.allows_stale() => {
                (stale, error.to_string())
            }
            (Ok(Ok(answer)), _) => return answer,
            (Ok(Err(interrupted)), None) => return Err(interrupted.into()),
            (Ok(Err(interrupted)), Some((stale, _))) => (stale, interrupted.to_string()),
            (Err(_), Some((stale, _))) => (stale, format!("no answer within {patience:?}")),
            (Err(_), None) => {
                let subject = format!("{place}:{tag}");
                return Err(ResolveError::Late {
                    upstream: place.upstream().into(),
                    subject,
                });
            }
        };
        tracing::warn!(image.reference = %format_args!("{place}:{tag}"), reason, "upstream was not heard, an older answer is served");
        self.unwell.insert(key, ()).await;
        Ok(stale)
    }

    /// What we know of a tag, however old.
    async fn known(&self, place: &Place, tag: &Tag) -> Result<Option<(Manifest, SystemTime)>, ResolveError> {
        let key = key(place, tag.as_str());
        let (digest, checked_at) = match self.tags.get(&key).await {
            Some(known) => known,
            None => match self.catalog.tag(place, tag).await? {
                // Only what came from the catalog, and only if nothing newer has come in the meantime.
                Some(state) => {
                    let known = (state.digest, state.checked_at);
                    self.tags.entry(key).or_insert(known).await.into_value()
                }
                None => return Ok(None),
            },
        };
        Ok(self.held(&digest).await?.map(|manifest| (manifest, checked_at)))
    }

    /// Asks upstream, and records the answer.
    async fn ask(&self, place: &Place, tag: &Tag) -> Resolution {
        let manifest = match self.upstream_manifest(place, tag).await {
            Ok(manifest) => manifest,
            Err(error) => {
                if matches!(
                    &error,
                    ResolveError::Upstream(UpstreamError::NotFound { .. } | UpstreamError::Refused { .. })
                ) {
                    // Gone is gone: when upstream is down later, the old answer must not come back.
                    self.tags.invalidate(&key(place, tag.as_str())).await;
                    self.catalog.forget(place, tag).await?;
                }
                return Err(error);
            }
        };
        self.catalog.resolved(place, tag, &manifest).await?;
        let checked = (manifest.digest.clone(), SystemTime::now());
        self.tags.insert(key(place, tag.as_str()), checked).await;
        Ok(manifest)
    }

    /// The manifest that upstream has for a tag; fetched only when we do not hold it.
    async fn upstream_manifest(&self, place: &Place, tag: &Tag) -> Resolution {
        let upstream = &place.site.upstream;
        let reference = match upstream.resolve(&place.repository, tag).await? {
            // Held is not enough: upstream must have shown these bytes under this name.
            Some(digest) => match self.held(&digest).await? {
                Some(manifest) if self.catalog.may_read(place, &digest).await? => return Ok(manifest),
                _ => Reference::Digest(digest),
            },
            None => Reference::Tag(tag.clone()),
        };
        Ok(upstream.manifest(&place.repository, &reference).await?)
    }

    /// A manifest by digest, from the catalog or from upstream. The caller has checked that the place may read it, or
    /// passes `readable = false`: then upstream decides.
    ///
    /// # Errors
    /// [`ResolveError`] when neither has it.
    pub async fn digest(self: &Arc<Self>, place: &Place, digest: &Digest, readable: bool) -> Resolution {
        if readable && let Some(manifest) = self.held(digest).await? {
            return Ok(manifest);
        }
        let key = key(place, &digest.to_string());
        let asked = self.flights.join(key, || {
            let (resolver, place, digest) = (Arc::clone(self), place.clone(), digest.clone());
            async move {
                let reference = Reference::Digest(digest);
                let manifest = place.site.upstream.manifest(&place.repository, &reference).await?;
                resolver.catalog.seen(&place, &manifest.digest, Some(&manifest)).await?;
                Ok(manifest)
            }
        });
        match tokio::time::timeout(PATIENCE, asked.result()).await {
            Ok(answer) => answer?,
            Err(_) => Err(ResolveError::Late {
                upstream: place.upstream().into(),
                subject: format!("{place}@{digest}"),
            }),
        }
    }

    /// A manifest that we hold.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn held(&self, digest: &Digest) -> Result<Option<Manifest>, ResolveError> {
        if let Some(manifest) = self.manifests.get(digest).await {
            return Ok(Some(manifest));
        }
        let Some(manifest) = self.catalog.manifest(digest).await? else {
            return Ok(None);
        };
        self.manifests.insert(digest.clone(), manifest.clone()).await;
        Ok(Some(manifest))
    }
}

fn key(place: &Place, reference: &str) -> Key {
    (
        Arc::clone(&place.site.name),
        place.repository.to_string(),
        reference.to_owned(),
    )
}

#[cfg(test)]
mod tests;
