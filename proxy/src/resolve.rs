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
/// How long a request waits for upstream when it has none: clients give up after 30 s.
const PATIENCE: Duration = Duration::from_secs(20);
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
            ttl,
        }
    }

    /// The manifest that a tag names now.
    ///
    /// # Errors
    /// [`ResolveError`] when upstream says no, or cannot be asked and no older answer is known.
    pub async fn tag(self: &Arc<Self>, place: &Place, tag: &Tag) -> Resolution {
        let known = self.known(place, tag).await?;
        if let Some((manifest, checked_at)) = &known
            && checked_at.elapsed().is_ok_and(|age| age < self.ttl)
        {
            return Ok(manifest.clone());
        }
        let key = (
            Arc::clone(&place.site.name),
            place.repository.to_string(),
            tag.to_string(),
        );
        let asked = self.flights.join(key, || {
            let (resolver, place, tag) = (Arc::clone(self), place.clone(), tag.clone());
            async move { resolver.ask(&place, &tag).await }
        });
        let patience = if known.is_some() {
            REVALIDATION_PATIENCE
        } else {
            PATIENCE
        };
        let answer = tokio::time::timeout(patience, asked.result()).await;
        match (answer, known) {
            (Ok(Ok(Err(ResolveError::Upstream(error)))), Some((stale, _))) if error.allows_stale() => {
                tracing::warn!(image.reference = %format_args!("{place}:{tag}"), %error, "upstream is down, an older answer is served");
                Ok(stale)
            }
            (Ok(Ok(answer)), _) => answer,
            (Ok(Err(interrupted)), None) => Err(interrupted.into()),
            (_, Some((stale, _))) => Ok(stale),
            (Err(_), None) => Err(ResolveError::Late {
                upstream: place.upstream().into(),
                subject: format!("{place}:{tag}"),
            }),
        }
    }

    /// What we know of a tag, however old.
    async fn known(&self, place: &Place, tag: &Tag) -> Result<Option<(Manifest, SystemTime)>, ResolveError> {
        let key = (
            Arc::clone(&place.site.name),
            place.repository.to_string(),
            tag.to_string(),
        );
        let (digest, checked_at) = match self.tags.get(&key).await {
            Some(known) => known,
            None => match self.catalog.tag(place, tag).await? {
                Some(state) => (state.digest, state.checked_at),
                None => return Ok(None),
            },
        };
        let Some(manifest) = self.held(&digest).await? else {
            return Ok(None);
        };
        self.tags.insert(key, (digest, checked_at)).await;
        Ok(Some((manifest, checked_at)))
    }

    /// Asks upstream, and records the answer.
    async fn ask(&self, place: &Place, tag: &Tag) -> Resolution {
        let upstream = &place.site.upstream;
        let manifest = match upstream.resolve(&place.repository, tag).await? {
            Some(digest) => match self.held(&digest).await? {
                Some(manifest) => manifest,
                None => upstream.manifest(&place.repository, &Reference::Digest(digest)).await?,
            },
            None => {
                upstream
                    .manifest(&place.repository, &Reference::Tag(tag.clone()))
                    .await?
            }
        };
        self.catalog.resolved(place, tag, &manifest).await?;
        let key = (
            Arc::clone(&place.site.name),
            place.repository.to_string(),
            tag.to_string(),
        );
        self.tags
            .insert(key, (manifest.digest.clone(), SystemTime::now()))
            .await;
        Ok(manifest)
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
        let key = (
            Arc::clone(&place.site.name),
            place.repository.to_string(),
            digest.to_string(),
        );
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
