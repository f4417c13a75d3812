//! The scanner `report`: files that a scanner wrote before, bound to the image that they are about.
//!
//! In the folder, a report is named for the digest of the image's manifest, or of its configuration (which scanners call the
//! image's id): `sha256-<hex>.json`. For a platform of an index: `sha256-<hex of the index>-linux-arm64.json`. Whatever its name,
//! what it says of itself must be right.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use patchport_oci::{Digest, Platform};
use patchport_packages::Findings;
use patchport_packages::report::{self, Required};
use tokio::io::AsyncReadExt as _;

use super::binding::binding;
use super::{ScanError, Scanner, Subject};
use crate::respond::chain;

const NAME: &str = "report";

/// The scanner.
pub struct Reports {
    folder: PathBuf,
}

impl Reports {
    /// Reports in the folder that the settings name.
    pub fn new(settings: &patchport_config::Scan) -> Self {
        Self {
            folder: settings.reports.clone().unwrap_or_default(),
        }
    }
}

#[async_trait]
impl Scanner for Reports {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn scan(&self, subject: &Subject) -> Result<Findings, ScanError> {
        let failed = |reason: String| ScanError { scanner: NAME, reason };
        let binding = binding(subject, Required::Platform);
        let mut names: Vec<String> = binding.manifests.iter().chain([&binding.config]).map(plain).collect();
        names.extend(
            binding
                .indexes
                .iter()
                .map(|index| of_platform(index, &binding.platform)),
        );
        for name in &names {
            let file = self.folder.join(name);
            let Some(bytes) = read(&file).await.map_err(failed)? else {
                continue;
            };
            let findings = report::parse(&bytes, &binding);
            return findings.map_err(|error| failed(format!("{}: {}", file.display(), chain(&error))));
        }
        Err(failed(format!(
            "there is no report of this image; it would be one of {} in {}",
            names.join(", "),
            self.folder.display()
        )))
    }
}

fn plain(digest: &Digest) -> String {
    format!("{}-{}.json", digest.algorithm().name(), digest.hex())
}

fn of_platform(index: &Digest, platform: &Platform) -> String {
    let platform = platform.to_string().replace('/', "-");
    format!("{}-{}-{platform}.json", index.algorithm().name(), index.hex())
}

/// A file of a report; nothing when it is not there.
async fn read(file: &Path) -> Result<Option<Vec<u8>>, String> {
    let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", file.display());
    let opened = match tokio::fs::File::open(file).await {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let mut bytes = Vec::new();
    let read = opened.take(report::MAX_SIZE as u64 + 1).read_to_end(&mut bytes).await;
    read.map_err(unreadable)?;
    Ok(Some(bytes))
}
