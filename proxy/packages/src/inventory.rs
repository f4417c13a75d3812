//! What is installed in an image, and what changed between two images.
//! A function of layer contents alone, so it may be kept for ever under the image's digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::layer::Files;
use crate::os_release::{self, OsRelease};
use crate::version::Version;
use crate::{dpkg, layer};

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
}

/// What keeps an image's packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manager {
    /// dpkg with its `status` file.
    Dpkg,
    /// dpkg's database split into `status.d`, without dpkg in the image.
    DpkgFragments,
}

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The binary package's name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Its version.
    pub version: Version,
    /// The source package it was built from.
    pub source: dpkg::Source,
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
    /// The database is malformed.
    #[error("cannot read the image's packages")]
    Dpkg(#[source] dpkg::Error),
}

impl Inventory {
    /// Reads the inventory from an image's files, as [`layer::merge`] gives them for [`layer::Wanted::packages`].
    ///
    /// # Errors
    /// [`Error`] when the image has no distribution or database that is known here, or a malformed one.
    pub fn read(files: &Files) -> Result<Self, Error> {
        let lookup = |path: &str| {
            let found = files.read(path);
            found.map_err(|source| Error::Lookup {
                path: path.to_owned(),
                source,
            })
        };
        let os = match lookup(OS_RELEASE[0])? {
            Some(bytes) => bytes,
            None => lookup(OS_RELEASE[1])?.ok_or(Error::NoOsRelease)?,
        };
        let os = OsRelease::parse(os).map_err(Error::OsRelease)?;
        let status = lookup(DPKG_STATUS)?.filter(|bytes| !bytes.is_empty());
        let mut packages = Vec::new();
        let manager = if let Some(bytes) = status {
            packages = read_database(DPKG_STATUS, dpkg::Kind::Status, bytes)?;
            Manager::Dpkg
        } else {
            let fragments = files.list(DPKG_STATUS_DIRECTORY);
            let fragments = fragments.map_err(|source| Error::Lookup {
                path: DPKG_STATUS_DIRECTORY.to_owned(),
                source,
            })?;
            // The directory also holds `NAME.md5sums` files, which list the package's files.
            for (path, bytes) in fragments.into_iter().filter(|(path, _)| !path.ends_with(".md5sums")) {
                packages.extend(read_database(&path, dpkg::Kind::Fragment, bytes)?);
            }
            Manager::DpkgFragments
        };
        if packages.is_empty() {
            return Err(Error::NoDatabase);
        }
        Ok(Self::of(os, manager, packages))
    }

    /// The inventory of a database that was read already. A package that comes twice counts the second time.
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
        });
        Self {
            os,
            manager,
            packages: packages.collect(),
            held,
        }
    }
}

fn read_database(path: &str, kind: dpkg::Kind, bytes: &[u8]) -> Result<Vec<dpkg::Package>, Error> {
    dpkg::read(path, kind, bytes, dpkg::DEFAULT_LIMIT).map_err(Error::Dpkg)
}

/// What changed between two inventories, each list ordered by name and architecture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// Packages with a newer version.
    pub upgraded: Vec<Upgrade>,
    /// Packages with an older version.
    pub downgraded: Vec<Upgrade>,
    /// Packages that were not there.
    pub added: Vec<Installed>,
    /// Packages that are gone.
    pub removed: Vec<Installed>,
    /// Packages that were held before and so were not to change.
    pub held: Vec<Held>,
}

/// One package's step from a version to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// The package's name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// The version before.
    pub from: Version,
    /// The version after.
    pub to: Version,
}

impl Changes {
    /// Whether the packages are the same, whatever is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.upgraded.is_empty() && self.downgraded.is_empty() && self.added.is_empty() && self.removed.is_empty()
    }
}

/// What happened between `before` and `after`.
#[must_use]
pub fn changes(before: &Inventory, after: &Inventory) -> Changes {
    fn key(package: &Installed) -> (&str, &str) {
        (&package.name, &package.architecture)
    }
    let old: BTreeMap<_, _> = before.packages.iter().map(|package| (key(package), package)).collect();
    let new: BTreeMap<_, _> = after.packages.iter().map(|package| (key(package), package)).collect();
    let missing_in = |other: &BTreeMap<_, _>, packages: &[Installed]| -> Vec<Installed> {
        packages
            .iter()
            .filter(|package| !other.contains_key(&key(package)))
            .cloned()
            .collect()
    };
    let mut changes = Changes {
        added: missing_in(&old, &after.packages),
        removed: missing_in(&new, &before.packages),
        held: before.held.clone(),
        ..Changes::default()
    };
    for (key, from) in &old {
        let Some(to) = new.get(key).filter(|to| to.version != from.version) else {
            continue;
        };
        let list = if to.version > from.version {
            &mut changes.upgraded
        } else {
            &mut changes.downgraded
        };
        list.push(Upgrade {
            name: from.name.clone(),
            architecture: from.architecture.clone(),
            from: from.version.clone(),
            to: to.version.clone(),
        });
    }
    changes
}
