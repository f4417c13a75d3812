//! The scanner `grype`: Grype, with a database that the operator keeps.
//!
//! It is given the files that tell an image's packages, in a folder: no layer is read twice.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use patchport_packages::Findings;
use patchport_packages::layer::Files;
use patchport_packages::report::command::{self, Subject as Target};
use patchport_packages::report::{self, Required};

use super::binding::binding;
use super::program::Program;
use super::{ScanError, Scanner, Subject};
use crate::catalog::Catalog;
use crate::inspect;
use crate::library::Library;
use crate::respond::chain;

const NAME: &str = "grype";

/// What tells distribution and packages.
const FILES: [&str; 12] = [
    "etc/os-release",
    "usr/lib/os-release",
    "var/lib/dpkg/status",
    "lib/apk/db/installed",
    "usr/lib/apk/db/installed",
    "var/lib/rpm/Packages",
    "var/lib/rpm/Packages.db",
    "var/lib/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/Packages",
    "usr/lib/sysimage/rpm/Packages.db",
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "var/lib/rpmmanifest/container-manifest-2",
];

/// The scanner.
pub struct Grype {
    program: Program,
    database: PathBuf,
    library: Arc<Library>,
    catalog: Catalog,
}

impl Grype {
    /// Grype as the settings say, looked for on `path`.
    pub fn new(
        settings: &patchport_config::Scan,
        path: Option<&OsStr>,
        library: Arc<Library>,
        catalog: Catalog,
    ) -> Self {
        Self {
            program: Program::new(&settings.grype, path),
            database: settings.grype_db.clone().unwrap_or_default(),
            library,
            catalog,
        }
    }
}

#[async_trait]
impl Scanner for Grype {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn scan(&self, subject: &Subject) -> Result<Findings, ScanError> {
        let failed = |reason: String| ScanError { scanner: NAME, reason };
        let files = inspect::files(&subject.manifest, &subject.place, &self.library, &self.catalog).await;
        let files = files.map_err(|error| failed(chain(&error)))?;
        let files = files.ok_or_else(|| failed("its files cannot be read".into()))?;
        let folder = tempfile::tempdir().map_err(|error| failed(format!("no temporary folder: {error}")))?;
        lay_out(&files, folder.path()).map_err(failed)?;
        let scan = command::grype(&self.database, Target::Root(folder.path()));
        let scan = scan.ok_or_else(|| failed("it does not look at folders".into()))?;
        let output = self.program.run(&scan).await.map_err(failed)?;
        let findings = report::parse(&output, &binding(subject, Required::Distribution));
        findings.map_err(|error| failed(chain(&error)))
    }
}

/// Writes the files that tell the packages into a folder.
fn lay_out(files: &Files, folder: &Path) -> Result<(), String> {
    let found = FILES
        .iter()
        .filter_map(|path| Some(((*path).to_owned(), files.read(path).ok()??.to_vec())));
    let fragments = files.list("var/lib/dpkg/status.d").unwrap_or_default();
    let fragments = fragments.into_iter().map(|(path, bytes)| (path, bytes.to_vec()));
    for (path, bytes) in found.chain(fragments) {
        let target = folder.join(&path);
        let parent = target.parent().unwrap_or(folder);
        let written = std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&target, bytes));
        written.map_err(|error| format!("{path} cannot be laid out for it: {error}"))?;
    }
    Ok(())
}
