//! A package's paragraph in apk's database (apk-v2(5), "installed"): read, and made anew for the version that takes its place.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tar::Header;

use super::super::{Item, Sums};
use crate::apk::Head;
use crate::layer::path;
use crate::layer::sum::{Algorithm, Sum};
use crate::version::{Family, Version};

/// What no file has.
const NO_SUM: Sum = Sum::Sha1([0; 20]);
/// The record of an entry's sum; apk wants one of each file.
const CHECKSUM: &[u8] = b"APK-TOOLS.checksum.SHA1";
/// Modes that the database does not name.
pub(super) const MODE_OF_FOLDER: u32 = 0o755;
const MODE_OF_FILE: u32 = 0o644;

/// A package in it.
pub(super) struct Paragraph<'a> {
    /// As it is written, without the empty line behind it.
    pub(super) text: &'a [u8],
    pub(super) name: String,
    pub(super) architecture: String,
    pub(super) checksum: String,
    pub(super) version: Option<Version>,
    pub(super) depends: String,
    pub(super) provides: String,
    /// Why apk alone may replace it.
    pub(super) trouble: Option<&'static str>,
    /// Its folders, with owner and mode where they are not the usual ones.
    pub(super) folders: BTreeMap<String, String>,
}

impl<'a> Paragraph<'a> {
    /// Reads a paragraph, and the files of its package; nothing when these and its folders are more than `limit`.
    pub(super) fn parse(text: &'a [u8], limit: usize) -> Option<(Self, Sums)> {
        let mut files = Sums::new();
        let mut own = Self {
            text,
            name: String::new(),
            architecture: String::new(),
            checksum: String::new(),
            version: None,
            depends: String::new(),
            provides: String::new(),
            trouble: None,
            folders: BTreeMap::new(),
        };
        let (mut folder, mut file) = (String::new(), String::new());
        for line in text.split(|byte| *byte == b'\n') {
            let [letter, b':', value @ ..] = line else { continue };
            if files.len().saturating_add(own.folders.len()) > limit {
                return None;
            }
            let value = String::from_utf8_lossy(value).into_owned();
            match letter {
                b'P' => own.name = value,
                b'A' => own.architecture = value,
                b'C' => own.checksum = value,
                b'V' => own.version = Version::parse(Family::Apk, &value).ok(),
                b'D' => own.depends = value,
                b'p' => own.provides = value,
                b's' => own.trouble = Some("its installed version came from a tagged repository"),
                // Broken files or scripts, or sums of another kind.
                b'f' => own.trouble = Some("apk notes something of its installed version that only apk can settle"),
                b'F' => {
                    folder = path::clean(&value);
                    own.folders.insert(folder.clone(), String::new());
                }
                b'M' => {
                    own.folders.insert(folder.clone(), value);
                }
                b'R' => {
                    file = path::join(&folder, &value);
                    files.insert(file.clone(), NO_SUM);
                }
                b'Z' => {
                    if let Some(sum) = sum(&value) {
                        files.insert(file.clone(), sum);
                    }
                }
                _ => {}
            }
        }
        Some((own, files))
    }

    /// How the names of its scripts tell whose they are.
    pub(super) fn hexadecimal(&self) -> String {
        let bytes = self.checksum.get(2..).and_then(|text| STANDARD.decode(text).ok());
        let bytes = bytes.unwrap_or_default();
        bytes.iter().fold(
            String::from(if bytes.is_empty() { "\n" } else { "" }),
            |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            },
        )
    }
}

/// The sum that apk notes of an entry.
pub(super) fn summed(item: &Item, sums: &HashMap<&str, Sum>) -> Option<Sum> {
    if item.kind.is_symlink() {
        said(item).map(|_| Algorithm::Sha1.sum(item.link.as_bytes()))
    } else if item.kind.is_hard_link() {
        sums.get(item.link.as_str()).copied()
    } else {
        item.facts.sum
    }
}

/// The sum that a package says its entry has.
pub(super) fn said(item: &Item) -> Option<&[u8]> {
    let records = &item.facts.metadata.as_ref()?.records;
    let said = records.iter().find(|record| record.key == CHECKSUM);
    said.map(|record| record.value.as_slice())
}

