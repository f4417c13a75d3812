//! What installed packages say of one another, from dpkg's status: an inventory has no relations, and an index need not have
//! the installed version any more. Without them an upgrade could be proposed that an installed package forbids.

use serde::{Deserialize, Serialize};

use super::Error;
use super::index::Stanza;
use crate::dpkg::MultiArch;
use crate::inventory::Installed;
use crate::layer::Files;

const STATUS: &str = "var/lib/dpkg/status";
const FRAGMENTS: &str = "var/lib/dpkg/status.d";

/// More packages than any image has.
const MAX_PACKAGES: usize = 200_000;

/// Relations of installed packages, ordered by name and architecture. Empty: nobody knows, and the indexes are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relations(Vec<Said>);

/// What one installed package says; fields are empty when they are not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    pub(super) name: String,
    pub(super) architecture: String,
    /// The version that says so.
    pub(super) version: String,
    pub(super) multi_arch: MultiArch,
    pub(super) pre_depends: String,
    pub(super) depends: String,
    pub(super) provides: String,
    pub(super) conflicts: String,
    pub(super) breaks: String,
}

impl Relations {
    /// Reads dpkg's status, or its fragments, of an image. What is malformed in it is for
    /// [`Inventory::read`](crate::Inventory::read) to tell.
    ///
    /// # Errors
    /// [`Error`] when a file cannot be reached, or there are too many packages.
    pub fn read(files: &Files) -> Result<Self, Error> {
        let lookup = |path: &str| {
            let path = path.to_owned();
            move |source| Error::Lookup { path, source }
        };
        let mut said = Vec::new();
        match files.read(STATUS).map_err(lookup(STATUS))? {
            Some(status) if !status.is_empty() => add(status, &mut said)?,
            _ => {
                for (_, fragment) in files.list(FRAGMENTS).map_err(lookup(FRAGMENTS))? {
                    add(fragment, &mut said)?;
                }
            }
        }
        said.sort_by(|one: &Said, other| key(one).cmp(&key(other)));
        Ok(Self(said))
    }

    /// These relations.
    pub(crate) fn from_said(mut said: Vec<Said>) -> Self {
        said.sort_by(|one, other| key(one).cmp(&key(other)));
        Self(said)
    }

    /// What an installed package says.
    pub(crate) fn of(&self, installed: &Installed) -> Option<&Said> {
        let of = (installed.name.as_str(), installed.architecture.as_str());
        let at = self.0.binary_search_by(|said| key(said).cmp(&of)).ok()?;
        self.0.get(at).filter(|said| said.version == installed.version.as_str())
    }
}

fn key(said: &Said) -> (&str, &str) {
    (&said.name, &said.architecture)
}

fn add(file: &[u8], all: &mut Vec<Said>) -> Result<(), Error> {
    let mut stanza = Stanza::default();
    for line in file
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii_end)
        .chain([&[][..]])
    {
        if !line.is_empty() {
            stanza.add(line);
            continue;
        }
        if !stanza.get("Version").is_empty() {
            all.push(said(&stanza));
        }
        if all.len() > MAX_PACKAGES {
            return Err(Error::too_many("packages of dpkg's status", MAX_PACKAGES as u64));
        }
        stanza.clear();
    }
    Ok(())
}

fn said(stanza: &Stanza) -> Said {
    let field = |name| stanza.get(name).to_owned();
    Said {
        name: field("Package"),
        architecture: field("Architecture"),
        version: field("Version"),
        multi_arch: stanza.get("Multi-Arch").parse().unwrap_or(MultiArch::No),
        pre_depends: field("Pre-Depends"),
        depends: field("Depends"),
        provides: field("Provides"),
        conflicts: field("Conflicts"),
        breaks: field("Breaks"),
    }
}
