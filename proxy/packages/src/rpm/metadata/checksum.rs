//! Checksums that prove something.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A checksum of a kind that nobody can forge.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Checksum {
    /// SHA-256.
    Sha256(Box<[u8; 32]>),
    /// SHA-512.
    Sha512(Box<[u8; 64]>),
}

impl Checksum {
    /// A checksum by the name of its kind and its value in hexadecimal; nothing when it is malformed, or of a kind that
    /// proves nothing (any more).
    #[must_use]
    pub fn of(kind: &str, value: &str) -> Option<Self> {
        match kind {
            "sha256" => Some(Self::Sha256(Box::new(bytes(value)?))),
            "sha512" => Some(Self::Sha512(Box::new(bytes(value)?))),
            _ => None,
        }
    }

    /// The name of its kind: `sha256` or `sha512`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Sha512(_) => "sha512",
        }
    }

    /// Its value.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes.as_slice(),
            Self::Sha512(bytes) => bytes.as_slice(),
        }
    }
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(bytes)
}

impl fmt::Display for Checksum {
    /// The value in hexadecimal behind its kind: `sha256:0123…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.kind())?;
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Checksum> for String {
    fn from(checksum: Checksum) -> Self {
        checksum.to_string()
    }
}

impl TryFrom<String> for Checksum {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parts = text.split_once(':');
        parts
            .and_then(|(kind, value)| Self::of(kind, value))
            .ok_or("not a SHA-256 or SHA-512 checksum")
    }
}
