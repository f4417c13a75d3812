//! Packages of programming languages in an image, from what their package managers leave beside the code.
//! They are told and never patched, so a file that is broken is a note that names it, and never an error.

use serde::{Deserialize, Serialize};

use crate::layer::{Files, Pattern};

mod dotnet;
mod go;
mod node;
mod python;

/// Packages that are told of one image.
const MAX_PACKAGES: usize = 200_000;

/// Notes about files that are broken.
const MAX_NOTES: usize = 50;

/// The longest name or version in bytes; npm's limit for names is 214.
const MAX_WORD: usize = 512;

/// One package that an image has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Package {
    /// Whose package it is.
    pub ecosystem: Ecosystem,
    /// Its name as it was written. Of Go the path of the module, or `stdlib` for what comes with Go itself.
    pub name: String,
    /// Its version as it was written, but for Go's own, which is without the `go`.
    pub version: String,
    /// The file that tells of it, relative to the root.
    pub path: String,
}

/// Where packages of a language come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    /// Python's.
    Pypi,
    /// JavaScript's.
    Npm,
    /// Go's modules.
    Golang,
    /// .NET's.
    Nuget,
}

impl Ecosystem {
    /// Its name, which is also its type in a package URL: `pypi`, `npm`, `golang` or `nuget`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pypi => "pypi",
            Self::Npm => "npm",
            Self::Golang => "golang",
            Self::Nuget => "nuget",
        }
    }
}

/// What one file tells: packages by name and version, in its order.
type Told = Vec<(String, String)>;

/// Why a file tells nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Broken {
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("its {0} is not a word of at most {MAX_WORD} bytes")]
    Word(&'static str),
    #[error("it is not the JSON that it should be")]
    Json,
}

/// All packages that the files matched by patterns tell of, ordered, each once, and notes for people about what is broken or
/// missing. `files` must have been read for [`Wanted::with`](crate::layer::Wanted::with) patterns.
#[must_use]
pub fn read(files: &Files) -> (Vec<Package>, Vec<String>) {
    let (mut packages, mut notes) = (Vec::new(), Vec::new());
    let mut broken = 0;
    for (path, pattern, bytes) in files.loose() {
        let (ecosystem, told) = match pattern {
            Pattern::Python => (Ecosystem::Pypi, python::read(bytes)),
            Pattern::Node => (Ecosystem::Npm, node::read(bytes)),
            Pattern::Dotnet => (Ecosystem::Nuget, dotnet::read(bytes)),
            Pattern::Go => (Ecosystem::Golang, go::read(bytes)),
        };
        match told {
            Ok(told) => packages.extend(told.into_iter().map(|(name, version)| Package {
                ecosystem,
                name,
                version,
                path: path.to_owned(),
            })),
            Err(reason) => {
                broken += 1;
                if broken <= MAX_NOTES {
                    notes.push(format!("{path} tells of no package: {reason}"));
                }
            }
        }
        if packages.len() > MAX_PACKAGES {
            packages.truncate(MAX_PACKAGES);
            notes.push(format!(
                "there are more than {MAX_PACKAGES} packages of programming languages"
            ));
            break;
        }
    }
    if broken > MAX_NOTES {
        notes.push(format!("{} more files tell of no package", broken - MAX_NOTES));
    }
    packages.sort_unstable();
    packages.dedup();
    (packages, notes)
}

/// A name or version: something without white space and control characters.
fn word(what: &'static str, text: &str) -> Result<String, Broken> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Broken::Missing(what));
    }
    let is_word = text.len() <= MAX_WORD && !text.chars().any(|char| char.is_whitespace() || char.is_control());
    is_word.then(|| text.to_owned()).ok_or(Broken::Word(what))
}
