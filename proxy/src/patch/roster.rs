//! The decisions that stand, with the inventories behind them: when an index of packages changes, every image is planned anew in
//! memory, and a job is started for those whose plan has become another.
//!
//! No container runs, no layer is read, and nobody is asked: what a change means for ten thousand images is known in a moment.

use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use patchport_oci::media_type;
use patchport_packages::inventory::{Kept, Pool};
use patchport_packages::{Findings, Inventory};

use super::PatchError;
use super::job::{Key, Patcher};
use crate::catalog::{Decision, Planned};
use crate::inspect::{Inspected, known};
use crate::plan::{self, Choices, Target};
use crate::route::{Place, Table};
use crate::scan::Known;

/// Decisions that are kept in mind; the rest are looked at when they are due.
const MAX_ENTRIES: usize = 100_000;

/// The decisions.
#[derive(Default)]
pub(super) struct Roster(Mutex<Book>);

/// The decisions, and what their images have in common.
#[derive(Default)]
struct Book {
    entries: HashMap<Key, Arc<Entry>>,
    pool: Pool,
}

/// A decision and what it was made from.
struct Entry {
    place: Place,
    choices: Choices,
    images: Vec<Image>,
}

/// An image behind a decision.
pub(super) struct Watched {
    /// What was planned for it.
    pub(super) planned: Planned,
    /// Its packages; nothing when it has none.
    pub(super) inventory: Option<Arc<Inventory>>,
    /// Whether its manifest is of Docker's type.
    pub(super) docker: bool,
}

/// The same in mind.
struct Image {
    planned: Planned,
    inventory: Option<Kept>,
    docker: bool,
}

impl Roster {
    /// Keeps a decision in mind.
    pub(super) fn put(&self, key: Key, place: &Place, choices: Choices, images: Vec<Watched>) {
        let mut book = self.lock();
        let Book { entries, pool } = &mut *book;
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(&key) {
            return;
        }
        let images = images.into_iter().map(|image| Image {
            planned: image.planned,
            inventory: image.inventory.map(|inventory| pool.keep(&inventory)),
            docker: image.docker,
        });
        let entry = Entry {
            place: place.clone(),
            choices,
            images: images.collect(),
        };
        entries.insert(key, Arc::new(entry));
    }

    fn entries(&self) -> Vec<(Key, Arc<Entry>)> {
        let book = self.lock();
        let entries = book.entries.iter();
        entries.map(|(key, entry)| (key.clone(), Arc::clone(entry))).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Book> {
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
            // What was decided under another source policy is decided anew when it is asked for.
            if choices.policy != self.parts.sources.mark() {
                continue;
            }
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

    /// The decisions of which some plan is not what it was, looked at on all cores: ten thousand are to take a second at most.
    fn due(&self) -> Vec<(Key, Arc<Entry>)> {
        let entries = self.roster.entries();
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let share = entries.len().div_ceil(cores).max(1);
        let changed: HashSet<usize> = std::thread::scope(|scope| {
            let parts = entries.chunks(share).enumerate();
            let looks = parts.map(|(part, entries)| {
                scope.spawn(move || {
                    let changed = self.changed(entries).into_iter();
                    changed.map(|number| part * share + number).collect::<Vec<_>>()
                })
            });
            let looks: Vec<_> = looks.collect();
            looks
                .into_iter()
                .filter_map(|look| look.join().ok())
                .flatten()
                .collect()
        });
        let entries = entries.into_iter().enumerate();
        let due = entries.filter(|(number, _)| changed.contains(number));
        due.map(|(_, entry)| entry).collect()
    }

    /// The numbers of those of which some plan is not what it was. What cannot be told from memory is looked at when it is due.
    fn changed(&self, entries: &[(Key, Arc<Entry>)]) -> HashSet<usize> {
        let images = entries
            .iter()
            .enumerate()
            .flat_map(|(number, (_, entry))| entry.images.iter().map(move |image| (number, &**entry, image)));
        let images: Vec<_> = images
            .filter_map(|(number, entry, image)| Some((number, entry, image, image.inventory.as_ref()?)))
            .collect();
        let known: Vec<Known<'_>> = images
            .iter()
            .map(|(_, _, image, inventory)| Known {
                image: &image.planned.image,
                inventory,
            })
            .collect();
        let mut changed = HashSet::new();
        self.parts.scanners.rescan(&known, &mut |at, findings| {
            let Some((number, entry, image, inventory)) = images.get(at) else {
                return;
            };
            if !changed.contains(number) && has_changed(entry, image, inventory, &findings) {
                changed.insert(*number);
            }
        });
        changed
    }
}

/// Whether an image's plan is not what it was.
fn has_changed(entry: &Entry, image: &Image, inventory: &Kept, findings: &Findings) -> bool {
    let target = Target {
        image: &image.planned.image,
        platform: &image.planned.platform,
        name: &entry.place.to_string(),
        docker: image.docker,
    };
    match plan::plan_kept(inventory, findings, target, entry.choices) {
        Ok(planned) => planned.plan.map(|plan| plan.key()) != image.planned.plan,
        Err(_) => image.planned.plan.is_none(),
    }
}
