//! The table of jobs: one per image and repository, however many ask, and what is remembered of those that ended.
//!
//! A decision is kept until it is due for another look; then the old answer is served while a new job runs.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use moka::future::Cache;
use patchport_config::{Patch as Settings, Terms};
use patchport_oci::manifest::Content;
use patchport_oci::{Digest, Manifest};
use tokio::time::Instant;

use super::roster::Roster;
use super::{EngineError, Parts, PatchError, PatchLayer, direct};
use crate::catalog::Decision;
use crate::flight::{Flight, Flights};
use crate::plan::Choices;
use crate::respond::chain;
use crate::route::Place;
use crate::tasks::Tasks;
use crate::turns::Turns;

/// How many times as many layers as run at once may be prepared when pulls wait for them; for nobody only as many are.
const URGENT: usize = 4;

/// Repository, original, and what the rule selects.
pub(super) type Key = (String, Digest, String);
pub(super) type Made = Result<PatchLayer, PatchError>;

/// A failure, and until when it is not tried again.
#[derive(Clone)]
struct Failed {
    error: PatchError,
    pause: Duration,
    until: Instant,
}

/// Patches images.
pub struct Patcher {
    pub(super) parts: Parts,
    pub(super) settings: Settings,
    decisions: Cache<Key, Decision>,
    failures: Cache<Key, Failed>,
    pub(super) roster: Roster,
    jobs: Flights<Key, Result<Decision, PatchError>>,
    /// By the key of the plan, and whether an emulator will do.
    pub(super) layers: Flights<(String, bool), Made>,
    /// Layers that are being made: what is fetched for one lies in the scratch folder until it is done.
    pub(super) turns: Turns,
    /// The same for those that are made without a container.
    pub(super) direct_turns: Turns,
}

