//! `APKINDEX.tar.gz` of apk 2: gzip members one after another, first signatures, then the tar with the index, whose compressed
//! bytes are what was signed. Nothing of the index is unpacked before its signature is checked.

use std::io::{BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use super::index::Builder;
use super::lines::Lines;
use super::signature::Signature;
use super::{Error, Index, IndexError, Keys, Offer};

/// The members before the index, and the size of each once it is unpacked: a signature has some hundred bytes.
const MAX_SIGNATURES: usize = 16;
const MAX_SIGNATURE: u64 = 64 * 1024;

/// apk reads no longer description.
const MAX_DESCRIPTION: u64 = 160;

/// Reads an index; if there are `keys`, one of them must have signed it.
pub(crate) fn read(file: &str, bytes: &[u8], keys: Option<&Keys>, limit: u64) -> Result<Index, IndexError> {
    let (signatures, signed) = split(file, bytes)?;
    if signatures.is_empty() {
        return Err(IndexError::NoSignature { file: file.to_owned() });
    }
    if let Some(keys) = keys {
        keys.check(file, &signatures, signed)?;
    }
    unpack(file, signed, limit)
}

/// The signatures, and the compressed bytes that they are of.
fn split<'a>(file: &str, bytes: &'a [u8]) -> Result<(Vec<Signature>, &'a [u8]), IndexError> {
    let mut signatures = Vec::new();
    let mut rest = bytes;
    for _ in 0..MAX_SIGNATURES {
        let mut member = GzDecoder::new(rest);
        let Some(found) = signature(&mut member) else {
            break;
        };
        signatures.extend(found);
        rest = member.into_inner();
    }
    if rest.is_empty() {
        let text = "nothing comes after the signatures";
        let file = file.to_owned();
        return Err(IndexError::Format { file, text });
    }
    Ok((signatures, rest))
}

/// The signatures of a member; nothing when it holds something else.
fn signature(member: &mut GzDecoder<&[u8]>) -> Option<Vec<Signature>> {
    let mut unpacked = Vec::new();
    member.take(MAX_SIGNATURE).read_to_end(&mut unpacked).ok()?;
    // To its end, so that what comes after it is the next member.
    if unpacked.len() as u64 == MAX_SIGNATURE || !unpacked.starts_with(b".SIGN.") {
        return None;
    }
    let mut signatures = Vec::new();
    for entry in tar::Archive::new(&*unpacked).entries().ok()? {
        let mut entry = entry.ok()?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).ok()?;
        if let Some(name) = name.strip_prefix(".SIGN.") {
            signatures.push(Signature {
                name: name.to_owned(),
                bytes,
            });
        }
    }
    Some(signatures)
}

/// Reads the index out of its tar.
fn unpack(file: &str, bytes: &[u8], limit: u64) -> Result<Index, IndexError> {
    let broken = |source| IndexError::Unpack {
        file: file.to_owned(),
        source,
    };
    let wrong = |text| IndexError::Format {
        file: file.to_owned(),
        text,
    };
    let too_large = || IndexError::TooLarge {
        file: file.to_owned(),
        limit,
    };
    let mut member = GzDecoder::new(bytes);
    let mut tar = tar::Archive::new((&mut member).take(limit.saturating_add(1)));
    let (mut description, mut builder) = (String::new(), None);
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        match &*entry.path_bytes() {
            b"DESCRIPTION" => {
                let mut bytes = Vec::new();
                (&mut entry)
                    .take(MAX_DESCRIPTION)
                    .read_to_end(&mut bytes)
                    .map_err(broken)?;
                description = String::from_utf8_lossy(&bytes).trim().to_owned();
            }
            b"APKINDEX" if entry.size() > limit => return Err(too_large()),
            b"APKINDEX" => builder = Some(packages(file, BufReader::new(entry), limit).map_err(IndexError::Text)?),
            _ => {}
        }
    }
    let mut left = tar.into_inner();
    std::io::copy(&mut left, &mut std::io::sink()).map_err(broken)?;
    if left.limit() == 0 {
        return Err(too_large());
    }
    if !member.into_inner().is_empty() {
        return Err(wrong("something comes after the index"));
    }
    let builder = builder.ok_or_else(|| wrong("it has no APKINDEX"))?;
    builder.finish(file, description)
}

/// Reads the packages of an index.
fn packages(file: &str, reader: impl BufRead, limit: u64) -> Result<Builder, Error> {
    let mut lines = Lines::new(file, reader, limit);
    let mut builder = Builder::new(limit);
    let mut record: [String; LETTERS.len()] = Default::default();
    let mut begun = false;
    while let Some(field) = lines.next()? {
        let Some((letter, value)) = field else {
            if begun {
                add(&mut builder, &record);
            }
            record.iter_mut().for_each(String::clear);
            begun = false;
            continue;
        };
        begun = true;
        if let Some(place) = LETTERS.iter().position(|known| *known == letter)
            && let Some(field) = record.get_mut(place)
        {
            field.clear();
            field.push_str(&String::from_utf8_lossy(value));
        }
    }
    if begun {
        add(&mut builder, &record);
    }
    Ok(builder)
}

/// The fields that we keep.
const LETTERS: [u8; 8] = *b"PVAoCDpS";

fn add(builder: &mut Builder, record: &[String; LETTERS.len()]) {
    let [name, version, architecture, origin, checksum, depends, provides, size] = record;
    builder.add(&Offer {
        name,
        version,
        architecture,
        origin,
        checksum,
        depends,
        provides,
        size: size.parse().unwrap_or_default(),
    });
}
