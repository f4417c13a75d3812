//! Signatures of indexes: messages, keys and signatures that are anything.

use std::time::{Duration, SystemTime};

use patchport_packages::apk::Keys;
use patchport_packages::openpgp::{Error, cleartext, verify_detached, verify_inline};

use crate::bundle::parts;

/// A message, a signature beside it, and any number of keys, each a part.
pub(crate) fn openpgp(input: &[u8]) {
    let parts = parts(input);
    let mut parts = parts.iter().map(|(_, content)| *content);
    let message = parts.next().unwrap_or_default();
    let signature = parts.next().unwrap_or_default();
    let keys: Vec<&[u8]> = parts.collect();
    // Some day in 2026.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_770_000_000);
    let text = cleartext(message);
    if let Ok(verified) = verify_inline(message, &keys, now) {
        assert_eq!(text.as_ref(), Ok(&verified.text));
        assert!(is_fingerprint(&verified.fingerprint));
    }
    assert!(
        verify_inline(message, &[], now).is_err(),
        "nobody is trusted, so nothing is"
    );
    if let Ok(text) = text {
        assert!(text.len() <= message.len() + 1);
    }
    match verify_detached(message, signature, &keys, now) {
        Ok(fingerprint) => assert!(is_fingerprint(&fingerprint)),
        Err(Error::NotSigned) => {}
        Err(_) => assert!(!signature.is_empty()),
    }
    let _ = Keys::new(keys.iter().map(|key| ("key.rsa.pub", *key)));
}

fn is_fingerprint(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
    matches!(text.len(), 40 | 64) && text.bytes().all(is_digit)
}
