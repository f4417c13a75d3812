//! The file of a package, of version 2 (`.apk` as gzip members: signatures, control, data) or 3 (`.apk` as ADB blocks): whether it is
//! the one that an index describes, and what is in one of version 2. Everything that apk installs from it is checked, without keys: the
//! index vouches for it.

use std::io::{self, BufRead, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::bufread::{DeflateDecoder, GzDecoder};
use ring::digest::{self, Context};

use super::adb::{self, Values};

/// More signatures than any package has.
const MAX_SIGNATURES: usize = 16;
/// The largest control part once it is unpacked, in bytes: package information and scripts.
const MAX_CONTROL: u64 = 16 << 20;
/// The largest tar of a package's files, unpacked; those of the largest packages of distributions have some gigabytes.
const MAX_DATA: u64 = 4 << 30;
/// The scripts that apk knows. Others are not run.
const SCRIPTS: [&str; 7] = [
    "pre-install",
    "post-install",
    "pre-deinstall",
    "post-deinstall",
    "pre-upgrade",
    "post-upgrade",
    "trigger",
];
/// The largest list of a package's files in version 3, in bytes.
const MAX_VALUES: usize = 64 << 20;

/// Why a file is not the package that an index describes.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// It cannot be read, or unpacked.
    #[error("it cannot be unpacked")]
    Read(#[from] io::Error),
    /// It is no package of apk.
    #[error("it is no package of apk: {0}")]
    Format(&'static str),
    /// It is another package, or was changed.
    #[error("{0}")]
    Other(&'static str),
    /// It is of version 3, where it has to be of version 2.
    #[error("it is of version 3, which only apk installs")]
    Version3,
    /// What was unpacked cannot be kept.
    #[error("its files cannot be written")]
    Write(#[source] io::Error),
}

/// What a package of version 2 says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The fields of its `.PKGINFO`, in their order.
    fields: Vec<(String, String)>,
    /// What it has scripts for, such as `post-upgrade`.
    pub scripts: Vec<&'static str>,
    /// The checksum that its index knows it by.
    pub checksum: String,
    /// The size of its file in bytes.
    pub size: u64,
}

impl Head {
    /// What a `.PKGINFO` says.
    #[must_use]
    pub fn new(information: &str) -> Self {
        Self {
            fields: Self::parse(information),
            ..Self::default()
        }
    }

    /// The last value of a field, for that is the one that counts.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&str> {
        let mine = self.fields.iter().rev().find(|(known, _)| known == key);
        mine.map(|(_, value)| value.as_str())
    }

    /// All values of a field.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let mine = self.fields.iter().filter(move |(known, _)| known == key);
        mine.map(|(_, value)| value.as_str())
    }

    fn parse(information: &str) -> Vec<(String, String)> {
        let lines = information.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once(" = "));
        pairs
            .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
            .collect()
    }
}

/// Checks that a file is the package with this name, version and `checksum` (`Q1` or `Q2` with base64, as an index has it).
///
/// # Errors
/// [`PackageError`].
pub fn check(mut reader: impl BufRead, name: &str, version: &str, checksum: &str) -> Result<(), PackageError> {
    let wanted = wanted(checksum).ok_or(PackageError::Other("its index has no checksum that is known here"))?;
    if reader.fill_buf()?.starts_with(b"ADB") {
        check_adb(reader, name, version, &wanted)
    } else {
        read_gzip(reader, name, version, &wanted, None)?;
        Ok(())
    }
}

/// The checksum that an index has for a package of version 2 whose control part is this gzip member.
#[must_use]
pub fn checksum(control: &[u8]) -> String {
    let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, control);
    format!("Q1{}", STANDARD.encode(sum))
}

/// Checks the same of a package of version 2, and reads it. The tar of its files goes to `data`, unpacked, at most 4 GiB of it; when this
/// fails, what is there is not to be used.
///
/// # Errors
/// [`PackageError`].
pub fn unpack(
    mut reader: impl BufRead,
    name: &str,
    version: &str,
    checksum: &str,
    data: &mut impl Write,
) -> Result<Head, PackageError> {
    let wanted = wanted(checksum).ok_or(PackageError::Other("its index has no checksum that is known here"))?;
    if reader.fill_buf()?.starts_with(b"ADB") {
        return Err(PackageError::Version3);
    }
    let head = read_gzip(reader, name, version, &wanted, Some(data))?;
    Ok(Head {
        checksum: checksum.to_owned(),
        ..head
    })
}

fn wanted(checksum: &str) -> Option<Vec<u8>> {
    let (kind, text) = checksum.split_at_checked(2)?;
    let bytes = STANDARD.decode(text).ok()?;
    matches!((kind, bytes.len()), ("Q1", 20) | ("Q2", 32)).then_some(bytes)
}

const OTHER: PackageError = PackageError::Other("it has another checksum than its index says");
const NAMED: PackageError = PackageError::Other("it has another name or version than its index says");
const DATA: PackageError = PackageError::Other("its files are not those that it lists");

