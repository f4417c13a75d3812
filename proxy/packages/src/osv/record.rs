//! One advisory in OSV's JSON, as far as it is of use here.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::report::list::List;

#[derive(Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    #[serde(default)]
    pub(super) aliases: List<String, 10_000>,
    /// The vulnerabilities that a distribution's advisory is about.
    #[serde(default)]
    pub(super) upstream: List<String, 10_000>,
    pub(super) withdrawn: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) severity: List<Score, 1_000>,
    #[serde(default)]
    pub(super) database_specific: Option<Specific>,
    #[serde(default)]
    pub(super) affected: List<Affected, 50_000>,
}

/// A CVSS vector, or Ubuntu's word.
#[derive(Deserialize)]
pub(super) struct Score {
    pub(super) score: String,
}

#[derive(Deserialize)]
pub(super) struct Affected {
    /// Records about sources only have none.
    pub(super) package: Option<Package>,
    #[serde(default)]
    pub(super) ranges: List<Range, 10_000>,
    #[serde(default)]
    pub(super) versions: List<String, 500_000>,
    #[serde(default)]
    pub(super) severity: List<Score, 1_000>,
    #[serde(default)]
    pub(super) ecosystem_specific: Option<Specific>,
    #[serde(default)]
    pub(super) database_specific: Option<Specific>,
}

#[derive(Deserialize)]
pub(super) struct Package {
    pub(super) ecosystem: String,
    pub(super) name: String,
}

#[derive(Deserialize)]
pub(super) struct Range {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) events: List<Event, 10_000>,
}

/// One of these is there.
#[derive(Deserialize)]
pub(super) struct Event {
    pub(super) introduced: Option<String>,
    pub(super) fixed: Option<String>,
    pub(super) last_affected: Option<String>,
}

/// What a database adds. Its members have no fixed shape, so one that has another than expected counts as absent.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Specific {
    severity: Value,
    urgency: Value,
    binaries: Value,
}

impl Specific {
    /// A word for the severity.
    pub(super) fn severity(&self) -> &str {
        self.severity.as_str().unwrap_or_default()
    }

    /// Debian's word for it.
    pub(super) fn urgency(&self) -> &str {
        self.urgency.as_str().unwrap_or_default()
    }

    /// Names and fixed versions of binary packages: Ubuntu has objects of `binary_name` and `binary_version`, SUSE of names
    /// and versions.
    pub(super) fn binaries(&self) -> impl Iterator<Item = (&str, &str)> {
        let entries = self
            .binaries
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_object);
        entries.flat_map(|entry| {
            let text = |member: &str| entry.get(member).and_then(Value::as_str);
            let named = text("binary_name").zip(text("binary_version"));
            let listed = entry.iter().filter(move |_| named.is_none());
            named
                .into_iter()
                .chain(listed.filter_map(|(name, version)| Some((name.as_str(), version.as_str()?))))
        })
    }
}
