//! What can be fixed in an image, as a seam: every scanner gives [`Findings`].
//!
//! Several may be asked; what any of them finds counts. One that fails, or is late, is a failure of the whole and a case for the
//! rule's `on_failure`, never "nothing found".

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;
use patchport_config as config;
use patchport_oci::{Digest, Manifest, Platform};
use patchport_packages::inventory::Kept;
use patchport_packages::{Findings, Inventory, lifecycle};

use self::grype::Grype;
use self::osv::Osv;
use self::report::Reports;
use self::trivy::Trivy;
use self::updates::Updates;
use crate::catalog::Catalog;
use crate::depot::Supply;
use crate::index::Indexes;
use crate::library::Library;
use crate::plan::Upgrade;
use crate::route::Place;

mod binding;
pub mod given;
pub mod grype;
pub mod osv;
mod program;
pub mod report;
pub mod trivy;
pub mod updates;

/// The image that is scanned.
#[derive(Clone)]
pub struct Subject {
    /// Its repository.
    pub place: Place,
    /// Its manifest.
    pub manifest: Manifest,
    /// The index that it was reached through.
    pub index: Option<Digest>,
    /// Its configuration.
    pub config: Bytes,
    /// Its platform.
    pub platform: Platform,
    /// What is installed in it.
    pub inventory: Arc<Inventory>,
}

impl Subject {
    /// What its distribution calls itself.
    pub fn distribution(&self) -> String {
        let os = &self.inventory.os;
        let pretty = os.pretty_name.as_ref().or(os.name.as_ref());
        pretty.unwrap_or(&os.id).chars().take(100).collect()
    }

    /// The last day on which its distribution was maintained, when that is over.
    pub fn ended(&self) -> Option<jiff::civil::Date> {
        let last = lifecycle::last_day(&self.inventory.os)?;
        let today = jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::now()).date();
        (today > last).then_some(last)
    }
}

/// Finds what can be fixed.
#[async_trait]
pub trait Scanner: Send + Sync {
    /// Its name, as the configuration has it.
    fn name(&self) -> &'static str;

    /// The findings for one image.
    async fn scan(&self, subject: &Subject) -> Result<Findings, ScanError>;

    /// Looks again at what it knows from others about the image: it has turned out to be old.
    async fn refresh(&self, subject: &Subject) {
        let _ = subject;
    }

    /// The packages that these upgrades of the image come to, in their order, and after them what they need, where this scanner knows
    /// all of that.
    async fn packages(&self, subject: &Subject, upgrades: &[Upgrade]) -> Option<Supply> {
        let _ = (subject, upgrades);
        None
    }

    /// The findings as they are now for images that were scanned before, without asking anybody. `found` is told the number of
    /// each image that this scanner can tell so, and its findings.
    fn rescan(&self, images: &[Known<'_>], found: &mut dyn FnMut(usize, Findings)) {
        let _ = (images, found);
    }
}

/// An image that was scanned before.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Its manifest.
    pub image: &'a Digest,
    /// What is installed in it.
    pub inventory: &'a Kept,
}

/// Why a scanner cannot tell what is outdated.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the scanner `{scanner}` cannot tell what is outdated: {reason}")]
pub struct ScanError {
    /// The scanner.
    pub scanner: &'static str,
    /// Why, and what to do.
    pub reason: String,
}

/// The scanners that the operator asks for.
#[derive(Clone)]
pub struct Scanners {
    scanners: Vec<Arc<dyn Scanner>>,
    timeout: Duration,
}

impl Scanners {
    /// These scanners, each within `timeout`.
    pub fn new(scanners: Vec<Arc<dyn Scanner>>, timeout: Duration) -> Self {
        Self { scanners, timeout }
    }

    /// The scanners that the configuration names; programs are looked for on `path`.
    pub fn configured(
        settings: &config::Scan,
        path: Option<&OsStr>,
        indexes: &Arc<Indexes>,
        library: &Arc<Library>,
        catalog: &Catalog,
    ) -> Self {
        let scanner = |scanner: &config::Scanner| -> Arc<dyn Scanner> {
            match scanner {
                config::Scanner::Updates => {
                    let (indexes, library) = (Arc::clone(indexes), Arc::clone(library));
                    let distributions = settings.distribution.clone();
                    Arc::new(Updates::new(indexes, library, catalog.clone(), distributions))
                }
                config::Scanner::Trivy => Arc::new(Trivy::new(settings, path, indexes.folder().join("trivy"))),
                config::Scanner::Grype => Arc::new(Grype::new(settings, path, Arc::clone(library), catalog.clone())),
                config::Scanner::Report => Arc::new(Reports::new(settings)),
                config::Scanner::Osv => Arc::new(Osv::new(settings)),
            }
        };
        Self::new(settings.scanners.iter().map(scanner).collect(), settings.timeout)
    }

    /// The same, and one more.
    #[must_use]
    pub fn and(mut self, scanner: Arc<dyn Scanner>) -> Self {
        self.scanners.push(scanner);
        self
    }

    /// What all of them find now in images that were scanned before, without asking anybody: `found` is told the number of each
    /// image that all of them can tell so.
    pub fn rescan(&self, images: &[Known<'_>], found: &mut dyn FnMut(usize, Findings)) {
        if let [only] = &*self.scanners {
            return only.rescan(images, found);
        }
        let mut told: HashMap<usize, Vec<Findings>> = HashMap::new();
        for scanner in &self.scanners {
            scanner.rescan(images, &mut |number, findings| {
                told.entry(number).or_default().push(findings)
            });
        }
        for (number, all) in told {
            if all.len() == self.scanners.len() {
                found(number, Findings::merged(all));
            }
        }
    }

    /// Has all of them look again at what they know from others.
    pub async fn refresh(&self, subject: &Subject) {
        futures_util::future::join_all(self.scanners.iter().map(|scanner| scanner.refresh(subject))).await;
    }

    /// The packages of these upgrades, from the first that knows them.
    pub async fn packages(&self, subject: &Subject, upgrades: &[Upgrade]) -> Option<Supply> {
        for scanner in &self.scanners {
            if let Some(packages) = scanner.packages(subject, upgrades).await {
                return Some(packages);
            }
        }
        None
    }

    /// What all of them find.
    ///
    /// # Errors
    /// The first [`ScanError`] of any of them.
    pub async fn scan(&self, subject: &Subject) -> Result<Findings, ScanError> {
        let asked = self.scanners.iter().map(|scanner| async {
            let answer = tokio::time::timeout(self.timeout, scanner.scan(subject)).await;
            let late = |_| ScanError {
                scanner: scanner.name(),
                reason: format!("it did not answer within {:?}", self.timeout),
            };
            answer.map_err(late)?
        });
        let mut findings = Findings::merged(try_join_all(asked).await?);
        findings.notes.extend(subject.ended().map(|last| {
            let distribution = subject.distribution();
            format!("{distribution} is no longer maintained since {last}: there will be no more fixes")
        }));
        Ok(findings)
    }
}
