//! Alpine images on a real Alpine (`tests/tools/alpine.sh`), repositories of apk made by the real apk, and what the image's own apk
//! says of the result. Its loader runs it on any Linux, without chroot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::apt::Repository;
use crate::image::{Blob, Compression, Image, ImageBuilder, from_tar, unpack};
use crate::process::{Outcome, outcome, run};

/// The base: a real Alpine, its package database apart.
pub struct Base {
    /// The layer, gzip.
    pub layer: Blob,
    /// `lib/apk/db/installed`.
    pub installed: String,
    /// `etc/apk/world`.
    pub world: String,
}

/// The real Alpine, read once per process.
pub async fn base() -> &'static Base {
    static BASE: OnceCell<Base> = OnceCell::const_new();
    BASE.get_or_init(|| async {
        let file = folder().join("root.tar");
        let tar =
            fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}; run tests/tools/install", file.display()));
        let entries = unpack(&tar);
        let text = |path: &str| String::from_utf8_lossy(&entries[path]).into_owned();
        Base {
            installed: text("lib/apk/db/installed"),
            world: text("etc/apk/world"),
            layer: from_tar(&tar, Compression::Gzip),
        }
    })
    .await
}

/// Bytes such as packages have: the real Alpine in one piece.
pub fn bytes() -> Vec<u8> {
    fs::read(folder().join("root.tar")).unwrap()
}

/// Begins an image on the real Alpine.
pub async fn image() -> ImageBuilder {
    Image::builder().layer(base().await.layer.clone())
}

fn folder() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.testbed/tools");
    std::env::var_os("PATCHPORT_TOOLS_DIR")
        .map_or(own, PathBuf::from)
        .join("alpine")
}

/// The real apk.
pub(crate) fn apk() -> Command {
    let root = folder().join("root");
    let mut command = Command::new(root.join(format!("lib/ld-musl-{}.so.1", std::env::consts::ARCH)));
    let libraries = format!("{0}/lib:{0}/usr/lib", root.display());
    command.args(["--library-path", &libraries]).arg(root.join("sbin/apk"));
    command
}

