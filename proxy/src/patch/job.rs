//! The job that patches one image for one repository, and the table of jobs.
//!
//! inspect -> scan -> plan -> patch -> assemble -> store, then one switch. A decision is kept until it is due for another
//! look; then the old answer is served while a new job runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use moka::future::Cache;
use patchport_config::Patch as Settings;
use patchport_oci::manifest::Content;
use patchport_oci::{Digest, Manifest, Platform, media_type};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Base, PatchError, PatchLayer, Parts, finish};
use crate::assemble;
use crate::blobs::{BlobError, Origin};
use crate::catalog::Decision;
use crate::flight::{Flights, Interrupted};
use crate::inspect::{Inspected, inspect};
use crate::plan::{Choices, Plan, Target, plan};
use crate::respond::chain;
use crate::route::Place;
use crate::scan::{Findings, Scanner, Unindexed};
use crate::tasks::Tasks;

/// The largest image configuration that is read, in bytes.
const MAX_CONFIG: usize = 8 * 1024 * 1024;

type Key = (String, Digest);
type Made = Result<Option<PatchLayer>, PatchError>;

/// Patches images.
pub struct Patcher {
    parts: Parts,
    scanner: Arc<dyn Scanner>,
    settings: Settings,
    decisions: Cache<Key, Decision>,
    failures: Cache<Key, PatchError>,
    jobs: Flights<Key, Result<Decision, PatchError>>,
    layers: Flights<String, Made>,
    slots: Arc<Semaphore>,
}

#[derive(Deserialize)]
struct ConfigPlatform {
    #[serde(flatten)]
    platform: Platform,
}

impl Patcher {
    /// A patcher; its jobs run on `tasks`.
    pub fn new(parts: Parts, settings: Settings, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            parts,
            scanner: Arc::new(Unindexed),
            decisions: Cache::new(100_000),
            failures: Cache::builder().max_capacity(10_000).time_to_live(settings.retry_after).build(),
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
                tokio::time::timeout_at(deadline, job.result()).await.map_err(|_| PatchError::Late)???
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
        decision.decided_at.elapsed().is_ok_and(|age| age < self.settings.refresh_after)
    }

