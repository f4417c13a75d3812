//! A suite of an apt repository as distributions lay it out: `dists/SUITE/InRelease`, `main/binary-all`, a pool. Signed by whom a
//! test likes, with what a test likes in its `Release`.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use super::{Package, Repository};
use crate::signer::Signer;

/// A suite with one component, `main`.
#[derive(Clone)]
pub struct Suite {
    name: String,
    fields: Vec<(String, String)>,
    index: String,
}

impl Suite {
    /// An empty suite of this name, made now by the origin `kit`.
    pub fn new(name: &str) -> Self {
        let suite = Self {
            name: name.to_owned(),
            fields: Vec::new(),
            index: String::new(),
        };
        let (origin, label) = ("kit", "kit");
        let suite = suite
            .field("Origin", origin)
            .field("Label", label)
            .field("Suite", name)
            .field("Codename", name);
        suite.field("Date", &date(Duration::ZERO, false))
    }

    /// Sets a field of `Release`.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Builds a package, puts it into the repository, and lists it.
    pub fn package(mut self, repository: &Repository, package: &Package) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let deb = package.build(directory.path());
        let path = format!("pool/{}_{}_all.deb", package.name, package.version.replace(':', "%3a"));
        let digest = crate::digest(&deb);
        let _ = write!(
            self.index,
            "Package: {}\n{}Filename: {path}\nSize: {}\nSHA256: {}\n\n",
            package.name,
            package.fields(&package.version),
            deb.len(),
            digest.trim_start_matches("sha256:")
        );
        // apt asks for the file that the field names, percent signs and all.
        repository.put(&path.replace("%3a", "%253a"), deb.clone());
        repository.put(&path, deb);
        self
    }

    /// `Release`.
    pub fn release(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.fields {
            let _ = writeln!(text, "{name}: {value}");
        }
        let digest = crate::digest(self.index.as_bytes());
        let _ = writeln!(text, "Architectures: all amd64 arm64\nComponents: main\nSHA256:");
        for architecture in ["all", "amd64", "arm64"] {
            let index = if architecture == "all" { "" } else { &self.index };
            let digest = if index.is_empty() {
                crate::digest(b"")
            } else {
                digest.clone()
            };
            let _ = writeln!(
                text,
                " {} {} main/binary-{architecture}/Packages",
                digest.trim_start_matches("sha256:"),
                index.len()
            );
        }
        text
    }

    /// Serves it, clear-signed; without a signer only `Release`, which nobody has signed.
    pub fn publish(&self, repository: &Repository, signer: Option<&Signer>) {
        self.publish_packages(repository, &self.index);
        match signer {
            Some(signer) => {
                repository.remove(&format!("dists/{}/Release", self.name));
                repository.put(&self.path("InRelease"), signer.clear_sign(&self.release()));
            }
            None => {
                repository.remove(&format!("dists/{}/InRelease", self.name));
                repository.put(&self.path("Release"), self.release());
            }
        }
    }

    /// Serves it as older repositories do: `Release` with the signature beside it.
    pub fn publish_detached(&self, repository: &Repository, signer: &Signer) {
        self.publish(repository, None);
        repository.put(&self.path("Release.gpg"), signer.detach_sign(&self.release()));
    }

    /// Serves another list of packages than `Release` says.
    pub fn publish_packages(&self, repository: &Repository, index: &str) {
        for architecture in ["all", "amd64", "arm64"] {
            let index = if architecture == "all" { "" } else { index };
            repository.put(
                &self.path(&format!("main/binary-{architecture}/Packages")),
                index.to_owned(),
            );
        }
    }

    /// The list of packages.
    pub fn packages(&self) -> &str {
        &self.index
    }

    /// The line for `sources.list`; options such as `[signed-by=/usr/share/keyrings/kit.gpg]`, or none.
    pub fn source(&self, repository: &Repository, options: &str) -> String {
        format!("deb {options} {} {} main\n", repository.url(), self.name)
    }

    /// A path below the suite.
    pub fn path(&self, file: &str) -> String {
        format!("dists/{}/{file}", self.name)
    }
}

/// A moment so long before or after now, as `Release` has it.
pub fn date(distance: Duration, later: bool) -> String {
    let now = SystemTime::now();
    let moment = if later { now + distance } else { now - distance };
    let seconds = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let mut command = std::process::Command::new("date");
    command
        .env("LC_ALL", "C")
        .args(["-u", "-d", &format!("@{seconds}"), "+%a, %d %b %Y %H:%M:%S UTC"]);
    crate::process::run(&mut command).trim().to_owned()
}
