//! A real buildkitd: the testbed's shared one, or one of the test's own that it may kill and bring back. An own one
//! leaves no process, no mount and no file behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Log, Process};

/// A BuildKit daemon that tests may use.
pub struct Buildkitd {
    address: String,
    own: Option<Own>,
}

struct Own {
    process: Process,
    directory: TempDir,
    log: Log,
}

impl Buildkitd {
    /// The testbed's (`PATCHPORT_TEST_BUILDKIT_ADDR`), warm and shared with other tests; an own one without it.
    pub async fn shared() -> Self {
        match std::env::var("PATCHPORT_TEST_BUILDKIT_ADDR") {
            Ok(address) => Self { address, own: None },
            Err(_) => Self::own().await,
        }
    }

    /// A fresh one, cold, with its own state.
    pub async fn own() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("patchport-bk-")
            .tempdir()
            .expect("a temporary directory");
        let root = directory.path().join("root");
        let address = format!("unix://{}", directory.path().join("buildkitd.sock").display());
        fs::write(directory.path().join("buildkitd.toml"), configuration(&root, &address)).unwrap();
        let log = Log::default();
        let process = spawn(directory.path(), &log);
        let daemon = Self {
            address,
            own: Some(Own {
                process,
                directory,
                log,
            }),
        };
        daemon.become_ready(0).await;
        daemon
    }

    async fn become_ready(&self, from: usize) {
        let running = |lines: &[String]| {
            lines
                .iter()
                .any(|line| line.contains("running server on"))
                .then_some(())
        };
        self.own_log()
            .wait(from, "that buildkitd serves", Duration::from_secs(30), running)
            .await;
    }

    /// Its address, for a configuration file.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends an own daemon as a power cut would, and the containers with it.
    pub fn kill9(&mut self) {
        let own = self.own.as_mut().expect("only an own daemon may be killed");
        own.process.kill9();
        kill_containers(own.directory.path());
    }

    /// Starts an own daemon again on its state, after it was killed.
    pub async fn restart(&mut self) {
        let own = self.own.as_mut().expect("only an own daemon can be started again");
        let from = own.log.lines().len();
        own.process = spawn(own.directory.path(), &own.log);
        self.become_ready(from).await;
    }

    /// How many solves with a result it was asked for since its first start, by its own log.
    pub fn solves(&self) -> usize {
        self.own_log().count(&["level=debug", "resolve exporter"])
    }

    /// How many containers it was to start since its first start, by its own log.
    pub fn containers_started(&self) -> usize {
        self.own_log().count(&["level=debug", "msg=\"> creating "])
    }

    fn own_log(&self) -> &Log {
        &self.own.as_ref().expect("only the log of an own daemon is known").log
    }

    /// Waits until `count` containers run in an own daemon; panics after a minute.
    pub async fn runs_containers(&self, count: usize) {
        let own = self
            .own
            .as_ref()
            .expect("the containers of an own daemon can be told apart");
        let end = tokio::time::Instant::now() + Duration::from_secs(60);
        while containers(own.directory.path()).len() < count {
            assert!(
                tokio::time::Instant::now() < end,
                "no container after a minute; the log:\n{}",
                own.log.text()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Buildkitd {
    fn drop(&mut self) {
        let Some(own) = &mut self.own else { return };
        own.process.kill9();
        kill_containers(own.directory.path());
        unmount(own.directory.path());
    }
}

/// The daemon: `PATCHPORT_TEST_BUILDKITD`, else the one on the PATH.
pub(crate) fn buildkitd() -> PathBuf {
    let named = std::env::var_os("PATCHPORT_TEST_BUILDKITD").map(PathBuf::from);
    let found = named.or_else(|| on_path("buildkitd"));
    found.unwrap_or_else(|| panic!("no buildkitd: run the suites with `tests/run`, or set PATCHPORT_TEST_BUILDKITD"))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

fn configuration(root: &Path, address: &str) -> String {
    format!(
        "root = \"{}\"\ninsecure-entitlements = [\"network.host\"]\n[log]\n  level = \"debug\"\n[grpc]\n  address = [\"{address}\"]\n\
         [worker.oci]\n  enabled = true\n  snapshotter = \"overlayfs\"\n  networkMode = \"host\"\n  gc = false\n\
         [worker.containerd]\n  enabled = false\n",
        root.display()
    )
}

fn spawn(directory: &Path, log: &Log) -> Process {
    // A socket that a killed daemon left would be taken for a living one.
    let _ = fs::remove_file(directory.join("buildkitd.sock"));
    let mut command = Command::new(buildkitd());
    command
        .arg("--config")
        .arg(directory.join("buildkitd.toml"))
        .env_remove("BUILDKIT_HOST");
    Process::start("buildkitd", &mut command, log)
}

/// Processes whose root file system is a mount of this daemon, whoever is their parent now.
fn containers(directory: &Path) -> Vec<String> {
    let marks = directory.join("root").to_string_lossy().into_owned();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    pids.filter(|pid| {
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        mounts
            .lines()
            .any(|line| line.split(' ').nth(4) == Some("/") && line.contains(&marks))
    })
    .collect()
}

fn kill_containers(directory: &Path) {
    for pid in containers(directory) {
        // One that ended meanwhile needs no signal.
        let _ = Command::new("kill").args(["-KILL", &pid]).status();
    }
}

/// Removes every mount below the directory, the innermost first, so that its files can be removed.
fn unmount(directory: &Path) {
    let below = directory.to_string_lossy().into_owned();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| point.starts_with(&below));
    for point in points.collect::<Vec<_>>().into_iter().rev() {
        let _ = Command::new("umount").args(["-l", point]).status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_own_daemon_serves_survives_a_kill_and_leaves_nothing() {
        if std::env::var_os("PATCHPORT_TEST_BUILDKITD").is_none() && on_path("buildkitd").is_none() {
            return;
        }
        let mut daemon = Buildkitd::own().await;
        assert_eq!(daemon.solves(), 0);
        let directory = daemon.own.as_ref().unwrap().directory.path().to_owned();
        daemon.kill9();
        daemon.restart().await;
        assert_eq!(daemon.solves(), 0);
        drop(daemon);
        assert!(!directory.exists());
    }
}
