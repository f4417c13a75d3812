//! A Packages index, kept small: one text with what deciding about upgrades needs, ordered by package.
//! Read line by line with limits; a stanza that apt could not use is left out and counted.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io::BufRead;

use hashbrown::HashTable;

use super::Error;
use super::relation::list;
use super::release::sha256;
use crate::dpkg::MultiArch;
use crate::version::{Family, Version};

mod stanza;

pub(super) use stanza::Stanza;

/// More packages than any index has; Debian's largest has 64,000.
const MAX_PACKAGES: usize = 500_000;

/// The longest line, in bytes.
const MAX_LINE: u64 = 1024 * 1024;

/// More provided names than any index has; further ones are not known. Debian's largest has 40,000.
const MAX_PROVIDED: usize = 2_000_000;

/// What is reserved while an index is read, in bytes: more than the usual ones take, and enough for the allocator to take it
/// from the system.
const RESERVED: usize = 33 * 1024 * 1024;

/// The most memory that an index takes, in bytes.
const MAX_KEPT: usize = 256 * 1024 * 1024;

/// A compact index of packages.
#[derive(Debug, Default)]
pub struct Index {
    /// The fields of all packages, those of one in the order of [`stanza::KEPT`], each ending in a line feed.
    text: String,
    /// Ordered by name.
    packages: Vec<Package>,
    /// The first package of each name, by the name: a search in order would miss the processor's cache sixteen times.
    names: HashTable<u32>,
    hashes: RandomState,
    /// Strings that many packages share: architectures, sources, folders. One after the other, and where each ends: they
    /// are many, and small.
    shared: String,
    shared_ends: Vec<u32>,
    /// What packages provide, ordered by its name and by package.
    provided: Vec<Provided>,
    skipped: usize,
}

/// One package of the index.
#[derive(Debug)]
struct Package {
    sha256: [u8; 32],
    size: u64,
    /// Where its fields begin and end in the text.
    begin: u32,
    end: u32,
    /// Numbers of shared strings.
    architecture: u32,
    source: u32,
    folder: u32,
    /// How long its name is, which its fields begin with: names are searched for.
    name: u16,
    multi_arch: MultiArch,
    phased: u8,
}

/// That a package provides something.
#[derive(Debug)]
struct Provided {
    /// Where the name of what it provides begins in the text, and how long it is.
    begin: u32,
    length: u32,
    /// The number of the package.
    package: u32,
}

/// One version of a package in an index.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The binary package's name.
    pub name: &'a str,
    /// Its version, one that [`Version`] takes.
    pub version: &'a str,
    /// Its architecture, such as `amd64` or `all`.
    pub architecture: &'a str,
    /// The source package.
    pub source: &'a str,
    /// The source package's version.
    pub source_version: &'a str,
    /// The size of its file in bytes.
    pub size: u64,
    /// The SHA-256 of its file.
    pub sha256: [u8; 32],
    /// `Pre-Depends`; empty when there are none, as in the next fields.
    pub pre_depends: &'a str,
    /// `Depends`.
    pub depends: &'a str,
    /// `Provides`.
    pub provides: &'a str,
    /// `Conflicts`.
    pub conflicts: &'a str,
    /// `Breaks`.
    pub breaks: &'a str,
    /// `Multi-Arch`.
    pub multi_arch: MultiArch,
    /// `Phased-Update-Percentage`; 100 when there is none.
    pub phased: u8,
    folder: &'a str,
    file: &'a str,
}

impl Entry<'_> {
    /// The path of its file below the repository.
    #[must_use]
    pub fn filename(&self) -> String {
        let file = if self.file.is_empty() {
            Cow::Owned(usual_name(self.name, self.version, self.architecture))
        } else {
            Cow::Borrowed(self.file)
        };
        format!("{}{file}", self.folder)
    }

    /// Its version, to compare it.
    #[must_use]
    pub fn parsed(&self) -> Option<Version> {
        Version::parse(Family::Deb, self.version).ok()
    }
}

/// What archives call a package's file.
fn usual_name(name: &str, version: &str, architecture: &str) -> String {
    let version = version.split_once(':').map_or(version, |(_, version)| version);
    format!("{name}_{version}_{architecture}.deb")
}

impl Index {
    /// Reads an index of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Read`] when the reader fails, [`Error::TooMany`] when a limit is passed, [`Error::Syntax`] for a line that
    /// is no field.
    pub fn parse(reader: impl BufRead, limit: u64) -> Result<Self, Error> {
        let mut builder = Builder::default();
        // What is reserved costs nothing until it is used, and given back in one piece: growing would leave holes.
        builder.index.text.reserve(RESERVED);
        builder.index.packages.reserve(RESERVED / size_of::<Package>());
        let mut lines = Lines {
            reader,
            left: limit,
            limit,
        };
        let (mut line, mut number) = (Vec::new(), 0);
        let mut stanza = Stanza::default();
        while lines.next(&mut line)? {
            number += 1;
            if line.is_empty() {
                builder.add(&stanza)?;
                stanza.clear();
            } else if !stanza.add(&line) {
                return Err(Error::syntax(
                    "Packages",
                    number,
                    "neither a field nor the continuation of one",
                ));
            }
        }
        builder.add(&stanza)?;
        Ok(builder.finish())
    }