/// Version 2: the checksum is that of the control part, and the control part has that of the data.
fn read_gzip(
    reader: impl BufRead,
    name: &str,
    version: &str,
    wanted: &[u8],
    data: Option<&mut dyn Write>,
) -> Result<Head, PackageError> {
    let mut reader = Hashed::new(reader);
    for _ in 0..=MAX_SIGNATURES {
        reader.restart();
        let mut control = Vec::new();
        GzDecoder::new(&mut reader)
            .take(MAX_CONTROL + 1)
            .read_to_end(&mut control)?;
        if control.len() as u64 > MAX_CONTROL {
            return Err(PackageError::Format("its control part is too large"));
        }
        if control.starts_with(b".SIGN.") {
            continue;
        }
        let (sha1, sha256) = reader.restart();
        let found = if wanted.len() == 20 { &sha1 } else { &sha256 };
        if found.as_ref() != wanted {
            return Err(OTHER);
        }
        let mut head = control_part(&control)?;
        if head.field("pkgname") != Some(name) || head.field("pkgver") != Some(version) {
            return Err(NAMED);
        }
        let is_unpacked = data.is_some();
        if let Some(data) = data {
            inflate(&mut reader, data)?;
        }
        // apk takes one member only.
        if io::copy(&mut reader, &mut io::sink())? > 0 && is_unpacked {
            return Err(PackageError::Format("there is more behind its files"));
        }
        head.size = reader.all;
        let (_, data) = reader.restart();
        let listed = head.field("datahash");
        let listed = listed.ok_or(PackageError::Format("it does not say what its files are"))?;
        return if hex(data.as_ref()) == listed {
            Ok(head)
        } else {
            Err(DATA)
        };
    }
    Err(PackageError::Format("it has too many signatures"))
}

/// Unpacks the tar of a package's files.
fn inflate(reader: impl BufRead, data: &mut dyn Write) -> Result<(), PackageError> {
    let mut tar = GzDecoder::new(reader).take(MAX_DATA + 1);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = tar.read(&mut buffer)?;
        match buffer.get(..read) {
            Some([]) | None => break,
            Some(taken) => data.write_all(taken).map_err(PackageError::Write)?,
        }
    }
    if tar.limit() == 0 {
        return Err(PackageError::Format("its files are too large"));
    }
    Ok(())
}

/// `.PKGINFO` and the scripts.
fn control_part(control: &[u8]) -> Result<Head, PackageError> {
    let (mut head, mut has_information) = (Head::default(), false);
    for entry in tar::Archive::new(control).entries()? {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if path == ".PKGINFO" && !has_information {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            head.fields = Head::parse(&String::from_utf8_lossy(&content));
            has_information = true;
        } else if let Some(name) = path.strip_prefix('.') {
            head.scripts.extend(SCRIPTS.into_iter().filter(|kind| *kind == name));
        }
    }
    if has_information {
        Ok(head)
    } else {
        Err(PackageError::Format("it has no .PKGINFO"))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A reader that hashes what is taken from it, and no more: what it has read ahead belongs to the next part.
struct Hashed<R> {
    inner: R,
    /// How many bytes were taken in all.
    all: u64,
    sha1: Context,
    sha256: Context,
}

impl<R: BufRead> Hashed<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            all: 0,
            sha1: Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY),
            sha256: Context::new(&digest::SHA256),
        }
    }

    /// SHA-1 and SHA-256 of what was taken since the last call.
    fn restart(&mut self) -> (digest::Digest, digest::Digest) {
        let sha1 = std::mem::replace(&mut self.sha1, Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY));
        let sha256 = std::mem::replace(&mut self.sha256, Context::new(&digest::SHA256));
        (sha1.finish(), sha256.finish())
    }
}

impl<R: BufRead> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Hashed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What is consumed was there already, so this reads nothing.
        if let Ok(buffer) = self.inner.fill_buf() {
            let taken = buffer.get(..amount).unwrap_or(buffer);
            self.sha1.update(taken);
            self.sha256.update(taken);
            self.all = self.all.saturating_add(taken.len() as u64);
        }
        self.inner.consume(amount);
    }
}

/// Fields of a package of version 3, of its folders, and of their files.
const INFORMATION: usize = 1;
const PATHS: usize = 2;
const FILES: usize = 3;
const SIZE: usize = 3;
const HASHES: usize = 5;
const NAME: usize = 1;
const VERSION: usize = 2;

/// Kinds of blocks.
const VALUES: u32 = 0;
const FILE: u32 = 2;
const LARGE: u32 = 3;

