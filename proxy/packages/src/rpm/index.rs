//! What a repository offers: its packages and advisories in a compact form that is searched by name. Texts stand in one
//! string, each once, so an index of 60,000 packages takes about as much memory as its download.

use std::collections::HashMap;
use std::io::BufRead;

use crate::rpm::metadata::{self, Advisory, Checksum, Wrong};
use crate::rpm::obsoletes::{Comparison, covers};
use crate::rpm::pattern::Patterns;
use crate::rpm::{Configuration, Repository};
use crate::version::{Family, Version};

/// As much as one index may hold.
const MAX_TEXTS: usize = 512 * 1024 * 1024;
const MAX_ENTRIES: usize = 2_000_000;

/// The packages and advisories of a repository.
#[derive(Clone, Debug, Default)]
pub struct Index {
    texts: String,
    /// Ordered by name.
    packages: Vec<Entry>,
    /// Those of a package stand together.
    obsoletes: Vec<Obsoletes>,
    advisories: Vec<Advisory>,
    /// Ordered by name.
    fixes: Vec<Fix>,
    advised: bool,
    skipped: usize,
}

/// A place in the texts, or in another list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u32,
    length: u32,
}

#[derive(Clone, Debug)]
struct Entry {
    name: Span,
    architecture: Span,
    version: Span,
    path: Span,
    source_rpm: Span,
    size: u64,
    checksum: Option<Checksum>,
    /// Which of the index's [`Obsoletes`] are its own.
    obsoletes: Span,
}

/// What a package takes the place of.
#[derive(Clone, Copy, Debug)]
struct Obsoletes {
    name: Span,
    version: Option<Span>,
    comparison: Comparison,
}

/// A package in an advisory.
#[derive(Clone, Copy, Debug)]
struct Fix {
    name: Span,
    architecture: Span,
    version: Span,
    advisory: u32,
}

/// A package that a repository offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its architecture.
    pub architecture: &'a str,
    /// Its version.
    pub version: Version,
    /// Where it is: below the repository's base URL, as the repository says; any text.
    pub path: &'a str,
    /// The size of the file in bytes.
    pub size: u64,
    /// The checksum of the file; nothing when the repository has none that proves something.
    pub checksum: Option<&'a Checksum>,
    /// The file name of the source package; empty when the repository does not tell. Any text.
    pub source_rpm: &'a str,
    obsoletes: Span,
}

/// Which packages of a repository are to be seen.
#[derive(Clone, Debug, Default)]
pub struct Visible {
    excludes: Patterns,
    includes: Vec<Patterns>,
    modules: bool,
}

impl Visible {
    /// What an image's configuration lets be seen of a repository. Packages of modules are not seen: which of them an image may
    /// take, the package lists do not tell. A repository of hotfixes for modules is seen whole.
    #[must_use]
    pub fn new(configuration: &Configuration, repository: Option<&Repository>) -> Self {
        let own = |list: fn(&Repository) -> &Vec<String>| repository.map(list).cloned().unwrap_or_default();
        let excludes = configuration.excludes.iter().cloned();
        let includes = [configuration.includes.clone(), own(|repository| &repository.includes)];
        let includes = includes.into_iter().filter(|list| !list.is_empty());
        Self {
            excludes: Patterns::new(excludes.chain(own(|repository| &repository.excludes))),
            includes: includes.map(Patterns::new).collect(),
            modules: repository.is_some_and(|repository| repository.module_hotfixes),
        }
    }

    /// Whether a package is to be seen.
    #[must_use]
    pub fn shows(&self, package: &Available<'_>) -> bool {
        (self.modules || !is_modular(&package.version)) && self.shows_any(package)
    }

    /// Whether it is to be seen, were it not for modules.
    pub(crate) fn shows_any(&self, package: &Available<'_>) -> bool {
        let is_of = |patterns: &Patterns| patterns.matches(package.name, package.architecture, &package.version);
        !is_of(&self.excludes) && (self.includes.is_empty() || self.includes.iter().any(is_of))
    }
}

/// Whether a package was built for a module: its release says so.
pub(crate) fn is_modular(version: &Version) -> bool {
    let release = version.release().unwrap_or_default();
    release.contains("module+") || release.contains("module_")
}

