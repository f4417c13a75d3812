//! The scanner `osv`: a local dump of advisories in the OSV format, read into memory once and again when it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use patchport_packages::Findings;
use patchport_packages::osv::{Database, Limits, Loader, read_archive};
use tokio::sync::Mutex;

use super::{ScanError, Scanner, Subject};
use crate::respond::chain;

const NAME: &str = "osv";
/// The largest archive, in bytes.
const MAX_ARCHIVE: u64 = 1 << 30;
/// More files than any dump has.
const MAX_FILES: usize = 2_000_000;

/// The scanner.
pub struct Osv {
    path: PathBuf,
    loaded: Mutex<Option<(SystemTime, Arc<Database>)>>,
}

impl Osv {
    /// Advisories at the path that the settings name.
    pub fn new(settings: &patchport_config::Scan) -> Self {
        Self {
            path: settings.osv.clone().unwrap_or_default(),
            loaded: Mutex::default(),
        }
    }

    async fn database(&self) -> Result<Arc<Database>, String> {
        let unreadable = |error: std::io::Error| format!("{} cannot be read: {error}", self.path.display());
        let modified = tokio::fs::metadata(&self.path).await.and_then(|found| found.modified());
        let modified = modified.map_err(unreadable)?;
        let mut loaded = self.loaded.lock().await;
        if let Some((then, database)) = loaded.as_ref().filter(|(then, _)| *then == modified) {
            let _ = then;
            return Ok(Arc::clone(database));
        }
        let path = self.path.clone();
        let database = tokio::task::spawn_blocking(move || load(&path)).await;
        let database = Arc::new(database.map_err(|_| "reading it was interrupted".to_owned())??);
        tracing::info!(advisories = database.len(), path = %self.path.display(), "advisories loaded");
        *loaded = Some((modified, Arc::clone(&database)));
        Ok(database)
    }
}

fn load(path: &Path) -> Result<Database, String> {
    let unreadable = |path: &Path, error: &dyn std::error::Error| format!("{}: {}", path.display(), chain(error));
    let mut loader = Loader::new(Limits::default());
    let mut waiting = vec![path.to_owned()];
    let mut count = 0;
    while let Some(next) = waiting.pop() {
        count += 1;
        if count > MAX_FILES {
            return Err(format!("{} has more than {MAX_FILES} files", path.display()));
        }
        if next.is_dir() {
            for entry in std::fs::read_dir(&next).map_err(|error| unreadable(&next, &error))? {
                waiting.push(entry.map_err(|error| unreadable(&next, &error))?.path());
            }
            continue;
        }
        let size = std::fs::metadata(&next)
            .map_err(|error| unreadable(&next, &error))?
            .len();
        if size > MAX_ARCHIVE {
            return Err(format!("{} is larger than {MAX_ARCHIVE} bytes", next.display()));
        }
        let bytes = std::fs::read(&next).map_err(|error| unreadable(&next, &error))?;
        let taken = if next.extension().is_some_and(|extension| extension == "zip") {
            read_archive(&bytes, &mut loader)
        } else {
            loader.add(&next.to_string_lossy(), &bytes)
        };
        taken.map_err(|error| unreadable(&next, &error))?;
    }
    let database = loader.finish();
    if database.is_empty() {
        return Err(format!("{} has no advisories about distributions", path.display()));
    }
    Ok(database)
}

#[async_trait]
impl Scanner for Osv {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn scan(&self, subject: &Subject) -> Result<Findings, ScanError> {
        let failed = |reason: String| ScanError { scanner: NAME, reason };
        let (database, inventory) = (self.database().await.map_err(failed)?, Arc::clone(&subject.inventory));
        let scanned = tokio::task::spawn_blocking(move || database.scan(&inventory)).await;
        let scanned = scanned.map_err(|_| failed("it was interrupted".into()))?;
        scanned.map_err(|error| failed(chain(&error)))
    }
}