    /// How many packages it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packages.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// How many packages were left out, for they lack what apt needs.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// How much memory it takes, nearly, in bytes.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let shared = self.shared.capacity() + self.shared_ends.capacity() * size_of::<u32>();
        let provided = self.provided.capacity() * size_of::<Provided>();
        let packages = self.packages.capacity() * size_of::<Package>() + self.names.allocation_size();
        self.text.capacity() + packages + provided + shared
    }

    /// The versions of a package, of every architecture, in the order of the index.
    pub fn versions(&self, name: &str) -> impl Iterator<Item = Entry<'_>> {
        let is_it = |first: &u32| self.name_at(*first) == Some(name);
        let first = self.names.find(self.hashes.hash_one(name), is_it);
        let from = first.map_or(self.packages.len(), |first| *first as usize);
        let rest = self.packages.get(from..).unwrap_or_default().iter();
        let same = rest.take_while(move |package| self.name(package) == name);
        same.filter_map(|package| self.entry(package))
    }

    /// All packages, ordered by name.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.packages.iter().filter_map(|package| self.entry(package))
    }

    /// The names of packages that provide something of this name, in the order of the index; one that does so in several
    /// versions comes several times.
    pub(super) fn providing(&self, name: &str) -> impl Iterator<Item = &str> {
        let from = self.provided.partition_point(|provided| self.provided(provided) < name);
        let rest = self.provided.get(from..).unwrap_or_default().iter();
        let same = rest.take_while(move |provided| self.provided(provided) == name);
        same.filter_map(|provided| Some(self.name(self.packages.get(provided.package as usize)?)))
    }

    fn provided(&self, provided: &Provided) -> &str {
        let end = provided.begin.saturating_add(provided.length);
        self.text.get(provided.begin as usize..end as usize).unwrap_or_default()
    }

    fn fields(&self, package: &Package) -> &str {
        self.text
            .get(package.begin as usize..package.end as usize)
            .unwrap_or_default()
    }

    fn name(&self, package: &Package) -> &str {
        let begin = package.begin as usize;
        self.text
            .get(begin..begin + usize::from(package.name))
            .unwrap_or_default()
    }

    fn name_at(&self, number: u32) -> Option<&str> {
        Some(self.name(self.packages.get(number as usize)?))
    }

    fn shared(&self, number: u32) -> &str {
        let number = number as usize;
        let end = |number: usize| self.shared_ends.get(number).map(|end| *end as usize);
        let begin = number.checked_sub(1).map_or(Some(0), end);
        let text = begin
            .zip(end(number))
            .and_then(|(begin, end)| self.shared.get(begin..end));
        text.unwrap_or_default()
    }

    fn entry(&self, package: &Package) -> Option<Entry<'_>> {
        let mut fields = self.fields(package).split('\n');
        let [name, version, file] = [fields.next()?, fields.next()?, fields.next()?];
        let [pre_depends, depends, provides] = [fields.next()?, fields.next()?, fields.next()?];
        let [conflicts, breaks] = [fields.next()?, fields.next()?];
        let (source, source_version) = crate::dpkg::split_source(Some(self.shared(package.source)), name);
        Some(Entry {
            name,
            version,
            architecture: self.shared(package.architecture),
            source,
            source_version: source_version.unwrap_or(version),
            size: package.size,
            sha256: package.sha256,
            pre_depends,
            depends,
            provides,
            conflicts,
            breaks,
            multi_arch: package.multi_arch,
            phased: package.phased,
            folder: self.shared(package.folder),
            file,
        })
    }
}

/// Lines of limited length, without their end.
struct Lines<R> {
    reader: R,
    left: u64,
    limit: u64,
}

impl<R: BufRead> Lines<R> {
    /// Puts the next line into `line`; false at the end.
    fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, Error> {
        line.clear();
        let mut limited = std::io::Read::take(&mut self.reader, MAX_LINE + 1);
        let read = limited.read_until(b'\n', line)? as u64;
        if read > MAX_LINE {
            return Err(Error::too_many("bytes of a line of Packages", MAX_LINE));
        }
        let left = self.left.checked_sub(read);
        self.left = left.ok_or_else(|| Error::too_many("bytes of Packages", self.limit))?;
        while line.last().is_some_and(u8::is_ascii_whitespace) {
            line.pop();
        }
        Ok(read > 0)
    }
}

/// An index while its packages come in.
#[derive(Default)]
struct Builder {
    index: Index,
    numbers: HashMap<Box<str>, u32>,
    shared_bytes: usize,
}

