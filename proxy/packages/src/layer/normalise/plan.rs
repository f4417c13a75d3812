//! The first pass over a patch layer: which entries stay, and which time they get.
//! It remembers every entry, so their number and the bytes of their paths are limited.

use std::collections::HashSet;
use std::io::BufRead;

use tar::EntryType;

use super::{Normalise, mtime};
use crate::layer::Error;
use crate::layer::archive::{Archive, Member};
use crate::layer::path::{self, OPAQUE, WHITEOUT};

/// What the first pass decides.
pub(super) struct Plan {
    /// Per entry, in order.
    pub(super) keep: Vec<bool>,
    pub(super) epoch: u64,
    pub(super) is_empty: bool,
}

/// What the first pass remembers of an entry.
struct Seen {
    path: String,
    kind: EntryType,
    link: String,
    mtime: u64,
    keep: bool,
}

impl Plan {
    pub(super) fn make(input: impl BufRead, rules: &Normalise) -> Result<Self, Error> {
        let mut archive = Archive::new(input, rules.limits);
        let (mut entries, mut path_bytes) = (Vec::new(), 0);
        while let Some(member) = archive.next()? {
            path_bytes += (member.path.len() + member.link.len()) as u64;
            if path_bytes > rules.limits.all_path_bytes {
                let (what, limit) = ("bytes in all paths", rules.limits.all_path_bytes);
                return Err(Error::TooMuch { what, limit });
            }
            entries.push(Seen::of(&member, rules)?);
        }
        keep_link_targets(&mut entries);
        omit_idle_directories(&mut entries);
        let kept = || entries.iter().filter(|entry| entry.keep);
        let older = kept().filter(|entry| entry.kind.is_file() && entry.mtime < rules.build_start);
        let epoch = older.map(|entry| entry.mtime).max().unwrap_or(rules.fallback_epoch);
        let is_empty = kept().all(|entry| entry.kind.is_dir());
        Ok(Self {
            keep: entries.iter().map(|entry| entry.keep).collect(),
            epoch,
            is_empty,
        })
    }
}

impl Seen {
    fn of(member: &Member, rules: &Normalise) -> Result<Self, Error> {
        if path::climbs(&member.path) {
            return Err(Error::UnsafePath(String::from_utf8_lossy(&member.path).into_owned()));
        }
        let kind = member.header.entry_type();
        if kind.is_gnu_sparse() {
            return Err(Error::Sparse(String::from_utf8_lossy(&member.path).into_owned()));
        }
        let path = path::clean(&String::from_utf8_lossy(&member.path));
        // A whiteout goes the way of what it removes.
        let (parent, name) = path::split(&path);
        let subject = match name.strip_prefix(WHITEOUT) {
            Some(_) if name == OPAQUE => parent.to_owned(),
            Some(hidden) => path::join(parent, hidden),
            None => path.clone(),
        };
        let empty = kind.is_file() && member.size == 0;
        let keep = !rules.omit.iter().any(|omit| omit.matches(&subject, empty));
        let link = path::clean(&String::from_utf8_lossy(&member.link));
        Ok(Self {
            path,
            kind,
            link,
            mtime: mtime(member),
            keep,
        })
    }
}

/// A hard link that stays needs the entry that holds its content.
fn keep_link_targets(entries: &mut [Seen]) {
    let links = entries.iter().filter(|entry| entry.keep && entry.kind.is_hard_link());
    let targets: HashSet<String> = links.map(|entry| entry.link.clone()).collect();
    for entry in entries.iter_mut().filter(|entry| targets.contains(&entry.path)) {
        entry.keep = true;
    }
}

/// A directory is in the layer because something in it changed. When all of that is left out, so is the
/// directory; when nothing in it changed, the directory itself is new or different and stays.
fn omit_idle_directories(entries: &mut [Seen]) {
    let omitted = Paths::of(entries.iter().filter(|entry| !entry.keep));
    let stands_alone = |entry: &Seen| entry.keep && !(entry.kind.is_dir() && omitted.any_below(&entry.path));
    let standing = Paths::of(entries.iter().filter(|entry| stands_alone(entry)));
    let keep: Vec<bool> = entries
        .iter()
        .map(|entry| match entry.kind.is_dir() {
            true => standing.any_below(&entry.path) || stands_alone(entry),
            false => entry.keep,
        })
        .collect();
    for (entry, keep) in entries.iter_mut().zip(keep) {
        entry.keep = keep;
    }
}

/// Paths in order, so that those below a directory stand together. Sets of all directories above them would be
/// quadratic in the length of a path.
struct Paths<'a>(Vec<&'a str>);

impl<'a> Paths<'a> {
    fn of(entries: impl Iterator<Item = &'a Seen>) -> Self {
        let mut paths: Vec<&str> = entries.map(|entry| entry.path.as_str()).collect();
        paths.sort_unstable();
        Self(paths)
    }

    fn any_below(&self, directory: &str) -> bool {
        let from = if directory.is_empty() {
            String::new()
        } else {
            format!("{directory}/")
        };
        let next = self.0.partition_point(|path| *path <= from.as_str());
        self.0.get(next).is_some_and(|path| path.starts_with(&from))
    }
}
