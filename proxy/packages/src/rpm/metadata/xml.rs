//! XML as it streams: elements begin and end, and the text of those without children is told at their end.
//! No element makes this hold more than a few MiB, however large it is; entities other than the five are refused.

use std::io::{self, BufRead, Read};

use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use crate::rpm::metadata::{Error, Wrong};

/// The most bytes that one tag, comment or run of text may have.
const MAX_EVENT: usize = 4 * 1024 * 1024;

/// The most text of an element that is told, in bytes; the rest is dropped.
const MAX_TEXT: usize = 8 * 1024;

/// As deep as elements may be nested; ten is more than any of our files has.
const MAX_DEPTH: usize = 32;

/// What happens in a file.
pub(crate) trait Sink {
    /// An element begins; the depth of the root is 1.
    fn start(&mut self, element: &Element<'_>, depth: usize) -> Result<(), Wrong>;

    /// An element ends, with the text since the last tag.
    fn end(&mut self, name: &str, text: &str, depth: usize) -> Result<(), Wrong>;
}

/// The beginning of an element.
pub(crate) struct Element<'a> {
    start: &'a BytesStart<'a>,
}

impl Element<'_> {
    /// Its name without namespace.
    pub(crate) fn name(&self) -> &str {
        self.start.local_name().into_inner()
    }

    /// The value of an attribute.
    pub(crate) fn attribute(&self, name: &str) -> Result<Option<String>, Wrong> {
        let found = self.start.try_get_attribute(name);
        let found = found.map_err(|_| Wrong::Text("malformed attributes"))?;
        let value = found.map(|attribute| attribute.normalized_value(XmlVersion::Implicit1_0));
        let value = value.transpose().map_err(|_| Wrong::Text("a malformed attribute"))?;
        Ok(value.map(|value| value.into_owned()))
    }
}

/// Tells a sink all of a file, which must be whole. `file` names it in errors.
pub(crate) fn walk(file: &str, reader: impl BufRead, sink: &mut impl Sink) -> Result<(), Error> {
    let mut reader = Reader::from_reader(Metered { reader, left: 0 });
    reader.config_mut().expand_empty_elements = true;
    let (mut buffer, mut text, mut depth) = (Vec::new(), String::new(), 0_usize);
    loop {
        buffer.clear();
        reader.get_mut().left = MAX_EVENT;
        let at = reader.buffer_position();
        let event = reader.read_event_into(&mut buffer);
        let event = event.map_err(|source| Error::Xml {
            file: file.to_owned(),
            at,
            source,
        })?;
        let result = match event {
            Event::Start(start) => {
                depth += 1;
                text.clear();
                if depth > MAX_DEPTH {
                    Err(Wrong::Text("elements are nested too deep"))
                } else {
                    sink.start(&Element { start: &start }, depth)
                }
            }
            Event::End(end) => {
                let result = sink.end(end.local_name().into_inner(), text.trim(), depth);
                text.clear();
                depth = depth.saturating_sub(1);
                result
            }
            Event::Text(part) => add(&mut text, &part),
            Event::CData(part) => add(&mut text, &part),
            Event::GeneralRef(reference) => resolve(&reference).and_then(|part| add(&mut text, &part)),
            Event::DocType(_) => Err(Wrong::Text("a document type, which could define entities")),
            Event::Eof if depth > 0 => Err(Wrong::Text("the file ends too early")),
            Event::Eof => return Ok(()),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => Ok(()),
        };
        result.map_err(|wrong| wrong.at(file, at))?;
    }
}

#[expect(clippy::unnecessary_wraps, reason = "one arm of a match whose others can fail")]
fn add(text: &mut String, part: &str) -> Result<(), Wrong> {
    let left = MAX_TEXT.saturating_sub(text.len());
    text.push_str(&part[..part.floor_char_boundary(left)]);
    Ok(())
}

fn resolve(reference: &BytesRef<'_>) -> Result<String, Wrong> {
    let number = reference.resolve_char_ref();
    if let Some(character) = number.map_err(|_| Wrong::Text("a malformed character reference"))? {
        return Ok(character.to_string());
    }
    let known = resolve_predefined_entity(reference);
    known.map(ToOwned::to_owned).ok_or(Wrong::Text("an unknown entity"))
}

/// A reader that gives no more than is left.
struct Metered<R> {
    reader: R,
    left: usize,
}

impl<R: BufRead> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), available.get(..count)) {
            to.copy_from_slice(from);
        }
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Metered<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = self.left;
        let available = self.reader.fill_buf()?;
        if left == 0 && !available.is_empty() {
            return Err(io::Error::other(format!("more than {MAX_EVENT} bytes without a tag")));
        }
        Ok(available.get(..left).unwrap_or(available))
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count);
        self.reader.consume(count);
    }
}
