//! What a package takes the place of: rpm removes what a package that it upgrades to calls obsolete, under another name.

use std::cmp::Ordering;

use crate::version::{Family, Version};

/// How the versions that are obsolete compare with the one that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// All versions are.
    Any,
    /// Lower ones.
    Less,
    /// Lower and equal ones.
    LessOrEqual,
    /// The equal one.
    Equal,
    /// Higher and equal ones.
    GreaterOrEqual,
    /// Higher ones.
    Greater,
}

impl Comparison {
    /// The comparison of a word of the package list; nothing for a word that it does not have.
    pub(crate) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "" => Self::Any,
            "LT" => Self::Less,
            "LE" => Self::LessOrEqual,
            "EQ" => Self::Equal,
            "GE" => Self::GreaterOrEqual,
            "GT" => Self::Greater,
            _ => return None,
        })
    }

    fn allows(self, ordering: Ordering) -> bool {
        match self {
            Self::Any => true,
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Equal => ordering.is_eq(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Greater => ordering.is_gt(),
        }
    }
}

/// Packages that another takes the place of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obsolete {
    pub(crate) name: String,
    pub(crate) comparison: Comparison,
    /// `[epoch:]version[-release]`; nothing when all versions are obsolete.
    pub(crate) version: Option<Version>,
}

impl Obsolete {
    /// Nothing when a version is compared with none.
    pub(crate) fn new(name: String, comparison: Comparison, version: Option<Version>) -> Option<Self> {
        (comparison == Comparison::Any || version.is_some()).then_some(Self {
            name,
            comparison,
            version: version.filter(|_| comparison != Comparison::Any),
        })
    }
}

/// Whether an installed version is among those that are obsolete. Where no release is named, none is compared.
pub(crate) fn covers(comparison: Comparison, version: Option<&Version>, installed: &Version) -> bool {
    let Some(version) = version else {
        return comparison == Comparison::Any;
    };
    let ordering = if version.release().is_some() {
        installed.cmp(version)
    } else {
        without_release(installed).map_or(Ordering::Greater, |installed| installed.cmp(version))
    };
    comparison.allows(ordering)
}

fn without_release(version: &Version) -> Option<Version> {
    Version::parse(Family::Rpm, &format!("{}:{}", version.epoch(), version.upstream())).ok()
}

#[cfg(test)]
mod tests {
    use super::{Comparison, covers};
    use crate::version::{Family, Version};

    #[test]
    fn what_is_obsolete() {
        let version = |text: &str| Version::parse(Family::Rpm, text).unwrap();
        let cases = [
            ("", "", "1.0-1", true),
            ("LT", "3", "2.9-7", true),
            ("LT", "3", "3-1", false),
            ("LE", "3", "3-1", true),
            ("LT", "3-2", "3-1", true),
            ("LT", "3-2", "1:1-1", false),
            ("LT", "1:3", "2.0-1", true),
            ("EQ", "2.0", "2.0-5", true),
            ("EQ", "2.0-4", "2.0-5", false),
            ("GE", "2.0", "2.0-5", true),
            ("GT", "2.0", "2.0-5", false),
        ];
        for (word, obsolete, installed, expected) in cases {
            let (comparison, installed) = (Comparison::of(word).unwrap(), version(installed));
            let obsolete = (!obsolete.is_empty()).then(|| version(obsolete));
            let found = covers(comparison, obsolete.as_ref(), &installed);
            assert_eq!(found, expected, "{word} {obsolete:?} {installed}");
        }
        assert_eq!(Comparison::of("NE"), None);
    }
}
