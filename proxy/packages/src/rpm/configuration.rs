//! How an image is set up to get packages: `dnf.conf`, the repositories of dnf, yum and zypper, their variables, and what
//! must stay at its version (dnf.conf(5), zypper(8)). What an option is worth is decided as dnf decides it.
//! Passwords and client keys are not read: what is kept here may be stored and shown.

use serde::{Deserialize, Serialize};

use crate::inventory::{Held, Installed};
use crate::layer::{self, Files};
use crate::os_release::OsRelease;
use crate::rpm::pattern::{MAX_LENGTH, Patterns};

mod ini;
mod locks;
mod repository;
mod variables;

pub use ini::Error as IniError;
pub use repository::Repository;
pub use variables::Variables;

use ini::{Section, list};

/// The files that [`Configuration::read`] looks at.
pub const CONFIGURATION_FILES: [&str; 5] = [MAIN[0], MAIN[1], locks::DNF, locks::YUM, locks::ZYPPER];

/// The directories whose files it looks at.
pub const CONFIGURATION_DIRECTORIES: [&str; 7] = [
    REPOSITORIES[0],
    REPOSITORIES[1],
    REPOSITORIES[2],
    ZYPPER_REPOSITORIES,
    variables::DIRECTORIES[0],
    variables::DIRECTORIES[1],
    variables::DIRECTORIES[2],
];

const MAIN: [&str; 2] = ["etc/dnf/dnf.conf", "etc/yum.conf"];
const REPOSITORIES: [&str; 3] = ["etc/yum.repos.d", "etc/yum/repos.d", "etc/distro.repos.d"];
const ZYPPER_REPOSITORIES: &str = "etc/zypp/repos.d";

/// The most repositories, and the most patterns of any list, that are taken.
const MAX_REPOSITORIES: usize = 1_000;
const MAX_PATTERNS: usize = 1_000;

/// How an image gets packages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The repositories, also those that are not enabled, in the order in which dnf reads them. Identifiers are unique.
    pub repositories: Vec<Repository>,
    /// Packages that are not to be seen in any repository: names with `*` and `?`, perhaps with version and architecture.
    pub excludes: Vec<String>,
    /// When not empty: the only packages that are to be seen in any repository.
    pub includes: Vec<String>,
    /// Packages that must stay at their version.
    pub locks: Vec<Lock>,
}

/// A package that must stay at its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Its name, perhaps with `*` and `?`, perhaps followed by version and architecture.
    pub package: String,
    /// The file that says so.
    pub file: String,
}

/// Why the configuration cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be reached.
    #[error("cannot look up {path} in the image")]
    Lookup {
        /// The path.
        path: String,
        /// Why not.
        #[source]
        source: layer::Error,
    },
    /// A file is malformed.
    #[error("{file} cannot be read")]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong with it.
        #[source]
        source: IniError,
    },
    /// More than is taken.
    #[error("{file}: more than {limit} {what}")]
    TooMany {
        /// The file where there were too many.
        file: String,
        /// What is counted, in the plural.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The repositories are not where they are looked for.
    #[error("{file}: the repositories are in {value:?}, which is not looked at")]
    Elsewhere {
        /// The file that says so.
        file: String,
        /// Where they are.
        value: String,
    },
    /// A pattern that is longer than any package's name.
    #[error("{file}: a pattern is longer than {MAX_LENGTH} bytes")]
    Pattern {
        /// The file.
        file: String,
    },
    /// A lock that cannot be understood; nobody knows what it holds.
    #[error("{file}:{line}: a lock that is not understood here")]
    Lock {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
    },
}

impl Configuration {
    /// Reads the configuration of an image whose layers were read for [`CONFIGURATION_FILES`] and
    /// [`CONFIGURATION_DIRECTORIES`]. `release` is what its packages tell (see [`release`](crate::rpm::release())); without it
    /// os-release decides, which is wrong for distributions that pin their repositories. `architecture` is rpm's word for the machine, such as `x86_64` or `aarch64`.
    ///
    /// # Errors
    /// [`Error`] when a file cannot be reached, is malformed, or refers to what is not read.
    pub fn read(files: &Files, os: &OsRelease, release: Option<&str>, architecture: &str) -> Result<Self, Error> {
        let variables = Variables::read(files, os, release, architecture)?;
        let mut found = Self::default();
        let mut main = Section::default();
        for path in MAIN {
            let Some(bytes) = file(files, path)? else { continue };
            let mut sections = ini::parse(bytes).map_err(|source| malformed(path, source))?;
            if let Some(at) = sections.iter().position(|section| section.name == "main") {
                main = sections.remove(at);
                main.file = path.to_owned();
            }
            found.add_main(&main, &variables)?;
            found.add_repositories(path, sections, &main, &variables)?;
            // The second is the first one's older name.
            break;
        }
        for (directory, zypper) in REPOSITORIES
            .map(|path| (path, false))
            .into_iter()
            .chain([(ZYPPER_REPOSITORIES, true)])
        {
            let defaults = if zypper { Section::of_zypper() } else { main.clone() };
            for (path, bytes) in list_files(files, directory)? {
                if path.ends_with(".repo") {
                    let sections = ini::parse(bytes).map_err(|source| malformed(&path, source))?;
                    found.add_repositories(&path, sections, &defaults, &variables)?;
                }
            }
        }
        found.locks = locks::read(files)?;
        Ok(found)
    }

