//! `updateinfo.xml`: what a repository's makers say about its updates. Distributions fill it differently, so what is missing
//! or unknown is left out, and so is a package or an advisory with a name that cannot be.

use std::io::BufRead;

use serde::{Deserialize, Serialize};

use crate::findings::Severity;
use crate::rpm::header;
use crate::rpm::metadata::primary::{number, version_release};
use crate::rpm::metadata::xml::{Element, Sink, walk};
use crate::rpm::metadata::{Error, Wrong};
use crate::rpm::{is_architecture, is_name};
use crate::version::Version;

/// The most references of one advisory that are taken; those of a kernel have hundreds.
const MAX_REFERENCES: usize = 10_000;

/// What an advisory is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdvisoryKind {
    /// Vulnerabilities.
    Security,
    /// Faults.
    Bugfix,
    /// Something better.
    Enhancement,
    /// Something new.
    NewPackage,
    /// Something else, or nothing said.
    #[default]
    Other,
}

/// One advisory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advisory {
    /// Its identifier, such as `RHSA-2026:1234`.
    pub id: String,
    /// What it is about.
    pub kind: AdvisoryKind,
    /// How bad that is.
    pub severity: Severity,
    /// When it was issued, in whatever form.
    pub issued: Option<String>,
    /// The CVE identifiers that it refers to.
    pub cves: Vec<String>,
}

/// A package that an advisory brings.
#[derive(Debug)]
pub(crate) struct Fix {
    pub(crate) name: String,
    pub(crate) architecture: String,
    pub(crate) version: Version,
}

/// Tells all advisories with their packages.
pub(crate) fn read(
    file: &str,
    reader: impl BufRead,
    take: impl FnMut(Advisory, Vec<Fix>) -> Result<(), Wrong>,
) -> Result<(), Error> {
    let mut reading = Reading {
        take,
        advisory: Advisory::default(),
        fixes: Vec::new(),
    };
    walk(file, reader, &mut reading)
}

struct Reading<F> {
    take: F,
    advisory: Advisory,
    fixes: Vec<Fix>,
}

impl<F: FnMut(Advisory, Vec<Fix>) -> Result<(), Wrong>> Sink for Reading<F> {
    fn start(&mut self, element: &Element<'_>, depth: usize) -> Result<(), Wrong> {
        match (depth, element.name()) {
            (1, "updates") => {}
            (1, _) => return Err(Wrong::Text("not a list of advisories")),
            (2, "update") => {
                let kind = element.attribute("type")?;
                self.advisory.kind = kind.map_or(AdvisoryKind::Other, |word| AdvisoryKind::of(&word));
            }
            (3, "issued") => self.advisory.issued = element.attribute("date")?,
            (4, "reference") if self.advisory.cves.len() < MAX_REFERENCES => {
                self.advisory
                    .cves
                    .extend(element.attribute("id")?.filter(|id| is_cve(id)));
            }
            (5, "package") => self.fixes.extend(fix(element)?),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, name: &str, text: &str, depth: usize) -> Result<(), Wrong> {
        match (depth, name) {
            (2, "update") => {
                let advisory = std::mem::take(&mut self.advisory);
                let fixes = std::mem::take(&mut self.fixes);
                if is_id(&advisory.id) {
                    return (self.take)(advisory, fixes);
                }
            }
            (3, "id") => text.clone_into(&mut self.advisory.id),
            (3, "severity") => self.advisory.severity = Severity::of(text),
            _ => {}
        }
        Ok(())
    }
}

impl AdvisoryKind {
    fn of(word: &str) -> Self {
        match word {
            "security" => Self::Security,
            "bugfix" | "recommended" => Self::Bugfix,
            "enhancement" | "feature" | "optional" => Self::Enhancement,
            "newpackage" => Self::NewPackage,
            _ => Self::Other,
        }
    }
}

/// The package of an element; nothing for one that cannot be, or that cannot be installed.
fn fix(element: &Element<'_>) -> Result<Option<Fix>, Wrong> {
    let name = element.attribute("name")?.unwrap_or_default();
    let architecture = element.attribute("arch")?.unwrap_or_default();
    if matches!(architecture.as_str(), "src" | "nosrc") {
        return Ok(None);
    }
    let text = version_release(element.attribute("version")?, element.attribute("release")?);
    let epoch = number(element.attribute("epoch")?);
    let version = epoch.and_then(|epoch| header::version(epoch, &text).ok());
    let version = version.filter(|_| is_name(&name) && is_architecture(&architecture));
    Ok(version.map(|version| Fix {
        name,
        architecture,
        version,
    }))
}

fn is_cve(id: &str) -> bool {
    id.starts_with("CVE-") && is_id(id)
}

fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b":._+~-/".contains(&byte))
}
