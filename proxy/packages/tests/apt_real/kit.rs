//! A scene for the real apt: a root of its own in a temporary folder, and repositories on loopback. apt only simulates, so
//! there are no archives: a stanza in `Packages` is enough.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;

use patchport_oci::Digest;
use tempfile::TempDir;

/// A repository: one suite of it, with one component.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    /// `dists/SUITE`; a flat repository when it ends in `/`.
    pub(crate) suite: String,
    /// The component.
    pub(crate) component: String,
    /// Lines of its `Release` besides dates and hashes.
    pub(crate) release: String,
    /// Its stanzas, by architecture of the index.
    pub(crate) packages: BTreeMap<String, String>,
}

impl Repository {
    /// `Label: LABEL` in a suite, with packages for amd64.
    pub(crate) fn new(suite: &str, label: &str, packages: &str) -> Self {
        let name = suite.trim_matches(['.', '/']);
        Self {
            suite: suite.to_owned(),
            component: "main".to_owned(),
            release: format!("Origin: kit\nLabel: {label}\nSuite: {name}\nCodename: {name}\nVersion: 12\n"),
            packages: BTreeMap::from([("amd64".to_owned(), packages.to_owned())]),
        }
    }

    /// With more lines in its `Release`.
    pub(crate) fn release(mut self, lines: &str) -> Self {
        self.release.push_str(lines);
        self
    }

    /// With packages for another architecture.
    pub(crate) fn index(mut self, architecture: &str, packages: &str) -> Self {
        self.packages.insert(architecture.to_owned(), packages.to_owned());
        self
    }

    fn is_flat(&self) -> bool {
        self.suite.ends_with('/')
    }

    /// Where its `Release` is.
    pub(crate) fn folder(&self) -> String {
        if self.is_flat() {
            self.suite.trim_start_matches("./").to_owned()
        } else {
            format!("dists/{}/", self.suite)
        }
    }

    /// The text of its `Release`.
    pub(crate) fn release_text(&self) -> String {
        let mut text = self.release.clone();
        let architectures: Vec<&str> = self.packages.keys().map(String::as_str).collect();
        let _ = writeln!(text, "Date: {}", date());
        let _ = writeln!(
            text,
            "Architectures: {}\nComponents: {}\nSHA256:",
            architectures.join(" "),
            self.component
        );
        for (path, bytes) in self.files() {
            let _ = writeln!(text, " {} {} {path}", Digest::of(bytes.as_bytes()).hex(), bytes.len());
        }
        text
    }

    fn files(&self) -> Vec<(String, &String)> {
        let path = |architecture: &str| match self.is_flat() {
            true => "Packages".to_owned(),
            false => format!("{}/binary-{architecture}/Packages", self.component),
        };
        self.packages
            .iter()
            .map(|(architecture, text)| (path(architecture), text))
            .collect()
    }
}

/// What apt has: repositories on loopback, and the files of a root.
pub(crate) struct Scene {
    root: TempDir,
    /// The repositories, each below a folder with its number.
    pub(crate) repositories: Vec<Repository>,
    address: SocketAddr,
    /// The files of the root that apt and dpkg read, by path.
    pub(crate) files: BTreeMap<String, String>,
    /// All architectures, the native one first.
    pub(crate) architectures: Vec<String>,
}

impl Scene {
    /// These repositories, and this in dpkg's status.
    pub(crate) fn new(repositories: Vec<Repository>, status: &str) -> Self {
        let mut content = BTreeMap::new();
        for (number, repository) in repositories.iter().enumerate() {
            let folder = format!("/{number}/{}", repository.folder());
            content.insert(format!("{folder}Release"), repository.release_text());
            for (path, bytes) in repository.files() {
                content.insert(format!("{folder}{path}"), bytes.clone());
            }
        }
        let address = serve(content);
        let mut sources = String::new();
        for (number, repository) in repositories.iter().enumerate() {
            let Repository { suite, component, .. } = repository;
            let component = if repository.is_flat() { "" } else { component };
            let _ = writeln!(
                sources,
                "deb [trusted=yes] http://{address}/{number} {suite} {component}"
            );
        }
        let files = [
            ("etc/apt/sources.list", sources.as_str()),
            ("var/lib/dpkg/status", status),
        ];
        Self {
            root: tempfile::tempdir().unwrap(),
            repositories,
            address,
            files: files.map(|(path, text)| (path.to_owned(), text.to_owned())).into(),
            architectures: vec!["amd64".to_owned()],
        }
    }

