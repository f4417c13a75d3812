//! What one layer says about the wanted files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tar::EntryType;

use crate::layer::archive::Member;
use crate::layer::path::{self, OPAQUE, WHITEOUT};
use crate::layer::wanted::Interest;
use crate::layer::{Error, Limits, Wanted};

/// What one layer says about the wanted files and the directories above them. Paths are clean: relative to
/// the root, without `.` and `..`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerFiles {
    /// What the layer was searched for.
    pub(crate) wanted: Arc<Wanted>,
    /// What is there, by path.
    pub(crate) nodes: BTreeMap<String, Node>,
    /// Paths that the layer removes from those below it.
    pub(crate) whiteouts: BTreeSet<String>,
    /// Directories whose content in the layers below is removed.
    pub(crate) opaque: BTreeSet<String>,
    kept_bytes: u64,
}

/// What one remembered path costs besides its bytes: its node in a map, and what the allocator adds.
const PER_PATH: u64 = 64;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A wanted file with its content.
    File(Arc<[u8]>),
    /// A symbolic link with its target as written.
    Symlink(String),
    /// A second name of a file, with the clean path of the first.
    HardLink(String),
    /// A directory.
    Directory,
    /// Anything else, or a file whose content was not wanted.
    Other,
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
        self.kept_bytes
    }

    /// Nothing yet.
    pub(crate) fn new(wanted: &Wanted) -> Self {
        Self {
            wanted: Arc::new(wanted.clone()),
            ..Self::default()
        }
    }

    /// Notes an entry when it matters. `content` reads at most so many bytes of it, or nothing if there are more.
    /// Names that are not UTF-8 cannot be wanted.
    pub(crate) fn add(
        &mut self,
        member: &Member,
        limits: &Limits,
        content: impl FnOnce(u64) -> Result<Option<Vec<u8>>, Error>,
    ) -> Result<(), Error> {
        let Ok(path) = std::str::from_utf8(&member.path).map(path::clean) else {
            return Ok(());
        };
        if self.add_whiteout(&path, limits)? {
            return Ok(());
        }
        let interest = self.wanted.interest(&path);
        if interest == Interest::No {
            return Ok(());
        }
        self.count((path.len() + member.link.len()) as u64 + PER_PATH, limits)?;
        let link = || String::from_utf8_lossy(&member.link).into_owned();
        let node = match member.header.entry_type() {
            EntryType::Directory => Node::Directory,
            EntryType::Symlink => Node::Symlink(link()),
            EntryType::Link => self.hard_link(path::clean(&link())),
            EntryType::Regular | EntryType::Continuous if interest == Interest::File => {
                Node::File(self.keep(&path, limits.file_bytes, limits, content)?)
            }
            EntryType::Regular | EntryType::Continuous if interest == Interest::Listed => {
                Node::File(self.keep(&path, limits.listed_file_bytes, limits, content)?)
            }
            _ => Node::Other,
        };
        self.nodes.insert(path, node);
        Ok(())
    }

    fn add_whiteout(&mut self, path: &str, limits: &Limits) -> Result<bool, Error> {
        let (parent, name) = path::split(path);
        if name == OPAQUE {
            if self.wanted.interest(parent) != Interest::No {
                self.count(parent.len() as u64 + PER_PATH, limits)?;
                self.opaque.insert(parent.to_owned());
            }
            return Ok(true);
        }
        let Some(hidden) = name.strip_prefix(WHITEOUT) else {
            return Ok(false);
        };
        let hidden = path::join(parent, hidden);
        if self.wanted.interest(&hidden) != Interest::No {
            self.count(hidden.len() as u64 + PER_PATH, limits)?;
            self.whiteouts.insert(hidden);
        }
        Ok(true)
    }

    fn keep(
        &mut self,
        path: &str,
        most: u64,
        limits: &Limits,
        content: impl FnOnce(u64) -> Result<Option<Vec<u8>>, Error>,
    ) -> Result<Arc<[u8]>, Error> {
        let left = limits.kept_bytes.saturating_sub(self.kept_bytes);
        let bytes = content(most.min(left))?.ok_or_else(|| {
            if left < most {
                too_much(limits)
            } else {
                Error::FileTooLarge {
                    path: path.to_owned(),
                    limit: most,
                }
            }
        })?;
        self.count(bytes.len() as u64, limits)?;
        Ok(bytes.into())
    }

    fn count(&mut self, bytes: u64, limits: &Limits) -> Result<(), Error> {
        self.kept_bytes = self.kept_bytes.saturating_add(bytes);
        if self.kept_bytes > limits.kept_bytes {
            return Err(too_much(limits));
        }
        Ok(())
    }

    /// The content that a hard link shares, for a tar has the file before its links. Other links stay what
    /// they are: `merge` may find the file in a layer below.
    fn hard_link(&self, target: String) -> Node {
        match self.nodes.get(&target) {
            Some(Node::File(bytes)) => Node::File(Arc::clone(bytes)),
            _ => Node::HardLink(target),
        }
    }
}

fn too_much(limits: &Limits) -> Error {
    Error::TooMuch {
        what: "bytes of wanted files",
        limit: limits.kept_bytes,
    }
}