    /// The same with the repositories of a text like that of a `.repo` file, which the operator has written; `name` stands for it in errors.
    ///
    /// # Errors
    /// [`Error`] when the text is malformed.
    pub fn with(mut self, name: &str, text: &str, os: &OsRelease, architecture: &str) -> Result<Self, Error> {
        let variables = Variables::read(&Files::default(), os, None, architecture)?;
        let sections = ini::parse(text.as_bytes()).map_err(|source| malformed(name, source))?;
        self.add_repositories(name, sections, &Section::default(), &variables)?;
        Ok(self)
    }

    /// Those of the installed packages that are locked.
    #[must_use]
    pub fn held(&self, installed: &[Installed]) -> Vec<Held> {
        let names = self.locks.iter().flat_map(|lock| locks::patterns(&lock.package));
        let patterns = Patterns::new(names);
        let held = installed
            .iter()
            .filter(|package| patterns.matches(&package.name, &package.architecture, &package.version));
        held.map(|package| Held {
            name: package.name.clone(),
            architecture: package.architecture.clone(),
        })
        .collect()
    }

    /// The enabled repositories.
    pub fn enabled(&self) -> impl Iterator<Item = &Repository> {
        self.repositories.iter().filter(|repository| repository.enabled)
    }

    fn add_main(&mut self, main: &Section, variables: &Variables) -> Result<(), Error> {
        if let Some(value) = main.value("reposdir") {
            let known = |path: &String| REPOSITORIES.contains(&layer_path(path).as_str());
            if !list(&variables.substitute(value)).iter().all(known) {
                return Err(Error::Elsewhere {
                    file: main.file.clone(),
                    value: value.chars().take(100).collect(),
                });
            }
        }
        self.excludes = repository::patterns(main, &["exclude", "excludepkgs"], variables)?;
        self.includes = repository::patterns(main, &["includepkgs"], variables)?;
        Ok(())
    }

    fn add_repositories(
        &mut self,
        path: &str,
        sections: Vec<Section>,
        main: &Section,
        variables: &Variables,
    ) -> Result<(), Error> {
        for mut section in sections.into_iter().filter(|section| section.name != "main") {
            path.clone_into(&mut section.file);
            let repository = Repository::of(&section, main, variables)?;
            // Of those with one identifier, dnf takes the first.
            if self.repositories.iter().all(|known| known.id != repository.id) {
                self.repositories.push(repository);
            }
            if self.repositories.len() > MAX_REPOSITORIES {
                return Err(too_many(path, "repositories", MAX_REPOSITORIES));
            }
        }
        Ok(())
    }
}

fn layer_path(path: &str) -> String {
    path.trim_matches('/').to_owned()
}

fn file<'a>(files: &'a Files, path: &str) -> Result<Option<&'a [u8]>, Error> {
    files.read(path).map_err(|source| Error::Lookup {
        path: path.to_owned(),
        source,
    })
}

fn list_files<'a>(files: &'a Files, directory: &str) -> Result<Vec<(String, &'a [u8])>, Error> {
    files.list(directory).map_err(|source| Error::Lookup {
        path: directory.to_owned(),
        source,
    })
}

fn malformed(file: &str, source: IniError) -> Error {
    Error::Malformed {
        file: file.to_owned(),
        source,
    }
}

fn too_many(file: &str, what: &'static str, limit: usize) -> Error {
    Error::TooMany {
        file: file.to_owned(),
        what,
        limit,
    }
}

/// Fails when one of the patterns is longer than any that means something.
fn refuse_long(file: &str, patterns: &[String]) -> Result<(), Error> {
    if patterns.iter().any(|pattern| pattern.len() > MAX_LENGTH) {
        return Err(Error::Pattern { file: file.to_owned() });
    }
    Ok(())
}
