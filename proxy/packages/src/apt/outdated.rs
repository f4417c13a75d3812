//! What is outdated: packages with a newer candidate, and of those the ones that apt would leave alone.
//! Downgrades are never proposed, whatever a pin says.

use std::collections::HashSet;
use std::rc::Rc;

use super::candidate::{Known, Policy};
use super::card::Card;
use super::relations::Said;
use super::upgrade::{Wish, World};
use super::{Configuration, Entry, Index, Release, Target};
use crate::findings::{Finding, Findings, Kind, Severity, Status};
use crate::inventory::{Held, Installed};
use crate::version::Version;

/// An index with where it comes from.
pub struct Repository<'a> {
    /// What was asked for.
    pub target: &'a Target,
    /// The release that vouches for the index.
    pub release: &'a Release,
    /// The index.
    pub index: &'a Index,
}

/// What is outdated, where upgrades may bring in new packages (`apt-get upgrade --with-new-pkgs`). `repositories` are in
/// the order of [`targets`](super::targets); `native` is the architecture of the image, such as `amd64`.
#[must_use]
pub fn outdated(
    packages: &[&Installed],
    held: &[Held],
    configuration: &Configuration,
    repositories: &[Repository<'_>],
    native: &str,
) -> Findings {
    Judge::new(configuration, repositories, native).outdated(&with_said(packages.iter().copied(), configuration), held)
}

/// The same without new packages: fixable is what `apt-get upgrade` would upgrade.
#[must_use]
pub fn plain_upgrade(
    packages: &[&Installed],
    held: &[Held],
    configuration: &Configuration,
    repositories: &[Repository<'_>],
    native: &str,
) -> Findings {
    Judge::new(configuration, repositories, native).find(
        &with_said(packages.iter().copied(), configuration),
        held,
        false,
    )
}

/// An installed package, and what its status says of others.
#[derive(Clone, Copy)]
pub struct Package<'a> {
    /// The package.
    pub installed: &'a Installed,
    /// What it says; where that is not known, the indexes are asked.
    pub said: Option<&'a Said>,
}

/// Installed packages with what their status says of others.
#[must_use]
pub fn with_said<'a>(
    packages: impl IntoIterator<Item = &'a Installed>,
    configuration: &'a Configuration,
) -> Vec<Package<'a>> {
    let packages = packages.into_iter().map(|installed| Package {
        installed,
        said: configuration.relations.of(installed),
    });
    packages.collect()
}

/// Judges many images whose apt is told the same and that see the same indexes: what is said about a version of a package
/// is looked up once for all of them.
pub struct Judge<'a> {
    policy: Policy<'a>,
    configuration: &'a Configuration,
    repositories: &'a [Repository<'a>],
}

