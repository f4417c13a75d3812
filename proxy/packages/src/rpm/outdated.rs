//! Which installed packages are outdated: those that `dnf check-update` lists, with what the advisories say about them.

use std::collections::{BTreeMap, BTreeSet};

use crate::findings::{Finding, Findings, Kind, Severity, Status};
use crate::inventory::{Held, Installed};
use crate::rpm::index::{NO_ARCHITECTURE, is_modular, replaces};
use crate::rpm::metadata::{Advisory, AdvisoryKind};
use crate::rpm::{Available, Configuration, Index, Visible};
use crate::version::Version;

/// dnf's priority of a repository that names none.
const DEFAULT_PRIORITY: u32 = 99;

/// Compares what is installed with what the repositories offer, each given with its identifier. As dnf does it: only the
/// repositories of the best priority that have a package of a name count for it, a package takes the place of another when
/// the architecture is the same or one of them is `noarch`, and what is excluded is not there. An advisory is one for a
/// package when it brings a version that is newer than the installed one and not newer than the one that is offered.
///
/// Packages that are held are kept back, and so are those whose newer version would remove another installed package that it calls
/// obsolete, and those of modules, unless a repository of hotfixes has them: the package
/// lists do not tell which versions are of the stream that the image has.
#[must_use]
pub fn outdated(
    packages: &[Installed],
    held: &[Held],
    configuration: &Configuration,
    indexes: &[(&str, &Index)],
) -> Findings {
    let held: BTreeSet<_> = held
        .iter()
        .map(|held| (held.name.as_str(), held.architecture.as_str()))
        .collect();
    let newest = Newest::of(packages);
    let offers = Offers::new(configuration, indexes);
    let findings = packages
        .iter()
        .filter(|package| newest.is(package))
        .filter_map(|package| {
            let (offer, available) = offers.upgrade(package)?;
            let is_held = held.contains(&(package.name.as_str(), package.architecture.as_str()));
            let status = if is_held {
                Status::KeptBack("it is locked at its version".to_owned())
            } else if is_modular(&available.version) && !offer.hotfixes {
                Status::KeptBack("it belongs to a module, whose streams are not known here".to_owned())
            } else if let Some(gone) = offer.removes(&available, packages) {
                Status::KeptBack(format!("it would remove {gone}, which it calls obsolete"))
            } else {
                Status::Fixable
            };
            Some(offers.finding(package, offer, available, status))
        });
    Findings::new(findings.collect(), Vec::new())
}

/// The packages of repositories that these upgrades (name, architecture of the installed package, new version) come to, in their
/// order, each with the identifier of its repository; nothing when one of them is not offered as [`outdated`] saw it.
#[must_use]
pub fn offered<'a>(
    packages: &[Installed],
    configuration: &Configuration,
    indexes: &[(&'a str, &'a Index)],
    upgrades: &[(&str, &str, &Version)],
) -> Option<Vec<(&'a str, Available<'a>)>> {
    let offers = Offers::new(configuration, indexes);
    let one = |(name, architecture, to): &(&str, &str, &Version)| {
        let same = |package: &&Installed| package.name == *name && package.architecture == *architecture;
        let installed = packages.iter().filter(same).max_by_key(|package| &package.version)?;
        let (offer, available) = offers.upgrade(installed)?;
        (available.version == **to).then_some((offer.id, available))
    };
    upgrades.iter().map(one).collect()
}

/// The newest version of each name that is installed, of any and of each architecture.
struct Newest<'a>(BTreeMap<(&'a str, Option<&'a str>), &'a Version>);

impl<'a> Newest<'a> {
    fn of(packages: &'a [Installed]) -> Self {
        let mut newest = BTreeMap::new();
        for Installed {
            name,
            architecture,
            version,
            ..
        } in packages
        {
            for key in [(name.as_str(), None), (name, Some(architecture.as_str()))] {
                let known = newest.entry(key).or_insert(version);
                *known = version.max(*known);
            }
        }
        Self(newest)
    }

