//! Release files: who offers a suite, until when, and the digests of its indexes.
//! Takes the text inside the signature, and only what was verified. Only SHA-256 counts, as for apt.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Error;

/// The most that is taken, in bytes; Debian's have 250 KiB.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// More files than any release lists.
const MAX_FILES: usize = 200_000;

/// Compressions that [`super::decompress`] undoes, by what they add to a path.
const SUFFIXES: [&str; 4] = [".xz", ".zst", ".gz", ""];

/// The fields of a Release file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// Who offers it, such as `Debian`.
    pub origin: Option<String>,
    /// The name of what is offered, such as `Debian-Security`.
    pub label: Option<String>,
    /// Such as `oldstable`; this is what pins call archive.
    pub suite: Option<String>,
    /// Such as `bookworm`.
    pub codename: Option<String>,
    /// Such as `12.5`.
    pub version: Option<String>,
    /// When it was made.
    pub date: Option<SystemTime>,
    /// Until when it counts.
    pub valid_until: Option<SystemTime>,
    /// Architectures with an index.
    pub architectures: Vec<String>,
    /// Components.
    pub components: Vec<String>,
    /// Whether indexes are also to be had by their digest, in `by-hash/SHA256/` beside them.
    pub acquire_by_hash: bool,
    /// Nothing of it is taken without being asked for.
    pub not_automatic: bool,
    /// What was taken of it is upgraded from it.
    pub but_automatic_upgrades: bool,
    /// `No-Support-for-Architecture-all: Packages`: the indexes of architectures have its packages too.
    pub no_architecture_all: bool,
    /// Files by path, ordered.
    files: Vec<File>,
}

/// A file that a release vouches for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// Its path below the folder of the Release file.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

impl Release {
    /// Reads the text of a Release file.
    ///
    /// # Errors
    /// [`Error::TooMany`] when it is too large, [`Error::Syntax`] when it has a date that is none, or a wrong digest.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        if text.len() > MAX_BYTES {
            return Err(Error::too_many("bytes of a Release file", MAX_BYTES as u64));
        }
        let text = String::from_utf8_lossy(text);
        let mut release = Self::default();
        let mut in_digests = false;
        for (index, line) in text.lines().enumerate() {
            let wrong = |what| Error::syntax("Release", index + 1, what);
            if let Some(line) = line.strip_prefix([' ', '\t']) {
                if in_digests {
                    release.files.extend(file(line).map_err(wrong)?);
                }
            } else if let Some((name, value)) = line.split_once(':') {
                in_digests = name.eq_ignore_ascii_case("SHA256");
                release.set(name, value.trim()).map_err(wrong)?;
            } else if !line.trim().is_empty() {
                return Err(wrong("no field"));
            }
            if release.files.len() > MAX_FILES {
                return Err(Error::too_many("files of a release", MAX_FILES as u64));
            }
        }
        release.files.sort();
        Ok(release)
    }

    /// The forms of an index that can be read, by its path without a compression's suffix, the smallest first.
    #[must_use]
    pub fn files(&self, path: &str) -> Vec<File> {
        let found = SUFFIXES
            .iter()
            .filter_map(|suffix| self.file(&format!("{path}{suffix}")));
        let mut found: Vec<File> = found.cloned().collect();
        found.sort_by_key(|file| file.size);
        found
    }

    /// The file at a path.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&File> {
        let at = self.files.partition_point(|file| file.path.as_str() < path);
        self.files.get(at).filter(|file| file.path == path)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        let text = || Some(value.to_owned());
        let words = || value.split_ascii_whitespace().map(ToOwned::to_owned).collect();
        let time = || date(value).map(Some).ok_or("a date that is none");
        let is = super::sources::boolean(value).unwrap_or(false);
        match name.to_ascii_lowercase().as_str() {
            "origin" => self.origin = text(),
            "label" => self.label = text(),
            "suite" => self.suite = text(),
            "codename" => self.codename = text(),
            "version" => self.version = text(),
            "date" => self.date = time()?,
            "valid-until" => self.valid_until = time()?,
            "architectures" => self.architectures = words(),
            "components" => self.components = words(),
            "acquire-by-hash" => self.acquire_by_hash = is,
            "notautomatic" => self.not_automatic = is,
            "butautomaticupgrades" => self.but_automatic_upgrades = is,
            "no-support-for-architecture-all" => self.no_architecture_all = value == "Packages",
            _ => {}
        }
        Ok(())
    }
}

