//! Keys (RFC 9580, section 10.1): which of a certificate's keys may sign, and from when to when. Only what the primary key has
//! signed itself counts. SHA-1 is good enough for that, since old keys have nothing else and the files are the operator's.

use pgp::composed::{SignedKeyDetails, SignedPublicKey, SignedPublicKeyParser, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Packet, PacketTrait, PublicKey, PublicSubkey, Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, KeyVersion, PublicParams, Tag, VerifyingKey};

use super::armor;

/// Signatures that the primary key of a certificate may have made; each may cost a verification.
const MAX_OWN_SIGNATURES: usize = 200;

/// A primary key with its subkeys.
#[derive(Debug)]
pub(super) struct Certificate(SignedPublicKey);

/// Whether a key may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It may, from and to before seconds since 1970.
    Valid {
        /// When it was made.
        from: u64,
        /// When it expires.
        until: Option<u64>,
    },
    /// It was revoked, at whatever time and for whatever reason.
    Revoked,
    /// It is not bound to the certificate, or not for signing.
    Unbound,
}

/// A key that a signature names.
pub(super) struct Signer<'a> {
    /// The key itself.
    pub(super) key: SigningKey<'a>,
    /// What may be done with it.
    pub(super) state: State,
}

/// Either kind of key.
pub(super) enum SigningKey<'a> {
    /// The certificate's own.
    Primary(&'a PublicKey),
    /// One that it has signed.
    Subkey(&'a PublicSubkey),
}

/// Adds the certificates of a file, up to `limit` in all. Those that cannot be read are left out.
pub(super) fn read(file: &[u8], limit: usize, found: &mut Vec<Certificate>) {
    for block in armor::blocks(file, armor::PUBLIC_KEY) {
        let packets = armor::packets(&block).filter(|packet| packet.as_ref().is_ok_and(is_of_a_key));
        let certificates = SignedPublicKeyParser::from_packets(packets.peekable())
            .filter_map(Result::ok)
            .filter(|key| matches!(key.primary_key.version(), KeyVersion::V4 | KeyVersion::V6))
            .map(Certificate)
            .filter(|certificate| certificate.own_signatures() <= MAX_OWN_SIGNATURES);
        found.extend(certificates.take(limit.saturating_sub(found.len())));
    }
}

/// Packets that certificates are made of. One that cannot be read leaves its signatures to the packet before it, which they
/// do not fit.
fn is_of_a_key(packet: &Packet) -> bool {
    matches!(
        packet.tag(),
        Tag::PublicKey | Tag::PublicSubkey | Tag::UserId | Tag::UserAttribute | Tag::Signature
    )
}

impl Certificate {
    /// The fingerprint of the primary key in upper-case hexadecimal digits.
    pub(super) fn fingerprint(&self) -> String {
        self.0.fingerprint().to_string().to_uppercase()
    }

    /// The key of this certificate that a signature says it is made with.
    pub(super) fn signer(&self, signature: &Signature) -> Option<Signer<'_>> {
        if names(signature, &self.0.primary_key) {
            return Some(Signer {
                key: SigningKey::Primary(&self.0.primary_key),
                state: self.primary(true),
            });
        }
        let subkey = self
            .0
            .public_subkeys
            .iter()
            .find(|subkey| names(signature, &subkey.key))?;
        let state = match self.primary(false) {
            State::Valid { until, .. } => sooner(self.subkey(subkey), until),
            other => other,
        };
        Some(Signer {
            key: SigningKey::Subkey(&subkey.key),
            state,
        })
    }

    fn own_signatures(&self) -> usize {
        let SignedKeyDetails {
            revocation_signatures,
            direct_signatures,
            users,
            user_attributes: _,
        } = &self.0.details;
        let of_users = users.iter().flat_map(|user| &user.signatures);
        let of_subkeys = self.0.public_subkeys.iter().flat_map(|subkey| &subkey.signatures);
        revocation_signatures
            .iter()
            .chain(direct_signatures)
            .chain(of_users)
            .chain(of_subkeys)
            .filter(|signature| names(signature, &self.0.primary_key))
            .count()
    }

    fn primary(&self, must_sign: bool) -> State {
        let key = &self.0.primary_key;
        let details = &self.0.details;
        if own(&details.revocation_signatures, key).any(|signature| signature.verify_key(key).is_ok()) {
            return State::Revoked;
        }
        let direct = newest(own(&details.direct_signatures, key), |signature| {
            signature.verify_key(key).is_ok()
        });
        let users = details.users.iter().filter_map(|user| {
            let by_key = own(&user.signatures, key);
            newest(by_key, |signature| {
                signature.verify_certification(key, Tag::UserId, &user.id).is_ok()
            })
        });
        let bindings = users.filter(|signature| signature.typ() != Some(SignatureType::CertRevocation));
        match direct
            .into_iter()
            .chain(bindings)
            .max_by_key(|signature| made(signature))
        {
            Some(binding) if !must_sign || may_sign(binding, true) => lifetime(key, binding),
            _ => State::Unbound,
        }
    }

    fn subkey(&self, subkey: &SignedPublicSubKey) -> State {
        let (primary, key) = (&self.0.primary_key, &subkey.key);
        let bound = |signature: &Signature| signature.verify_subkey_binding(primary, key).is_ok();
        let of = |typ| own(&subkey.signatures, primary).filter(move |signature| signature.typ() == Some(typ));
        if of(SignatureType::SubkeyRevocation).any(bound) {
            return State::Revoked;
        }
        let Some(binding) = newest(of(SignatureType::SubkeyBinding), bound) else {
            return State::Unbound;
        };
        // The subkey must say too that it belongs to the primary key, or anyone could take it for his own.
        let back = binding.embedded_signature();
        let bound_back =
            back.is_some_and(|back| is_sound(back) && back.verify_primary_key_binding(key, primary).is_ok());
        if may_sign(binding, false) && bound_back {
            lifetime(key, binding)
        } else {
            State::Unbound
        }
    }
}

