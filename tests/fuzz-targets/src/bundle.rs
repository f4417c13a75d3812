//! Inputs that people can read and fuzzers can change: parts of a text, and files of layers, from which tars are made.

use std::io::Cursor;

use patchport_packages::layer::{Compression, Files, LayerFiles, Limits, Pattern, Wanted, merge, read};
use tar::{EntryType, Header};

/// The most parts of an input that are looked at.
const MAX_PARTS: usize = 300;

/// What begins a part, at the beginning of a line; the rest of the line is its title.
const MARK: &[u8] = b"=== ";

/// The parts of an input: the title and what follows it. What comes before the first title has none.
pub(crate) fn parts(input: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut starts = vec![0];
    let mut at = 0;
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(MARK) && at > 0 && starts.len() < MAX_PARTS {
            starts.push(at);
        }
        at += line.len();
    }
    starts.push(input.len());
    let parts = starts.windows(2).map(|ends| {
        let part = &input[ends[0]..ends[1]];
        let Some(part) = part.strip_prefix(MARK) else {
            return (&b""[..], part);
        };
        let title = part.split(|byte| *byte == b'\n').next().unwrap_or_default();
        (title, part.get(title.len() + 1..).unwrap_or_default())
    });
    parts.collect()
}

/// The tars of layers, lowest first. A title is a kind and a path, of links followed by ` -> ` and the target; the kind `-`
/// begins the next layer.
pub(crate) fn tars(input: &[u8]) -> Vec<Vec<u8>> {
    let mut tars = vec![Vec::new()];
    for (title, content) in parts(input) {
        let (kind, name) = title.split_at_checked(1).unwrap_or_default();
        let name = name.strip_prefix(b" ").unwrap_or(name);
        let kind = match kind {
            b"-" => {
                tars.push(Vec::new());
                continue;
            }
            b"" => continue,
            b"f" => EntryType::Regular,
            b"d" => EntryType::Directory,
            b"l" => EntryType::Symlink,
            b"h" => EntryType::Link,
            b"p" => EntryType::Fifo,
            [other, ..] => EntryType::new(*other),
        };
        if let Some(tar) = tars.last_mut() {
            add(tar, kind, name, content);
        }
    }
    for tar in &mut tars {
        tar.extend([0; 1024]);
    }
    tars
}

fn add(tar: &mut Vec<u8>, kind: EntryType, name: &[u8], content: &[u8]) {
    let arrow = name.windows(4).position(|four| four == b" -> ");
    let (path, link) = match arrow {
        Some(at) => (&name[..at], &name[at + 4..]),
        None => (name, &b""[..]),
    };
    // Paths that are too long for a header come before it.
    for (kind, text) in [(EntryType::GNULongName, path), (EntryType::GNULongLink, link)] {
        if text.len() > 100 {
            entry(tar, kind, b"././@LongLink", b"", text);
        }
    }
    entry(tar, kind, path, link, content);
}

fn entry(tar: &mut Vec<u8>, kind: EntryType, path: &[u8], link: &[u8], content: &[u8]) {
    let mut header = Header::new_gnu();
    let old = header.as_old_mut();
    let (path, link) = (&path[..path.len().min(100)], &link[..link.len().min(100)]);
    old.name[..path.len()].copy_from_slice(path);
    old.linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    // So that some are older than a build and some are not.
    header.set_mtime(1000 + content.len() as u64 * 100);
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// What is wanted of an image: all that anything is read from.
pub(crate) fn wanted() -> Wanted {
    Wanted::packages().with(Pattern::ALL)
}

/// Small limits, so that fuzzers find what lies behind them.
pub(crate) fn limits() -> Limits {
    Limits {
        entries: 2000,
        database_bytes: 1 << 20,
        file_bytes: 1 << 19,
        listed_file_bytes: 1 << 16,
        kept_bytes: 1 << 20,
        loose_file_bytes: 1 << 16,
        loose_bytes: 1 << 17,
        loose_files: 200,
        unpacked_bytes: 64 << 20,
        unpacked_free: 8 << 20,
        ..Limits::default()
    }
}

/// Reads an input's layers, lowest first; those that are refused are missing.
pub(crate) fn layers(input: &[u8]) -> Vec<LayerFiles> {
    let tars = tars(input);
    let read = |tar: &Vec<u8>| read(Cursor::new(tar), Compression::None, &wanted(), &limits()).ok();
    tars.iter().filter_map(read).collect()
}

/// The files of the image that an input describes.
pub(crate) fn files(input: &[u8]) -> Files {
    merge(layers(input).iter().rev())
}
