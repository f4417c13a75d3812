//! `patch` of a rule: which outdated packages a patch upgrades.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::words::words;

words! {
    /// How bad a vulnerability is, at least.
    Severity {
        /// Not worth a fix by itself.
        Negligible = "negligible",
        /// Low.
        Low = "low",
        /// Medium; rpm distributions say moderate.
        Medium = "medium",
        /// High; rpm distributions say important.
        High = "high",
        /// Critical.
        Critical = "critical",
    }
}

/// Which outdated packages a patch upgrades, together with what they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Selection {
    /// `outdated`: all of them.
    Outdated,
    /// `security`: those that a security fix is known for, or whose distribution does not mark security fixes.
    Security,
    /// `fixable:SEVERITY`: those with a security fix of that severity, or worse, or of unknown severity.
    Fixable(Severity),
}

/// Why a text is no selection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not allowed, use \"outdated\", \"security\", or \"fixable:\" and one of negligible, low, medium, high, critical"
)]
pub struct SelectionError(String);

impl FromStr for Selection {
    type Err = SelectionError;

    fn from_str(text: &str) -> Result<Self, SelectionError> {
        let severity = |word: &str| word.parse().ok().map(Self::Fixable);
        match text {
            "outdated" => Some(Self::Outdated),
            "security" => Some(Self::Security),
            _ => text.strip_prefix("fixable:").and_then(severity),
        }
        .ok_or_else(|| SelectionError(text.to_owned()))
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outdated => f.write_str("outdated"),
            Self::Security => f.write_str("security"),
            Self::Fixable(severity) => write!(f, "fixable:{severity}"),
        }
    }
}

impl TryFrom<String> for Selection {
    type Error = SelectionError;

    fn try_from(text: String) -> Result<Self, SelectionError> {
        text.parse()
    }
}

impl From<Selection> for String {
    fn from(selection: Selection) -> Self {
        selection.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{Selection, Severity};

    #[test]
    fn words_and_back() {
        for (text, expected) in [
            ("outdated", Selection::Outdated),
            ("security", Selection::Security),
            ("fixable:high", Selection::Fixable(Severity::High)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
            assert_eq!(expected.to_string(), text);
        }
        for text in ["", "all", "fixable", "fixable:", "fixable:bad", "Security"] {
            assert!(text.parse::<Selection>().is_err(), "{text}");
        }
    }
}
