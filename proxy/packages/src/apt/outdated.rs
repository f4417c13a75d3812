//! What is outdated: packages with a newer candidate, and of those the ones that apt would leave alone.
//! Downgrades are never proposed, whatever a pin says.

use std::collections::HashSet;

use super::candidate::{Known, Policy};
use super::upgrade::{Wish, World};
use super::{Configuration, Index, Release, Target};
use crate::findings::{Finding, Findings, Kind, Severity, Status};
use crate::inventory::{Held, Installed};

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
    find(packages, held, configuration, repositories, native, true)
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
    find(packages, held, configuration, repositories, native, false)
}

fn find(
    packages: &[&Installed],
    held: &[Held],
    configuration: &Configuration,
    repositories: &[Repository<'_>],
    native: &str,
    new_allowed: bool,
) -> Findings {
    let policy = Policy::new(configuration, repositories, native);
    let held: HashSet<(&str, &str)> = held
        .iter()
        .map(|held| (held.name.as_str(), held.architecture.as_str()))
        .collect();
    let mut kept = Vec::new();
    let mut wishes: Vec<Wish<'_>> = packages.iter().map(|installed| wish(&policy, installed)).collect();
    // What stays for its own sake stays before anything else is decided.
    for wish in &mut wishes {
        let reason = reason(wish, &held, configuration, repositories);
        let candidate = wish.candidate;
        if reason.is_some() {
            wish.candidate = None;
        }
        kept.push((candidate, reason));
    }
    let broken = World::new(&policy, &wishes, new_allowed).settle(wishes.len());
    let mut findings = Vec::new();
    for ((wish, (candidate, reason)), broken) in wishes.iter().zip(kept).zip(broken) {
        let Some(candidate) = candidate else {
            continue;
        };
        let status = reason.or(broken).map_or(Status::Fixable, Status::KeptBack);
        findings.extend(finding(&policy, wish, candidate, status, repositories));
    }
    let left_out = configuration.unsupported.clone();
    Findings::new(findings, left_out)
}

fn wish<'a>(policy: &Policy<'a>, installed: &'a Installed) -> Wish<'a> {
    let architecture = policy.home(&installed.architecture).to_owned();
    let versions = policy.versions(&installed.name, &architecture, Some(&installed.version));
    let candidate = policy.candidate(&installed.name, &architecture, &versions);
    let is_newer = |number: &usize| {
        versions
            .get(*number)
            .is_some_and(|known| known.version > installed.version)
    };
    let candidate = candidate.filter(is_newer);
    Wish {
        installed,
        architecture,
        versions,
        candidate,
    }
}

/// Why a package stays whatever others do.
fn reason(
    wish: &Wish<'_>,
    held: &HashSet<(&str, &str)>,
    configuration: &Configuration,
    repositories: &[Repository<'_>],
) -> Option<String> {
    let candidate = wish.versions.get(wish.candidate?)?;
    if held.contains(&(wish.installed.name.as_str(), wish.installed.architecture.as_str())) {
        return Some("on hold".to_owned());
    }
    // apt takes a security update at any percentage.
    let percentage = candidate.offers.iter().map(|(_, entry)| entry.phased).max()?;
    if percentage < 100 && !configuration.phased && !is_security(candidate, repositories) {
        return Some(format!("phased update, at {percentage} %"));
    }
    None
}

fn finding<'a>(
    policy: &Policy<'a>,
    wish: &Wish<'a>,
    candidate: usize,
    status: Status,
    repositories: &[Repository<'_>],
) -> Option<Finding> {
    let known = wish.versions.get(candidate)?;
    let (number, _) = policy.best_offer(known)?;
    let from = repositories.get(*number)?;
    let newer = wish
        .versions
        .get(candidate..)?
        .iter()
        .take_while(|known| !known.installed);
    let kind = if newer.into_iter().any(|known| is_security(known, repositories)) {
        Kind::Security
    } else {
        Kind::Ordinary
    };
    Some(Finding {
        package: wish.installed.name.clone(),
        architecture: wish.installed.architecture.clone(),
        installed: wish.installed.version.clone(),
        fixed: Some(known.version.clone()),
        status,
        kind,
        severity: Severity::Unknown,
        advisories: Vec::new(),
        origin: Some(origin(from)),
        leaves: leaves(wish, from, repositories),
    })
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
fn leaves(wish: &Wish<'_>, to: &Repository<'_>, repositories: &[Repository<'_>]) -> Option<String> {
    let installed = wish.versions.iter().find(|known| known.installed)?;
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
