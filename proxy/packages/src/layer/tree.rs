//! Everything that an image has, path by path: what is there, and of some files what is in them. For whoever writes a layer
//! without a file system to write to. Layers are laid over one another as clients do it, links followed inside the root.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Read};
use std::ops::Bound;
use std::sync::Arc;

use tar::{EntryType, Header};

use crate::layer::archive::{Archive, Member};
use crate::layer::compression::unpack;
use crate::layer::links;
use crate::layer::path::{self, OPAQUE, WHITEOUT};
use crate::layer::pax::Record;
use crate::layer::sum::{Algorithm, Hashing, Sum};
use crate::layer::{Compression, Error, Limits};

/// The most paths of an image that are taken.
const MAX_PATHS: u64 = 1_000_000;
/// The most bytes of all paths and link targets.
const MAX_PATH_BYTES: u64 = 128 * 1024 * 1024;
/// The largest file whose content is kept, in bytes.
const MAX_CONTENT: u64 = 4 * 1024 * 1024;

/// Which files are looked into.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    algorithm: Algorithm,
    /// By path without a leading `usr/`: the same file may be named with and without.
    sums: HashSet<String>,
    contents: HashSet<String>,
    folders: HashSet<String>,
}

impl Watch {
    /// One that takes sums by an algorithm, and looks into nothing yet.
    #[must_use]
    pub fn by(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            ..Self::default()
        }
    }

    /// Also takes the sum of the file at a path, wherever links lead there.
    pub fn sum(&mut self, path: &str) {
        self.sums.insert(short(&path::clean(path)).to_owned());
    }

    /// Also keeps the content of the file at a path.
    pub fn content(&mut self, path: &str) {
        self.contents.insert(path::clean(path));
        self.sum(path);
    }

    /// Also keeps the content of the files directly in a folder.
    pub fn folder(&mut self, path: &str) {
        self.folders.insert(path::clean(path));
    }

    fn is_listed(&self, path: &str) -> bool {
        self.folders.contains(path::split(path).0)
    }
}

fn short(path: &str) -> &str {
    path.strip_prefix("usr/").unwrap_or(path)
}

/// What is at a path.
#[derive(Clone, Debug)]
pub(crate) enum Leaf {
    /// A directory, as its entry says; nothing when only its files are there.
    Directory(Option<Arc<Metadata>>),
    /// A file.
    File(FileFacts),
    /// A symbolic link with its target as written.
    Symlink(String),
    /// Anything else.
    Other,
}

/// An entry but for its path and content.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) header: Header,
    pub(crate) records: Vec<Record>,
}

/// What is known of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileFacts {
    /// Its sum, where it was watched.
    pub(crate) sum: Option<Sum>,
    /// Its content, where that was watched and is not too large.
    pub(crate) content: Option<Arc<[u8]>>,
    /// Its entry, where it was watched.
    pub(crate) metadata: Option<Arc<Metadata>>,
}

/// What one layer does to what is below it.
#[derive(Debug, Default)]
pub struct LayerTree {
    entries: Vec<(String, Change)>,
    whiteouts: Vec<String>,
    opaque: Vec<String>,
}

#[derive(Debug)]
enum Change {
    Leaf(Leaf),
    HardLink(String),
}

/// Everything that an image has.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    leaves: BTreeMap<String, Leaf>,
}

impl LayerTree {
    /// Reads a layer.
    ///
    /// # Errors
    /// [`Error`] when the stream fails, ends early, is no tar, or holds too much.
    pub fn read(reader: impl Read, watch: &Watch, limits: &Limits) -> Result<Self, Error> {
        let mut archive = Archive::new(unpack(reader, Compression::Detect, limits)?, *limits);
        let (mut layer, mut bytes) = (Self::default(), 0_u64);
        while let Some(member) = archive.next()? {
            bytes += (member.path.len() + member.link.len()) as u64;
            if bytes > MAX_PATH_BYTES {
                return Err(too_much());
            }
            let path = path::clean(&String::from_utf8_lossy(&member.path));
            if layer.hides(&path) || path.is_empty() && !member.header.entry_type().is_dir() {
                continue;
            }
            let change = match member.header.entry_type() {
                EntryType::Directory => Change::Leaf(Leaf::Directory(Some(metadata(&member)))),
                EntryType::Symlink => Change::Leaf(Leaf::Symlink(String::from_utf8_lossy(&member.link).into_owned())),
                EntryType::Link => Change::HardLink(path::clean(&String::from_utf8_lossy(&member.link))),
                EntryType::Regular | EntryType::Continuous => {
                    Change::Leaf(Leaf::File(facts(&mut archive, &member, &path, watch)?))
                }
                _ => Change::Leaf(Leaf::Other),
            };
            layer.entries.push((path, change));
        }
        archive.finish()?;
        Ok(layer)
    }

    /// Takes a whiteout; false when it is none.
    fn hides(&mut self, path: &str) -> bool {
        let (parent, name) = path::split(path);
        match name.strip_prefix(WHITEOUT) {
            None => return false,
            Some(_) if name == OPAQUE => self.opaque.push(parent.to_owned()),
            Some("" | "." | "..") => {}
            Some(hidden) => self.whiteouts.push(path::join(parent, hidden)),
        }
        true
    }
}

