//! dpkg's status database (deb822 stanzas, dpkg's `lib/dpkg/parse.c` and `fields.c`).
//! Reads line by line with limits, keeps only the fields that identify a package, and names file and line
//! in errors. `deb822-fast` is not used: it wants the whole file to be UTF-8 (old descriptions are not),
//! copies every field, has no limit on a line and tells no position.

use std::io::BufRead;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::inventory::Source;
use crate::version::{self, Family, Version};

mod package;

pub use package::{Flag, MultiArch, Package, State, Status, Want};
pub(crate) use package::{is_architecture, is_name, split_source};

/// The size limit that fits any real database, in bytes: a full desktop has about 10 MiB.
pub const DEFAULT_LIMIT: u64 = 64 * 1024 * 1024;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// `var/lib/dpkg/status`: every stanza has a `Status`.
    Status,
    /// A file of `var/lib/dpkg/status.d/` (distroless): no `Status`, what is there is installed.
    Fragment,
}

/// Why a file is not a package database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file ended or failed under our hands.
    #[error("{file}: cannot read the package database")]
    Read {
        /// The file.
        file: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// Over the size limit.
    #[error("{file}: the package database is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        file: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A line that is neither field nor continuation.
    #[error("{file}:{line}: neither a field nor the continuation of one")]
    Line {
        /// The file.
        file: String,
        /// Line, from 1.
        line: u64,
    },
    /// A field that a stanza must have.
    #[error("{file}:{line}: the stanza that begins here has no {field}")]
    Missing {
        /// The file.
        file: String,
        /// First line of the stanza.
        line: u64,
        /// The field.
        field: &'static str,
    },
    /// A field with a value that is not allowed.
    #[error("{file}:{line}: {field} in the stanza that begins here has the value {value:?}")]
    Value {
        /// The file.
        file: String,
        /// First line of the stanza.
        line: u64,
        /// The field.
        field: &'static str,
        /// The value, shortened.
        value: String,
    },
    /// A version that dpkg would refuse.
    #[error("{file}:{line}: {field} in the stanza that begins here is no version")]
    Version {
        /// The file.
        file: String,
        /// First line of the stanza.
        line: u64,
        /// The field.
        field: &'static str,
        /// Why not.
        #[source]
        source: version::Error,
    },
}

/// Reads a database of at most `limit` bytes. `file` names it in errors. Stanzas without a version (packages
/// that were never installed) are left out.
///
/// # Errors
/// [`Error`] when the file cannot be read, is too large, or is not what dpkg writes.
pub fn read(file: &str, kind: Kind, reader: impl BufRead, limit: u64) -> Result<Vec<Package>, Error> {
    let mut lines = Lines {
        file,
        reader: reader.take(limit.saturating_add(1)),
        limit,
        read: 0,
        number: 0,
    };
    let mut packages = Vec::new();
    let mut line = Vec::new();
    let mut stanza = Stanza::default();
    while lines.next(&mut line)? {
        if line.iter().all(u8::is_ascii_whitespace) {
            packages.extend(std::mem::take(&mut stanza).finish(file, kind)?);
        } else if !stanza.add(&line, lines.number) {
            return Err(Error::Line {
                file: file.to_owned(),
                line: lines.number,
            });
        }
    }
    packages.extend(stanza.finish(file, kind)?);
    Ok(packages)
}

/// The lines of a file, never more than `limit` bytes of them.
struct Lines<'a, R> {
    file: &'a str,
    reader: std::io::Take<R>,
    limit: u64,
    read: u64,
    number: u64,
}

impl<R: BufRead> Lines<'_, R> {
    /// Puts the next line into `line`; false at the end.
    fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, Error> {
        line.clear();
        let read = self.reader.read_until(b'\n', line);
        let read = read.map_err(|source| Error::Read {
            file: self.file.to_owned(),
            source,
        })?;
        self.read += read as u64;
        self.number += 1;
        if self.read > self.limit {
            return Err(Error::TooLarge {
                file: self.file.to_owned(),
                limit: self.limit,
            });
        }
        Ok(read > 0)
    }
}

