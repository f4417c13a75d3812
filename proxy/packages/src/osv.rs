//! A local copy of OSV's advisories (the format of ossf.github.io/osv-schema) as a scanner for distributions' packages.
//! Compact: of each advisory it keeps identifiers, severity and the affected versions, by ecosystem and package.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::findings::{Finding, Findings, Kind, Severity, Status};
use crate::inventory::{Installed, Inventory};
use crate::os_release::OsRelease;
use crate::report::{Basis, Fix};
use crate::version::{Family, Version};

mod archive;
mod ecosystem;
mod load;
mod range;
mod record;
mod severity;

pub use archive::read_archive;
pub use load::{Limits, Loader};
use range::Range;

/// The most findings that one inventory may have.
const MAX_FINDINGS: usize = 500_000;

/// Advisories about packages of distributions.
#[derive(Debug, Default)]
pub struct Database {
    /// By ecosystem with its release, such as `Debian:12`, then by package.
    ecosystems: BTreeMap<Box<str>, Packages>,
    advisories: Vec<Advisory>,
    problems: Problems,
}

/// What is affected, by the name of the package.
type Packages = HashMap<Box<str>, Vec<Affected>>;

/// What is known of an advisory, whatever it affects.
#[derive(Debug)]
struct Advisory {
    /// Its own identifier and those of the same vulnerabilities elsewhere.
    ids: Box<[Box<str>]>,
    severity: Severity,
}

/// The versions of one package that an advisory is about.
#[derive(Debug)]
struct Affected {
    /// Index of the advisory.
    advisory: u32,
    /// The severity for this package, where it has one of its own.
    severity: Severity,
    /// Whether the distribution will not fix it, for its release is over.
    is_over: bool,
    ranges: Box<[Range]>,
    /// Versions one by one, where there are no ranges.
    versions: Box<[Version]>,
    /// Fixed versions of binary packages that do not have their source's version.
    binaries: Box<[(Box<str>, Version)]>,
}

/// What was left out of a database, counted, with the first few in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// How many records or parts of them.
    pub count: usize,
    /// The first of them.
    pub first: Vec<String>,
}

