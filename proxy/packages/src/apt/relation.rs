//! Relations between packages (Debian Policy 7.1): what a package depends on, breaks and provides.
//! What is no relation matches nothing: a package that depends on it stays.

use std::cmp::Ordering;

use crate::version::{Family, Version};

/// More relations than any package has.
const MAX_RELATIONS: usize = 20_000;

/// More alternatives than any of them has.
const MAX_ALTERNATIVES: usize = 1_000;

/// The number that a policy gives to a name.
pub(super) type NameId = usize;

/// One alternative: a package's name, perhaps an architecture, perhaps versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Relation<'a> {
    /// As it was written, for people.
    pub(super) text: &'a str,
    pub(super) name: &'a str,
    /// The number of the name, once somebody has given it one.
    pub(super) id: NameId,
    pub(super) architecture: Option<&'a str>,
    versions: Versions,
}

/// Which versions are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Versions {
    All,
    None,
    Like(Operator, Version),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Earlier,
    EarlierOrEqual,
    Equal,
    LaterOrEqual,
    Later,
}

impl<'a> Relation<'a> {
    fn parse(text: &'a str) -> Self {
        let text = text.trim();
        let (name, rest) = text.split_at(text.find([' ', '(', '[', '<']).unwrap_or(text.len()));
        let (name, architecture) = name.split_once(':').map_or((name, None), |(name, of)| (name, Some(of)));
        let rest = rest.trim();
        let versions = if rest.is_empty() {
            Versions::All
        } else {
            versions(rest).map_or(Versions::None, |(operator, version)| Versions::Like(operator, version))
        };
        Self {
            text,
            name,
            id: NameId::MAX,
            architecture,
            versions,
        }
    }

    /// Whether this version is meant.
    pub(super) fn takes(&self, version: &Version) -> bool {
        match &self.versions {
            Versions::All => true,
            Versions::None => false,
            Versions::Like(operator, limit) => operator.holds(version.cmp(limit)),
        }
    }

    /// Whether something that is provided, perhaps in a version, is meant.
    pub(super) fn takes_provided(&self, version: Option<&Version>) -> bool {
        match version {
            Some(version) => self.takes(version),
            None => self.versions == Versions::All,
        }
    }

    /// The version that is provided by `name (= version)`.
    pub(super) fn provided(&self) -> Option<&Version> {
        match &self.versions {
            Versions::Like(Operator::Equal, version) => Some(version),
            _ => None,
        }
    }
}

impl Operator {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Earlier => ordering.is_lt(),
            Self::EarlierOrEqual => ordering.is_le(),
            Self::Equal => ordering.is_eq(),
            Self::LaterOrEqual => ordering.is_ge(),
            Self::Later => ordering.is_gt(),
        }
    }
}

/// `(>= 1.0)` and nothing after it.
fn versions(text: &str) -> Option<(Operator, Version)> {
    let inside = text.strip_prefix('(')?.strip_suffix(')')?.trim();
    let (operator, version) = inside.split_at(inside.find(|c| !"<>=".contains(c))?);
    let operator = match operator {
        "<<" => Operator::Earlier,
        // Old spellings: dpkg takes one sign for "or equal".
        "<=" | "<" => Operator::EarlierOrEqual,
        "=" => Operator::Equal,
        ">=" | ">" => Operator::LaterOrEqual,
        ">>" => Operator::Later,
        _ => return None,
    };
    Some((operator, Version::parse(Family::Deb, version.trim()).ok()?))
}

/// Alternatives of each part of `Depends` and the like.
pub(super) fn groups(text: &str) -> Vec<Vec<Relation<'_>>> {
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    let groups = parts.map(|part| part.split('|').take(MAX_ALTERNATIVES).map(Relation::parse).collect());
    groups.take(MAX_RELATIONS).collect()
}

/// The parts of `Breaks`, `Conflicts` and `Provides`.
pub(super) fn list(text: &str) -> Vec<Relation<'_>> {
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    parts.take(MAX_RELATIONS).map(Relation::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_are_taken() {
        let cases = [
            ("a", "1", true),
            ("a (>= 1.2)", "1.2", true),
            ("a(>=1.2)", "1.1", false),
            ("a (<< 1:1)", "9", true),
            ("a (= 1)", "1-0", true),
            ("a (> 1)", "1", true),
            ("a (>> 1)", "1", false),
            ("a:any (<= 1)", "1~", true),
            ("a (>= )", "1", false),
            ("a (>= 1) [amd64]", "1", false),
            ("a (?? 1)", "1", false),
        ];
        for (text, version, expected) in cases {
            let version = Version::parse(Family::Deb, version).unwrap();
            assert_eq!(Relation::parse(text).takes(&version), expected, "{text}");
        }
        let groups = groups("a:any | b (= 1), , c");
        assert_eq!(
            (groups.len(), groups[0].len(), groups[0][0].architecture),
            (2, 2, Some("any"))
        );
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a:|,()<>= 1ü]{0,60}") {
            groups(&text);
            list(&text);
        }
    }
}
