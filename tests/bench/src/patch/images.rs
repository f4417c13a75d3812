//! The images that both patch: a real Debian, an Alpine with made packages, and a distroless Debian of real packages.

use std::path::Path;

use anyhow::Context as _;
use patchport_kit::alpine::{self, Key};
use patchport_kit::apk::{Format, Package, layer, publish, world};
use patchport_kit::apt::Repository;
use patchport_kit::distroless::{Root, codename, download, sources, versions};
use patchport_kit::mirror::Setup;
use patchport_kit::{Image, Registry};

/// How many packages of the Alpine are outdated.
const OUTDATED: usize = 9;
/// The bytes of each of them.
const SIZE: usize = 300_000;
/// Their newer version.
const NEW: &str = "1.0-r1";
/// What the distroless image consists of; those that have a newer version on the mirror are outdated. Without those that ask
/// questions (libc6, tzdata, ca-certificates): Copacetic cannot patch them in such an image.
const PACKAGES: [&str; 6] = ["base-files", "libexpat1", "liblzma5", "libssl3", "netbase", "openssl"];

/// An image with outdated packages.
pub(super) struct Outdated {
    /// What it is called in the table.
    pub(super) name: &'static str,
    /// The registry, `HOST:PORT`.
    pub(super) registry: String,
    /// `REPOSITORY:TAG` there.
    pub(super) path: String,
    /// Where its packages come from, if not from the network.
    pub(super) packages: Option<Repository>,
    /// What a mirror has to be told about it.
    pub(super) settings: Vec<(&'static str, String)>,
}

impl Outdated {
    /// The repository and the tag.
    pub(super) fn name_and_tag(&self) -> (&str, &str) {
        self.path.rsplit_once(':').unwrap_or((&self.path, "latest"))
    }

    /// Tells a mirror what it has to know.
    pub(super) fn told(&self, setup: Setup) -> Setup {
        let settings = self.settings.iter();
        settings.fold(setup, |setup, (section, line)| setup.set(section, line))
    }

    /// Bytes that came from the repositories of packages so far: by the repository itself, or all that came from outside.
    pub(super) fn fetched(&self) -> anyhow::Result<u64> {
        if let Some(packages) = &self.packages {
            return Ok(packages.sent());
        }
        let table = std::fs::read_to_string("/proc/net/dev")?;
        let devices = table.lines().filter_map(|line| line.split_once(':'));
        let outer = devices.filter(|(name, _)| name.trim() != "lo");
        let received = outer.map(|(name, figures)| {
            let first = figures.split_whitespace().next().context("a device has figures")?;
            first.parse::<u64>().with_context(|| format!("bytes of {name}"))
        });
        received.sum()
    }
}

/// The real Debian of a registry.
pub(super) fn debian(registry: &str, path: &str) -> Outdated {
    Outdated {
        name: "Debian",
        registry: registry.to_owned(),
        path: path.to_owned(),
        packages: None,
        settings: Vec::new(),
    }
}

/// A real Alpine with packages that are not.
pub(super) async fn alpine(registry: &Registry) -> Outdated {
    let (repository, key) = (Repository::start().await, Key::new());
    // Pieces of what a real Alpine has, none of them twice.
    let bytes = alpine::bytes();
    let pieces: Vec<&[u8]> = bytes.chunks(SIZE).take(2 * OUTDATED).collect();
    let package = |number: usize, version: &str| {
        let piece = pieces[2 * number + usize::from(version == NEW)];
        Package::new(&format!("kit-{number}"), version).file(&format!("usr/share/kit-{number}"), piece, 0o644)
    };
    let packages = |version: &str| (0..OUTDATED).map(|number| package(number, version)).collect::<Vec<_>>();
    let (old, new) = (packages("1.0-r0"), packages(NEW));
    let line = publish(&repository, &key, "main", Format::V2, &new);
    let layer = layer(&line, &key, &world(&old).await, &old).await;
    let image = alpine::image().await.layer(layer.gzip()).build();
    pushed("Alpine", registry, "bench/alpine", &image, Some(repository), Vec::new())
}

/// A Debian of real packages, as old as the mirror has them, without dpkg and without a shell.
pub(super) fn distroless(registry: &Registry, scratch: &Path) -> Outdated {
    let root = Root::new(true);
    for name in PACKAGES {
        let known = versions(name);
        root.install(&download(name, &known[0], scratch));
    }
    let codename = codename();
    let release = format!(
        "PRETTY_NAME=\"Distroless\"\nNAME=\"Debian GNU/Linux\"\nID=\"debian\"\nVERSION_ID=\"12\"\nVERSION=\"Debian GNU/Linux 12 ({codename})\"\n"
    );
    root.write("etc/os-release", release);
    let image = Image::builder().layer(root.layer()).build();
    let entry = format!(
        "id = \"debian\"\nsources = \"\"\"\n{}\"\"\"\nkeys = [\"/usr/share/keyrings/debian-archive-keyring.gpg\"]",
        sources()
    );
    let settings = vec![("[scan.distribution]", entry)];
    pushed("distroless", registry, "bench/distroless", &image, None, settings)
}

fn pushed(
    name: &'static str,
    registry: &Registry,
    repository: &str,
    image: &Image,
    packages: Option<Repository>,
    settings: Vec<(&'static str, String)>,
) -> Outdated {
    registry.push(repository, Some("1"), image);
    Outdated {
        name,
        registry: registry.host(),
        path: format!("{repository}:1"),
        packages,
        settings,
    }
}