/// Why there is no database, or no answer from it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One record over its size limit.
    #[error("{file:?} has more than {limit} bytes")]
    RecordTooLarge {
        /// The record's file.
        file: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Over the limit of records or of memory.
    #[error("{file:?}: the advisories exceed {limit} {what}")]
    TooMuch {
        /// The file at which it happened.
        file: String,
        /// What was counted.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// An archive that cannot be read.
    #[error("cannot read the archive{}", file.as_ref().map(|file| format!(" at {file:?}")).unwrap_or_default())]
    Archive {
        /// The file in it, if it got that far.
        file: Option<String>,
        /// What happened.
        #[source]
        source: rawzip::Error,
    },
    /// A file in an archive that cannot be inflated, or differs from its checksum.
    #[error("cannot unpack {file:?} of the archive")]
    Unpack {
        /// The file.
        file: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// No advisories about the image's distribution and release, so nothing can be said about it.
    #[error("there are no advisories for {0}")]
    NotCovered(String),
    /// An image with more findings than any real one has.
    #[error("there are more than {MAX_FINDINGS} findings")]
    TooManyFindings,
}

impl Database {
    /// How many advisories there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.advisories.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.advisories.is_empty()
    }

    /// What could not be read and was left out.
    #[must_use]
    pub fn problems(&self) -> &Problems {
        &self.problems
    }

    /// Whether there are advisories about a distribution's release.
    #[must_use]
    pub fn covers(&self, os: &OsRelease) -> bool {
        self.ecosystems.keys().any(|name| ecosystem::is_of(name, os))
    }

    /// What is known about an inventory's packages.
    ///
    /// A finding that is [`Status::Fixable`] without a fixed version: the fix is known by the version of the source
    /// package only, and the binary package counts its versions differently.
    ///
    /// # Errors
    /// [`Error::NotCovered`] when nothing is known about the distribution or its release, [`Error::TooManyFindings`].
    pub fn scan(&self, inventory: &Inventory) -> Result<Findings, Error> {
        let os = &inventory.os;
        let known = self.ecosystems.iter().filter(|(name, _)| ecosystem::is_of(name, os));
        let known: Vec<_> = known.map(|(_, packages)| packages).collect();
        if known.is_empty() {
            let version = os.version_id.as_deref().unwrap_or_default();
            return Err(Error::NotCovered(format!("{} {version}", os.id).trim_end().to_owned()));
        }
        let mut findings = Vec::new();
        for package in &inventory.packages {
            findings.extend(self.find_all(package, &known));
            if findings.len() > MAX_FINDINGS {
                return Err(Error::TooManyFindings);
            }
        }
        let unread = self.problems.count;
        let notes = (unread > 0).then(|| format!("{unread} parts of advisories could not be read"));
        Ok(Findings::new(findings, notes.into_iter().collect()))
    }

    /// Every advisory once: several repositories of a release may hold the same package, and repeat it.
    fn find_all(&self, package: &Installed, known: &[&Packages]) -> Vec<Finding> {
        let (mut seen, mut findings) = (HashSet::new(), Vec::new());
        for (name, basis) in names(package) {
            for affected in known.iter().filter_map(|packages| packages.get(name)).flatten() {
                if seen.contains(&affected.advisory) {
                    continue;
                }
                if let Some(found) = self.find(package, affected, basis) {
                    seen.insert(affected.advisory);
                    findings.push(found);
                }
            }
        }
        findings
    }

    fn find(&self, package: &Installed, affected: &Affected, basis: Basis) -> Option<Finding> {
        let version = match basis {
            Basis::Source => &package.source.version,
            Basis::Usual => &package.version,
        };
        let fixed = affected.fix(version)?;
        let differs = |fixed: &Version| is_of_module(fixed) != is_of_module(version);
        if fixed.as_ref().is_some_and(differs) {
            return None;
        }
        let (fixed, status) = match fixed.map(|fixed| Fix::of(package, &[fixed], basis)) {
            Some(Fix::In(fixed)) => (Some(fixed), Status::Fixable),
            Some(Fix::InSource) => (affected.binary(package), Status::Fixable),
            Some(Fix::Installed) => return None,
            None if affected.is_over => (None, Status::EndOfLife),
            None => (None, Status::NoFix),
        };
        let advisory = self.advisories.get(affected.advisory as usize)?;
        Some(Finding {
            package: package.name.clone(),
            architecture: package.architecture.clone(),
            installed: package.version.clone(),
            fixed,
            status,
            kind: Kind::Security,
            severity: if affected.severity == Severity::Unknown {
                advisory.severity
            } else {
                affected.severity
            },
            advisories: advisory.ids.iter().map(|id| id.to_string()).collect(),
            origin: None,
            leaves: None,
        })
    }
}

impl Affected {
    /// Whether a version is affected; then the first fixed version after it, if any.
    fn fix(&self, version: &Version) -> Option<Option<Version>> {
        let fixes: Vec<_> = self.ranges.iter().filter_map(|range| range.fix(version)).collect();
        if fixes.is_empty() {
            return self.versions.contains(version).then_some(None);
        }
        Some(fixes.into_iter().flatten().min().cloned())
    }

    /// The fixed version of a binary package by its own count.
    fn binary(&self, package: &Installed) -> Option<Version> {
        let (_, fixed) = self.binaries.iter().find(|(name, _)| **name == *package.name)?;
        (*fixed > package.version).then(|| fixed.clone())
    }
}

/// The names under which advisories may have a package. Those of Debian, Ubuntu, Alpine and its kin go by the source package;
/// of the rpm distributions, some go by the source package (Rocky Linux, SUSE) and some by the binary one (Red Hat, AlmaLinux).
fn names(package: &Installed) -> impl Iterator<Item = (&str, Basis)> {
    let source = (package.source.name.as_str(), Basis::Source);
    let by_binary = matches!(package.version.family(), Family::Rpm | Family::Pacman);
    let binary = by_binary.then_some((package.name.as_str(), Basis::Usual));
    let differs = package.name != package.source.name;
    binary.into_iter().chain((!by_binary || differs).then_some(source))
}

/// Whether a version is of a package in a module stream of Red Hat's kin. Streams have versions of their own, and an advisory
/// about one says nothing about the ordinary package of that name. Which stream it is cannot be told: an advisory about a
/// newer stream is taken for one about an older one.
fn is_of_module(version: &Version) -> bool {
    version.family() == Family::Rpm && version.as_str().contains(".module")
}
