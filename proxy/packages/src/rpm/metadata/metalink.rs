//! Where a repository's mirrors are: metalinks (RFC 5854's predecessor 3.0, as MirrorManager makes them) and plain lists.

use serde::{Deserialize, Serialize};

use crate::rpm::metadata::xml::{Element, Sink, walk};
use crate::rpm::metadata::{Checksum, Error, Wrong};

/// The most mirrors, and the most checksums, that are taken.
const MAX: usize = 10_000;
const MAX_URL: usize = 2048;

/// What every URL of a metalink ends with.
const INDEX: &str = "repodata/repomd.xml";

/// The mirrors of a repository, and how its index is told from a forged one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metalink {
    /// Checksums that `repomd.xml` may have: the current one first, then those of mirrors that are a little behind.
    pub checksums: Vec<Checksum>,
    /// The mirrors, the preferred one first.
    pub mirrors: Vec<Mirror>,
}

/// One mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    /// The repository's base URL there; `http` or `https`, otherwise any text.
    pub url: String,
    /// Up to 100, which is best.
    pub preference: u32,
}

impl Metalink {
    /// Reads a metalink. `file` names it in errors.
    ///
    /// # Errors
    /// [`Error`] when it is malformed, or has no mirror.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Error> {
        let mut reading = Reading::default();
        walk(file, bytes, &mut reading)?;
        let mut found = reading.found;
        if found.mirrors.is_empty() {
            return Err(Wrong::Text("it names no mirror").at(file, 0));
        }
        found.mirrors.sort_by_key(|mirror| std::cmp::Reverse(mirror.preference));
        Ok(found)
    }
}

#[derive(Default)]
struct Reading {
    found: Metalink,
    of_index: bool,
    /// The kind of the checksum or the preference of the URL whose text comes next.
    kind: String,
    preference: u32,
}

impl Sink for Reading {
    fn start(&mut self, element: &Element<'_>, _: usize) -> Result<(), Wrong> {
        match element.name() {
            "file" => self.of_index = element.attribute("name")?.as_deref() == Some("repomd.xml"),
            "hash" => self.kind = element.attribute("type")?.unwrap_or_default(),
            "url" => {
                let preference = element.attribute("preference")?;
                self.preference = preference.and_then(|text| text.parse().ok()).unwrap_or_default();
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, name: &str, text: &str, _: usize) -> Result<(), Wrong> {
        match name {
            "hash" if self.of_index => self.found.checksums.extend(Checksum::of(&self.kind, text)),
            "url" if self.of_index => {
                let base = text.strip_suffix(INDEX).filter(|base| is_url(base));
                self.found.mirrors.extend(base.map(|base| Mirror {
                    url: base.to_owned(),
                    preference: self.preference.min(100),
                }));
            }
            _ => {}
        }
        if self.found.checksums.len().max(self.found.mirrors.len()) > MAX {
            return Err(Wrong::Text("too many mirrors"));
        }
        Ok(())
    }
}

/// The base URLs in a mirror list: one a line, comments begin with `#`. Other lines are not looked at.
#[must_use]
pub fn mirror_list(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(str::trim).filter(|line| is_url(line));
    lines.take(MAX).map(ToOwned::to_owned).collect()
}

fn is_url(text: &str) -> bool {
    (text.starts_with("https://") || text.starts_with("http://"))
        && text.len() <= MAX_URL
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}
