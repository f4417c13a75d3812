//! What is installed in an image; [`changes()`] tells what changed between two.
//! A function of layer contents alone, so it may be kept for ever under the image's digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::layer::{Files, PROGRAMS, TOOLS};
use crate::os_release::{self, OsRelease};
use crate::version::{Family, Version};
use crate::{apk, apt, dpkg, layer, pacman, rpm};

mod changes;
mod kept;

pub use changes::{Changes, Upgrade, changes, replaces};
pub use kept::{Kept, Pool};

/// Where os-release(5) looks, in its order.
const OS_RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// dpkg's database, and its split form in distroless images.
const DPKG_STATUS: &str = "var/lib/dpkg/status";
const DPKG_STATUS_DIRECTORY: &str = "var/lib/dpkg/status.d";

/// What is installed in an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// The distribution.
    pub os: OsRelease,
    /// What keeps the packages.
    pub manager: Manager,
    /// Installed packages, ordered by name and architecture.
    pub packages: Vec<Installed>,
    /// Those of them that are held at their version.
    pub held: Vec<Held>,
    /// Where the image says that its packages come from.
    #[serde(default)]
    pub repositories: Repositories,
    /// Programs in the image that a patch may be made with, such as `apt-get` and `sh`; sorted.
    #[serde(default)]
    pub tools: Vec<String>,
}

/// What an image tells its package manager, with the repositories that it names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repositories {
    /// Nothing that is read here.
    #[default]
    Unknown,
    /// apt.
    Apt(apt::Configuration),
    /// apk.
    Apk(apk::Configuration),
    /// dnf, yum, microdnf, tdnf or zypper.
    Rpm(rpm::Configuration),
    /// pacman.
    Pacman(pacman::Configuration),
}

/// What keeps an image's packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manager {
    /// dpkg with its `status` file.
    Dpkg,
    /// dpkg's database split into `status.d`, without dpkg in the image.
    DpkgFragments,
    /// apk-tools.
    Apk,
    /// rpm with its database, of whatever kind.
    Rpm,
    /// rpm's manifest files, without a database (distroless Mariner and Azure Linux).
    RpmManifest,
    /// pacman.
    Pacman,
}

impl Manager {
    /// Whose rules order the versions of its packages.
    #[must_use]
    pub fn family(self) -> Family {
        match self {
            Self::Dpkg | Self::DpkgFragments => Family::Deb,
            Self::Apk => Family::Apk,
            Self::Rpm | Self::RpmManifest => Family::Rpm,
            Self::Pacman => Family::Pacman,
        }
    }
}

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The binary package's name.
    pub name: String,
    /// Its architecture, in the words of its package manager.
    pub architecture: String,
    /// Its version.
    pub version: Version,
    /// The source package it was built from.
    pub source: Source,
    /// Who made it, where the database says: rpm's `Vendor`, dpkg's `Origin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// A source package; advisories name that one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its name; the binary package's when the database names none.
    pub name: String,
    /// Its version; the binary package's when the database has none.
    pub version: Version,
}

/// A package that must stay at its version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Held {
    /// The package's name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
}

