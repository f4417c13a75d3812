//! What becomes of each entry of a package: written, or left out because the image has it already, keeps its own, or has dropped it.
//! Nothing is written here. Paths are those that the image really has: links above a file are followed inside the root.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use tar::EntryType;

use super::fragment::Fragment;
use super::item::{Item, is_file};
use super::{Rules, Sums, hex};
use crate::deb::Control;
use crate::layer::Tree;
use crate::layer::path;
use crate::layer::tree::{FileFacts, Leaf, Metadata};

/// Folders that images drop to be small: what an image lacks there stays away.
const SPARE: [&str; 10] = [
    "usr/lib/.build-id",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/info",
    "usr/share/licenses",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/common-licenses",
];
/// How long a chain of new links may be.
const MAX_CHAIN: usize = 8;

/// What becomes of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is written to this place.
    Write(String),
    /// It is left out.
    Skip,
}

/// A package with what becomes of its entries.
pub(super) struct Examined<'a> {
    /// Its place in the database.
    pub(super) fragment: &'a Fragment,
    /// The entries of its tar, in order.
    pub(super) items: Vec<Item>,
    /// What becomes of each.
    pub(super) decisions: Vec<Decision>,
    /// Folders that the image has not, by their place, and the number of their entry.
    pub(super) folders: BTreeMap<String, usize>,
    /// The places of everything that it brings but folders, written or not.
    pub(super) shipped: BTreeSet<String>,
    /// Files that are made for it, besides those of the database.
    pub(super) extra: Vec<(String, Vec<u8>)>,
    /// What people may want to know.
    pub(super) notes: Vec<String>,
    /// The time of its newest file, in seconds since 1970.
    pub(super) newest: u64,
    stanza: Vec<u8>,
    sums: Sums,
}

impl Examined<'_> {
    /// Places that are written.
    pub(super) fn written(&self) -> impl Iterator<Item = &String> {
        self.decisions.iter().filter_map(|decision| match decision {
            Decision::Write(place) => Some(place),
            Decision::Skip => None,
        })
    }

    /// Has in the tree what is written.
    pub(super) fn settle(&self, tree: &mut Tree) {
        for (item, decision) in self.items.iter().zip(&self.decisions) {
            let Decision::Write(place) = decision else { continue };
            let leaf = match item.kind {
                EntryType::Symlink => Leaf::Symlink(item.link.clone()),
                _ => Leaf::File(item.facts.clone()),
            };
            tree.put(place.clone(), leaf);
        }
    }

    /// The files of the database, with their paths: the stanza, and the sums if there were any.
    pub(super) fn database(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = vec![(self.fragment.path.clone(), self.stanza.clone())];
        if self.fragment.sums.is_some() {
            let lines = self.sums.iter().map(|(path, sum)| format!("{}  {path}\n", hex(sum)));
            files.push((self.fragment.sums_path(), lines.collect::<String>().into_bytes()));
        }
        files
    }
}

/// Decides about every entry of a package, or says why it cannot be taken.
pub(super) fn examine<'a>(
    tree: &Tree,
    fragments: &'a [Fragment],
    name: &str,
    architecture: &str,
    rules: &Rules<'_>,
    items: Vec<Item>,
) -> Result<Examined<'a>, String> {
    let control = rules.control;
    let fragment = its_own(fragments, name, architecture)?;
    if let Some(trouble) = items.iter().find_map(|item| item.trouble) {
        return Err(trouble.to_owned());
    }
    let mut judge = Judge::new(tree, fragment, rules, &items);
    judge.folders(&items)?;
    judge.files(&items)?;
    judge.symlinks(&items)?;
    judge.hard_links(&items)?;
    let Judge {
        decisions,
        folders,
        shipped,
        notes,
        ..
    } = judge;
    let (sums, conffiles) = sums(tree, control, &items, &decisions);
    let files = items.iter().filter(|item| is_file(item.kind));
    Ok(Examined {
        stanza: fragment.updated(&control.stanza, &conffiles),
        newest: files.map(|item| item.mtime).max().unwrap_or(0),
        fragment,
        items,
        decisions,
        folders,
        shipped,
        extra: Vec::new(),
        notes,
        sums,
    })
}