impl Patcher {
    /// A patcher; its jobs run on `tasks`.
    pub fn new(parts: Parts, settings: Settings, tasks: Tasks) -> Arc<Self> {
        let room = settings.concurrency as usize;
        Arc::new(Self {
            parts,
            decisions: Cache::new(100_000),
            failures: Cache::builder()
                .max_capacity(10_000)
                .time_to_live(settings.refresh_after * 2)
                .build(),
            roster: Roster::default(),
            jobs: Flights::new(tasks.clone()),
            layers: Flights::new(tasks),
            turns: Turns::new(room, URGENT * room),
            direct_turns: direct::turns(),
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
        terms: &Terms,
        deadline: Instant,
    ) -> Result<Manifest, PatchError> {
        let choices = Choices::new(terms, &self.settings).under(self.parts.sources.mark());
        let key = (place.to_string(), original.digest.clone(), choices.to_string());
        let decision = match self.known(place, &key).await? {
            // One that is not whole is due as soon as its failure has paused.
            Some(decision) if self.is_fresh(&decision) && !self.failures.contains_key(&key) => decision,
            Some(decision) => {
                // Due for another look: the old answer stands until there is a new one.
                if self.failure(&key).await.is_none() {
                    let _ = self.start(place, original, choices, &key);
                }
                decision
            }
            None => {
                if let Some(failure) = self.failure(&key).await {
                    return Err(failure);
                }
                let job = self.start(place, original, choices, &key);
                job.urgency().raise();
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
        let Some(decision) = self.parts.catalog.decision(place, &key.1, &key.2).await? else {
            return Ok(None);
        };
        if decision.served != key.1
            && !(self.is_whole(&key.1, &decision.served).await?
                && self.is_evidence_whole(place, &decision.served).await?)
        {
            tracing::warn!(image.repository = key.0, served.digest = %decision.served, "a patched image lost a blob or has no signature, it is made again");
            return Ok(None);
        }
        self.decisions.insert(key.clone(), decision.clone()).await;
        Ok(Some(decision))
    }

    /// Whether everything that we made for a patched image is in the store: somebody may have cleared it.
    async fn is_whole(&self, source: &Digest, served: &Digest) -> Result<bool, PatchError> {
        let held = async |digest: &Digest| self.parts.resolver.held(digest).await;
        let (Some(original), Some(patched)) = (held(source).await?, held(served).await?) else {
            return Ok(false);
        };
        let old: HashSet<&Digest> = original.references().map(|child| &child.digest).collect();
        for child in patched.references().filter(|child| !old.contains(&child.digest)) {
            let whole = if patched.is_index() {
                Box::pin(self.is_child_whole(&child.digest)).await?
            } else {
                self.parts.blobs.stored(&child.digest).await?.is_some()
            };
            if !whole {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a patched child of an index has its configuration and its patch layer.
    async fn is_child_whole(&self, child: &Digest) -> Result<bool, PatchError> {
        let Some(manifest) = self.parts.resolver.held(child).await? else {
            return Ok(false);
        };
        let Content::Image { config, layers } = &manifest.content else {
            return Ok(false);
        };
        for own in [Some(config), layers.last()].into_iter().flatten() {
            if self.parts.blobs.stored(&own.digest).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_fresh(&self, decision: &Decision) -> bool {
        self.is_recent(decision.decided_at)
    }

    /// Whether a moment is within `refresh_after`; one in the future is, for a clock that was set back must not make
    /// everything anew.
    pub(super) fn is_recent(&self, moment: SystemTime) -> bool {
        moment.elapsed().map_or(true, |age| age < self.settings.refresh_after)
    }

    /// The failure that still stands for an image.
    async fn failure(&self, key: &Key) -> Option<PatchError> {
        let failed = self.failures.get(key).await?;
        (Instant::now() < failed.until).then_some(failed.error)
    }

    /// Remembers a failure that would come again; the pause doubles each time, up to `refresh_after`.
    async fn remember(&self, key: &Key, error: &PatchError) {
        // A repository or a signer that is away is back when it is back: only what fails in the image itself is tried ever less often.
        let doubles = !matches!(
            error,
            PatchError::Scan(_) | PatchError::Evidence(_) | PatchError::Engine(EngineError::Unreachable { .. })
        );
        let before = self.failures.get(key).await.filter(|_| doubles);
        let before = before.map(|failed| failed.pause * 2);
        let pause = before
            .unwrap_or(self.settings.retry_after)
            .min(self.settings.refresh_after);
        let until = Instant::now() + pause;
        let failed = Failed {
            error: error.clone(),
            pause,
            until,
        };
        self.failures.insert(key.clone(), failed).await;
    }

    /// Starts the job of an image, or joins it. Who waits for it says so, or it goes last.
    pub(super) fn start(
        self: &Arc<Self>,
        place: &Place,
        original: &Manifest,
        choices: Choices,
        key: &Key,
    ) -> Flight<Result<Decision, PatchError>> {
        self.jobs.launch(key.clone(), |urgency| {
            let (patcher, place, original, key) = (Arc::clone(self), place.clone(), original.clone(), key.clone());
            async move {
                let started = Instant::now();
                let (result, missing) = match patcher.run(&place, &original, choices, &urgency).await {
                    Ok((decision, missing)) => (Ok(decision), missing),
                    Err(error) => (Err(error), None),
                };
                let (name, source) = (&key.0, &key.1);
                let elapsed_s = started.elapsed().as_secs_f64();
                match &result {
                    Ok(decision) => {
                        patcher.decisions.insert(key.clone(), decision.clone()).await;
                        match &missing {
                            Some(error) => patcher.remember(&key, error).await,
                            None => patcher.failures.invalidate(&key).await,
                        }
                        tracing::info!(image.repository = %name, image.digest = %source, served.digest = %decision.served, note = decision.note, elapsed_s, "patch job done");
                    }
                    Err(error) => {
                        if error.is_lasting() {
                            patcher.remember(&key, error).await;
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
