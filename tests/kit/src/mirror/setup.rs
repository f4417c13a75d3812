//! The configuration file of a mirror under test, put together from TOML fragments: what a test cares about stands
//! in the test, in the words an operator would write.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::{Mirror, binary};
use crate::process::{Outcome, outcome};

/// A last rule that passes everything.
pub const PASS_ALL: &str = "name = \"everything\"\nmatch = [\"**\"]\naction = \"pass\"";

/// A last repository that lets images name the kit's own, which nobody has signed.
const LOOPBACK: &str = "match = \"http://127.0.0.1:*\"\nunsigned = \"allow\"";

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// The exit code, if it ended by itself.
    pub code: Option<i32>,
    /// The answer.
    pub stdout: String,
    /// The complaint.
    pub stderr: String,
}

impl Said {
    /// The answer as JSON; panics unless the command succeeded with one.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {}", self.stdout))
    }
}

/// The parts of a configuration file.
#[derive(Clone)]
pub struct Setup {
    default_upstream: Option<String>,
    upstreams: Vec<String>,
    rules: Vec<String>,
    repositories: Vec<String>,
    helpers: Vec<String>,
    settings: Vec<(String, String)>,
    pub(super) environment: Vec<(String, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        let buildkit = (
            "buildkit".to_owned(),
            "address = \"unix:///nonexistent/buildkitd.sock\"".to_owned(),
        );
        Self {
            default_upstream: None,
            upstreams: Vec::new(),
            rules: Vec::new(),
            repositories: vec![LOOPBACK.to_owned()],
            helpers: Vec::new(),
            settings: vec![buildkit],
            environment: Vec::new(),
        }
    }
}

impl Setup {
    /// Adds an upstream by name and URL.
    pub fn upstream(self, name: &str, url: &str) -> Self {
        self.upstream_with(name, url, "")
    }

    /// Adds an upstream with more TOML lines.
    pub fn upstream_with(mut self, name: &str, url: &str, more: &str) -> Self {
        self.upstreams
            .push(format!("name = \"{name}\"\nurl = \"{url}\"\n{more}"));
        self
    }

    /// Names the upstream of requests that name none.
    pub fn default_upstream(mut self, name: &str) -> Self {
        self.default_upstream = Some(name.to_owned());
        self
    }

    /// Adds a rule as TOML lines; with none, everything passes.
    pub fn rule(mut self, toml: &str) -> Self {
        self.rules.push(toml.to_owned());
        self
    }

    /// Adds a package repository as TOML lines, before the one that allows those on loopback.
    pub fn repository(mut self, toml: &str) -> Self {
        self.repositories
            .insert(self.repositories.len().saturating_sub(1), toml.to_owned());
        self
    }

    /// Takes the one away that allows those on loopback.
    pub fn no_repositories(mut self) -> Self {
        self.repositories.clear();
        self
    }

    /// Adds a helper as TOML lines, in place of those that are known without being configured.
    pub fn helper(mut self, toml: &str) -> Self {
        self.helpers.push(toml.to_owned());
        self
    }

    /// Adds a TOML line to a section.
    pub fn set(mut self, section: &str, line: &str) -> Self {
        self.settings.push((section.to_owned(), line.to_owned()));
        self
    }

    /// Uses this BuildKit.
    pub fn buildkit(self, address: &str) -> Self {
        self.buildkits(&[address])
    }

    /// Uses these BuildKits.
    pub fn buildkits(mut self, addresses: &[&str]) -> Self {
        self.settings
            .retain(|(section, line)| section != "buildkit" || !line.starts_with("address"));
        // Strings of TOML's basic kind are written as Rust's are.
        self.set("buildkit", &format!("address = {addresses:?}"))
    }

    /// Sets a variable in the mirror's environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the mirror and waits until it is ready.
    pub async fn start(self) -> Mirror {
        Mirror::start(self).await
    }

    /// What `patchport check` says to this configuration.
    pub async fn check(self) -> Outcome {
        let directory = tempfile::tempdir().unwrap();
        let toml = self.toml(directory.path());
        check(&toml, &self.environment).await
    }

    /// Runs a command that looks at an image, `scan` or `explain`, with this configuration.
    pub async fn run(&self, arguments: &[&str]) -> Said {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("patchport.toml");
        std::fs::write(&file, self.toml(directory.path())).unwrap();
        let mut command = Command::new(binary());
        command.args(arguments).arg("--config").arg(&file);
        command.env("NO_COLOR", "1").env_remove("PATCHPORT_CONFIG");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
        let output = ran.unwrap_or_else(|error| panic!("patchport does not start: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The file.
    pub(super) fn toml(&self, directory: &Path) -> String {
        let mut text = String::from("[[listener]]\naddress = \"127.0.0.1:0\"\n");
        if let Some(name) = &self.default_upstream {
            let _ = writeln!(text, "default_upstream = \"{name}\"");
        }
        let _ = writeln!(
            text,
            "[admin]\naddress = \"127.0.0.1:0\"\n[store]\ndir = \"{}\"",
            directory.join("data").display()
        );
        let mut sections: Vec<&str> = self.settings.iter().map(|(section, _)| section.as_str()).collect();
        sections.sort_unstable();
        sections.dedup();
        for section in sections {
            let _ = writeln!(text, "[{section}]");
            for (_, line) in self.settings.iter().filter(|(known, _)| known == section) {
                let _ = writeln!(text, "{line}");
            }
        }
        for upstream in &self.upstreams {
            let _ = writeln!(text, "[[upstream]]\n{upstream}");
        }
        for repository in &self.repositories {
            let _ = writeln!(text, "[[repository]]\n{repository}");
        }
        for helper in &self.helpers {
            let _ = writeln!(text, "[[helper]]\n{helper}");
        }
        for rule in &self.rules {
            let _ = writeln!(text, "[[rule]]\n{rule}");
        }
        if self.rules.is_empty() {
            let _ = writeln!(text, "[[rule]]\n{PASS_ALL}");
        }
        text
    }
}

/// What `patchport check` says to a configuration file with this text.
pub async fn check(toml: &str, environment: &[(String, String)]) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("patchport.toml");
    std::fs::write(&file, toml).unwrap();
    let mut command = Command::new(binary());
    command
        .args(["check", "--config"])
        .arg(&file)
        .env("NO_COLOR", "1")
        .env_remove("PATCHPORT_CONFIG");
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    outcome(command).await
}