fn facts<R: io::BufRead>(
    archive: &mut Archive<R>,
    member: &Member,
    path: &str,
    watch: &Watch,
) -> Result<FileFacts, Error> {
    let is_listed = watch.is_listed(path);
    if !is_listed && !watch.sums.contains(short(path)) {
        return Ok(FileFacts::default());
    }
    let metadata = Some(metadata(member));
    if (is_listed || watch.contents.contains(path)) && member.size <= MAX_CONTENT {
        let content = archive.read_content(MAX_CONTENT)?.unwrap_or_default();
        let sum = Some(watch.algorithm.sum(&content));
        let content = Some(content.into());
        return Ok(FileFacts { sum, content, metadata });
    }
    let mut hashing = Hashing::new(watch.algorithm);
    archive.copy_content(&mut hashing)?;
    Ok(FileFacts {
        sum: Some(hashing.finish()),
        content: None,
        metadata,
    })
}

fn metadata(member: &Member) -> Arc<Metadata> {
    Arc::new(Metadata {
        header: member.header.clone(),
        records: member.records.clone(),
    })
}

impl Tree {
    /// Lays a layer over what is there.
    ///
    /// # Errors
    /// [`Error::TooMuch`] when the image has more than any real one.
    pub fn apply(&mut self, layer: LayerTree) -> Result<(), Error> {
        // Whiteouts hide what is below their layer only, so they come before what the layer brings.
        for directory in &layer.opaque {
            if let Some(directory) = self.resolve(directory) {
                self.empty(&directory);
            }
        }
        for path in &layer.whiteouts {
            if let Some(path) = self.place(path) {
                self.remove(&path);
            }
        }
        for (path, change) in layer.entries {
            let Some(path) = self.place(&path) else { continue };
            let leaf = match change {
                Change::Leaf(leaf) => leaf,
                Change::HardLink(target) => match self.place(&target).and_then(|target| self.leaves.get(&target)) {
                    Some(leaf @ Leaf::File(_)) => leaf.clone(),
                    _ => Leaf::Other,
                },
            };
            self.put(path, leaf);
            if self.leaves.len() as u64 > MAX_PATHS {
                return Err(too_much());
            }
        }
        Ok(())
    }

    /// What is at a path that no link leads through.
    pub(crate) fn get(&self, path: &str) -> Option<&Leaf> {
        self.leaves.get(path)
    }

    /// Whether a path leads to a file, links followed.
    #[must_use]
    pub fn has_file(&self, path: &str) -> bool {
        let place = self.resolve(path);
        matches!(place.and_then(|place| self.leaves.get(&place)), Some(Leaf::File(_)))
    }

    /// Whether there is a directory, with an entry or by what is in it.
    #[must_use]
    pub fn is_directory(&self, path: &str) -> bool {
        match self.leaves.get(path) {
            Some(leaf) => matches!(leaf, Leaf::Directory(_)),
            None => path.is_empty() || self.below(&format!("{path}/")).next().is_some(),
        }
    }

    /// Puts something at a path that no link leads through.
    pub(crate) fn put(&mut self, path: String, leaf: Leaf) {
        if !matches!(leaf, Leaf::Directory(_)) {
            self.empty(&path);
        }
        self.leaves.insert(path, leaf);
    }

    /// Removes a path and all below it.
    pub(crate) fn remove(&mut self, path: &str) {
        self.leaves.remove(path);
        self.empty(path);
    }

    /// Symbolic links to a name in their own directory, by what they lead to.
    pub(crate) fn links_beside(&self) -> BTreeMap<String, Vec<String>> {
        let mut links: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, leaf) in &self.leaves {
            if let Leaf::Symlink(target) = leaf
                && !target.contains('/')
            {
                let target = path::join(path::split(path).0, target);
                links.entry(target).or_default().push(path.clone());
            }
        }
        links
    }

    /// The paths directly in a directory that no link leads through.
    pub(crate) fn children(&self, directory: &str) -> impl Iterator<Item = (&str, &Leaf)> {
        let from = if directory.is_empty() {
            String::new()
        } else {
            format!("{directory}/")
        };
        let skip = from.len();
        let all: Vec<_> = self.below(&from).collect();
        all.into_iter()
            .filter(move |(path, _)| path.get(skip..).is_some_and(|rest| !rest.contains('/')))
    }

    /// Where an entry of this path lands: links above it are followed, it itself is not. Nothing when they do not end.
    pub(crate) fn place(&self, path: &str) -> Option<String> {
        if path.is_empty() {
            return Some(String::new());
        }
        let (parent, name) = path::split(path);
        Some(path::join(&self.resolve(parent)?, name))
    }

    /// Where a path leads when every link is followed. Nothing when they do not end.
    pub(crate) fn resolve(&self, path: &str) -> Option<String> {
        links::follow(path, &mut 0, |path| match self.leaves.get(path) {
            Some(Leaf::Symlink(target)) => Some(target.as_str()),
            _ => None,
        })
    }

    fn empty(&mut self, directory: &str) {
        let from = if directory.is_empty() {
            String::new()
        } else {
            format!("{directory}/")
        };
        let gone: BTreeSet<String> = self.below(&from).map(|(path, _)| path.to_owned()).collect();
        for path in gone {
            self.leaves.remove(&path);
        }
    }

    /// What begins so, in order.
    pub(crate) fn below(&self, from: &str) -> impl Iterator<Item = (&str, &Leaf)> {
        let from = from.to_owned();
        let bounds = (Bound::Excluded(from.clone()), Bound::Unbounded);
        let leaves = self.leaves.range::<String, _>(bounds);
        leaves
            .take_while(move |(path, _)| path.starts_with(&from))
            .map(|(path, leaf)| (path.as_str(), leaf))
    }
}

fn too_much() -> Error {
    Error::TooMuch {
        what: "paths",
        limit: MAX_PATHS,
    }
}
