//! apk-tools: its database of installed packages, its settings, signed indexes of repositories, and what they make outdated.
//! Reads what versions 2 and 3 write. All of it is hostile input: sizes are limited, and indexes count only with a signature.

use std::io::BufRead;

use serde::{Deserialize, Serialize};

use crate::inventory::{Installed, Source};
use crate::version::{self, Family, Version};

mod adb;
mod configuration;
mod index;
mod lines;
mod needs;
mod outdated;
mod package;
mod repositories;
mod signature;
mod tarball;
mod world;

pub use configuration::{Configuration, DIRECTORIES, FILES, keys};
pub use index::{Index, IndexError, Offer};
pub(crate) use needs::constraints;
pub use needs::{Taken, sources};
pub use outdated::outdated;
pub use package::{Head, PackageError, check as check_package, checksum, unpack};
pub use repositories::{Format, Repository};
pub use signature::Keys;
pub use world::{Bound, Constraint, Operator};

use lines::Lines;

/// The size limit that fits any real database, in bytes: it lists every file, about 100 bytes each.
pub const DEFAULT_LIMIT: u64 = 64 * 1024 * 1024;

/// The size limit that fits any real index once it is unpacked, in bytes: Alpine's largest has about 15 MiB.
pub const INDEX_LIMIT: u64 = 128 * 1024 * 1024;

/// Where the database is, in the order to look: version 3 keeps it under `usr` where `/lib` is a link there.
pub const DATABASES: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name. One that begins with a dot is a group that `apk add --virtual` made; it is in no repository.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Its architecture, often `noarch`; empty where the database says none, which fits every machine.
    pub architecture: String,
    /// The source package it was built from, apk's `origin`; its own name where the database says none.
    pub origin: String,
    /// The tag of the repository it came from, without `@`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Whether apk says that some of its files or scripts failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub broken: bool,
}

impl From<Package> for Installed {
    fn from(package: Package) -> Self {
        Self {
            name: package.name,
            architecture: package.architecture,
            source: Source {
                name: package.origin,
                version: package.version.clone(),
            },
            version: package.version,
            origin: None,
        }
    }
}

/// Why a database, an index or a setting of apk cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file ended or failed under our hands.
    #[error("{file}: cannot read it")]
    Read {
        /// The file.
        file: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// Over the size limit.
    #[error("{file}: larger than {limit} bytes")]
    TooLarge {
        /// The file.
        file: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A line that is neither `letter:value` nor empty.
    #[error("{file}:{line}: neither a field nor the end of a package")]
    Line {
        /// The file.
        file: String,
        /// Line, from 1.
        line: u64,
    },
    /// The end of the file comes before that of a line: the rest is missing.
    #[error("{file}:{line}: the file ends in the middle of this line")]
    Cut {
        /// The file.
        file: String,
        /// Line, from 1.
        line: u64,
    },
    /// A field that a package must have.
    #[error("{file}:{line}: the package that begins here has no {field}")]
    Missing {
        /// The file.
        file: String,
        /// First line of the package.
        line: u64,
        /// The field.
        field: &'static str,
    },
    /// A value that is not allowed.
    #[error("{file}:{line}: {field} has the value {value:?}")]
    Value {
        /// The file.
        file: String,
        /// Line, from 1.
        line: u64,
        /// What has the value.
        field: &'static str,
        /// The value, shortened.
        value: String,
    },
    /// A version that apk would refuse.
    #[error("{file}:{line}: no version that apk takes")]
    Version {
        /// The file.
        file: String,
        /// Line, from 1; in a database, the first of the package.
        line: u64,
        /// Why not.
        #[source]
        source: version::Error,
    },
    /// A file cannot be reached in the image.
    #[error("cannot look up {path} in the image")]
    Lookup {
        /// The path.
        path: String,
        /// Why not.
        #[source]
        source: crate::layer::Error,
    },
}

impl Error {
    fn value(file: &str, line: u64, field: &'static str, value: &str) -> Self {
        Self::Value {
            file: file.to_owned(),
            line,
            field,
            value: value.chars().take(100).collect(),
        }
    }
}

/// Whether apk gives packages such a name. A dash at its beginning is refused, for it would be an option somewhere.
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    !name.is_empty() && name.len() <= 256 && !name.starts_with('-') && name.bytes().all(fits)
}

/// Whether it can be an architecture, or a tag.
fn is_word(word: &str) -> bool {
    word.len() <= 64
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
}

/// Reads a database of at most `limit` bytes. `file` names it in errors. What apk takes is taken: fields in any order,
/// without files, with marks of broken files or scripts, and fields that are not known here.
///
/// # Errors
/// [`Error`] when the file cannot be read, is too large, or names packages as apk does not.
pub fn read(file: &str, reader: impl BufRead, limit: u64) -> Result<Vec<Package>, Error> {
    let mut lines = Lines::new(file, reader, limit);
    let mut packages = Vec::new();
    let mut record = Record::default();
    while let Some(field) = lines.next()? {
        match field {
            Some((letter, value)) => {
                let value = String::from_utf8_lossy(value);
                record.add(letter, &value);
                record.first_line = record.first_line.or(Some(lines.number));
            }
            None => packages.extend(std::mem::take(&mut record).finish(file)?),
        }
    }
    packages.extend(record.finish(file)?);
    Ok(packages)
}

/// A package while its fields come in.
#[derive(Default)]
struct Record {
    first_line: Option<u64>,
    name: Option<String>,
    version: Option<String>,
    architecture: Option<String>,
    origin: Option<String>,
    tag: Option<String>,
    broken: bool,
}

impl Record {
    fn add(&mut self, letter: u8, value: &str) {
        let field = match letter {
            b'P' => &mut self.name,
            b'V' => &mut self.version,
            b'A' => &mut self.architecture,
            b'o' => &mut self.origin,
            b's' => &mut self.tag,
            b'f' => {
                // Its files and its scripts; others are marks of no trouble, or of extended attributes.
                self.broken = value.contains(['f', 's']);
                return;
            }
            _ => return,
        };
        *field = Some(value.to_owned());
    }

    fn finish(self, file: &str) -> Result<Option<Package>, Error> {
        let Some(line) = self.first_line else {
            return Ok(None);
        };
        let missing = |field| Error::Missing {
            file: file.to_owned(),
            line,
            field,
        };
        let name = checked(
            file,
            line,
            "the name",
            self.name.ok_or_else(|| missing("name"))?,
            is_name,
        )?;
        let version = self.version.ok_or_else(|| missing("version"))?;
        let version = Version::parse(Family::Apk, &version).map_err(|source| Error::Version {
            file: file.to_owned(),
            line,
            source,
        })?;
        let architecture = checked(
            file,
            line,
            "the architecture",
            self.architecture.unwrap_or_default(),
            is_word,
        )?;
        let origin = self.origin.filter(|origin| !origin.is_empty());
        let origin = checked(
            file,
            line,
            "the origin",
            origin.unwrap_or_else(|| name.clone()),
            is_name,
        )?;
        let tag = self
            .tag
            .map(|tag| checked(file, line, "the tag", tag, is_word))
            .transpose()?;
        Ok(Some(Package {
            name,
            version,
            architecture,
            origin,
            tag,
            broken: self.broken,
        }))
    }
}

fn checked(file: &str, line: u64, field: &'static str, value: String, fits: fn(&str) -> bool) -> Result<String, Error> {
    if fits(&value) {
        Ok(value)
    } else {
        Err(Error::value(file, line, field, &value))
    }
}
