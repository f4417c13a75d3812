//! Small deb822 files that people write: sources and preferences.
//! For indexes see [`super::index`], which does not keep what it reads.

use super::Error;

/// More fields than any file of people has.
const MAX_FIELDS: usize = 100_000;

/// Fields in their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stanza {
    /// First line, from 1.
    pub(super) line: usize,
    pub(super) fields: Vec<Field>,
}

/// A field; its value with the lines that continue it, trimmed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: String,
}

impl Stanza {
    /// The value of a field, whatever the case of its name; the last one counts.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let found = self
            .fields
            .iter()
            .rev()
            .find(|field| field.name.eq_ignore_ascii_case(name));
        found.map(|field| field.value.trim())
    }
}

/// The stanzas of a file, those without fields left out. Lines that begin with `#` are comments.
pub(super) fn read(file: &str, text: &[u8]) -> Result<Vec<Stanza>, Error> {
    let text = String::from_utf8_lossy(text);
    let (mut stanzas, mut stanza, mut count) = (Vec::new(), Stanza::default(), 0);
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            stanzas.push(std::mem::take(&mut stanza));
        } else if line.starts_with([' ', '\t']) {
            let last = stanza.fields.last_mut();
            let last = last.ok_or_else(|| Error::syntax(file, index + 1, "the continuation of no field"))?;
            last.value.push('\n');
            last.value.push_str(line.trim());
        } else {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| Error::syntax(file, index + 1, "no field"))?;
            if stanza.fields.is_empty() {
                stanza.line = index + 1;
            }
            count += 1;
            stanza.fields.push(Field {
                name: name.trim().to_owned(),
                value: value.trim().to_owned(),
            });
        }
        if count > MAX_FIELDS {
            return Err(Error::too_many("fields of a file", MAX_FIELDS as u64));
        }
    }
    stanzas.push(stanza);
    stanzas.retain(|stanza| !stanza.fields.is_empty());
    Ok(stanzas)
}
