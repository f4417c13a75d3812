//! Takes from the entries of a layer, as they pass, what matters to the wanted files.
//! What is firmly wanted is there whole, or the layer is refused; what is loose is there as far as there is room.

use std::mem;

use tar::EntryType;

use crate::layer::archive::Member;
use crate::layer::files::{Node, too_much};
use crate::layer::path::{self, OPAQUE, WHITEOUT};
use crate::layer::pattern::Pattern;
use crate::layer::wanted::{Interest, Need};
use crate::layer::{Error, LayerFiles, Limits, Wanted};

/// A layer's files while its entries pass.
pub(crate) struct Collector {
    files: LayerFiles,
    limits: Limits,
    /// The directories of the layer above its last entry that are not remembered. They are once a loose file comes: a
    /// directory takes the place of what the layers below have there.
    trail: Vec<String>,
}

impl Collector {
    pub(crate) fn new(wanted: &Wanted, limits: &Limits) -> Self {
        Self {
            files: LayerFiles::new(wanted),
            limits: *limits,
            trail: Vec::new(),
        }
    }

    pub(crate) fn finish(self) -> LayerFiles {
        self.files
    }

    /// Takes what matters of an entry. `content` reads at most so many bytes of it, or nothing if there are more.
    /// Names that are not UTF-8 cannot be wanted.
    pub(crate) fn add(
        &mut self,
        member: &Member,
        content: impl FnOnce(u64) -> Result<Option<Vec<u8>>, Error>,
    ) -> Result<(), Error> {
        let Ok(path) = std::str::from_utf8(&member.path).map(path::clean) else {
            return Ok(());
        };
        if self.add_whiteout(&path)? {
            return Ok(());
        }
        let interest = self.files.wanted.interest(&path);
        if self.files.wanted.has_patterns() {
            self.follow(&path, member.header.entry_type());
        }
        if interest == Interest::No && !self.could_hide(&path, member) {
            return Ok(());
        }
        let mut shared = None;
        let node = match member.header.entry_type() {
            EntryType::Directory => Node::Directory,
            EntryType::Symlink => Node::Symlink(link(member)),
            EntryType::Link => {
                let target = link(member);
                shared = Some(target.len() as u64);
                self.hard_link(path::clean(&target))
            }
            EntryType::Regular | EntryType::Continuous => self.file(&path, interest, content)?,
            _ => Node::Other,
        };
        if matches!(interest, Interest::Loose(_)) {
            self.remember_trail()?;
        }
        let firm = interest.is_firm();
        if let Some(new) = shared {
            return self.files.put_shared(path, node, new, firm, &self.limits);
        }
        self.files.put(path, node, firm, &self.limits)
    }

    /// Whether an entry may be an executable that Go built and that is wanted for that.
    pub(crate) fn may_be_go(&self, member: &Member) -> bool {
        self.files.wanted.has(Pattern::Go) && is_executable(member) && member.header.entry_type() == EntryType::Regular
    }

    /// Takes what an executable says of its modules.
    pub(crate) fn add_go(&mut self, member: &Member, build: Vec<u8>) -> Result<(), Error> {
        let Ok(path) = std::str::from_utf8(&member.path).map(path::clean) else {
            return Ok(());
        };
        if self.files.wanted.interest(&path) != Interest::No {
            return Ok(());
        }
        self.remember_trail()?;
        self.files.put(path, Node::GoBuild(build.into()), false, &self.limits)
    }

    fn add_whiteout(&mut self, path: &str) -> Result<bool, Error> {
        let (parent, name) = path::split(path);
        let Some(hidden) = name.strip_prefix(WHITEOUT) else {
            return Ok(false);
        };
        // There is no file of that name to hide; containerd does not unpack such a layer.
        if matches!(hidden, "" | "." | "..") {
            return Ok(true);
        }
        let is_opaque = name == OPAQUE;
        let hidden = if is_opaque {
            parent.to_owned()
        } else {
            path::join(parent, hidden)
        };
        let wanted = &self.files.wanted;
        let firm = wanted.interest(&hidden).is_firm();
        // A directory of any name may hold loose files.
        if firm || wanted.has_patterns() {
            if is_opaque {
                self.files.put_opaque(hidden, firm, &self.limits)?;
            } else {
                self.files.put_whiteout(hidden, firm, &self.limits)?;
            }
        }
        Ok(true)
    }

    /// Whether an entry that is not wanted may take away loose files of the layers below, or lead to those of layers above:
    /// a symbolic link, an executable that replaces one, or something in place of a directory that packages have. Another
    /// file in place of a directory is not seen, for that would mean to remember every file.
    fn could_hide(&self, path: &str, member: &Member) -> bool {
        if !self.files.wanted.has_patterns() {
            return false;
        }
        match member.header.entry_type() {
            EntryType::Symlink => true,
            EntryType::Directory => false,
            EntryType::Link if matches!(self.hard_link(path::clean(&link(member))), Node::GoBuild(_)) => true,
            _ => Pattern::could_be_above(path) || self.files.wanted.has(Pattern::Go) && is_executable(member),
        }
    }

    /// Keeps the trail: what is not above `path` has passed.
    fn follow(&mut self, path: &str, kind: EntryType) {
        while self.trail.last().is_some_and(|last| !path::is_below(path, last)) {
            self.trail.pop();
        }
        if kind == EntryType::Directory && !path.is_empty() {
            self.trail.push(path.to_owned());
        }
    }

    fn remember_trail(&mut self) -> Result<(), Error> {
        for directory in mem::take(&mut self.trail) {
            if !self.files.nodes.contains_key(&directory) {
                self.files.put(directory, Node::Directory, false, &self.limits)?;
            }
        }
        Ok(())
    }

    /// A file with its content if that is wanted and there is room.
    fn file(
        &self,
        path: &str,
        interest: Interest,
        content: impl FnOnce(u64) -> Result<Option<Vec<u8>>, Error>,
    ) -> Result<Node, Error> {
        let (most, need) = match interest {
            Interest::File(Need::Database) => (self.limits.database_bytes, Need::Database),
            Interest::File(Need::Required) => (self.limits.file_bytes, Need::Required),
            Interest::File(Need::Optional) => (self.limits.listed_file_bytes, Need::Optional),
            Interest::Listed(need) => (self.limits.listed_file_bytes, need),
            Interest::Loose(pattern) => {
                let most = self.limits.loose_file_bytes;
                let found = content(most)?.map(|bytes| Node::File(pattern.condense(bytes).into()));
                return Ok(found.unwrap_or(Node::TooLarge(most)));
            }
            Interest::Above | Interest::No => return Ok(Node::Other),
        };
        let room = self.files.room(&self.limits);
        match content(most.min(room))? {
            Some(bytes) => Ok(Node::File(bytes.into())),
            None if need == Need::Optional => Ok(Node::TooLarge(most.min(room))),
            None if room < most => Err(too_much(&self.limits)),
            None => Err(Error::FileTooLarge {
                path: path.to_owned(),
                limit: most,
            }),
        }
    }

    /// The content that a hard link shares, for a tar has the file before its links. Other links stay what
    /// they are: `merge` may find the file in a layer below.
    fn hard_link(&self, target: String) -> Node {
        match self.files.nodes.get(&target) {
            Some(node @ (Node::File(_) | Node::GoBuild(_))) => node.clone(),
            _ => Node::HardLink(target),
        }
    }
}

fn link(member: &Member) -> String {
    String::from_utf8_lossy(&member.link).into_owned()
}

fn is_executable(member: &Member) -> bool {
    member.header.mode().is_ok_and(|mode| mode & 0o111 != 0)
}
