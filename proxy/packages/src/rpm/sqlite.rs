//! SQLite databases, as far as rpm's need: the second column of the table `Packages`, read from the bytes of the file
//! (sqlite.org/fileformat2.html). No SQL and no C library meets these bytes; each page is used once, so reading is linear.
//! Changes in a write-ahead log beside the file are not seen.

use crate::rpm::bytes::{Bytes, Order};
use crate::rpm::database::{Headers, Malformed, Pages, malformed};

/// How such a file begins.
pub(crate) const MAGIC: &[u8] = b"SQLite format 3\0";

const FILE_HEADER: usize = 100;
const TABLE: &[u8] = b"Packages";
const INTERIOR: u8 = 5;
const LEAF: u8 = 13;

/// The headers of all packages, in the order of their numbers.
pub(crate) fn headers(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let file = Bytes::new(bytes, Order::Big);
    let page_size = match file.u16(16) {
        Some(1) => 65_536,
        Some(size) if size.is_power_of_two() && size >= 512 => usize::from(size),
        _ => return malformed(16, "its pages have a size that none can have"),
    };
    let usable = page_size - usize::from(file.u8(20).unwrap_or_default());
    if usable < 480 {
        return malformed(20, "its pages reserve too much");
    }
    let mut tree = Tree {
        pages: Pages::new(file, page_size),
        headers: Headers::of(bytes.len()),
        usable,
    };
    let mut root = None;
    for row in tree.rows(1, 0)? {
        let (kind, name, page) = (row.column(0), row.column(1), row.column(3));
        if kind.is_some_and(|kind| kind.bytes == b"table") && name.is_some_and(|name| name.bytes == TABLE) {
            root = page.and_then(Column::number);
        }
    }
    let Some(root) = root else {
        return malformed(FILE_HEADER, "it has no table of packages");
    };
    // The first column is the number, which SQLite keeps as the key of the row.
    for row in tree.rows(root, FILE_HEADER)? {
        match row.column(1) {
            Some(column) if column.kind >= 12 && column.kind % 2 == 0 => tree.headers.push(column.bytes.to_owned()),
            _ => return malformed(row.at, "a package has no header"),
        }
    }
    Ok(tree.headers.into_found())
}

struct Tree<'a> {
    pages: Pages<'a>,
    headers: Headers,
    usable: usize,
}

/// The payload of a row: the kinds of its columns, then their values.
struct Row {
    at: usize,
    payload: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Column<'a> {
    kind: u64,
    bytes: &'a [u8],
}

impl<'a> Tree<'a> {
    /// All rows of the table whose tree begins at a page, numbered from 1, named at `by`.
    fn rows(&mut self, root: usize, by: usize) -> Result<Vec<Row>, Malformed> {
        let (mut rows, mut waiting) = (Vec::new(), vec![(root, by)]);
        while let Some((number, by)) = waiting.pop() {
            let (page, start) = self.page(number, by)?;
            if waiting.len() > self.pages.count() {
                return malformed(start, "its table has more pages than the file");
            }
            // The first page begins with the header of the file.
            let head = if number == 1 { FILE_HEADER } else { 0 };
            let count = page.u16(head + 3).map_or(0, usize::from);
            match page.u8(head) {
                Some(LEAF) => {
                    for index in 0..count {
                        rows.push(self.row(page, start, head + 8 + index * 2)?);
                    }
                }
                Some(INTERIOR) => {
                    let right = page.size(head + 8).unwrap_or_default();
                    waiting.push((right, start + head + 8));
                    for index in (0..count).rev() {
                        let at = head + 12 + index * 2;
                        let Some(child) = page.u16(at).and_then(|cell| page.size(usize::from(cell))) else {
                            return malformed(start + at, "a cell is not on its page");
                        };
                        waiting.push((child, start + at));
                    }
                }
                _ => return malformed(start + head, "a page of a table is of another type"),
            }
        }
        Ok(rows)
    }

