//! Images of apk: which packages may be upgraded without running apk, and its database as it is then. What apk would do with protected
//! files, folders, triggers and dependencies is done here, or the package is not taken.
//!
//! As apk-tools 2.14 and 3.0 do it: `apk_db_install_pkg` and what it calls, and `apk_db_fdb_write`.

mod entries;
mod needs;
mod paragraph;
mod protection;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read;

use flate2::read::MultiGzDecoder;
use globset::GlobMatcher;

use super::examine::Examined;
use super::fragment::Fragment;
use super::{About, Incoming, Item, Sums};
use crate::apk::{DATABASES, Head};
use crate::layer::sum::{Algorithm, Sum};
use crate::layer::tree::Leaf;
use crate::layer::{Error, Files, Tree, path};
use paragraph::{Paragraph, rendered};
use protection::{Protection, glob};

/// What new configuration files are called beside those that somebody has changed.
pub(super) const BESIDE: &str = ".apk-new";
/// Who wants to hear of which folders.
const TRIGGERS: [&str; 2] = ["lib/apk/db/triggers", "usr/lib/apk/db/triggers"];
/// The scripts of installed packages.
const SCRIPTS: [&str; 4] = [
    "lib/apk/db/scripts.tar",
    "lib/apk/db/scripts.tar.gz",
    "usr/lib/apk/db/scripts.tar",
    "usr/lib/apk/db/scripts.tar.gz",
];
/// Files that are looked into.
pub(super) const CONTENTS: [&str; 6] = [TRIGGERS[0], TRIGGERS[1], SCRIPTS[0], SCRIPTS[1], SCRIPTS[2], SCRIPTS[3]];
/// A folder whose files are looked into.
pub(super) const FOLDER: &str = protection::FOLDER;
/// Programs of the image's owner that apk runs.
const HOOKS: [&str; 2] = ["etc/apk/commit_hooks.d", "lib/apk/commit_hooks.d"];
/// The largest list of scripts, unpacked, in bytes.
const MAX_SCRIPTS: u64 = 64 << 20;
/// Folders of programs, where busybox has links.
const PROGRAMS: [&str; 4] = ["bin", "sbin", "usr/bin", "usr/sbin"];
/// Folders of which busybox hears for another reason.
const MODULES: [&str; 2] = ["lib/modules", "usr/lib/modules"];

/// More files and folders than any image's packages have.
const MAX_ENTRIES: usize = 500_000;
/// More patterns than any image has, of triggers or of what is protected.
const MAX_PATTERNS: usize = 512;

/// The database of installed packages.
pub(super) struct Installed<'a> {
    path: &'static str,
    paragraphs: Vec<Paragraph<'a>>,
    protection: Protection,
    triggers: Vec<Trigger>,
    /// The names of the scripts of installed packages.
    scripts: Vec<String>,
    /// Whose the files are that the new packages bring, by the places where they are.
    owners: HashMap<String, String>,
}

/// Who wants to hear of changes in which folders. A pattern that is malformed names all.
struct Trigger {
    package: String,
    patterns: Vec<Option<GlobMatcher>>,
}

/// Whether an image has such a database.
pub(super) fn is_there(files: &Files) -> bool {
    database(files).is_ok_and(|found| found.is_some())
}

fn database(files: &Files) -> Result<Option<(&'static str, &[u8])>, Error> {
    for path in DATABASES {
        if let Some(text) = files.read(path)?.filter(|text| !text.is_empty()) {
            return Ok(Some((path, text)));
        }
    }
    Ok(None)
}

/// Why a package cannot be taken in any image; nothing when it can.
pub(super) fn refusal(head: &Head) -> Option<String> {
    if let Some(kind) = head.scripts.first() {
        return Some(format!("its script {kind} would have to run"));
    }
    let has_trigger = head.field("triggers").is_some();
    has_trigger.then(|| "it has a trigger, and no script for it".to_owned())
}

impl<'a> Installed<'a> {
    /// Reads the database of an image, and its packages with their files; it has been read before as an inventory, so what is malformed
    /// has been told already.
    pub(super) fn read(files: &'a Files) -> Result<(Self, Vec<Fragment>), Error> {
        let (path, mut text) = database(files)?.unwrap_or((DATABASES[0], &[]));
        let (mut paragraphs, mut fragments, mut room) = (Vec::new(), Vec::new(), MAX_ENTRIES);
        while !text.is_empty() {
            let end = text.windows(2).position(|pair| pair == b"\n\n");
            let (one, rest) = end.map_or((text, &[][..]), |end| {
                let (one, rest) = text.split_at(end.saturating_add(1));
                (one, rest.get(1..).unwrap_or_default())
            });
            text = rest;
            if one.iter().all(|byte| *byte == b'\n') {
                continue;
            }
            let (own, files) = Paragraph::parse(one, room).ok_or(Error::TooMuch {
                what: "files of packages",
                limit: MAX_ENTRIES as u64,
            })?;
            room = room.saturating_sub(files.len()).saturating_sub(own.folders.len());
            let fragment = Fragment::listed(path, own.name.clone(), own.architecture.clone());
            fragments.push(fragment.with_files(files));
            paragraphs.push(own);
        }
        let installed = Self {
            path,
            paragraphs,
            protection: Protection::default(),
            triggers: Vec::new(),
            scripts: Vec::new(),
            owners: HashMap::new(),
        };
        Ok((installed, fragments))
    }

