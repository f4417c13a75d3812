//! What is known of an image, as documents for people and other tools: our JSON, CycloneDX, SPDX, SARIF and a table.
//! The same view gives the same bytes: everything is ordered, and no clock is asked.

use std::collections::BTreeMap;

use crate::findings::{Finding, Findings, Status};
use crate::inventory::{Installed, Inventory};
use crate::language::Package;

mod cyclonedx;
mod purl;
mod report;
mod sarif;
mod spdx;
mod table;

/// What a document is about and what it says.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The image.
    pub subject: Subject<'a>,
    /// Its operating system's packages.
    pub inventory: &'a Inventory,
    /// Its packages of programming languages.
    pub languages: &'a [Package],
    /// What was found about its packages, if anybody has looked.
    pub findings: Option<&'a Findings>,
    /// Whatever else people should know: what could not be read.
    pub notes: &'a [String],
    /// The version of what made the document.
    pub tool_version: &'a str,
    /// When it was made, as RFC 3339 says: `2026-01-02T03:04:05Z`.
    pub created: Option<&'a str>,
}

/// One image of one platform.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its name as it was asked for, such as `docker.io/library/debian:12`.
    pub name: &'a str,
    /// The digest of its manifest: `sha256:` and 64 digits.
    pub digest: &'a str,
    /// Its platform, such as `linux/amd64`.
    pub platform: &'a str,
}

/// A form of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Our own JSON, with all there is to say. What has a name there keeps it.
    Json,
    /// CycloneDX 1.6, JSON.
    CycloneDx,
    /// SPDX 2.3, JSON. It has no findings.
    Spdx,
    /// SARIF 2.1.0. It has findings only.
    Sarif,
    /// A table of findings, or of packages when nobody has looked for any, for a terminal of so many columns.
    Table {
        /// Columns.
        width: u16,
    },
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The JSON cannot be written.
    #[error("cannot write the document")]
    Json(#[source] serde_json::Error),
}

/// A form that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no document of the form {0:?}; there are json, cyclonedx, spdx, sarif and table")]
pub struct UnknownFormat(String);

/// Columns of a terminal that nobody has asked.
const USUAL_WIDTH: u16 = 100;

impl std::str::FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name {
            "json" => Ok(Self::Json),
            "cyclonedx" => Ok(Self::CycloneDx),
            "spdx" => Ok(Self::Spdx),
            "sarif" => Ok(Self::Sarif),
            "table" => Ok(Self::Table { width: USUAL_WIDTH }),
            other => Err(UnknownFormat(other.chars().take(40).collect())),
        }
    }
}

impl Format {
    /// The media type of a document of this form.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::CycloneDx => "application/vnd.cyclonedx+json; version=1.6",
            Self::Spdx => "application/spdx+json",
            Self::Sarif => "application/sarif+json",
            Self::Table { .. } => "text/plain; charset=utf-8",
        }
    }
}

impl<'a> View<'a> {
    /// Writes the document, with a line feed at its end.
    ///
    /// # Errors
    /// [`Error`], which has no reason to be.
    pub fn render(&self, format: Format) -> Result<String, Error> {
        match format {
            Format::Json => json(&report::document(self)),
            Format::CycloneDx => json(&cyclonedx::document(self)),
            Format::Spdx => json(&spdx::document(self)),
            Format::Sarif => json(&sarif::document(self)),
            Format::Table { width } => Ok(table::render(self, width)),
        }
    }

    /// The operating system's packages in order.
    fn installed(&self) -> Vec<&'a Installed> {
        let mut packages: Vec<&'a Installed> = self.inventory.packages.iter().collect();
        packages.sort_by_key(|package| (&package.name, &package.architecture, package.version.as_str()));
        packages
    }

    /// The languages' packages in order: each once, with all files that tell of it.
    fn languages(&self) -> BTreeMap<(&'a str, &'a str, &'a str), Vec<&'a Package>> {
        let mut packages: BTreeMap<_, Vec<&'a Package>> = BTreeMap::new();
        for package in self.languages {
            let key = (
                package.ecosystem.as_str(),
                package.name.as_str(),
                package.version.as_str(),
            );
            packages.entry(key).or_default().push(package);
        }
        for files in packages.values_mut() {
            files.sort_by_key(|package| &package.path);
        }
        packages
    }

    /// All components in order: the operating system's packages, then the languages'.
    fn components(&self) -> Vec<Component<'a>> {
        let mut names = Unique::default();
        let (os, manager) = (&self.inventory.os, self.inventory.manager);
        let installed = self.installed().into_iter().map(|package| Component {
            purl: purl::installed(os, manager, package),
            reference: String::new(),
            name: &package.name,
            version: package.version.as_str(),
            of: Of::System(package),
        });
        let languages = self
            .languages()
            .into_iter()
            .map(|((_, name, version), files)| Component {
                purl: files.first().map(|package| purl::language(package)).unwrap_or_default(),
                reference: String::new(),
                name,
                version,
                of: Of::Language(files),
            });
        let mut components: Vec<Component<'a>> = installed.chain(languages).collect();
        for component in &mut components {
            component.reference = names.name(component.purl.clone());
        }
        components
    }
}