impl SigningKey<'_> {
    /// Verifies a signature over data, without a look at anything else.
    pub(super) fn verifies(&self, signature: &Signature, data: &[u8]) -> bool {
        match self {
            Self::Primary(key) => signature.verify(*key, data).is_ok(),
            Self::Subkey(key) => signature.verify(*key, data).is_ok(),
        }
    }

    /// What the key is made of.
    pub(super) fn params(&self) -> &PublicParams {
        match self {
            Self::Primary(key) => key.public_params(),
            Self::Subkey(key) => key.public_params(),
        }
    }
}

/// Whether a signature says that it is made with a key. One that says nothing is by nobody.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let (fingerprints, ids) = (signature.issuer_fingerprint(), signature.issuer_key_id());
    if fingerprints.is_empty() {
        return ids.contains(&&key.legacy_key_id());
    }
    fingerprints.contains(&&key.fingerprint())
}

/// The signatures by a key itself that are not made with a hash that is broken.
fn own<'a>(signatures: &'a [Signature], key: &'a impl VerifyingKey) -> impl Iterator<Item = &'a Signature> {
    signatures
        .iter()
        .filter(|signature| names(signature, key) && is_sound(signature))
}

fn is_sound(signature: &Signature) -> bool {
    use HashAlgorithm::{Sha1, Sha224, Sha256, Sha384, Sha512};
    matches!(signature.hash_alg(), Some(Sha1 | Sha224 | Sha256 | Sha384 | Sha512))
}

/// The newest of the signatures that are good, which replaces the ones before it (RFC 9580, section 5.2.3.10).
fn newest<'a>(
    signatures: impl Iterator<Item = &'a Signature>,
    good: impl Fn(&Signature) -> bool,
) -> Option<&'a Signature> {
    let mut known: Vec<_> = signatures.filter(|signature| made(signature).is_some()).collect();
    known.sort_by_key(|signature| std::cmp::Reverse(made(signature)));
    known.into_iter().find(|signature| good(signature))
}

/// When a signature was made, in seconds since 1970.
pub(super) fn made(signature: &Signature) -> Option<u64> {
    Some(signature.created()?.as_secs().into())
}

/// Whether a binding is for signing. `unsaid` is what holds if it does not say.
fn may_sign(binding: &Signature, unsaid: bool) -> bool {
    let said = binding.config().is_some_and(|config| {
        config
            .hashed_subpackets()
            .any(|subpacket| matches!(subpacket.data, SubpacketData::KeyFlags(_)))
    });
    if said { binding.key_flags().sign() } else { unsaid }
}

fn lifetime(key: &impl KeyDetails, binding: &Signature) -> State {
    let from = u64::from(key.created_at().as_secs());
    let lasts = binding.key_expiration_time().map_or(0, |duration| duration.as_secs());
    State::Valid {
        from,
        until: (lasts != 0).then(|| from.saturating_add(lasts.into())),
    }
}

/// A state that ends when another does.
fn sooner(state: State, other: Option<u64>) -> State {
    match state {
        State::Valid { from, until } => State::Valid {
            from,
            until: until.into_iter().chain(other).min(),
        },
        State::Revoked | State::Unbound => state,
    }
}