    /// Learns what in the image an upgrade to packages with these entries has to heed; fails, in words for people, where that cannot be
    /// told, or apk would run hooks of the image's own.
    pub(super) fn learn(&mut self, tree: &Tree, fragments: &[Fragment], items: &[Vec<Item>]) -> Result<(), String> {
        for folder in HOOKS {
            let place = tree.resolve(folder).unwrap_or_default();
            let mut hooks = tree.children(&place).map(|(path, _)| path::split(path).1);
            if let Some(hook) = hooks.find(|name| !place.is_empty() && !name.starts_with('.')) {
                return Err(format!("the image's /{folder}/{hook} would have to run"));
            }
        }
        self.protection = Protection::read(tree)?;
        self.triggers = self.heard(tree)?;
        self.scripts = scripts(tree)?;
        let brought = items.iter().flatten().filter_map(|item| tree.place(&item.path));
        let brought: HashSet<String> = brought.collect();
        for fragment in fragments {
            let places = fragment.sums.iter().flatten().filter_map(|(path, _)| tree.place(path));
            let shared = places.filter(|place| brought.contains(place));
            self.owners.extend(shared.map(|place| (place, fragment.name.clone())));
        }
        Ok(())
    }

    /// The triggers of installed packages.
    fn heard(&self, tree: &Tree) -> Result<Vec<Trigger>, String> {
        let mut text = String::new();
        for path in TRIGGERS {
            text.push_str(&String::from_utf8_lossy(content(tree, path)?.unwrap_or_default()));
        }
        let (mut triggers, mut patterns) = (Vec::new(), 0_usize);
        for line in text.lines() {
            let mut words = line.split(' ').filter(|word| !word.is_empty());
            let checksum = words.next().unwrap_or_default();
            // apk forgets what no package has.
            let Some(own) = self.paragraphs.iter().find(|own| own.checksum == checksum) else {
                continue;
            };
            let words = words.map(|word| word.strip_prefix('+').unwrap_or(word));
            let words: Vec<&str> = words.filter(|word| word.starts_with('/')).collect();
            patterns = patterns.saturating_add(words.len());
            if patterns > MAX_PATTERNS {
                return Err(format!("it has more than {MAX_PATTERNS} patterns of triggers"));
            }
            triggers.push(Trigger {
                package: own.name.clone(),
                patterns: words.into_iter().map(glob).collect(),
            });
        }
        Ok(triggers)
    }

    /// The files of a package that are protected.
    pub(super) fn protected(&self, items: &[Item]) -> Vec<String> {
        let files = items
            .iter()
            .filter(|item| !item.kind.is_dir() && !item.kind.is_symlink());
        files
            .map(|item| item.path.clone())
            .filter(|path| self.protection.covers(path))
            .collect()
    }

    /// What goes with a configuration file that only the old version had: a newer one that lies beside it.
    pub(super) fn beside(&self, path: &str, place: &str) -> Option<String> {
        self.protection.covers(path).then(|| format!("{place}{BESIDE}"))
    }

    /// Whether a file that only the old version had stays: somebody has changed it.
    pub(super) fn keeps(&self, tree: &Tree, path: &str, place: &str, old: &Sum) -> bool {
        let sum = match tree.get(place) {
            Some(Leaf::File(facts)) => facts.sum,
            Some(Leaf::Symlink(target)) => Some(Algorithm::Sha1.sum(target.as_bytes())),
            _ => None,
        };
        self.protection.covers(path) && sum.as_ref() != Some(old)
    }

    /// The files of an installed package that are protected, with their sums.
    pub(super) fn protected_of(&self, fragment: &Fragment) -> Sums {
        let files = fragment.sums.iter().flatten();
        let protected = files.filter(|(path, _)| self.protection.covers(path));
        protected.map(|(path, sum)| (path.clone(), *sum)).collect()
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Paragraph<'a>> {
        self.paragraphs.iter().filter(move |own| own.name == name)
    }

    /// Why a package cannot be taken in this image, whatever else is; nothing when it can.
    pub(super) fn refusal(&self, tree: &Tree, name: &str, items: &[Item]) -> Option<String> {
        let mut all = self.named(name);
        let (Some(old), None) = (all.next(), all.next()) else {
            return Some("the image's package database does not have it exactly once".to_owned());
        };
        if let Some(trouble) = old.trouble {
            return Some(trouble.to_owned());
        }
        let mark = old.hexadecimal();
        if self.scripts.iter().any(|script| script.contains(&mark)) {
            return Some("its installed version has a script".to_owned());
        }
        self.entries(tree, old, items)
    }

