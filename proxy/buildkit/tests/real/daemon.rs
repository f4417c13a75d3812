//! A `buildkitd` for one test: a root of its own in a temporary directory, ended by its process id.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use patchport_buildkit::{Address, AutoOptions, Client, Endpoint, Tls};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const CONFIG: &str = "[worker.oci]\nenabled = true\nsnapshotter = \"overlayfs\"\nnetworkMode = \"host\"\n[worker.containerd]\nenabled = false\n";

/// The program under test; a machine without it cannot run these tests and must not seem to.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("PATCHPORT_TEST_BUILDKITD")
        .map(PathBuf::from)
        .expect("PATCHPORT_TEST_BUILDKITD must name a buildkitd that has its buildctl beside it")
}

pub(crate) struct Buildkitd {
    dir: PathBuf,
    socket: PathBuf,
    // Removed after the daemon has ended; `None` if the directory is the test's.
    _owned: Option<TempDir>,
    extra: Vec<String>,
    child: Option<Child>,
}

impl Buildkitd {
    pub(crate) fn new() -> Self {
        let owned = tempfile::tempdir().unwrap();
        let dir = owned.path().to_owned();
        Self {
            socket: dir.join("b.sock"),
            dir,
            _owned: Some(owned),
            extra: Vec::new(),
            child: None,
        }
    }

    /// One in the client's own state directory, as if an earlier client had started it.
    pub(crate) fn rooted(dir: &Path) -> Self {
        let (dir, socket) = (dir.to_owned(), dir.join("buildkitd.sock"));
        Self {
            dir,
            socket,
            _owned: None,
            extra: Vec::new(),
            child: None,
        }
    }

    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.extra = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let config = self.dir().join("config.toml");
        std::fs::write(&config, CONFIG).unwrap();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir().join("log"))
            .unwrap();
        let child = Command::new(program())
            .arg("--root")
            .arg(self.dir().join("root"))
            .arg("--addr")
            .arg(format!("unix://{}", self.socket().display()))
            .arg("--config")
            .arg(config)
            .arg("--otel-socket-path")
            .arg(self.dir().join("otel.sock"))
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("buildkitd does not start");
        self.child = Some(child);
    }

    /// Waits until it answers, by trying.
    pub(crate) async fn answers(&self, client: &Client) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = client.info().await {
            assert!(
                Instant::now() < deadline,
                "buildkitd does not answer: {error:?}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir().join("log")).unwrap()
    }

    /// The port of its TCP address, which it logs when it listens there.
    pub(crate) async fn port(&self) -> u16 {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let log = self.log();
            let rest = log
                .split_once("running server on 127.0.0.1:")
                .map_or("", |(_, rest)| rest);
            if let Some((port, _)) = rest.split_once('"') {
                return port.parse().unwrap();
            }
            assert!(Instant::now() < deadline, "buildkitd does not listen\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        endpoint(Address::Unix(self.socket()), None)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it does not run").id()
    }

    /// Waits until it has ended on somebody else's word.
    pub(crate) fn wait(&mut self) {
        self.child.take().expect("it does not run").wait().unwrap();
    }

    /// SIGKILL, and it is gone on return.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it does not run");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Buildkitd {
    /// SIGTERM, so that no command outlives it and the directory can be removed.
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
            let _ = child.wait();
        }
        unmount_below(self.dir());
    }
}

/// A buildkitd that was killed leaves the root file system of its last command mounted.
pub(crate) fn unmount_below(dir: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for point in points.filter(|point| Path::new(point).starts_with(dir)) {
        let _ = Command::new("umount").arg("--lazy").arg(point).status();
    }
}

pub(crate) fn endpoint(address: Address, tls: Option<Tls>) -> Endpoint {
    Endpoint {
        address,
        tls,
        auto: AutoOptions {
            sockets: Vec::new(),
            ..AutoOptions::default()
        },
    }
}
