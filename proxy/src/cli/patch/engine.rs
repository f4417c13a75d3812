//! The image stores of this machine: Docker's and Podman's, by their own commands, which know where their daemon is.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use tokio::process::Command;

/// How long a daemon may take to say that it is there, and what it has.
const ANSWER: Duration = Duration::from_secs(20);
/// How long an image may take to be saved or loaded.
const TRANSFER: Duration = Duration::from_secs(30 * 60);
/// How much of what a command complains is shown, in bytes.
const COMPLAINT: usize = 2000;

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Loader {
    /// Docker's
    Docker,
    /// Podman's
    Podman,
}

impl Loader {
    fn program(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// A store that answers.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub(super) loader: Loader,
    program: PathBuf,
}

impl Engine {
    /// The store, if its command is on `path` and its daemon answers.
    ///
    /// # Errors
    /// When it is not there, or does not answer.
    pub(super) async fn of(loader: Loader, path: Option<&OsStr>) -> anyhow::Result<Self> {
        let name = loader.program();
        let found = path
            .into_iter()
            .flat_map(std::env::split_paths)
            .map(|folder| folder.join(name))
            .find(|file| file.is_file());
        let program = found.with_context(|| format!("there is no `{name}` on the PATH"))?;
        let engine = Self { loader, program };
        engine.run(ANSWER, ["version"]).await?;
        Ok(engine)
    }

    /// The first store that answers, Docker's before Podman's.
    ///
    /// # Errors
    /// When neither does, with the reasons.
    pub(super) async fn any(path: Option<&OsStr>) -> anyhow::Result<Self> {
        let mut reasons = Vec::new();
        for loader in [Loader::Docker, Loader::Podman] {
            match Self::of(loader, path).await {
                Ok(engine) => return Ok(engine),
                Err(error) => reasons.push(format!("{error:#}")),
            }
        }
        bail!("{}", reasons.join("; "))
    }

    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        self.loader.program()
    }

    /// Whether it has an image of that name.
    pub(super) async fn has(&self, image: &str) -> bool {
        let asked = self
            .run(ANSWER, ["image", "inspect", "--format", "{{.Id}}", "--", image])
            .await;
        asked.is_ok()
    }

    /// Saves an image to a file, as its `save` does.
    ///
    /// # Errors
    /// When it has none of that name.
    pub(super) async fn save(&self, image: &str, file: &Path) -> anyhow::Result<()> {
        let [save, output, end] = ["save", "--output", "--"].map(OsStr::new);
        self.run(TRANSFER, [save, output, file.as_os_str(), end, OsStr::new(image)])
            .await?;
        Ok(())
    }

    /// Loads an archive.
    ///
    /// # Errors
    /// When it does not take it.
    pub(super) async fn load(&self, file: &Path) -> anyhow::Result<()> {
        let [load, input] = ["load", "--input"].map(OsStr::new);
        self.run(TRANSFER, [load, input, file.as_os_str()]).await?;
        Ok(())
    }

    async fn run(
        &self,
        limit: Duration,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> anyhow::Result<()> {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let what = || {
            let words = arguments.iter().take(2).map(|word| word.to_string_lossy());
            format!("`{} {}`", self.name(), words.collect::<Vec<_>>().join(" "))
        };
        let mut command = Command::new(&self.program);
        command.args(&arguments).stdin(Stdio::null()).kill_on_drop(true);
        let ran = tokio::time::timeout(limit, command.output()).await;
        let Output { status, stderr, .. } = ran
            .with_context(|| format!("{} did not end within {limit:?}", what()))?
            .with_context(|| format!("{} cannot be started", what()))?;
        if status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(stderr.get(..COMPLAINT).unwrap_or(&stderr)).into_owned();
        let lines: Vec<String> = stderr
            .lines()
            .map(super::progress::clean)
            .filter(|line| !line.is_empty())
            .collect();
        bail!("{} failed: {}", what(), lines.join(" | "))
    }
}
