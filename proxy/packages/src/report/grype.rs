//! Grype's JSON report (`grype/presenter/models`). Matches of packages of the operating system are taken, the rest counted.

use std::fmt;

use patchport_oci::platform::Platform;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::claim::{Basis, Claim};
use super::identity::Identity;
use super::list::List;
use super::{Error, Report, trivy};
use crate::findings::{Severity, Status};

/// Syft's types for packages of an operating system.
const TYPES: [&str; 4] = ["deb", "apk", "rpm", "alpm"];

#[derive(Deserialize)]
struct Document {
    matches: List<Match, 200_000>,
    source: Option<Source>,
    #[serde(default)]
    distro: Distro,
}

#[derive(Deserialize)]
struct Source {
    /// An object for images, a text for directories.
    #[serde(default)]
    target: Target,
}

/// An image, or nothing that is known here. By hand, for serde's untagged enums keep everything in memory first.
#[derive(Default)]
struct Target(Option<Image>);

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetVisitor)
    }
}

struct TargetVisitor;

impl<'de> Visitor<'de> for TargetVisitor {
    type Value = Target;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image or the name of something else")
    }

    fn visit_str<E>(self, _: &str) -> Result<Target, E> {
        Ok(Target(None))
    }

    fn visit_unit<E>(self) -> Result<Target, E> {
        Ok(Target(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Target, A::Error> {
        Image::deserialize(MapAccessDeserializer::new(members)).map(|image| Target(Some(image)))
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Image {
    #[serde(rename = "imageID")]
    image_id: String,
    manifest_digest: String,
    repo_digests: List<String, 10_000>,
    architecture: String,
    os: String,
    variant: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Distro {
    name: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Match {
    vulnerability: Vulnerability,
    artifact: Artifact,
    #[serde(default)]
    match_details: List<Detail, 1_000>,
}

#[derive(Deserialize)]
struct Vulnerability {
    id: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    fix: Fix,
    #[serde(default)]
    advisories: List<Advisory, 1_000>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Fix {
    versions: List<String, 1_000>,
    state: String,
}

#[derive(Deserialize)]
struct Advisory {
    id: String,
}

#[derive(Deserialize)]
struct Artifact {
    name: String,
    version: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    purl: String,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(rename = "type")]
    kind: String,
}

/// Reads a report.
///
/// # Errors
/// [`Error`] when it is not of this format, or Grype did not find out the distribution, without which it matches nothing.
pub(super) fn read(bytes: &[u8]) -> Result<Report, Error> {
    let document: Document = serde_json::from_slice(bytes).map_err(Error::Json)?;
    if document.distro.name.is_empty() {
        return Err(Error::NotScanned);
    }
    let image = document.source.and_then(|source| source.target.0).unwrap_or_default();
    let is_ours = |found: &Match| TYPES.contains(&found.artifact.kind.as_str());
    let (ours, others): (Vec<_>, Vec<_>) = document.matches.0.into_iter().partition(is_ours);
    let mut notes = Vec::new();
    if !others.is_empty() {
        let count = others.len();
        notes.push(format!(
            "{count} findings in packages that are not the operating system's"
        ));
    }
    Ok(Report {
        identity: image.identity(document.distro),
        claims: Box::new(ours.into_iter().map(Match::claim)),
        notes,
    })
}

impl Image {
    fn identity(self, distro: Distro) -> Identity {
        let names = self.repo_digests.0.into_iter().chain([self.manifest_digest]);
        let digests = names.map(|name| {
            name.rsplit_once('@')
                .map_or(name.clone(), |(_, digest)| digest.to_owned())
        });
        Identity {
            image_id: self.image_id,
            digests: digests.filter(|digest| !digest.is_empty()).collect(),
            diff_ids: Vec::new(),
            platform: Platform::new(&self.os, &self.architecture, &self.variant),
            distribution: distro.name,
            version: distro.version,
        }
    }
}

impl Match {
    fn claim(self) -> Claim {
        let Self {
            vulnerability,
            artifact,
            ..
        } = self;
        // Indirect: matched by the source package, so what is fixed is that one's version.
        let indirect = self
            .match_details
            .0
            .iter()
            .any(|detail| detail.kind.contains("indirect"));
        let is_fixed = vulnerability.fix.state != "not-fixed" && vulnerability.fix.state != "wont-fix";
        let fixed = if is_fixed {
            vulnerability.fix.versions.0
        } else {
            Vec::new()
        };
        let advisories = vulnerability.advisories.0.into_iter().map(|advisory| advisory.id);
        Claim {
            architecture: trivy::architecture(&artifact.purl),
            package: artifact.name,
            installed: artifact.version,
            fixed: fixed.into_iter().filter(|version| !version.is_empty()).collect(),
            basis: if indirect { Basis::Source } else { Basis::Usual },
            unfixed: Status::NoFix,
            severity: Severity::of(&vulnerability.severity),
            advisories: advisories
                .filter(|id| !id.is_empty())
                .chain([vulnerability.id])
                .collect(),
        }
    }
}
