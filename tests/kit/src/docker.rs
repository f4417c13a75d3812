//! A real Docker: Debian's, which is old, or a recent one; and a BuildKit in a container of Docker or Podman. Each Docker has state
//! of its own and leaves no process, no mount and no file behind.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::image::Image;
use crate::process::{Log, Process, run};
use crate::scanner::write_layout;
use crate::tools::unmount_below;

/// How long a daemon may take to begin, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which Docker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// Debian 12's: 20.10, with a BuildKit that is too old to make patches.
    Debian,
    /// One that keeps its images in containerd, as new installations do.
    Recent,
    /// The same, with Docker's older image store.
    RecentWithoutImageStore,
}

/// A Docker engine, alone on its socket.
pub struct Docker {
    directory: TempDir,
    process: Process,
}

impl Docker {
    /// Starts one (`tests/tools/install docker` brings the programs) and waits until it listens.
    pub async fn start(edition: Edition) -> Self {
        let directory = in_memory("patchport-docker-");
        let path = |name: &str| directory.path().join(name).display().to_string();
        fs::write(path("daemon.json"), "{}").unwrap();
        let mut command = match edition {
            Edition::Debian => Command::new("dockerd"),
            Edition::Recent | Edition::RecentWithoutImageStore => Command::new("dockerd-recent"),
        };
        if edition == Edition::RecentWithoutImageStore {
            command.args(["--feature", "containerd-snapshotter=false"]);
        }
        command.args(["--iptables=false", "--bridge=none", "--userland-proxy=false"]);
        if edition != Edition::Debian {
            command.arg("--ip6tables=false");
        }
        command.args(["--host", &format!("unix://{}", path("d.sock"))]);
        for (option, name) in [
            ("--config-file", "daemon.json"),
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
        ] {
            command.args([option, &path(name)]);
        }
        let log = Log::default();
        let process = Process::start("dockerd", &mut command, &log);
        let listens = |lines: &[String]| lines.iter().any(|line| line.contains("API listen on")).then_some(());
        log.wait(0, "that Docker listens", PATIENCE, listens).await;
        Self { directory, process }
    }

    /// Its socket.
    pub fn socket(&self) -> String {
        self.directory.path().join("d.sock").display().to_string()
    }

    /// The value of `DOCKER_HOST` for it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket())
    }

    /// Runs Docker's command; gives its output, and panics with it unless it succeeds.
    pub fn run(&self, arguments: &[&str]) -> String {
        run(self.command().args(arguments))
    }

    fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.host());
        command
    }
}

impl Drop for Docker {
    /// Ends its containers and then the daemon, which ends its containerd.
    fn drop(&mut self) {
        let listed = self.command().args(["ps", "--all", "--quiet"]).output();
        let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        for container in listed.unwrap_or_default().split_whitespace() {
            let _ = self.command().args(["rm", "--force", container]).output();
        }
        if self.process.runs() {
            self.process.signal("TERM");
        }
        let end = Instant::now() + PATIENCE;
        while self.process.runs() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        unmount_below(self.directory.path());
    }
}

/// A folder in memory: on some disks the images of an engine take half a minute to be removed.
fn in_memory(prefix: &str) -> TempDir {
    let directory = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
    run(Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4g,mode=755", "tmpfs"])
        .arg(directory.path()));
    directory
}

/// Runs Podman's command with the test bed's settings; gives its output, and panics with it unless it succeeds.
pub fn podman(arguments: &[&str]) -> String {
    run(Command::new("podman").args(arguments))
}

/// A BuildKit in a container. The container has this machine's programs and libraries, and its network.
pub struct Contained<'a> {
    name: String,
    command: &'a dyn Fn(&[&str]) -> String,
    directory: TempDir,
}

impl<'a> Contained<'a> {
    /// Starts a container of that name with Docker's or Podman's command, and waits until its BuildKit answers.
    pub async fn start(name: &str, command: &'a dyn Fn(&[&str]) -> String) -> Self {
        let directory = in_memory("patchport-bkc-");
        let image = load(command, directory.path());
        let tools = crate::buildkitd::buildkitd().parent().unwrap().display().to_string();
        let state = directory.path().join("state");
        fs::create_dir(&state).unwrap();
        let mut mounts = vec![
            format!("{tools}:/opt/buildkit:ro"),
            format!("{}:/var/lib/buildkit", state.display()),
            "/sys/fs/cgroup:/sys/fs/cgroup".to_owned(),
        ];
        let libraries = ["/usr", "/lib", "/lib64"].into_iter();
        let libraries = libraries.filter(|path| Path::new(path).exists());
        mounts.extend(libraries.map(|path| format!("{path}:{path}:ro")));
        // Not `--privileged`: that wants every capability, and a sandbox may lack one that BuildKit does not need.
        let mut arguments = vec!["run", "--detach", "--name", name, "--network", "host", "--user", "0"];
        arguments.extend(["--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN"]);
        arguments.extend([
            "--security-opt",
            "seccomp=unconfined",
            "--security-opt",
            "apparmor=unconfined",
        ]);
        arguments.extend(["--tmpfs", "/tmp", "--tmpfs", "/run"]);
        for mount in &mounts {
            arguments.extend(["--volume", mount]);
        }
        arguments.extend(["--env", "PATH=/opt/buildkit:/usr/sbin:/usr/bin"]);
        arguments.extend(["--entrypoint", "buildkitd", &image, "--oci-worker-net=host"]);
        command(&arguments);
        let contained = Self {
            name: name.to_owned(),
            command,
            directory,
        };
        contained.answers().await;
        contained
    }

    async fn answers(&self) {
        let end = Instant::now() + PATIENCE;
        let socket = "/run/buildkit/buildkitd.sock";
        let look = format!("[ -S {socket} ] && echo there || true");
        while !(self.command)(&["exec", &self.name, "sh", "-c", &look]).contains("there") {
            assert!(Instant::now() < end, "{}", (self.command)(&["logs", &self.name]));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends BuildKit; the container stays.
    pub fn stop(&self) {
        (self.command)(&["stop", &self.name]);
    }
}

impl Drop for Contained<'_> {
    fn drop(&mut self) {
        // A test that fails says why itself.
        let remove = std::panic::AssertUnwindSafe(|| (self.command)(&["rm", "--force", &self.name]));
        let _ = std::panic::catch_unwind(remove);
        unmount_below(self.directory.path());
    }
}

/// Gives the engine an image with next to nothing in it; its name.
fn load(command: &dyn Fn(&[&str]) -> String, directory: &Path) -> String {
    let name = "localhost/patchport-kit/empty:1".to_owned();
    let (layout, archive) = (directory.join("layout"), directory.join("image.tar"));
    write_layout(&Image::tiny("a container of BuildKit"), &layout);
    run(Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy"])
        .arg(format!("oci:{}:kit", layout.display()))
        .arg(format!("docker-archive:{}:{name}", archive.display())));
    command(&["load", "--input", &archive.display().to_string()]);
    name
}
