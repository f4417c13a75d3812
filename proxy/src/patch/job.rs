//! The table of jobs: one per image and repository, however many ask, and what is remembered of those that ended.
//!
//! A decision is kept until it is due for another look; then the old answer is served while a new job runs.

use std::sync::Arc;
use std::time::SystemTime;

use moka::future::Cache;
use patchport_config::Patch as Settings;
use patchport_oci::{Digest, Manifest};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Parts, PatchError, PatchLayer};
use crate::catalog::Decision;
use crate::flight::{Flight, Flights};
use crate::respond::chain;
use crate::route::Place;
use crate::scan::{Scanner, Unindexed};
use crate::tasks::Tasks;

type Key = (String, Digest);
pub(super) type Made = Result<Option<PatchLayer>, PatchError>;

/// Patches images.
pub struct Patcher {
    pub(super) parts: Parts,
    pub(super) scanner: Arc<dyn Scanner>,
    pub(super) settings: Settings,
    decisions: Cache<Key, Decision>,
    failures: Cache<Key, PatchError>,
    jobs: Flights<Key, Result<Decision, PatchError>>,
    pub(super) layers: Flights<String, Made>,
    pub(super) slots: Arc<Semaphore>,
}

impl Patcher {
    /// A patcher; its jobs run on `tasks`.
    pub fn new(parts: Parts, settings: Settings, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            parts,
            scanner: Arc::new(Unindexed),
            decisions: Cache::new(100_000),
            failures: Cache::builder()
                .max_capacity(10_000)
                .time_to_live(settings.retry_after)
                .build(),
            jobs: Flights::new(tasks.clone()),
            layers: Flights::new(tasks),
            slots: Arc::new(Semaphore::new(settings.concurrency as usize)),
            settings,
        })
    }

    /// What is served for `original`: a patched image, or the original itself when it needs no patch. Waits for a patch
    /// until `deadline`; the job goes on after it.
    ///
    /// # Errors
    /// [`PatchError::Late`] at the deadline; any other says why there will be no patch for now.
    pub async fn patched(
        self: &Arc<Self>,
        place: &Place,
        original: &Manifest,
        deadline: Instant,
    ) -> Result<Manifest, PatchError> {
        let key = (place.to_string(), original.digest.clone());
        let decision = match self.known(place, &key).await? {
            Some(decision) if self.is_fresh(&decision) => decision,
            Some(decision) => {
                // Due for another look: the old answer stands until there is a new one.
                if self.failures.get(&key).await.is_none() {
                    let _ = self.start(place, original, &key);
                }
                decision
            }
            None => {
                if let Some(failure) = self.failures.get(&key).await {
                    return Err(failure);
                }
                let job = self.start(place, original, &key);
                tokio::time::timeout_at(deadline, job.result())
                    .await
                    .map_err(|_| PatchError::Late)???
            }
        };
        if decision.served == original.digest {
            return Ok(original.clone());
        }
        let served = self.parts.resolver.held(&decision.served).await?;
        served.ok_or_else(|| PatchError::Unproven(format!("{} is not in the catalog", decision.served)))
    }

    async fn known(&self, place: &Place, key: &Key) -> Result<Option<Decision>, PatchError> {
        if let Some(decision) = self.decisions.get(key).await {
            return Ok(Some(decision));
        }
        let decision = self.parts.catalog.decision(place, &key.1).await?;
        if let Some(decision) = &decision {
            self.decisions.insert(key.clone(), decision.clone()).await;
        }
        Ok(decision)
    }

    fn is_fresh(&self, decision: &Decision) -> bool {
        decision
            .decided_at
            .elapsed()
            .is_ok_and(|age| age < self.settings.refresh_after)
    }

    fn start(self: &Arc<Self>, place: &Place, original: &Manifest, key: &Key) -> Flight<Result<Decision, PatchError>> {
        self.jobs.join(key.clone(), || {
            let (patcher, place, original, key) = (Arc::clone(self), place.clone(), original.clone(), key.clone());
            async move {
                let started = Instant::now();
                let result = patcher.run(&place, &original).await;
                let (name, source) = (&key.0, &key.1);
                let elapsed_s = started.elapsed().as_secs_f64();
                match &result {
                    Ok(decision) => {
                        patcher.decisions.insert(key.clone(), decision.clone()).await;
                        tracing::info!(image.repository = %name, image.digest = %source, served.digest = %decision.served, note = decision.note, elapsed_s, "patch job done");
                    }
                    Err(error) => {
                        if error.is_lasting() {
                            patcher.failures.insert(key.clone(), error.clone()).await;
                        }
                        tracing::warn!(image.repository = %name, image.digest = %source, error = chain(error), elapsed_s, "patch job failed");
                    }
                }
                result
            }
        })
    }
}

/// Now, in whole seconds since the epoch.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
