//! Repository names, tags and references, as the distribution specification has them.
//!
//! Parsing is whole-string and by segment; what parses can be put into a path or a URL unescaped.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The longest repository name that registries accept, in bytes.
pub const MAX_REPOSITORY: usize = 255;
/// The longest tag
/// ([distribution-spec, pulling manifests](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests)).
pub const MAX_TAG: usize = 128;

/// Why a name was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidName {
    /// Not a repository name.
    #[error(
        "`{0}` is not a repository name: expected lower-case path components of letters and digits, separated inside by `.`, `_`, `__` or `-`, at most 255 characters"
    )]
    Repository(String),
    /// Not a tag.
    #[error("`{0}` is not a tag: expected [A-Za-z0-9_] and then at most 127 of [A-Za-z0-9._-]")]
    Tag(String),
    /// Neither a tag nor a digest.
    #[error("`{0}` is neither a tag nor a digest (sha256:<64 hex digits>)")]
    Reference(String),
}

fn shown(text: &str) -> String {
    text.chars().take(160).collect()
}

/// A repository name below an upstream, such as `library/debian`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repository(Box<str>);

impl Repository {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name has one component only, such as `debian`.
    pub fn is_single_component(&self) -> bool {
        !self.0.contains('/')
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, one path component of a repository name.
fn is_component(text: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alnum(first) || !alnum(last) {
        return false;
    }
    bytes
        .split(|&b| alnum(b))
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|&b| b == b'-'))
}

impl FromStr for Repository {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.len() > MAX_REPOSITORY || !text.split('/').all(is_component) {
            return Err(InvalidName::Repository(shown(text)));
        }
        Ok(Self(text.into()))
    }
}

/// A tag, such as `bookworm-slim`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(Box<str>);

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let starts_well = text.bytes().next().is_some_and(word);
        let goes_on_well = text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if text.len() > MAX_TAG || !starts_well || !goes_on_well {
            return Err(InvalidName::Tag(shown(text)));
        }
        Ok(Self(text.into()))
    }
}

/// What a manifest is asked for by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A name that may move.
    Tag(Tag),
    /// Exactly these bytes.
    Digest(Digest),
}

impl FromStr for Reference {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.contains(':') {
            return text
                .parse()
                .map(Self::Digest)
                .map_err(|_| InvalidName::Reference(shown(text)));
        }
        text.parse()
            .map(Self::Tag)
            .map_err(|_| InvalidName::Reference(shown(text)))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

macro_rules! text_newtype {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.into()
            }
        }
    };
}
text_newtype!(Repository);
text_newtype!(Tag);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names() {
        let longest = "a".repeat(255);
        for good in ["a", "library/debian", "a.b/c_d/e__f/g-h/i--j", "0/1", &longest] {
            assert!(good.parse::<Repository>().is_ok(), "{good} was refused");
        }
        let too_long = "a".repeat(256);
        for bad in [
            "", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "A", "a/B", "a___b", "a..b", "a._b", "-a", "a-", "a b",
            "a%2fb", "a:b", "a\0b", "é", &too_long,
        ] {
            assert!(bad.parse::<Repository>().is_err(), "{bad} was taken for a repository");
        }
    }

    #[test]
    fn tags() {
        let longest = "t".repeat(128);
        for good in ["latest", "1.2.3-alpine_3", "_x", &longest] {
            assert!(good.parse::<Tag>().is_ok(), "{good} was refused");
        }
        let too_long = "t".repeat(129);
        for bad in ["", ".x", "-x", "a/b", "a:b", "a b", "a%41", &too_long] {
            assert!(bad.parse::<Tag>().is_err(), "{bad} was taken for a tag");
        }
    }

    proptest::proptest! {
        #[test]
        fn names_parse_and_print_alike(text in "[a-z0-9._/:%-]{0,40}") {
            if let Ok(repository) = text.parse::<Repository>() {
                proptest::prop_assert!(!text.contains("..") && !text.contains("//"));
                proptest::prop_assert_eq!(repository.to_string(), text);
            }
        }
    }
}
