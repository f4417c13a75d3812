//! One stanza of a Packages index while its lines come in.
//! Keeps its buffers from stanza to stanza, and of a line only what an index needs.

/// The fields that are looked at.
pub(in crate::apt) const KEPT: [&str; 14] = [
    "Package",
    "Version",
    "Architecture",
    "Source",
    "Filename",
    "Size",
    "SHA256",
    "Pre-Depends",
    "Depends",
    "Provides",
    "Conflicts",
    "Breaks",
    "Multi-Arch",
    "Phased-Update-Percentage",
];

/// A stanza with the values of the fields that are looked at.
#[derive(Default)]
pub(in crate::apt) struct Stanza {
    /// Whether there was a line.
    pub(in crate::apt) begun: bool,
    values: [String; KEPT.len()],
    /// The field that a continuation belongs to, when it is one of them.
    current: Option<usize>,
}

impl Stanza {
    pub(in crate::apt) fn clear(&mut self) {
        self.begun = false;
        self.current = None;
        self.values.iter_mut().for_each(String::clear);
    }

    /// The value of one of [`KEPT`], empty when it is not there.
    pub(in crate::apt) fn get(&self, name: &str) -> &str {
        let index = KEPT.iter().position(|kept| *kept == name);
        index
            .and_then(|index| self.values.get(index))
            .map_or("", String::as_str)
    }

    /// Takes one line that is not empty; false when it cannot stand there.
    pub(in crate::apt) fn add(&mut self, line: &[u8]) -> bool {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            if let Some(value) = self.current.and_then(|index| self.values.get_mut(index)) {
                push(value, line);
            }
            return self.begun;
        }
        let Some((name, value)) = split(line) else {
            return false;
        };
        self.begun = true;
        self.current = field(name);
        if let Some(kept) = self.current.and_then(|index| self.values.get_mut(index)) {
            kept.clear();
            push(kept, value);
        }
        true
    }
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line).filter(|colon| *colon > 0)?;
    Some((line.get(..colon)?, line.get(colon + 1..)?))
}

/// The number of a field among [`KEPT`].
fn field(name: &[u8]) -> Option<usize> {
    KEPT.iter()
        .position(|kept| kept.len() == name.len() && kept.as_bytes().eq_ignore_ascii_case(name))
}

/// Appends a part of a value, without control characters: a line feed would end a field of the index.
fn push(value: &mut String, bytes: &[u8]) {
    let part = String::from_utf8_lossy(bytes.trim_ascii());
    if !value.is_empty() {
        value.push(' ');
    }
    if part.contains(char::is_control) {
        value.extend(part.chars().map(|c| if c.is_control() { ' ' } else { c }));
    } else {
        value.push_str(&part);
    }
}
