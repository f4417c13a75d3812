//! `platforms` and `emulation` of a rule: which images of an index are patched, and on what.
//! The platforms that Linux images come for are a short list, so a word that is none is refused and a set is a number.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value;
use crate::words::words;

/// What images for Linux come for, in Go's words. The order is that of the bits, and of what a set shows.
const KNOWN: [&str; 23] = [
    "linux/amd64",
    "linux/arm64",
    "linux/386",
    "linux/arm",
    "linux/ppc64le",
    "linux/s390x",
    "linux/riscv64",
    "linux/loong64",
    "linux/mips64le",
    "linux/mipsle",
    "linux/mips64",
    "linux/mips",
    "linux/ppc64",
    "linux/amd64/v1",
    "linux/amd64/v2",
    "linux/amd64/v3",
    "linux/amd64/v4",
    "linux/arm/v5",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/arm/v8",
    "linux/arm64/v8",
    "linux/arm64/v9",
];

words! {
    /// Whether a worker may patch images for processors that it has to emulate.
    Emulation {
        /// An image is patched by a worker of its own platform, or not at all.
        Never = "never",
        /// By an emulator where no worker runs it natively; several times slower.
        Allow = "allow",
    }
}

/// A choice of platforms; all of them when none is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Platforms(u32);

/// Why a text is no choice of platforms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlatformsError {
    /// None is named.
    #[error("is empty, leave it out for all platforms")]
    Empty,
    /// One is unknown.
    #[error("{found:?} is not allowed, use some of: {}", KNOWN.join(", "))]
    Unknown {
        /// What was written.
        found: String,
    },
}

impl Platforms {
    /// Every platform.
    pub const ALL: Self = Self(0);

    /// The platforms with these names.
    ///
    /// # Errors
    /// [`PlatformsError`] when one is unknown, or none is named.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, PlatformsError> {
        let mut bits = 0;
        for name in names {
            let found = || PlatformsError::Unknown { found: name.to_owned() };
            bits |= 1 << KNOWN.iter().position(|known| *known == name).ok_or_else(found)?;
        }
        if bits == 0 {
            Err(PlatformsError::Empty)
        } else {
            Ok(Self(bits))
        }
    }

    /// Whether all platforms are meant.
    #[must_use]
    pub fn is_all(self) -> bool {
        self == Self::ALL
    }

    /// Whether this platform is meant. A name without a variant means all variants; `arm64/v8`, `amd64/v1` and `arm/v7` are
    /// what images mean that name none.
    #[must_use]
    pub fn selects(self, os: &str, architecture: &str, variant: &str) -> bool {
        self.is_all()
            || self.names().any(|name| {
                let mut parts = name.split('/');
                let same = parts.next() == Some(os) && parts.next() == Some(architecture);
                same && parts.next().is_none_or(|named| named == usual(architecture, variant))
            })
    }

    /// The names, always in the same order; none when all platforms are meant.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let known = KNOWN.into_iter().enumerate();
        known
            .filter(move |(bit, _)| self.0 & (1 << bit) != 0)
            .map(|(_, name)| name)
    }
}

/// The variant that is meant, where it may be left out.
fn usual<'a>(architecture: &str, variant: &'a str) -> &'a str {
    match (architecture, variant) {
        ("arm64", "" | "8") => "v8",
        ("amd64", "") => "v1",
        ("arm", "" | "7") => "v7",
        (_, variant) => variant,
    }
}

/// The names, separated by commas; `all`.
impl fmt::Display for Platforms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("all");
        }
        f.write_str(&self.names().collect::<Vec<_>>().join(","))
    }
}

impl Serialize for Platforms {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl<'de> Deserialize<'de> for Platforms {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = value::one_or_many(deserializer)?;
        Self::named(names.iter().map(String::as_str)).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{Platforms, PlatformsError};

    #[test]
    fn a_name_means_its_variants_and_a_variant_means_itself() {
        let table: [(&[&str], (&str, &str), bool); 13] = [
            (&["linux/amd64"], ("amd64", ""), true),
            (&["linux/amd64"], ("amd64", "v3"), true),
            (&["linux/amd64"], ("arm64", ""), false),
            (&["linux/amd64/v3"], ("amd64", ""), false),
            (&["linux/amd64/v3"], ("amd64", "v3"), true),
            (&["linux/amd64/v1"], ("amd64", ""), true),
            (&["linux/arm64/v8"], ("arm64", ""), true),
            (&["linux/arm64/v8"], ("arm64", "8"), true),
            (&["linux/arm"], ("arm", "v6"), true),
            (&["linux/arm/v7"], ("arm", ""), true),
            (&["linux/arm/v7"], ("arm", "v6"), false),
            (&["linux/s390x", "linux/386"], ("386", ""), true),
            (&["linux/s390x", "linux/386"], ("amd64", ""), false),
        ];
        for (names, (architecture, variant), expected) in table {
            let platforms = Platforms::named(names.iter().copied()).unwrap();
            assert_eq!(
                platforms.selects("linux", architecture, variant),
                expected,
                "{names:?}: {architecture} {variant}"
            );
            assert!(!platforms.selects("windows", architecture, variant));
        }
        assert!(Platforms::ALL.selects("windows", "amd64", ""));
    }

    #[test]
    fn names_and_back() {
        let platforms = Platforms::named(["linux/arm64", "linux/amd64", "linux/arm64"]).unwrap();
        assert_eq!(platforms.to_string(), "linux/amd64,linux/arm64");
        assert_eq!(Platforms::named(platforms.names()), Ok(platforms));
        assert_eq!(Platforms::named([]), Err(PlatformsError::Empty));
        for name in ["", "linux", "windows/amd64", "linux/amd46", "linux/amd64/"] {
            assert!(Platforms::named([name]).is_err(), "{name}");
        }
    }
}
