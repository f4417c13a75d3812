//! The SBOM of a patched image: what its package database lists after the patch, and what package managers of programming
//! languages left, as CycloneDX.

use patchport_packages::document::{Error, Format, Subject, View};

use super::Account;

/// The artifact's type: a media type without parameters.
pub const TYPE: &str = "application/vnd.cyclonedx+json";

/// The document.
pub(super) fn document(account: &Account<'_>, created: &str) -> Result<String, Error> {
    let (digest, platform) = (account.patched.digest.to_string(), account.platform.to_string());
    let view = View {
        subject: Subject {
            name: account.name,
            digest: &digest,
            platform: &platform,
        },
        inventory: account.after,
        languages: account.languages,
        findings: None,
        notes: account.notes,
        tool_version: env!("CARGO_PKG_VERSION"),
        created: Some(created),
    };
    view.render(Format::CycloneDx)
}
