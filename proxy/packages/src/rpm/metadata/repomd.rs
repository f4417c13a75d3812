//! `repomd.xml`: which files a repository has, with the checksums that bind them to it.
//! A detached signature `repomd.xml.asc` is over the bytes of this file as they were received; nothing here changes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rpm::metadata::xml::{Element, Sink, walk};
use crate::rpm::metadata::{Checksum, Error, Wrong};

/// The kinds of files that are kept.
const KINDS: [&str; 3] = ["primary", "updateinfo", "modules"];

/// The files of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repomd {
    /// What the repository's makers count its states with; usually seconds since 1970.
    pub revision: Option<String>,
    data: BTreeMap<String, Data>,
}

/// One file of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// Its path below the repository's base URL.
    pub path: String,
    /// The checksum of the file as it is fetched.
    pub checksum: Checksum,
    /// The checksum of its content, decompressed.
    pub open_checksum: Option<Checksum>,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// The size of its content in bytes.
    pub open_size: Option<u64>,
}

impl Repomd {
    /// Reads `repomd.xml`. `file` names it in errors.
    ///
    /// # Errors
    /// [`Error`] when it is malformed, names no package list, or names a file without a checksum that proves something, or
    /// outside of the repository.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Error> {
        let mut reading = Reading::default();
        walk(file, bytes, &mut reading)?;
        if !reading.found.data.contains_key("primary") {
            return Err(Wrong::Text("it names no package list").at(file, 0));
        }
        Ok(reading.found)
    }

    /// The list of packages, `primary.xml`.
    #[must_use]
    pub fn primary(&self) -> Option<&Data> {
        self.data.get("primary")
    }

    /// The advisories, `updateinfo.xml`; not every repository has them.
    #[must_use]
    pub fn updateinfo(&self) -> Option<&Data> {
        self.data.get("updateinfo")
    }

    /// The module streams, `modules.yaml`; few repositories have them.
    #[must_use]
    pub fn modules(&self) -> Option<&Data> {
        self.data.get("modules")
    }
}

#[derive(Default)]
struct Reading {
    found: Repomd,
    kind: String,
    /// The kind of the checksum whose value comes next.
    checksum_kind: String,
    checksum: Option<Checksum>,
    open_checksum: Option<Checksum>,
    path: Option<String>,
    size: Option<u64>,
    open_size: Option<u64>,
}

impl Sink for Reading {
    fn start(&mut self, element: &Element<'_>, depth: usize) -> Result<(), Wrong> {
        match (depth, element.name()) {
            (1, "repomd") => {}
            (1, _) => return Err(Wrong::Text("not the index of a repository")),
            (2, "data") => {
                *self = Self {
                    found: std::mem::take(&mut self.found),
                    kind: element.attribute("type")?.unwrap_or_default(),
                    ..Self::default()
                };
            }
            (3, "checksum" | "open-checksum") => {
                self.checksum_kind = element.attribute("type")?.unwrap_or_default();
            }
            (3, "location") => self.path = element.attribute("href")?,
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, name: &str, text: &str, depth: usize) -> Result<(), Wrong> {
        match (depth, name) {
            (2, "revision") => self.found.revision = Some(text.to_owned()),
            (2, "data") => self.finish()?,
            (3, "checksum") => self.checksum = Checksum::of(&self.checksum_kind, text),
            (3, "open-checksum") => self.open_checksum = Checksum::of(&self.checksum_kind, text),
            (3, "size") => self.size = text.parse().ok(),
            (3, "open-size") => self.open_size = text.parse().ok(),
            _ => {}
        }
        Ok(())
    }
}

impl Reading {
    fn finish(&mut self) -> Result<(), Wrong> {
        if !KINDS.contains(&self.kind.as_str()) {
            return Ok(());
        }
        let path = self.path.take().unwrap_or_default();
        if !is_inside(&path) {
            return Err(Wrong::Value("path of a file", path));
        }
        let unverifiable = || Wrong::Text("a file has no checksum that proves something (SHA-256 or SHA-512)");
        let data = Data {
            path,
            checksum: self.checksum.take().ok_or_else(unverifiable)?,
            open_checksum: self.open_checksum.take(),
            size: self.size,
            open_size: self.open_size,
        };
        match self.found.data.insert(std::mem::take(&mut self.kind), data) {
            None => Ok(()),
            Some(_) => Err(Wrong::Text("two files of one kind")),
        }
    }
}

/// Whether a path stays below where it is appended to.
fn is_inside(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+~/=@%".contains(&byte);
    (1..=1024).contains(&path.len())
        && path.bytes().all(plain)
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
        && !path.contains("%2")
}
