//! Platforms: operating system, architecture, variant.
//!
//! Comparison follows containerd's normalisation for the few spellings that mean the same.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The platform of an image or a worker, in Go's words (`linux`, `arm64`, `v8`). Missing members are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`, `windows`, `unknown`, ...
    #[serde(default)]
    pub os: String,
    /// `amd64`, `arm64`, `unknown`, ...
    #[serde(default)]
    pub architecture: String,
    /// `v7`, `v8`, ...
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// A platform from its parts.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        Self {
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.into(),
        }
    }

    /// The platform with the variants that mean "the default of this architecture" removed: `arm64/v8` is `arm64`,
    /// `amd64/v1` is `amd64`, `arm` is `arm/v7` (as in containerd's `platforms.Normalize`).
    pub fn normalised(&self) -> Self {
        let variant = match (self.architecture.as_str(), self.variant.as_str()) {
            ("arm64", "v8" | "8") | ("amd64", "v1") => "",
            ("arm", "" | "7") => "v7",
            (_, other) => other,
        };
        Self::new(&self.os, &self.architecture, variant)
    }

    /// Whether both name the same platform after normalisation.
    pub fn same(&self, other: &Self) -> bool {
        self.normalised() == other.normalised()
    }

    /// Whether this stands for "no platform", as BuildKit's attestation manifests do.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" || self.architecture == "unknown" || self.os.is_empty() || self.architecture.is_empty()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.variant)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_variants_are_the_same_platform() {
        let same =
            |a: (&str, &str), b: (&str, &str)| Platform::new("linux", a.0, a.1).same(&Platform::new("linux", b.0, b.1));
        assert!(same(("arm64", "v8"), ("arm64", "")));
        assert!(same(("arm", ""), ("arm", "v7")));
        assert!(!same(("arm", "v6"), ("arm", "v7")));
        assert!(!same(("amd64", "v2"), ("amd64", "")));
    }
}
