//! Debian images for the suites: the testbed's root file system as the base layer, and on top of it packages that are
//! installed as far as dpkg can tell, from a repository of the test's own. And what the image's own apt says of the result.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::sync::OnceCell;

use crate::apt::{Package, Repository};
use crate::client::{Client, pull};
use crate::image::{Blob, Compression, Image, ImageBuilder, Layer, Pulled, inflate, unpack};
use crate::process::{outcome, run};

/// The base: a Debian with apt, its package database apart.
pub struct Base {
    /// The layer, gzip.
    pub layer: Blob,
    status: String,
    settings: Vec<String>,
}

/// The testbed's real Debian (`PATCHPORT_TEST_IMAGE_DEBIAN` in `PATCHPORT_TEST_REGISTRY`), pulled once per process.
pub async fn base() -> &'static Base {
    static BASE: OnceCell<Base> = OnceCell::const_new();
    BASE.get_or_init(|| async {
        let image = testbed("PATCHPORT_TEST_IMAGE_DEBIAN");
        let (repository, tag) = image
            .rsplit_once(':')
            .expect("an image of the testbed is REPOSITORY:TAG");
        let pulled = pull(&Client::new(testbed("PATCHPORT_TEST_REGISTRY")), repository, tag).await;
        let tar = inflate(&pulled.layers[0]);
        let layer = Blob {
            bytes: pulled.layers[0].clone(),
            diff_id: crate::digest(&tar),
            compression: Compression::Gzip,
        };
        let mut entries = unpack(&tar);
        let settings = entries
            .keys()
            .filter(|path| path.starts_with("etc/apt/apt.conf.d/") && path.contains("proxy"));
        let settings = settings.cloned().collect();
        let status = entries
            .remove("var/lib/dpkg/status")
            .expect("a Debian has a package database");
        Base {
            layer,
            status: String::from_utf8(status).expect("a package database is text"),
            settings,
        }
    })
    .await
}

/// What the testbed says under this name; panics where no testbed is up.
pub fn testbed(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run the suites with `tests/run`, or `. .testbed/env` after `tests/tools/testbed up`")
    })
}

/// A package that an image has.
#[derive(Clone)]
pub struct Installed {
    package: Package,
    hold: bool,
    edited: BTreeMap<String, String>,
}

impl Installed {
    /// Installed as its maintainer made it.
    pub fn new(package: Package) -> Self {
        Self {
            package,
            hold: false,
            edited: BTreeMap::new(),
        }
    }

    /// Held back by the image's owner (`apt-mark hold`).
    pub fn held(mut self) -> Self {
        self.hold = true;
        self
    }

    /// One of its files was changed by the image's owner.
    pub fn edited(mut self, path: &str, content: &str) -> Self {
        self.edited.insert(path.to_owned(), content.to_owned());
        self
    }

    /// Its paragraph of the package database.
    fn stanza(&self) -> String {
        let package = &self.package;
        let want = if self.hold { "hold" } else { "install" };
        let fields = package.fields(&package.version);
        let (head, description) = fields
            .split_once("Description:")
            .expect("fields end with the description");
        let mut conffiles = String::new();
        for path in &package.conffiles {
            let content = package
                .files
                .iter()
                .find(|(known, _)| known == path)
                .map(|(_, content)| content.as_str());
            conffiles.push_str(&format!(" /{path} {}\n", md5(content.unwrap_or_default())));
        }
        let conffiles = if conffiles.is_empty() {
            conffiles
        } else {
            format!("Conffiles:\n{conffiles}")
        };
        format!(
            "Package: {}\nStatus: {want} ok installed\n{head}{conffiles}Description:{description}\n",
            package.name
        )
    }

    fn put(&self, mut layer: Layer) -> Layer {
        let package = &self.package;
        let mut list = String::from("/.\n");
        for (path, content) in &package.files {
            let content = self.edited.get(path).unwrap_or(content);
            layer = layer.file(path, content);
            let parts: Vec<&str> = path.split('/').collect();
            for depth in 1..=parts.len() {
                let line = format!("/{}\n", parts[..depth].join("/"));
                if !list.contains(&line) {
                    list.push_str(&line);
                }
            }
        }
        let info = format!("var/lib/dpkg/info/{}", package.name);
        for (name, text) in &package.scripts {
            layer = layer.file_mode(&format!("{info}.{name}"), text, 0o755);
        }
        if !package.conffiles.is_empty() {
            let conffiles = package
                .conffiles
                .iter()
                .fold(String::new(), |list, path| list + "/" + path + "\n");
            layer = layer.file(&format!("{info}.conffiles"), conffiles);
        }
        let sums = package
            .files
            .iter()
            .filter(|(path, _)| !package.conffiles.contains(path));
        let sums = sums.fold(String::new(), |sums, (path, content)| {
            sums + &md5(content) + "  " + path + "\n"
        });
        layer
            .file(&format!("{info}.md5sums"), sums)
            .file(&format!("{info}.list"), list)
    }
}

