//! The frame of a clear-signed message (RFC 9580, section 7). Strict where a lax reader could take text for signed that is not:
//! one message, nothing around it, no header but `Hash`, and no dash that is not escaped.

use super::{Error, malformed};

const BEGIN: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
const END: &[u8] = b"-----END PGP SIGNATURE-----";

/// A message in its parts.
#[derive(Debug)]
pub(super) struct Message<'a> {
    /// Lines of the text without what ends them, escapes undone.
    lines: Vec<&'a [u8]>,
    /// The block of signatures with its first and last line.
    pub(super) armor: &'a [u8],
}

impl Message<'_> {
    /// The text as it is signed: CR and LF between lines, and none after the last (RFC 9580, sections 5.2.4 and 7.1).
    pub(super) fn canonical(&self) -> Vec<u8> {
        self.lines.join(b"\r\n".as_slice())
    }

    /// The text as it is read: LF after every line.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = self.lines.join(b"\n".as_slice());
        if !self.lines.is_empty() {
            text.push(b'\n');
        }
        text
    }
}

/// Splits a message.
pub(super) fn split(message: &[u8]) -> Result<Message<'_>, Error> {
    let mut rest = Lines { rest: message };
    head(&mut rest)?;
    let (lines, armor) = text(&mut rest)?;
    let armor = block(armor, &mut rest)?;
    if rest.any(|line| !line.is_empty()) {
        return Err(malformed("something stands after its signature"));
    }
    Ok(Message { lines, armor })
}

/// Reads up to the empty line that ends the headers.
fn head(lines: &mut Lines<'_>) -> Result<(), Error> {
    let whole = lines.rest;
    if lines.find(|line| !line.is_empty()) != Some(BEGIN) {
        let hidden = Lines { rest: whole }.any(|line| line == BEGIN);
        return Err(if hidden {
            malformed("something stands before it")
        } else {
            Error::NotSigned
        });
    }
    for line in lines {
        if line.is_empty() {
            return Ok(());
        }
        if !line.starts_with(b"Hash: ") {
            return Err(malformed("it has a header other than Hash"));
        }
    }
    Err(malformed("it ends in its headers"))
}

/// Reads the text, and returns it with what is left of the message where the signature begins.
fn text<'a>(lines: &mut Lines<'a>) -> Result<(Vec<&'a [u8]>, &'a [u8]), Error> {
    let mut text = Vec::new();
    loop {
        let rest = lines.rest;
        let line = lines.next().ok_or(malformed("it has no signature"))?;
        if line == SIGNATURE {
            return Ok((text, rest));
        }
        // A line of `- ` alone has lost its blank, and means an empty one.
        let line = match line.strip_prefix(b"-") {
            None => line,
            Some(escaped) if escaped.is_empty() => escaped,
            Some(escaped) => escaped
                .strip_prefix(b" ")
                .ok_or(malformed("a line of its text begins with a dash"))?,
        };
        // Some readers would end the line there.
        if line.contains(&b'\r') {
            return Err(malformed("its text has a carriage return within a line"));
        }
        text.push(line);
    }
}

/// The block of signatures, of which `lines` has only the first line behind it.
fn block<'a>(armor: &'a [u8], lines: &mut Lines<'a>) -> Result<&'a [u8], Error> {
    while let Some(line) = lines.next() {
        if line == END {
            let length = armor.len().saturating_sub(lines.rest.len());
            return armor.get(..length).ok_or(malformed("it has no signature"));
        }
        if line.starts_with(b"-") {
            return Err(malformed("its signature does not end"));
        }
    }
    Err(malformed("its signature does not end"))
}

/// Lines without what ends them and the blanks before that, which no signature covers. gpg counts CR among them.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', self.rest);
        let (mut line, rest) = match end.and_then(|end| self.rest.split_at_checked(end.saturating_add(1))) {
            Some(split) => split,
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        while let Some(shorter) = line
            .strip_suffix(b"\n")
            .or_else(|| line.strip_suffix(b"\r"))
            .or_else(|| line.strip_suffix(b" "))
            .or_else(|| line.strip_suffix(b"\t"))
        {
            line = shorter;
        }
        Some(line)
    }
}
