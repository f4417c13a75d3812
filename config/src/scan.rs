//! `[scan]`: how the findings come about that a patch is planned from.

use std::path::PathBuf;
use std::time::Duration;

use globset::Glob;
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
    /// For `updates`: where the packages of images come from that name no repository themselves (distroless); the first entry that
    /// matches decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub distribution: Vec<Distribution>,
}

/// `[[scan.distribution]]`: the repositories of a distribution, for its images that name none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a [[scan.distribution]] table")]
pub struct Distribution {
    /// `ID` of the image's os-release, such as `debian`.
    pub id: String,
    /// Its releases by `VERSION_CODENAME`, or by `VERSION_ID` where there is none, a glob; all of them without.
    #[serde(default = "any")]
    pub codename: String,
    /// The repositories as apt has them, in one-line format or as deb822 stanzas, with `$codename` for the release of the image; or as a
    /// `.repo` file has them, with dnf's variables.
    pub sources: String,
    /// Files of keys that may sign their indexes, besides those that a matching `[[repository]]` has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<PathBuf>,
}

fn any() -> String {
    "*".to_owned()
}

impl Distribution {
    /// Whether it is about this release. A glob that is none matches nothing; the check of the configuration does not let it come here.
    #[must_use]
    pub fn matches(&self, id: &str, codename: &str) -> bool {
        let glob = Glob::new(&self.codename).map(|glob| glob.compile_matcher());
        self.id == id && glob.is_ok_and(|glob| glob.is_match(codename))
    }

    fn check(&self, key: &str, problems: &mut Problems) {
        if self.id.is_empty() {
            problems.add(
                format!("{key}.id"),
                "is empty, give the ID of the distribution's os-release",
            );
        }
        problems.keep(format!("{key}.codename"), Glob::new(&self.codename));
        let is_source = |line: &str| {
            let line = line.to_ascii_lowercase();
            ["deb ", "uris:", "baseurl", "metalink", "mirrorlist"]
                .iter()
                .any(|start| line.starts_with(start))
        };
        if !self.sources.lines().any(|line| is_source(line.trim_start())) {
            problems.add(
                format!("{key}.sources"),
                "names no repository, write lines such as \"deb https://deb.example.org/debian $codename main\"",
            );
        }
    }
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
            distribution: Vec::new(),
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
        for (index, distribution) in self.distribution.iter().enumerate() {
            distribution.check(&format!("scan.distribution[{index}]"), problems);
        }
        if let Some(server) = &self.trivy_server {
            problems.keep("scan.trivy_server".to_owned(), server.parse::<Url>());
        }
    }
}