/// MD5 as dpkg notes it for conffiles.
pub fn md5(content: &str) -> String {
    let mut child = Command::new("md5sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("md5sum is there");
    child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(content.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout)[..32].to_owned()
}

/// Begins a Debian image that has these packages and knows this repository only.
pub async fn image(repository: &Repository, installed: &[Installed]) -> ImageBuilder {
    image_of(&repository.source(), installed).await
}

/// Begins a Debian image that has these packages and this `sources.list`.
pub async fn image_of(sources: &str, installed: &[Installed]) -> ImageBuilder {
    let base = base().await;
    let mut status = base.status.trim_end().to_owned();
    status.push_str("\n\n");
    let mut layer = Layer::new()
        .directory("etc/apt/sources.list.d")
        .file("etc/apt/sources.list.d/.wh..wh..opq", "");
    layer = layer.file("etc/apt/sources.list", sources);
    for path in &base.settings {
        // A proxy for the machine's mirrors is none for loopback.
        layer = layer.file(&path.replace("apt.conf.d/", "apt.conf.d/.wh."), "");
    }
    for one in installed {
        status.push_str(&one.stanza());
        layer = one.put(layer);
    }
    layer = layer.file("var/lib/dpkg/status", status);
    Image::builder().layer(base.layer.clone()).layer(layer.gzip())
}

/// The file system of an image, unpacked; gone when dropped.
pub struct Rootfs {
    directory: tempfile::TempDir,
}

impl Rootfs {
    /// Lays the layers of an image over each other, whiteouts respected.
    pub fn unpack(pulled: &Pulled) -> Self {
        let directory = tempfile::Builder::new().prefix("patchport-rootfs-").tempdir().unwrap();
        for layer in &pulled.layers {
            lay(directory.path(), layer);
        }
        Self { directory }
    }

    /// The testbed's Debian itself.
    pub async fn bare() -> Self {
        let directory = tempfile::Builder::new().prefix("patchport-rootfs-").tempdir().unwrap();
        lay(directory.path(), &base().await.layer.bytes);
        Self { directory }
    }

    /// The testbed's Debian with the layers that an image has on top of it ([`image_of`]). For looking only: its files are links
    /// to those of the bare one, which tar and apt replace, and never write to.
    pub async fn with(&self, image: &Image) -> Self {
        let base = base().await;
        assert_eq!(
            image.layers[0].diff_id, base.layer.diff_id,
            "the image is made on the testbed's Debian"
        );
        let directory = tempfile::Builder::new().prefix("patchport-rootfs-").tempdir().unwrap();
        run(Command::new("cp")
            .args(["--archive", "--link"])
            .arg(self.directory.path().join("."))
            .arg(directory.path()));
        // A lock that is a link would lock the others out.
        for lock in [
            "lib/apt/lists/lock",
            "cache/apt/archives/lock",
            "lib/dpkg/lock",
            "lib/dpkg/lock-frontend",
        ] {
            let _ = fs::remove_file(directory.path().join("var").join(lock));
        }
        for layer in &image.layers[1..] {
            lay(directory.path(), &layer.bytes);
        }
        Self { directory }
    }

    /// A file's content, or nothing if there is no such file.
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read(self.directory.path().join(path))
            .ok()
            .map(|content| String::from_utf8_lossy(&content).into_owned())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs a program within.
    pub async fn program(&self, arguments: &[&str]) -> crate::process::Outcome {
        let mut command = Command::new("chroot");
        command.arg(self.directory.path()).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        outcome(command).await
    }

    /// Runs a shell command within.
    pub async fn shell(&self, script: &str) -> crate::process::Outcome {
        let mut command = Command::new("chroot");
        command.arg(self.directory.path()).args(["/bin/sh", "-c", script]);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive");
        outcome(command).await
    }

    /// The packages that the image's own apt would upgrade, after it has read its repositories afresh.
    pub async fn outdated(&self) -> Vec<String> {
        let asked = self.shell("apt-get -qq update && apt-get -s dist-upgrade").await;
        assert!(asked.success, "the image's own apt works: {}", asked.output);
        let upgrades = asked.output.lines().filter_map(|line| line.strip_prefix("Inst "));
        upgrades
            .filter_map(|line| line.split(' ').next().map(str::to_owned))
            .collect()
    }

    /// What the image's own apt would upgrade, new packages allowed, and what it calls upgradable; both as `name version`, after it
    /// has read its repositories afresh.
    pub async fn upgrades(&self) -> (Vec<String>, Vec<String>) {
        // A container is no chroot, where apt takes phased updates whatever they say.
        let script = "apt-get -qq update && apt-get -s -o Dir::Bin::ischroot=/bin/false upgrade --with-new-pkgs && \
                      apt list --upgradable";
        let asked = self.shell(script).await;
        assert!(asked.success, "the image's own apt works: {}", asked.output);
        let lines = asked.output.lines();
        // `Inst kit-a [1.0] (1.1 kit:stable [all])`; without the first brackets it is new.
        let upgrades = lines.clone().filter_map(|line| line.strip_prefix("Inst "));
        let words = upgrades.map(|line| line.split(' ').collect::<Vec<_>>());
        let upgrades = words.filter(|words| words[1].starts_with('['));
        let upgrades = upgrades.map(|words| format!("{} {}", words[0], words[2].trim_start_matches('(')));
        // `kit-a/stable 1.1 all [upgradable from: 1.0]`
        let upgradable = lines.filter(|line| line.contains("[upgradable from: "));
        let upgradable = upgradable.map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            format!("{} {}", words[0].split('/').next().unwrap(), words[1])
        });
        let (mut upgrades, mut upgradable): (Vec<_>, Vec<_>) = (upgrades.collect(), upgradable.collect());
        upgrades.sort();
        upgradable.sort();
        (upgrades, upgradable)
    }

    /// The version of a package by the image's own dpkg.
    pub async fn version(&self, package: &str) -> String {
        self.shell(&format!("dpkg-query -W -f '${{Version}} ${{Status}}' {package}"))
            .await
            .output
    }
}

