//! An image's root with rpm's database and repositories that createrepo_c made, as the real dnf and we look at it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use patchport_packages::findings::{Finding, Status};
use patchport_packages::inventory::{Held, Installed};
use patchport_packages::layer;
use patchport_packages::rpm::metadata::Repomd;
use patchport_packages::rpm::{self, Configuration, Index};
use tempfile::TempDir;

use crate::kit::{self, Made};

/// An image's root and its repositories, on disk.
pub(crate) struct Bed {
    folder: TempDir,
    builds: u32,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let bed = Self {
            folder: tempfile::tempdir().unwrap(),
            builds: 0,
        };
        for path in ["root/etc/yum.repos.d", "root/etc/dnf", "root/log", "log"] {
            std::fs::create_dir_all(bed.path(path)).unwrap();
        }
        bed
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn database(&self) -> PathBuf {
        kit::database(&self.path("root"))
    }

    pub(crate) fn build(&mut self, architecture: &str, packages: &[(&str, &str)]) -> Vec<PathBuf> {
        self.builds += 1;
        let made: Vec<Made> = packages
            .iter()
            .map(|(name, version)| Made::new(name, version))
            .collect();
        kit::build(
            self.folder.path(),
            &format!("source{}", self.builds),
            architecture,
            &made,
        )
    }

    pub(crate) fn install(&mut self, architecture: &str, packages: &[(&str, &str)]) {
        let built = self.build(architecture, packages);
        kit::install(&self.database(), &built);
    }

    /// Adds packages to a repository and makes its index anew.
    pub(crate) fn publish(&self, repository: &str, packages: &[PathBuf]) {
        let folder = self.path(repository);
        std::fs::create_dir_all(&folder).unwrap();
        for package in packages {
            std::fs::copy(package, folder.join(package.file_name().unwrap())).unwrap();
        }
        kit::run(Command::new("createrepo_c").arg("-q").arg(&folder));
    }

    pub(crate) fn advise(&self, repository: &str, updateinfo: &str) {
        let file = self.path("updateinfo.xml");
        std::fs::write(&file, updateinfo).unwrap();
        let repodata = self.path(repository).join("repodata");
        kit::run(
            Command::new("modifyrepo_c")
                .arg("--mdtype=updateinfo")
                .arg(&file)
                .arg(repodata),
        );
    }

    pub(crate) fn configure(&self, main: &str, repositories: &[(&str, &str)]) {
        std::fs::write(
            self.path("root/etc/dnf/dnf.conf"),
            format!("[main]\ngpgcheck=0\n{main}\n"),
        )
        .unwrap();
        let mut text = String::new();
        for (id, options) in repositories {
            text += &format!(
                "[{id}]\nname={id}\nbaseurl=file://{}\n{options}\n",
                self.path(id).display()
            );
        }
        std::fs::write(self.path("root/etc/yum.repos.d/all.repo"), text).unwrap();
    }

    pub(crate) fn dnf(&self, arguments: &[&str]) -> String {
        let root = self.path("root");
        let cache = tempfile::tempdir().unwrap();
        let mut dnf = Command::new("dnf");
        dnf.args(["-q", "--releasever=9", "--noplugins", "--forcearch=x86_64"]);
        dnf.arg(format!("--installroot={}", root.display()));
        dnf.arg("-c").arg(root.join("etc/dnf/dnf.conf"));
        dnf.arg(format!("--setopt=reposdir={}", root.join("etc/yum.repos.d").display()));
        dnf.arg(format!("--setopt=cachedir={}", cache.path().display()));
        dnf.arg(format!("--setopt=persistdir={}", self.path("persist").display()));
        dnf.arg(format!("--setopt=logdir={}", self.path("log").display()));
        let output = dnf.args(arguments).output();
        let output = output.expect("this test needs dnf: tests/tools/install bed");
        let (said, errors) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        );
        // 100: there are updates.
        assert!(matches!(output.status.code(), Some(0 | 100)), "{said}{errors}");
        said
    }

    /// What dnf lists: name, version and repository, sorted.
    pub(crate) fn expected(&self) -> Vec<String> {
        let said = self.dnf(&["check-update"]);
        let mut lines = Vec::new();
        for line in said.lines().take_while(|line| *line != "Obsoleting Packages") {
            if let [package, version, repository] = line.split_whitespace().collect::<Vec<_>>()[..] {
                lines.push(format!(
                    "{} {version} {repository}",
                    package.rsplit_once('.').unwrap().0
                ));
            }
        }
        lines.sort();
        lines
    }

    fn configuration(&self) -> Configuration {
        let read = |path: &str| std::fs::read_to_string(self.path("root").join(path)).unwrap();
        let paths = ["etc/dnf/dnf.conf", "etc/yum.repos.d/all.repo"];
        let texts = paths.map(read);
        let files: layer::Files = kit::image(&[(paths[0], &texts[0]), (paths[1], &texts[1])]);
        Configuration::read(&files, &kit::os("rocky", "9", "rhel"), None, "x86_64").unwrap()
    }

    fn installed(&self) -> Vec<Installed> {
        let bytes = std::fs::read(self.database().join("rpmdb.sqlite")).unwrap();
        let packages = rpm::read_database("rpmdb.sqlite", &bytes).unwrap();
        let installed = packages.into_iter().map(|package| Installed {
            name: package.name,
            architecture: package.architecture,
            version: package.version,
            source: package.source,
            origin: package.vendor,
        });
        installed.collect()
    }

    pub(crate) fn findings(&self, held: &[Held]) -> Vec<Finding> {
        let configuration = self.configuration();
        let read: Vec<_> = configuration
            .enabled()
            .map(|repository| (repository.id.clone(), index(&self.path(&repository.id))))
            .collect();
        let indexes: Vec<_> = read.iter().map(|(id, index)| (id.as_str(), index)).collect();
        rpm::outdated(&self.installed(), held, &configuration, &indexes).findings
    }

    /// What we list, in the words of `expected`.
    pub(crate) fn found(&self) -> Vec<String> {
        let findings = self.findings(&[]);
        let fixable = findings.iter().filter(|finding| finding.status == Status::Fixable);
        let mut lines: Vec<String> = fixable.map(line).collect();
        lines.sort();
        lines
    }
}

pub(crate) fn line(finding: &Finding) -> String {
    let (package, version) = (&finding.package, finding.fixed.as_ref().unwrap());
    format!("{package} {version} {}", finding.origin.as_deref().unwrap())
}

fn open(path: PathBuf) -> impl Read {
    assert_eq!(path.extension().unwrap(), "gz", "this test reads gzip only");
    GzDecoder::new(File::open(path).unwrap())
}

pub(crate) fn index(folder: &Path) -> Index {
    let repomd = std::fs::read(folder.join("repodata/repomd.xml")).unwrap();
    let repomd = Repomd::parse("repomd.xml", &repomd).unwrap();
    let primary = open(folder.join(&repomd.primary().unwrap().path));
    let mut index = Index::read("primary.xml", BufReader::new(primary)).unwrap();
    if let Some(updateinfo) = repomd.updateinfo() {
        let updateinfo = open(folder.join(&updateinfo.path));
        index
            .add_advisories("updateinfo.xml", BufReader::new(updateinfo))
            .unwrap();
    }
    index
}
