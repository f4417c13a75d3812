//! `etc/apk/world`: what somebody wants to have, and the versions that they want it in (apk-world(5)).
//! A constraint that keeps a package from an update shows here; apk itself refuses to work with a malformed one.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Error, is_word};
use crate::version::{Family, Version};

/// A word of `world`: `[!]name[@tag][operator version]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// The package, or what one provides: `so:libssl.so.3`, `cmd:sh`, `/bin/sh`.
    pub name: String,
    /// The tag of repositories that it may come from too, without `@`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Whether what fits must *not* be installed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub conflict: bool,
    /// What fits.
    pub bound: Bound,
}

/// Which versions of a package fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// Every one.
    Any,
    /// Those that compare so.
    Version(Operator, Version),
    /// The one package with this checksum (`Q1` and `Q2` with base64): it was installed from a file.
    Checksum(String),
}

/// How a version may compare with that of a constraint: `<`, `>=`, `~`, `<~` and the like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// It may be less.
    pub less: bool,
    /// It may be equal.
    pub equal: bool,
    /// It may be greater.
    pub greater: bool,
    /// It counts as equal when it only goes on where that of the constraint ends.
    pub prefix: bool,
}

/// Splits `world` into its constraints. `file` names it in errors.
///
/// # Errors
/// [`Error::Value`] and [`Error::Version`] with the line.
pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Vec<Constraint>, Error> {
    let mut constraints = Vec::new();
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        let line = String::from_utf8_lossy(line);
        for word in line.split(' ').filter(|word| !word.is_empty()) {
            constraints.push(constraint(file, number, word)?);
        }
    }
    Ok(constraints)
}

fn constraint(file: &str, line: u64, word: &str) -> Result<Constraint, Error> {
    let wrong = || Error::value(file, line, "a package to install", word);
    let (rest, conflict) = word.strip_prefix('!').map_or((word, false), |rest| (rest, true));
    let is_operator = |symbol: char| "<>=~".contains(symbol);
    let (name, bound) = rest
        .split_at_checked(rest.find(is_operator).unwrap_or(rest.len()))
        .ok_or_else(wrong)?;
    let version = bound.trim_start_matches(is_operator);
    let operator = bound.strip_suffix(version).unwrap_or_default();
    let bound = match (Operator::parse(operator), operator) {
        (_, "") => Bound::Any,
        (
            Operator {
                less: true,
                greater: true,
                equal: false,
                ..
            },
            _,
        ) => Bound::Checksum(version.to_owned()),
        (operator, _) => {
            let version = Version::parse(Family::Apk, version).map_err(|source| Error::Version {
                file: file.to_owned(),
                line,
                source,
            })?;
            Bound::Version(operator, version)
        }
    };
    let (name, tag) = name
        .split_once('@')
        .map_or((name, None), |(name, tag)| (name, Some(tag)));
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_name || tag.is_some_and(|tag| tag.is_empty() || !is_word(tag)) {
        return Err(wrong());
    }
    Ok(Constraint {
        name: name.to_owned(),
        tag: tag.map(ToOwned::to_owned),
        conflict,
        bound,
    })
}

impl Constraint {
    /// Whether the package it names may be there in a version with a checksum.
    #[must_use]
    pub fn allows(&self, version: &Version, checksum: &str) -> bool {
        let fits = match &self.bound {
            Bound::Any => true,
            Bound::Version(operator, bound) => operator.fits(version, bound),
            Bound::Checksum(only) => only == checksum,
        };
        fits != self.conflict
    }

    /// Whether it leaves a single version to the package it names.
    pub(crate) fn holds(&self) -> bool {
        let exactly = Operator {
            equal: true,
            ..Operator::default()
        };
        let bound = match &self.bound {
            Bound::Any => false,
            Bound::Version(operator, _) => *operator == exactly,
            Bound::Checksum(_) => true,
        };
        bound && !self.conflict
    }
}

impl Operator {
    fn parse(text: &str) -> Self {
        let has = |symbol| text.contains(symbol);
        Self {
            less: has('<'),
            equal: has('=') || has('~'),
            greater: has('>'),
            prefix: has('~'),
        }
    }

    fn fits(self, version: &Version, bound: &Version) -> bool {
        let order = if self.prefix {
            version.compare_with_prefix(bound)
        } else {
            version.cmp(bound)
        };
        match order {
            Ordering::Less => self.less,
            Ordering::Equal => self.equal,
            Ordering::Greater => self.greater,
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let symbols = [
            (self.less, "<"),
            (self.greater, ">"),
            (self.prefix, "~"),
            (self.equal && !self.prefix, "="),
        ];
        symbols
            .iter()
            .filter(|(has, _)| *has)
            .try_for_each(|(_, symbol)| f.write_str(symbol))
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.conflict { "!" } else { "" })?;
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, "@{tag}")?;
        }
        match &self.bound {
            Bound::Any => Ok(()),
            Bound::Version(operator, version) => write!(f, "{operator}{version}"),
            Bound::Checksum(checksum) => write!(f, "><{checksum}"),
        }
    }
}
