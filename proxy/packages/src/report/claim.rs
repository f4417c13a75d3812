//! What a report says about one package, and what is left of it beside the image's own package database.

use std::collections::{BTreeSet, HashMap};

use super::{Error, Report, syntax};
use crate::findings::{Finding, Findings, Kind, Severity, Status};
use crate::inventory::{Installed, Inventory};
use crate::version::{Family, Version};

/// How many names a note lists.
const NAMED: usize = 10;

/// The most findings that one report may give; an image of several gigabytes has some thousands.
const MAX_FINDINGS: usize = 500_000;

/// What a report says about one package, as it says it.
#[derive(Debug)]
pub(super) struct Claim {
    /// The binary package's name.
    pub(super) package: String,
    /// Its architecture, where the report says it.
    pub(super) architecture: Option<String>,
    /// The version that the scanner found installed.
    pub(super) installed: String,
    /// Versions with the fix, in any order; none when there is no fix.
    pub(super) fixed: Vec<String>,
    /// Whose version `fixed` is.
    pub(super) basis: Basis,
    /// What holds when there is no fix.
    pub(super) unfixed: Status,
    pub(super) severity: Severity,
    pub(super) advisories: Vec<String>,
}

/// Whose version a fixed version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Basis {
    /// The binary package's, unless the distribution's advisories are about source packages (Debian and Ubuntu).
    Usual,
    /// The source package's.
    Source,
}

/// What a fixed version means for an installed package.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fix {
    /// The binary package has the fix in this version.
    In(Version),
    /// There is a fix, but only the source package's version is known, and the binary package has versions of its own.
    InSource,
    /// What is installed has the fix.
    Installed,
}

impl Fix {
    /// The earliest of some fixed versions that is newer than what is installed. No candidate: the fix is installed.
    pub(crate) fn of(installed: &Installed, candidates: &[Version], basis: Basis) -> Self {
        let by_source = basis == Basis::Source || installed.version.family() == Family::Deb;
        let earliest_over = |floor: &Version| candidates.iter().filter(|fixed| *fixed > floor).min().cloned();
        if by_source && !counts_as_its_source(installed) {
            let fixed = earliest_over(&installed.source.version);
            return fixed.map_or(Self::Installed, |_| Self::InSource);
        }
        earliest_over(&installed.version).map_or(Self::Installed, Self::In)
    }
}

/// Whether a binary package has its source's version, but for the count of its rebuilds (Debian's `+b1`).
fn counts_as_its_source(installed: &Installed) -> bool {
    let (own, source) = (installed.version.as_str(), &installed.source.version);
    let rebuilt = own.rsplit_once("+b").filter(|(_, count)| {
        let digits = count.bytes().all(|byte| byte.is_ascii_digit());
        digits && !count.is_empty()
    });
    installed.version == *source || rebuilt.is_some_and(|(built, _)| built == source.as_str())
}

/// Compares a report's claims with the packages of the image. `proven`: the report is tied to the image's content.
pub(super) fn weigh(report: Report, inventory: &Inventory, proven: bool) -> Result<Findings, Error> {
    let mut scale = Scale::new(inventory);
    for claim in report.claims {
        scale.put(claim, proven)?;
    }
    if !proven && scale.found.is_empty() && scale.fixed == 0 && !scale.missing.is_empty() {
        return Err(Error::Strangers(scale.missing.len()));
    }
    let mut notes = report.notes;
    scale.note(&mut notes);
    Ok(Findings::new(scale.found, notes))
}

struct Scale<'a> {
    packages: HashMap<&'a str, Vec<&'a Installed>>,
    family: Family,
    found: Vec<Finding>,
    /// Claims whose fix is installed already.
    fixed: usize,
    /// Packages that are not installed, and those that are at another version.
    missing: BTreeSet<String>,
    differing: BTreeSet<String>,
}

impl<'a> Scale<'a> {
    fn new(inventory: &'a Inventory) -> Self {
        let mut packages: HashMap<_, Vec<_>> = HashMap::new();
        for package in &inventory.packages {
            packages.entry(package.name.as_str()).or_default().push(package);
        }
        Self {
            packages,
            family: inventory.manager.family(),
            found: Vec::new(),
            fixed: 0,
            missing: BTreeSet::new(),
            differing: BTreeSet::new(),
        }
    }

    fn put(&mut self, claim: Claim, proven: bool) -> Result<(), Error> {
        let (installed, fixed) = self.checked(&claim)?;
        let named = self.packages.get(claim.package.as_str());
        let is_meant = |package: &&&Installed| {
            claim
                .architecture
                .as_ref()
                .is_none_or(|own| *own == package.architecture)
        };
        let here: Vec<&Installed> = named.into_iter().flatten().filter(is_meant).copied().collect();
        let Some(any) = here.first() else {
            self.missing.insert(claim.package);
            return Ok(());
        };
        if here.iter().all(|package| package.version != installed) {
            if !proven {
                return Err(Error::Installed {
                    package: claim.package,
                    said: claim.installed,
                    installed: any.version.to_string(),
                });
            }
            self.differing.insert(claim.package);
            return Ok(());
        }
        for package in here.into_iter().filter(|package| package.version == installed) {
            self.find(package, &claim, &fixed);
        }
        if self.found.len() > MAX_FINDINGS {
            return Err(Error::TooMany(MAX_FINDINGS));
        }
        Ok(())
    }

    /// The claim's versions; an error when any text of the claim is not what it should be.
    fn checked(&self, claim: &Claim) -> Result<(Version, Vec<Version>), Error> {
        syntax::package(&claim.package)?;
        claim.architecture.as_deref().map_or(Ok(()), syntax::architecture)?;
        claim.advisories.iter().try_for_each(|text| syntax::advisory(text))?;
        let version = |text: &str, field| {
            Version::parse(self.family, text).map_err(|source| Error::Version {
                package: claim.package.clone(),
                field,
                source,
            })
        };
        let fixed = claim.fixed.iter().map(|text| version(text, "fixed version"));
        Ok((
            version(&claim.installed, "installed version")?,
            fixed.collect::<Result<_, _>>()?,
        ))
    }

    fn find(&mut self, package: &Installed, claim: &Claim, fixed: &[Version]) {
        let (version, status) = if fixed.is_empty() {
            (None, claim.unfixed.clone())
        } else {
            match Fix::of(package, fixed, claim.basis) {
                Fix::In(version) => (Some(version), Status::Fixable),
                Fix::InSource => (None, Status::Fixable),
                Fix::Installed => {
                    self.fixed += 1;
                    return;
                }
            }
        };
        self.found.push(Finding {
            package: package.name.clone(),
            architecture: package.architecture.clone(),
            installed: package.version.clone(),
            fixed: version,
            status,
            kind: Kind::Security,
            severity: claim.severity,
            advisories: claim.advisories.clone(),
            origin: None,
            leaves: None,
        });
    }

    fn note(&self, notes: &mut Vec<String>) {
        let named = |what: &str, names: &BTreeSet<String>| {
            let list: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
            let more = names.len().saturating_sub(NAMED);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!("{what}: {}{more}", list.join(", "))
        };
        if !self.missing.is_empty() {
            notes.push(named("reported, but not installed", &self.missing));
        }
        if !self.differing.is_empty() {
            notes.push(named("reported, but installed at another version", &self.differing));
        }
        if self.fixed > 0 {
            notes.push(format!(
                "reported, but fixed in what is installed: {} findings",
                self.fixed
            ));
        }
    }
}
