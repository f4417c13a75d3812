//! apt: what it is told in an image, the indexes of its repositories, and which packages it would upgrade.
//! The rules are those of apt 2.6 (Debian 12) to 3.0; where they decide with chance or with the network, this leaves the
//! package alone and says so.

use serde::{Deserialize, Serialize};

use crate::layer::Files;

mod candidate;
mod card;
mod compression;
mod conf;
mod error;
mod index;
mod outdated;
mod preferences;
mod relation;
mod relations;
mod release;
mod sources;
mod stanza;
mod target;
mod upgrade;

pub use compression::decompress;
pub use error::Error;
pub use index::{Entry, Index};
pub use outdated::{Judge, Package, Repository, outdated, plain_upgrade, with_said};
pub use preferences::{Pin, Pinned, Property};
pub use relations::{Relations, Said};
pub use release::{File, Release};
pub use sources::Source;
pub use target::{Target, targets};

/// What apt in an image is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Where packages come from, in apt's order.
    pub sources: Vec<Source>,
    /// Which versions are preferred, in apt's order.
    pub pins: Vec<Pin>,
    /// `APT::Default-Release`.
    pub default_release: Option<String>,
    /// `APT::Architectures`, or the native one's place and dpkg's foreign ones: the native one may be missing here.
    pub architectures: Vec<String>,
    /// Phased updates are taken at any percentage: by `APT::Get::Always-Include-Phased-Updates`, and where there is no machine id
    /// that could draw a lot.
    pub phased: bool,
    /// `Acquire::Check-Valid-Until`.
    pub check_valid_until: bool,
    /// Sources that cannot be read here, for people.
    pub unsupported: Vec<String>,
    /// What installed packages say of one another.
    #[serde(default)]
    pub relations: Relations,
}

impl Default for Configuration {
    /// What apt does when it is told nothing.
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            pins: Vec::new(),
            default_release: None,
            architectures: Vec::new(),
            phased: false,
            check_valid_until: true,
            unsupported: Vec::new(),
            relations: Relations::default(),
        }
    }
}

impl Configuration {
    /// Reads `etc/apt` of an image.
    ///
    /// # Errors
    /// [`Error`] when a file cannot be reached, when apt would refuse it, and when a pin is not understood here.
    pub fn read(files: &Files) -> Result<Self, Error> {
        let mut conf = conf::Conf::default();
        for (_, text) in parts(files, "etc/apt/apt.conf.d", &["", "conf"])? {
            conf.read(text);
        }
        conf.read(read(files, "etc/apt/apt.conf")?.unwrap_or_default());
        let mut sources = sources::Sources::default();
        sources.read_list(SOURCES, read(files, SOURCES)?.unwrap_or_default())?;
        for (path, text) in parts(files, "etc/apt/sources.list.d", &["list", "sources"])? {
            if path.ends_with(".sources") {
                sources.read_stanzas(&path, text)?;
            } else {
                sources.read_list(&path, text)?;
            }
        }
        let mut pins = Vec::new();
        preferences::read(PREFERENCES, read(files, PREFERENCES)?.unwrap_or_default(), &mut pins)?;
        for (path, text) in parts(files, "etc/apt/preferences.d", &["", "pref"])? {
            preferences::read(&path, text, &mut pins)?;
        }
        let is = |name| conf.value(name).and_then(sources::boolean);
        // update-manager's setting stands where apt's own is not set.
        let phased = |when: &str| {
            let setting = |whose: &str| {
                let value = conf.value(&format!("{whose}::{when}-Include-Phased-Updates"));
                value.and_then(sources::boolean)
            };
            setting("APT::Get")
                .or_else(|| setting("Update-Manager"))
                .unwrap_or(false)
        };
        let release = conf.value("APT::Default-Release").filter(|release| !release.is_empty());
        Ok(Self {
            sources: sources.sources,
            pins,
            default_release: release.map(ToOwned::to_owned),
            architectures: architectures(files, &conf)?,
            phased: phased("Always") || !phased("Never") && !has_machine_id(files, &conf),
            check_valid_until: is("Acquire::Check-Valid-Until").unwrap_or(true),
            unsupported: sources.unsupported,
            relations: Relations::read(files)?,
        })
    }
}

const SOURCES: &str = "etc/apt/sources.list";
const PREFERENCES: &str = "etc/apt/preferences";

/// Whether there is a machine id; most images have none (apt's `getMachineID`).
fn has_machine_id(files: &Files, conf: &conf::Conf) -> bool {
    let is_id = |text: &[u8]| !text.trim_ascii().is_empty();
    conf.value("APT::Machine-ID").is_some_and(|text| is_id(text.as_bytes()))
        || read(files, "etc/machine-id").is_ok_and(|text| text.is_some_and(is_id))
}

/// What apt trusts when a source names no keys.
const TRUSTED: &str = "etc/apt/trusted.gpg";
const TRUSTED_PARTS: &str = "etc/apt/trusted.gpg.d";

/// The key files that apply to a source, each by its path: those that it names, or its inline key; else all that apt
/// trusts. A file that is not there is missing here; a source that names fingerprints still needs those of them checked.
#[must_use]
pub fn keys(files: &Files, source: &Source) -> Vec<(String, Vec<u8>)> {
    if let Some(key) = &source.inline_key {
        return vec![("Signed-By".to_owned(), key.clone().into_bytes())];
    }
    let named: Vec<&String> = source.signed_by.iter().filter(|key| key.starts_with('/')).collect();
    if !named.is_empty() {
        let found = named
            .into_iter()
            .filter_map(|path| Some((path.clone(), files.read(path).ok()??.to_vec())));
        return found.collect();
    }
    let trusted = files
        .read(TRUSTED)
        .ok()
        .flatten()
        .map(|bytes| (TRUSTED.to_owned(), bytes));
    let more = parts(files, TRUSTED_PARTS, &["gpg", "asc"]).unwrap_or_default();
    trusted
        .into_iter()
        .chain(more)
        .map(|(path, bytes)| (path, bytes.to_vec()))
        .collect()
}

fn architectures(files: &Files, conf: &conf::Conf) -> Result<Vec<String>, Error> {
    let configured = conf.list("APT::Architectures");
    if !configured.is_empty() {
        return Ok(configured);
    }
    // dpkg lists the native architecture there too, once there is a foreign one.
    let text = String::from_utf8_lossy(read(files, "var/lib/dpkg/arch")?.unwrap_or_default());
    let native = conf.value("APT::Architecture").into_iter();
    let mut all: Vec<String> = native
        .chain(text.split_ascii_whitespace())
        .map(ToOwned::to_owned)
        .collect();
    all.dedup();
    Ok(all)
}

fn read<'a>(files: &'a Files, path: &str) -> Result<Option<&'a [u8]>, Error> {
    files.read(path).map_err(|source| Error::Lookup {
        path: path.to_owned(),
        source,
    })
}

/// The files of a directory that apt reads (`GetListOfFilesInDir`), in its order: with one of the extensions, where the
/// empty one stands for none, and no character in the name that is not usual.
fn parts<'a>(files: &'a Files, directory: &str, extensions: &[&str]) -> Result<Vec<(String, &'a [u8])>, Error> {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    let is_part = |path: &str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        name.bytes().all(usual) && !name.starts_with('.') && extensions.contains(&extension)
    };
    let mut found = files.list(directory).map_err(|source| Error::Lookup {
        path: directory.to_owned(),
        source,
    })?;
    found.retain(|(path, _)| is_part(path));
    Ok(found)
}
