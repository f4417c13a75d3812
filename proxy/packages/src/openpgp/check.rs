//! The verdict on signatures of data: algorithms first, then the arithmetic, then the times. Says of all that fail the one
//! thing that a person should look at first.

use std::time::{Duration, SystemTime};

use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::ser::Serialize;
use pgp::types::{EcdsaPublicParams, EddsaLegacyPublicParams, Fingerprint, PublicParams};

use super::keys::{Certificate, Signer, State, made};
use super::{Error, MAX_SIGNATURES, malformed};

/// How far ahead of ours a signer's clock may be.
const CLOCK_SKEW: u64 = Duration::from_hours(24).as_secs();

/// Certificates that are tried for one signature; more than one has its key only if it is in the files twice.
const MAX_TRIED: usize = 4;

/// Bytes that are hashed for one message. A message of the greatest size may have 4 signatures by known keys, and a real one
/// of less than a MiB as many as are looked at.
const MAX_HASHED: usize = 64 * 1024 * 1024;

/// The smallest RSA key, in bits.
const MIN_RSA_BITS: u16 = 2048;

/// Returns the fingerprint of the first certificate of which a signature is good.
pub(super) fn any(
    data: &[u8],
    signatures: &[Signature],
    certificates: &[Certificate],
    now: SystemTime,
) -> Result<String, Error> {
    let now = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut tries = (MAX_HASHED / data.len().max(1)).min(MAX_SIGNATURES);
    let (mut worst, mut unknown) = (None::<Error>, Vec::new());
    for signature in signatures {
        let signers = certificates
            .iter()
            .filter_map(|certificate| Some((certificate, certificate.signer(signature)?)))
            .take(MAX_TRIED.min(tries));
        let mut known = false;
        for (certificate, signer) in signers {
            tries = tries.saturating_sub(1);
            if signer.state == State::Unbound && weak_key(signer.key.params()).is_none() {
                continue;
            }
            known = true;
            let fingerprint = certificate.fingerprint();
            match one(data, signature, &signer, now, &fingerprint) {
                Ok(()) => return Ok(fingerprint),
                Err(error) if worst.as_ref().is_none_or(|worst| rank(&error) < rank(worst)) => worst = Some(error),
                Err(_) => {}
            }
        }
        if !known {
            unknown.extend(issuer(signature).filter(|id| !unknown.contains(id)));
        }
    }
    Err(match worst {
        Some(error) => error,
        None if unknown.is_empty() => malformed("its signature does not say whose it is"),
        None => Error::UnknownKey { ids: unknown },
    })
}

/// What to tell first when signatures fail in several ways.
fn rank(error: &Error) -> u8 {
    match error {
        Error::Bad { .. } => 0,
        Error::Revoked { .. } => 1,
        Error::Expired { .. } => 2,
        Error::Weak { .. } => 3,
        Error::NotSigned
        | Error::Malformed { .. }
        | Error::NoKeys
        | Error::UnknownKey { .. }
        | Error::TooLarge { .. } => 4,
    }
}

fn one(data: &[u8], signature: &Signature, signer: &Signer<'_>, now: u64, fingerprint: &str) -> Result<(), Error> {
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err(malformed("its signature is of another kind than one of data"));
    }
    if let Some(what) = weak_hash(signature).or_else(|| weak_key(signer.key.params())) {
        return Err(Error::Weak { what });
    }
    let fingerprint = fingerprint.to_owned();
    if !signer.key.verifies(signature, data) {
        return Err(Error::Bad { fingerprint });
    }
    match signer.state {
        State::Valid { from, until } if in_time(signature, from, until, now) => Ok(()),
        State::Valid { .. } => Err(Error::Expired { fingerprint }),
        State::Revoked | State::Unbound => Err(Error::Revoked { fingerprint }),
    }
}

/// Whether a signature was made while its key held, and both hold now.
fn in_time(signature: &Signature, from: u64, until: Option<u64>, now: u64) -> bool {
    let Some(made) = made(signature) else {
        return false;
    };
    let lasts = signature
        .signature_expiration_time()
        .map_or(0, |duration| duration.as_secs());
    let expired = lasts != 0 && made.saturating_add(lasts.into()) <= now;
    let key_expired = until.is_some_and(|until| until <= now || until <= made);
    from <= made && made <= now.saturating_add(CLOCK_SKEW) && !expired && !key_expired
}

fn weak_hash(signature: &Signature) -> Option<String> {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    match signature.hash_alg() {
        Some(Sha256 | Sha384 | Sha512) => None,
        Some(HashAlgorithm::Other(number)) => Some(format!("the hash algorithm {number}")),
        Some(other) => Some(other.to_string()),
        None => Some("a version of OpenPGP that is not known".to_owned()),
    }
}

fn weak_key(params: &PublicParams) -> Option<String> {
    let name = match params {
        PublicParams::RSA(key) => {
            // An MPI begins with its length in bits (RFC 9580, section 3.2), and the modulus comes first.
            let bytes = key.to_bytes().unwrap_or_default();
            let bits = bytes.first_chunk().map_or(0, |bits| u16::from_be_bytes(*bits));
            return (bits < MIN_RSA_BITS).then(|| format!("an RSA key of {bits} bits"));
        }
        PublicParams::Ed25519(_)
        | PublicParams::EdDSALegacy(EddsaLegacyPublicParams::Ed25519 { .. })
        | PublicParams::ECDSA(
            EcdsaPublicParams::P256 { .. } | EcdsaPublicParams::P384 { .. } | EcdsaPublicParams::P521 { .. },
        ) => return None,
        PublicParams::DSA(_) => "a DSA key",
        PublicParams::ECDSA(_) | PublicParams::EdDSALegacy(_) => "a key on another elliptic curve",
        _ => "a key of another algorithm",
    };
    Some(name.to_owned())
}

/// The id of the key that a signature says it is made with.
fn issuer(signature: &Signature) -> Option<String> {
    let id = match signature.issuer_key_id().first() {
        Some(id) => id.to_string(),
        None => match signature.issuer_fingerprint().first()? {
            Fingerprint::V6(bytes) => hex(bytes.get(..8)?),
            other => hex(other.as_bytes().rchunks(8).next()?),
        },
    };
    Some(id.to_uppercase())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
