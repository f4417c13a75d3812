//! What an image has at the wanted paths once its layers are laid over one another
//! (OCI image spec, layer.md, "Applying Changesets"), links followed inside the root.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::layer::path;
use crate::layer::{Error, LayerFiles, Node, Wanted};

/// Links that are followed for one path, as many as Linux follows.
const MAX_LINKS: usize = 40;

/// The wanted files of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    nodes: BTreeMap<String, Node>,
    wanted: Arc<Wanted>,
}

/// Lays layers over one another, given from the top. They must have been read with the same [`Wanted`].
pub fn merge<'a>(layers_top_first: impl IntoIterator<Item = &'a LayerFiles>) -> Files {
    let layers: Vec<&LayerFiles> = layers_top_first.into_iter().collect();
    let mut files = Files::default();
    for layer in layers.into_iter().rev() {
        files.wanted = Arc::clone(&layer.wanted);
        files.apply(layer);
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

    /// The files directly in a directory with their paths, ordered by name, links followed.
    ///
    /// # Errors
    /// As [`Files::read`].
    pub fn list(&self, directory: &str) -> Result<Vec<(String, &[u8])>, Error> {
        let directory = path::clean(directory);
        let real = self
            .resolve(&directory)
            .ok_or_else(|| Error::SymlinkLoop(directory.clone()))?;
        let mut found = Vec::new();
        for path in self
            .nodes
            .keys()
            .filter(|path| !path.is_empty() && path::split(path).0 == real)
        {
            found.extend(
                self.read(path)?
                    .map(|bytes| (path::join(&directory, path::split(path).1), bytes)),
            );
        }
        Ok(found)
    }

    fn apply(&mut self, layer: &LayerFiles) {
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
        for (path, node) in &layer.nodes {
            let Some(path) = self.place(path) else { continue };
            if *node != Node::Directory {
                self.remove(&path);
            }
            let node = self.with_content(node);
            self.nodes.insert(path, node);
        }
    }

    /// A hard link to a file of a layer below shares what that file holds now, not what it may hold later.
    fn with_content(&self, node: &Node) -> Node {
        let Node::HardLink(target) = node else {
            return node.clone();
        };
        let shared = self.place(target).and_then(|target| self.nodes.get(&target));
        shared
            .filter(|node| matches!(node, Node::File(_)))
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
        let from = if directory.is_empty() {
            String::new()
        } else {
            format!("{directory}/")
        };
        let below = self
            .nodes
            .range::<String, _>((Bound::Excluded(&from), Bound::Unbounded));
        let below = below.map(|(path, _)| path).take_while(|path| path.starts_with(&from));
        for path in below.cloned().collect::<Vec<_>>() {
            self.nodes.remove(&path);
        }
    }

    /// Where an entry lands: links above it are followed, it itself is not. containerd unpacks like this, so
    /// an upper layer's `lib/x` goes to `usr/lib/x` where a lower one made `/lib` a link.
    fn place(&self, path: &str) -> Option<String> {
        if path.is_empty() {
            return Some(String::new());
        }
        let (parent, name) = path::split(path);
        Some(path::join(&self.resolve(parent)?, name))
    }

    /// Follows every symbolic link of a path inside the root; nothing when they do not end.
    fn resolve(&self, path: &str) -> Option<String> {
        let mut left: Vec<String> = parts(path);
        let mut done = String::new();
        let mut links = 0;
        while let Some(part) = left.pop() {
            if part == ".." {
                done = path::split(&done).0.to_owned();
                continue;
            }
            let next = path::join(&done, &part);
            let Some(Node::Symlink(target)) = self.nodes.get(&next) else {
                done = next;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return None;
            }
            if target.starts_with('/') {
                done.clear();
            }
            left.extend(parts(target));
        }
        Some(done)
    }
}

/// The parts of a path, last first. `..` stays: what it means depends on the links before it.
fn parts(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .rev()
        .map(ToOwned::to_owned)
        .collect()
}
