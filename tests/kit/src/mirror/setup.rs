//! The configuration file of a mirror under test, put together from TOML fragments: what a test cares about stands
//! in the test, in the words an operator would write.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::{Mirror, binary};
use crate::process::{Outcome, outcome};

/// A last rule that passes everything.
pub const PASS_ALL: &str = "name = \"everything\"\nmatch = [\"**\"]\naction = \"pass\"";

/// The parts of a configuration file.
#[derive(Clone)]
pub struct Setup {
    default_upstream: Option<String>,
    upstreams: Vec<String>,
    rules: Vec<String>,
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

    /// Adds a TOML line to a section.
    pub fn set(mut self, section: &str, line: &str) -> Self {
        self.settings.push((section.to_owned(), line.to_owned()));
        self
    }

    /// Uses this BuildKit.
    pub fn buildkit(mut self, address: &str) -> Self {
        self.settings
            .retain(|(section, line)| section != "buildkit" || !line.starts_with("address"));
        self.set("buildkit", &format!("address = \"{address}\""))
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
