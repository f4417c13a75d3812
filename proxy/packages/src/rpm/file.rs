//! An `.rpm` file (rpm's "Package format": lead, signatures, header, payload): what it says of itself, before its payload is read.
//! The file is one whose digest a signed index has; sizes are believed up to limits all the same.
//!
//! Headers are read by what reads those of databases. The crate `rpm` (0.30) takes as much memory as a header claims to need, and
//! unpacks a payload into memory.

use std::io::{self, Read};

use crate::layer::path;
use crate::rpm::Package;
use crate::rpm::bytes::{Bytes, Order};
use crate::rpm::database::Wrong;
use crate::rpm::header;
use crate::rpm::scripts::{Scripts, Trigger};
use crate::rpm::values::Values;

const LEAD: usize = 96;
const LEAD_MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];
const HEADER_MAGIC: [u8; 4] = [0x8e, 0xad, 0xe8, 1];
/// The largest header that is taken, in bytes; that of a kernel has some MB.
const MAX_HEADER: usize = 64 << 20;
/// The longest path, in bytes (`PATH_MAX`).
const MAX_PATH: usize = 4096;
/// The most files of a package.
const MAX_FILES: usize = 300_000;

const BUILD_TIME: u32 = 1006;
const INSTALL_TIME: u32 = 1008;
const SIZE: u32 = 1009;
const SOURCE_RPM: u32 = 1044;
const LONG_SIZE: u32 = 5009;
/// Flags of files: configuration, and what is not in the payload (rpm's `rpmfiles.h`).
const CONFIGURATION: u32 = 1;
const GHOST: u32 = 1 << 6;
const FILE_MODES: u32 = 1030;
const FILE_TIMES: u32 = 1034;
const FILE_DIGESTS: u32 = 1035;
const FILE_LINKS: u32 = 1036;
const FILE_FLAGS: u32 = 1037;
const FILE_USERS: u32 = 1039;
const FILE_GROUPS: u32 = 1040;
const BASE_NAMES: u32 = 1117;
const DIRECTORY_NUMBERS: u32 = 1116;
const DIRECTORIES: u32 = 1118;
const PAYLOAD_FORMAT: u32 = 1124;
const PAYLOAD_COMPRESSOR: u32 = 1125;
const FILE_CAPABILITIES: u32 = 5010;

/// What a package file says of itself.
#[derive(Clone, Debug)]
pub struct Head {
    /// Which package it is.
    pub package: Package,
    /// Its own scripts.
    pub scripts: Scripts,
    /// What it runs when files of other packages come or go.
    pub triggers: Vec<Trigger>,
    /// Its files, in the order of its header.
    pub entries: Vec<Entry>,
    /// When it was built, in seconds since the epoch.
    pub built: u64,
    /// The size of its files in bytes.
    pub size: u64,
    /// The file of its source package; empty where it says none.
    pub source_rpm: String,
    /// What its payload is, such as `cpio`.
    pub format: String,
    /// What its payload is packed with, such as `gzip` or `zstd`.
    pub compressor: String,
}

/// A file, directory or link of a package, as its header has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its path, with a leading slash.
    pub path: String,
    /// Type and permissions, as `st_mode` has them.
    pub mode: u32,
    /// The name of its owner.
    pub user: String,
    /// The name of its group.
    pub group: String,
    /// When it was changed, in seconds since the epoch.
    pub mtime: u64,
    /// rpm's flags: configuration, documentation, ghost and so on.
    pub flags: u32,
    /// The digest of its content in hex; empty for what is no file.
    pub digest: String,
    /// Where a symbolic link leads.
    pub link: String,
    /// Its capabilities, as cap_to_text(3) writes them.
    pub capabilities: String,
}

/// Why a file is no package.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("it cannot be read, or ends early")]
    Read(#[source] io::Error),
    /// What was unpacked cannot be kept.
    #[error("its files cannot be written")]
    Write(#[source] io::Error),
    /// It is malformed.
    #[error("it is no package as rpm writes them: {0}")]
    Malformed(&'static str),
    /// A part of it is not what any package has.
    #[error("it has a part that no package has: {0}")]
    Part(String),
}

impl From<Wrong> for FileError {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Text(text) => Self::Malformed(text),
            Wrong::Value(field, value) => {
                Self::Part(format!("the {field} {:?}", value.chars().take(100).collect::<String>()))
            }
            Wrong::Version(error) => Self::Part(error.to_string()),
        }
    }
}

impl Entry {
    /// Whether the package only owns it, and does not bring it.
    #[must_use]
    pub fn is_ghost(&self) -> bool {
        self.flags & GHOST != 0
    }
}

impl Head {
    /// Its configuration files, as clean paths.
    #[must_use]
    pub fn configuration(&self) -> Vec<String> {
        let own = self.entries.iter().filter(|entry| entry.flags & CONFIGURATION != 0);
        own.map(|entry| path::clean(&entry.path)).collect()
    }

