//! Sums of files, by the algorithms that package databases note them in. They find changes, and protect from nobody.

use std::io::{self, Write};

use md5::{Digest as _, Md5};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// How a package database sums up files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// Debian's.
    #[default]
    Md5,
    /// apk's.
    Sha1,
}

/// A sum. Those of two algorithms are never equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sum {
    /// MD5.
    Md5([u8; 16]),
    /// SHA-1.
    Sha1([u8; 20]),
}

impl Algorithm {
    /// The sum of some bytes.
    pub(crate) fn sum(self, bytes: &[u8]) -> Sum {
        let mut hashing = Hashing::new(self);
        hashing.update(bytes);
        hashing.finish()
    }
}

impl Sum {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Md5(bytes) => bytes,
            Self::Sha1(bytes) => bytes,
        }
    }
}

/// Hashes what is written to it.
pub(crate) enum Hashing {
    /// MD5.
    Md5(Md5),
    /// SHA-1.
    Sha1(Context),
}

impl Hashing {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Sha1 => Self::Sha1(Context::new(&SHA1_FOR_LEGACY_USE_ONLY)),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(hasher) => hasher.update(bytes),
            Self::Sha1(context) => context.update(bytes),
        }
    }

    /// The sum of all that was written.
    pub(crate) fn finish(self) -> Sum {
        match self {
            Self::Md5(hasher) => Sum::Md5(hasher.finalize().into()),
            Self::Sha1(context) => {
                let mut bytes = [0; 20];
                // SHA-1 has twenty bytes.
                for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
                    *to = *from;
                }
                Sum::Sha1(bytes)
            }
        }
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_that_are_known_of_a_word() {
        let hex = |sum: Sum| sum.bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(Algorithm::Md5.sum(b"abc")), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(
            hex(Algorithm::Sha1.sum(b"abc")),
            "a9993e364706816aba3e25717850c26c9cd0d89d"
        );
    }
}
