//! Which installed packages repositories have newer versions of: what `apk list --upgradeable` says, less what `world` keeps
//! `apk upgrade` from taking. Indexes of apk do not tell fixes of security from others.

use super::{Configuration, Constraint, Index, Offer, Repository};
use crate::findings::{Finding, Findings, Kind, Severity, Status};
use crate::inventory::Installed;
use crate::version::{Family, Version};

/// The packages that are outdated, given the indexes of the repositories of `configuration`, each with its repository. A
/// repository without an index offers nothing, so the caller says what could not be had.
///
/// As in apk, a package that came from a tagged repository is looked for in those with this tag, any other in those without;
/// a tag that `world` gives its name comes first, for `apk upgrade` goes by that. Conflicts between the dependencies of
/// packages are not looked at: what `apk upgrade` really does shows when it is done.
#[must_use]
pub fn outdated(packages: &[Installed], configuration: &Configuration, indexes: &[(&Repository, &Index)]) -> Findings {
    let looked_up = packages.iter().filter_map(|package| {
        let constraints: Vec<&Constraint> = configuration.of(&package.name).collect();
        let tag = configuration.tag(&package.name);
        let mut newer: Vec<Candidate<'_>> = indexes
            .iter()
            .filter(|(repository, _)| repository.tag.as_ref() == tag)
            .flat_map(|(repository, index)| candidates(package, repository, index))
            .collect();
        // The newest first; where two are the same, that of the repository which comes first.
        newer.sort_by(|one, other| other.version.cmp(&one.version));
        finding(package, configuration, &constraints, newer)
    });
    Findings::new(looked_up.collect(), configuration.notes.clone())
}

/// A newer version of an installed package.
pub(super) struct Candidate<'a> {
    pub(super) version: Version,
    pub(super) offer: Offer<'a>,
    repository: &'a Repository,
}

/// The newer versions of an installed package in an index.
pub(super) fn candidates<'a, 'p>(
    package: &'p Installed,
    repository: &'a Repository,
    index: &'a Index,
) -> impl Iterator<Item = Candidate<'a>> + use<'a, 'p> {
    index.find(&package.name).filter_map(move |offer| {
        let version = Version::parse(Family::Apk, offer.version).ok()?;
        let candidate = Candidate {
            version,
            offer,
            repository,
        };
        (candidate.version > package.version).then_some(candidate)
    })
}

/// The newest version that may be taken, or the newest of all with the reason why it may not.
fn finding(
    package: &Installed,
    configuration: &Configuration,
    constraints: &[&Constraint],
    newer: Vec<Candidate<'_>>,
) -> Option<Finding> {
    let reason = |candidate: &Candidate<'_>| kept_back(package, configuration, constraints, candidate);
    let taken = newer.iter().find(|candidate| reason(candidate).is_none());
    let candidate = taken.or(newer.first())?;
    Some(Finding {
        package: package.name.clone(),
        architecture: package.architecture.clone(),
        installed: package.version.clone(),
        fixed: Some(candidate.version.clone()),
        status: reason(candidate).map_or(Status::Fixable, Status::KeptBack),
        kind: Kind::Unknown,
        severity: Severity::Unknown,
        advisories: Vec::new(),
        origin: Some(candidate.repository.to_string()),
        leaves: None,
    })
}

/// Why apk would not take a version.
pub(super) fn kept_back(
    package: &Installed,
    configuration: &Configuration,
    constraints: &[&Constraint],
    candidate: &Candidate<'_>,
) -> Option<String> {
    let Candidate { version, offer, .. } = candidate;
    let pinned = constraints
        .iter()
        .find(|constraint| !constraint.allows(version, offer.checksum));
    if let Some(constraint) = pinned {
        return Some(format!("etc/apk/world has {constraint}"));
    }
    let known = &configuration.architectures;
    let is_own = known.is_empty() || known.iter().any(|own| own == offer.architecture);
    let fits = ["", "noarch", &package.architecture].contains(&offer.architecture) || is_own;
    (!fits).then(|| format!("it is for {}", offer.architecture))
}
