//! The decisions that stand, with the inventories behind them: when an index of packages changes, every image is planned anew in
//! memory, and a job is started for those whose plan has become another.
//!
//! No container runs, no layer is read, and nobody is asked: what a change means for ten thousand images is known in a moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use patchport_oci::media_type;
use patchport_packages::Inventory;

use super::PatchError;
use super::job::{Key, Patcher};
use crate::catalog::{Decision, Planned};
use crate::inspect::{Inspected, known};
use crate::plan::{self, Choices, Target};
use crate::route::{Place, Table};

/// Decisions that are kept in mind; the rest are looked at when they are due.
const MAX_ENTRIES: usize = 100_000;

/// The decisions.
#[derive(Default)]
pub(super) struct Roster(Mutex<HashMap<Key, Entry>>);

/// A decision and what it was made from.
#[derive(Clone)]
struct Entry {
    place: Place,
    choices: Choices,
    images: Vec<Watched>,
}

/// An image behind a decision.
#[derive(Clone)]
pub(super) struct Watched {
    /// What was planned for it.
    pub(super) planned: Planned,
    /// Its packages; nothing when it has none.
    pub(super) inventory: Option<Arc<Inventory>>,
    /// Whether its manifest is of Docker's type.
    pub(super) docker: bool,
}

impl Roster {
    /// Keeps a decision in mind.
    pub(super) fn put(&self, key: Key, place: &Place, choices: Choices, images: Vec<Watched>) {
        let mut entries = self.lock();
        if entries.len() < MAX_ENTRIES || entries.contains_key(&key) {
            let place = place.clone();
            entries.insert(key, Entry { place, choices, images });
        }
    }

    fn entries(&self) -> Vec<(Key, Entry)> {
        self.lock()
            .iter()
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Patcher {
    /// Takes the decisions of earlier processes into the roster.
    ///
    /// # Errors
    /// When the catalog fails.
    pub async fn recall(&self, table: &Table) -> Result<usize, PatchError> {
        let mut count = 0;
        for decided in self.parts.catalog.decisions().await? {
            let Some(place) = table.recorded(&decided.upstream, &decided.repository) else {
                continue;
            };
            let Some(choices) = Choices::parse(&decided.choices, &self.settings) else {
                continue;
            };
            let images = self.watched(&decided.decision).await?;
            let key = (place.to_string(), decided.source, decided.choices);
            self.roster.put(key, &place, choices, images);
            count += 1;
        }
        Ok(count)
    }

    async fn watched(&self, decision: &Decision) -> Result<Vec<Watched>, PatchError> {
        let mut images = Vec::with_capacity(decision.images.len());
        for planned in &decision.images {
            let inventory = match known(&planned.image, &self.parts.catalog).await? {
                Some(Inspected::Packages(inventory)) => Some(Arc::from(inventory)),
                _ => None,
            };
            let manifest = self.parts.resolver.held(&planned.image).await?;
            images.push(Watched {
                planned: planned.clone(),
                inventory,
                docker: manifest.is_some_and(|manifest| manifest.media_type == media_type::DOCKER_MANIFEST),
            });
        }
        Ok(images)
    }

    /// Plans every image anew and starts a job for each decision of which a plan has become another. How many those are.
    pub async fn replan(self: &Arc<Self>) -> usize {
        let patcher = Arc::clone(self);
        let due = tokio::task::spawn_blocking(move || patcher.due())
            .await
            .unwrap_or_default();
        let mut started = 0;
        for (key, entry) in due {
            match self.parts.resolver.held(&key.1).await {
                Ok(Some(original)) => {
                    let _ = self.start(&entry.place, &original, entry.choices, &key);
                    started += 1;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(image.repository = key.0, image.digest = %key.1, error = crate::respond::chain(&error), "an image cannot be looked at again")
                }
            }
        }
        started
    }

    /// The decisions of which some plan is not what it was.
    fn due(&self) -> Vec<(Key, Entry)> {
        let mut entries = self.roster.entries();
        entries.retain(|(_, entry)| entry.images.iter().any(|image| self.has_changed(entry, image)));
        entries
    }

    /// Whether an image's plan is not what it was. What cannot be told from memory is looked at when it is due.
    fn has_changed(&self, entry: &Entry, image: &Watched) -> bool {
        let Some(inventory) = &image.inventory else {
            return false;
        };
        let Some(findings) = self.parts.scanners.rescan(&image.planned.image, inventory) else {
            return false;
        };
        let target = Target {
            image: &image.planned.image,
            platform: &image.planned.platform,
            name: &entry.place.to_string(),
            docker: image.docker,
        };
        match plan::plan(inventory, &findings, target, entry.choices) {
            Ok(planned) => planned.plan.map(|plan| plan.key()) != image.planned.plan,
            Err(_) => image.planned.plan.is_none(),
        }
    }
}
