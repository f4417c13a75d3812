//! Signatures of repository indexes (OpenPGP, RFC 9580): clear-signed like apt's `InRelease`, or beside the file like
//! `Release.gpg` and `repomd.xml.asc`. One good signature by a key of the given files suffices, as apt holds it; weak
//! algorithms, keys that are expired or revoked, and text that no signature covers are refused.

use std::time::SystemTime;

use pgp::packet::{Packet, Signature};

mod armor;
mod check;
mod framework;
mod keys;

/// The longest message or signed file, in bytes.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;

/// The longest file of keys, in bytes.
pub const MAX_KEYS: usize = 4 * 1024 * 1024;

/// Signatures of one message that are looked at, and keys of all files together.
const MAX_SIGNATURES: usize = 64;
const MAX_CERTIFICATES: usize = 1000;

/// A good signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Of the primary key, in upper-case hexadecimal digits as gpg prints it.
    pub fingerprint: String,
    /// Exactly what is signed, see [`cleartext`].
    pub text: Vec<u8>,
}

/// Why no signature is good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no signature at all.
    #[error("it is not signed")]
    NotSigned,
    /// Not what RFC 9580 says it should be.
    #[error("the signed message is broken: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// The given files have no OpenPGP key.
    #[error("the key files have no key that can be read")]
    NoKeys,
    /// None of the keys that signed is in the given files.
    #[error("it is signed by keys that are not trusted: {}", ids.join(", "))]
    UnknownKey {
        /// Key ids, 16 upper-case hexadecimal digits each.
        ids: Vec<String>,
    },
    /// The signature is not by that key over that text.
    #[error("the signature by the key {fingerprint} is bad")]
    Bad {
        /// Of the primary key.
        fingerprint: String,
    },
    /// The key has expired, or the signature has, or it was made before the key or after today.
    #[error("the key {fingerprint} or its signature has expired or is not yet valid")]
    Expired {
        /// Of the primary key.
        fingerprint: String,
    },
    /// The key, or the subkey that signed, is revoked.
    #[error("the key {fingerprint} is revoked")]
    Revoked {
        /// Of the primary key.
        fingerprint: String,
    },
    /// An algorithm or a size that is not accepted.
    #[error("the signature is made with {what}, which is not accepted")]
    Weak {
        /// The algorithm, with the size of the key where that is too small.
        what: String,
    },
    /// Over a limit.
    #[error("the {what} is larger than {limit} bytes")]
    TooLarge {
        /// Which input.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
}

/// The signed text of a clear-signed message (RFC 9580, section 7), which is not verified. Dash escapes are undone, every line
/// ends with LF, and blanks at the end of lines are gone, for they are not signed.
///
/// # Errors
/// [`Error::NotSigned`] for a file that is not such a message, [`Error::Malformed`] for one that is broken or has anything but
/// blank lines outside of it, and [`Error::TooLarge`].
pub fn cleartext(message: &[u8]) -> Result<Vec<u8>, Error> {
    Ok(framework::split(bounded("message", message, MAX_MESSAGE)?)?.text())
}

/// Verifies a clear-signed message against the keys of files, each binary or armored.
///
/// # Errors
/// Those of [`cleartext`], and why no signature is good.
pub fn verify_inline(message: &[u8], keys: &[&[u8]], now: SystemTime) -> Result<Verified, Error> {
    let message = framework::split(bounded("message", message, MAX_MESSAGE)?)?;
    let signatures = signatures(&armor::decode(message.armor, armor::SIGNATURE))?;
    let fingerprint = check::any(&message.canonical(), &signatures, &certificates(keys)?, now)?;
    Ok(Verified {
        fingerprint,
        text: message.text(),
    })
}

/// Verifies a signature that lies beside its file, binary or armored, against the keys of files. Returns the fingerprint of the
/// primary key.
///
/// # Errors
/// [`Error::NotSigned`] if `signature` is empty or text without a signature, and why none is good.
pub fn verify_detached(data: &[u8], signature: &[u8], keys: &[&[u8]], now: SystemTime) -> Result<String, Error> {
    bounded("signed file", data, MAX_MESSAGE)?;
    bounded("signature", signature, MAX_MESSAGE)?;
    let blocks = armor::blocks(signature, armor::SIGNATURE);
    if blocks.is_empty() {
        return Err(Error::NotSigned);
    }
    check::any(data, &signatures(&blocks)?, &certificates(keys)?, now)
}

fn bounded<'a>(what: &'static str, bytes: &'a [u8], limit: usize) -> Result<&'a [u8], Error> {
    if bytes.len() > limit {
        return Err(Error::TooLarge { what, limit });
    }
    Ok(bytes)
}

/// The signatures of blocks of packets. Those of a version that is not known count for nothing.
fn signatures(blocks: &[Vec<u8>]) -> Result<Vec<Signature>, Error> {
    let mut found = Vec::new();
    for packet in blocks
        .iter()
        .flat_map(|block| armor::packets(block))
        .take(MAX_SIGNATURES)
    {
        match packet {
            Ok(Packet::Signature(signature)) => found.push(signature),
            // What a newer version may put there.
            Err(_) | Ok(Packet::Marker(_) | Packet::Padding(_)) => {}
            Ok(_) => return Err(malformed("it has a packet that is not a signature")),
        }
    }
    if found.is_empty() {
        return Err(malformed("its signature cannot be read"));
    }
    Ok(found)
}

fn certificates(files: &[&[u8]]) -> Result<Vec<keys::Certificate>, Error> {
    let mut found = Vec::new();
    for file in files {
        keys::read(bounded("key file", file, MAX_KEYS)?, MAX_CERTIFICATES, &mut found);
    }
    if found.is_empty() {
        return Err(Error::NoKeys);
    }
    Ok(found)
}

fn malformed(what: &'static str) -> Error {
    Error::Malformed { what }
}