/// The entry of a package, which no other shares.
fn its_own<'a>(fragments: &'a [Fragment], name: &str, architecture: &str) -> Result<&'a Fragment, String> {
    let is_it = |fragment: &&Fragment| fragment.name == name && fragment.architecture == architecture;
    let mut found = fragments.iter().filter(is_it);
    match (found.next(), found.next()) {
        (Some(fragment), None) if fragment.is_shared => Err(format!("/{} holds other packages, too", fragment.path)),
        (Some(fragment), None) => Ok(fragment),
        _ => Err("the image's package database does not have it exactly once".to_owned()),
    }
}

/// The sums of the files that are there afterwards, and those of the conffiles as the package brings them.
fn sums(tree: &Tree, control: &Control, items: &[Item], decisions: &[Decision]) -> (Sums, Sums) {
    let (mut sums, mut conffiles) = (Sums::new(), Sums::new());
    let own: HashSet<&str> = control.conffiles.iter().map(String::as_str).collect();
    let known: BTreeMap<&str, _> = items.iter().map(|item| (item.path.as_str(), item.facts.sum)).collect();
    for (item, decision) in items.iter().zip(decisions) {
        let link = || {
            let shared = known.get(item.link.as_str()).copied().flatten();
            shared.filter(|_| item.kind.is_hard_link())
        };
        let Some(sum) = item.facts.sum.or_else(link) else {
            continue;
        };
        let is_there = || {
            let place = tree.place(&item.path);
            place.is_some_and(|place| matches!(tree.get(&place), Some(Leaf::File(_))))
        };
        if own.contains(item.path.as_str()) {
            conffiles.insert(item.path.clone(), sum);
        } else if matches!(decision, Decision::Write(_)) || is_there() {
            sums.insert(item.path.clone(), sum);
        }
    }
    (sums, conffiles)
}

/// What an image has in place of a conffile.
enum Conffile {
    /// What the new version has.
    Same,
    /// What the old version had.
    Untouched,
    /// Something else.
    Changed,
}

/// Decides entry by entry.
struct Judge<'a, 'i> {
    tree: &'a Tree,
    fragment: &'a Fragment,
    /// Folders that images drop, and this one has not.
    whole: HashSet<&'static str>,
    /// Folders whose content this image has dropped.
    emptied: HashSet<&'a str>,
    conffiles: HashSet<&'i str>,
    beside: Option<&'static str>,
    /// Files that hard links share: a layer cannot link to what only the layers below have.
    shared: HashSet<&'i str>,
    decisions: Vec<Decision>,
    written: BTreeSet<String>,
    folders: BTreeMap<String, usize>,
    shipped: BTreeSet<String>,
    notes: Vec<String>,
}

impl<'a, 'i> Judge<'a, 'i> {
    fn new(tree: &'a Tree, fragment: &'a Fragment, rules: &Rules<'i>, items: &'i [Item]) -> Self {
        let links = items.iter().filter(|item| item.kind.is_hard_link());
        let (whole, emptied) = found(tree, fragment);
        Self {
            whole,
            emptied,
            tree,
            fragment,
            conffiles: rules.control.conffiles.iter().map(String::as_str).collect(),
            beside: rules.beside,
            shared: links.map(|item| item.link.as_str()).collect(),
            decisions: vec![Decision::Skip; items.len()],
            written: BTreeSet::new(),
            folders: BTreeMap::new(),
            shipped: BTreeSet::new(),
            notes: Vec::new(),
        }
    }

    /// Folders that the image lacks are made when something is written there; those that it has stay as they are, links included.
    fn folders(&mut self, items: &[Item]) -> Result<(), String> {
        for (number, item) in items.iter().enumerate().filter(|(_, item)| item.kind.is_dir()) {
            let place = self.tree.resolve(&item.path).ok_or_else(|| loops(&item.path))?;
            if self.tree.is_directory(&place) {
                continue;
            }
            if self.tree.get(&place).is_some() {
                return Err(format!("the image has something else than a folder at /{place}"));
            }
            self.folders.insert(place, number);
        }
        Ok(())
    }

