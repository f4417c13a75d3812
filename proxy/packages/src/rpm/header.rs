//! The header of a package, as rpm's databases hold it: an index of tags and a store of their values
//! (rpm's "Package Header Format", without the eight bytes of magic; "Immutable header regions").

use crate::inventory::Source;
use crate::rpm::bytes::Bytes;
use crate::rpm::database::Wrong;
use crate::rpm::{Package, is_architecture, is_name, release};
use crate::version::{Family, Version};

/// As many tags as rpm takes (`HEADER_TAGS_MAX`).
pub(crate) const MAX_TAGS: usize = 0xffff;
pub(crate) const INTRO: usize = 8;
pub(crate) const ENTRY: usize = 16;

/// The longest text that is taken from a tag, in bytes.
const MAX_TEXT: usize = 1024;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const VENDOR: u32 = 1011;
const ARCH: u32 = 1022;
const SOURCE_RPM: u32 = 1044;
const PROVIDE_NAME: u32 = 1047;
const PROVIDE_FLAGS: u32 = 1112;
const PROVIDE_VERSION: u32 = 1113;
const MODULARITY_LABEL: u32 = 5096;

const INT32: u32 = 4;
const STRING: u32 = 6;
const STRING_ARRAY: u32 = 8;
const I18N_STRING: u32 = 9;

/// The tags that we keep.
#[derive(Default)]
struct Tags {
    name: Option<String>,
    version: Option<String>,
    release: Option<String>,
    epoch: Option<u32>,
    vendor: Option<String>,
    architecture: Option<String>,
    source_rpm: Option<String>,
    modularity: Option<String>,
    /// Where in the store the names, versions and flags of what it provides begin, and how many there are.
    provides: [Option<(usize, usize)>; 3],
}

/// The package of a header; nothing for an imported key.
pub(crate) fn package(header: Bytes<'_>) -> Result<Option<Package>, Wrong> {
    let (tags, store) = tags(header)?;
    let provided = release::provided(store, tags.provides);
    let name = tags.name.ok_or(Wrong::Text("it has no name"))?;
    if name == "gpg-pubkey" {
        return Ok(None);
    }
    let version = tags.version.ok_or(Wrong::Text("it has no version"))?;
    let release = tags.release.ok_or(Wrong::Text("it has no release"))?;
    let parts = Parts {
        name,
        epoch: tags.epoch.unwrap_or_default(),
        version_release: format!("{version}-{release}"),
        architecture: tags.architecture.ok_or(Wrong::Text("it has no architecture"))?,
        source_rpm: tags.source_rpm,
        vendor: tags.vendor,
        modularity: tags.modularity,
    };
    let mut package = parts.package()?;
    package.release = provided.map(|provided| provided.release(&package));
    Ok(Some(package))
}

fn tags(header: Bytes<'_>) -> Result<(Tags, Bytes<'_>), Wrong> {
    const SHORT: Wrong = Wrong::Text("its header ends too early");
    let count = header.size(0).ok_or(SHORT)?;
    if count > MAX_TAGS {
        return Err(Wrong::Text("its header has too many tags"));
    }
    let size = header.size(4).ok_or(SHORT)?;
    let start = INTRO + count * ENTRY;
    let store = Bytes::new(header.slice(start, size).ok_or(SHORT)?, header.order);
    let mut tags = Tags::default();
    // The first tag may say that the next ones are those of the package as it was signed; what stands behind them was
    // added or replaced when it was installed, so the last one counts.
    for index in 0..count {
        let entry = Bytes::new(header.slice(INTRO + index * ENTRY, ENTRY).ok_or(SHORT)?, header.order);
        let (tag, kind) = (entry.u32(0).ok_or(SHORT)?, entry.u32(4).ok_or(SHORT)?);
        let text = || text(store, kind, entry.size(8)?);
        match tag {
            NAME => tags.name = Some(text().ok_or(Wrong::Text("its name is no text"))?),
            VERSION => tags.version = Some(text().ok_or(Wrong::Text("its version is no text"))?),
            RELEASE => tags.release = Some(text().ok_or(Wrong::Text("its release is no text"))?),
            ARCH => tags.architecture = Some(text().ok_or(Wrong::Text("its architecture is no text"))?),
            EPOCH if kind == INT32 => tags.epoch = entry.size(8).and_then(|offset| store.u32(offset)),
            EPOCH => return Err(Wrong::Text("its epoch is no number")),
            VENDOR => tags.vendor = text(),
            SOURCE_RPM => tags.source_rpm = text(),
            MODULARITY_LABEL => tags.modularity = text(),
            PROVIDE_NAME if kind == STRING_ARRAY => tags.provides[0] = entry.size(8).zip(entry.size(12)),
            PROVIDE_VERSION if kind == STRING_ARRAY => tags.provides[1] = entry.size(8).zip(entry.size(12)),
            PROVIDE_FLAGS if kind == INT32 => tags.provides[2] = entry.size(8).zip(entry.size(12)),
            _ => {}
        }
    }
    Ok((tags, store))
}

fn text(store: Bytes<'_>, kind: u32, offset: usize) -> Option<String> {
    if kind != STRING && kind != I18N_STRING {
        return None;
    }
    let rest = store.bytes.get(offset..)?;
    let length = rest.iter().take(MAX_TEXT).position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(rest.get(..length)?).into_owned())
}

/// What a database or manifest says of a package, not checked yet.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) epoch: u32,
    pub(crate) version_release: String,
    pub(crate) architecture: String,
    pub(crate) source_rpm: Option<String>,
    pub(crate) vendor: Option<String>,
    pub(crate) modularity: Option<String>,
}

impl Parts {
    pub(crate) fn package(self) -> Result<Package, Wrong> {
        if !is_name(&self.name) {
            return Err(Wrong::Value("name", self.name));
        }
        if !is_architecture(&self.architecture) {
            return Err(Wrong::Value("architecture", self.architecture));
        }
        let version = version(self.epoch, &self.version_release).map_err(Wrong::Version)?;
        let source = self.source_rpm.as_deref().and_then(|file| source(file, self.epoch));
        let source = source.unwrap_or_else(|| Source {
            name: self.name.clone(),
            version: version.clone(),
        });
        Ok(Package {
            name: self.name,
            architecture: self.architecture,
            version,
            source,
            vendor: self.vendor,
            modularity: self.modularity,
            release: None,
        })
    }
}

/// A version with its epoch, which is written only when it says something.
pub(crate) fn version(epoch: u32, version_release: &str) -> Result<Version, crate::version::Error> {
    if epoch == 0 {
        return Version::parse(Family::Rpm, version_release);
    }
    Version::parse(Family::Rpm, &format!("{epoch}:{version_release}"))
}

/// The source of a package by the name of its source package's file; nothing when that is no such name.
fn source(file: &str, epoch: u32) -> Option<Source> {
    let stem = file
        .strip_suffix(".src.rpm")
        .or_else(|| file.strip_suffix(".nosrc.rpm"))?;
    let (rest, release) = stem.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    let version = self::version(epoch, &format!("{version}-{release}")).ok()?;
    is_name(name).then(|| Source {
        name: name.to_owned(),
        version,
    })
}
