//! `[scan]`: how the findings come about that a patch is planned from.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::document::Problems;
use crate::secret::Secret;
use crate::url::Url;
use crate::value;
use crate::words::words;

words! {
    /// What finds outdated or vulnerable packages.
    Scanner {
        /// The installed versions against the indexes of the image's own package repositories.
        Updates = "updates",
        /// Trivy.
        Trivy = "trivy",
        /// Grype.
        Grype = "grype",
        /// Files that a scanner wrote before, one or more an image.
        Report = "report",
        /// A local dump of advisories in the OSV format.
        Osv = "osv",
    }
}

/// How findings come about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a [scan] table")]
pub struct Scan {
    /// The scanners that are asked; what any of them finds counts. At least one.
    pub scanners: Vec<Scanner>,
    /// How long each of them may take; one that takes longer has failed, and the rule's `on_failure` decides.
    #[serde(with = "value::duration")]
    pub timeout: Duration,
    /// How often package indexes are looked at for changes.
    #[serde(with = "value::duration")]
    pub refresh: Duration,
    /// For `trivy`: the program.
    pub trivy: PathBuf,
    /// For `trivy`: the server that does the work; the program does it itself without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trivy_server: Option<String>,
    /// For `trivy`: what the server wants to see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trivy_token: Option<Secret>,
    /// For `trivy` without a server: the repository that its database comes from.
    pub trivy_db: String,
    /// For `grype`: the program.
    pub grype: PathBuf,
    /// For `grype`: the folder with its database, which the operator keeps fresh (`grype db update`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grype_db: Option<PathBuf>,
    /// For `report`: the folder of the files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reports: Option<PathBuf>,
    /// For `osv`: a folder of OSV records, or a zip of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub osv: Option<PathBuf>,
}

impl Default for Scan {
    fn default() -> Self {
        Self {
            scanners: vec![Scanner::Updates],
            timeout: Duration::from_secs(15),
            refresh: Duration::from_secs(15 * 60),
            trivy: PathBuf::from("trivy"),
            trivy_server: None,
            trivy_token: None,
            trivy_db: "mirror.gcr.io/aquasec/trivy-db:2".to_owned(),
            grype: PathBuf::from("grype"),
            grype_db: None,
            reports: None,
            osv: None,
        }
    }
}

impl Scan {
    /// Notes what is wrong with it.
    pub(crate) fn check(&self, problems: &mut Problems) {
        if self.scanners.is_empty() {
            problems.add("scan.scanners", "is empty, give at least one scanner");
        }
        let needs = [
            (Scanner::Report, "reports", self.reports.is_some()),
            (Scanner::Osv, "osv", self.osv.is_some()),
            (Scanner::Grype, "grype_db", self.grype_db.is_some()),
        ];
        for (scanner, key, is_given) in needs {
            if self.scanners.contains(&scanner) && !is_given {
                problems.add(
                    format!("scan.{key}"),
                    format!("is missing, the scanner \"{scanner}\" needs it"),
                );
            }
        }
        if let Some(server) = &self.trivy_server {
            problems.keep("scan.trivy_server".to_owned(), server.parse::<Url>());
        }
    }
}
