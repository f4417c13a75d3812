//! A scanner that knows one package to be outdated, until a test tells it otherwise.

use std::sync::Mutex;

use async_trait::async_trait;
use patchport_packages::findings::{Finding, Kind, Severity, Status};
use patchport_packages::inventory::Installed;
use patchport_packages::{Findings, Inventory, Version};

use crate::scan::{Known, ScanError, Scanner, Subject};
use crate::testing::images::NEW;

type Verdict = Result<Vec<(String, String)>, String>;
type Verdicts = Box<dyn Fn(&Subject) -> Verdict + Send>;

/// The scanner: packages with the version that they could have.
pub(crate) struct FakeScanner {
    verdicts: Mutex<Verdicts>,
    /// What it knows without being asked.
    known: Mutex<Option<Vec<(String, String)>>>,
}

impl Default for FakeScanner {
    /// Finds what [`NEW`] has newer.
    fn default() -> Self {
        let fixes = NEW.map(|(name, version)| (name.to_owned(), version.to_owned()));
        Self {
            verdicts: Mutex::new(Box::new(move |_| Ok(fixes.to_vec()))),
            known: Mutex::default(),
        }
    }
}

impl FakeScanner {
    /// What it finds from now on: names and fixed versions, or why it cannot tell.
    pub(crate) fn set(&self, verdict: impl Fn(&Subject) -> Verdict + Send + 'static) {
        *self.verdicts.lock().unwrap() = Box::new(verdict);
    }

    /// What it finds from now on, also without being asked.
    pub(crate) fn know(&self, name: &str, fixed: &str) {
        let fixes = vec![(name.to_owned(), fixed.to_owned())];
        *self.known.lock().unwrap() = Some(fixes.clone());
        self.set(move |_| Ok(fixes.clone()));
    }
}

#[async_trait]
impl Scanner for FakeScanner {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn scan(&self, subject: &Subject) -> Result<Findings, ScanError> {
        let fixes = (self.verdicts.lock().unwrap())(subject);
        let fixes = fixes.map_err(|reason| ScanError {
            scanner: "fake",
            reason,
        })?;
        Ok(found(&subject.inventory, &fixes))
    }

    fn rescan(&self, images: &[Known<'_>], told: &mut dyn FnMut(usize, Findings)) {
        let known = self.known.lock().unwrap().clone();
        let Some(fixes) = known else { return };
        for (number, image) in images.iter().enumerate() {
            told(number, found(&image.inventory.inventory(), &fixes));
        }
    }
}

fn found(inventory: &Inventory, fixes: &[(String, String)]) -> Findings {
    let fix = |package: &Installed| {
        let (_, fixed) = fixes.iter().find(|(name, _)| *name == package.name)?;
        finding(package, fixed)
    };
    Findings::new(inventory.packages.iter().filter_map(fix).collect(), vec![])
}

/// That a package could have this version, if it is newer.
fn finding(package: &Installed, fixed: &str) -> Option<Finding> {
    let fixed = Version::parse(package.version.family(), fixed).unwrap();
    (fixed > package.version).then(|| Finding {
        package: package.name.clone(),
        architecture: package.architecture.clone(),
        installed: package.version.clone(),
        fixed: Some(fixed),
        status: Status::Fixable,
        kind: Kind::Security,
        severity: Severity::Unknown,
        advisories: vec![],
        origin: Some("Debian bookworm main".into()),
        leaves: None,
    })
}