    /// Whether nothing that could take the place of a package is newer; several versions are there of a kernel, say.
    fn is(&self, package: &Installed) -> bool {
        let keys = match package.architecture.as_str() {
            NO_ARCHITECTURE => [None, None],
            own => [Some(own), Some(NO_ARCHITECTURE)],
        };
        let others = keys
            .into_iter()
            .filter_map(|key| self.0.get(&(package.name.as_str(), key)));
        others.into_iter().all(|version| **version <= package.version)
    }
}

/// What all repositories offer.
struct Offers<'a>(Vec<Offer<'a>>);

/// A repository.
struct Offer<'a> {
    id: &'a str,
    index: &'a Index,
    visible: Visible,
    priority: u32,
    hotfixes: bool,
}

impl Offer<'_> {
    /// An installed package that would be removed for one of this repository.
    fn removes<'a>(&self, new: &Available<'_>, packages: &'a [Installed]) -> Option<&'a str> {
        let gone = |old: &&Installed| old.name != new.name && self.index.obsoletes(new, &old.name, &old.version);
        packages.iter().find(gone).map(|old| old.name.as_str())
    }
}

impl<'a> Offers<'a> {
    fn new(configuration: &Configuration, indexes: &[(&'a str, &'a Index)]) -> Self {
        let offer = |(id, index): &(&'a str, &'a Index)| {
            let repository = configuration
                .repositories
                .iter()
                .find(|repository| repository.id == *id);
            Offer {
                id,
                index,
                visible: Visible::new(configuration, repository),
                priority: repository.map_or(DEFAULT_PRIORITY, |repository| repository.priority),
                hotfixes: repository.is_some_and(|repository| repository.module_hotfixes),
            }
        };
        Self(indexes.iter().map(offer).collect())
    }

    /// The newest package that upgrades an installed one.
    fn upgrade(&self, installed: &Installed) -> Option<(&Offer<'a>, Available<'a>)> {
        let modular = is_modular(&installed.version);
        let shown = |offer: &'_ Offer<'a>, package: &Available<'_>| {
            // A package of a module is compared with those of modules only, whatever their stream.
            let of_module = is_modular(&package.version);
            if modular && !offer.hotfixes {
                of_module && offer.visible.shows_any(package)
            } else {
                offer.visible.shows(package)
            }
        };
        let mut seen = Vec::new();
        for offer in &self.0 {
            let packages = offer.index.of(&installed.name).filter(|package| shown(offer, package));
            seen.extend(packages.map(|package| (offer, package)));
        }
        let best = seen.iter().map(|(offer, _)| offer.priority).min()?;
        seen.into_iter()
            .filter(|(offer, package)| {
                offer.priority == best && replaces(package.architecture, &installed.architecture)
            })
            .filter(|(_, package)| package.version > installed.version)
            // Of equal ones the first repository's.
            .rev()
            .max_by(|(_, one), (_, other)| one.version.cmp(&other.version))
    }

    fn finding(&self, package: &Installed, offer: &Offer<'_>, available: Available<'_>, status: Status) -> Finding {
        let advisories = self.advisories(package, &available);
        let security = advisories
            .iter()
            .filter(|advisory| advisory.kind == AdvisoryKind::Security);
        let severity = security.clone().map(|advisory| advisory.severity).max();
        let kind = match severity {
            Some(_) => Kind::Security,
            None if offer.index.is_advised() => Kind::Ordinary,
            None => Kind::Unknown,
        };
        let ids = advisories.iter().map(|advisory| advisory.id.clone());
        let cves = security.flat_map(|advisory| advisory.cves.iter().cloned());
        Finding {
            package: package.name.clone(),
            architecture: package.architecture.clone(),
            installed: package.version.clone(),
            fixed: Some(available.version),
            status,
            kind,
            severity: severity.unwrap_or(Severity::Unknown),
            advisories: ids.chain(cves).collect(),
            origin: Some(offer.id.to_owned()),
            leaves: None,
        }
    }

    /// The advisories that an upgrade brings.
    fn advisories(&self, package: &Installed, available: &Available<'_>) -> Vec<&'a Advisory> {
        let brought = |version: &Version| *version > package.version && *version <= available.version;
        let all = self
            .0
            .iter()
            .flat_map(|offer| offer.index.advisories(&package.name, available.architecture));
        all.filter(|(_, version)| brought(version))
            .map(|(advisory, _)| advisory)
            .collect()
    }
}