/// One package in a document.
struct Component<'a> {
    purl: String,
    /// A name that no other component has: the URL, numbered where two have the same.
    reference: String,
    name: &'a str,
    version: &'a str,
    of: Of<'a>,
}

/// Whose package it is.
enum Of<'a> {
    System(&'a Installed),
    /// A language's, with all files that tell of it.
    Language(Vec<&'a Package>),
}

/// Components of the operating system, by what findings name.
struct ByFinding<'a>(BTreeMap<(&'a str, &'a str, &'a str), &'a Component<'a>>);

impl<'a> ByFinding<'a> {
    fn new(components: &'a [Component<'a>]) -> Self {
        let systems = components.iter().filter_map(|component| match component.of {
            Of::System(package) => Some((
                (
                    package.name.as_str(),
                    package.architecture.as_str(),
                    package.version.as_str(),
                ),
                component,
            )),
            Of::Language(_) => None,
        });
        Self(systems.collect())
    }

    fn component(&self, finding: &'a Finding) -> Option<&'a Component<'a>> {
        let key = (
            finding.package.as_str(),
            finding.architecture.as_str(),
            finding.installed.as_str(),
        );
        self.0.get(&key).copied()
    }
}

/// Findings by each advisory they name, in order.
fn by_advisory(findings: &Findings) -> BTreeMap<&str, Vec<&Finding>> {
    let mut advisories: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in &findings.findings {
        for advisory in &finding.advisories {
            advisories.entry(advisory).or_default().push(finding);
        }
    }
    advisories
}

/// The URL of an installed package that names just that: `pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12`.
#[must_use]
pub fn package_url(inventory: &Inventory, package: &Installed) -> String {
    purl::identity(&inventory.os, inventory.manager, package)
}

/// The URL of an image that names just its bytes: `pkg:oci/debian@sha256:...`.
#[must_use]
pub fn image_url(name: &str, digest: &str) -> String {
    purl::image_identity(&Subject {
        name,
        digest,
        platform: "",
    })
}

/// Where people can read an advisory, where that is known.
#[must_use]
pub fn advisory_url(id: &str) -> Option<String> {
    if !id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-:._".contains(&byte))
    {
        return None;
    }
    let (kind, _) = id.split_once('-')?;
    let base = match kind {
        "CVE" => "https://www.cve.org/CVERecord?id=",
        "GHSA" => "https://github.com/advisories/",
        "DSA" | "DLA" => "https://security-tracker.debian.org/tracker/",
        "USN" => "https://ubuntu.com/security/notices/",
        "RHSA" | "RHBA" | "RHEA" => "https://access.redhat.com/errata/",
        "ALSA" => "https://errata.almalinux.org/",
        "RLSA" => "https://errata.rockylinux.org/",
        _ => return None,
    };
    Some(format!("{base}{id}"))
}

/// What to do about a finding, for people.
fn advice(finding: &Finding) -> String {
    let Finding { package, installed, .. } = finding;
    let fixed = finding.fixed.as_ref().map(ToString::to_string);
    match (&finding.status, fixed) {
        (Status::Fixable, Some(fixed)) => format!("upgrade {package} from {installed} to {fixed}"),
        (Status::Fixable, None) => format!("upgrade {package}, which is {installed}"),
        (Status::KeptBack(reason), Some(fixed)) => {
            format!("{package} {installed} is kept back from {fixed}: {reason}")
        }
        (Status::KeptBack(reason), None) => format!("{package} {installed} is kept back: {reason}"),
        (Status::NoFix, _) => format!("there is no fix for {package} {installed}"),
        (Status::EndOfLife, _) => format!("{package} {installed} is of a release that is no longer maintained"),
    }
}

impl<'a> Subject<'a> {
    /// The name without tag and digest, and the tag.
    fn repository_and_tag(&self) -> (&'a str, Option<&'a str>) {
        let name = self.name.split('@').next().unwrap_or_default();
        match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (name, None),
        }
    }

    /// The digest's digits.
    fn hex(&self) -> &'a str {
        self.digest.split_once(':').map_or(self.digest, |(_, hex)| hex)
    }
}

/// Hands out each name once: a second one gets a number.
#[derive(Default)]
struct Unique(BTreeMap<String, u32>);

impl Unique {
    fn name(&mut self, name: String) -> String {
        let count = self.0.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 { name } else { format!("{name}-{count}") }
    }
}

fn json(document: &impl serde::Serialize) -> Result<String, Error> {
    let mut text = serde_json::to_string_pretty(document).map_err(Error::Json)?;
    text.push('\n');
    Ok(text)
}
