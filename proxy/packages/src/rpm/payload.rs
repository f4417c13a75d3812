//! The payload of a package file: a cpio archive in the form `newc`, as a tar, with owners, modes and times as the header has them.
//! cpio is read here: it is a hundred bytes of text before each file, and a package needs its hard links put in another order.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use tar::{Builder, EntryType, Header};

use crate::deb;
use crate::layer::path;
use crate::rpm::file::Entry;
use crate::rpm::{FileError, Head};

const HEADER: usize = 110;
const MAGIC: &[u8] = b"070701";
const TRAILER: &str = "TRAILER!!!";
/// The longest path, in bytes (`PATH_MAX`).
const MAX_PATH: u64 = 4096;

const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// A file of the archive.
struct Member {
    path: String,
    inode: u64,
    links: u64,
    size: u64,
}

/// Reads a package. The tar of its files goes to `data`, unpacked, at most [`deb::MAX_DATA`] bytes.
///
/// # Errors
/// [`FileError`] when it is none, is broken or too large, has what no layer can have, or `data` fails.
pub fn unpack(mut from: impl Read, data: &mut impl Write) -> Result<Head, FileError> {
    let head = Head::read(&mut from)?;
    if head.format != "cpio" {
        return Err(FileError::Part(format!("a payload of the kind {:?}", head.format)));
    }
    let suffix = match head.compressor.as_str() {
        "gzip" => ".gz",
        "xz" => ".xz",
        "zstd" => ".zst",
        other => return Err(FileError::Part(format!("a payload that is packed with {other:?}"))),
    };
    let payload = deb::unpack(from, suffix, deb::MAX_DATA).map_err(|error| FileError::Read(io::Error::other(error)))?;
    let mut tar = Tar {
        entries: head.entries.iter().map(|entry| (entry.path.as_str(), entry)).collect(),
        out: Builder::new(data),
        waiting: BTreeMap::new(),
    };
    tar.all(payload)?;
    Ok(head)
}

/// The tar while it is written.
struct Tar<'a, W: Write> {
    entries: BTreeMap<&'a str, &'a Entry>,
    out: Builder<W>,
    /// Paths of a file whose content comes with a later one of them, by its number.
    waiting: BTreeMap<u64, Vec<String>>,
}

impl<W: Write> Tar<'_, W> {
    fn all(&mut self, mut payload: impl Read) -> Result<(), FileError> {
        while let Some(member) = header(&mut payload)? {
            let mut content = payload.by_ref().take(member.size);
            self.member(&member, &mut content)?;
            if content.limit() > 0 {
                return Err(FileError::Malformed("its payload ends early"));
            }
            skip(&mut payload, member.size)?;
        }
        // Files of several names without content.
        for (_, paths) in std::mem::take(&mut self.waiting) {
            self.linked(&paths, 0, &mut io::empty())?;
        }
        self.out.finish().map_err(FileError::Write)
    }

    fn member(&mut self, member: &Member, content: &mut impl Read) -> Result<(), FileError> {
        let entry = self.entry(&member.path)?;
        match entry.mode & S_IFMT {
            S_IFREG if member.links > 1 => {
                let mut paths = self.waiting.remove(&member.inode).unwrap_or_default();
                paths.push(member.path.clone());
                if member.size == 0 {
                    self.waiting.insert(member.inode, paths);
                    return Ok(());
                }
                self.linked(&paths, member.size, content)
            }
            S_IFREG => self.write(&member.path, EntryType::Regular, "", member.size, content),
            S_IFDIR => self.write(&member.path, EntryType::Directory, "", 0, &mut io::empty()),
            S_IFLNK => {
                let mut target = Vec::new();
                content
                    .take(MAX_PATH)
                    .read_to_end(&mut target)
                    .map_err(FileError::Read)?;
                let target =
                    String::from_utf8(target).map_err(|_| FileError::Malformed("a link in it is not UTF-8"))?;
                self.write(&member.path, EntryType::Symlink, &target, 0, &mut io::empty())
            }
            _ => Err(FileError::Part(format!("a device or socket, {}", member.path))),
        }
    }

    /// A file of several names.
    fn linked(&mut self, paths: &[String], size: u64, content: &mut impl Read) -> Result<(), FileError> {
        let Some((first, more)) = paths.split_first() else {
            return Ok(());
        };
        self.write(first, EntryType::Regular, "", size, content)?;
        for path in more {
            self.write(
                path,
                EntryType::Link,
                first.trim_start_matches('/'),
                0,
                &mut io::empty(),
            )?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        path: &str,
        kind: EntryType,
        link: &str,
        size: u64,
        content: &mut impl Read,
    ) -> Result<(), FileError> {
        let entry = self.entry(path)?;
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(entry.mode & 0o7777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(entry.mtime);
        header.set_size(size);
        let path = path.trim_start_matches('/');
        let written = if link.is_empty() {
            self.out.append_data(&mut header, path, content)
        } else {
            self.out.append_link(&mut header, path, link)
        };
        written.map_err(FileError::Write)
    }

    fn entry(&self, path: &str) -> Result<&Entry, FileError> {
        let entry = self.entries.get(path).copied();
        entry.ok_or_else(|| FileError::Part(format!("a file that its header does not have, {path}")))
    }
}

/// The next file; nothing at the end.
fn header(from: &mut impl Read) -> Result<Option<Member>, FileError> {
    let mut header = [0; HEADER];
    from.read_exact(&mut header).map_err(FileError::Read)?;
    if !header.starts_with(MAGIC) {
        return Err(FileError::Malformed("its payload is of a form that is not known here"));
    }
    let number = |field: usize| {
        let at = MAGIC.len() + field * 8;
        let text = header.get(at..at + 8).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let number = text.and_then(|text| u64::from_str_radix(text, 16).ok());
        number.ok_or(FileError::Malformed("a number in its payload is none"))
    };
    let (inode, links, size, length) = (number(0)?, number(4)?, number(6)?, number(11)?);
    if length == 0 || length > MAX_PATH {
        return Err(FileError::Malformed("a path in its payload is too long"));
    }
    let mut name = Vec::new();
    from.take(length).read_to_end(&mut name).map_err(FileError::Read)?;
    skip(from, HEADER as u64 + length)?;
    name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
    let name = String::from_utf8(name).map_err(|_| FileError::Malformed("a path in its payload is not UTF-8"))?;
    if name == TRAILER {
        return Ok(None);
    }
    if path::climbs(name.as_bytes()) {
        return Err(FileError::Malformed("a path in its payload leads upwards"));
    }
    Ok(Some(Member {
        path: format!("/{}", path::clean(&name)),
        inode,
        links,
        size,
    }))
}

/// Each part ends at a multiple of four bytes.
fn skip(from: &mut impl Read, after: u64) -> Result<(), FileError> {
    let padding = usize::try_from((4 - after % 4) % 4).unwrap_or_default();
    let mut bytes = [0; 4];
    from.read_exact(bytes.get_mut(..padding).unwrap_or_default())
        .map_err(FileError::Read)
}
