//! Any tag of a header by its number, for those who need more of a package than who it is.
//! What a header says of its own size is believed only as far as its bytes go.

use std::collections::BTreeMap;

use crate::rpm::bytes::Bytes;
use crate::rpm::database::Wrong;
use crate::rpm::header::{ENTRY, INTRO, MAX_TAGS};

const INT16: u32 = 3;
const INT32: u32 = 4;
const INT64: u32 = 5;
const STRING: u32 = 6;
const STRING_ARRAY: u32 = 8;
const I18N_STRING: u32 = 9;

/// The tags of a header.
pub(crate) struct Values<'a> {
    store: Bytes<'a>,
    /// Kind, place in the store, and count by tag.
    entries: BTreeMap<u32, (u32, usize, usize)>,
}

impl<'a> Values<'a> {
    /// Reads the index of a header without its magic.
    pub(crate) fn read(header: Bytes<'a>) -> Result<Self, Wrong> {
        const SHORT: Wrong = Wrong::Text("its header ends too early");
        let count = header.size(0).ok_or(SHORT)?;
        if count > MAX_TAGS {
            return Err(Wrong::Text("its header has too many tags"));
        }
        let size = header.size(4).ok_or(SHORT)?;
        let store = Bytes::new(header.slice(INTRO + count * ENTRY, size).ok_or(SHORT)?, header.order);
        let mut entries = BTreeMap::new();
        for index in 0..count {
            let entry = Bytes::new(header.slice(INTRO + index * ENTRY, ENTRY).ok_or(SHORT)?, header.order);
            let place = (
                entry.u32(4).ok_or(SHORT)?,
                entry.size(8).ok_or(SHORT)?,
                entry.size(12).ok_or(SHORT)?,
            );
            entries.insert(entry.u32(0).ok_or(SHORT)?, place);
        }
        Ok(Self { store, entries })
    }

    /// A text, or the first of several.
    pub(crate) fn text(&self, tag: u32) -> Option<String> {
        self.texts(tag).next()
    }

    /// Texts; none where the tag is not there or no text.
    pub(crate) fn texts(&self, tag: u32) -> impl Iterator<Item = String> + use<'a> {
        let (count, offset) = match self.entries.get(&tag) {
            Some((STRING, offset, _)) => (1, *offset),
            Some((STRING_ARRAY | I18N_STRING, offset, count)) => (*count, *offset),
            _ => (0, 0),
        };
        let rest = self.store.bytes.get(offset..).unwrap_or_default();
        // What stands behind the last zero is no text, and an empty rest has none.
        let texts = rest.split_inclusive(|byte| *byte == 0).take(count);
        texts.filter_map(|text| Some(String::from_utf8_lossy(text.strip_suffix(&[0])?).into_owned()))
    }

    /// Numbers of 16, 32 or 64 bits; none where the tag is not there or no number.
    pub(crate) fn numbers(&self, tag: u32) -> impl Iterator<Item = u64> + use<'a> {
        let (width, offset, count) = match self.entries.get(&tag) {
            Some((INT16, offset, count)) => (2, *offset, *count),
            Some((INT32, offset, count)) => (4, *offset, *count),
            Some((INT64, offset, count)) => (8, *offset, *count),
            _ => (8, 0, 0),
        };
        let rest = self.store.bytes.get(offset..).unwrap_or_default();
        let order = self.store.order;
        rest.chunks_exact(width).take(count).filter_map(move |bytes| {
            let bytes = Bytes::new(bytes, order);
            match width {
                2 => bytes.u16(0).map(u64::from),
                4 => bytes.u32(0).map(u64::from),
                _ => Some(u64::from(bytes.u32(0)?) << 32 | u64::from(bytes.u32(4)?)),
            }
        })
    }

    /// A number, or the first of several.
    pub(crate) fn number(&self, tag: u32) -> Option<u64> {
        self.numbers(tag).next()
    }
}
