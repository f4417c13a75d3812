//! Berkeley DB's hash tables, in which rpm kept its packages until version 4.16 (Berkeley DB's `db_page.h`, versions 3 to
//! 5). Every hash page is looked at, in the order of the file, for what we want is all of it; either order of bytes.

use crate::rpm::bytes::{Bytes, Order};
use crate::rpm::database::{Headers, Malformed, Pages, malformed};

const MAGIC: u32 = 0x0006_1561;
const META_PAGE: u8 = 8;
const HASH_PAGE_UNSORTED: u8 = 2;
const HASH_PAGE: u8 = 13;
const OVERFLOW_PAGE: u8 = 7;

/// What every page begins with: log position, number, previous page, next page, entries, free offset, level, type.
const PAGE_HEADER: usize = 26;
const NEXT: usize = 16;
const ENTRIES: usize = 20;
const FREE_OFFSET: usize = 22;
const TYPE: usize = 25;

/// The kinds of items on a hash page: the bytes themselves, or the overflow page where they begin.
const ON_PAGE: u8 = 1;
const OFF_PAGE: u8 = 3;

/// The order of bytes of a hash table; nothing when it is none.
pub(crate) fn order(bytes: &[u8]) -> Option<Order> {
    [Order::Little, Order::Big]
        .into_iter()
        .find(|order| Bytes::new(bytes, *order).u32(12) == Some(MAGIC))
}

/// The headers of all packages.
pub(crate) fn headers(file: Bytes<'_>) -> Result<Vec<Vec<u8>>, Malformed> {
    let size = file.size(20).unwrap_or_default();
    if !size.is_power_of_two() || !(512..=65_536).contains(&size) {
        return malformed(20, "its pages have a size that none can have");
    }
    if file.u8(24) != Some(0) || file.u8(26) != Some(0) {
        return malformed(24, "it is encrypted, or has checksums");
    }
    if file.u8(TYPE) != Some(META_PAGE) {
        return malformed(TYPE, "it does not begin as a hash table");
    }
    let last = file.size(32).unwrap_or_default();
    let mut pages = Pages::new(file, size);
    if last >= pages.count() {
        return malformed(32, "its last page is beyond the end of the file");
    }
    let mut table = Table {
        headers: Headers::of(file.bytes.len()),
        overflow: Pages::new(file, size),
    };
    for number in 1..=last {
        let (page, start) = pages.page(number, 32)?;
        if matches!(page.u8(TYPE), Some(HASH_PAGE | HASH_PAGE_UNSORTED)) {
            table.read(page, start)?;
        }
    }
    Ok(table.headers.into_found())
}

struct Table<'a> {
    headers: Headers,
    overflow: Pages<'a>,
}

impl Table<'_> {
    /// Takes the headers of a hash page: its items are keys and values by turns, the first one at its end.
    fn read(&mut self, page: Bytes<'_>, start: usize) -> Result<(), Malformed> {
        let count = usize::from(page.u16(ENTRIES).unwrap_or_default());
        let mut end = page.bytes.len();
        let mut key: Option<&[u8]> = None;
        for index in 0..count {
            let at = PAGE_HEADER + index * 2;
            let offset = page.u16(at).map_or(usize::MAX, usize::from);
            let Some(item) = page
                .bytes
                .get(offset..end)
                .filter(|_| offset >= PAGE_HEADER + count * 2)
            else {
                return malformed(start + at, "an item is not on its page");
            };
            end = offset;
            match key.take() {
                None => key = Some(item),
                // Under the key 0 is the number of the next package.
                Some([ON_PAGE, 0, 0, 0, 0]) => {}
                Some(_) => self.value(Bytes::new(item, page.order), start + offset)?,
            }
        }
        match key {
            None => Ok(()),
            Some(_) => malformed(start + ENTRIES, "a key has no value"),
        }
    }

    fn value(&mut self, item: Bytes<'_>, at: usize) -> Result<(), Malformed> {
        let header = match item.u8(0) {
            Some(ON_PAGE) => {
                let bytes = item.bytes.get(1..).unwrap_or_default();
                self.headers.expect(bytes.len(), at)?;
                bytes.to_owned()
            }
            Some(OFF_PAGE) => {
                let Some((first, length)) = item.size(4).zip(item.size(8)) else {
                    return malformed(at, "an item is cut off");
                };
                self.headers.expect(length, at)?;
                self.chain(first, length, at)?
            }
            _ => return malformed(at, "an item is of a kind that rpm does not use"),
        };
        self.headers.push(header);
        Ok(())
    }

    /// The bytes on a chain of overflow pages.
    fn chain(&mut self, first: usize, length: usize, mut at: usize) -> Result<Vec<u8>, Malformed> {
        let (mut bytes, mut number) = (Vec::new(), first);
        while bytes.len() < length {
            let (page, start) = self.overflow.page(number, at)?;
            if page.u8(TYPE) != Some(OVERFLOW_PAGE) {
                return malformed(start + TYPE, "a page of a header is of another type");
            }
            let held = page.u16(FREE_OFFSET).map_or(usize::MAX, usize::from);
            let Some(held) = page.slice(PAGE_HEADER, held) else {
                return malformed(start + FREE_OFFSET, "a page says that it holds more than it can");
            };
            bytes.extend_from_slice(held);
            at = start + NEXT;
            number = page.size(NEXT).unwrap_or_default();
        }
        if bytes.len() > length {
            return malformed(at, "a header is longer than it says");
        }
        Ok(bytes)
    }
}