    fn start(
        self: &Arc<Self>,
        place: &Place,
        original: &Manifest,
        key: &Key,
    ) -> crate::flight::Flight<Result<Decision, PatchError>> {
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

    /// The whole job.
    async fn run(self: &Arc<Self>, place: &Place, original: &Manifest) -> Result<Decision, PatchError> {
        let (made, note) = match &original.content {
            Content::Image { .. } => match self.image(place, original, None).await? {
                Some((manifest, layer)) => (vec![manifest], layer.summary()),
                None => (vec![], "nothing to patch".to_owned()),
            },
            Content::Index { .. } => self.index(place, original).await?,
        };
        Ok(self.parts.catalog.decide(place, &original.digest, &made, &note).await?)
    }

    /// Patches the children of an index that the engine runs natively, and puts them into a new index.
    async fn index(self: &Arc<Self>, place: &Place, original: &Manifest) -> Result<(Vec<Manifest>, String), PatchError> {
        let workers = self.parts.engine.platforms().await?;
        let children: Vec<_> = original.references().filter(|child| !media_type::is_index(&child.media_type)).collect();
        let known = |platform: &Platform| workers.iter().any(|worker| worker.same(platform));
        let natives = children.iter().filter(|child| child.platform.as_ref().is_some_and(known));
        let patches = natives.map(|child| {
            let (patcher, digest, platform) = (Arc::clone(self), child.digest.clone(), child.platform.clone());
            async move {
                let manifest = patcher.parts.resolver.digest(place, &digest, true).await?;
                let patched = patcher.image(place, &manifest, platform.as_ref()).await;
                Ok::<_, PatchError>((digest, patched))
            }
        });
        let (mut patched, mut notes, mut failure) = (HashMap::new(), Vec::new(), None);
        for (digest, result) in futures_util::future::try_join_all(patches).await? {
            match result {
                Ok(Some((manifest, layer))) => {
                    notes.push(layer.summary());
                    patched.insert(digest, manifest);
                }
                Ok(None) => notes.push("nothing to patch".into()),
                Err(error) => {
                    tracing::warn!(image.repository = %place, image.digest = %digest, error = chain(&error), "one platform was not patched");
                    failure = Some(error);
                }
            }
        }
        match failure {
            // A platform that fails keeps its original descriptor, unless it would be the only one.
            Some(error) if notes.is_empty() => return Err(error),
            None if notes.is_empty() && children.iter().any(|child| child.platform.as_ref().is_some_and(is_linux)) => {
                let list = |platforms: &mut dyn Iterator<Item = &Platform>| {
                    platforms.map(ToString::to_string).collect::<Vec<_>>().join(", ")
                };
                let platforms = list(&mut children.iter().filter_map(|child| child.platform.as_ref()));
                return Err(PatchError::NoWorker { platforms, workers: list(&mut workers.iter()) });
            }
            _ => {}
        }
        if patched.is_empty() {
            return Ok((vec![], "nothing to patch".into()));
        }
        let index = assemble::index(original, &patched, &place.to_string())?;
        let mut made: Vec<Manifest> = patched.into_values().collect();
        made.push(index);
        Ok((made, notes.join("; ")))
    }

    /// Patches one image; `None` when it needs no patch. The patched configuration is in the store when this returns.
    async fn image(
        self: &Arc<Self>,
        place: &Place,
        image: &Manifest,
        platform: Option<&Platform>,
    ) -> Result<Option<(Manifest, PatchLayer)>, PatchError> {
        let Content::Image { config: descriptor, layers } = &image.content else { return Ok(None) };
        let is_image = media_type::is_image_config(&descriptor.media_type)
            && layers.iter().all(|layer| media_type::is_layer(&layer.media_type));
        if !is_image || layers.is_empty() {
            return Ok(None);
        }
        let origin =
            Origin { upstream: Arc::clone(&place.site.upstream), repository: place.repository.clone(), size: None };
        let config = self.config(&descriptor.digest, &origin, descriptor.size).await?;
        let own: ConfigPlatform = serde_json::from_slice(&config)
            .map_err(|error| PatchError::Unsupported(format!("its configuration is malformed: {error}")))?;
        let platform = platform.unwrap_or(&own.platform);
        if !is_linux(platform) {
            return Ok(None);
        }
        let inventory = match inspect(image, &origin, &self.parts.blobs, &self.parts.catalog).await? {
            Inspected::Packages(inventory) => inventory,
            Inspected::NoDistribution => return Ok(None),
            Inspected::Unsupported(reason) => return Err(PatchError::Unsupported(reason)),
        };
        let findings: Findings = self.scanner.scan(&inventory).await;
        let name = place.to_string();
        let docker = image.media_type == media_type::DOCKER_MANIFEST;
        let target = Target { image: &image.digest, platform, name: &name, docker };
        let choices = Choices { compression: self.settings.compression, cache_scope: self.settings.cache_scope };
        let Some(plan) = plan(&inventory, findings, target, choices)? else { return Ok(None) };
        let base = Base { manifest: image.clone(), config: config.clone(), name: name.clone(), origin };
        let made = self.layers.join(plan.key(), || Arc::clone(self).layer(plan, base, inventory)).result().await??;
        let Some(layer) = made else { return Ok(None) };
        let patched = assemble::image(image, &config, &layer, &name)?;
        finish::keep(&*self.parts.blobs, &Digest::of(&patched.config), patched.config.into()).await?;
        Ok(Some((patched.manifest, layer)))
    }

    /// Carries out a plan, unless its layer is known and fresh.
    async fn layer(self: Arc<Self>, plan: Plan, base: Base, before: Box<patchport_packages::Inventory>) -> Made {
        let key = plan.key();
        if let Some((layer, made_at)) = self.parts.catalog.layer(&key).await?
            && made_at.elapsed().is_ok_and(|age| age < self.settings.refresh_after)
            && self.is_stored(layer.as_ref()).await?
        {
            return Ok(layer);
        }
        let _slot = self.slots.acquire().await.map_err(|_| Interrupted)?;
        let workers = self.parts.engine.platforms().await?;
        if !workers.iter().any(|worker| worker.same(&plan.platform)) {
            let workers = workers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(PatchError::NoWorker { platforms: plan.platform.to_string(), workers });
        }
        tracing::info!(plan.key = key, image.digest = %plan.image, image.repository = base.name, "patching");
        let layer = match self.parts.engine.run(&plan, &base).await? {
            Some(raw) => finish::finish(raw, &plan, &before, &self.parts.blobs, &self.parts.scratch).await?,
            None => None,
        };
        self.parts.catalog.put_layer(&key, layer.as_ref()).await?;
        Ok(layer)
    }

    async fn is_stored(&self, layer: Option<&PatchLayer>) -> Result<bool, PatchError> {
        match layer {
            Some(layer) => Ok(self.parts.blobs.stored(&layer.digest).await?.is_some()),
            None => Ok(true),
        }
    }

    async fn config(&self, digest: &Digest, origin: &Origin, size: u64) -> Result<Bytes, PatchError> {
        if size > MAX_CONFIG as u64 {
            return Err(PatchError::Unsupported(format!("its configuration has {size} bytes")));
        }
        let origin = Origin { size: Some(size), ..origin.clone() };
        let mut stream = self.parts.blobs.fetch(digest, &origin).await?.stream(None);
        let mut bytes = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(BlobError::from)?);
        }
        Ok(bytes.freeze())
    }
}

fn is_linux(platform: &Platform) -> bool {
    platform.os == "linux"
}

/// Now, in whole seconds since the epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
