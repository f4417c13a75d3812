//! Writes the layer: entries as the package has them but for their path, and the folders above them as the image has them, for some
//! clients make a folder anew that a layer does not name.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

use tar::{EntryType, Header};

use super::examine::{Decision, Examined};
use super::{Error, Incoming, archive};
use crate::layer::Tree;
use crate::layer::archive::Member;
use crate::layer::normalise;
use crate::layer::path::{self, WHITEOUT};
use crate::layer::pax::Record;
use crate::layer::tree::{Leaf, Metadata};

/// What the records of extended attributes begin with.
pub(super) const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";

/// A layer while it is written.
pub(super) struct Writer<'a, W> {
    inner: normalise::Writer<W>,
    /// What the image has below the layer.
    tree: &'a Tree,
    /// Folders that the layer names already.
    named: BTreeSet<String>,
}

impl<'a, W: Write> Writer<'a, W> {
    pub(super) fn new(output: W, tree: &'a Tree) -> Self {
        Self {
            inner: normalise::Writer::plain(output),
            tree,
            named: BTreeSet::from([String::new()]),
        }
    }

    /// Writes what is to be written of a package.
    pub(super) fn package<F: Read + Seek>(
        &mut self,
        package: &mut Incoming<F>,
        found: &Examined<'_>,
    ) -> Result<(), Error> {
        let name = package.name.clone();
        let failed = |source| Error::Data {
            package: name.clone(),
            source,
        };
        let mut archive = archive(&mut package.data).map_err(failed)?;
        let mut decisions = found.decisions.iter().zip(&found.items);
        while let Some(member) = archive.next().map_err(failed)? {
            let Some((Decision::Write(place), item)) = decisions.next() else {
                continue;
            };
            self.above(place, Some(found)).map_err(Error::Write)?;
            let (size, link) = (member.size, self.link(&member, &item.link));
            let member = placed(&member.header, &self.records(place, &member), place, &link, size);
            self.inner.header(&member).map_err(failed)?;
            archive.copy_content(self.inner.output()).map_err(failed)?;
            self.inner.pad(size).map_err(failed)?;
        }
        Ok(())
    }

    /// Removes what stands at these places.
    pub(super) fn whiteouts(&mut self, gone: &BTreeSet<String>) -> io::Result<()> {
        for place in gone {
            let (parent, name) = path::split(place);
            self.file(&path::join(parent, &format!("{WHITEOUT}{name}")), &[], 0o644, 0)?;
        }
        Ok(())
    }

    /// Writes a file that was made here, with the mode that it had.
    pub(super) fn made(&mut self, path: &str, bytes: &[u8], mtime: u64) -> io::Result<()> {
        let place = self.tree.place(path).unwrap_or_else(|| path.to_owned());
        let mode = match self.tree.get(&place) {
            Some(Leaf::File(facts)) => facts.metadata.as_ref().and_then(|metadata| metadata.header.mode().ok()),
            _ => None,
        };
        self.file(&place, bytes, mode.unwrap_or(0o644) & 0o7777, mtime)
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        self.inner.finish().map_err(plain)
    }

    fn file(&mut self, place: &str, bytes: &[u8], mode: u32, mtime: u64) -> io::Result<()> {
        self.above(place, None)?;
        let header = header(EntryType::Regular, mode, mtime);
        let member = placed(&header, &[], place, "", bytes.len() as u64);
        self.inner.header(&member).map_err(plain)?;
        self.inner.output().write_all(bytes)?;
        self.inner.pad(member.size).map_err(plain)
    }

    /// Names the folders above a place.
    fn above(&mut self, place: &str, found: Option<&Examined<'_>>) -> io::Result<()> {
        let above: Vec<&str> = path::ancestors(place)
            .filter(|above| !self.named.contains(*above))
            .collect();
        for folder in above {
            self.named.insert(folder.to_owned());
            let made = || {
                let item = found.and_then(|found| found.items.get(*found.folders.get(folder)?));
                let metadata = item.and_then(|item| item.facts.metadata.clone());
                metadata.unwrap_or_else(|| {
                    Arc::new(Metadata {
                        header: header(EntryType::Directory, 0o755, 0),
                        records: Vec::new(),
                    })
                })
            };
            let metadata = match self.tree.get(folder) {
                Some(Leaf::Directory(Some(metadata))) => Arc::clone(metadata),
                _ => made(),
            };
            let member = placed(&metadata.header, &metadata.records, &format!("{folder}/"), "", 0);
            self.inner.header(&member).map_err(plain)?;
        }
        Ok(())
    }

    /// What a link leads to: a hard one to where the file really is.
    fn link(&self, member: &Member, link: &str) -> String {
        if member.header.entry_type().is_hard_link() {
            self.tree.place(link).unwrap_or_else(|| link.to_owned())
        } else {
            link.to_owned()
        }
    }

    /// The records of an entry, with the extended attributes of the file in its place: whoever gave a program a capability wants it to
    /// have that in its next version, too.
    fn records(&self, place: &str, member: &Member) -> Vec<Record> {
        let mut records = member.records.clone();
        let is_file = matches!(member.header.entry_type(), EntryType::Regular | EntryType::Continuous);
        if let Some(Leaf::File(facts)) = self.tree.get(place).filter(|_| is_file) {
            let old = facts.metadata.iter().flat_map(|metadata| &metadata.records);
            let kept = old.filter(|record| record.key.starts_with(ATTRIBUTE));
            let kept: Vec<Record> = kept
                .filter(|record| !records.iter().any(|own| own.key == record.key))
                .cloned()
                .collect();
            records.extend(kept);
        }
        records
    }
}

/// An entry at another path, whatever forms its own header has for that.
fn placed(header: &Header, records: &[Record], path: &str, link: &str, size: u64) -> Member {
    let mut header = header.clone();
    let fill = |field: &mut [u8], text: &str| {
        field.fill(0);
        let length = text.len().min(field.len());
        let (start, text) = (field.get_mut(..length), text.as_bytes().get(..length));
        if let (Some(start), Some(text)) = (start, text) {
            start.copy_from_slice(text);
        }
    };
    if let Some(ustar) = header.as_ustar_mut() {
        ustar.prefix.fill(0);
    }
    let old = header.as_old_mut();
    fill(&mut old.name, path);
    fill(&mut old.linkname, link);
    header.set_size(size);
    Member {
        header,
        path: path.as_bytes().to_vec(),
        link: link.as_bytes().to_vec(),
        size,
        records: records
            .iter()
            .filter(|record| is_written(&record.key))
            .cloned()
            .collect(),
    }
}

/// Records of a package's entry that are an image's, too: apk has sums there.
fn is_written(key: &[u8]) -> bool {
    key != b"size" && !key.starts_with(b"APK-TOOLS.")
}

fn header(kind: EntryType, mode: u32, mtime: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(mtime);
    header
}

fn plain(error: crate::layer::Error) -> io::Error {
    match error {
        crate::layer::Error::Write(error) => error,
        error => io::Error::other(error),
    }
}