/// Why there is no inventory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image has no `os-release`: no distribution that we know.
    #[error("the image has no os-release")]
    NoOsRelease,
    /// The image has no package database.
    #[error("the image has no package database that is known here")]
    NoDatabase,
    /// A file cannot be reached.
    #[error("cannot look up {path} in the image")]
    Lookup {
        /// The path.
        path: String,
        /// Why not.
        #[source]
        source: layer::Error,
    },
    /// The `os-release` is malformed.
    #[error("cannot tell the image's distribution")]
    OsRelease(#[source] os_release::Error),
    /// dpkg's database is malformed.
    #[error("cannot read the image's packages")]
    Dpkg(#[source] dpkg::Error),
    /// apt's settings are malformed.
    #[error("cannot read where the image's packages come from")]
    Apt(#[source] apt::Error),
    /// apk's database or settings are malformed.
    #[error("cannot read the image's packages")]
    Apk(#[source] apk::Error),
    /// rpm's database is malformed.
    #[error("cannot read the image's packages")]
    Rpm(#[source] rpm::Error),
    /// What rpm wrote last is beside its database, not in it.
    #[error(
        "{file} has changes that are not in the database beside it: whoever made the image stopped rpm in the middle"
    )]
    WriteAhead {
        /// The file.
        file: String,
    },
    /// The settings of dnf, yum or zypper are malformed.
    #[error("cannot read where the image's packages come from")]
    RpmConfiguration(#[source] rpm::ConfigurationError),
    /// pacman's database is malformed.
    #[error("cannot read the image's packages")]
    Pacman(#[source] pacman::Error),
}

impl Inventory {
    /// Reads the inventory from an image's files, as [`layer::merge`] gives them for [`layer::Wanted::packages`].
    ///
    /// # Errors
    /// [`Error`] when the image has no distribution or database that is known here, or a malformed one.
    pub fn read(files: &Files) -> Result<Self, Error> {
        let os = match lookup(files, OS_RELEASE[0])? {
            Some(bytes) => bytes,
            None => lookup(files, OS_RELEASE[1])?.ok_or(Error::NoOsRelease)?,
        };
        let os = OsRelease::parse(os).map_err(Error::OsRelease)?;
        for family in families(&os) {
            let found = match family {
                Family::Deb => read_dpkg(files, &os)?,
                Family::Apk => read_apk(files, &os)?,
                Family::Rpm => read_rpm(files, &os)?,
                Family::Pacman => read_pacman(files, &os)?,
            };
            if let Some(inventory) = found {
                let tools = tools(files);
                return Ok(Self { tools, ..inventory });
            }
        }
        Err(Error::NoDatabase)
    }

    /// The inventory of a dpkg database that was read already. A package that comes twice counts the second time.
    #[must_use]
    pub fn of(os: OsRelease, manager: Manager, packages: impl IntoIterator<Item = dpkg::Package>) -> Self {
        let installed: BTreeMap<(String, String), dpkg::Package> = packages
            .into_iter()
            .filter(dpkg::Package::is_installed)
            .map(|package| ((package.name.clone(), package.architecture.clone()), package))
            .collect();
        let held = installed.values().filter(|package| package.is_held());
        let held = held
            .map(|package| Held {
                name: package.name.clone(),
                architecture: package.architecture.clone(),
            })
            .collect();
        let packages = installed.into_iter().map(|((name, architecture), package)| Installed {
            name,
            architecture,
            version: package.version,
            source: package.source,
            origin: None,
        });
        Self {
            os,
            manager,
            packages: packages.collect(),
            held,
            repositories: Repositories::default(),
            tools: Vec::new(),
        }
    }

    /// The same for packages of any family; nothing when there are none.
    fn of_packages(os: &OsRelease, manager: Manager, mut packages: Vec<Installed>) -> Option<Self> {
        // By the text of versions: pacman's order of them is none, and to sort by that may panic.
        packages.sort_by(|one, other| {
            let by_name = one.name.cmp(&other.name);
            let by_architecture = || one.architecture.cmp(&other.architecture);
            let by_text = || one.version.as_str().cmp(other.version.as_str());
            by_name.then_with(by_architecture).then_with(by_text)
        });
        packages.dedup();
        (!packages.is_empty()).then(|| Self {
            os: os.clone(),
            manager,
            packages,
            held: Vec::new(),
            repositories: Repositories::default(),
            tools: Vec::new(),
        })
    }
}

/// The programs of an image that a patch may be made with.
fn tools(files: &Files) -> Vec<String> {
    let is_there = |tool: &&str| {
        PROGRAMS
            .iter()
            .any(|folder| files.is_there(&format!("{folder}/{tool}")))
    };
    TOOLS.into_iter().filter(is_there).map(str::to_owned).collect()
}

/// Whether there is a package database of any kind, whole or broken. One that cannot be reached counts: something is there.
#[must_use]
pub fn has_database(files: &Files) -> bool {
    let single = [DPKG_STATUS, rpm::MANIFEST];
    let single = single.into_iter().chain(apk::DATABASES).chain(rpm::DATABASES);
    let is_there = |path: &str| !matches!(files.read(path), Ok(None));
    let listed = [
        files.list(DPKG_STATUS_DIRECTORY),
        files.list_nested(pacman::DATABASE, "desc"),
    ];
    single.into_iter().any(is_there)
        || listed
            .iter()
            .any(|found| !matches!(found, Ok(found) if found.is_empty()))
}

/// The families in the order to look for their databases: the distribution's own first, for an image may have the tools of
/// another.
fn families(os: &OsRelease) -> [Family; 4] {
    let is_like = |names: &[&str]| {
        let ids = std::iter::once(&os.id).chain(&os.id_like);
        ids.map(String::as_str).any(|id| names.contains(&id))
    };
    let mut families = [Family::Deb, Family::Apk, Family::Rpm, Family::Pacman];
    let own = if is_like(&["debian", "ubuntu"]) {
        Family::Deb
    } else if is_like(&["alpine", "wolfi", "chainguard", "postmarketos"]) {
        Family::Apk
    } else if is_like(&["arch", "archlinux"]) {
        Family::Pacman
    } else if is_like(&[
        "rhel",
        "fedora",
        "centos",
        "suse",
        "opensuse",
        "mariner",
        "azurelinux",
        "amzn",
        "ol",
        "photon",
    ]) {
        Family::Rpm
    } else {
        Family::Deb
    };
    families.sort_by_key(|family| *family != own);
    families
}

fn lookup<'a>(files: &'a Files, path: &str) -> Result<Option<&'a [u8]>, Error> {
    files.read(path).map_err(|source| Error::Lookup {
        path: path.to_owned(),
        source,
    })
}

fn list<'a>(
    found: Result<Vec<(String, &'a [u8])>, layer::Error>,
    path: &str,
) -> Result<Vec<(String, &'a [u8])>, Error> {
    found.map_err(|source| Error::Lookup {
        path: path.to_owned(),
        source,
    })
}

fn read_dpkg(files: &Files, os: &OsRelease) -> Result<Option<Inventory>, Error> {
    let mut packages = Vec::new();
    let manager = if let Some(bytes) = lookup(files, DPKG_STATUS)?.filter(|bytes| !bytes.is_empty()) {
        packages = read_database(DPKG_STATUS, dpkg::Kind::Status, bytes)?;
        Manager::Dpkg
    } else {
        let fragments = list(files.list(DPKG_STATUS_DIRECTORY), DPKG_STATUS_DIRECTORY)?;
        // The directory also holds `NAME.md5sums` files, which list the package's files.
        for (path, bytes) in fragments.into_iter().filter(|(path, _)| !path.ends_with(".md5sums")) {
            packages.extend(read_database(&path, dpkg::Kind::Fragment, bytes)?);
        }
        Manager::DpkgFragments
    };
    if packages.is_empty() {
        return Ok(None);
    }
    let mut inventory = Inventory::of(os.clone(), manager, packages);
    let configuration = apt::Configuration::read(files).map_err(Error::Apt)?;
    // Where nothing could read sources in the image, its distribution says where they are; what packages say of one another counts.
    let is_distroless = manager == Manager::DpkgFragments;
    if is_distroless || !configuration.sources.is_empty() || !configuration.unsupported.is_empty() {
        inventory.repositories = Repositories::Apt(configuration);
    }
    Ok(Some(inventory))
}

fn read_database(path: &str, kind: dpkg::Kind, bytes: &[u8]) -> Result<Vec<dpkg::Package>, Error> {
    dpkg::read(path, kind, bytes, dpkg::DEFAULT_LIMIT).map_err(Error::Dpkg)
}

fn read_apk(files: &Files, os: &OsRelease) -> Result<Option<Inventory>, Error> {
    for path in apk::DATABASES {
        let Some(bytes) = lookup(files, path)?.filter(|bytes| !bytes.is_empty()) else {
            continue;
        };
        let packages = apk::read(path, bytes, apk::DEFAULT_LIMIT).map_err(Error::Apk)?;
        let packages = packages.into_iter().map(Installed::from).collect();
        let Some(mut inventory) = Inventory::of_packages(os, Manager::Apk, packages) else {
            continue;
        };
        let configuration = apk::Configuration::read(files).map_err(Error::Apk)?;
        inventory.held = configuration.held(&inventory.packages);
        inventory.repositories = Repositories::Apk(configuration);
        return Ok(Some(inventory));
    }
    Ok(None)
}

fn read_rpm(files: &Files, os: &OsRelease) -> Result<Option<Inventory>, Error> {
    for path in rpm::DATABASES {
        let Some(bytes) = lookup(files, path)?.filter(|bytes| !bytes.is_empty()) else {
            continue;
        };
        let log = format!("{path}{}", rpm::WRITE_AHEAD);
        if lookup(files, &log)?.is_some_and(|bytes| !bytes.is_empty()) {
            return Err(Error::WriteAhead { file: log });
        }
        let packages = rpm::read_database(path, bytes).map_err(Error::Rpm)?;
        let release = rpm::release(&packages).map(ToOwned::to_owned);
        let packages = packages.into_iter().map(Installed::from).collect();
        let Some(mut inventory) = Inventory::of_packages(os, Manager::Rpm, packages) else {
            continue;
        };
        let architecture = machine(&inventory.packages);
        let configuration =
            rpm::Configuration::read(files, os, release.as_deref(), &architecture).map_err(Error::RpmConfiguration)?;
        inventory.held = configuration.held(&inventory.packages);
        inventory.repositories = Repositories::Rpm(configuration);
        return Ok(Some(inventory));
    }
    let Some(bytes) = lookup(files, rpm::MANIFEST)?.filter(|bytes| !bytes.is_empty()) else {
        return Ok(None);
    };
    let packages = rpm::read_manifest(rpm::MANIFEST, bytes).map_err(Error::Rpm)?;
    let packages = packages.into_iter().map(Installed::from).collect();
    let Some(mut inventory) = Inventory::of_packages(os, Manager::RpmManifest, packages) else {
        return Ok(None);
    };
    let architecture = machine(&inventory.packages);
    let configuration = rpm::Configuration::read(files, os, None, &architecture).map_err(Error::RpmConfiguration)?;
    inventory.repositories = Repositories::Rpm(configuration);
    Ok(Some(inventory))
}

/// rpm's word for the machine: the architecture that most packages are of.
#[must_use]
pub fn machine(packages: &[Installed]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for package in packages.iter().filter(|package| package.architecture != "noarch") {
        *counts.entry(&package.architecture).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map_or("noarch", |(architecture, _)| architecture).to_owned()
}

fn read_pacman(files: &Files, os: &OsRelease) -> Result<Option<Inventory>, Error> {
    let configuration = pacman::Configuration::read(files);
    let told = configuration.clone().unwrap_or_default();
    let fits = |patterns: &[String], name: &str| patterns.iter().any(|pattern| pacman::fits(pattern, name));
    let (mut packages, mut held) = (Vec::new(), Vec::new());
    for (path, bytes) in list(files.list_nested(pacman::DATABASE, "desc"), pacman::DATABASE)? {
        let package = pacman::parse_desc(&path, bytes).map_err(Error::Pacman)?;
        let in_group = package.groups.iter().any(|group| fits(&told.ignored_groups, group));
        if in_group || fits(&told.ignored, &package.name) {
            held.push(Held {
                name: package.name.clone(),
                architecture: package.architecture.clone(),
            });
        }
        packages.push(Installed::from(package));
    }
    let Some(mut inventory) = Inventory::of_packages(os, Manager::Pacman, packages) else {
        return Ok(None);
    };
    held.sort();
    inventory.held = held;
    if let Some(configuration) = configuration {
        inventory.repositories = Repositories::Pacman(configuration);
    }
    Ok(Some(inventory))
}
