//! Makes layers entry by entry, with everything that tar can say about one.

use std::io::{Read, Write};

use tar::{EntryType, Header};

use crate::layer::pax::{self, Record};
use crate::layer::{Compression, Error, LayerFiles, Limits, Wanted, read};

/// A tar that is being made.
#[derive(Clone, Default)]
pub(super) struct Tar(Vec<u8>);

/// What an entry says besides path and content.
#[derive(Clone)]
pub(super) struct Entry<'a> {
    pub(super) kind: EntryType,
    pub(super) link: &'a str,
    pub(super) mtime: u64,
    pub(super) records: Vec<(&'a str, &'a [u8])>,
    pub(super) owner: &'a str,
}

pub(super) fn entry<'a>(kind: EntryType) -> Entry<'a> {
    Entry {
        kind,
        link: "",
        mtime: 1000,
        records: Vec::new(),
        owner: "",
    }
}

impl Tar {
    pub(super) fn add(self, path: &str, entry: &Entry<'_>, content: &[u8]) -> Self {
        self.add_with_mode(path, entry, content, 0o644)
    }

    pub(super) fn add_with_mode(mut self, path: &str, entry: &Entry<'_>, content: &[u8], mode: u32) -> Self {
        if !entry.records.is_empty() {
            let records = entry.records.iter().map(|(key, value)| Record {
                key: key.as_bytes().to_vec(),
                value: value.to_vec(),
            });
            let bytes = pax::render(&records.collect::<Vec<_>>());
            self.raw(Header::new_ustar(), EntryType::XHeader, "PaxHeaders/x", &bytes);
        }
        let mut header = Header::new_gnu();
        header.set_mtime(entry.mtime);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_username(entry.owner).unwrap();
        if path.len() > 100 {
            self.raw(
                Header::new_gnu(),
                EntryType::GNULongName,
                "././@LongLink",
                format!("{path}\0").as_bytes(),
            );
        }
        if entry.link.len() > 100 {
            self.raw(
                Header::new_gnu(),
                EntryType::GNULongLink,
                "././@LongLink",
                format!("{}\0", entry.link).as_bytes(),
            );
        } else {
            header.set_link_name_literal(entry.link).unwrap();
        }
        self.raw(header, entry.kind, path, content);
        self
    }

    fn raw(&mut self, mut header: Header, kind: EntryType, path: &str, content: &[u8]) {
        let name = &path.as_bytes()[..path.len().min(100)];
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    pub(super) fn file(self, path: &str, content: &str) -> Self {
        self.add(path, &entry(EntryType::Regular), content.as_bytes())
    }

    pub(super) fn file_at(self, path: &str, mtime: u64, content: &str) -> Self {
        self.add(
            path,
            &Entry {
                mtime,
                ..entry(EntryType::Regular)
            },
            content.as_bytes(),
        )
    }

    pub(super) fn dir(self, path: &str) -> Self {
        self.add(path, &entry(EntryType::Directory), b"")
    }

    pub(super) fn dir_at(self, path: &str, mtime: u64) -> Self {
        self.add(
            path,
            &Entry {
                mtime,
                ..entry(EntryType::Directory)
            },
            b"",
        )
    }

    pub(super) fn symlink(self, path: &str, link: &str) -> Self {
        self.add(
            path,
            &Entry {
                link,
                ..entry(EntryType::Symlink)
            },
            b"",
        )
    }

    pub(super) fn hard_link(self, path: &str, link: &str) -> Self {
        self.add(
            path,
            &Entry {
                link,
                ..entry(EntryType::Link)
            },
            b"",
        )
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }

    /// Without the two blocks of zeros.
    pub(super) fn unfinished(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn layer(self) -> LayerFiles {
        look(&self.end()).unwrap()
    }
}

/// The wanted files of a layer with the usual limits.
pub(super) fn look(bytes: &[u8]) -> Result<LayerFiles, Error> {
    read(bytes, Compression::Detect, &Wanted::packages(), &Limits::default())
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Entries as the `tar` crate sees them: path, kind, mtime, link, content.
pub(super) fn listing(bytes: &[u8]) -> Vec<(String, EntryType, u64, String, String)> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let link = entry.link_name_bytes().unwrap_or_default().into_owned();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let header = entry.header();
        (
            path,
            header.entry_type(),
            header.mtime().unwrap(),
            String::from_utf8(link).unwrap(),
            content,
        )
    });
    entries.collect()
}
