//! Debian packages, deb(5): an `ar` archive with a version, a tar of control files and a tar of the package's files.
//! Packages come from strangers: members, sizes and counts are limited, and nothing of them is run. The `ar` is read here, for its
//! readers keep name tables of any size, and a package has none.

use std::cell::Cell;
use std::io::{self, BufReader, Read, Write};
use std::rc::Rc;

use crate::layer::archive::Archive;
use crate::layer::limits::{Bounded, Counted};
use crate::layer::{self, Limits, path};

/// The bytes of an `ar` archive before its first member.
const MAGIC: &[u8] = b"!<arch>\n";
/// The size of a member's header.
const HEADER: usize = 60;
/// The largest `debian-binary`; real ones have four bytes.
const MAX_VERSION: u64 = 64;
/// Members besides the three that a package has.
const MAX_OTHERS: usize = 16;
/// The largest file of the control archive that is read, in bytes.
const MAX_CONTROL_FILE: u64 = 1024 * 1024;
/// The largest tar of control files, unpacked.
const MAX_CONTROL: u64 = 32 * 1024 * 1024;
/// The largest tar of a package's files, unpacked; those of the largest packages of distributions have some gigabytes.
pub const MAX_DATA: u64 = 4 * 1024 * 1024 * 1024;
/// Memory for a decoder of xz, in KiB: `xz -9` needs 65 MiB.
const XZ_KIB: u32 = 96 * 1024;
/// The same for zstd, as the logarithm of its window.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Scripts that dpkg runs, by the names of their files.
const SCRIPTS: [&str; 4] = ["preinst", "postinst", "prerm", "postrm"];

/// Why a file is not a package.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no package, or not one that dpkg would take.
    #[error("it is no Debian package: {0}")]
    Malformed(&'static str),
    /// It cannot be read, or unpacks to more than it may.
    #[error("the package cannot be unpacked")]
    Read(#[source] io::Error),
    /// One of its archives is broken.
    #[error("an archive in the package is broken")]
    Archive(#[from] layer::Error),
    /// What was unpacked cannot be kept.
    #[error("the package's files cannot be written")]
    Write(#[source] io::Error),
}

/// What a package says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// The control file, one stanza.
    pub stanza: Vec<u8>,
    /// Its conffiles, as clean paths.
    pub conffiles: Vec<String>,
    /// The maintainer scripts that it has, such as `postinst`.
    pub scripts: Vec<&'static str>,
    /// Its triggers, as written, comments left out.
    pub triggers: Vec<String>,
}

impl Control {
    /// What a package says whose configuration files are these, and that has neither scripts nor triggers.
    pub(crate) fn configuration(conffiles: Vec<String>) -> Self {
        Self {
            conffiles,
            ..Self::default()
        }
    }
}

/// Reads a package. The tar of its files goes to `data`, unpacked, at most [`MAX_DATA`] bytes.
///
/// # Errors
/// [`Error`] when it is none, is broken or too large, or `data` fails.
pub fn read(mut reader: impl Read, data: &mut impl Write) -> Result<Control, Error> {
    let mut magic = [0; MAGIC.len()];
    exactly(&mut reader, &mut magic)?;
    if magic != MAGIC {
        return Err(Error::Malformed("it does not begin as an archive"));
    }
    let (mut control, mut has_version) = (None, false);
    for _ in 0..MAX_OTHERS {
        let (name, size) = header(&mut reader)?;
        let mut member = reader.by_ref().take(size);
        let mut has_data = false;
        if !has_version {
            version(&name, &mut member)?;
            has_version = true;
        } else if let Some(suffix) = name.strip_prefix("control.tar").filter(|_| control.is_none()) {
            control = Some(read_control(unpack(&mut member, suffix, MAX_CONTROL)?)?);
        } else if let Some(suffix) = name.strip_prefix("data.tar").filter(|_| control.is_some()) {
            copy(unpack(&mut member, suffix, MAX_DATA)?, data)?;
            has_data = true;
        } else if !name.starts_with('_') {
            return Err(Error::Malformed("it has a member that packages do not have there"));
        }
        io::copy(&mut member, &mut io::sink()).map_err(Error::Read)?;
        if member.limit() > 0 {
            return Err(truncated());
        }
        if let Some(control) = control.take_if(|_| has_data) {
            return Ok(control);
        }
        if size % 2 == 1 {
            exactly(&mut reader, &mut [0])?;
        }
    }
    Err(Error::Malformed("it has too many members"))
}

/// Name and size of the next member.
fn header(reader: &mut impl Read) -> Result<(String, u64), Error> {
    let mut header = [0; HEADER];
    exactly(reader, &mut header)?;
    let text = std::str::from_utf8(&header).map_err(|_| Error::Malformed("a member's header is no text"))?;
    let field = |from: usize, to: usize| text.get(from..to).map(str::trim_end);
    let malformed = Error::Malformed("a member's header is malformed");
    let (Some(name), Some(size), Some("`\n")) = (field(0, 16), field(48, 58), text.get(58..)) else {
        return Err(malformed);
    };
    let is_number = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
    match size.parse() {
        Ok(size) if is_number => Ok((name.trim_end_matches('/').to_owned(), size)),
        _ => Err(malformed),
    }
}

fn version(name: &str, member: &mut impl Read) -> Result<(), Error> {
    if name != "debian-binary" {
        return Err(Error::Malformed("its first member is not debian-binary"));
    }
    let mut text = Vec::new();
    member.take(MAX_VERSION).read_to_end(&mut text).map_err(Error::Read)?;
    if text.starts_with(b"2.") {
        Ok(())
    } else {
        Err(Error::Malformed("it is of another version than 2"))
    }
}

/// Undoes the compression that a member's suffix tells, at most `limit` bytes of it.
pub(crate) fn unpack<'a>(reader: impl Read + 'a, suffix: &str, limit: u64) -> Result<impl Read + 'a, Error> {
    let packed = Rc::new(Cell::new(0));
    let inner = Counted {
        inner: reader,
        count: Rc::clone(&packed),
    };
    let inner: Box<dyn Read + 'a> = match suffix {
        "" => Box::new(inner),
        ".xz" => Box::new(lzma_rust2::XzReader::new_mem_limit(inner, true, XZ_KIB)),
        ".gz" => Box::new(flate2::read::MultiGzDecoder::new(inner)),
        ".zst" => {
            let mut decoder = zstd::Decoder::new(inner).map_err(Error::Read)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(Error::Read)?;
            Box::new(decoder)
        }
        _ => return Err(Error::Malformed("it is compressed in a way that is not known here")),
    };
    let limits = Limits {
        unpacked_bytes: limit,
        ..Limits::default()
    };
    Ok(Bounded {
        inner,
        packed,
        unpacked: 0,
        limits,
    })
}

