//! Versions of packages, each compared by the rules of its own family of package managers.
//! A version is checked when it is made, so comparing never fails; hostile texts are refused before a library sees them.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

mod apk;
mod deb;
mod pacman;
mod rpm;

/// The longest version that is taken, in bytes: libraries turn runs of digits into big integers, which takes more than
/// linear time; real versions are under 100 bytes.
const MAX_LENGTH: usize = 512;

/// Whose rules order a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// dpkg: `[epoch:]upstream[-revision]`.
    Deb,
    /// apk-tools: `upstream[_suffix][-rN]`.
    Apk,
    /// rpm: `[epoch:]version-release`.
    Rpm,
    /// pacman: `[epoch:]version[-release]`.
    Pacman,
}

impl Family {
    /// The family's name: `deb`, `apk`, `rpm` or `pacman`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Apk => "apk",
            Self::Rpm => "rpm",
            Self::Pacman => "pacman",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Deb, Self::Apk, Self::Rpm, Self::Pacman]
            .into_iter()
            .find(|family| family.as_str() == name)
    }
}

/// A version: equal to another when its family finds them equal, so Debian's `1.0` equals `1.0-0`. Shown as it was written;
/// serialised with its family, as `deb:1.0`. Versions of different families are ordered by family.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    family: Family,
    text: Box<str>,
}

/// Why a text is not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Over the length limit; the text is not repeated.
    #[error("version is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// Nothing where the version, or a part of it, should be.
    #[error("version {0:?} has an empty part")]
    Empty(String),
    /// What stands before the first colon is not a number that the package manager takes.
    #[error("version {0:?} has an epoch that is not a number up to 2147483647")]
    Epoch(String),
    /// A character that versions do not have.
    #[error("version {0:?} has a character that is not allowed")]
    Character(String),
    /// Not in the form that its family gives versions.
    #[error("version {0:?} is not of the form that its package manager takes")]
    Form(String),
    /// Serialised without a family that is known here.
    #[error("version {0:?} does not begin with a family of package managers")]
    Family(String),
}

impl Version {
    /// Checks a version of a family.
    ///
    /// # Errors
    /// [`Error`] when the family's package manager would refuse it.
    pub fn parse(family: Family, text: &str) -> Result<Self, Error> {
        if text.len() > MAX_LENGTH {
            return Err(Error::TooLong);
        }
        if text.is_empty() {
            return Err(Error::Empty(String::new()));
        }
        match family {
            Family::Deb => deb::check(text)?,
            Family::Apk => apk::check(text)?,
            Family::Rpm => rpm::check(text)?,
            Family::Pacman => pacman::check(text)?,
        }
        Ok(Self {
            family,
            text: text.into(),
        })
    }

    /// The version as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whose rules order it.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// The epoch; zero when it has none.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        match self.family {
            Family::Apk => 0,
            Family::Deb | Family::Rpm | Family::Pacman => {
                let epoch = deb::split(&self.text).0.and_then(|epoch| epoch.parse().ok());
                epoch.unwrap_or_default()
            }
        }
    }

    /// Upstream's part: without epoch and the packager's revision or release.
    #[must_use]
    pub fn upstream(&self) -> &str {
        match self.family {
            Family::Apk => self
                .text
                .rsplit_once("-r")
                .map_or(&*self.text, |(upstream, _)| upstream),
            Family::Deb | Family::Rpm | Family::Pacman => deb::split(&self.text).1,
        }
    }

    /// The packager's part, without its dash: Debian's revision, the release of others.
    #[must_use]
    pub fn release(&self) -> Option<&str> {
        match self.family {
            Family::Apk => self.text.rsplit_once("-r").map(|(_, release)| release),
            Family::Deb | Family::Rpm | Family::Pacman => deb::split(&self.text).2,
        }
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.family != other.family {
            return self.family.cmp(&other.family);
        }
        // The common case, and much the cheapest.
        if self.text == other.text {
            return Ordering::Equal;
        }
        match self.family {
            Family::Deb => deb::compare(&self.text, &other.text),
            Family::Apk => apk::compare(&self.text, &other.text),
            Family::Rpm => rpm::compare(&self.text, &other.text),
            Family::Pacman => pacman::compare(&self.text, &other.text),
        }
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl TryFrom<String> for Version {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let parts = text.split_once(':');
        let known = parts.and_then(|(family, version)| Some((Family::of(family)?, version)));
        let (family, version) = known.ok_or_else(|| Error::Family(text.clone()))?;
        Self::parse(family, version)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        format!("{}:{}", version.family.as_str(), version.text)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