    fn files(&mut self, items: &[Item]) -> Result<(), String> {
        for (number, item) in items.iter().enumerate().filter(|(_, item)| is_file(item.kind)) {
            let place = self.place(&item.path)?;
            self.shipped.insert(place.clone());
            let is_written = match self.tree.get(&place) {
                _ if self.tree.is_directory(&place) => return Err(format!("the image has a folder at /{place}")),
                Some(leaf) if self.conffiles.contains(&*item.path) => match self.conffile(item, leaf) {
                    Conffile::Same => false,
                    Conffile::Untouched => true,
                    Conffile::Changed => {
                        if let Some(beside) = self.beside {
                            let place = format!("{place}{beside}");
                            if self.tree.is_directory(&place) {
                                return Err(format!("the image has a folder at /{place}"));
                            }
                            self.write(number, place);
                        }
                        false
                    }
                },
                Some(Leaf::File(facts)) => self.shared.contains(&*item.path) || !is_same(facts, &item.facts),
                Some(_) => true,
                None if self.conffiles.contains(&*item.path) => self.is_new_conffile(item),
                None => self.may_come(&item.path),
            };
            if is_written {
                self.write(number, place);
            }
        }
        Ok(())
    }

    /// A conffile is replaced only when it is as the old version brought it.
    fn conffile(&mut self, item: &Item, leaf: &Leaf) -> Conffile {
        let sum = match leaf {
            Leaf::File(facts) => facts.sum,
            _ => None,
        };
        if sum.is_some() && sum == item.facts.sum {
            return Conffile::Same;
        }
        let original = self.fragment.conffiles.as_ref().and_then(|known| known.get(&item.path));
        if original.is_some() && original == sum.as_ref() {
            return Conffile::Untouched;
        }
        if matches!(leaf, Leaf::File(_)) {
            self.notes.push(format!("/{} stays as the image has it", item.path));
        }
        Conffile::Changed
    }

    /// Whether a conffile that the image lacks is new with this version; else somebody has removed it.
    fn is_new_conffile(&mut self, item: &Item) -> bool {
        self.fragment
            .conffiles
            .as_ref()
            .is_some_and(|known| !known.contains_key(&item.path))
            && self.may_come(&item.path)
    }

    fn symlinks(&mut self, items: &[Item]) -> Result<(), String> {
        let links = items.iter().enumerate().filter(|(_, item)| item.kind.is_symlink());
        let mut waiting = Vec::new();
        for (number, item) in links {
            let place = self.place(&item.path)?;
            // Where the image has a folder it stays one, as dpkg has it.
            if self.tree.is_directory(&place) {
                continue;
            }
            self.shipped.insert(place.clone());
            match self.tree.get(&place) {
                Some(Leaf::Symlink(target)) if *target == item.link => {}
                Some(_) => self.write(number, place),
                None if self.may_come(&item.path) => waiting.push((number, place, item)),
                None => {}
            }
        }
        // A link that the image lacks comes with what it leads to.
        for _ in 0..MAX_CHAIN {
            let before = waiting.len();
            let mut left = Vec::new();
            for (number, place, item) in waiting {
                if self.leads_somewhere(&place, &item.link) {
                    self.write(number, place);
                } else {
                    left.push((number, place, item));
                }
            }
            waiting = left;
            if waiting.len() == before {
                break;
            }
        }
        Ok(())
    }

    fn leads_somewhere(&self, place: &str, target: &str) -> bool {
        let from = if target.starts_with('/') {
            ""
        } else {
            path::split(place).0
        };
        let Some(end) = self.tree.resolve(&format!("{from}/{target}")) else {
            return false;
        };
        self.written.contains(&end) || self.tree.get(&end).is_some() || self.tree.is_directory(&end)
    }