impl Index {
    /// Reads a package list, already decompressed. `file` names it in errors.
    ///
    /// # Errors
    /// [`metadata::Error`] when it is malformed, or larger than an index may be.
    pub fn read(file: &str, primary: impl BufRead) -> Result<Self, metadata::Error> {
        let (mut texts, mut packages, mut obsoletes, mut skipped) = (Texts::default(), Vec::new(), Vec::new(), 0);
        metadata::read_primary(file, primary, |listed| {
            let Some(listed) = listed else {
                skipped += 1;
                return Ok(());
            };
            let first = obsoletes.len();
            for one in &listed.obsoletes {
                let version = one.version.as_ref().map(|version| texts.shared(version.as_str()));
                obsoletes.push(Obsoletes {
                    name: texts.shared(&one.name)?,
                    version: version.transpose()?,
                    comparison: one.comparison,
                });
            }
            packages.push(Entry {
                obsoletes: Span::between(first, obsoletes.len())?,
                name: texts.shared(&listed.name)?,
                architecture: texts.shared(&listed.architecture)?,
                version: texts.shared(listed.version.as_str())?,
                path: texts.own(&listed.path)?,
                source_rpm: texts.shared(&listed.source_rpm)?,
                size: listed.size,
                checksum: listed.checksum,
            });
            fits(packages.len().max(obsoletes.len()))
        })?;
        let mut index = Self {
            texts: texts.all,
            packages,
            obsoletes,
            skipped,
            ..Self::default()
        };
        let texts = &index.texts;
        index.packages.sort_by_key(|entry| entry.name.of(texts));
        index.packages.shrink_to_fit();
        index.obsoletes.shrink_to_fit();
        Ok(index)
    }

    /// Adds advisories, already decompressed. `file` names them in errors.
    ///
    /// # Errors
    /// As [`Index::read`].
    pub fn add_advisories(&mut self, file: &str, updateinfo: impl BufRead) -> Result<(), metadata::Error> {
        let mut texts = Texts {
            all: std::mem::take(&mut self.texts),
            known: HashMap::new(),
        };
        let (advisories, fixes) = (&mut self.advisories, &mut self.fixes);
        let result = metadata::read_updateinfo(file, updateinfo, |advisory, packages| {
            let number = u32::try_from(advisories.len()).map_err(|_| Wrong::Text("too many advisories"))?;
            for package in packages {
                fixes.push(Fix {
                    name: texts.shared(&package.name)?,
                    architecture: texts.shared(&package.architecture)?,
                    version: texts.shared(package.version.as_str())?,
                    advisory: number,
                });
            }
            advisories.push(advisory);
            fits(fixes.len().max(advisories.len()))
        });
        self.texts = texts.all;
        self.advised = true;
        let texts = &self.texts;
        self.fixes.sort_by_key(|fix| fix.name.of(texts));
        result
    }

