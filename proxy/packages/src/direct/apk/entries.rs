//! The entries of a package: whether anybody but apk can write them, and the database tell of them, as apk would.

use std::collections::{HashMap, HashSet};

use super::super::hex;
use super::super::item::Item;
use super::super::write::ATTRIBUTE;
use super::paragraph::{MODE_OF_FOLDER, access, acl, said, summed, sums};
use super::{Installed, Paragraph};
use crate::apk::DATABASES;
use crate::layer::pax::Record;
use crate::layer::sum::Sum;
use crate::layer::tree::Leaf;
use crate::layer::{Tree, path};

impl Installed<'_> {
    /// Why the entries of a package cannot be written by anybody but apk.
    pub(super) fn entries(&self, tree: &Tree, old: &Paragraph<'_>, items: &[Item]) -> Option<String> {
        let mut seen = HashSet::new();
        let folders: HashSet<&str> = items
            .iter()
            .filter(|item| item.kind.is_dir())
            .map(|item| item.path.as_str())
            .collect();
        let sums = sums(items);
        for item in items {
            let path = item.path.as_str();
            if !seen.insert(path) {
                return Some(format!("it has /{path} twice"));
            }
            if path.starts_with('.') || path.bytes().any(|byte| byte.is_ascii_control()) {
                return Some(format!("apk would not install its {path:?}"));
            }
            if DATABASES
                .iter()
                .any(|database| path::is_below(path, path::split(database).0))
            {
                return Some("it brings a part of the package database itself".to_owned());
            }
            let trouble = strange(item).or_else(|| {
                if item.kind.is_dir() {
                    return folder(tree, old, item);
                }
                let (parent, _) = path::split(path);
                if !parent.is_empty() && !folders.contains(parent) {
                    return Some(format!("it has /{path}, and not the folder of that"));
                }
                let owner = tree.place(path).and_then(|place| self.owners.get(&place));
                if let Some(other) = owner.filter(|name| **name != old.name) {
                    return Some(format!("/{path} is a file of {other}"));
                }
                unsummed(item, &sums).or_else(|| self.link(tree, item))
            });
            if trouble.is_some() {
                return trouble;
            }
        }
        None
    }

    /// Why a link in place of configuration is apk's matter: the image has something else there.
    fn link(&self, tree: &Tree, item: &Item) -> Option<String> {
        if !item.kind.is_symlink() || !self.protection.covers(&item.path) {
            return None;
        }
        match tree.place(&item.path).and_then(|place| tree.get(&place).cloned())? {
            Leaf::Symlink(target) if target == item.link => None,
            _ => Some(format!("/{} is something else in the image", item.path)),
        }
    }
}

/// Why an entry is written by apk only: who owns it, or what else it has.
fn strange(item: &Item) -> Option<String> {
    let metadata = item.facts.metadata.as_ref()?;
    let header = &metadata.header;
    // apk goes by the names, of which only that of root means the same in every image; where there is none, by the numbers.
    let is_told = |name: Option<&[u8]>, id: Option<u64>| match name.unwrap_or_default() {
        b"" => id.is_some(),
        b"root" => id == Some(0),
        _ => false,
    };
    let in_records = |record: &Record| [&b"uid"[..], b"gid", b"uname", b"gname"].contains(&&record.key[..]);
    if !is_told(header.username_bytes(), header.uid().ok())
        || !is_told(header.groupname_bytes(), header.gid().ok())
        || metadata.records.iter().any(in_records)
    {
        return Some(format!(
            "its /{} belongs to a user or group that only the image's names tell",
            item.path
        ));
    }
    let has_attributes = metadata.records.iter().any(|record| record.key.starts_with(ATTRIBUTE));
    has_attributes.then(|| format!("its /{} has extended attributes", item.path))
}

/// Why a folder would become another: apk changes those that a package has changed.
fn folder(tree: &Tree, old: &Paragraph<'_>, item: &Item) -> Option<String> {
    let new = access(item);
    if old.folders.get(&item.path).is_some_and(|old| *old == new) {
        return None;
    }
    let there = tree.resolve(&item.path).and_then(|place| tree.get(&place).cloned());
    let there = match there {
        None => return None,
        Some(Leaf::Directory(Some(metadata))) => {
            let header = &metadata.header;
            acl(header, MODE_OF_FOLDER)
        }
        Some(_) => String::new(),
    };
    (there != new).then(|| format!("the image has the folder /{} with another owner or mode", item.path))
}

/// Why the sum of an entry is not what its package says.
fn unsummed(item: &Item, sums: &HashMap<&str, Sum>) -> Option<String> {
    if item.kind.is_hard_link() {
        return (!sums.contains_key(item.link.as_str()))
            .then(|| format!("its /{} shares a file that it does not have", item.path));
    }
    // apk does without that of a symbolic link.
    let sum = summed(item, sums)?;
    let is_it = said(item).is_some_and(|said| said == hex(&sum).as_bytes());
    (!is_it).then(|| format!("it does not say the sum of its /{}", item.path))
}