/// Version 3: the checksum is that of the first block, which has those of all files.
fn check_adb(reader: impl BufRead, name: &str, version: &str, wanted: &[u8]) -> Result<(), PackageError> {
    let mut reader = unpacked(reader)?;
    let mut head = [0; 8];
    reader.read_exact(&mut head)?;
    if &head != b"ADB.pckg" {
        return Err(PackageError::Format("it holds something else"));
    }
    let Some((VALUES, size)) = block(&mut reader)? else {
        return Err(PackageError::Format("it does not begin with its list of files"));
    };
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > MAX_VALUES {
        return Err(PackageError::Format("its list of files is too large"));
    }
    let mut bytes = Vec::new();
    (&mut reader).take(size as u64).read_to_end(&mut bytes)?;
    let found = digest::digest(&digest::SHA256, &bytes);
    // An index may have but the first twenty bytes of it.
    if bytes.len() != size || !found.as_ref().starts_with(wanted) {
        return Err(OTHER);
    }
    pad(&mut reader, size as u64)?;
    let values = Values(&bytes);
    let root = values.root().ok_or(PackageError::Format("it is of a later version"))?;
    let own = values.object(root.field(INFORMATION));
    if values.text(own.field(NAME)) != name || values.text(own.field(VERSION)) != version {
        return Err(NAMED);
    }
    let folders = values.object(root.field(PATHS));
    while let Some((kind, size)) = block(&mut reader)? {
        let mut content = (&mut reader).take(size);
        if kind == FILE {
            check_file(&mut content, &values, &folders)?;
        }
        io::copy(&mut content, &mut io::sink())?;
        if content.limit() > 0 {
            return Err(PackageError::Format("it ends too early"));
        }
        pad(&mut reader, size)?;
    }
    Ok(())
}

/// A block with a file: which one, and its bytes.
fn check_file(
    content: &mut io::Take<&mut Box<dyn Read + '_>>,
    values: &Values<'_>,
    folders: &adb::Object<'_>,
) -> Result<(), PackageError> {
    let mut place = [0; 8];
    content.read_exact(&mut place)?;
    let [a, b, c, d, e, f, g, h] = place;
    let number = |bytes| usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX);
    let folder = values.object(folders.field(number([a, b, c, d])));
    let files = values.object(folder.field(FILES));
    let file = values.object(files.field(number([e, f, g, h])));
    let hash = values.bytes(file.field(HASHES));
    let algorithm = match hash.len() {
        20 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        32 => &digest::SHA256,
        64 => &digest::SHA512,
        _ => return Err(DATA),
    };
    if values.number(file.field(SIZE)) != content.limit() {
        return Err(DATA);
    }
    let (mut context, mut buffer) = (Context::new(algorithm), vec![0; 64 << 10]);
    loop {
        let read = content.read(&mut buffer)?;
        match buffer.get(..read) {
            Some([]) | None => break,
            Some(taken) => context.update(taken),
        }
    }
    if context.finish().as_ref() == hash {
        Ok(())
    } else {
        Err(DATA)
    }
}

/// The kind of the next block and the size of its content; nothing at the end.
fn block(reader: &mut Box<dyn Read + '_>) -> Result<Option<(u32, u64)>, PackageError> {
    let broken = || PackageError::Format("its blocks are malformed");
    let mut word = [0; 4];
    match reader.read(&mut word)? {
        0 => return Ok(None),
        read => reader.read_exact(word.get_mut(read..).unwrap_or_default())?,
    }
    let word = u32::from_le_bytes(word);
    let (kind, low) = (word >> 30, word & 0x3fff_ffff);
    if kind != LARGE {
        return Ok(Some((kind, u64::from(low).checked_sub(4).ok_or_else(broken)?)));
    }
    let mut more = [0; 12];
    reader.read_exact(&mut more)?;
    let size = more.last_chunk().map_or(0, |size| u64::from_le_bytes(*size));
    Ok(Some((low, size.checked_sub(16).ok_or_else(broken)?)))
}

/// Skips what fills up a block to a multiple of eight: its head has a multiple of four bytes, of which only one matters.
fn pad(reader: &mut Box<dyn Read + '_>, size: u64) -> Result<(), PackageError> {
    let head = if size.saturating_add(4) > 0x3fff_ffff { 16 } else { 4 };
    let used = size.saturating_add(head) % 8;
    let mut rest = reader.take((8 - used) % 8);
    io::copy(&mut rest, &mut io::sink())?;
    Ok(())
}

fn unpacked<'a>(mut reader: impl BufRead + 'a) -> Result<Box<dyn Read + 'a>, PackageError> {
    let unknown = PackageError::Format("its compression is not known here");
    let mut head = [0; 4];
    reader.read_exact(&mut head)?;
    match &head {
        b"ADB." => Ok(Box::new(io::Cursor::new(head).chain(reader))),
        b"ADBd" => Ok(Box::new(DeflateDecoder::new(reader))),
        b"ADBc" => {
            let mut which = [0; 2];
            reader.read_exact(&mut which)?;
            match which {
                [0, _] => Ok(Box::new(reader)),
                [1, _] => Ok(Box::new(DeflateDecoder::new(reader))),
                [2, _] => Ok(Box::new(zstd::Decoder::with_buffer(reader)?)),
                _ => Err(unknown),
            }
        }
        _ => Err(unknown),
    }
}
