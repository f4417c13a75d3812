//! The entries of a package's tar, as they come: their paths cleaned, their files summed up, and what no package may have marked.

use std::io::{BufReader, Read, Seek};

use tar::EntryType;

use super::FRAGMENTS;
use crate::layer::archive::{Archive, Member};
use crate::layer::normalise::mtime;
use crate::layer::path::{self, WHITEOUT};
use crate::layer::sum::Hashing;
use crate::layer::tree::{FileFacts, Metadata};
use crate::layer::{Algorithm, Error, Limits};

/// An entry of a package's tar.
pub(crate) struct Item {
    /// Its clean path.
    pub(crate) path: String,
    /// The clean path of what a hard link shares, or the target of a symbolic one as written.
    pub(crate) link: String,
    pub(crate) kind: EntryType,
    pub(crate) facts: FileFacts,
    pub(crate) mtime: u64,
    /// Why no package may have it.
    pub(crate) trouble: Option<&'static str>,
}

/// The limits for a package's tar.
fn limits() -> Limits {
    Limits {
        entries: 300_000,
        ..Limits::default()
    }
}

/// A tar from its start.
pub(super) fn archive<F: Read + Seek>(data: &mut F) -> Result<Archive<BufReader<&mut F>>, Error> {
    data.rewind().map_err(Error::Read)?;
    Ok(Archive::new(BufReader::with_capacity(128 * 1024, data), limits()))
}

/// The entries of a package's tar, in order, files with their sums.
pub(super) fn all<F: Read + Seek>(data: &mut F, algorithm: Algorithm) -> Result<Vec<Item>, Error> {
    let limits = limits();
    let mut archive = archive(data)?;
    let (mut items, mut bytes) = (Vec::new(), 0_u64);
    while let Some(member) = archive.next()? {
        bytes += (member.path.len() + member.link.len()) as u64;
        if bytes > limits.all_path_bytes {
            let (what, limit) = ("bytes in all paths", limits.all_path_bytes);
            return Err(Error::TooMuch { what, limit });
        }
        let mut item = item(&member);
        if is_file(item.kind) {
            let mut hashing = Hashing::new(algorithm);
            archive.copy_content(&mut hashing)?;
            item.facts.sum = Some(hashing.finish());
        }
        items.push(item);
    }
    archive.finish()?;
    Ok(items)
}

fn item(member: &Member) -> Item {
    let kind = member.header.entry_type();
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(ToOwned::to_owned).ok();
    let (path, link) = (text(&member.path), text(&member.link));
    let trouble = trouble(member, kind, path.as_deref(), link.as_deref());
    let link = link.unwrap_or_default();
    Item {
        path: path::clean(&path.unwrap_or_default()),
        link: if kind.is_hard_link() { path::clean(&link) } else { link },
        kind,
        mtime: mtime(member),
        facts: FileFacts {
            metadata: Some(
                Metadata {
                    header: member.header.clone(),
                    records: member.records.clone(),
                }
                .into(),
            ),
            ..FileFacts::default()
        },
        trouble,
    }
}

/// Why no package may have such an entry.
fn trouble(member: &Member, kind: EntryType, path: Option<&str>, link: Option<&str>) -> Option<&'static str> {
    let (Some(path), Some(_)) = (path, link) else {
        return Some("it has a path that is not UTF-8");
    };
    if path::climbs(&member.path) || kind.is_hard_link() && path::climbs(&member.link) {
        return Some("it has a path that leads upwards");
    }
    if path.split('/').any(|part| part.starts_with(WHITEOUT)) {
        return Some("it has a file whose name means in a layer that another is removed");
    }
    let cleaned = path::clean(path);
    if cleaned == FRAGMENTS || path::is_below(&cleaned, FRAGMENTS) {
        return Some("it brings a part of the package database itself");
    }
    match kind {
        EntryType::Directory | EntryType::Symlink | EntryType::Link => None,
        kind if is_file(kind) && !cleaned.is_empty() => None,
        _ => Some("it has an entry that is neither file, folder nor link"),
    }
}

pub(super) fn is_file(kind: EntryType) -> bool {
    matches!(kind, EntryType::Regular | EntryType::Continuous)
}