/// The fields that we keep, in the order of `Stanza::values`.
const FIELDS: [&str; 7] = [
    "Package",
    "Status",
    "Architecture",
    "Version",
    "Source",
    "Multi-Arch",
    "Essential",
];

/// A stanza while its lines come in.
#[derive(Default)]
struct Stanza {
    first_line: u64,
    /// Whether a field has begun, so that a continuation may follow.
    begun: bool,
    values: [Option<String>; FIELDS.len()],
}

impl Stanza {
    /// Takes one line; false when it cannot stand there. Continuations belong to fields that we do not keep.
    fn add(&mut self, line: &[u8], number: u64) -> bool {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return self.begun;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':').filter(|colon| *colon > 0) else {
            return false;
        };
        if !self.begun {
            (self.begun, self.first_line) = (true, number);
        }
        let name = &line[..colon];
        if let Some(index) = FIELDS
            .iter()
            .position(|field| field.as_bytes().eq_ignore_ascii_case(name))
        {
            let value = String::from_utf8_lossy(&line[colon + 1..]);
            self.values[index] = Some(value.trim().to_owned());
        }
        true
    }

    fn finish(self, file: &str, kind: Kind) -> Result<Option<Package>, Error> {
        let Some(at) = self.begun.then_some(Position {
            file,
            line: self.first_line,
        }) else {
            return Ok(None);
        };
        let [name, status, architecture, version, source, multi_arch, essential] = self.values;
        let name = at.checked("Package", name, is_name)?;
        let status = match (status, kind) {
            (None, Kind::Fragment) => Status::INSTALLED,
            (status, _) => at.word("Status", &status.ok_or_else(|| at.missing("Status"))?)?,
        };
        let version = match version {
            Some(text) => at.version("Version", &text)?,
            None if status.state == State::Installed => return Err(at.missing("Version")),
            None => return Ok(None),
        };
        let architecture = at.checked("Architecture", architecture, is_architecture)?;
        let source = at.source(source.as_deref(), &name, &version)?;
        let multi_arch = multi_arch.map_or(Ok(MultiArch::No), |text| at.word("Multi-Arch", &text))?;
        let essential = essential.is_some_and(|text| text == "yes");
        Ok(Some(Package {
            name,
            version,
            architecture,
            source,
            status,
            multi_arch,
            essential,
        }))
    }
}

/// Where a stanza begins, for errors about its fields.
struct Position<'a> {
    file: &'a str,
    line: u64,
}

impl Position<'_> {
    fn missing(&self, field: &'static str) -> Error {
        Error::Missing {
            file: self.file.to_owned(),
            line: self.line,
            field,
        }
    }

    fn wrong(&self, field: &'static str, value: &str) -> Error {
        Error::Value {
            file: self.file.to_owned(),
            line: self.line,
            field,
            value: value.chars().take(100).collect(),
        }
    }

    fn checked(&self, field: &'static str, value: Option<String>, is_right: fn(&str) -> bool) -> Result<String, Error> {
        let value = value.ok_or_else(|| self.missing(field))?;
        if is_right(&value) {
            Ok(value)
        } else {
            Err(self.wrong(field, &value))
        }
    }

    fn word<T: FromStr<Err = ()>>(&self, field: &'static str, text: &str) -> Result<T, Error> {
        text.parse().map_err(|()| self.wrong(field, text))
    }

    fn version(&self, field: &'static str, text: &str) -> Result<Version, Error> {
        Version::parse(Family::Deb, text).map_err(|source| Error::Version {
            file: self.file.to_owned(),
            line: self.line,
            field,
            source,
        })
    }

    fn source(&self, field: Option<&str>, binary: &str, version: &Version) -> Result<Source, Error> {
        let (name, own) = split_source(field, binary);
        let name = self.checked("Source", Some(name.to_owned()), is_name)?;
        let version = own.map_or_else(|| Ok(version.clone()), |text| self.version("Source", text))?;
        Ok(Source { name, version })
    }
}