impl<'a> Judge<'a> {
    /// The judge of images with this configuration; see [`outdated`] for the rest.
    #[must_use]
    pub fn new(configuration: &'a Configuration, repositories: &'a [Repository<'a>], native: &'a str) -> Self {
        Self {
            policy: Policy::new(configuration, repositories, native),
            configuration,
            repositories,
        }
    }

    /// What [`outdated`] finds. What packages say comes with them, not from the configuration.
    #[must_use]
    pub fn outdated(&self, packages: &[Package<'a>], held: &[Held]) -> Findings {
        self.find(packages, held, true)
    }

    /// Where these upgrades come from, in their order, and after them the new packages that they need: the number of the repository
    /// and what its index says of the package. Nothing unless that is all: they are what apt would choose, and neither need nor
    /// break any other package.
    #[must_use]
    pub fn sources(
        &self,
        packages: &[Package<'a>],
        upgrades: &[(&str, &str, &Version)],
    ) -> Option<Vec<(usize, Entry<'a>)>> {
        let cards: Vec<Rc<Card<'a>>> = packages.iter().map(|package| self.policy.card(*package)).collect();
        let chosen = upgrades.iter().map(|(name, architecture, to)| {
            let same = |package: &Package<'_>| {
                package.installed.name == *name && package.installed.architecture == *architecture
            };
            let at = packages.iter().position(same)?;
            let card = cards.get(at)?;
            let candidate = card.versions.get(card.candidate?)?;
            (candidate.version == **to).then_some(at)
        });
        let chosen: Vec<usize> = chosen.collect::<Option<_>>()?;
        let is_chosen: HashSet<usize> = chosen.iter().copied().collect();
        let wishes: Vec<Wish<'a>> = cards
            .iter()
            .enumerate()
            .map(|(at, card)| Wish {
                card: Rc::clone(card),
                free: is_chosen.contains(&at),
            })
            .collect();
        let (kept, new) = World::new(&self.policy, &wishes, true).settle_with_new(wishes.len());
        if chosen.iter().any(|at| kept.get(*at).is_none_or(Option::is_some)) {
            return None;
        }
        let source = |at: &usize| {
            let card = cards.get(*at)?;
            let (number, entry) = self.policy.best_offer(card.versions.get(card.candidate?)?)?;
            Some((*number, entry.clone()))
        };
        let fresh = |(name, architecture): (&'a str, &'a str)| {
            let versions = self.policy.versions(name, architecture, None);
            let candidate = versions.get(self.policy.candidate(name, architecture, &versions)?)?;
            let (number, entry) = self.policy.best_offer(candidate)?;
            Some((*number, entry.clone()))
        };
        let upgrades = chosen.iter().map(source);
        upgrades.chain(new.into_iter().map(fresh)).collect()
    }

    fn find(&self, packages: &[Package<'a>], held: &[Held], new_allowed: bool) -> Findings {
        let held: HashSet<(&str, &str)> = held
            .iter()
            .map(|held| (held.name.as_str(), held.architecture.as_str()))
            .collect();
        let cards = packages.iter().map(|package| self.policy.card(*package));
        let cards: Vec<Rc<Card<'a>>> = cards.collect();
        let is_candidate = |card: &Rc<Card<'a>>| card.candidate.is_some();
        let notes = self.configuration.unsupported.clone();
        if !cards.iter().any(is_candidate) {
            return Findings::new(Vec::new(), notes);
        }
        // What stays for its own sake stays before anything else is decided.
        let reasons: Vec<Option<String>> = packages
            .iter()
            .zip(&cards)
            .map(|(package, card)| self.reason(package.installed, card, &held))
            .collect();
        let wishes = cards.into_iter().zip(&reasons);
        let wishes: Vec<Wish<'a>> = wishes
            .map(|(card, reason)| Wish {
                card,
                free: reason.is_none(),
            })
            .collect();
        let broken = World::new(&self.policy, &wishes, new_allowed).settle(wishes.len());
        let mut findings = Vec::new();
        for (((package, wish), reason), broken) in packages.iter().zip(&wishes).zip(reasons).zip(broken) {
            let Some(candidate) = wish.card.candidate else {
                continue;
            };
            let status = reason.or(broken).map_or(Status::Fixable, Status::KeptBack);
            findings.extend(self.finding(package.installed, &wish.card, candidate, status));
        }
        Findings::new(findings, notes)
    }

    /// Why a package stays whatever others do.
    fn reason(&self, installed: &Installed, card: &Card<'a>, held: &HashSet<(&str, &str)>) -> Option<String> {
        let candidate = card.versions.get(card.candidate?)?;
        if held.contains(&(installed.name.as_str(), installed.architecture.as_str())) {
            return Some("on hold".to_owned());
        }
        // apt takes a security update at any percentage.
        let percentage = candidate.offers.iter().map(|(_, entry)| entry.phased).max()?;
        if percentage < 100 && !self.configuration.phased && !is_security(candidate, self.repositories) {
            return Some(format!("phased update, at {percentage} %"));
        }
        None
    }

    fn finding(&self, installed: &Installed, card: &Card<'a>, candidate: usize, status: Status) -> Option<Finding> {
        let known = card.versions.get(candidate)?;
        let (number, _) = self.policy.best_offer(known)?;
        let from = self.repositories.get(*number)?;
        let newer = card.versions.get(candidate..)?.iter();
        let mut newer = newer.take_while(|known| !known.installed);
        let kind = if newer.any(|known| is_security(known, self.repositories)) {
            Kind::Security
        } else {
            Kind::Ordinary
        };
        Some(Finding {
            package: installed.name.clone(),
            architecture: installed.architecture.clone(),
            installed: installed.version.clone(),
            fixed: Some(known.version.clone()),
            status,
            kind,
            severity: Severity::Unknown,
            advisories: Vec::new(),
            origin: Some(origin(from)),
            leaves: leaves(card, from, self.repositories),
        })
    }
}

/// Whether a version is offered as a security update.
fn is_security(known: &Known<'_>, repositories: &[Repository<'_>]) -> bool {
    let offers = known.offers.iter().filter_map(|(number, _)| repositories.get(*number));
    offers.into_iter().any(|Repository { target, release, .. }| {
        let suites = [
            release.suite.as_deref(),
            release.codename.as_deref(),
            Some(&*target.suite),
        ];
        let by_suite = |suite: &str| suite.ends_with("-security") || suite.ends_with("/updates");
        let by_label = release.label.as_deref().is_some_and(|label| label.contains("Security"));
        by_label || suites.into_iter().flatten().any(by_suite)
    })
}

/// What people call a repository: `Debian-Security bookworm-security main`.
fn origin(Repository { target, release, .. }: &Repository<'_>) -> String {
    let label = release.label.as_deref().or(release.origin.as_deref());
    let parts = [label, Some(&*target.suite), target.component.as_deref()];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    parts.join(" ")
}

/// Where the installed version comes from, when the candidate comes from somebody else who does not offer that version.
fn leaves(card: &Card<'_>, to: &Repository<'_>, repositories: &[Repository<'_>]) -> Option<String> {
    let installed = card.versions.iter().find(|known| known.installed)?;
    let from: Vec<&Repository<'_>> = installed
        .offers
        .iter()
        .filter_map(|(number, _)| repositories.get(*number))
        .collect();
    let same = |repository: &&Repository<'_>| repository.release.origin == to.release.origin;
    if from.iter().any(same) {
        return None;
    }
    let release = from.first()?.release;
    release.label.clone().or_else(|| release.origin.clone())
}