/// A package: name, version, and what it needs.
pub type Offer<'a> = (&'a str, &'a str, &'a [&'a str]);

/// The paragraph of an installed package for `lib/apk/db/installed`.
pub fn installed((name, version, needs): &Offer<'_>) -> String {
    use base64::Engine as _;
    let digest = crate::digest(format!("{name}-{version}").as_bytes());
    let checksum = base64::engine::general_purpose::STANDARD.encode(&hex::decode(&digest[7..]).unwrap()[..20]);
    let needs = if needs.is_empty() {
        String::new()
    } else {
        format!("D:{}\n", needs.join(" "))
    };
    let architecture = std::env::consts::ARCH;
    format!("C:Q1{checksum}\nP:{name}\nV:{version}\nA:{architecture}\nS:1\nI:1\nT:made by the kit\nL:MIT\n{needs}\n")
}

/// A key that signs indexes of apk.
pub struct Key {
    folder: TempDir,
}

impl Key {
    /// A new one.
    pub fn new() -> Self {
        let key = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        run(Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(key.private())
            .arg("2048"));
        run(Command::new("openssl")
            .args(["rsa", "-pubout", "-in"])
            .arg(key.private())
            .arg("-out")
            .arg(key.folder.path().join("public")));
        key
    }

    pub(crate) fn private(&self) -> PathBuf {
        self.folder.path().join("private")
    }

    /// What an image keeps in `etc/apk/keys`.
    pub fn public(&self) -> Vec<u8> {
        fs::read(self.folder.path().join("public")).unwrap()
    }

    /// Makes packages with `apk mkpkg` and an index of them with `apk mkndx`, and serves them below `path`; the line for
    /// `etc/apk/repositories`.
    pub fn publish(&self, repository: &Repository, path: &str, offers: &[Offer<'_>]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Vec::new();
        for (name, version, needs) in offers {
            let file = folder.path().join(format!("{name}-{version}.apk"));
            let mut command = apk();
            command
                .arg("mkpkg")
                .arg("--sign-key")
                .arg(self.private())
                .arg("--output")
                .arg(&file);
            let info = |command: &mut Command, text: String| {
                command.args(["--info", &text]);
            };
            info(&mut command, format!("name:{name}"));
            info(&mut command, format!("version:{version}"));
            info(&mut command, format!("arch:{}", std::env::consts::ARCH));
            for need in *needs {
                info(&mut command, format!("depends:{need}"));
            }
            run(command.args(["--info", "license:MIT", "--info", "description:made by the kit"]));
            files.push(file);
        }
        let index = folder.path().join("Packages.adb");
        let mut command = apk();
        command
            .args(["mkndx", "--allow-untrusted", "--sign-key"])
            .arg(self.private());
        run(command.arg("--output").arg(&index).args(&files));
        let architecture = std::env::consts::ARCH;
        for file in files.iter().chain([&index]) {
            let name = file.file_name().unwrap().to_string_lossy();
            repository.put(&format!("{path}/{architecture}/{name}"), fs::read(file).unwrap());
        }
        format!("v3 {}/{path}\n", repository.url())
    }
}

impl Default for Key {
    fn default() -> Self {
        Self::new()
    }
}

/// The file system of an Alpine image, for its own apk; gone when dropped.
pub struct Rootfs {
    directory: TempDir,
}

impl Rootfs {
    /// The real Alpine, with the layers that an image has on top of it.
    pub fn of(image: &Image) -> Self {
        let directory = tempfile::Builder::new().prefix("patchport-alpine-").tempdir().unwrap();
        run(Command::new("cp")
            .arg("--archive")
            .arg(folder().join("root/."))
            .arg(directory.path()));
        for layer in &image.layers[1..] {
            for (path, content) in unpack(&layer.bytes)
                .into_iter()
                .filter(|(path, _)| !path.ends_with('/'))
            {
                let path = directory.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
        }
        Self { directory }
    }

    /// Runs the image's apk on the image.
    pub async fn apk(&self, arguments: &[&str]) -> Outcome {
        let mut command = apk();
        command
            .args([
                "--root",
                &self.directory.path().display().to_string(),
                "--no-logfile",
                "--no-cache",
            ])
            .args(arguments);
        outcome(command).await
    }

    /// What its apk calls upgradable, as `name version`.
    pub async fn upgradable(&self) -> Vec<String> {
        let said = self.apk(&["list", "--upgradeable"]).await;
        assert!(said.success, "{}", said.output);
        // `musl-9-r0 x86_64 {musl} (MIT) [upgradable from: musl-1-r0]`
        let lines = said.output.lines().filter(|line| line.contains("[upgradable from: "));
        let mut names: Vec<String> = lines.map(|line| spaced(line.split(' ').next().unwrap())).collect();
        names.sort();
        names
    }

    /// What its apk would upgrade, as `name version`.
    pub async fn upgrades(&self) -> Vec<String> {
        let said = self.apk(&["upgrade", "--simulate"]).await;
        assert!(said.success, "{}", said.output);
        // `(1/2) Upgrading musl (1-r0 -> 9-r0)`
        let lines = said.output.lines().filter_map(|line| line.split_once(") Upgrading "));
        let mut names: Vec<String> = lines
            .map(|(_, rest)| {
                let (name, versions) = rest.split_once(" (").unwrap();
                let (_, to) = versions.split_once(" -> ").unwrap();
                format!("{name} {}", to.trim_end_matches(')'))
            })
            .collect();
        names.sort();
        names
    }
}

/// `name-version-release` as `name version-release`.
fn spaced(text: &str) -> String {
    let mut parts = text.rsplitn(3, '-');
    let (release, version) = (parts.next().unwrap(), parts.next().unwrap());
    format!("{} {version}-{release}", parts.next().unwrap())
}
