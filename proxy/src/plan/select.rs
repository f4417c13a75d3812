//! Whether one package is upgraded, to which version, and if not, why not.
//!
//! An upgrade stays on the installed package's origin and major version unless policy allows it to leave; a distribution's own
//! security suite may go on to a new major version, for that is how it ships some fixes.

use patchport_config::{Selection, Severity as AtLeast};
use patchport_packages::findings::{Kind, Severity};

use super::{Choices, Finding, Installed, LeftOut, Status, Upgrade, Version};

/// Numbers from here on are years or dates, which say nothing about compatibility (`tzdata`, `ca-certificates`).
const DATES: u64 = 1900;

/// What becomes of a package.
pub(super) enum Verdict {
    /// It is upgraded.
    Upgrade(Upgrade),
    /// It could be, and is not.
    LeftOut(LeftOut),
    /// Nothing newer is known.
    Current,
}

/// Judges a package by all that was found about it.
pub(super) fn judge(package: &Installed, found: &[&Finding], is_held: bool, choices: Choices) -> Verdict {
    let newest = found.iter().filter_map(|finding| finding.fixed.as_ref()).max();
    let left_out = |reason: String| {
        Verdict::LeftOut(LeftOut {
            name: package.name.clone(),
            architecture: package.architecture.clone(),
            installed: package.version.clone(),
            fixed: newest.cloned(),
            reason,
        })
    };
    let fixable = || found.iter().filter(|finding| fixes(finding, &package.version));
    let wanted: Vec<&Finding> = fixable()
        .filter(|finding| is_wanted(finding, choices.selection))
        .copied()
        .collect();
    if wanted.is_empty() {
        return match unfixable(found) {
            _ if fixable().next().is_some() => left_out(format!("not asked for: patch = \"{}\"", choices.selection)),
            Some(reason) => left_out(reason),
            None => Verdict::Current,
        };
    }
    if is_held {
        return left_out("on hold".into());
    }
    let least = wanted.iter().filter_map(|finding| finding.fixed.as_ref()).max();
    // What a repository offers, when an index says so; it may be newer than the fix that a report names.
    let offered = found
        .iter()
        .filter(|finding| finding.origin.is_some())
        .find_map(|finding| {
            let version = finding.fixed.as_ref().filter(|version| **version > package.version)?;
            Some((*finding, version))
        });
    if let Some((offer, version)) = offered {
        if let Status::KeptBack(reason) = &offer.status {
            return left_out(reason.clone());
        }
        if let Some(least) = least.filter(|least| version < *least) {
            return left_out(format!("the fix is {least}, but its repositories offer {version}"));
        }
    }
    let Some(to) = offered.map(|(_, version)| version).or(least) else {
        return left_out("a fix is known, but not in which version of this package".into());
    };
    if !choices.major_upgrades
        && let Some(reason) = leaves(package, to, offered.map(|(finding, _)| finding))
    {
        return left_out(format!("{reason}; major_upgrades = true would allow it"));
    }
    Verdict::Upgrade(Upgrade {
        name: package.name.clone(),
        architecture: package.architecture.clone(),
        from: package.version.clone(),
        to: to.clone(),
        exact: offered.is_some(),
    })
}

/// Whether a finding says that a newer version than the installed one is there, be it kept back. A fix may be known by the
/// version of its source package only.
fn fixes(finding: &Finding, installed: &Version) -> bool {
    match &finding.status {
        Status::Fixable => finding.fixed.as_ref().is_none_or(|fixed| fixed > installed),
        Status::KeptBack(_) => finding.fixed.as_ref().is_some_and(|fixed| fixed > installed),
        Status::NoFix | Status::EndOfLife => false,
    }
}

fn is_wanted(finding: &Finding, selection: Selection) -> bool {
    let matters = finding.kind != Kind::Ordinary;
    match selection {
        Selection::Outdated => true,
        Selection::Security => matters,
        // What nobody has rated yet may be bad: it counts.
        Selection::Fixable(least) => {
            matters && (finding.severity == Severity::Unknown || finding.severity >= severity(least))
        }
    }
}

fn severity(least: AtLeast) -> Severity {
    match least {
        AtLeast::Negligible => Severity::Negligible,
        AtLeast::Low => Severity::Low,
        AtLeast::Medium => Severity::Medium,
        AtLeast::High => Severity::High,
        AtLeast::Critical => Severity::Critical,
    }
}

/// Why nothing can be done about what was found.
fn unfixable(found: &[&Finding]) -> Option<String> {
    let text = |status: &Status| match status {
        Status::NoFix => Some("there is no fixed version yet".to_owned()),
        Status::EndOfLife => Some("its release is no longer maintained".to_owned()),
        Status::KeptBack(reason) => Some(reason.clone()),
        Status::Fixable => None,
    };
    found.iter().find_map(|finding| text(&finding.status))
}

/// Why an upgrade would leave what the package is; nothing when it stays.
fn leaves(package: &Installed, to: &Version, offer: Option<&Finding>) -> Option<String> {
    if let Some((from, origin)) = offer.and_then(|offer| Some((offer.leaves.as_ref()?, offer.origin.as_ref()?))) {
        return Some(format!("it comes from {from}, the newer version from {origin}"));
    }
    let is_from_security_suite = offer.is_some_and(|offer| offer.kind == Kind::Security);
    (!is_from_security_suite && is_major(&package.version, to))
        .then(|| format!("{} to {to} is another major version", package.version))
}

/// Whether two versions differ in the first number of upstream's part.
pub(crate) fn is_major(from: &Version, to: &Version) -> bool {
    let major = |version: &Version| {
        let upstream = version.upstream();
        let end = upstream
            .find(|byte: char| !byte.is_ascii_digit())
            .unwrap_or(upstream.len());
        upstream[..end].parse::<u64>().ok()
    };
    match (major(from), major(to)) {
        (Some(from), Some(to)) => from != to && (from < DATES || to < DATES),
        _ => false,
    }
}
