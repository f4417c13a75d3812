//! Reports that a person gives by name, for the command that patches one image: a file, or a folder of files.
//!
//! A report is taken only for the image that it was made for; which one that is says the report, not its name.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use patchport_packages::Findings;
use patchport_packages::report::{self, Required};

use super::binding::binding;
use super::{ScanError, Scanner, Subject};
use crate::respond::chain;

const NAME: &str = "report";
/// More reports than one image has platforms, by far.
const MAX_FILES: usize = 1024;

/// The scanner.
#[derive(Clone, Debug)]
pub struct Given {
    files: Vec<PathBuf>,
}

impl Given {
    /// The reports at a path: one file, or all files `*.json` of a folder, in the order of their names.
    ///
    /// # Errors
    /// When there are none, or too many.
    pub fn at(path: &Path) -> anyhow::Result<Self> {
        if !path.is_dir() {
            ensure!(path.is_file(), "there is no report {}", path.display());
            return Ok(Self {
                files: vec![path.to_owned()],
            });
        }
        let mut files = Vec::new();
        let unreadable = || format!("cannot read the folder of reports {}", path.display());
        for entry in std::fs::read_dir(path).with_context(unreadable)? {
            let file = entry.with_context(unreadable)?.path();
            if file.is_file() && file.extension().is_some_and(|extension| extension == "json") {
                files.push(file);
            }
        }
        files.sort();
        match files.len() {
            0 => bail!("{} has no file *.json", path.display()),
            1..=MAX_FILES => Ok(Self { files }),
            many => bail!(
                "{} has {many} files *.json, {MAX_FILES} at most are read",
                path.display()
            ),
        }
    }

    /// What the report of an image says.
    ///
    /// # Errors
    /// When none is about it: for each file, why not.
    pub async fn about(&self, subject: &Subject) -> Result<Findings, String> {
        let mut reasons = Vec::new();
        for file in &self.files {
            let (path, subject) = (file.clone(), subject.clone());
            // Tens of megabytes of JSON take their time.
            let read = tokio::task::spawn_blocking(move || read(&path, &subject)).await;
            match read.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(findings) => return Ok(findings),
                Err(reason) => reasons.push(format!("{}: {reason}", file.display())),
            }
        }
        Err(reasons.join("; "))
    }
}

#[async_trait]
impl Scanner for Given {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn scan(&self, subject: &Subject) -> Result<Findings, ScanError> {
        let failed = |reason| ScanError { scanner: NAME, reason };
        self.about(subject).await.map_err(failed)
    }
}

fn read(file: &Path, subject: &Subject) -> Result<Findings, String> {
    use std::io::Read as _;

    let opened = std::fs::File::open(file).map_err(|error| format!("it cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    let read = opened.take(report::MAX_SIZE as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("it cannot be read: {error}"))?;
    report::parse(&bytes, &binding(subject, Required::Platform)).map_err(|error| chain(&error))
}
