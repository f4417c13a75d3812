//! What an image tells apk: its repositories, what it shall have, its architectures, and the keys that it trusts.
//! Keys are read by themselves, so that a configuration can be kept and shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::repositories::Reader;
use super::{Constraint, DATABASES, DEFAULT_LIMIT, Error, Repository, is_word, read, world};
use crate::inventory::{Held, Installed};
use crate::layer::Files;

/// The files that [`Configuration::read`] looks for, besides those in [`DIRECTORIES`].
pub const FILES: [&str; 5] = [REPOSITORIES, WORLD, ARCHITECTURES, DATABASES[0], DATABASES[1]];

/// The directories whose files [`Configuration::read`] and [`keys`] look for. `lib` may be a link to `usr/lib`.
pub const DIRECTORIES: [&str; 6] = [
    "etc/apk/repositories.d",
    "lib/apk/repositories.d",
    "usr/lib/apk/repositories.d",
    "etc/apk/keys",
    "lib/apk/keys",
    "usr/lib/apk/keys",
];

const REPOSITORIES: &str = "etc/apk/repositories";
const WORLD: &str = "etc/apk/world";
const ARCHITECTURES: &str = "etc/apk/arch";

/// What an image tells apk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// Whose packages it takes, its own first, besides `noarch`; empty where apk's own is meant.
    pub architectures: Vec<String>,
    /// Where packages come from, in apk's order.
    pub repositories: Vec<Repository>,
    /// What it shall have.
    pub world: Vec<Constraint>,
    /// Installed packages that came from tagged repositories, with the tag, without `@`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// What apk would not understand, in words for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Configuration {
    /// Reads what an image tells apk, from its [`FILES`] and [`DIRECTORIES`]. Files that are not there say nothing.
    ///
    /// # Errors
    /// [`Error`] where apk would refuse to work: `world` or the database is malformed.
    pub fn read(files: &Files) -> Result<Self, Error> {
        let architectures = architectures(lookup(files, ARCHITECTURES)?);
        let mut reader = Reader::new(architectures.first().map(String::as_str));
        reader.add(REPOSITORIES, lookup(files, REPOSITORIES)?);
        for (path, bytes) in effective(files, "repositories.d", ".list")? {
            reader.add(&path, bytes);
        }
        let mut tags = BTreeMap::new();
        for database in DATABASES {
            let packages = read(database, lookup(files, database)?, DEFAULT_LIMIT)?;
            tags.extend(
                packages
                    .into_iter()
                    .filter_map(|package| Some((package.name, package.tag?))),
            );
        }
        Ok(Self {
            world: world::parse(WORLD, lookup(files, WORLD)?)?,
            architectures,
            repositories: reader.repositories,
            tags,
            notes: reader.notes,
        })
    }

    /// What `world` says of a package by its name.
    pub fn of(&self, name: &str) -> impl Iterator<Item = &Constraint> {
        self.world.iter().filter(move |constraint| constraint.name == name)
    }

    /// The tag of the repositories that a package comes from: the one that `world` gives it, or that it came with.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<&String> {
        let wanted = self.of(name).find_map(|constraint| constraint.tag.as_ref());
        wanted.or_else(|| self.tags.get(name))
    }

    /// The packages that `world` holds at the very version that they have: `name=version`, or a file's checksum.
    #[must_use]
    pub fn held(&self, packages: &[Installed]) -> Vec<Held> {
        let is_held = |package: &&Installed| {
            let named = self.world.iter().filter(|constraint| constraint.name == package.name);
            named.into_iter().any(Constraint::holds)
        };
        let held = packages.iter().filter(is_held).map(|package| Held {
            name: package.name.clone(),
            architecture: package.architecture.clone(),
        });
        held.collect()
    }
}

/// The public keys that an image trusts, with their files' names, by which signatures name them.
///
/// # Errors
/// [`Error::Lookup`].
pub fn keys(files: &Files) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let found = effective(files, "keys", "")?;
    let name = |path: &str| path.rsplit_once('/').map_or(path, |(_, name)| name).to_owned();
    Ok(found
        .into_iter()
        .map(|(path, bytes)| (name(&path), bytes.to_vec()))
        .collect())
}

fn lookup<'a>(files: &'a Files, path: &str) -> Result<&'a [u8], Error> {
    let found = files.read(path).map_err(|source| Error::Lookup {
        path: path.to_owned(),
        source,
    });
    Ok(found?.unwrap_or_default())
}

/// The files of a directory with an ending, under `etc/apk` and then `lib/apk`, where those that `etc` has too do not count.
fn effective<'a>(files: &'a Files, directory: &str, ending: &str) -> Result<Vec<(String, &'a [u8])>, Error> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for place in ["etc/apk", "lib/apk"] {
        let path = format!("{place}/{directory}");
        let listed = files.list(&path).map_err(|source| Error::Lookup {
            path: path.clone(),
            source,
        })?;
        for (path, bytes) in listed {
            let name = path.rsplit_once('/').map_or(&*path, |(_, name)| name);
            if name.ends_with(ending) && !name.starts_with('.') && seen.insert(name.to_owned()) {
                found.push((path, bytes));
            }
        }
    }
    Ok(found)
}

fn architectures(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let names = text
        .lines()
        .map(str::trim)
        .filter(|name| !name.is_empty() && is_word(name));
    names.take(16).map(ToOwned::to_owned).collect()
}
