//! Our own JSON: everything there is to say, under names that stay. A reader leaves alone what it does not know.
//! Versions are texts as the package manager writes them; `family` says whose rules order them.

use serde::Serialize;

use crate::document::{View, purl};
use crate::findings::{Finding, Kind, Severity, Status};
use crate::inventory::Manager;

/// Raised when a field changes its meaning or goes; not when one is added.
const VERSION: u32 = 1;

#[derive(Serialize)]
pub(super) struct Report<'a> {
    version: u32,
    tool: Tool<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<&'a str>,
    image: Image<'a>,
    os: Os<'a>,
    package_manager: Manager,
    packages: Vec<Package<'a>>,
    languages: Vec<Language<'a>>,
    /// Absent when nobody has looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Vec<Found<'a>>>,
    notes: Vec<&'a str>,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'static str,
    version: &'a str,
}

#[derive(Serialize)]
struct Image<'a> {
    name: &'a str,
    digest: &'a str,
    platform: &'a str,
}

#[derive(Serialize)]
struct Os<'a> {
    id: &'a str,
    version: Option<&'a str>,
    codename: Option<&'a str>,
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    architecture: &'a str,
    family: &'static str,
    source: Source<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    held: bool,
    purl: String,
}

#[derive(Serialize)]
struct Source<'a> {
    name: &'a str,
    version: &'a str,
}

#[derive(Serialize)]
struct Language<'a> {
    ecosystem: &'a str,
    name: &'a str,
    version: &'a str,
    paths: Vec<&'a str>,
    purl: String,
}

#[derive(Serialize)]
struct Found<'a> {
    package: &'a str,
    architecture: &'a str,
    family: &'static str,
    installed: &'a str,
    fixed: Option<&'a str>,
    /// `fixable`, `kept-back`, `no-fix` or `end-of-life`.
    status: &'static str,
    /// Why it is kept back.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    kind: Kind,
    severity: Severity,
    advisories: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
}

pub(super) fn document<'a>(view: &View<'a>) -> Report<'a> {
    let os = &view.inventory.os;
    let notes = view
        .notes
        .iter()
        .chain(view.findings.iter().flat_map(|found| &found.notes));
    Report {
        version: VERSION,
        tool: Tool {
            name: "patchport",
            version: view.tool_version,
        },
        created: view.created,
        image: Image {
            name: view.subject.name,
            digest: view.subject.digest,
            platform: view.subject.platform,
        },
        os: Os {
            id: &os.id,
            version: os.version_id.as_deref(),
            codename: os.version_codename.as_deref(),
            name: os.pretty_name.as_deref().or(os.name.as_deref()),
        },
        package_manager: view.inventory.manager,
        packages: packages(view),
        languages: languages(view),
        findings: view.findings.map(|found| found.findings.iter().map(finding).collect()),
        notes: notes.map(String::as_str).collect(),
    }
}

fn packages<'a>(view: &View<'a>) -> Vec<Package<'a>> {
    let inventory = view.inventory;
    let held = |name: &str, architecture: &str| {
        let held = &mut inventory.held.iter();
        held.any(|held| held.name == name && held.architecture == architecture)
    };
    let mut packages: Vec<_> = inventory.packages.iter().collect();
    packages.sort_by_key(|package| (&package.name, &package.architecture, package.version.as_str()));
    let packages = packages.into_iter().map(|package| Package {
        name: &package.name,
        version: package.version.as_str(),
        architecture: &package.architecture,
        family: package.version.family().as_str(),
        source: Source {
            name: &package.source.name,
            version: package.source.version.as_str(),
        },
        origin: package.origin.as_deref(),
        held: held(&package.name, &package.architecture),
        purl: purl::installed(&inventory.os, inventory.manager, package),
    });
    packages.collect()
}

fn languages<'a>(view: &View<'a>) -> Vec<Language<'a>> {
    let packages = view.languages().into_iter();
    let packages = packages.map(|((ecosystem, name, version), files)| Language {
        ecosystem,
        name,
        version,
        purl: files.first().map(|package| purl::language(package)).unwrap_or_default(),
        paths: files.into_iter().map(|package| package.path.as_str()).collect(),
    });
    packages.collect()
}

fn finding(finding: &Finding) -> Found<'_> {
    Found {
        package: &finding.package,
        architecture: &finding.architecture,
        family: finding.installed.family().as_str(),
        installed: finding.installed.as_str(),
        fixed: finding.fixed.as_ref().map(crate::Version::as_str),
        status: status(&finding.status),
        reason: match &finding.status {
            Status::KeptBack(reason) => Some(reason),
            Status::Fixable | Status::NoFix | Status::EndOfLife => None,
        },
        kind: finding.kind,
        severity: finding.severity,
        advisories: &finding.advisories,
        origin: finding.origin.as_deref(),
    }
}

/// The word for a status, without its reason.
pub(super) fn status(status: &Status) -> &'static str {
    match status {
        Status::Fixable => "fixable",
        Status::KeptBack(_) => "kept-back",
        Status::NoFix => "no-fix",
        Status::EndOfLife => "end-of-life",
    }
}
