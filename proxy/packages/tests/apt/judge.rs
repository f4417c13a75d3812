//! A scratch world of repositories and installed packages that both the real `apt-get` and this crate look at.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use patchport_packages::apt::{self, Configuration, Index, Judge, Release, Repository, Source, Target};
use patchport_packages::dpkg;
use patchport_packages::findings::{Finding, Status};
use patchport_packages::inventory::Pool;
use patchport_packages::layer::{self, Limits, Wanted};
use patchport_packages::{Findings, Inventory, OsRelease};

pub(crate) const NATIVE: &str = "amd64";

/// One repository: name of its folder, more lines of its Release, its packages.
pub(crate) struct Archive {
    pub(crate) name: &'static str,
    pub(crate) release: &'static str,
    /// Name, version and more lines, with `Architecture: amd64` when these have none.
    pub(crate) packages: Vec<(&'static str, &'static str, &'static str)>,
}

/// What both look at.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) archives: Vec<Archive>,
    /// Name, version and more lines; `Status: hold ok installed` among them for what is held.
    pub(crate) installed: Vec<(&'static str, &'static str, &'static str)>,
    pub(crate) preferences: &'static str,
    pub(crate) conf: &'static str,
}

/// What is there once files are written.
pub(crate) struct Scratch {
    directory: tempfile::TempDir,
}

impl World {
    /// What `apt-get -s upgrade` would upgrade, as `name version`.
    pub(crate) fn apt(&self, arguments: &[&str]) -> Vec<String> {
        self.write().apt(arguments)
    }

    /// What this crate finds.
    pub(crate) fn findings(&self, with_new: bool) -> Findings {
        let sources = self.archives.iter().map(|archive| Source {
            uri: format!("http://archive.test/{}/", archive.name),
            suites: vec![archive.name.to_owned()],
            components: vec!["main".to_owned()],
            ..Source::default()
        });
        let configuration = Configuration {
            sources: sources.collect(),
            ..self.configuration()
        };
        let targets: Vec<Target> = apt::targets(&configuration, NATIVE);
        let read = targets.iter().map(|target| {
            let archive = self
                .archives
                .iter()
                .find(|archive| archive.name == target.suite)
                .unwrap();
            let release = Release::parse(release(archive).as_bytes()).unwrap();
            (release, Index::parse(packages(archive).as_bytes(), 1 << 26).unwrap())
        });
        let read: Vec<(Release, Index)> = read.collect();
        let repositories =
            targets
                .iter()
                .zip(&read)
                .map(|(target, (release, index))| Repository { target, release, index });
        let repositories: Vec<Repository<'_>> = repositories.collect();
        let inventory = inventory(self.status().as_bytes());
        let packages: Vec<_> = inventory.packages.iter().collect();
        let find = if with_new { apt::outdated } else { apt::plain_upgrade };
        let found = find(&packages, &inventory.held, &configuration, &repositories, NATIVE);
        if with_new {
            self.assert_shared(&inventory, &found, &configuration, &repositories);
        }
        found
    }

    /// Judged among other images, the answer is the same.
    fn assert_shared(
        &self,
        inventory: &Inventory,
        alone: &Findings,
        configuration: &Configuration,
        repositories: &[Repository<'_>],
    ) {
        let mut pool = Pool::default();
        let kept = pool.keep(inventory);
        let copy = pool.keep(&inventory.clone());
        let judge = Judge::new(configuration, repositories, NATIVE);
        let packages: Vec<_> = kept.apt().collect();
        for split in 0..packages.len().min(4) {
            let (first, rest) = packages.split_at(split);
            for part in [rest, first] {
                let installed: Vec<_> = part.iter().map(|package| package.installed).collect();
                let expected = apt::outdated(&installed, &inventory.held, configuration, repositories, NATIVE);
                assert_eq!(judge.outdated(part, &inventory.held), expected);
            }
        }
        for packages in [packages, copy.apt().collect()] {
            assert_eq!(judge.outdated(&packages, &inventory.held), *alone);
        }
    }

    fn configuration(&self) -> Configuration {
        files(&[
            ("etc/apt/preferences", self.preferences),
            ("etc/apt/apt.conf", self.conf),
            ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ])
    }

    fn status(&self) -> String {
        let stanzas = self.installed.iter().map(|(name, version, more)| {
            let status = if more.contains("Status:") {
                ""
            } else {
                "Status: install ok installed\n"
            };
            let architecture = if more.contains("Architecture:") {
                ""
            } else {
                "Architecture: amd64\n"
            };
            format!(
                "Package: {name}\nVersion: {version}\n{status}{architecture}{more}Maintainer: x\nDescription: x\n\n"
            )
        });
        stanzas.collect()
    }

    pub(crate) fn write(&self) -> Scratch {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let mut sources = String::new();
        for archive in &self.archives {
            let folder = root.join(format!("{0}/dists/{0}", archive.name));
            fs::create_dir_all(folder.join("main/binary-amd64")).unwrap();
            fs::write(folder.join("main/binary-amd64/Packages"), packages(archive)).unwrap();
            fs::write(folder.join("Release"), release(archive)).unwrap();
            writeln!(
                sources,
                "deb [trusted=yes] file:{}/{1} {1} main",
                root.display(),
                archive.name
            )
            .unwrap();
        }
        let files = [
            ("sources.list", &*sources),
            ("preferences", self.preferences),
            ("apt.conf", self.conf),
        ];
        for (name, text) in files {
            fs::write(root.join(name), text).unwrap();
        }
        fs::write(root.join("status"), self.status()).unwrap();
        Scratch { directory }
    }
}

impl Scratch {
    fn apt(&self, arguments: &[&str]) -> Vec<String> {
        self.run(&["update"]);
        let said = self.run(&[&["-s"], arguments].concat());
        let mut upgrades = upgrades_in(&said);
        upgrades.sort();
        upgrades
    }

