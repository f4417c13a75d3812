//! What an image has at the wanted paths once its layers are laid over one another
//! (OCI image spec, layer.md, "Applying Changesets"), links followed inside the root.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::layer::links;
use crate::layer::path;
use crate::layer::pattern::Pattern;
use crate::layer::wanted::Interest;
use crate::layer::{Error, LayerFiles, Node, Wanted};

/// Parts of paths that are looked up for the sake of loose files: there can be many, each deep and behind many links.
/// A usual image takes a hundredth of it.
const MAX_STEPS: u64 = 20_000_000;

/// The wanted files of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    nodes: BTreeMap<String, Node>,
    wanted: Arc<Wanted>,
    truncated: bool,
}

/// Lays layers over one another, given from the top. They must have been read with the same [`Wanted`].
pub fn merge<'a>(layers_top_first: impl IntoIterator<Item = &'a LayerFiles>) -> Files {
    let layers: Vec<&LayerFiles> = layers_top_first.into_iter().collect();
    let (mut files, mut steps) = (Files::default(), 0);
    for layer in layers.into_iter().rev() {
        files.wanted = Arc::clone(&layer.wanted);
        files.truncated |= layer.truncated;
        files.apply(layer, &mut steps);
    }
    files
}

impl Files {
    /// The content of the file at `path`, links followed; nothing when there is no file.
    ///
    /// # Errors
    /// [`Error::SymlinkLoop`], and [`Error::NotKept`] when a link leads to what was not wanted.
    pub fn read(&self, path: &str) -> Result<Option<&[u8]>, Error> {
        let path = path::clean(path);
        let found = self.resolve(&path).ok_or_else(|| Error::SymlinkLoop(path.clone()))?;
        match self.nodes.get(&found) {
            Some(Node::File(bytes)) => Ok(Some(bytes)),
            Some(Node::HardLink(target)) => Err(Error::NotKept {
                path,
                target: target.clone(),
            }),
            None if found != path && !self.wanted.interest(&found).in_content() => {
                Err(Error::NotKept { path, target: found })
            }
            _ => Ok(None),
        }
    }

    /// Whether there is a file, or a link to something, at a wanted path. Links above it are followed, it itself is not: where a
    /// link leads is often not known.
    #[must_use]
    pub fn is_there(&self, path: &str) -> bool {
        let found = self
            .place(&path::clean(path), &mut 0)
            .and_then(|path| self.nodes.get(&path));
        found.is_some_and(|node| *node != Node::Directory)
    }

    /// The files directly in a directory with their paths, ordered by name, links followed.
    ///
    /// # Errors
    /// As [`Files::read`].
    pub fn list(&self, directory: &str) -> Result<Vec<(String, &[u8])>, Error> {
        let mut found = Vec::new();
        for path in self.children(directory)? {
            found.extend(self.read(&path)?.map(|bytes| (path, bytes)));
        }
        Ok(found)
    }

    /// The file `name` of each directory in a directory, with their paths, ordered by the directory's name.
    ///
    /// # Errors
    /// As [`Files::read`].
    pub fn list_nested(&self, directory: &str, name: &str) -> Result<Vec<(String, &[u8])>, Error> {
        let mut found = Vec::new();
        for path in self.children(directory)? {
            let path = path::join(&path, name);
            found.extend(self.read(&path)?.map(|bytes| (path, bytes)));
        }
        Ok(found)
    }

    /// The files that were wanted by a pattern, ordered by path: the path, what it matches, and the part of the content
    /// that tells packages. Each file once, under the path that no link leads to.
    pub fn loose(&self) -> impl Iterator<Item = (&str, Pattern, &[u8])> {
        self.nodes.iter().filter_map(|(path, node)| match node {
            Node::GoBuild(bytes) => Some((path.as_str(), Pattern::Go, &**bytes)),
            Node::File(bytes) => match self.wanted.interest(path) {
                Interest::Loose(pattern) => Some((path.as_str(), pattern, &**bytes)),
                _ => None,
            },
            _ => None,
        })
    }

