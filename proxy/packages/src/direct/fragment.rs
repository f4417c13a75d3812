//! The files of `status.d`: one stanza each, and beside it the sums of the package's files.
//! A stanza is edited field by field and keeps the form that it was found in.

use std::collections::BTreeMap;

use super::{FRAGMENTS, Sum, Sums, hex};
use crate::layer::{Error, Files, path};

/// What is taken from a package whatever the stanza had: what it needs and provides, and what it was built from.
const RELATIONS: [&str; 12] = [
    "Source",
    "Essential",
    "Multi-Arch",
    "Pre-Depends",
    "Depends",
    "Recommends",
    "Suggests",
    "Provides",
    "Conflicts",
    "Breaks",
    "Replaces",
    "Built-Using",
];
/// What dpkg writes itself, so that no package has it.
const OWN: [&str; 3] = ["Status", "Conffiles", "Config-Version"];

/// One package of the split database.
#[derive(Debug)]
pub(super) struct Fragment {
    /// Its file.
    pub(super) path: String,
    pub(super) name: String,
    pub(super) architecture: String,
    /// Whether the file holds more than this package.
    pub(super) is_shared: bool,
    /// Whether the file is written anew as a whole.
    pub(super) is_listed: bool,
    stanza: Vec<u8>,
    /// The file of sums, if there is one.
    pub(super) sums: Option<Sums>,
    /// Its conffiles with their sums, if the stanza says.
    pub(super) conffiles: Option<Sums>,
}

/// All packages of an image's split database.
pub(super) fn all(files: &Files) -> Result<Vec<Fragment>, Error> {
    let listed: BTreeMap<String, &[u8]> = files.list(FRAGMENTS)?.into_iter().collect();
    let mut fragments = Vec::new();
    for (path, stanza) in listed.iter().filter(|(path, _)| !path.ends_with(SUMS)) {
        let fields = fields(stanza);
        let value = |name: &str| field(&fields, name).map(value).unwrap_or_default();
        let beside = format!("{path}{SUMS}");
        let sums = listed.get(&beside);
        fragments.push(Fragment {
            path: path.clone(),
            name: value("Package"),
            architecture: value("Architecture"),
            is_shared: fields.iter().filter(|field| is_named(field, "Package")).count() > 1,
            is_listed: false,
            stanza: stanza.to_vec(),
            sums: sums.map(|text| read_sums(text)),
            conffiles: field(&fields, "Conffiles").map(read_conffiles),
        });
    }
    Ok(fragments)
}

/// What the name of a file of sums ends with.
const SUMS: &str = ".md5sums";

impl Fragment {
    /// A package of a list of packages, which tells neither files nor conffiles.
    pub(super) fn listed(path: &str, name: String, architecture: String) -> Self {
        Self {
            path: path.to_owned(),
            name,
            architecture,
            is_shared: false,
            is_listed: true,
            stanza: Vec::new(),
            sums: None,
            conffiles: None,
        }
    }

    /// The same with its files.
    pub(super) fn with_files(self, sums: Sums) -> Self {
        Self {
            sums: Some(sums),
            ..self
        }
    }

    /// The file of sums.
    pub(super) fn sums_path(&self) -> String {
        format!("{}{SUMS}", self.path)
    }

    /// The stanza with what the new version's control file says; `conffiles` are the sums of those that it brings.
    pub(super) fn updated(&self, control: &[u8], conffiles: &Sums) -> Vec<u8> {
        let (old, new) = (fields(&self.stanza), fields(control));
        let mut written: Vec<Vec<u8>> = Vec::new();
        for known in &old {
            let name = name(known);
            if name.eq_ignore_ascii_case("Conffiles") {
                written.extend((!conffiles.is_empty()).then(|| render_conffiles(conffiles)));
            } else if let Some(field) = field(&new, &name) {
                written.push(field.to_vec());
            } else if OWN.iter().any(|own| own.eq_ignore_ascii_case(&name)) {
                written.push(known.to_vec());
            }
        }
        let is_missing = |field: &&[u8]| {
            let name = name(field);
            let matters = RELATIONS.iter().any(|known| known.eq_ignore_ascii_case(&name));
            matters && self::field(&old, &name).is_none()
        };
        let before = written.iter().position(|field| is_named(field, "Description"));
        let before = before.unwrap_or(written.len());
        let missing = new.iter().copied().filter(is_missing).map(<[u8]>::to_vec);
        written.splice(before..before, missing.collect::<Vec<_>>());
        let mut text = Vec::new();
        for field in &written {
            text.extend_from_slice(field);
            text.push(b'\n');
        }
        // As many blank lines at the end as there were.
        let trimmed = self.stanza.trim_ascii_end().len();
        let ends = self.stanza.get(trimmed..).unwrap_or_default();
        let ends = ends.iter().filter(|byte| **byte == b'\n').count();
        text.truncate(text.trim_ascii_end().len());
        text.extend(std::iter::repeat_n(b'\n', ends));
        text
    }
}

/// The fields of a stanza, each with the lines that continue it, without the last line's end. Blank lines are left out.
fn fields(stanza: &[u8]) -> Vec<&[u8]> {
    let mut fields: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    for line in stanza.split(|byte| *byte == b'\n') {
        let end = at + line.trim_ascii_end().len();
        match line.first() {
            _ if end == at => {}
            Some(b' ' | b'\t') => {
                if let Some(last) = fields.last_mut() {
                    last.1 = end;
                }
            }
            _ => fields.push((at, end)),
        }
        at += line.len() + 1;
    }
    fields
        .into_iter()
        .filter_map(|(from, to)| stanza.get(from..to))
        .collect()
}

fn name(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == b':').unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

fn is_named(field: &[u8], wanted: &str) -> bool {
    name(field).eq_ignore_ascii_case(wanted)
}

/// The last field of this name, for that is the one that counts.
fn field<'a>(fields: &[&'a [u8]], wanted: &str) -> Option<&'a [u8]> {
    fields.iter().rev().find(|field| is_named(field, wanted)).copied()
}

fn value(field: &[u8]) -> String {
    let text = String::from_utf8_lossy(field);
    text.split_once(':').map_or("", |(_, value)| value).trim().to_owned()
}

fn read_sums(text: &[u8]) -> Sums {
    let text = String::from_utf8_lossy(text);
    let line = |line: &str| {
        let (sum, path) = line.split_once([' ', '\t'])?;
        Some((path::clean(path.trim_start_matches([' ', '\t', '*'])), sum_of(sum)?))
    };
    text.lines().filter_map(line).collect()
}

fn read_conffiles(field: &[u8]) -> Sums {
    let text = value(field);
    let line = |line: &str| {
        let mut words = line.trim().rsplitn(2, ' ').skip_while(|word| sum_of(word).is_none());
        let sum = sum_of(words.next()?)?;
        Some((path::clean(words.next()?), sum))
    };
    // A word after the sum says that it is obsolete.
    let plain = |line: &str| line.trim().trim_end_matches(" obsolete").to_owned();
    text.lines().filter_map(|text| line(&plain(text))).collect()
}

fn render_conffiles(conffiles: &Sums) -> Vec<u8> {
    let lines = conffiles.iter().map(|(path, sum)| format!("\n /{path} {}", hex(sum)));
    format!("Conffiles:{}", lines.collect::<String>()).into_bytes()
}

fn sum_of(text: &str) -> Option<Sum> {
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    let mut sum = [0; 16];
    for (at, byte) in sum.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(Sum::Md5(sum))
}
