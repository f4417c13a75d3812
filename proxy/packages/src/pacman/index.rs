//! What a repository of pacman offers: its database, a tar with a folder `NAME-VERSION` and in it a file `desc` for each package
//! (libalpm's `be_sync.c`). Kept small: names and versions only, for pacman itself fetches packages.

use std::io::{BufReader, Read};

use crate::apt::decompress;
use crate::pacman::{Error, MAX_LENGTH, parse_desc};
use crate::version::Version;

/// The most bytes that a database may have unpacked; that of Arch Linux's `extra` has 60 MB.
pub const INDEX_LIMIT: u64 = 1 << 30;
/// More packages than any repository has.
const MAX_PACKAGES: usize = 1_000_000;

/// The packages of a repository.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Index {
    /// Ordered by name, each name once.
    offers: Vec<(Box<str>, Version)>,
}

/// Why a file is no database of a repository.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It is packed in a way that is not known here, or broken.
    #[error("{file}: cannot unpack the database")]
    Unpack {
        /// The file.
        file: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// It has more than any real one.
    #[error("{file}: the database has more than {MAX_PACKAGES} packages")]
    TooMany {
        /// The file.
        file: String,
    },
    /// A package in it is malformed.
    #[error("cannot read the database")]
    Package(#[source] Error),
}

impl Index {
    /// Reads a database of at most `limit` bytes (unpacked), packed with gzip, zstd or xz, or not. `file` names it in errors.
    ///
    /// # Errors
    /// [`IndexError`] when it cannot be unpacked, or has a package that no repository could.
    pub fn read(file: &str, bytes: &[u8], limit: u64) -> Result<Self, IndexError> {
        let broken = |source| IndexError::Unpack {
            file: file.to_owned(),
            source,
        };
        let plain = decompress(kind(bytes), bytes, limit).map_err(|error| broken(std::io::Error::other(error)))?;
        let mut archive = tar::Archive::new(BufReader::new(plain));
        let mut offers = Vec::new();
        for entry in archive.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if !entry.header().entry_type().is_file() || !path.ends_with("/desc") {
                continue;
            }
            let mut text = Vec::new();
            // One byte more than is taken, so that what is too large is told.
            let read = entry.by_ref().take(MAX_LENGTH as u64 + 1).read_to_end(&mut text);
            read.map_err(broken)?;
            let package = parse_desc(&format!("{file}: {}", shortened(&path)), &text).map_err(IndexError::Package)?;
            offers.push((package.name.into_boxed_str(), package.version));
            if offers.len() > MAX_PACKAGES {
                return Err(IndexError::TooMany { file: file.to_owned() });
            }
        }
        // As pacman has it, the first of one name counts.
        offers.sort_by(|one, other| one.0.cmp(&other.0));
        offers.dedup_by(|other, one| one.0 == other.0);
        Ok(Self { offers })
    }

    /// The version that it has of a package.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Version> {
        let at = self.offers.binary_search_by(|(own, _)| (**own).cmp(name)).ok()?;
        self.offers.get(at).map(|(_, version)| version)
    }

    /// How many packages it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offers.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offers.is_empty()
    }
}

/// A file name that says how bytes are packed, by their beginning.
fn kind(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x1f, 0x8b, ..] => "db.gz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "db.zst",
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "db.xz",
        [b'B', b'Z', b'h', ..] => "db.bz2",
        _ => "db",
    }
}

fn shortened(path: &str) -> String {
    path.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::{Index, IndexError};

    fn database(packages: &[(&str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |path: String, text: String| {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        };
        for (name, version) in packages {
            add(
                format!("{name}-{version}/desc"),
                format!("%NAME%\n{name}\n\n%VERSION%\n{version}\n\n"),
            );
            add(format!("{name}-{version}/files"), "%FILES%\nx\n".to_owned());
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn every_packing_is_read() {
        let plain = database(&[("b", "2-1"), ("a", "1:1-1"), ("b", "3-1")]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &plain).unwrap();
        for packed in [
            plain.clone(),
            gzip.finish().unwrap(),
            zstd::encode_all(&plain[..], 1).unwrap(),
        ] {
            let index = Index::read("kit.db", &packed, 1 << 20).unwrap();
            let version = |name: &str| index.find(name).map(ToString::to_string);
            assert_eq!(version("a").as_deref(), Some("1:1-1"));
            assert_eq!(version("b").as_deref(), Some("2-1"), "the first counts");
            assert_eq!((version("c"), index.len()), (None, 2));
        }
        assert!(Index::read("kit.db", b"", 1 << 20).unwrap().is_empty());
    }

    #[test]
    fn what_is_broken_is_an_error() {
        let plain = database(&[("a", "1-1")]);
        let large = Index::read("kit.db", &zstd::encode_all(&plain[..], 1).unwrap(), 100);
        assert!(matches!(large, Err(IndexError::Unpack { .. })), "{large:?}");
        for (bytes, expected) in [
            (&b"BZh91"[..], "cannot unpack"),
            (&plain[..600], "cannot unpack"),
            (&database(&[("-a", "1-1")])[..], "cannot read"),
        ] {
            let error = Index::read("kit.db", bytes, 1 << 20).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
