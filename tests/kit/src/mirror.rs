//! The real `patchport` binary as a child process, with a configuration of the test's own in a temporary directory.
//! Killed by its process id when dropped; a panic in its log fails the test that dropped it.

mod setup;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub use setup::{PASS_ALL, Said, Setup, check};

use crate::client::Client;
use crate::process::{Log, Process};

/// How long a mirror may take until it is ready.
const READY: Duration = Duration::from_secs(30);

/// A running mirror and its data directory.
pub struct Mirror {
    process: Process,
    directory: TempDir,
    environment: Vec<(String, String)>,
    log: Log,
    data: String,
    admin: String,
}

impl Mirror {
    /// Begins the configuration of a mirror: no upstream, a rule that passes everything, no BuildKit.
    pub fn setup() -> Setup {
        Setup::default()
    }

    async fn start(setup: Setup) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("patchport-")
            .tempdir()
            .expect("a temporary directory");
        std::fs::write(directory.path().join("patchport.toml"), setup.toml(directory.path())).unwrap();
        let log = Log::default();
        let process = spawn(directory.path(), &setup.environment, &log);
        let mut mirror = Self {
            process,
            directory,
            environment: setup.environment,
            log,
            data: String::new(),
            admin: String::new(),
        };
        mirror.become_ready(0).await;
        mirror
    }

    async fn become_ready(&mut self, from: usize) {
        let bound = self.log.wait(from, "two bound listeners", READY, |lines| {
            let addresses: Vec<String> = lines.iter().filter_map(|line| bound_address(line)).collect();
            // A process that ended will not bind: say so at once instead of at the deadline.
            (addresses.len() >= 2).then_some(addresses)
        });
        let bound = bound.await;
        (self.data, self.admin) = (String::new(), String::new());
        for address in bound {
            let admin = Client::new(&address).get("/livez").await.status == 200;
            *(if admin { &mut self.admin } else { &mut self.data }) = address;
        }
        assert!(
            !self.data.is_empty() && !self.admin.is_empty(),
            "one listener answers /livez, the other does not"
        );
        let end = Instant::now() + READY;
        while self.admin().get("/readyz").await.status != 200 {
            assert!(
                Instant::now() < end,
                "/readyz is 200 within {READY:?}; the log:\n{}",
                self.log.text()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// `HOST:PORT` of the data listener.
    pub fn host(&self) -> &str {
        &self.data
    }

    /// `http://HOST:PORT` of the data listener.
    pub fn url(&self) -> String {
        format!("http://{}", self.data)
    }

    /// A client of the data listener.
    pub fn client(&self) -> Client {
        Client::new(&self.data)
    }

    /// A client of the admin listener.
    pub fn admin(&self) -> Client {
        Client::new(&self.admin)
    }

    /// What it has logged since its first start.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its data directory (`store.dir`).
    pub fn store(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Ends it as a power cut would; the data directory stays.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Asks it to end and waits; panics if it is not gone after 30 s.
    pub async fn sigterm(&mut self) -> std::process::ExitStatus {
        self.process.signal("TERM");
        self.process.ended(Duration::from_secs(30)).await
    }

    /// Starts it again, after it was ended, on the same data directory and configuration; its port may change.
    pub async fn restart(&mut self) {
        assert!(!self.process.runs(), "a mirror is ended before it is started again");
        let from = self.log.lines().len();
        self.process = spawn(self.directory.path(), &self.environment, &self.log);
        self.become_ready(from).await;
    }

    /// Every regular file below `blobs/` and `ingest/` of the store.
    pub fn stored_files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for part in ["blobs", "ingest"] {
            walk(&self.store().join(part), &mut files);
        }
        files
    }

    /// Whether the store holds a file named for this digest.
    pub fn stores(&self, digest: &str) -> bool {
        let hex = digest.trim_start_matches("sha256:");
        self.stored_files()
            .iter()
            .any(|file| file.to_string_lossy().replace('/', "").contains(hex))
    }

    /// Panics unless every stored file that is named for a digest hashes to it.
    #[track_caller]
    pub fn assert_store_is_true(&self) {
        for file in self.stored_files() {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if file.starts_with(self.store().join("blobs")) && name.len() == 64 {
                let content = std::fs::read(&file).unwrap();
                assert_eq!(
                    crate::digest(&content),
                    format!("sha256:{name}"),
                    "content of {}",
                    file.display()
                );
            }
        }
    }

    /// Panics unless `ingest/` is empty within 5 s: a fill that failed leaves no part behind.
    pub async fn assert_nothing_in_ingest(&self) {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let mut files = Vec::new();
            walk(&self.store().join("ingest"), &mut files);
            if files.is_empty() {
                return;
            }
            assert!(Instant::now() < end, "left in ingest/: {files:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.process.kill9();
        let text = self.log.text();
        if std::thread::panicking() {
            // What was answered well is seldom the trouble, and most of the log.
            let lines: Vec<String> = self
                .log
                .lines()
                .into_iter()
                .filter(|line| !line.contains("request answered"))
                .collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n");
            #[expect(clippy::print_stderr, reason = "a failing test shows what the mirror had to say")]
            {
                eprintln!("--- the mirror's log: its last 40 lines but for good answers\n{last}\n---");
            }
        } else {
            assert!(!text.contains("panicked at"), "the mirror panicked:\n{text}");
        }
    }
}

fn spawn(directory: &Path, environment: &[(String, String)], log: &Log) -> Process {
    let mut command = Command::new(binary());
    command
        .args(["serve", "--config"])
        .arg(directory.join("patchport.toml"));
    command
        .env("NO_COLOR", "1")
        .env("RUST_BACKTRACE", "1")
        .env_remove("PATCHPORT_CONFIG");
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    Process::start("patchport", &mut command, log)
}

/// The binary under test: `PATCHPORT_TEST_BIN`, else the `patchport` beside the test executable's directory.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("PATCHPORT_TEST_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test knows its executable");
    let beside = test
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("patchport"))
        .find(|path| path.is_file());
    beside.unwrap_or_else(|| {
        panic!(
            "no patchport beside {}: run `cargo build -p patchport` first, or set PATCHPORT_TEST_BIN",
            test.display()
        )
    })
}

/// The value of `listener.address` in a log line, text or JSON.
fn bound_address(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listener.address")?;
    let start = rest.find(|letter: char| letter.is_ascii_digit() || letter == '[')?;
    let rest = &rest[start..];
    let end = rest
        .find(|letter: char| !letter.is_ascii_hexdigit() && !".:[]".contains(letter))
        .unwrap_or(rest.len());
    Some(rest[..end].to_owned())
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), files),
            Ok(_) => files.push(entry.path()),
            // Renamed or removed while we looked.
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bound_address;

    #[test]
    fn the_bound_address_is_read_from_text_and_json() {
        let cases = [
            (
                "INFO patchport: listening listener.address=127.0.0.1:40123 listener.kind=\"data\"",
                Some("127.0.0.1:40123"),
            ),
            (
                r#"{"fields":{"message":"listening","listener.address":"127.0.0.1:5"}}"#,
                Some("127.0.0.1:5"),
            ),
            ("INFO listener.address=[::1]:80", Some("[::1]:80")),
            ("INFO started", None),
        ];
        for (line, address) in cases {
            assert_eq!(bound_address(line).as_deref(), address, "{line}");
        }
    }
}