    fn run(&self, arguments: &[&str]) -> String {
        let root = self.directory.path();
        let set = |name: &str, path: &str| format!("{name}={}", root.join(path).display());
        let options = [
            set("Dir::State::status", "status"),
            set("Dir::State::lists", "lists"),
            set("Dir::State::extended_states", "extended_states"),
            set("Dir::Etc::sourcelist", "sources.list"),
            set("Dir::Etc::preferences", "preferences"),
            set("Dir::Cache", "cache"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            "Dir::Etc::parts=/dev/null".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ];
        let mut command = Command::new("apt-get");
        command.env("LC_ALL", "C").env("APT_CONFIG", root.join("apt.conf"));
        command.args(options.iter().flat_map(|option| ["-o", option]));
        let output = command
            .args(arguments)
            .output()
            .expect("these tests need apt-get: run tests/tools/install");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }
}

/// What a simulation says that it upgrades, as `name version`: `Inst bash [5.2-1] (5.2-2 Debian:12.5/stable [amd64])`.
pub(crate) fn upgrades_in(said: &str) -> Vec<String> {
    let lines = said.lines().filter_map(|line| line.strip_prefix("Inst "));
    let words = lines.map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let upgrades = words.filter(|words| words[1].starts_with('['));
    upgrades
        .map(|words| format!("{} {}", words[0], words[2].trim_start_matches('(')))
        .collect()
}

/// What is fixable, as `name version`.
pub(crate) fn fixable(findings: &Findings) -> Vec<String> {
    let fixable = findings
        .findings
        .iter()
        .filter(|finding| finding.status == Status::Fixable);
    let mut fixable: Vec<String> = fixable.map(said).collect();
    fixable.sort();
    fixable
}

fn said(finding: &Finding) -> String {
    format!("{} {}", finding.package, finding.fixed.as_ref().unwrap())
}

fn release(archive: &Archive) -> String {
    let packages = packages(archive);
    let digest = digest(packages.as_bytes());
    let (name, more, size) = (archive.name, archive.release, packages.len());
    let own = |field: &str, value: &str| {
        if more.contains(field) {
            String::new()
        } else {
            format!("{field} {value}\n")
        }
    };
    format!(
        "{}{}Suite: {name}\nCodename: {name}\n{more}Date: Sat, 11 Oct 2025 09:00:00 UTC\nArchitectures: amd64 i386 all\nComponents: main\n\
         SHA256:\n {digest} {size} main/binary-amd64/Packages\n",
        own("Origin:", "Debian"),
        own("Label:", "Debian"),
    )
}

fn packages(archive: &Archive) -> String {
    let stanzas = archive.packages.iter().map(|(name, version, more)| {
        let architecture = if more.contains("Architecture:") { "" } else { "Architecture: amd64\n" };
        let digest = digest(format!("{name}{version}").as_bytes());
        format!(
            "Package: {name}\nVersion: {version}\n{architecture}{more}Maintainer: x\nFilename: pool/{name}_{version}.deb\nSize: 1\n\
             SHA256: {digest}\nDescription: x\n\n"
        )
    });
    stanzas.collect()
}

fn digest(bytes: &[u8]) -> String {
    let digest = patchport_oci::Digest::of(bytes);
    digest.hex().to_owned()
}

/// What is installed by a status file.
pub(crate) fn inventory(status: &[u8]) -> Inventory {
    let packages = dpkg::read("status", dpkg::Kind::Status, status, dpkg::DEFAULT_LIMIT).unwrap();
    let os = OsRelease::parse(b"ID=debian\nVERSION_ID=12\n").unwrap();
    Inventory::of(os, patchport_packages::inventory::Manager::Dpkg, packages)
}

/// What an image with these files is configured for.
pub(crate) fn files(files: &[(&str, &str)]) -> Configuration {
    try_files(files).unwrap()
}

pub(crate) fn try_files(files: &[(&str, &str)]) -> Result<Configuration, apt::Error> {
    Configuration::read(&image(files))
}

pub(crate) fn image(files: &[(&str, &str)]) -> layer::Files {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, Path::new(path), text.as_bytes())
            .unwrap();
    }
    let bytes = archive.into_inner().unwrap();
    let read = layer::read(
        &*bytes,
        layer::Compression::None,
        &Wanted::packages(),
        &Limits::default(),
    )
    .unwrap();
    layer::merge([&read])
}
