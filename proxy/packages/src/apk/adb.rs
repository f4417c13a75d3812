//! The format of apk 3 (apk-v3(5)): a block with values that point at one another, and a block for each signature; compressed
//! as a whole. The signature is checked before any of the values is followed, and every offset is checked when it is.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::DeflateDecoder;
use ring::digest;

use super::index::Builder;
use super::signature::Signature3;
use super::{Index, IndexError, Keys, Offer, Operator};

/// What a file begins with once it is unpacked, and the schema of an index.
const MAGIC: &[u8] = b"ADB.";
const INDEX: &[u8] = b"indx";

/// Kinds of blocks.
const VALUES: u32 = 0;
const SIGNATURE: u32 = 1;
/// Kind of a block whose size does not fit into its first word.
const LARGE: u32 = 3;

/// A signature of version 0: version, digest, identifier of the key, and then the signature itself.
const SIGNATURE_HEAD: usize = 18;
/// Of other versions too.
const MAX_SIGNATURES: usize = 16;

/// Reads an index; if there are `keys`, one of them must have signed it.
pub(crate) fn read(file: &str, bytes: &[u8], keys: Option<&Keys>, limit: u64) -> Result<Index, IndexError> {
    let wrong = |text| IndexError::Format {
        file: file.to_owned(),
        text,
    };
    let unpacked = unpack(file, bytes, limit)?;
    let blocks = unpacked
        .strip_prefix(MAGIC)
        .ok_or_else(|| wrong("it does not begin as one"))?;
    let blocks = blocks
        .strip_prefix(INDEX)
        .ok_or_else(|| wrong("it holds something else"))?;
    let (values, signatures) = split(blocks).ok_or_else(|| wrong("its blocks are malformed"))?;
    if signatures.is_empty() {
        return Err(IndexError::NoSignature { file: file.to_owned() });
    }
    if let Some(keys) = keys {
        keys.check3(file, &signatures)?;
    }
    let values = Values(values);
    let root = values
        .root()
        .ok_or_else(|| wrong("it has no root, or is of a later version"))?;
    let mut builder = Builder::new(limit);
    if !values.bytes(root.field(FILE_NAMES)).is_empty() {
        builder.names_files();
    }
    // Many packages may share one long list, so a small file can make a large index.
    for package in values.items(root.field(PACKAGES)) {
        if builder.is_full() {
            break;
        }
        add(&mut builder, &values, &values.object(package));
    }
    builder.finish(file, values.text(root.field(DESCRIPTION)).to_owned())
}

fn unpack(file: &str, bytes: &[u8], limit: u64) -> Result<Vec<u8>, IndexError> {
    let (head, packed) = bytes.split_at_checked(4).unwrap_or((bytes, &[]));
    let reader: Box<dyn Read + '_> = match (head, packed) {
        (b"ADB.", _) => Box::new(bytes),
        (b"ADBd", _) | (b"ADBc", [1, ..]) => {
            let packed = if head == b"ADBd" {
                packed
            } else {
                packed.get(2..).unwrap_or_default()
            };
            Box::new(DeflateDecoder::new(packed))
        }
        (b"ADBc", [0, _, packed @ ..]) => Box::new(packed),
        (b"ADBc", [2, _, packed @ ..]) => Box::new(zstd::Decoder::with_buffer(packed).map_err(|source| {
            let file = file.to_owned();
            IndexError::Unpack { file, source }
        })?),
        _ => {
            let (file, text) = (file.to_owned(), "its compression is not known here");
            return Err(IndexError::Format { file, text });
        }
    };
    let mut unpacked = Vec::new();
    let read = reader.take(limit.saturating_add(1)).read_to_end(&mut unpacked);
    let file = file.to_owned();
    match read {
        Err(source) => Err(IndexError::Unpack { file, source }),
        Ok(read) if read as u64 > limit => Err(IndexError::TooLarge { file, limit }),
        Ok(_) => Ok(unpacked),
    }
}

/// The block with the values, and the signatures of it.
fn split(mut blocks: &[u8]) -> Option<(&[u8], Vec<Signature3<'_>>)> {
    let (kind, values) = block(&mut blocks)?;
    let mut signatures = Vec::new();
    while kind == VALUES && !blocks.is_empty() {
        let (kind, content) = block(&mut blocks)?;
        if kind != SIGNATURE || signatures.len() >= MAX_SIGNATURES {
            return None;
        }
        signatures.extend(signature(values, content));
    }
    (kind == VALUES).then_some((values, signatures))
}

/// Takes a block off, with its kind.
fn block<'a>(blocks: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    let word = u32::from_le_bytes(*blocks.first_chunk()?);
    let (kind, low) = (word >> 30, word & 0x3fff_ffff);
    let (kind, size, head) = if kind == LARGE {
        let size = u64::from_le_bytes(*blocks.get(8..)?.first_chunk()?);
        (low, usize::try_from(size).ok()?, 16)
    } else {
        (kind, usize::try_from(low).ok()?, 4)
    };
    let content = blocks.get(head..size)?;
    *blocks = blocks.get(size.checked_next_multiple_of(8)?..)?;
    Some((kind, content))
}

/// A signature that this version knows; others may stand beside it.
fn signature<'a>(values: &[u8], block: &'a [u8]) -> Option<Signature3<'a>> {
    let (head, bytes) = block.split_at_checked(SIGNATURE_HEAD)?;
    let [0, algorithm, id @ ..] = head else { return None };
    let algorithm = match algorithm {
        3 => &digest::SHA256,
        4 => &digest::SHA512,
        _ => return None,
    };
    let digest = digest::digest(algorithm, values);
    Some(Signature3 {
        id: *id.first_chunk()?,
        message: [INDEX, head, digest.as_ref()].concat(),
        bytes,
    })
}

