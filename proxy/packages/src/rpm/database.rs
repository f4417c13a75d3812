//! rpm's databases: which of the three kinds a file is, and the packages in it.
//! A reader of a kind finds the header of each package; together they may not be larger than the file they come from, so
//! a file whose parts point at each other in circles, or all at one large header, is refused in linear time.

use crate::rpm::bytes::{Bytes, Order};
use crate::rpm::scripts::{Scripts, Trigger};
use crate::rpm::values::Values;
use crate::rpm::{Package, berkeley, header, ndb, sqlite};
use crate::version;

/// Where rpm's database is, in the order to look: rpm's own directory, where new distributions have moved it, and where
/// ostree keeps it. A directory has several when the image was converted; the newest kind counts.
pub const DATABASES: [&str; 9] = [
    "var/lib/rpm/rpmdb.sqlite",
    "var/lib/rpm/Packages.db",
    "var/lib/rpm/Packages",
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "usr/lib/sysimage/rpm/Packages.db",
    "usr/lib/sysimage/rpm/Packages",
    "usr/share/rpm/rpmdb.sqlite",
    "usr/share/rpm/Packages.db",
    "usr/share/rpm/Packages",
];

/// What is added to the name of a SQLite database for the file of changes that are not in it yet. When that file is there
/// and not empty, the database alone does not tell what is installed.
pub const WRITE_AHEAD: &str = "-wal";

/// The most packages that are taken; a full desktop has some 5,000.
pub(crate) const MAX_PACKAGES: usize = 100_000;

/// Why a file does not tell what is installed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None of the kinds that rpm has had.
    #[error("{file}: not a package database of a kind that is known here")]
    Kind {
        /// The file.
        file: String,
    },
    /// Not in the format that its kind has.
    #[error("{file}: the {kind} database is malformed at byte {at}: {text}")]
    Malformed {
        /// The file.
        file: String,
        /// The kind of database.
        kind: &'static str,
        /// Byte, from 0.
        at: usize,
        /// What is wrong there.
        text: &'static str,
    },
    /// More packages than are taken.
    #[error("{file}: more than {MAX_PACKAGES} packages")]
    TooMany {
        /// The file.
        file: String,
    },
    /// A package without its header, or without a part that every package has.
    #[error("{file}: package {number}: {text}")]
    Package {
        /// The file.
        file: String,
        /// Which one, from 1, in the order of the file.
        number: usize,
        /// What is wrong with it.
        text: &'static str,
    },
    /// A part of a package with a value that is not allowed.
    #[error("{file}: package {number}: the {field} is {value:?}")]
    Value {
        /// The file.
        file: String,
        /// Which one, from 1, in the order of the file.
        number: usize,
        /// The part.
        field: &'static str,
        /// The value, shortened.
        value: String,
    },
    /// A version that rpm would not build.
    #[error("{file}: package {number} has no version that rpm takes")]
    Version {
        /// The file.
        file: String,
        /// Which one, from 1, in the order of the file.
        number: usize,
        /// Why not.
        #[source]
        source: version::Error,
    },
}

/// What is wrong with a package, without where.
#[derive(Debug)]
pub(crate) enum Wrong {
    Text(&'static str),
    Value(&'static str, String),
    Version(version::Error),
}

impl Wrong {
    pub(crate) fn at(self, file: &str, number: usize) -> Error {
        let file = file.to_owned();
        match self {
            Self::Text(text) => Error::Package { file, number, text },
            Self::Value(field, value) => Error::Value {
                file,
                number,
                field,
                value: value.chars().take(100).collect(),
            },
            Self::Version(source) => Error::Version { file, number, source },
        }
    }
}

/// What is wrong with a database, without its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) at: usize,
    pub(crate) text: &'static str,
}

/// An error at a byte.
pub(crate) fn malformed<T>(at: usize, text: &'static str) -> Result<T, Malformed> {
    Err(Malformed { at, text })
}

/// Reads a database of any kind, told by its first bytes. `file` names it in errors. Keys that were imported, which rpm
/// keeps as packages named `gpg-pubkey`, are left out.
///
/// # Errors
/// [`Error`] when it is of no kind that is known here, or not what rpm writes.
pub fn read_database(file: &str, bytes: &[u8]) -> Result<Vec<Package>, Error> {
    read(file, bytes, |_, package| Ok(package))
}

/// What packages that are installed run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The package's name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Its own scripts.
    pub scripts: Scripts,
    /// What it runs when files of other packages come or go.
    pub triggers: Vec<Trigger>,
}

