//! The logs of builds: the last one of each plan, in the data folder, for the admin listener and `patchport explain`.
//!
//! Bounded in size and number. Users and passwords in URLs never get into one.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use patchport_oci::Digest;

use super::Base;
use crate::plan::Plan;

mod log;

pub use log::Log;
pub(crate) use log::one_line;

/// How many logs are kept.
const MAX_LOGS: usize = 200;
/// The largest log that is read back, in bytes: a written one with its head is well below.
const MAX_FILE: u64 = 1 << 20;
/// The fewest digits by which a log is named.
const MIN_KEY: usize = 8;
/// The most names of upgrades in a head.
const MAX_UPGRADES: usize = 100;

/// The logs. Clones share them.
#[derive(Clone)]
pub struct Builds(Arc<Shelf>);

struct Shelf {
    folder: PathBuf,
    running: Mutex<HashMap<String, Building>>,
}

/// A build that runs.
#[derive(Clone)]
struct Building {
    head: Head,
    log: Log,
}

/// What a log begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The key of the plan.
    pub plan: String,
    /// `host/repository@digest` of the image.
    pub image: String,
    /// Its platform.
    pub platform: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// What came of it: `running`, `done`, or `failed: ` and why.
    pub result: String,
}

impl Head {
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut lines = text.lines().take_while(|line| !line.is_empty());
            let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.map(|value| value.trim().to_owned())
        };
        Some(Self {
            plan: field("plan")?,
            image: field("image")?,
            platform: field("platform")?,
            started: field("started")?,
            result: field("result")?,
        })
    }

    /// Whether the build failed.
    pub fn failed(&self) -> bool {
        self.result.starts_with("failed")
    }

    fn text(&self, upgrades: &str) -> String {
        let Self {
            plan,
            image,
            platform,
            started,
            result,
        } = self;
        format!(
            "plan      {plan}\nimage     {image}\nplatform  {platform}\nstarted   {started}\nresult    {result}\nupgrades  {upgrades}\n\n"
        )
    }
}

/// A build whose log is being written. Dropped without [`Self::end`] it leaves the log of the build before.
pub(super) struct Open {
    builds: Builds,
    key: String,
    upgrades: String,
    building: Building,
}

impl Open {
    /// Where the engine writes to.
    pub(super) fn log(&self) -> Log {
        self.building.log.clone()
    }

    /// Keeps the log. `failure` says why there is no layer. Gives the path of the file, when it could be written.
    pub(super) async fn end(mut self, failure: Option<String>) -> Option<PathBuf> {
        let result = match failure {
            Some(failure) => format!("failed: {}", one_line(&failure)),
            None => "done".into(),
        };
        self.building.head.result = result;
        let text = self.building.head.text(&self.upgrades) + &self.building.log.text();
        let (builds, key) = (self.builds.clone(), self.key.clone());
        let path = builds.path(&key);
        let written = tokio::task::spawn_blocking(move || builds.write(&key, &text)).await;
        match written.map_err(io::Error::other).and_then(|written| written) {
            Ok(()) => Some(path),
            Err(error) => {
                tracing::warn!(build.log = %path.display(), %error, "the log of a build cannot be kept");
                None
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.builds.running().remove(&self.key);
    }
}

impl Builds {
    /// Logs in this folder, which is made when there is one to keep.
    pub fn new(folder: PathBuf) -> Self {
        Self(Arc::new(Shelf {
            folder,
            running: Mutex::default(),
        }))
    }

    /// Begins a log.
    pub(super) fn begin(&self, plan: &Plan, base: &Base) -> Open {
        let key = plan.key();
        let steps = plan.upgrades.iter().take(MAX_UPGRADES);
        let steps = steps.map(|step| format!("{} {} -> {}", step.name, step.from, step.to));
        let more = plan.upgrades.len().saturating_sub(MAX_UPGRADES);
        let more = (more > 0).then(|| format!("and {more} more"));
        let building = Building {
            head: Head {
                plan: key.clone(),
                image: format!("{}@{}", base.name, plan.image),
                platform: plan.platform.to_string(),
                started: now(),
                result: "running".into(),
            },
            log: Log::default(),
        };
        self.running().insert(key.clone(), building.clone());
        Open {
            builds: self.clone(),
            key,
            upgrades: steps.chain(more).collect::<Vec<_>>().join(", "),
            building,
        }
    }

    /// The log of a plan's last build, or of the one that runs; `key` is the plan's, or the beginning of it that only one has. Reads
    /// files.
    pub fn read(&self, key: &str) -> Option<String> {
        let is_key = (MIN_KEY..=64).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_key {
            return None;
        }
        let running = self.running();
        let found = running.iter().find(|(own, _)| own.starts_with(key));
        let found = found.map(|(_, building)| building.head.text("") + &building.log.text());
        drop(running);
        found.or_else(|| {
            let files = self.files().into_iter().map(|(_, path)| path);
            let mut named = files.filter(|path| {
                let name = path.file_stem().and_then(|name| name.to_str());
                name.is_some_and(|name| name.starts_with(key))
            });
            let (path, other) = (named.next()?, named.next());
            contents(&path, MAX_FILE).ok().filter(|_| other.is_none())
        })
    }

    /// What is known of builds: those that run, then the newest first. Reads files.
    pub fn list(&self) -> Vec<Head> {
        let running: Vec<Head> = self.running().values().map(|building| building.head.clone()).collect();
        let files = self.files().into_iter();
        let kept = files.filter_map(|(_, path)| Head::parse(&contents(&path, 16 * 1024).ok()?));
        let kept: Vec<Head> = kept
            .filter(|head| running.iter().all(|own| own.plan != head.plan))
            .collect();
        running.into_iter().chain(kept).collect()
    }

    /// The newest build of an image. Reads files.
    pub fn of_image(&self, image: &Digest) -> Option<Head> {
        let image = format!("@{image}");
        self.list().into_iter().find(|head| head.image.ends_with(&image))
    }

    /// Where the log of a plan's last build is, when there is one.
    pub fn path(&self, key: &str) -> PathBuf {
        self.0.folder.join(format!("{key}.log"))
    }

    /// The files, the newest first.
    fn files(&self) -> Vec<(SystemTime, PathBuf)> {
        let entries = fs::read_dir(&self.0.folder).into_iter().flatten().flatten();
        let files = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "log"));
        let mut files: Vec<_> = files
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort_by(|one, other| other.cmp(one));
        files
    }

    fn write(&self, key: &str, text: &str) -> io::Result<()> {
        fs::create_dir_all(&self.0.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.0.folder)?;
        file.write_all(text.as_bytes())?;
        file.persist(self.path(key))?;
        for (_, path) in self.files().into_iter().skip(MAX_LOGS) {
            // Another may have removed it.
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Building>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn contents(path: &Path, limit: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn now() -> String {
    let seconds = i64::try_from(super::job::now()).unwrap_or_default();
    let now = jiff::Timestamp::from_second(seconds);
    now.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests;
