//! pacman: its database of installed packages, a folder `NAME-VERSION` for each with a file `desc` (libalpm's `be_local.c`).
//! Reads one such file, keeps what identifies the package, and names file and line in errors.

use serde::{Deserialize, Serialize};

use crate::inventory::{Installed, Source};
use crate::version::{self, Family, Version};

mod configuration;
mod index;
mod outdated;

pub use configuration::{CONFIGURATION, Configuration, INCLUDED, KEYS, Level, Repository, fits};
pub use index::{INDEX_LIMIT, Index, IndexError};
pub use outdated::outdated;

/// Where the folders of packages are.
pub const DATABASE: &str = "var/lib/pacman/local";

/// The largest `desc` that is read, in bytes: real ones have some thousand, mostly optional dependencies.
pub const MAX_LENGTH: usize = 1024 * 1024;

/// The most groups of a package that are read.
const MAX_GROUPS: usize = 100;

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Its architecture, often `any`, which is also what the database means where it says none.
    pub architecture: String,
    /// The package that it was built with; its own name where the database says none.
    pub base: String,
    /// The groups that it is of.
    #[serde(default)]
    pub groups: Vec<String>,
}

impl From<Package> for Installed {
    fn from(package: Package) -> Self {
        Self {
            name: package.name,
            architecture: package.architecture,
            source: Source {
                name: package.base,
                version: package.version.clone(),
            },
            version: package.version,
            origin: None,
        }
    }
}

/// Why a file does not describe a package.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Over the size limit.
    #[error("{file}: larger than {MAX_LENGTH} bytes")]
    TooLarge {
        /// The file.
        file: String,
    },
    /// A field that a package must have.
    #[error("{file}: it has no %{field}%")]
    Missing {
        /// The file.
        file: String,
        /// The field.
        field: &'static str,
    },
    /// A field with a value that is not allowed.
    #[error("{file}:{line}: %{field}% has the value {value:?}")]
    Value {
        /// The file.
        file: String,
        /// Line, from 1.
        line: u64,
        /// The field.
        field: &'static str,
        /// The value, shortened.
        value: String,
    },
    /// A version that cannot be.
    #[error("{file}:{line}: %VERSION% is no version")]
    Version {
        /// The file.
        file: String,
        /// Line, from 1.
        line: u64,
        /// Why not.
        #[source]
        source: version::Error,
    },
}

/// The fields that we keep, in the order of `Package`.
const FIELDS: [&str; 4] = ["NAME", "VERSION", "ARCH", "BASE"];

/// Reads a `desc`. `file` names it in errors. Fields that are not known here are ignored, as pacman does.
///
/// # Errors
/// [`Error`] when it is too large, or says no name or version that can be.
pub fn parse_desc(file: &str, bytes: &[u8]) -> Result<Package, Error> {
    if bytes.len() > MAX_LENGTH {
        return Err(Error::TooLarge { file: file.to_owned() });
    }
    let [name, version, architecture, base] = fields(bytes);
    let missing = |field| Error::Missing {
        file: file.to_owned(),
        field,
    };
    let name = checked(file, "NAME", name)?.ok_or_else(|| missing("NAME"))?;
    let (line, version) = version.ok_or_else(|| missing("VERSION"))?;
    let version = Version::parse(Family::Pacman, &version).map_err(|source| Error::Version {
        file: file.to_owned(),
        line,
        source,
    })?;
    let architecture = checked(file, "ARCH", architecture)?.unwrap_or_else(|| "any".to_owned());
    let base = checked(file, "BASE", base)?.unwrap_or_else(|| name.clone());
    Ok(Package {
        name,
        version,
        architecture,
        base,
        groups: groups(bytes),
    })
}

/// The value of each field, the line after its `%NAME%`, with the number of that line.
fn fields(bytes: &[u8]) -> [Option<(u64, String)>; FIELDS.len()] {
    let mut found = [const { None }; FIELDS.len()];
    let mut lines = bytes.split(|byte| *byte == b'\n').zip(1..);
    while let Some((line, _)) = lines.next() {
        let line = line.trim_ascii_end();
        let name = line.strip_prefix(b"%").and_then(|line| line.strip_suffix(b"%"));
        let Some(name) = name else { continue };
        let place = FIELDS.iter().position(|field| field.as_bytes() == name);
        if let Some(field) = place.and_then(|place| found.get_mut(place))
            && let Some((value, number)) = lines.next()
        {
            *field = Some((number, String::from_utf8_lossy(value.trim_ascii_end()).into_owned()));
        }
    }
    found
}

/// The lines after `%GROUPS%`, up to an empty one.
fn groups(bytes: &[u8]) -> Vec<String> {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    if !lines.any(|line| line == b"%GROUPS%") {
        return Vec::new();
    }
    let own = lines.take_while(|line| !line.is_empty()).take(MAX_GROUPS);
    own.map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

/// A value that is a name: letters, digits and `@._+-`, and nothing that looks like an option or a hidden file.
fn checked(file: &str, field: &'static str, value: Option<(u64, String)>) -> Result<Option<String>, Error> {
    let Some((line, value)) = value else { return Ok(None) };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"@._+-".contains(&byte);
    if value.is_empty() || value.len() > 256 || value.starts_with(['-', '.']) || !value.bytes().all(fits) {
        return Err(Error::Value {
            file: file.to_owned(),
            line,
            field,
            value: value.chars().take(100).collect(),
        });
    }
    Ok(Some(value))
}