impl Builder {
    fn add(&mut self, stanza: &Stanza) -> Result<(), Error> {
        if !stanza.begun {
            return Ok(());
        }
        let Some(package) = self.package(stanza) else {
            self.index.skipped += 1;
            return Ok(());
        };
        self.index.packages.push(package);
        if self.index.packages.len() > MAX_PACKAGES {
            return Err(Error::too_many("packages of an index", MAX_PACKAGES as u64));
        }
        let kept = self.index.text.len() + self.shared_bytes + self.index.packages.len() * size_of::<Package>();
        if kept > MAX_KEPT {
            return Err(Error::too_many("bytes kept of an index", MAX_KEPT as u64));
        }
        Ok(())
    }

    /// Takes over what is kept; nothing when the stanza lacks what apt needs.
    fn package(&mut self, stanza: &Stanza) -> Option<Package> {
        let (name, version) = (stanza.get("Package"), stanza.get("Version"));
        let architecture = stanza.get("Architecture");
        let right = crate::dpkg::is_name(name) && crate::dpkg::is_architecture(architecture);
        if !right || Version::parse(Family::Deb, version).is_err() {
            return None;
        }
        let digest = sha256(stanza.get("SHA256"))?;
        let size = stanza.get("Size").parse().ok()?;
        let (folder, file) = split_path(stanza.get("Filename"))?;
        let file = if file == usual_name(name, version, architecture) {
            ""
        } else {
            file
        };
        let begin = u32::try_from(self.index.text.len()).ok()?;
        for text in [name, version, file] {
            self.index.text.push_str(text);
            self.index.text.push('\n');
        }
        for field in ["Pre-Depends", "Depends", "Provides", "Conflicts", "Breaks"] {
            self.index.text.push_str(stanza.get(field));
            self.index.text.push('\n');
        }
        Some(Package {
            sha256: digest,
            size,
            begin,
            end: u32::try_from(self.index.text.len()).ok()?,
            architecture: self.number(architecture),
            source: self.number(stanza.get("Source")),
            folder: self.number(folder),
            name: u16::try_from(name.len()).ok()?,
            multi_arch: stanza.get("Multi-Arch").parse().unwrap_or(MultiArch::No),
            phased: stanza
                .get("Phased-Update-Percentage")
                .parse()
                .map_or(100, |percent: u8| percent.min(100)),
        })
    }

    /// The number of a string that is kept once.
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        // As many as packages at most, times three.
        let number = u32::try_from(self.index.shared_ends.len()).unwrap_or(u32::MAX);
        self.shared_bytes += 2 * text.len() + size_of::<(Box<str>, u32, u32)>();
        self.index.shared.push_str(text);
        // Less than is kept at most, which is less than fits.
        let end = u32::try_from(self.index.shared.len()).unwrap_or(u32::MAX);
        self.index.shared_ends.push(end);
        self.numbers.insert(text.into(), number);
        number
    }

    fn finish(self) -> Index {
        let mut index = self.index;
        drop(self.numbers);
        let mut packages = std::mem::take(&mut index.packages);
        // Stable: versions of a package stay in the order of the index.
        packages.sort_by(|one, other| index.name(one).cmp(index.name(other)));
        packages.shrink_to_fit();
        index.packages = packages;
        index.names = names(&index);
        index.provided = provided(&index);
        index.text.shrink_to_fit();
        index.shared.shrink_to_fit();
        index.shared_ends.shrink_to_fit();
        index
    }
}

/// The first package of each name.
fn names(index: &Index) -> HashTable<u32> {
    let hash = |number: u32| index.hashes.hash_one(index.name_at(number).unwrap_or_default());
    let (mut firsts, mut last) = (Vec::new(), None);
    for (number, package) in (0..).zip(&index.packages) {
        let name = index.name(package);
        if last != Some(name) {
            firsts.push(number);
        }
        last = Some(name);
    }
    let mut names = HashTable::with_capacity(firsts.len());
    for first in firsts {
        names.insert_unique(hash(first), first, |number| hash(*number));
    }
    names
}

/// What the packages of an index provide.
fn provided(index: &Index) -> Vec<Provided> {
    let mut all = Vec::new();
    for (number, package) in index.packages.iter().enumerate() {
        let Some(entry) = index.entry(package) else { continue };
        if all.len() >= MAX_PROVIDED {
            break;
        }
        for relation in list(entry.provides) {
            // The name is a part of the text: how far from its begin.
            let begin = (relation.name.as_ptr() as usize).checked_sub(index.text.as_ptr() as usize);
            let parts = (
                begin.map(u32::try_from),
                u32::try_from(relation.name.len()),
                u32::try_from(number),
            );
            if let (Some(Ok(begin)), Ok(length), Ok(package)) = parts {
                all.push(Provided { begin, length, package });
            }
        }
    }
    all.sort_by(|one, other| index.provided(one).cmp(index.provided(other)));
    all.shrink_to_fit();
    all
}

/// Folder with its `/` and name of a file; nothing for a path that leads out of the repository.
fn split_path(path: &str) -> Option<(&str, &str)> {
    if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return None;
    }
    Some(path.rfind('/').map_or(("", path), |at| path.split_at(at + 1)))
}
