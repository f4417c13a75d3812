//! Debian version numbers, compared as `dpkg --compare-versions` does (Debian Policy 5.6.12).
//! `debversion` compares; this wrapper keeps hostile texts and two of its deviations away from it.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest version that is taken, in bytes. `debversion` turns runs of digits into big integers, which
/// takes more than linear time; real versions are under 100 bytes.
const MAX_LENGTH: usize = 512;

/// The largest epoch that dpkg knows.
const MAX_EPOCH: u32 = i32::MAX.unsigned_abs();

/// A version: equal to another when dpkg finds them equal, so `1.0` equals `1.0-0`. Shown as it was written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    text: String,
    /// What is compared: `text` with its empty digit runs made explicit.
    canonical: debversion::Version,
}

/// Why a text is not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Over the length limit; the text is not repeated.
    #[error("version is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// Nothing where the version, or its part after `-`, should be.
    #[error("version {0:?} has an empty part")]
    Empty(String),
    /// What stands before the first colon is not a number that dpkg takes.
    #[error("version {0:?} has an epoch that is not a number up to {MAX_EPOCH}")]
    Epoch(String),
    /// A character that versions do not have.
    #[error("version {0:?} has a character that is not allowed")]
    Character(String),
}

impl Version {
    /// The version as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_LENGTH {
            return Err(Error::TooLong);
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".+:~_-".contains(&byte);
        if !text.bytes().all(allowed) {
            return Err(Error::Character(text.to_owned()));
        }
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) => (Some(parse_epoch(text, epoch)?), rest),
            None => (None, text),
        };
        let (upstream, revision) = match rest.rsplit_once('-') {
            Some((upstream, revision)) => (upstream, Some(revision)),
            None => (rest, None),
        };
        if upstream.is_empty() || revision.is_some_and(str::is_empty) {
            return Err(Error::Empty(text.to_owned()));
        }
        let canonical = debversion::Version {
            epoch,
            upstream_version: with_final_digit(upstream),
            debian_revision: revision.map(with_final_digit),
        };
        Ok(Self {
            text: text.to_owned(),
            canonical,
        })
    }
}

fn parse_epoch(text: &str, epoch: &str) -> Result<u32, Error> {
    let digits = epoch.bytes().all(|byte| byte.is_ascii_digit());
    let number = epoch.parse().ok().filter(|number| digits && *number <= MAX_EPOCH);
    number.ok_or_else(|| Error::Epoch(text.to_owned()))
}

/// Policy counts an empty run of digits as zero, so `1.a` equals `1.a0`; `debversion` 0.5 orders it before
/// zero. Only the last run can be empty, so one digit closes the gap.
fn with_final_digit(part: &str) -> String {
    let closed = part.ends_with(|last: char| last.is_ascii_digit());
    format!("{part}{}", if closed { "" } else { "0" })
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.canonical.cmp(&other.canonical)
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
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.text
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
