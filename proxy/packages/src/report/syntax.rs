//! What the texts of a report may look like. They become names in plans, arguments of package managers and lines in logs,
//! so this is an allow-list: letters, digits and the few signs that real names have, none of them a shell's.

use super::Error;

/// The longest name of a package, an architecture or an advisory, in bytes.
const MAX_NAME: usize = 256;

/// The start of a text, for errors.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

fn is_word(text: &str, signs: &[u8]) -> bool {
    let first = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let other = |byte: u8| byte.is_ascii_alphanumeric() || signs.contains(&byte);
    text.len() <= MAX_NAME && text.as_bytes().first().is_some_and(first) && text.bytes().all(other)
}

/// Whether this can be an advisory's identifier, such as `CVE-2026-1`, `RHSA-2026:1` or `TEMP-0841856-B18BAF`.
pub(crate) fn is_advisory(text: &str) -> bool {
    is_word(text, b".:_-")
}

/// Whether this can be the name of an ecosystem or a distribution's family in notes.
pub(super) fn is_label(text: &str) -> bool {
    is_word(text, b"._-")
}

fn checked(text: &str, field: &'static str, is_right: bool) -> Result<(), Error> {
    if is_right {
        return Ok(());
    }
    Err(Error::Syntax {
        field,
        value: shortened(text),
    })
}

pub(super) fn package(text: &str) -> Result<(), Error> {
    checked(text, "the name of a package", is_word(text, b".+_~-"))
}

pub(super) fn architecture(text: &str) -> Result<(), Error> {
    checked(text, "an architecture", is_word(text, b"_-"))
}

pub(super) fn advisory(text: &str) -> Result<(), Error> {
    checked(text, "the identifier of an advisory", is_advisory(text))
}