pub(crate) fn lay(root: &Path, layer: &[u8]) {
    for path in unpack(layer).keys() {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        match name.strip_prefix(".wh.") {
            Some(".wh..opq") => {
                let _ = fs::remove_dir_all(root.join(parent));
            }
            Some(hidden) => {
                let hidden = root.join(parent).join(hidden);
                let _ = fs::remove_file(&hidden).or_else(|_| fs::remove_dir_all(&hidden));
            }
            None => {}
        }
    }
    let tar = tempfile::NamedTempFile::new().unwrap();
    fs::write(tar.path(), inflate(layer)).unwrap();
    run(Command::new("tar")
        .args(["-x", "--numeric-owner", "--exclude=.wh.*", "-C"])
        .arg(root)
        .arg("-f")
        .arg(tar.path()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_image_of_the_kit_is_as_outdated_as_it_was_made() {
        let repository = Repository::start().await;
        repository.publish(&Package::new("kit-old", "2:1.1-1").conffile("etc/kit-old.conf", "a"));
        repository.publish(&Package::new("kit-held", "1.1"));
        repository.publish(&Package::new("kit-current", "1.1"));
        let installed = [
            Installed::new(
                Package::new("kit-old", "2:1.0-1")
                    .conffile("etc/kit-old.conf", "a")
                    .script("postinst", "true"),
            ),
            Installed::new(Package::new("kit-held", "1.0")).held(),
            Installed::new(Package::new("kit-current", "1.1")),
        ];
        let image = image(&repository, &installed).await.build();
        let rootfs = Rootfs::unpack(&Pulled::of(&image));
        assert_eq!(rootfs.outdated().await, ["kit-old"]);
        assert_eq!(rootfs.version("kit-held").await, "1.0 hold ok installed");
        let audit = rootfs
            .shell("dpkg --audit && dpkg --verify kit-old kit-held kit-current")
            .await;
        assert!(
            audit.success && audit.output.is_empty(),
            "dpkg finds the packages whole: {}",
            audit.output
        );
    }
}