    /// Reads a package up to where its payload begins.
    ///
    /// # Errors
    /// [`FileError`] when it is no package, or one that is larger than any real one.
    pub fn read(from: &mut impl Read) -> Result<Self, FileError> {
        let mut lead = [0; LEAD];
        from.read_exact(&mut lead).map_err(FileError::Read)?;
        if lead[..4] != LEAD_MAGIC {
            return Err(FileError::Malformed("it does not begin as one"));
        }
        let signatures = block(from)?;
        // What follows begins at a multiple of eight bytes.
        let padding = (8 - signatures.len() % 8) % 8;
        from.read_exact(&mut [0; 8][..padding]).map_err(FileError::Read)?;
        let bytes = block(from)?;
        let header = Bytes::new(&bytes, Order::Big);
        let package = header::package(header)?.ok_or(FileError::Malformed("it is a key"))?;
        let values = Values::read(header)?;
        if values.number(INSTALL_TIME).is_some() {
            return Err(FileError::Malformed("it was installed already"));
        }
        Ok(Self {
            package,
            scripts: Scripts::of(&values),
            triggers: Trigger::all(&values),
            entries: entries(&values)?,
            built: values.number(BUILD_TIME).unwrap_or_default(),
            size: values
                .number(LONG_SIZE)
                .or_else(|| values.number(SIZE))
                .unwrap_or_default(),
            source_rpm: values.text(SOURCE_RPM).unwrap_or_default(),
            format: values.text(PAYLOAD_FORMAT).unwrap_or_else(|| "cpio".to_owned()),
            compressor: values.text(PAYLOAD_COMPRESSOR).unwrap_or_else(|| "gzip".to_owned()),
        })
    }
}

/// A header with its magic; without it.
fn block(from: &mut impl Read) -> Result<Vec<u8>, FileError> {
    let mut intro = [0; 16];
    from.read_exact(&mut intro).map_err(FileError::Read)?;
    if intro[..4] != HEADER_MAGIC {
        return Err(FileError::Malformed("a header does not begin as one"));
    }
    let sizes = Bytes::new(&intro, Order::Big);
    let length = |at| sizes.size(at).unwrap_or(usize::MAX);
    let size = length(8)
        .saturating_mul(header::ENTRY)
        .saturating_add(length(12))
        .saturating_add(header::INTRO);
    if size > MAX_HEADER {
        return Err(FileError::Malformed("a header is larger than any real one"));
    }
    let mut bytes = intro[8..].to_vec();
    let rest = (size - header::INTRO) as u64;
    // Grows with what is there, not with what is said.
    let read = from.take(rest).read_to_end(&mut bytes).map_err(FileError::Read)?;
    if read as u64 != rest {
        return Err(FileError::Malformed("a header ends early"));
    }
    Ok(bytes)
}

fn entries(values: &Values<'_>) -> Result<Vec<Entry>, FileError> {
    let directories: Vec<String> = values.texts(DIRECTORIES).collect();
    let mut numbers = values.numbers(DIRECTORY_NUMBERS);
    let (mut modes, mut times, mut flags) = (
        values.numbers(FILE_MODES),
        values.numbers(FILE_TIMES),
        values.numbers(FILE_FLAGS),
    );
    let (mut users, mut groups) = (values.texts(FILE_USERS), values.texts(FILE_GROUPS));
    let (mut digests, mut links) = (values.texts(FILE_DIGESTS), values.texts(FILE_LINKS));
    let mut capabilities = values.texts(FILE_CAPABILITIES);
    let mut entries = Vec::new();
    for name in values.texts(BASE_NAMES) {
        const SHORT: FileError = FileError::Malformed("it does not say all of its files");
        let directory = usize::try_from(numbers.next().ok_or(SHORT)?).unwrap_or(usize::MAX);
        let directory = directories.get(directory).ok_or(SHORT)?;
        if directory.len() + name.len() > MAX_PATH {
            return Err(FileError::Malformed("a path in it is longer than any real one"));
        }
        let narrow = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok()).ok_or(SHORT);
        entries.push(Entry {
            path: format!("{directory}{name}"),
            mode: narrow(modes.next())?,
            user: users.next().ok_or(SHORT)?,
            group: groups.next().ok_or(SHORT)?,
            mtime: times.next().ok_or(SHORT)?,
            flags: narrow(flags.next())?,
            digest: digests.next().unwrap_or_default(),
            link: links.next().unwrap_or_default(),
            capabilities: capabilities.next().unwrap_or_default(),
        });
        if entries.len() > MAX_FILES {
            return Err(FileError::Malformed("it has more files than any real one"));
        }
    }
    Ok(entries)
}
