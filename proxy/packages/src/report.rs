//! Reports of vulnerability scanners: Trivy's and Grype's JSON, and the two formats of Copacetic's scanner plug-ins.
//! A report is taken only for the image it was made for, and nothing leaves here that is not an installed package with a
//! valid version. Reports are input from outside: limits on everything, and no text of theirs is passed on unchecked.

use patchport_oci::digest::Digest;
use patchport_oci::platform::Platform;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::findings::Findings;
use crate::inventory::Inventory;
use crate::version;

mod claim;
pub mod command;
mod components;
mod copa;
mod grype;
mod identity;
pub(crate) mod list;
mod syntax;
mod trivy;

pub(crate) use claim::{Basis, Fix};
pub use components::components;
pub(crate) use syntax::is_advisory;

/// The largest report that is taken, in bytes. Trivy writes about 4 KiB for a vulnerability, Grype 8.
pub const MAX_SIZE: usize = 64 * 1024 * 1024;

/// Who wrote a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `trivy --format json`, schema version 2.
    Trivy,
    /// `grype --output json`.
    Grype,
    /// A scanner plug-in of Copacetic, `v1alpha1` or `v1alpha2`.
    Copa,
}

/// The image that a report must be about.
#[derive(Clone, Debug)]
pub struct Binding<'a> {
    /// The digests of its manifest: one, unless the same image is known in several encodings.
    pub manifests: Vec<Digest>,
    /// The digest of its config, which scanners call the image's ID.
    pub config: Digest,
    /// The digests of indexes that list it.
    pub indexes: Vec<Digest>,
    /// Its layers' uncompressed digests, lowest first.
    pub diff_ids: Vec<Digest>,
    /// Its platform.
    pub platform: Platform,
    /// What is installed in it, and its distribution.
    pub inventory: &'a Inventory,
    /// What a report must show of all this, at least.
    pub required: Required,
}

/// What a report must show about the image it was made for. Whatever more it says must be right, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Required {
    /// The distribution: for reports that were made here, of this image's files.
    Distribution,
    /// The distribution and the processor architecture, which is all that Copacetic's formats have. The installed versions
    /// must then be exactly those of the image.
    Platform,
    /// The digest of the image, its config or its layers.
    Image,
}

/// Why a report is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Over the size limit.
    #[error("the report is larger than {MAX_SIZE} bytes")]
    TooLarge,
    /// Over the limit of findings.
    #[error("the report gives more than {0} findings")]
    TooMany(usize),
    /// No JSON, or not of the report's own format.
    #[error("cannot read the report")]
    Json(#[source] serde_json::Error),
    /// JSON, but of none of the formats that are known here.
    #[error("the report is {0}; the JSON of Trivy, of Grype, or Copacetic's v1alpha1 or v1alpha2 is wanted")]
    Kind(&'static str),
    /// A format's version that is not known here.
    #[error("the report is {kind:?} JSON of version {found:?}, not {known}")]
    Schema {
        /// Whose format.
        kind: Kind,
        /// The version that the report has, shortened.
        found: String,
        /// The versions that are known.
        known: &'static str,
    },
    /// The report is about something else.
    #[error("the report is for {what} {found:?}, not {expected}")]
    Foreign {
        /// What was compared.
        what: &'static str,
        /// What the report says, shortened.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// The report does not say enough about what it was made for.
    #[error("the report does not say which {0} it was made for")]
    Unidentified(&'static str),
    /// The scanner did not look at the operating system's packages, so it cannot vouch for them.
    #[error("the report has no result for the packages of an operating system")]
    NotScanned,
    /// A text that cannot be what it should be. It is shown escaped and shortened.
    #[error("the report has {value:?} as {field}")]
    Syntax {
        /// What it should be.
        field: &'static str,
        /// The text, shortened.
        value: String,
    },
    /// A version that the image's package manager would refuse.
    #[error("the report has no valid {field} for {package}")]
    Version {
        /// The package.
        package: String,
        /// Which version.
        field: &'static str,
        /// What is wrong.
        #[source]
        source: version::Error,
    },
    /// A report that nothing ties to the image tells other versions, so it was made for another one.
    #[error("the report says that {package} is installed at {said}, but the image has {installed}")]
    Installed {
        /// The package.
        package: String,
        /// The report's version.
        said: String,
        /// The image's version.
        installed: String,
    },
    /// A report that nothing ties to the image names only packages that the image does not have.
    #[error("the image has none of the {0} packages that the report names")]
    Strangers(usize),
}

/// What a format's reader makes of a report, before anything is compared or checked.
struct Report {
    identity: identity::Identity,
    /// Made one by one, so that a large report is not in memory twice.
    claims: Box<dyn Iterator<Item = claim::Claim>>,
    notes: Vec<String>,
}

/// Which format a report has.
///
/// # Errors
/// [`Error::Json`] when it is no JSON object, [`Error::Kind`] when it is of no format that is known here.
pub fn kind(bytes: &[u8]) -> Result<Kind, Error> {
    if bytes.len() > MAX_SIZE {
        return Err(Error::TooLarge);
    }
    let outline: Outline = serde_json::from_slice(bytes).map_err(Error::Json)?;
    let has = |member: &Option<IgnoredAny>| member.is_some();
    match outline {
        found if has(&found.copa) => Ok(Kind::Copa),
        found if has(&found.trivy) => Ok(Kind::Trivy),
        found if has(&found.matches) && has(&found.descriptor) => Ok(Kind::Grype),
        found if has(&found.runs) => Err(Error::Kind("SARIF, which does not name packages")),
        found if has(&found.cyclonedx) || has(&found.spdx) => Err(Error::Kind("a list of components")),
        _ => Err(Error::Kind("of an unknown kind")),
    }
}

/// Members by which the formats can be told apart.
#[derive(Deserialize)]
struct Outline {
    #[serde(rename = "SchemaVersion")]
    trivy: Option<IgnoredAny>,
    matches: Option<IgnoredAny>,
    descriptor: Option<IgnoredAny>,
    #[serde(rename = "apiVersion")]
    copa: Option<IgnoredAny>,
    runs: Option<IgnoredAny>,
    #[serde(rename = "bomFormat")]
    cyclonedx: Option<IgnoredAny>,
    #[serde(rename = "spdxVersion")]
    spdx: Option<IgnoredAny>,
}

/// Reads a report, of whichever kind, about the image that is expected. Packages of programming languages, packages that
/// the image does not have, and fixes that it has already become notes.
///
/// A finding that is [`Fixable`](crate::findings::Status::Fixable) without a fixed version: the fix is known by the
/// version of the source package only, and the binary package counts its versions differently.
///
/// # Errors
/// [`Error`] when the report is malformed, is for another image or platform, or does not say for which as far as
/// `expected` requires.
pub fn parse(bytes: &[u8], expected: &Binding<'_>) -> Result<Findings, Error> {
    let report = match kind(bytes)? {
        Kind::Trivy => trivy::read(bytes)?,
        Kind::Grype => grype::read(bytes)?,
        Kind::Copa => copa::read(bytes)?,
    };
    let proven = report.identity.check(expected)?;
    claim::weigh(report, expected.inventory, proven)
}

impl Error {
    fn foreign(what: &'static str, found: &str, expected: impl std::fmt::Display) -> Self {
        Self::Foreign {
            what,
            found: syntax::shortened(found),
            expected: expected.to_string(),
        }
    }
}