/// `digest size path`; nothing for a path that leads elsewhere.
fn file(line: &str) -> Result<Option<File>, &'static str> {
    let mut words = line.split_ascii_whitespace();
    let Some(digest) = words.next() else {
        return Ok(None);
    };
    let (Some(size), Some(path), None) = (words.next(), words.next(), words.next()) else {
        return Err("not digest, size and path");
    };
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Ok(None);
    }
    Ok(Some(File {
        path: path.to_owned(),
        size: size.parse().map_err(|_| "a size that is none")?,
        sha256: sha256(digest).ok_or("a digest that is none")?,
    }))
}

/// The bytes of a digest in hexadecimal.
pub(super) fn sha256(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = <[u8; 2]>::try_from(pair).ok()?;
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(digest)
}

/// A date as apt takes it (`RFC1123StrToTime`): `Sat, 11 Oct 2025 09:00:00 UTC`.
fn date(text: &str) -> Option<SystemTime> {
    let (local, zone) = text.trim().rsplit_once(' ')?;
    if !["UTC", "GMT", "Z", "+0000", "-0000"].contains(&zone) {
        return None;
    }
    let local = jiff::civil::DateTime::strptime("%a, %d %b %Y %H:%M:%S", local).ok()?;
    let timestamp = jiff::tz::TimeZone::UTC.to_timestamp(local).ok()?;
    let since = Duration::from_secs(u64::try_from(timestamp.as_second()).ok()?);
    UNIX_EPOCH.checked_add(since)
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        Self::Read(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        let cases = [
            ("Sat, 11 Oct 2025 09:00:00 UTC", at(1_760_173_200)),
            ("Sat, 11 Oct 2025 09:00:00 +0000", at(1_760_173_200)),
            ("Sat,  1 Nov 2025  9:00:00 UTC", at(1_761_987_600)),
            ("Sat, 11 Oct 2025 09:00:00 CEST", None),
            ("Fri, 11 Oct 2025 09:00:00 UTC", None),
            ("Sat, 31 Feb 2025 09:00:00 UTC", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(date(text), expected, "{text}");
        }
    }

    #[test]
    fn smallest_form_first() {
        let digest = "0f".repeat(32);
        let lines = [
            "9 m/Packages",
            "3 m/Packages.gz",
            "2 m/Packages.xz",
            "1 m/Packages.bz2",
            "1 ../x",
            "7 m/Packages.zst",
        ];
        let lines: String = lines.iter().map(|line| format!(" {digest} {line}\n")).collect();
        let text = format!("Origin: Debian\nMD5Sum:\n 00 1 x\nSHA256:\n{lines}NotAutomatic: yes\n");
        let release = Release::parse(text.as_bytes()).unwrap();
        assert!(release.not_automatic && release.origin.as_deref() == Some("Debian"));
        let paths: Vec<String> = release.files("m/Packages").into_iter().map(|file| file.path).collect();
        assert_eq!(
            paths,
            ["m/Packages.xz", "m/Packages.gz", "m/Packages.zst", "m/Packages"]
        );
        assert_eq!(release.file("m/Packages").unwrap().sha256, [0x0f; 32]);
        assert_eq!(release.file("../x"), None);
        for wrong in [
            "x",
            "Date: yesterday",
            "SHA256:\n 00 1 x",
            &format!("SHA256:\n {digest} -1 x"),
        ] {
            assert!(Release::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "(SHA256:|Date: |Sat, |[ a-f0-9\nü]){0,40}") {
            let _ = Release::parse(text.as_bytes());
        }
    }
}