    /// With a file in its root.
    pub(crate) fn file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.to_owned(), text.to_owned());
        self
    }

    /// With a foreign architecture.
    pub(crate) fn foreign(mut self, architecture: &str) -> Self {
        self.architectures.push(architecture.to_owned());
        self.file("var/lib/dpkg/arch", &format!("amd64\n{architecture}\n"))
    }

    /// What `apt-get --simulate upgrade` says it would install, as `name:architecture version`, sorted: without new packages,
    /// and with them. An error is what apt says when it does not go through.
    pub(crate) fn upgrades(&self) -> Result<[Vec<String>; 2], String> {
        let root = self.root.path();
        for folder in FOLDERS {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (path, text) in &self.files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        self.apt(&["update"])?;
        let upgrade = |arguments: &[&str]| -> Result<Vec<String>, String> {
            let mut lines: Vec<String> = self.apt(arguments)?.lines().filter_map(installs).collect();
            lines.sort();
            Ok(lines)
        };
        let plain = upgrade(&["--simulate", "upgrade"])?;
        Ok([
            plain,
            upgrade(&["--simulate", "--with-new-pkgs", "--no-install-recommends", "upgrade"])?,
        ])
    }

    fn apt(&self, arguments: &[&str]) -> Result<String, String> {
        let root = self.root.path();
        let configuration = root.join("apt.conf");
        fs::write(&configuration, options(root, &self.architectures)).unwrap();
        let mut command = Command::new("apt-get");
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("APT_CONFIG", &configuration);
        let output = command.arg("-q").args(arguments).output().expect("apt-get can be run");
        let Output { status, stdout, stderr } = &output;
        let (stdout, stderr) = (String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
        if status.success() {
            Ok(stdout.into_owned())
        } else {
            Err(format!("apt-get {arguments:?}: {stdout}{stderr}"))
        }
    }

    /// The host and port of the repositories.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What must be there.
const FOLDERS: [&str; 6] = [
    "etc/apt/apt.conf.d",
    "etc/apt/preferences.d",
    "etc/apt/sources.list.d",
    "var/cache/apt/archives/partial",
    "var/lib/apt/lists/partial",
    "var/lib/dpkg",
];

/// apt reads `$APT_CONFIG` before its folders are known, so nothing of this machine's is read.
fn options(root: &Path, architectures: &[String]) -> String {
    let all: String = architectures
        .iter()
        .fold(String::new(), |all, one| all + &format!("\"{one}\"; "));
    format!(
        "Dir \"{root}\";\nDir::State::status \"{root}/var/lib/dpkg/status\";\nAPT::Architecture \"{native}\";\n\
        APT::Architectures {{ {all}}};\nDebug::NoLocking \"true\";\nAPT::Sandbox::User \"root\";\n\
        Acquire::Languages \"none\";\n",
        root = root.display(),
        native = architectures[0],
    )
}

/// `Inst b [1.0] (2.0 l:s [all])`, as `b:all 2.0`. What is not configured yet may follow, in brackets.
fn installs(line: &str) -> Option<String> {
    let rest = line.strip_prefix("Inst ")?;
    let (name, rest) = rest.split_once(' ')?;
    let (offer, _) = rest.split_once('(')?.1.split_once(')')?;
    let (version, rest) = offer.split_once(' ')?;
    let architecture = rest.rsplit_once('[')?.1.strip_suffix(']')?;
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    Some(format!("{name}:{architecture} {version}"))
}

/// Of what apt installs, what was installed before: with that architecture, as findings have it, and without downgrades.
pub(crate) fn of_installed(scene: &Scene, list: &[String]) -> Vec<String> {
    let status = scene.files.get("var/lib/dpkg/status").map_or("", String::as_str);
    let installed =
        |name: &str, architecture: &str| status.contains(&format!("Package: {name}\nArchitecture: {architecture}\n"));
    let found = list.iter().filter_map(|line| {
        let (package, version) = line.split_once(' ')?;
        let (name, architecture) = package.split_once(':')?;
        let other = if architecture == "all" { "amd64" } else { "all" };
        let architecture = [architecture, other]
            .into_iter()
            .find(|architecture| installed(name, architecture))?;
        Some(format!("{name}:{architecture} {version}"))
    });
    found.collect()
}

/// Now, as a `Release` says it.
fn date() -> String {
    let output = Command::new("date").args(["-u", "-R"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().replace("+0000", "UTC")
}

/// A server for these paths, for as long as the process lives.
fn serve(content: BTreeMap<String, String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().unwrap();
    let content = Arc::new(content);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let content = Arc::clone(&content);
            thread::spawn(move || answer(&stream, &content));
        }
    });
    address
}

fn answer(mut stream: &TcpStream, content: &BTreeMap<String, String>) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    loop {
        let request = lines.next()?.ok()?;
        while !lines.next()?.ok()?.is_empty() {}
        let path = request.split(' ').nth(1)?.replace("/./", "/");
        let (status, body) = match content.get(&path) {
            Some(body) => ("200 OK", body.as_str()),
            None => ("404 Not Found", ""),
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body.as_bytes()).ok()?;
    }
}
