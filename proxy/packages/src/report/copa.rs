//! What scanner plug-ins print for Copacetic: `v1alpha1`, and `v1alpha2` with packages of programming languages.
//! Neither says which image it is about: only the distribution and the architecture.

use patchport_oci::platform::Platform;
use serde::Deserialize;

use super::claim::{Basis, Claim};
use super::identity::Identity;
use super::list::List;
use super::{Error, Kind, Report, syntax};
use crate::findings::{Severity, Status};

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "apiVersion")]
    version: String,
    metadata: Metadata,
    /// Of `v1alpha1`.
    #[serde(default)]
    updates: List<Update, 200_000>,
    /// Of `v1alpha2`.
    #[serde(default, rename = "osupdates", alias = "osUpdates", alias = "OSUpdates")]
    os_updates: List<Update, 200_000>,
    #[serde(default, rename = "langupdates", alias = "langUpdates", alias = "LangUpdates")]
    language_updates: List<Update, 200_000>,
}

#[derive(Deserialize)]
struct Metadata {
    os: Os,
    #[serde(default)]
    config: Config,
}

#[derive(Deserialize)]
struct Os {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    arch: String,
    variant: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    name: String,
    installed_version: String,
    #[serde(default)]
    fixed_version: String,
    #[serde(default, rename = "vulnerabilityID", alias = "vulnerabilityId")]
    id: String,
}

/// Reads a report.
///
/// # Errors
/// [`Error`] when it is not of this format, or of a version that is not known.
pub(super) fn read(bytes: &[u8]) -> Result<Report, Error> {
    let document: Document = serde_json::from_slice(bytes).map_err(Error::Json)?;
    let updates = match document.version.as_str() {
        "v1alpha1" => document.updates.0,
        "v1alpha2" => document.os_updates.0,
        other => {
            return Err(Error::Schema {
                kind: Kind::Copa,
                found: syntax::shortened(other),
                known: "v1alpha1 or v1alpha2",
            });
        }
    };
    let Metadata { os, config } = document.metadata;
    let mut notes = Vec::new();
    let others = document.language_updates.0.len();
    if others > 0 {
        notes.push(format!(
            "{others} findings in packages that are not the operating system's"
        ));
    }
    Ok(Report {
        identity: Identity {
            platform: Platform::new("linux", &config.arch, &config.variant),
            distribution: os.kind,
            version: os.version,
            ..Identity::default()
        },
        claims: Box::new(updates.into_iter().map(Update::claim)),
        notes,
    })
}

impl Update {
    fn claim(self) -> Claim {
        Claim {
            package: self.name,
            architecture: None,
            installed: self.installed_version,
            fixed: Some(self.fixed_version)
                .filter(|version| !version.is_empty())
                .into_iter()
                .collect(),
            basis: Basis::Usual,
            unfixed: Status::NoFix,
            severity: Severity::Unknown,
            advisories: Some(self.id).filter(|id| !id.is_empty()).into_iter().collect(),
        }
    }
}
