//! rpm: the packages that an image has by its database, the repositories that it is set up for, and what those offer.
//! Reads bytes that strangers made; every reader is linear in the size of its input and has limits on the rest.

use serde::{Deserialize, Serialize};

use crate::inventory::{Installed, Source};
use crate::version::Version;

mod berkeley;
mod bytes;
mod configuration;
mod database;
mod file;
mod header;
mod index;
mod manifest;
pub mod metadata;
mod ndb;
mod obsoletes;
mod outdated;
mod pattern;
mod payload;
mod release;
mod scripts;
mod sqlite;
mod values;

pub use configuration::{
    CONFIGURATION_DIRECTORIES, CONFIGURATION_FILES, Configuration, Error as ConfigurationError, IniError, Lock,
    Repository, Variables,
};
pub use database::{DATABASES, Error, Running, WRITE_AHEAD, read_database, read_scripts};
pub use file::{Entry, FileError, Head};
pub use index::{Available, Index, Visible};
pub use manifest::{MANIFEST, NAMES, full_name, manifest_line, read_manifest};
pub use outdated::{offered, outdated};
pub use payload::unpack;
pub use release::{Release, release};
pub use scripts::{Script, Scripts, Trigger, unrunnable};

/// An installed package, as rpm's database has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// The binary package's name.
    pub name: String,
    /// Its architecture in rpm's words, such as `x86_64` or `noarch`.
    pub architecture: String,
    /// `[epoch:]version-release`, without the epoch when that is zero or missing.
    pub version: Version,
    /// What it was built from. rpm does not tell the source's epoch; that of the binary package is taken for it.
    pub source: Source,
    /// Who made it: `Red Hat, Inc.`, `SUSE LLC <https://www.suse.com/>`. Any text.
    pub vendor: Option<String>,
    /// The module stream that it belongs to: `name:stream:version:context`.
    pub modularity: Option<String>,
    /// What it says the distribution's release is; one package of an image does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
}

impl From<Package> for Installed {
    fn from(package: Package) -> Self {
        Self {
            name: package.name,
            architecture: package.architecture,
            version: package.version,
            source: package.source,
            origin: package.vendor,
        }
    }
}

/// A package whose parts come from a database, a manifest or an index.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._+-~^".contains(&byte))
        && !text.starts_with('-')
}

/// An architecture in rpm's words.
pub(crate) fn is_architecture(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