    /// Whether some files that were wanted by a pattern are missing, and some may be there that the image has not any
    /// more: it has more than was remembered. Everything else is complete.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// What was wanted, but not read, in words for people.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let too_large = self.nodes.iter().filter_map(|(path, node)| match node {
            Node::TooLarge(limit) => Some(format!("{path} is not read: it is larger than {limit} bytes")),
            _ => None,
        });
        let mut notes: Vec<String> = too_large.take(MAX_NOTES).collect();
        if self.truncated {
            notes.push("there are too many packages of programming languages: some are missing here".to_owned());
        }
        notes
    }

    /// The paths directly in a directory, as they read through it, ordered by name.
    fn children(&self, directory: &str) -> Result<Vec<String>, Error> {
        let directory = path::clean(directory);
        let real = self
            .resolve(&directory)
            .ok_or_else(|| Error::SymlinkLoop(directory.clone()))?;
        let from = below(&real);
        // A layer need not have entries for directories.
        let names = self
            .below(&from)
            .filter_map(|path| path[from.len()..].split('/').next());
        let names: BTreeSet<&str> = names.collect();
        Ok(names.into_iter().map(|name| path::join(&directory, name)).collect())
    }

    fn apply(&mut self, layer: &LayerFiles, steps: &mut u64) {
        // Whiteouts hide what is below their layer only, so they come before what the layer brings.
        for directory in &layer.opaque {
            if let Some(directory) = self
                .has_time(directory, *steps)
                .then(|| self.follow(directory, steps))
                .flatten()
            {
                self.empty(&directory);
            }
        }
        for path in &layer.whiteouts {
            if let Some(path) = self.has_time(path, *steps).then(|| self.place(path, steps)).flatten() {
                self.remove(&path);
            }
        }
        for (path, node) in &layer.nodes {
            let Some(path) = self.has_time(path, *steps).then(|| self.place(path, steps)).flatten() else {
                continue;
            };
            if *node != Node::Directory {
                self.remove(&path);
            }
            let node = self.with_content(node, steps);
            self.nodes.insert(path, node);
        }
    }

    /// Whether a path may be looked up: always, unless it is loose and too much was looked up before.
    fn has_time(&mut self, path: &str, steps: u64) -> bool {
        let has_time = steps <= MAX_STEPS || self.wanted.interest(path).is_firm();
        self.truncated |= !has_time;
        has_time
    }

    /// A hard link to a file of a layer below shares what that file holds now, not what it may hold later.
    fn with_content(&self, node: &Node, steps: &mut u64) -> Node {
        let Node::HardLink(target) = node else {
            return node.clone();
        };
        let shared = self.place(target, steps).and_then(|target| self.nodes.get(&target));
        shared
            .filter(|node| matches!(node, Node::File(_) | Node::GoBuild(_)))
            .unwrap_or(node)
            .clone()
    }

    fn remove(&mut self, gone: &str) {
        self.nodes.remove(gone);
        self.empty(gone);
    }

    /// Removes what is below a directory. Its paths stand together in the order of the map: a search through all of it
    /// for each entry would take hours where somebody made a layer of a million.
    fn empty(&mut self, directory: &str) {
        let gone: Vec<String> = self.below(&below(directory)).cloned().collect();
        for path in gone {
            self.nodes.remove(&path);
        }
    }

    /// The paths that begin so.
    fn below(&self, from: &str) -> impl Iterator<Item = &String> {
        let nodes = self.nodes.range::<str, _>((Bound::Excluded(from), Bound::Unbounded));
        nodes
            .map(|(path, _)| path)
            .take_while(move |path| path.starts_with(from))
    }

    /// Where an entry lands: links above it are followed, it itself is not. containerd unpacks like this, so
    /// an upper layer's `lib/x` goes to `usr/lib/x` where a lower one made `/lib` a link.
    fn place(&self, path: &str, steps: &mut u64) -> Option<String> {
        if path.is_empty() {
            return Some(String::new());
        }
        let (parent, name) = path::split(path);
        Some(path::join(&self.follow(parent, steps)?, name))
    }

    fn resolve(&self, path: &str) -> Option<String> {
        self.follow(path, &mut 0)
    }

    /// Follows every symbolic link of a path inside the root; nothing when they do not end. Counts the parts it looks up.
    fn follow(&self, path: &str, steps: &mut u64) -> Option<String> {
        links::follow(path, steps, |path| match self.nodes.get(path) {
            Some(Node::Symlink(target)) => Some(target.as_str()),
            _ => None,
        })
    }
}

/// Notes about files that were not read.
const MAX_NOTES: usize = 50;

/// How paths below a directory begin.
fn below(directory: &str) -> String {
    if directory.is_empty() {
        String::new()
    } else {
        format!("{directory}/")
    }
}