/// Reads what the packages of a database run, as [`read_database`] reads who they are.
///
/// # Errors
/// [`Error`] when it is of no kind that is known here, or not what rpm writes.
pub fn read_scripts(file: &str, bytes: &[u8]) -> Result<Vec<Running>, Error> {
    read(file, bytes, |header, package| {
        let header = Values::read(header)?;
        Ok(Running {
            name: package.name,
            architecture: package.architecture,
            scripts: Scripts::of(&header),
            triggers: Trigger::all(&header),
        })
    })
}

/// What `take` makes of each package of a database.
fn read<T>(file: &str, bytes: &[u8], take: impl Fn(Bytes<'_>, Package) -> Result<T, Wrong>) -> Result<Vec<T>, Error> {
    let (kind, result) = if bytes.starts_with(sqlite::MAGIC) {
        ("SQLite", sqlite::headers(bytes))
    } else if bytes.starts_with(ndb::MAGIC) {
        ("NDB", ndb::headers(bytes))
    } else if let Some(order) = berkeley::order(bytes) {
        ("Berkeley", berkeley::headers(Bytes::new(bytes, order)))
    } else {
        return Err(Error::Kind { file: file.to_owned() });
    };
    let headers = result.map_err(|Malformed { at, text }| Error::Malformed {
        file: file.to_owned(),
        kind,
        at,
        text,
    })?;
    let mut taken = Vec::new();
    for (index, bytes) in headers.iter().enumerate() {
        let header = Bytes::new(bytes, Order::Big);
        let package = header::package(header).and_then(|found| found.map(|package| take(header, package)).transpose());
        taken.extend(package.map_err(|wrong| wrong.at(file, index + 1))?);
        if taken.len() > MAX_PACKAGES {
            return Err(Error::TooMany { file: file.to_owned() });
        }
    }
    Ok(taken)
}

/// The headers found so far, and how many bytes more they may have.
pub(crate) struct Headers {
    left: usize,
    found: Vec<Vec<u8>>,
}

impl Headers {
    /// Headers of a file of so many bytes.
    pub(crate) fn of(size: usize) -> Self {
        let found = Vec::new();
        Self { left: size, found }
    }

    /// Counts the bytes of a header whose length is told at `at`, before any of them is copied.
    pub(crate) fn expect(&mut self, length: usize, at: usize) -> Result<(), Malformed> {
        match self.left.checked_sub(length) {
            Some(left) => self.left = left,
            None => return malformed(at, "the headers are larger than the file"),
        }
        Ok(())
    }

    pub(crate) fn push(&mut self, header: Vec<u8>) {
        self.found.push(header);
    }

    pub(crate) fn into_found(self) -> Vec<Vec<u8>> {
        self.found
    }
}

/// The pages of a file, each of which may be used once.
pub(crate) struct Pages<'a> {
    file: Bytes<'a>,
    size: usize,
    used: Vec<bool>,
}

impl<'a> Pages<'a> {
    /// Pages of `size` bytes, which is not zero; a part of a page at the end is none.
    pub(crate) fn new(file: Bytes<'a>, size: usize) -> Self {
        let used = vec![false; file.bytes.len().checked_div(size).unwrap_or_default()];
        Self { file, size, used }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.used.len()
    }

    /// A page by its number, from 0, with where it begins. `by` is where it is named.
    pub(crate) fn page(&mut self, number: usize, by: usize) -> Result<(Bytes<'a>, usize), Malformed> {
        match self.used.get_mut(number) {
            Some(used @ false) => *used = true,
            Some(true) => return malformed(by, "a page is used twice"),
            None => return malformed(by, "a page is beyond the end of the file"),
        }
        let start = number.saturating_mul(self.size);
        let Some(bytes) = self.file.slice(start, self.size) else {
            return malformed(by, "a page is beyond the end of the file");
        };
        Ok((Bytes::new(bytes, self.file.order), start))
    }
}