    fn hard_links(&mut self, items: &[Item]) -> Result<(), String> {
        let numbers: BTreeMap<&str, usize> = items
            .iter()
            .enumerate()
            .rev()
            .map(|(number, item)| (item.path.as_str(), number))
            .collect();
        for (number, item) in items.iter().enumerate().filter(|(_, item)| item.kind.is_hard_link()) {
            let place = self.place(&item.path)?;
            self.shipped.insert(place.clone());
            let target = numbers.get(item.link.as_str()).filter(|target| **target < number);
            let target = target.and_then(|target| self.decisions.get(*target));
            let is_there = self.tree.get(&place).is_some();
            match target {
                _ if self.conffiles.contains(&*item.path) || self.tree.is_directory(&place) => {
                    return Err(format!(
                        "it shares the file /{} in a way that is not known here",
                        item.path
                    ));
                }
                Some(Decision::Write(_)) if is_there || self.may_come(&item.path) => self.write(number, place),
                Some(_) if !is_there => {}
                _ => return Err(format!("/{} shares a file that the image has dropped", item.path)),
            }
        }
        Ok(())
    }

    /// Where an entry lands. What is above it must be folders.
    fn place(&self, path: &str) -> Result<String, String> {
        let place = self.tree.place(path).ok_or_else(|| loops(path))?;
        let above =
            path::ancestors(&place).find(|above| self.tree.get(above).is_some() && !self.tree.is_directory(above));
        match above {
            Some(above) => Err(format!("the image has something else than a folder at /{above}")),
            None => Ok(place),
        }
    }

    fn write(&mut self, number: usize, place: String) {
        self.written.insert(place.clone());
        if let Some(decision) = self.decisions.get_mut(number) {
            *decision = Decision::Write(place);
        }
    }

    /// Whether a file that the image lacks may come: not when the old version had it, for then it was removed, nor into a folder
    /// whose content was.
    fn may_come(&self, path: &str) -> bool {
        let spare = SPARE.iter().find(|folder| path::is_below(path, folder));
        match (&self.fragment.sums, spare) {
            (None, spare) => spare.is_none(),
            (Some(old), _) if old.contains_key(path) => false,
            (Some(_), Some(folder)) => self.whole.contains(folder),
            (Some(_), None) => !self.emptied.contains(path::split(path).0),
        }
    }
}

/// The spare folders in which the image has all that the old version brought, and the folders in which it has nothing of that.
fn found<'a>(tree: &Tree, fragment: &'a Fragment) -> (HashSet<&'static str>, HashSet<&'a str>) {
    let (mut whole, mut partial) = (HashSet::new(), HashSet::new());
    let (mut emptied, mut used) = (HashSet::new(), HashSet::new());
    for path in fragment.sums.iter().flatten().map(|(path, _)| path) {
        let place = tree.place(path);
        let is_there = place.is_some_and(|place| tree.get(&place).is_some());
        let (folder, _) = path::split(path);
        (if is_there { &mut used } else { &mut emptied }).insert(folder);
        if let Some(spare) = SPARE.iter().find(|spare| path::is_below(path, spare)) {
            (if is_there { &mut whole } else { &mut partial }).insert(*spare);
        }
    }
    whole.retain(|folder| !partial.contains(folder));
    emptied.retain(|folder| !used.contains(folder));
    (whole, emptied)
}

/// Whether a file of the image is what the package brings: content, mode, owner.
fn is_same(old: &FileFacts, new: &FileFacts) -> bool {
    let (Some(one), Some(other)) = (&old.metadata, &new.metadata) else {
        return false;
    };
    let owner = |metadata: &Metadata| {
        let header = &metadata.header;
        (
            header.mode().ok().map(|mode| mode & 0o7777),
            header.uid().ok(),
            header.gid().ok(),
        )
    };
    old.sum.is_some() && old.sum == new.sum && owner(one) == owner(other)
}

fn loops(path: &str) -> String {
    format!("/{path} leads through too many symbolic links")
}
