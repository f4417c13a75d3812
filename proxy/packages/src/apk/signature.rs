//! The keys that an image trusts, and the RSA signatures of indexes: those of apk 2, which name their key, and those of
//! apk 3, which identify it by a checksum. Signatures by other kinds of keys are not known here, as nobody makes them.

use ring::digest;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512,
    RsaParameters, UnparsedPublicKey,
};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

use super::IndexError;

/// The length of the identifier of a key in apk 3, in bytes.
const ID: usize = 16;

/// The shortest modulus that is taken, in bytes: 2048 bits. apk takes any; Alpine never had a shorter one.
const MIN_MODULUS: usize = 2048 / 8;

/// Keys that are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    keys: Vec<Key>,
    unusable: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    name: String,
    /// The first bytes of the SHA-512 of `public`.
    id: [u8; ID],
    /// `RSAPublicKey` of PKCS #1, DER.
    public: Vec<u8>,
}

/// A signature of an index of apk 2.
pub(crate) struct Signature {
    /// The algorithm, a dot, and the file name of the key.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// A signature of an index of apk 3.
pub(crate) struct Signature3<'a> {
    /// The key.
    pub(crate) id: [u8; ID],
    /// What was signed.
    pub(crate) message: Vec<u8>,
    pub(crate) bytes: &'a [u8],
}

impl Keys {
    /// Trusts keys, given with their files' names as PEM (`SubjectPublicKeyInfo`).
    #[must_use]
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut keys = Self::default();
        for (name, pem) in files {
            let key = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok();
            match key.and_then(|key| rsa_public_key(&key).map(<[u8]>::to_vec)) {
                Some(public) => keys.keys.push(Key {
                    name: name.to_owned(),
                    id: id(&public),
                    public,
                }),
                None => keys.unusable.push(name.to_owned()),
            }
        }
        keys
    }

    /// Files that are no keys, or of a kind or length that is not taken; apk ignores the former too.
    #[must_use]
    pub fn unusable(&self) -> &[String] {
        &self.unusable
    }

    /// Checks that one of `signatures` is of `signed`, by a trusted key. As in apk, the first whose key is trusted decides.
    pub(crate) fn check(&self, file: &str, signatures: &[Signature], signed: &[u8]) -> Result<(), IndexError> {
        for signature in signatures {
            let Some((algorithm, name)) = signature.name.split_once('.') else {
                continue;
            };
            let algorithm = match algorithm {
                "RSA" => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
                "RSA256" => &RSA_PKCS1_2048_8192_SHA256,
                "RSA512" => &RSA_PKCS1_2048_8192_SHA512,
                _ => continue,
            };
            if let Some(key) = self.keys.iter().find(|key| key.name == name) {
                return key.check(file, algorithm, signed, &signature.bytes);
            }
        }
        let names = signatures.iter().map(|signature| {
            let name = &*signature.name;
            name.strip_prefix("RSA.").unwrap_or(name)
        });
        Err(unknown(file, names.collect()))
    }

    /// The same for apk 3, where any good signature will do.
    pub(crate) fn check3(&self, file: &str, signatures: &[Signature3<'_>]) -> Result<(), IndexError> {
        let mut bad = None;
        for signature in signatures {
            for key in self.keys.iter().filter(|key| key.id == signature.id) {
                match key.check(file, &RSA_PKCS1_2048_8192_SHA512, &signature.message, signature.bytes) {
                    Ok(()) => return Ok(()),
                    Err(error) => bad = Some(error),
                }
            }
        }
        let hex = |id: &[u8]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let ids: Vec<String> = signatures.iter().map(|signature| hex(&signature.id)).collect();
        Err(bad.unwrap_or_else(|| unknown(file, ids.iter().map(String::as_str).collect())))
    }
}

fn unknown(file: &str, keys: Vec<&str>) -> IndexError {
    IndexError::UnknownKey {
        file: file.to_owned(),
        keys: keys
            .join(", ")
            .chars()
            .filter(|symbol| !symbol.is_control())
            .take(500)
            .collect(),
    }
}

impl Key {
    fn check(
        &self,
        file: &str,
        algorithm: &'static RsaParameters,
        signed: &[u8],
        bytes: &[u8],
    ) -> Result<(), IndexError> {
        let public = UnparsedPublicKey::new(algorithm, &self.public);
        public.verify(signed, bytes).map_err(|_| IndexError::BadSignature {
            file: file.to_owned(),
            key: self.name.clone(),
        })
    }
}

fn id(public: &[u8]) -> [u8; ID] {
    let digest = digest::digest(&digest::SHA512, public);
    let mut id = [0; ID];
    id.iter_mut().zip(digest.as_ref()).for_each(|(byte, of)| *byte = *of);
    id
}

/// The RSA key inside a `SubjectPublicKeyInfo` (RFC 3279, 2.3.1), if it is one that is long enough.
fn rsa_public_key(info: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    const BIT_STRING: u8 = 0x03;
    const INTEGER: u8 = 0x02;
    /// The object identifier 1.2.840.113549.1.1.1, and no parameters.
    const RSA: [u8; 13] = *b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    let (info, _) = element(info, SEQUENCE)?;
    let (algorithm, rest) = element(info, SEQUENCE)?;
    let (key, _) = element(rest, BIT_STRING)?;
    let public = key.strip_prefix(&[0]).filter(|_| algorithm == RSA)?;
    let (numbers, _) = element(public, SEQUENCE)?;
    let (modulus, _) = element(numbers, INTEGER)?;
    (modulus.strip_prefix(&[0]).unwrap_or(modulus).len() >= MIN_MODULUS).then_some(public)
}

/// The content of a DER element, and what comes after it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let [found, length, rest @ ..] = bytes else { return None };
    let (length, rest) = match (*length, rest) {
        (short @ 0..=0x7f, rest) => (usize::from(short), rest),
        (0x81, [length, rest @ ..]) => (usize::from(*length), rest),
        (0x82, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    rest.split_at_checked(length).filter(|_| *found == tag)
}
