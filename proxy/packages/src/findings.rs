//! What a scanner found in an image: packages that can be fixed, or cannot, and why.
//! The same type for every scanner, so that several can be merged and a plan need not know who spoke.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::version::Version;

/// What a scanner found in one image. No findings: the scanner vouches that nothing can be fixed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// What was found, ordered by package, architecture and advisory.
    pub findings: Vec<Finding>,
    /// What the scanner said that is not about installed operating-system packages, in words for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One package that is outdated or vulnerable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The binary package's name.
    pub package: String,
    /// Its architecture, in the words of its package manager.
    pub architecture: String,
    /// The installed version.
    pub installed: Version,
    /// The version that has the fix, or that an index offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<Version>,
    /// What can be done.
    pub status: Status,
    /// Whether it is a matter of security, as far as the scanner knows.
    pub kind: Kind,
    /// How bad it is, as far as the scanner knows.
    #[serde(default)]
    pub severity: Severity,
    /// Identifiers of advisories, such as `CVE-2026-1234` or `DSA-5678-1`; without duplicates, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advisories: Vec<String>,
    /// Where the fixed version comes from, such as `Debian-Security bookworm-security main`; nothing when a scanner knows only
    /// that there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Where the installed version comes from, when that is another origin (vendor) than the fixed one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaves: Option<String>,
}

/// What can be done about a finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// A fixed version is there.
    Fixable,
    /// A newer version is there, but the package manager would not take it; why, in words for people.
    KeptBack(String),
    /// There is no fixed version (yet, or ever).
    NoFix,
    /// The distribution's release is no longer maintained.
    EndOfLife,
}

/// Whether a finding is a matter of security.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It is not: an ordinary update.
    Ordinary,
    /// The scanner cannot tell: its source does not mark security fixes.
    #[default]
    Unknown,
    /// It is.
    Security,
}

/// How bad a vulnerability is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nobody has said.
    #[default]
    Unknown,
    /// Not worth a fix by itself.
    Negligible,
    /// Low; rpm's `Low`.
    Low,
    /// Medium; rpm's `Moderate`.
    Medium,
    /// High; rpm's `Important`.
    High,
    /// Critical.
    Critical,
}

impl Severity {
    /// The severity by any of the words that scanners and advisories use, in any case; anything else is unknown.
    #[must_use]
    pub fn of(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "negligible" | "unimportant" | "none" => Self::Negligible,
            "low" | "minor" => Self::Low,
            "medium" | "moderate" => Self::Medium,
            "high" | "important" => Self::High,
            "critical" | "urgent" => Self::Critical,
            _ => Self::Unknown,
        }
    }
}

impl Findings {
    /// Findings in the order that this type promises, equal ones once.
    #[must_use]
    pub fn new(mut findings: Vec<Finding>, notes: Vec<String>) -> Self {
        for finding in &mut findings {
            finding.advisories.sort();
            finding.advisories.dedup();
        }
        let key = |finding: &Finding| {
            let Finding {
                package,
                architecture,
                advisories,
                ..
            } = finding;
            (package.clone(), architecture.clone(), advisories.clone())
        };
        findings.sort_by_cached_key(key);
        findings.dedup();
        Self { findings, notes }
    }

    /// What several scanners found, together.
    #[must_use]
    pub fn merged(all: impl IntoIterator<Item = Self>) -> Self {
        let (mut findings, mut notes) = (Vec::new(), Vec::new());
        for one in all {
            findings.extend(one.findings);
            notes.extend(one.notes);
        }
        Self::new(findings, notes)
    }

    /// The findings by package name and architecture.
    #[must_use]
    pub fn by_package(&self) -> BTreeMap<(&str, &str), Vec<&Finding>> {
        let mut packages: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for finding in &self.findings {
            let key = (finding.package.as_str(), finding.architecture.as_str());
            packages.entry(key).or_default().push(finding);
        }
        packages
    }
}
