//! What refers to a manifest: signatures, SBOMs, statements. Ours for what we made, upstream's answer for everything else.
//!
//! Upstream is asked by the referrers API, and by the tag `sha256-<hex>` where it has none (distribution spec 1.1); its answer is
//! kept for a minute. One question per digest however many ask.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use patchport_oci::{Digest, Reference};
use serde::Deserialize;
use serde_json::Value;

use crate::catalog::Catalog;
use crate::flight::Flights;
use crate::resolve::ResolveError;
use crate::route::Place;
use crate::tasks::Tasks;
use crate::upstream::UpstreamError;

/// How long an answer of upstream is believed.
const TTL: Duration = Duration::from_secs(60);
/// How many bytes of them are kept.
const MAX_KEPT: u64 = 32 * 1024 * 1024;
/// How long a listed artifact counts as listed: clients fetch it right after.
const LISTED_FOR: Duration = Duration::from_secs(60 * 60);
/// How long a request waits for upstream: clients give up after 30 s.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than any image has that people look at.
const MAX_REFERRERS: usize = 4096;

type Key = (String, Digest);
/// The descriptors, as whoever made them wrote them.
pub type List = Arc<Vec<Value>>;
type Answer = Result<List, ResolveError>;

/// Lists what refers to manifests.
pub struct Referrers {
    catalog: Catalog,
    kept: Cache<Key, List>,
    /// Artifacts by repository, as upstream listed them.
    listed: Cache<Key, ()>,
    flights: Flights<Key, Answer>,
}

/// A list as registries send it.
#[derive(Deserialize)]
struct Index {
    manifests: Vec<Value>,
}

/// The descriptors in an index; nothing when it is none. What names no digest is left out.
pub fn descriptors(index: &[u8]) -> Option<Vec<Value>> {
    let Index { mut manifests } = serde_json::from_slice(index).ok()?;
    manifests.retain(|descriptor| digest_of(descriptor).is_some());
    manifests.truncate(MAX_REFERRERS);
    Some(manifests)
}

fn digest_of(descriptor: &Value) -> Option<Digest> {
    descriptor.get("digest")?.as_str()?.parse().ok()
}

impl Referrers {
    /// Lists by the records of `catalog`, and by upstream's word.
    pub fn new(catalog: Catalog, tasks: Tasks) -> Arc<Self> {
        let weigh = |_: &Key, list: &List| {
            let bytes: usize = list.iter().map(|descriptor| descriptor.to_string().len()).sum();
            u32::try_from(bytes + 256).unwrap_or(u32::MAX)
        };
        Arc::new(Self {
            catalog,
            kept: Cache::builder()
                .max_capacity(MAX_KEPT)
                .weigher(weigh)
                .time_to_live(TTL)
                .build(),
            listed: Cache::builder().max_capacity(100_000).time_to_live(LISTED_FOR).build(),
            flights: Flights::new(tasks),
        })
    }

    /// What refers to a digest of a repository. `readable` is whether the repository may read it from us.
    ///
    /// # Errors
    /// [`ResolveError`] when upstream cannot be asked, or says no.
    pub async fn of(self: &Arc<Self>, place: &Place, digest: &Digest, readable: bool) -> Answer {
        // No upstream knows what we made.
        if readable && self.catalog.is_made(digest).await? {
            return Ok(Arc::new(self.catalog.referrers(place, digest).await?));
        }
        let key = (place.to_string(), digest.clone());
        if let Some(list) = self.kept.get(&key).await {
            return Ok(list);
        }
        let asked = self.flights.join(key, || {
            let (referrers, place, digest) = (Arc::clone(self), place.clone(), digest.clone());
            async move { referrers.ask(&place, &digest).await }
        });
        match tokio::time::timeout(PATIENCE, asked.result()).await {
            Ok(answer) => answer?,
            Err(_) => Err(ResolveError::Late {
                upstream: place.upstream().into(),
                subject: format!("referrers of {place}@{digest}"),
            }),
        }
    }

    /// Whether upstream has lately listed a digest as something that refers to another.
    pub fn were_listed(&self, place: &Place, digest: &Digest) -> bool {
        self.listed.contains_key(&(place.to_string(), digest.clone()))
    }

    async fn ask(&self, place: &Place, digest: &Digest) -> Answer {
        let (upstream, repository) = (&place.site.upstream, &place.repository);
        let list = match upstream.referrers(repository, digest).await? {
            Some(list) => list,
            None => tagged(place, digest).await?,
        };
        let (name, list) = (place.to_string(), Arc::new(list));
        for artifact in list.iter().filter_map(digest_of) {
            self.listed.insert((name.clone(), artifact), ()).await;
        }
        self.kept.insert((name, digest.clone()), Arc::clone(&list)).await;
        Ok(list)
    }
}

/// What the tag lists that takes the place of the API.
async fn tagged(place: &Place, digest: &Digest) -> Result<Vec<Value>, UpstreamError> {
    let tag = format!("{}-{}", digest.algorithm().name(), digest.hex());
    // The tag of a longer digest is cut off to what a tag may be.
    let tag: String = tag.chars().take(patchport_oci::name::MAX_TAG).collect();
    let Ok(tag) = tag.parse() else { return Ok(vec![]) };
    let index = place
        .site
        .upstream
        .manifest(&place.repository, &Reference::Tag(tag))
        .await;
    match index {
        Ok(index) => Ok(descriptors(&index.bytes).unwrap_or_default()),
        Err(UpstreamError::NotFound { .. }) => Ok(vec![]),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
