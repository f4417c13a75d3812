//! The scanner `updates`: installed packages against the indexes of the repositories that the image itself names.
//!
//! Nobody is asked but the repositories, and those only when their indexes are not known yet: an image whose inventory and
//! indexes are known is judged in memory.

use std::sync::Arc;

use async_trait::async_trait;
use moka::sync::Cache;
use patchport_config::Distribution;
use patchport_oci::Digest;
use patchport_packages::Findings;
use patchport_packages::inventory::{Manager, Repositories};
use patchport_packages::layer::Files;

use super::{Known, ScanError, Scanner, Subject};
use crate::catalog::Catalog;
use crate::depot::Supply;
use crate::index::Indexes;
use crate::index::keys::Keyring;
use crate::inspect;
use crate::library::Library;
use crate::plan::Upgrade;
use crate::respond::chain;

pub(crate) mod apk;
pub(crate) mod apt;
mod distribution;
mod pacman;
mod rpm;

/// Files of keys: name and content.
type KeyFiles = Vec<(String, Vec<u8>)>;

const NAME: &str = "updates";
/// Images whose keyrings are remembered.
const REMEMBERED: u64 = 100_000;

/// The scanner.
pub struct Updates {
    indexes: Arc<Indexes>,
    library: Arc<Library>,
    catalog: Catalog,
    /// The keys that an image trusts for each of its sources.
    keyrings: Cache<Digest, Arc<Vec<Keyring>>>,
    /// Keyrings by their digest: most images trust the same.
    shared: Cache<Digest, Keyring>,
    /// The repositories of distributions, for images that name none.
    distributions: Vec<Distribution>,
}

impl Updates {
    /// A scanner over these indexes. Images that name no repositories are looked up in `distributions`.
    pub fn new(
        indexes: Arc<Indexes>,
        library: Arc<Library>,
        catalog: Catalog,
        distributions: Vec<Distribution>,
    ) -> Self {
        Self {
            indexes,
            library,
            catalog,
            keyrings: Cache::new(REMEMBERED),
            shared: Cache::new(REMEMBERED),
            distributions,
        }
    }

    /// The keys that an image trusts for each of its repositories, `from` the files in its layers.
    async fn keyrings(
        &self,
        subject: &Subject,
        from: impl FnOnce(&Files) -> Result<Vec<KeyFiles>, String>,
    ) -> Result<Arc<Vec<Keyring>>, ScanError> {
        let image = &subject.manifest.digest;
        if let Some(known) = self.keyrings.get(image) {
            return Ok(known);
        }
        let files = inspect::files(&subject.manifest, &subject.place, &self.library, &self.catalog).await;
        let files = files.map_err(|error| failed(&chain(&error)))?;
        let files = files.ok_or_else(|| failed("its keys cannot be read"))?;
        let shared = |files: KeyFiles| {
            let keyring = Keyring::new(files);
            let digest = keyring.digest().clone();
            self.shared.get_with(digest, || keyring)
        };
        let found = from(&files).map_err(|reason| failed(&reason))?;
        let keyrings = Arc::new(found.into_iter().map(shared).collect::<Vec<_>>());
        self.keyrings.insert(image.clone(), Arc::clone(&keyrings));
        Ok(keyrings)
    }
}

#[async_trait]
impl Scanner for Updates {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn scan(&self, subject: &Subject) -> Result<Findings, ScanError> {
        match &subject.inventory.repositories {
            Repositories::Apt(named) => match distribution::of(self, &subject.inventory, named)? {
                Some(found) => distribution::scan(self, subject, &found).await,
                None => apt::scan(self, subject, named).await,
            },
            Repositories::Apk(configuration) => apk::scan(self, subject, configuration).await,
            Repositories::Rpm(configuration) => rpm::scan(self, subject, configuration).await,
            Repositories::Pacman(configuration) => pacman::scan(self, subject, configuration).await,
            Repositories::Unknown => Err(failed(&format!(
                "the image names no package repositories, for it has {}",
                words(subject.inventory.manager)
            ))),
        }
    }

    async fn packages(&self, subject: &Subject, upgrades: &[Upgrade]) -> Option<Supply> {
        let keyrings = self.keyrings.get(&subject.manifest.digest)?;
        match &subject.inventory.repositories {
            Repositories::Apt(named) => {
                let found = distribution::of(self, &subject.inventory, named).ok()?;
                let configuration = found.as_ref().map_or(named, |found| &found.configuration);
                apt::packages(self, &subject.inventory, configuration, &keyrings, upgrades).map(Supply::from)
            }
            Repositories::Rpm(configuration) => {
                rpm::packages(self, &subject.inventory, configuration, &keyrings, upgrades).map(Supply::from)
            }
            Repositories::Apk(configuration) => {
                apk::packages(self, &subject.inventory, configuration, &keyrings, upgrades)
            }
            // pacman upgrades all or nothing, and fetches what that takes.
            Repositories::Pacman(_) | Repositories::Unknown => None,
        }
    }

    async fn refresh(&self, subject: &Subject) {
        match &subject.inventory.repositories {
            Repositories::Apt(named) => {
                if let Ok(found) = distribution::of(self, &subject.inventory, named) {
                    let configuration = found.as_ref().map_or(named, |found| &found.configuration);
                    apt::refresh(self, &subject.inventory, configuration).await;
                }
            }
            Repositories::Apk(configuration) => apk::refresh(self, &subject.inventory, configuration).await,
            Repositories::Rpm(configuration) => rpm::refresh(self, &subject.inventory, configuration).await,
            Repositories::Pacman(configuration) => pacman::refresh(self, &subject.inventory, configuration).await,
            Repositories::Unknown => {}
        }
    }

    fn rescan(&self, images: &[Known<'_>], found: &mut dyn FnMut(usize, Findings)) {
        apt::rescan(self, images, found);
        for (number, known) in images.iter().enumerate() {
            let findings = match &known.inventory.rest().repositories {
                Repositories::Apk(configuration) => self
                    .keyrings
                    .get(known.image)
                    .and_then(|keyrings| apk::rescan(self, &known.inventory.inventory(), configuration, &keyrings)),
                Repositories::Rpm(configuration) => self
                    .keyrings
                    .get(known.image)
                    .and_then(|keyrings| rpm::rescan(self, &known.inventory.inventory(), configuration, &keyrings)),
                Repositories::Pacman(configuration) => self
                    .keyrings
                    .get(known.image)
                    .and_then(|keyrings| pacman::rescan(self, &known.inventory.inventory(), configuration, &keyrings)),
                Repositories::Apt(named) if named.sources.is_empty() => distribution::rescan(self, known),
                Repositories::Apt(_) | Repositories::Unknown => None,
            };
            if let Some(findings) = findings {
                found(number, findings);
            }
        }
    }
}

fn words(manager: Manager) -> &'static str {
    match manager {
        Manager::Dpkg => "dpkg without apt",
        Manager::DpkgFragments => "dpkg's database without a package manager (distroless)",
        Manager::Apk => "apk without settings",
        Manager::Rpm => "rpm without settings",
        Manager::RpmManifest => "a list of rpm packages without a package manager (distroless)",
        Manager::Pacman => "pacman without settings",
    }
}

fn failed(reason: &str) -> ScanError {
    ScanError {
        scanner: NAME,
        reason: reason.to_owned(),
    }
}