fn read_control(reader: impl Read) -> Result<Control, Error> {
    let limits = Limits {
        entries: 1_000,
        ..Limits::default()
    };
    let mut archive = Archive::new(BufReader::new(reader), limits);
    let (mut control, mut stanza) = (Control::default(), None);
    while let Some(member) = archive.next()? {
        if !member.header.entry_type().is_file() {
            continue;
        }
        let name = path::clean(&String::from_utf8_lossy(&member.path));
        if let Some(script) = SCRIPTS.iter().find(|script| **script == name) {
            control.scripts.push(script);
            continue;
        }
        if !["control", "conffiles", "triggers"].contains(&&*name) {
            continue;
        }
        let bytes = archive.read_content(MAX_CONTROL_FILE)?;
        let bytes = bytes.ok_or(Error::Malformed("a control file is too large"))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        match &*name {
            "control" => stanza = Some(bytes),
            // A line may begin with a flag, such as `remove-on-upgrade`.
            "conffiles" => control.conffiles = lines.filter_map(conffile).collect(),
            _ => {
                let lines = lines.filter(|line| !line.starts_with('#'));
                control.triggers = lines.map(ToOwned::to_owned).collect();
            }
        }
    }
    control.scripts.sort_unstable();
    control.stanza = stanza.ok_or(Error::Malformed("it has no control file"))?;
    Ok(control)
}

fn conffile(line: &str) -> Option<String> {
    line.starts_with('/').then(|| path::clean(line))
}

fn copy(mut from: impl Read, to: &mut impl Write) -> Result<(), Error> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::Read(error)),
        };
        to.write_all(buffer.get(..read).unwrap_or_default())
            .map_err(Error::Write)?;
    }
}

fn exactly(reader: &mut impl Read, buffer: &mut [u8]) -> Result<(), Error> {
    reader.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => truncated(),
        _ => Error::Read(error),
    })
}

fn truncated() -> Error {
    Error::Malformed("it ends too early")
}

#[cfg(test)]
pub(crate) mod tests;