/// Fields of an index.
const DESCRIPTION: usize = 1;
const PACKAGES: usize = 2;
const FILE_NAMES: usize = 3;

/// Fields of a package.
const NAME: usize = 1;
const VERSION: usize = 2;
const HASHES: usize = 3;
const ARCHITECTURE: usize = 5;
const ORIGIN: usize = 7;
const SIZE: usize = 13;
const DEPENDS: usize = 15;
const PROVIDES: usize = 16;

fn add(builder: &mut Builder, values: &Values<'_>, package: &Object<'_>) {
    let hash = values.bytes(package.field(HASHES));
    let checksum = match hash.len() {
        20 => format!("Q1{}", STANDARD.encode(hash)),
        32 => format!("Q2{}", STANDARD.encode(hash)),
        _ => String::new(),
    };
    let mut offer = Offer {
        name: values.text(package.field(NAME)),
        version: values.text(package.field(VERSION)),
        architecture: values.text(package.field(ARCHITECTURE)),
        origin: values.text(package.field(ORIGIN)),
        checksum: &checksum,
        depends: "",
        provides: "",
        size: values.number(package.field(SIZE)),
    };
    // Lists are followed only for what is taken, so the limit of the text is one of the time, too.
    let lists = [DEPENDS, PROVIDES].map(|list| match offer.is_installable() {
        true => dependencies(values, package.field(list)),
        false => String::new(),
    });
    [offer.depends, offer.provides] = lists.each_ref().map(String::as_str);
    builder.add(&offer);
}

/// Dependencies as apk 2 writes them: `so:libc.musl-x86_64.so.1 foo>=1.2 !bar`.
fn dependencies(values: &Values<'_>, list: u32) -> String {
    let mut text = String::new();
    for item in values.items(list) {
        let dependency = values.object(item);
        let [name, version] = [NAME, VERSION].map(|field| values.text(dependency.field(field)));
        let bits = match values.number(dependency.field(3)) {
            0 => 1,
            bits => bits,
        };
        let has = |bit| bits & bit != 0;
        let operator = Operator {
            equal: has(1),
            less: has(2),
            greater: has(4),
            prefix: has(8),
        };
        let before = if text.is_empty() { "" } else { " " };
        let conflict = if has(16) { "!" } else { "" };
        let bound = if version.is_empty() {
            String::new()
        } else {
            format!("{operator}{version}")
        };
        // A list may have one item many times, and so be longer than its file.
        if name.is_empty() || text.len().saturating_add(name.len()) > values.0.len() {
            break;
        }
        text.extend([before, conflict, name, &bound]);
    }
    text
}

/// A block of values. A value that is not what is asked for is empty, as in apk.
pub(super) struct Values<'a>(pub(super) &'a [u8]);

/// An object or an array: its fields, from the second on; the first is their number.
pub(super) struct Object<'a>(&'a [u8]);

impl Object<'_> {
    pub(super) fn field(&self, number: usize) -> u32 {
        let at = number.saturating_mul(4);
        let word = self.0.get(at..).and_then(|rest| rest.first_chunk());
        word.map_or(0, |word| u32::from_le_bytes(*word))
    }
}

impl<'a> Values<'a> {
    /// The root; nothing when a later version wrote it so that this one cannot read it.
    pub(super) fn root(&self) -> Option<Object<'a>> {
        let [0, _, _, _, root @ ..] = self.0.first_chunk::<8>()? else {
            return None;
        };
        Some(self.object(u32::from_le_bytes(*root)))
    }

    fn at(&self, value: u32) -> &'a [u8] {
        let offset = usize::try_from(value & 0x0fff_ffff).unwrap_or(usize::MAX);
        self.0.get(offset..).unwrap_or_default()
    }

    pub(super) fn object(&self, value: u32) -> Object<'a> {
        let words = self.at(value);
        let count = words.first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
        let length = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(4);
        let is_object = matches!(value >> 28, 0xd | 0xe);
        Object(words.get(..length).filter(|_| is_object).unwrap_or_default())
    }

    fn items(&self, value: u32) -> impl Iterator<Item = u32> + use<'a> {
        let array = self.object(value);
        (1..array.0.len() / 4).map(move |number| array.field(number))
    }

    pub(super) fn bytes(&self, value: u32) -> &'a [u8] {
        let blob = self.at(value);
        let found = match (value >> 28, blob) {
            (0x8, [length, rest @ ..]) => rest.get(..usize::from(*length)),
            (0x9, [low, high, rest @ ..]) => rest.get(..usize::from(u16::from_le_bytes([*low, *high]))),
            (0xa, _) => blob.split_first_chunk().and_then(|(length, rest)| {
                let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
                rest.get(..length)
            }),
            _ => None,
        };
        found.unwrap_or_default()
    }

    pub(super) fn text(&self, value: u32) -> &'a str {
        std::str::from_utf8(self.bytes(value)).unwrap_or_default()
    }

    pub(super) fn number(&self, value: u32) -> u64 {
        let at = self.at(value);
        match value >> 28 {
            0x1 => u64::from(value & 0x0fff_ffff),
            0x2 => at.first_chunk().map_or(0, |word| u64::from(u32::from_le_bytes(*word))),
            0x3 => at.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)),
            _ => 0,
        }
    }
}