    /// Whose trigger would have to run for a package, and why that matters; nothing where none would.
    pub(super) fn trigger(&self, name: &str, found: &Examined<'_>, gone: &BTreeSet<String>) -> Option<String> {
        let new = found.items.iter().filter(|item| item.kind.is_dir());
        let mut folders: BTreeSet<&str> = new.map(|item| item.path.as_str()).collect();
        folders.extend(self.named(name).flat_map(|own| own.folders.keys()).map(String::as_str));
        for Trigger { package, patterns } in &self.triggers {
            let hears = |folder: &&&str| {
                let path = format!("/{folder}");
                let names = |pattern: &Option<GlobMatcher>| pattern.as_ref().is_none_or(|glob| glob.is_match(&path));
                patterns.iter().any(names)
            };
            let heard: Vec<&&str> = folders.iter().filter(hears).collect();
            let Some(first) = heard.first() else { continue };
            let in_modules = |folder: &&&str| MODULES.iter().any(|modules| path::is_below(folder, modules));
            if package != "busybox" || heard.iter().any(in_modules) {
                return Some(format!("the trigger of {package} would have to hear of /{first}"));
            }
            // It makes links for its programs where there is nothing: the image has those that it wants.
            let is_program = |place: &&String| PROGRAMS.contains(&path::split(place).0);
            if let Some(program) = gone.iter().find(is_program) {
                return Some(format!("/{program} goes, and busybox might have to take its place"));
            }
        }
        None
    }

    /// Has folders in `gone` in place of what was in them, where nothing is left in them and no package has them.
    pub(super) fn emptied<F>(
        &self,
        tree: &Tree,
        incoming: &[Incoming<F>],
        examined: &[Examined<'_>],
        gone: &mut BTreeSet<String>,
    ) {
        let is_new = |own: &&Paragraph<'_>| incoming.iter().any(|package| package.name == own.name);
        let stay = self.paragraphs.iter().filter(|own| !is_new(own));
        let mut owned: HashSet<String> = stay
            .flat_map(|own| own.folders.keys())
            .filter_map(|path| tree.resolve(path))
            .collect();
        let new = examined
            .iter()
            .flat_map(|found| &found.items)
            .filter(|item| item.kind.is_dir());
        owned.extend(new.filter_map(|item| tree.resolve(&item.path)));
        let old = self.paragraphs.iter().filter(is_new).flat_map(|own| own.folders.keys());
        let mut old: Vec<String> = old
            .filter_map(|path| tree.resolve(path))
            .filter(|place| !place.is_empty() && !owned.contains(place))
            .collect();
        // What is in a folder sorts behind it.
        old.sort_unstable_by(|one, other| other.cmp(one));
        old.dedup();
        for folder in old.into_iter().filter(|folder| tree.is_directory(folder)) {
            let inside = format!("{folder}/");
            let is_gone = |path: &str| gone.contains(path) || path::ancestors(path).any(|above| gone.contains(above));
            if tree.below(&inside).all(|(path, _)| is_gone(path)) {
                let behind = gone.range(inside.clone()..);
                let within: Vec<String> = behind.take_while(|path| path.starts_with(&inside)).cloned().collect();
                for path in within {
                    gone.remove(&path);
                }
                gone.insert(folder);
            }
        }
    }

    /// The database with these packages in the place of the older ones, with its path.
    pub(super) fn renewed<F>(&self, incoming: &[Incoming<F>], examined: &[Examined<'_>]) -> (String, Vec<u8>) {
        let mut text = Vec::new();
        for own in &self.paragraphs {
            let new = incoming
                .iter()
                .zip(examined)
                .find(|(package, _)| package.name == own.name);
            match new.and_then(|(package, found)| Some((package.about.apk()?, found))) {
                Some((head, found)) => text.extend_from_slice(rendered(head, &found.items).as_bytes()),
                None => text.extend_from_slice(own.text),
            }
            if !text.ends_with(b"\n") {
                text.push(b'\n');
            }
            text.push(b'\n');
        }
        (self.path.to_owned(), text)
    }
}

/// What is in a watched file of the image; nothing where there is none.
fn content<'a>(tree: &'a Tree, path: &str) -> Result<Option<&'a [u8]>, String> {
    let Some(leaf) = tree.place(path).and_then(|place| tree.get(&place)) else {
        return Ok(None);
    };
    let Leaf::File(facts) = leaf else {
        return Err(format!("/{path} is no file"));
    };
    let content = facts.content.as_deref();
    content.map(Some).ok_or_else(|| format!("/{path} is too large"))
}

/// The names of the scripts of installed packages.
fn scripts(tree: &Tree) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for path in SCRIPTS {
        let content = content(tree, path)?.unwrap_or_default();
        if content.is_empty() {
            continue;
        }
        let unreadable = |_| format!("/{path} cannot be read");
        let plain: Box<dyn Read + '_> = if path.ends_with(".gz") {
            Box::new(MultiGzDecoder::new(content).take(MAX_SCRIPTS))
        } else {
            Box::new(content)
        };
        for entry in tar::Archive::new(plain).entries().map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            names.push(String::from_utf8_lossy(&entry.path_bytes()).into_owned());
        }
    }
    Ok(names)
}

impl About {
    /// What a package of apk says about itself.
    fn apk(&self) -> Option<&Head> {
        match self {
            Self::Apk(head) => Some(head),
            _ => None,
        }
    }
}
