//! NDB, rpm's own database format, which SUSE uses: a table of slots, each with the place of one header.
//! Numbers have their lowest byte first; places and lengths count blocks of 16 bytes.

use crate::rpm::bytes::{Bytes, Order};
use crate::rpm::database::{Headers, Malformed, malformed};

/// How such a file begins.
pub(crate) const MAGIC: &[u8] = b"RpmP";
const SLOT_MAGIC: &[u8] = b"Slot";
const HEAD_MAGIC: &[u8] = b"BlbS";
const TAIL_MAGIC: &[u8] = b"BlbE";

const PAGE: usize = 4096;
const BLOCK: usize = 16;
const FILE_HEADER: usize = 32;
const SLOT: usize = 16;
/// Magic, package number, generation, length.
const HEAD: usize = 16;
/// Checksum, length, magic.
const TAIL: usize = 12;

/// The headers of all packages, in the order of their slots.
pub(crate) fn headers(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Malformed> {
    let file = Bytes::new(bytes, Order::Little);
    let Some((0, pages)) = file.u32(4).zip(file.size(12)) else {
        return malformed(4, "its version is not 0");
    };
    let end = pages.saturating_mul(PAGE);
    if pages == 0 || end > bytes.len() {
        return malformed(12, "its slots are beyond the end of the file");
    }
    let mut headers = Headers::of(bytes.len());
    for at in (FILE_HEADER..end).step_by(SLOT) {
        let slot = Bytes::new(file.slice(at, SLOT).unwrap_or_default(), Order::Little);
        if slot.slice(0, 4) != Some(SLOT_MAGIC) {
            return malformed(at, "a slot does not begin as one");
        }
        match (slot.u32(4), slot.size(8), slot.size(12)) {
            (_, Some(0), _) => {}
            (Some(number), Some(offset), Some(blocks)) => {
                let (start, length) = (offset.saturating_mul(BLOCK), blocks.saturating_mul(BLOCK));
                let Some(blob) = file.slice(start, length).filter(|_| start >= end) else {
                    return malformed(at, "a slot leads out of the file");
                };
                headers.expect(length, at)?;
                headers.push(header(Bytes::new(blob, Order::Little), number, start)?.to_owned());
            }
            _ => return malformed(at, "a slot is cut off"),
        }
    }
    Ok(headers.into_found())
}

/// The header in the blob that begins at `at`.
fn header(blob: Bytes<'_>, number: u32, at: usize) -> Result<&[u8], Malformed> {
    if blob.slice(0, 4) != Some(HEAD_MAGIC) || blob.u32(4) != Some(number) {
        return malformed(at, "a header does not begin as its slot says");
    }
    let length = blob.size(12).unwrap_or(usize::MAX);
    let Some(tail) = blob.bytes.len().checked_sub(TAIL) else {
        return malformed(at, "a header is cut off");
    };
    let (ends, tail_length) = (blob.slice(tail + 8, 4), blob.size(tail + 4));
    if ends != Some(TAIL_MAGIC) || tail_length != Some(length) {
        return malformed(at, "a header does not end as it says");
    }
    match blob.slice(HEAD, length) {
        Some(header) if HEAD.saturating_add(length) <= tail => Ok(header),
        _ => malformed(at, "a header is longer than its blocks"),
    }
}