/// Owner and mode of an entry as the database has them; nothing for the usual ones.
pub(super) fn access(item: &Item) -> String {
    let usual = if item.kind.is_dir() {
        MODE_OF_FOLDER
    } else {
        MODE_OF_FILE
    };
    let metadata = item.facts.metadata.as_ref();
    metadata
        .map(|metadata| acl(&metadata.header, usual))
        .unwrap_or_default()
}

/// The same of a header.
pub(super) fn acl(header: &Header, usual: u32) -> String {
    let (uid, gid) = (header.uid().unwrap_or(0), header.gid().unwrap_or(0));
    let mode = header.mode().unwrap_or(usual) & 0o7777;
    if (uid, gid, mode) == (0, 0, usual) {
        String::new()
    } else {
        format!("{uid}:{gid}:{mode:o}")
    }
}

/// A sum as the database has it.
fn sum(text: &str) -> Option<Sum> {
    let bytes = STANDARD.decode(text.strip_prefix("Q1")?).ok()?;
    Some(Sum::Sha1(bytes.try_into().ok()?))
}

/// The paragraph of a package, without the empty line behind it.
pub(super) fn rendered(head: &Head, items: &[Item]) -> String {
    let mut text = String::new();
    fields(&mut text, head);
    files(&mut text, items);
    text
}

fn put(text: &mut String, letter: char, value: &str) {
    let _ = writeln!(text, "{letter}:{value}");
}

/// What a package says about itself, in apk's order.
fn fields(text: &mut String, head: &Head) {
    let field = |key| head.field(key).unwrap_or_default().to_owned();
    let number = |key| field(key).parse::<u64>().unwrap_or(0);
    let filled = |value: u64| if value == 0 { String::new() } else { value.to_string() };
    let words = |key| head.all(key).collect::<Vec<_>>().join(" ");
    let is_always_there = |letter| "CPVSITUL".contains(letter);
    let all = [
        ('C', head.checksum.clone()),
        ('P', field("pkgname")),
        ('V', field("pkgver")),
        ('A', field("arch")),
        ('S', head.size.to_string()),
        ('I', number("size").to_string()),
        ('T', field("pkgdesc")),
        ('U', field("url")),
        ('L', field("license")),
        ('o', field("origin")),
        ('m', field("maintainer")),
        ('t', filled(number("builddate"))),
        ('c', field("commit")),
        ('k', filled(number("provider_priority"))),
        ('D', words("depend")),
        ('p', words("provides")),
        ('i', words("install_if")),
        ('r', words("replaces")),
        ('q', filled(number("replaces_priority"))),
    ];
    for (letter, value) in all
        .iter()
        .filter(|(letter, value)| is_always_there(*letter) || !value.is_empty())
    {
        put(text, *letter, value);
    }
}

/// Its folders and what is in them, both by name.
fn files(text: &mut String, items: &[Item]) {
    let sums = sums(items);
    let mut folders: BTreeMap<&str, (String, BTreeMap<&str, &Item>)> = BTreeMap::new();
    for item in items.iter().filter(|item| item.kind.is_dir() && !item.path.is_empty()) {
        folders.entry(&item.path).or_default().0 = access(item);
    }
    for item in items.iter().filter(|item| !item.kind.is_dir()) {
        let (folder, name) = path::split(&item.path);
        folders.entry(folder).or_default().1.insert(name, item);
    }
    for (folder, (own, files)) in folders {
        put(text, 'F', folder);
        if !own.is_empty() {
            put(text, 'M', &own);
        }
        for (name, item) in files {
            put(text, 'R', name);
            let own = access(item);
            if !own.is_empty() {
                put(text, 'a', &own);
            }
            if let Some(sum) = summed(item, &sums) {
                put(text, 'Z', &format!("Q1{}", STANDARD.encode(sum.bytes())));
            }
        }
    }
}

/// The sums of a package's files, by path.
pub(super) fn sums(items: &[Item]) -> HashMap<&str, Sum> {
    let files = items.iter();
    files
        .filter_map(|item| Some((item.path.as_str(), item.facts.sum?)))
        .collect()
}
