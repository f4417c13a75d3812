//! A `buildkitd` of our own: started when it is needed, started again when it died, ended at shutdown.
//! One that an earlier, killed process of ours left behind is taken over rather than fought.

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::fs;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::address::Address;
use crate::connect::{self, Connection};
use crate::stream::Dial;

/// How long it may take from its start to its first answer.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long it may take to end after SIGTERM.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// How often a starting or ending daemon is looked at.
const STEP: Duration = Duration::from_millis(25);
/// How much of its log an error quotes, in bytes.
const LOG_TAIL: u64 = 2048;
/// Above this size the log is started afresh with the daemon, in bytes.
const LOG_LIMIT: u64 = 16 << 20;
/// The kernel's limit for the path of a socket, without the terminating zero.
const SOCKET_PATH_LIMIT: usize = 107;

/// The host's network, so that no CNI plugin is needed; the snapshotter is left to BuildKit, which takes overlayfs
/// where the state directory can carry it. The socket for traces has a fixed place in `/run` unless told otherwise, and
/// two daemons that start at once fight for it.
fn config(traces: &Path) -> String {
    format!(
        "# Written by Patchport at every start of its own buildkitd.\n\
         [otel]\nsocketPath = {}\n\
         [worker.oci]\nenabled = true\nnetworkMode = \"host\"\n\
         [worker.containerd]\nenabled = false\n",
        toml_string(&traces.to_string_lossy())
    )
}