    fn page(&mut self, number: usize, by: usize) -> Result<(Bytes<'a>, usize), Malformed> {
        match number.checked_sub(1) {
            Some(index) => self.pages.page(index, by),
            None => malformed(by, "a page has the number 0"),
        }
    }

    /// The row whose cell is pointed at on a leaf page that begins at `start`.
    fn row(&mut self, page: Bytes<'_>, start: usize, pointer: usize) -> Result<Row, Malformed> {
        let at = page.u16(pointer).map_or(usize::MAX, usize::from);
        let cell = page.bytes.get(at..self.usable).unwrap_or_default();
        let Some((length, rest)) = varint(cell).and_then(|(length, rest)| Some((length, varint(rest)?.1))) else {
            return malformed(start + pointer, "a cell is not on its page");
        };
        let at = start + at;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.headers.expect(length, at)?;
        let local = self.local(length);
        let Some((kept, rest)) = rest.split_at_checked(local) else {
            return malformed(at, "a cell is longer than its page");
        };
        let mut payload = kept.to_owned();
        if local < length {
            self.overflow(&mut payload, length, Bytes::new(rest, Order::Big), at)?;
        }
        Ok(Row { at, payload })
    }

    /// How much of a payload is on the leaf page itself.
    fn local(&self, length: usize) -> usize {
        let most = self.usable - 35;
        if length <= most {
            return length;
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let fitting = least + (length - least) % (self.usable - 4);
        if fitting <= most { fitting } else { least }
    }

    /// Adds what is on the chain of overflow pages that `pointer` begins with, until there are `length` bytes.
    fn overflow(
        &mut self,
        payload: &mut Vec<u8>,
        length: usize,
        pointer: Bytes<'_>,
        mut at: usize,
    ) -> Result<(), Malformed> {
        let mut number = pointer.size(0).unwrap_or_default();
        while payload.len() < length {
            let (page, start) = self.page(number, at)?;
            let content = page.bytes.get(4..self.usable).unwrap_or_default();
            payload.extend_from_slice(content.get(..length - payload.len()).unwrap_or(content));
            number = page.size(0).unwrap_or_default();
            at = start;
        }
        Ok(())
    }
}

impl Row {
    /// A column by its index; nothing when the row has not so many, or is malformed.
    fn column(&self, index: usize) -> Option<Column<'_>> {
        let (length, mut kinds) = varint(&self.payload)?;
        let length = usize::try_from(length).ok()?;
        kinds = kinds.get(..length.checked_sub(self.payload.len() - kinds.len())?)?;
        let mut values = self.payload.get(length..)?;
        for _ in 0..index {
            let (kind, rest) = varint(kinds)?;
            values = values.get(size(kind)?..)?;
            kinds = rest;
        }
        let (kind, _) = varint(kinds)?;
        let bytes = values.get(..size(kind)?)?;
        Some(Column { kind, bytes })
    }
}

impl Column<'_> {
    /// The value of a column that holds a whole number that addresses a page.
    fn number(self) -> Option<usize> {
        if !matches!(self.kind, 1..=6) {
            return matches!(self.kind, 9).then_some(1);
        }
        let value = self
            .bytes
            .iter()
            .fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
        value.try_into().ok()
    }
}

/// How many bytes a value of a kind has.
fn size(kind: u64) -> Option<usize> {
    match kind {
        0 | 8 | 9 => Some(0),
        1..=4 => usize::try_from(kind).ok(),
        5 => Some(6),
        6 | 7 => Some(8),
        10 | 11 => None,
        _ => usize::try_from((kind - 12) / 2).ok(),
    }
}

/// A number of one to nine bytes, of which all but the ninth give seven bits, and what stands behind it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        let rest = bytes.get(index + 1..)?;
        if index == 8 {
            return Some(((value << 8) | u64::from(*byte), rest));
        }
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}
