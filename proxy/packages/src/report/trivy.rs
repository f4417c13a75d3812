//! Trivy's JSON report, schema version 2 (Trivy 0.20 and later; written by `pkg/types/report.go`).
//! Results of class `os-pkgs` are taken; those for programming languages are counted.

use std::collections::BTreeMap;

use patchport_oci::platform::Platform;
use serde::Deserialize;

use super::claim::{Basis, Claim};
use super::identity::Identity;
use super::list::List;
use super::{Error, Kind, Report, syntax};
use crate::findings::{Severity, Status};

/// The class of results for the operating system's packages.
const OS_PACKAGES: &str = "os-pkgs";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    schema_version: u64,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    results: List<TrivyResult, 100_000>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    #[serde(rename = "OS")]
    os: Option<Os>,
    #[serde(rename = "ImageID")]
    image_id: String,
    #[serde(rename = "RepoDigests")]
    repo_digests: List<String, 10_000>,
    #[serde(rename = "DiffIDs")]
    diff_ids: List<String, 10_000>,
    #[serde(rename = "ImageConfig")]
    config: Option<ImageConfig>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Os {
    #[serde(rename = "Family")]
    family: String,
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "EOSL")]
    past_support: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ImageConfig {
    architecture: String,
    os: String,
    variant: String,
    rootfs: Option<RootFs>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RootFs {
    diff_ids: List<String, 10_000>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TrivyResult {
    #[serde(default)]
    class: String,
    #[serde(default, rename = "Type")]
    kind: String,
    #[serde(default)]
    vulnerabilities: List<Vulnerability, 200_000>,
}

/// What all vulnerabilities have is required, so that an entry in memory costs its bytes in the report.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Vulnerability {
    #[serde(rename = "VulnerabilityID")]
    id: String,
    #[serde(default, rename = "VendorIDs")]
    vendor_ids: List<String, 100>,
    pkg_name: String,
    #[serde(default)]
    pkg_identifier: Identifier,
    installed_version: String,
    #[serde(default)]
    fixed_version: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    severity: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Identifier {
    #[serde(rename = "PURL")]
    purl: String,
}

/// Reads a report.
///
/// # Errors
/// [`Error`] when it is not of this format and version, or has no result for the operating system's packages.
pub(super) fn read(bytes: &[u8]) -> Result<Report, Error> {
    let document: Document = serde_json::from_slice(bytes).map_err(Error::Json)?;
    if document.schema_version != 2 {
        return Err(Error::Schema {
            kind: Kind::Trivy,
            found: document.schema_version.to_string(),
            known: "2",
        });
    }
    let mut notes = Vec::new();
    if document.metadata.os.as_ref().is_some_and(|os| os.past_support) {
        notes.push("the distribution's release is past its support, says Trivy".to_owned());
    }
    let identity = document.metadata.identity();
    let (ours, others): (Vec<_>, Vec<_>) = document
        .results
        .0
        .into_iter()
        .partition(|result| result.class == OS_PACKAGES);
    if ours.is_empty() {
        return Err(Error::NotScanned);
    }
    notes.extend(left_out(&others));
    let vulnerabilities = ours.into_iter().flat_map(|result| result.vulnerabilities.0);
    let claims = Box::new(vulnerabilities.filter_map(Vulnerability::claim));
    Ok(Report {
        identity,
        claims,
        notes,
    })
}

impl Metadata {
    fn identity(self) -> Identity {
        let os = self.os.unwrap_or_default();
        let config = self.config.unwrap_or_default();
        let diff_ids = match config.rootfs {
            Some(root) if !root.diff_ids.0.is_empty() => root.diff_ids.0,
            _ => self.diff_ids.0,
        };
        let digest = |name: String| {
            name.rsplit_once('@')
                .map_or(name.clone(), |(_, digest)| digest.to_owned())
        };
        Identity {
            image_id: self.image_id,
            digests: self.repo_digests.0.into_iter().map(digest).collect(),
            diff_ids,
            platform: Platform::new(&config.os, &config.architecture, &config.variant),
            distribution: os.family,
            version: os.name,
        }
    }
}

impl Vulnerability {
    /// Nothing when the vendor says that the package is not affected.
    fn claim(self) -> Option<Claim> {
        let unfixed = match self.status.as_str() {
            "not_affected" => return None,
            "end_of_life" => Status::EndOfLife,
            // affected, will_not_fix, fix_deferred, under_investigation, and words to come.
            _ => Status::NoFix,
        };
        let fixed = self.fixed_version.split(',').map(str::trim);
        let mut advisories = self.vendor_ids.0;
        advisories.push(self.id);
        Some(Claim {
            architecture: architecture(&self.pkg_identifier.purl),
            package: self.pkg_name,
            installed: self.installed_version,
            fixed: fixed.filter(|version| !version.is_empty()).map(str::to_owned).collect(),
            basis: Basis::Usual,
            unfixed,
            severity: Severity::of(&self.severity),
            advisories,
        })
    }
}

/// The architecture in a package URL: `pkg:deb/debian/libc6@2.36?arch=amd64&distro=debian-12`.
pub(super) fn architecture(purl: &str) -> Option<String> {
    let (_, qualifiers) = purl.split_once('?')?;
    let qualifiers = qualifiers.split('#').next().unwrap_or_default();
    let found = qualifiers.split('&').find_map(|pair| pair.strip_prefix("arch="))?;
    (!found.is_empty()).then(|| found.to_owned())
}

fn left_out(others: &[TrivyResult]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for result in others.iter().filter(|result| !result.vulnerabilities.0.is_empty()) {
        let kind = if syntax::is_label(&result.kind) {
            result.kind.as_str()
        } else {
            "other"
        };
        *counts.entry(kind).or_default() += result.vulnerabilities.0.len();
    }
    let total: usize = counts.values().sum();
    let kinds: Vec<String> = counts
        .iter()
        .take(20)
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    (total > 0).then(|| {
        format!(
            "{total} findings in packages that are not the operating system's: {}",
            kinds.join(", ")
        )
    })
}
