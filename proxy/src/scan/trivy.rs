//! The scanner `trivy`: Trivy, as a program with its own database or as a client of its server.
//!
//! It is given the inventory that we have read, as a list of components: no layer is read twice, and a scan takes a tenth of a
//! second. What it reports is taken for this image only.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use patchport_config::Secret;
use patchport_packages::Findings;
use patchport_packages::report::command::{self, Subject as Target};
use patchport_packages::report::{self, Required};
use tokio::sync::RwLock;
use tokio::time::Instant;

use super::binding::binding;
use super::program::Program;
use super::{ScanError, Scanner, Subject};
use crate::respond::chain;

const NAME: &str = "trivy";
/// How old the database may become; Trivy's is made anew every six hours.
const DATABASE_AGE: Duration = Duration::from_secs(6 * 60 * 60);
/// How long fetching the database may take.
const UPDATE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// How long a database that could not be fetched is not tried again.
const RETRY: Duration = Duration::from_secs(60);

/// The scanner.
pub struct Trivy {
    program: Program,
    server: Option<(String, Secret)>,
    repository: String,
    timeout: Duration,
    cache: PathBuf,
    /// When the database is due; scans hold it while they read.
    due: RwLock<Option<Instant>>,
}

impl Trivy {
    /// Trivy as the settings say, looked for on `path`; its database lives in `cache`.
    pub fn new(settings: &patchport_config::Scan, path: Option<&OsStr>, cache: PathBuf) -> Self {
        let token = settings.trivy_token.clone().unwrap_or_else(|| Secret::new(""));
        Self {
            program: Program::new(&settings.trivy, path),
            server: settings.trivy_server.clone().map(|server| (server, token)),
            repository: settings.trivy_db.clone(),
            timeout: settings.timeout,
            cache,
            due: RwLock::default(),
        }
    }

    fn command(&self, timeout: Duration) -> command::Trivy<'_> {
        let server = self.server.as_ref();
        command::Trivy {
            cache: &self.cache,
            server: server.map(|(address, token)| (address.as_str(), token.expose())),
            timeout,
        }
    }

    /// Fetches the database when it is due. One that is there already may be old when it cannot be fetched.
    async fn update(&self) -> Result<(), String> {
        let is_due = |due: &Option<Instant>| due.is_none_or(|due| due <= Instant::now());
        if self.server.is_some() || !is_due(&*self.due.read().await) {
            return Ok(());
        }
        let mut due = self.due.write().await;
        if !is_due(&due) {
            return Ok(());
        }
        std::fs::create_dir_all(&self.cache)
            .map_err(|error| format!("{} cannot be made: {error}", self.cache.display()))?;
        let is_local = ["127.0.0.1", "localhost", "[::1]"]
            .iter()
            .any(|local| self.repository.starts_with(local));
        let update = self.command(UPDATE_TIMEOUT).update(&self.repository, is_local);
        let updated = tokio::time::timeout(UPDATE_TIMEOUT, self.program.run(&update)).await;
        let updated = updated.unwrap_or_else(|_| Err(format!("its database was not here within {UPDATE_TIMEOUT:?}")));
        match updated {
            Ok(_) => *due = Some(Instant::now() + DATABASE_AGE),
            Err(reason) if self.cache.join("db/trivy.db").exists() => {
                tracing::warn!(reason, "Trivy's database cannot be refreshed, the one before is used");
                *due = Some(Instant::now() + RETRY);
            }
            Err(reason) => {
                return Err(format!(
                    "its database cannot be fetched from {}: {reason}",
                    self.repository
                ));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Scanner for Trivy {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn scan(&self, subject: &Subject) -> Result<Findings, ScanError> {
        let failed = |reason: String| ScanError { scanner: NAME, reason };
        self.update().await.map_err(failed)?;
        let components = report::components(&subject.inventory);
        let file =
            tempfile::NamedTempFile::new().and_then(|file| std::fs::write(file.path(), components).map(|()| file));
        let file = file.map_err(|error| failed(format!("no temporary file: {error}")))?;
        let _reading = self.due.read().await;
        let scan = self.command(self.timeout).scan(Target::Components(file.path()));
        let output = self.program.run(&scan).await.map_err(failed)?;
        let findings = report::parse(&output, &binding(subject, Required::Distribution));
        findings.map_err(|error| failed(chain(&error)))
    }
}