/// A basic string of TOML 1.0.
fn toml_string(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

/// Why our own daemon is not running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path under the state directory cannot be used.
    #[error("state of buildkitd at {path}: not usable")]
    State {
        /// The path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The kernel does not take a socket path that long.
    #[error("socket of buildkitd at {path}: longer than {SOCKET_PATH_LIMIT} bytes; use a shorter state directory")]
    SocketPathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// The program did not start.
    #[error("{program}: it cannot be run")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It ended before it answered.
    #[error("{program}: ended with {status} before it answered; its log ends: {log}")]
    Ended {
        /// The program.
        program: PathBuf,
        /// Its exit status.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// It answers, and is of no use.
    #[error("{program}: not usable")]
    Unfit {
        /// The program.
        program: PathBuf,
        /// Why not.
        #[source]
        source: Box<connect::Error>,
    },
    /// It runs and does not answer.
    #[error("{program}: no answer within {START_DEADLINE:?}; its log ends: {log}")]
    Silent {
        /// The program.
        program: PathBuf,
        /// The end of its log.
        log: String,
        /// What the last attempt said.
        #[source]
        source: Box<connect::Error>,
    },
}

/// Our own daemon, running or not.
pub(crate) struct Daemon {
    program: PathBuf,
    dir: PathBuf,
    dial: Dial,
    process: Option<Process>,
}

enum Process {
    Child(Child),
    /// Left behind by an earlier process of ours; not our child, so only its id is known.
    Adopted(Pid),
}

impl Daemon {
    pub(crate) fn new(program: PathBuf, state_dir: PathBuf, dial: Dial) -> Self {
        Self {
            program,
            dir: state_dir,
            dial,
            process: None,
        }
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// A connection to the daemon, which is started unless one answers at its socket already.
    pub(crate) async fn connect(&mut self) -> Result<Connection, Error> {
        let address = Address::Unix(self.socket()?);
        if let Ok(connection) = Connection::open(&address, &self.dial).await {
            self.adopt().await;
            return Ok(connection);
        }
        if !self.is_starting() {
            // What does not answer any more is in the way of a new one.
            self.stop().await;
            self.prepare().await?;
            self.spawn().await?;
        }
        let result = self.await_answer(&address).await;
        if result.is_err() {
            self.stop().await;
        }
        result
    }

    /// Whether there is a child that runs: a caller that gave up does not take a starting daemon with it.
    fn is_starting(&mut self) -> bool {
        match &mut self.process {
            Some(Process::Child(child)) => matches!(child.try_wait(), Ok(None)),
            Some(Process::Adopted(_)) | None => false,
        }
    }

    /// SIGTERM, some seconds, SIGKILL; returns when it is gone. Does nothing if none runs.
    pub(crate) async fn stop(&mut self) {
        match self.process.take() {
            Some(Process::Child(mut child)) => {
                signal(child.id().and_then(pid), Signal::TERM);
                if timeout(STOP_DEADLINE, child.wait()).await.is_err() {
                    // An error here means that it has ended meanwhile.
                    let _ = child.kill().await;
                }
            }
            Some(Process::Adopted(pid)) => {
                signal(Some(pid), Signal::TERM);
                if !gone(pid, STOP_DEADLINE).await {
                    signal(Some(pid), Signal::KILL);
                    gone(pid, STOP_DEADLINE).await;
                }
            }
            None => return,
        }
        // A pid file without a daemon would only have to be seen through at the next start.
        let _ = fs::remove_file(self.pid_file()).await;
    }

    async fn adopt(&mut self) {
        if self.process.is_some() {
            return;
        }
        let Ok(text) = fs::read_to_string(self.pid_file()).await else {
            return;
        };
        let Some(pid) = text.trim().parse().ok().and_then(pid) else {
            return;
        };
        // Process ids are used again: only a process that was started on our root is ours.
        let arguments = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()))
            .await
            .unwrap_or_default();
        let root = self.root();
        if arguments
            .split(|byte| *byte == 0)
            .any(|argument| argument == root.as_os_str().as_encoded_bytes())
        {
            self.process = Some(Process::Adopted(pid));
        }
    }

    async fn prepare(&self) -> Result<(), Error> {
        let at = |path: PathBuf| move |source| Error::State { path, source };
        fs::create_dir_all(self.root()).await.map_err(at(self.root()))?;
        fs::write(self.config(), config(&self.dir.join("otel.sock")))
            .await
            .map_err(at(self.config()))?;
        let socket = self.socket()?;
        match fs::remove_file(&socket).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(socket)(error)),
            _ => Ok(()),
        }
    }

    async fn spawn(&mut self) -> Result<(), Error> {
        let log = self.open_log().await.map_err(|source| Error::State {
            path: self.log(),
            source,
        })?;
        let cannot = |source| Error::Spawn {
            program: self.program.clone(),
            source,
        };
        let child = Command::new(&self.program)
            .arg("--root")
            .arg(self.root())
            .arg("--addr")
            .arg(Address::Unix(self.socket()?).to_string())
            .arg("--config")
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(cannot)?)
            .stderr(log)
            // A group of its own: Ctrl-C in a terminal is for us, and we end it after our last solve.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        let id = child.id();
        self.process = Some(Process::Child(child));
        if let Some(id) = id {
            let path = self.pid_file();
            fs::write(&path, format!("{id}\n"))
                .await
                .map_err(|source| Error::State { path, source })?;
        }
        tracing::info!(buildkit.program = %self.program.display(), buildkit.state = %self.dir.display(), "started buildkitd");
        Ok(())
    }

    async fn await_answer(&mut self, address: &Address) -> Result<Connection, Error> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let error = match Connection::open(address, &self.dial).await {
                Ok(connection) => return Ok(connection),
                Err(source @ connect::Error::Unfit { .. }) => {
                    let (program, source) = (self.program.clone(), Box::new(source));
                    return Err(Error::Unfit { program, source });
                }
                Err(error) => error,
            };
            if let Some(Process::Child(child)) = &mut self.process
                && let Ok(Some(status)) = child.try_wait()
            {
                let (program, log) = (self.program.clone(), self.log_tail().await);
                return Err(Error::Ended {
                    program,
                    status: status.to_string(),
                    log,
                });
            }
            if Instant::now() >= deadline {
                let (program, log) = (self.program.clone(), self.log_tail().await);
                return Err(Error::Silent {
                    program,
                    log,
                    source: Box::new(error),
                });
            }
            sleep(STEP).await;
        }
    }

    async fn open_log(&self) -> io::Result<std::fs::File> {
        let large = fs::metadata(self.log()).await.is_ok_and(|log| log.len() > LOG_LIMIT);
        let mut options = fs::OpenOptions::new();
        if large {
            options.write(true).truncate(true);
        } else {
            options.append(true);
        }
        Ok(options.create(true).open(self.log()).await?.into_std().await)
    }

    async fn log_tail(&self) -> String {
        let read = async {
            let mut file = fs::File::open(self.log()).await?;
            let length = file.metadata().await?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL))).await?;
            let mut tail = Vec::new();
            file.take(LOG_TAIL).read_to_end(&mut tail).await?;
            Ok::<_, io::Error>(String::from_utf8_lossy(&tail).trim().to_owned())
        };
        read.await.unwrap_or_else(|error| format!("(not readable: {error})"))
    }

    fn socket(&self) -> Result<PathBuf, Error> {
        let path = self.dir.join("buildkitd.sock");
        if path.as_os_str().len() > SOCKET_PATH_LIMIT {
            return Err(Error::SocketPathTooLong { path });
        }
        Ok(path)
    }

    fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    fn config(&self) -> PathBuf {
        self.dir.join("buildkitd.toml")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("buildkitd.log")
    }

    fn pid_file(&self) -> PathBuf {
        self.dir.join("buildkitd.pid")
    }
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// The only error is that the process is gone, which is what the signal is for.
fn signal(pid: Option<Pid>, signal: Signal) {
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}

async fn gone(pid: Pid, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    while test_kill_process(pid).is_ok() {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(STEP).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_toml() {
        let table = [
            ("/a b/c", r#""/a b/c""#),
            (r#"/"q"\"#, r#""/\"q\"\\""#),
            ("/\n\u{7f}é", r#""/\u000A\u007Fé""#),
        ];
        for (path, quoted) in table {
            assert_eq!(toml_string(path), quoted);
        }
    }
}
