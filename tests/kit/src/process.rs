//! A child process whose output is kept line by line. It ends with the value that holds it, always by its own
//! process id; a line of its log can be waited for, so no test guesses how long something takes.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// What a process wrote to stdout and stderr so far. Clones share the lines; it outlives restarts.
#[derive(Clone)]
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    count: Arc<watch::Sender<usize>>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            lines: Arc::default(),
            count: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl Log {
    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// All lines so far as one text.
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// How many lines contain all of `parts`.
    pub fn count(&self, parts: &[&str]) -> usize {
        self.lines()
            .iter()
            .filter(|line| parts.iter().all(|part| line.contains(part)))
            .count()
    }

    /// Waits until `found` gives something for the lines from number `from` on; panics with the log at `deadline`.
    pub async fn wait<T>(
        &self,
        from: usize,
        what: &str,
        deadline: Duration,
        found: impl Fn(&[String]) -> Option<T>,
    ) -> T {
        let mut count = self.count.subscribe();
        let searched = async {
            loop {
                let lines = self.lines();
                if let Some(value) = found(lines.get(from..).unwrap_or_default()) {
                    return value;
                }
                count.changed().await.expect("the log keeps its sender");
            }
        };
        match tokio::time::timeout(deadline, searched).await {
            Ok(value) => value,
            Err(_) => panic!("{what} was not logged within {deadline:?}; the log:\n{}", self.text()),
        }
    }

    fn follow(&self, source: impl Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
                let mut lines = log.lines.lock().unwrap();
                lines.push(String::from_utf8_lossy(&line).into_owned());
                let count = lines.len();
                drop(lines);
                log.count.send_replace(count);
            }
        });
    }
}

/// A running child; killed and reaped when dropped.
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `command` with its output going to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Log) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} did not start ({command:?}): {error}"));
        log.follow(child.stdout.take().expect("stdout is piped"));
        log.follow(child.stderr.take().expect("stderr is piped"));
        Self {
            name: name.to_owned(),
            child,
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process at once, as a power cut would, and reaps it.
    pub fn kill9(&mut self) {
        // A process that is gone already is as dead as one that is killed now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by name (`TERM`, `STOP`, `CONT`).
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "{} takes the signal {name}",
            self.name
        );
    }

    /// Waits for the end of the process; panics when it is still there at `deadline`.
    pub async fn ended(&mut self, deadline: Duration) -> ExitStatus {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked for its end") {
                return status;
            }
            assert!(Instant::now() < end, "{} still runs after {deadline:?}", self.name);
            // The kernel offers no notice that std exposes: look often, bounded by the deadline.
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether the process still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// Runs `command` to its end; panics with its output unless it exits 0. Gives stdout.
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(
        output.status.success(),
        "{command:?} fails with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command that may fail came to.
#[derive(Debug)]
pub struct Outcome {
    /// Whether it exited 0.
    pub success: bool,
    /// The exit code, if it ended by itself.
    pub code: Option<i32>,
    /// Everything it wrote, stdout first.
    pub output: String,
}

/// Runs `command` without blocking the runtime; gives its end whatever it was.
pub async fn outcome(mut command: Command) -> Outcome {
    let ran = tokio::task::spawn_blocking(move || {
        let output = command.output();
        output.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
    });
    let output = ran.await.unwrap();
    Outcome {
        success: output.status.success(),
        code: output.status.code(),
        output: format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_of_the_log_is_waited_for_and_the_process_ends_with_its_holder() {
        let log = Log::default();
        let process = Process::start("sh", Command::new("sh").args(["-c", "echo ready; exec sleep 60"]), &log);
        let pid = process.pid();
        log.wait(0, "ready", Duration::from_secs(5), |lines| {
            lines.iter().find(|line| *line == "ready").map(|_| ())
        })
        .await;
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
        drop(process);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[tokio::test]
    async fn the_end_of_a_process_and_its_code_are_reported() {
        let log = Log::default();
        let mut process = Process::start("sh", Command::new("sh").args(["-c", "exit 3"]), &log);
        assert_eq!(process.ended(Duration::from_secs(5)).await.code(), Some(3));
    }
}
