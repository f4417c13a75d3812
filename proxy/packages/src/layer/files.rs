//! What one layer says about the wanted files: what is there, and what it takes away from the layers below.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::layer::path;
use crate::layer::{Error, Limits, Wanted};

/// What one layer says about the wanted files and the directories above them. Paths are clean: relative to
/// the root, without `.` and `..`. Equal to another that says the same.
#[derive(Clone, Debug, Default)]
pub struct LayerFiles {
    /// What the layer was searched for.
    pub(crate) wanted: Arc<Wanted>,
    /// What is there, by path.
    pub(crate) nodes: BTreeMap<String, Node>,
    /// Paths that the layer removes from those below it.
    pub(crate) whiteouts: BTreeSet<String>,
    /// Directories whose content in the layers below is removed.
    pub(crate) opaque: BTreeSet<String>,
    pub(crate) truncated: bool,
    kept_bytes: u64,
    loose_bytes: u64,
    loose_files: u64,
}

/// What one remembered path costs besides its bytes: its node in a map, and what the allocator adds.
const PER_PATH: u64 = 64;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A wanted file with its content; of a file that was wanted by a pattern the part that tells packages.
    File(Arc<[u8]>),
    /// A symbolic link with its target as written.
    Symlink(String),
    /// A second name of a file, with the clean path of the first.
    HardLink(String),
    /// A directory.
    Directory,
    /// Anything else, or a file whose content was not wanted.
    Other,
    /// A wanted file that was not read, for it has more bytes than this.
    TooLarge(u64),
    /// An executable that Go built, with what it says of its modules.
    GoBuild(Arc<[u8]>),
}

impl Node {
    fn bytes(&self) -> u64 {
        match self {
            Self::File(bytes) | Self::GoBuild(bytes) => bytes.len() as u64,
            Self::Symlink(target) | Self::HardLink(target) => target.len() as u64,
            Self::Directory | Self::Other | Self::TooLarge(_) => 0,
        }
    }
}

impl LayerFiles {
    /// What is at a path of this layer alone.
    #[must_use]
    pub fn node(&self, path: &str) -> Option<&Node> {
        self.nodes.get(&path::clean(path))
    }

    /// Whether the layer removes this path from the layers below it.
    #[must_use]
    pub fn is_whiteout(&self, path: &str) -> bool {
        self.whiteouts.contains(&path::clean(path))
    }

    /// Whether the layer hides what layers below it have in this directory.
    #[must_use]
    pub fn is_opaque(&self, path: &str) -> bool {
        self.opaque.contains(&path::clean(path))
    }

    /// How much memory this holds, nearly: the content of its files, its paths and link targets. For a limit over all
    /// layers of an image, which are held together until they are merged; a merge shares the content.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.kept_bytes.saturating_add(self.loose_bytes)
    }

    /// Whether the layer has more than was remembered for the sake of files that are wanted by a pattern: some of those
    /// are missing then, and some that the layer removes may be found in those below. Everything else is complete.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Forgets what was remembered for the sake of files that are wanted by a pattern, for an image whose layers hold more
    /// together than they may. [`truncated`](Self::truncated) from then on, if there was anything.
    pub fn forget_loose(&mut self) {
        let before = self.loose_bytes;
        self.nodes.retain(|path, _| self.wanted.interest(path).is_firm());
        self.whiteouts.retain(|path| self.wanted.interest(path).is_firm());
        self.opaque.retain(|path| self.wanted.interest(path).is_firm());
        (self.loose_bytes, self.loose_files) = (0, 0);
        self.truncated |= before > 0;
    }

    /// Nothing yet.
    pub(crate) fn new(wanted: &Wanted) -> Self {
        Self {
            wanted: Arc::new(wanted.clone()),
            ..Self::default()
        }
    }

    /// How many bytes of content there is room for, besides those of loose files.
    pub(crate) fn room(&self, limits: &Limits) -> u64 {
        limits.kept_bytes.saturating_sub(self.kept_bytes)
    }

    /// Remembers what is at a path. What is loose is left out once there is no room for it.
    pub(crate) fn put(&mut self, path: String, node: Node, firm: bool, limits: &Limits) -> Result<(), Error> {
        let bytes = node.bytes();
        self.put_shared(path, node, bytes, firm, limits)
    }

    /// The same for content of which another path has some already, so that only so many bytes are new.
    pub(crate) fn put_shared(
        &mut self,
        path: String,
        node: Node,
        new: u64,
        firm: bool,
        limits: &Limits,
    ) -> Result<(), Error> {
        if self.count((path.len() as u64).saturating_add(new), firm, limits)? {
            self.nodes.insert(path, node);
        }
        Ok(())
    }

    /// Remembers that a path is removed from the layers below, in the same way.
    pub(crate) fn put_whiteout(&mut self, path: String, firm: bool, limits: &Limits) -> Result<(), Error> {
        if self.count(path.len() as u64, firm, limits)? {
            self.whiteouts.insert(path);
        }
        Ok(())
    }

    /// Remembers that a directory hides what the layers below have in it, in the same way.
    pub(crate) fn put_opaque(&mut self, path: String, firm: bool, limits: &Limits) -> Result<(), Error> {
        if self.count(path.len() as u64, firm, limits)? {
            self.opaque.insert(path);
        }
        Ok(())
    }

    /// Counts one more path with so many bytes; false when it is loose and there is no room for it.
    fn count(&mut self, bytes: u64, firm: bool, limits: &Limits) -> Result<bool, Error> {
        let bytes = bytes.saturating_add(PER_PATH);
        if firm {
            self.kept_bytes = self.kept_bytes.saturating_add(bytes);
            return if self.kept_bytes > limits.kept_bytes {
                Err(too_much(limits))
            } else {
                Ok(true)
            };
        }
        let sum = self.loose_bytes.saturating_add(bytes);
        if sum > limits.loose_bytes || self.loose_files >= limits.loose_files {
            self.truncated = true;
            return Ok(false);
        }
        (self.loose_bytes, self.loose_files) = (sum, self.loose_files + 1);
        Ok(true)
    }
}

impl PartialEq for LayerFiles {
    /// The counts do not matter: a layer that has a path twice counts it twice.
    fn eq(&self, other: &Self) -> bool {
        let said = |files: &Self| (files.truncated, Arc::clone(&files.wanted));
        said(self) == said(other)
            && self.nodes == other.nodes
            && self.whiteouts == other.whiteouts
            && self.opaque == other.opaque
    }
}

impl Eq for LayerFiles {}

pub(crate) fn too_much(limits: &Limits) -> Error {
    Error::TooMuch {
        what: "bytes of wanted files",
        limit: limits.kept_bytes,
    }
}