    /// How many packages there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packages.len()
    }

    /// Whether there are no packages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty()
    }

    /// How many packages were left out, because their name, architecture, version or path cannot be.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Whether the repository has advisories at all, so that a package without one is known to be no matter of security.
    #[must_use]
    pub fn is_advised(&self) -> bool {
        self.advised
    }

    /// All packages of a name.
    pub fn of<'a>(&'a self, name: &str) -> impl Iterator<Item = Available<'a>> {
        let found = range(&self.packages, name, |entry| entry.name.of(&self.texts));
        found.iter().filter_map(|entry| self.available(entry))
    }

    /// The newest package of a name that can replace one of an architecture and is to be seen.
    #[must_use]
    pub fn candidate(&self, name: &str, architecture: &str, visible: &Visible) -> Option<Available<'_>> {
        let fitting = self
            .of(name)
            .filter(|package| replaces(package.architecture, architecture));
        fitting
            .filter(|package| visible.shows(package))
            .max_by(|one, other| one.version.cmp(&other.version))
    }

    /// The advisories that bring a version of a package, with that version.
    pub fn advisories<'a>(&'a self, name: &str, architecture: &str) -> impl Iterator<Item = (&'a Advisory, Version)> {
        let found = range(&self.fixes, name, |fix| fix.name.of(&self.texts));
        found.iter().filter_map(move |fix| {
            let fits = fix.architecture.of(&self.texts) == architecture;
            let advisory = self
                .advisories
                .get(usize::try_from(fix.advisory).ok()?)
                .filter(|_| fits)?;
            Some((advisory, self.version(fix.version)?))
        })
    }

    /// Whether a package takes the place of an installed one of another name, which would be removed for it.
    #[must_use]
    pub fn obsoletes(&self, package: &Available<'_>, name: &str, version: &Version) -> bool {
        let own = self.obsoletes.get(package.obsoletes.range()).unwrap_or_default();
        own.iter()
            .filter(|one| one.name.of(&self.texts) == name)
            .any(|one| match one.version {
                Some(span) => self
                    .version(span)
                    .is_some_and(|than| covers(one.comparison, Some(&than), version)),
                None => covers(one.comparison, None, version),
            })
    }

    fn available<'a>(&'a self, entry: &'a Entry) -> Option<Available<'a>> {
        Some(Available {
            name: entry.name.of(&self.texts),
            architecture: entry.architecture.of(&self.texts),
            version: self.version(entry.version)?,
            path: entry.path.of(&self.texts),
            size: entry.size,
            checksum: entry.checksum.as_ref(),
            source_rpm: entry.source_rpm.of(&self.texts),
            obsoletes: entry.obsoletes,
        })
    }

    /// A version, which was one when it was taken in.
    fn version(&self, span: Span) -> Option<Version> {
        Version::parse(Family::Rpm, span.of(&self.texts)).ok()
    }
}

/// The architecture of a package that runs on all.
pub(crate) const NO_ARCHITECTURE: &str = "noarch";

/// Whether a package of an architecture can take the place of one of another: only `noarch` goes with all.
pub(crate) fn replaces(new: &str, old: &str) -> bool {
    new == old || [new, old].contains(&NO_ARCHITECTURE)
}

fn fits(entries: usize) -> Result<(), Wrong> {
    if entries > MAX_ENTRIES {
        return Err(Wrong::Text("more than two million entries"));
    }
    Ok(())
}

/// The entries of a name in a list that is ordered by it.
fn range<'a, 'b, T>(list: &'a [T], name: &str, of: impl Fn(&T) -> &'b str) -> &'a [T] {
    let start = list.partition_point(|entry| of(entry) < name);
    let rest = list.get(start..).unwrap_or_default();
    let length = rest.partition_point(|entry| of(entry) == name);
    rest.get(..length).unwrap_or_default()
}

impl Span {
    fn between(start: usize, end: usize) -> Result<Self, Wrong> {
        let number =
            |number: usize| u32::try_from(number).map_err(|_| Wrong::Text("more entries than an index may have"));
        Ok(Self {
            start: number(start)?,
            length: number(end.saturating_sub(start))?,
        })
    }

    fn range(self) -> std::ops::Range<usize> {
        let start = usize::try_from(self.start).unwrap_or(usize::MAX);
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        start..start.saturating_add(length)
    }

    fn of(self, texts: &str) -> &str {
        texts.get(self.range()).unwrap_or_default()
    }
}

/// Texts while they come in.
#[derive(Default)]
struct Texts {
    all: String,
    known: HashMap<Box<str>, Span>,
}

impl Texts {
    /// A text that others may have too.
    fn shared(&mut self, text: &str) -> Result<Span, Wrong> {
        if let Some(span) = self.known.get(text) {
            return Ok(*span);
        }
        let span = self.own(text)?;
        self.known.insert(text.into(), span);
        Ok(span)
    }

    fn own(&mut self, text: &str) -> Result<Span, Wrong> {
        const TOO_LARGE: Wrong = Wrong::Text("it is larger than an index may be");
        if self.all.len().saturating_add(text.len()) > MAX_TEXTS {
            return Err(TOO_LARGE);
        }
        let start = u32::try_from(self.all.len()).map_err(|_| TOO_LARGE)?;
        let length = u32::try_from(text.len()).map_err(|_| TOO_LARGE)?;
        self.all.push_str(text);
        Ok(Span { start, length })
    }
}
