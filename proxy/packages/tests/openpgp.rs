//! Signatures of indexes: keys and messages that gpg makes, the samples of RFC 9580 for what it cannot make, what an attacker
//! would make of them, and noise.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::{Duration, SystemTime};

use patchport_packages::openpgp::{self, Error, MAX_KEYS, MAX_MESSAGE, Verified};
use pgp::packet::{Packet, PacketParser, PacketTrait};
use pgp::ser::Serialize;
use pgp::types::Tag;
use proptest::prelude::{ProptestConfig, any};
use proptest::{collection, prop_assert, proptest};

#[path = "openpgp/gpg.rs"]
mod gpg;

use gpg::Home;

const TEXT: &[u8] = b"Origin: Debian\nSuite: stable\n- dashed\n-----BEGIN PGP SIGNATURE-----\nFrom me\n\nlast\n";
const DAY: Duration = Duration::from_hours(24);

fn inline(message: &[u8], keys: &[&[u8]]) -> Result<Verified, Error> {
    openpgp::verify_inline(message, keys, SystemTime::now())
}

fn replaced(message: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(message).unwrap();
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1).into_bytes()
}

fn packets(file: &[u8]) -> Vec<Packet> {
    PacketParser::new(file).map(Result::unwrap).collect()
}

fn written<'a>(packets: impl IntoIterator<Item = &'a Packet>) -> Vec<u8> {
    let mut file = Vec::new();
    for packet in packets {
        packet.to_writer(&mut file).unwrap();
    }
    file
}

#[test]
fn every_accepted_algorithm_verifies() {
    for algorithm in ["rsa2048", "rsa4096", "ed25519", "nistp256", "nistp384", "nistp521"] {
        let home = Home::new();
        let fingerprint = home.key("a", algorithm, "sign", "never");
        let binary = home.export(&["a"]);
        let armored = home.run(&["--armor", "--export", "a"], b"");
        for digest in ["SHA256", "SHA384", "SHA512"] {
            // gpg wants a hash as long as the curve.
            if algorithm > "nistp256" && algorithm < "nistq" && digest < "SHA512" {
                continue;
            }
            let message = home.clearsign(&["a"], &["--digest-algo", digest], TEXT);
            for keys in [&binary, &armored] {
                let verified = inline(&message, &[keys]);
                let Ok(verified) = verified else {
                    panic!("{algorithm} with {digest}: {verified:?}")
                };
                assert_eq!((&verified.fingerprint, verified.text.as_slice()), (&fingerprint, TEXT));
            }
        }
        for options in [
            &["--detach-sign"][..],
            &["--armor", "--detach-sign"],
            &["--textmode", "--detach-sign"],
        ] {
            let signature = home.run(options, TEXT);
            let detached = |data: &[u8]| openpgp::verify_detached(data, &signature, &[&binary], SystemTime::now());
            assert_eq!(detached(TEXT).as_ref(), Ok(&fingerprint), "{algorithm} {options:?}");
            assert!(
                matches!(detached(b"other"), Err(Error::Bad { .. })),
                "{algorithm} {options:?}"
            );
        }
    }
}

#[test]
fn version_6_verifies() {
    let (key, message) = (
        include_bytes!("openpgp/v6.key.asc"),
        include_bytes!("openpgp/v6.message.asc"),
    );
    let verified = inline(message, &[key]).unwrap();
    assert_eq!(
        verified.fingerprint,
        "CB186C4F0609A697E4D52DFA6C722B0C1F1E27C18A56708F6525EC27BAD9ACC9"
    );
    assert_eq!(
        verified.text,
        b"What we need from the grocery store:\n\n- tofu\n- vegetables\n- noodles\n\n"
    );
    let other = Home::new();
    other.key("a", "ed25519", "sign", "never");
    let ids = vec!["CB186C4F0609A697".to_owned()];
    assert_eq!(
        inline(message, &[&other.export(&["a"])]),
        Err(Error::UnknownKey { ids })
    );
}

#[test]
fn a_subkey_signs_for_its_primary_key_only() {
    let home = Home::new();
    let primary = home.key("a", "ed25519", "cert", "never");
    home.run(&["--quick-add-key", &primary, "ed25519", "sign"], b"");
    let message = home.clearsign(&["a"], &[], TEXT);
    let key = home.export(&["a"]);
    assert_eq!(inline(&message, &[&key]).unwrap().fingerprint, primary);

    // The subkey of one key beside the other primary key, with and without the signatures that bind it.
    home.key("b", "ed25519", "cert,sign", "never");
    let (a, mut stolen) = (packets(&key), packets(&home.export(&["b"])));
    let subkey = a.iter().position(|packet| packet.tag() == Tag::PublicSubkey).unwrap();
    stolen.extend_from_slice(&a[subkey..]);
    let refused = |key: &[u8]| inline(&message, &[key]).unwrap_err();
    let unknown = |key: &[u8]| matches!(refused(key), Error::UnknownKey { .. });
    assert!(unknown(&written(&stolen)));
    assert!(unknown(&written(&stolen[..=stolen.len() - 2])));
    assert!(unknown(&written(&a[..=subkey])));
    assert!(unknown(&written(&a[..subkey])));
    // A primary key that only certifies does not sign, and one without anything of its own is nothing.
    assert!(unknown(&written(&a[..1])));

    // The other primary key is no signer of the message, but signs for itself.
    let by_b = home.clearsign(&["b"], &[], TEXT);
    assert!(inline(&by_b, &[&written(&stolen)]).is_ok());

    let script = b"key 1\nrevkey\ny\n0\n\ny\nsave\n";
    home.run(&["--command-fd=0", "--edit-key", "a"], script);
    let fingerprint = primary;
    assert_eq!(
        inline(&message, &[&home.export(&["a"])]),
        Err(Error::Revoked { fingerprint })
    );
}

#[test]
fn keys_and_signatures_have_their_time() {
    let home = Home::new();
    let fingerprint = home.key("a", "ed25519", "cert,sign", "1d");
    let expired = Err(Error::Expired { fingerprint });
    let key = home.export(&["a"]);
    let message = home.clearsign(&["a"], &[], TEXT);
    let at = |message: &[u8], key: &[u8], now| openpgp::verify_inline(message, &[key], now);
    let now = SystemTime::now();
    assert!(at(&message, &key, now).is_ok());
    assert_eq!(at(&message, &key, now + DAY * 3), expired);
    assert_eq!(at(&message, &key, now - DAY * 3), expired);

    home.run(&["--quick-set-expire", &home.fingerprints("a")[0], "1y"], b"");
    let longer = home.export(&["a"]);
    assert!(at(&message, &longer, now + DAY * 3).is_ok());
    let short = home.clearsign(&["a"], &["--default-sig-expire", "1d"], TEXT);
    assert!(at(&short, &longer, now).is_ok());
    assert_eq!(at(&short, &longer, now + DAY * 2), expired);
    let future = home.clearsign(&["a"], &["--faked-system-time", &seconds(now + DAY * 3)], TEXT);
    assert_eq!(at(&future, &longer, now), expired);
    assert!(at(&future, &longer, now + DAY * 3).is_ok());
    let soon = home.clearsign(&["a"], &["--faked-system-time", &seconds(now + DAY / 2)], TEXT);
    assert!(at(&soon, &longer, now).is_ok());
}

fn seconds(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("{}!", since.as_secs())
}

#[test]
fn a_revoked_key_is_refused() {
    let home = Home::new();
    let fingerprint = home.key("a", "rsa2048", "cert,sign", "never");
    let message = home.clearsign(&["a"], &[], TEXT);
    let before = home.export(&["a"]);
    let file = home.path().join("openpgp-revocs.d").join(format!("{fingerprint}.rev"));
    let certificate = std::fs::read(file).unwrap();
    home.run(&["--import"], &replaced(&certificate, "\n:-----", "\n-----"));
    let after = home.export(&["a"]);
    assert!(inline(&message, &[&before]).is_ok());
    assert_eq!(inline(&message, &[&after]), Err(Error::Revoked { fingerprint }));
}

#[test]
fn weak_algorithms_are_refused() {
    for (algorithm, digest, what) in [
        ("rsa1024", "SHA512", "an RSA key of 1024 bits"),
        ("dsa2048", "SHA256", "a DSA key"),
        ("brainpoolP256r1", "SHA256", "a key on another elliptic curve"),
        ("rsa2048", "SHA1", "SHA1"),
        ("rsa2048", "RIPEMD160", "RIPEMD160"),
        ("rsa2048", "SHA224", "SHA224"),
    ] {
        let home = Home::new();
        home.key("a", algorithm, "cert,sign", "never");
        let message = home.clearsign(&["a"], &["--digest-algo", digest], TEXT);
        let what = what.to_owned();
        assert_eq!(
            inline(&message, &[&home.export(&["a"])]),
            Err(Error::Weak { what }),
            "{algorithm} {digest}"
        );
    }
}

#[test]
fn one_known_key_of_several_suffices() {
    let home = Home::new();
    let a = home.key("a", "ed25519", "sign", "never");
    let b = home.key("b", "rsa2048", "sign", "never");
    let c = home.key("c", "ed25519", "sign", "never");
    let message = home.clearsign(&["a", "b"], &[], TEXT);
    let (of_a, of_b, of_c) = (home.export(&["a"]), home.export(&["b"]), home.export(&["c"]));
    assert_eq!(inline(&message, &[&of_a]).unwrap().fingerprint, a);
    assert_eq!(inline(&message, &[&of_c, &of_b]).unwrap().fingerprint, b);
    assert_eq!(inline(&message, &[&home.export(&["b", "c"])]).unwrap().fingerprint, b);
    let ids = vec![a[24..].to_owned(), b[24..].to_owned()];
    assert_eq!(inline(&message, &[&of_c]), Err(Error::UnknownKey { ids }));
    let none: [&[&[u8]]; 3] = [&[], &[b""], &[b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n"]];
    for keys in none {
        assert_eq!(inline(&message, keys), Err(Error::NoKeys));
    }

    // Broken keys beside a good one: a version that nobody knows, noise in a packet, armor that is none, an end too early.
    let armored = home.run(&["--armor", "--export", "c"], b"");
    let broken = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!!\n-----END PGP PUBLIC KEY BLOCK-----\n";
    let only_c = home.clearsign(&["c"], &[], TEXT);
    let files = [
        [b"\x99\x00\x06\x09abcde", of_c.as_slice()].concat(),
        [b"\x99\x00\x06\x04abcde\xb4\x01x", of_c.as_slice()].concat(),
        [of_c.as_slice(), &of_b[..of_b.len() / 2]].concat(),
        [broken, armored.as_slice()].concat(),
        [b"Our keys:\n", armored.as_slice(), broken].concat(),
    ];
    for (index, file) in files.iter().enumerate() {
        let verified = inline(&only_c, &[file]);
        assert_eq!(
            verified.map(|verified| verified.fingerprint).as_ref(),
            Ok(&c),
            "{index}"
        );
    }
}

#[test]
fn text_is_what_gpg_takes_for_it() {
    let home = Home::new();
    home.key("a", "ed25519", "sign", "never");
    let key = home.export(&["a"]);
    let long = "Package: x\nVersion: 1-1~bpo\n\n".repeat(50_000);
    for text in [
        TEXT,
        b"",
        b"\n",
        b"\n\n",
        b"x",
        b"no end",
        b"- \n-\n--\n- -\n",
        "é\u{a0}\n".as_bytes(),
        long.as_bytes(),
    ] {
        let message = home.clearsign(&["a"], &[], text);
        let verified = inline(&message, &[&key]).unwrap();
        assert_eq!(verified.text, home.text(&message), "{:?}", text.get(..20));
        assert_eq!(openpgp::cleartext(&message).as_ref(), Ok(&verified.text));
        // Line ends and blanks before them are not signed.
        for end in ["\r\n", " \t\n", " \r\n"] {
            let other = String::from_utf8(message.clone()).unwrap().replace('\n', end);
            assert_eq!(inline(other.as_bytes(), &[&key]).as_ref(), Ok(&verified), "{end:?}");
        }
    }
    let crlf = home.clearsign(&["a"], &[], b"a\r\nb  \r\n");
    assert_eq!(inline(&crlf, &[&key]).unwrap().text, b"a\nb\n");
}

#[test]
fn nothing_that_is_not_signed_gets_through() {
    let home = Home::new();
    let fingerprint = home.key("a", "ed25519", "sign", "never");
    let key = home.export(&["a"]);
    let message = home.clearsign(&["a"], &["--no-comments"], TEXT);
    let bad = Err(Error::Bad { fingerprint });
    assert_eq!(inline(&replaced(&message, "stable", "stablf"), &[&key]), bad);
    assert_eq!(inline(&replaced(&message, "\n- From", "\n\n- From"), &[&key]), bad);
    assert_eq!(inline(&replaced(&message, "Origin", " Origin"), &[&key]), bad);
    let first = "-----BEGIN PGP SIGNED MESSAGE-----\n";
    let twice = [message.as_slice(), &message].concat();
    let text = std::str::from_utf8(&message).unwrap();
    let end = text.rfind("-----BEGIN PGP SIGNATURE").unwrap();
    let head = &text.as_bytes()[..end];
    for (what, message) in [
        ("text before", [b"Origin: Evil\n", message.as_slice()].concat()),
        ("text after", [message.as_slice(), b"Origin: Evil\n"].concat()),
        ("two messages", twice),
        (
            "a message in a message",
            replaced(&message, "Suite", &format!("{first}\nSuite")),
        ),
        ("another header", replaced(&message, "Hash: ", "Origin: ")),
        (
            "a header that undoes escapes",
            replaced(&message, "Hash: ", "NotDashEscaped: You need GnuPG\nHash: "),
        ),
        (
            "a line that begins with a dash",
            replaced(&message, "\n- - dashed", "\n-dashed"),
        ),
        ("a carriage return", replaced(&message, "Suite", "\rSuite")),
        ("no signature", head.to_vec()),
        ("half a signature", text.as_bytes()[..end + 60].to_vec()),
        (
            "no base64",
            [
                &text[..end],
                "-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n",
            ]
            .concat()
            .into(),
        ),
        (
            "a key for a signature",
            [head, &home.run(&["--armor", "--export", "a"], b"")].concat(),
        ),
    ] {
        let refused = inline(&message, &[&key]);
        assert!(matches!(refused, Err(Error::Malformed { .. })), "{what}: {refused:?}");
    }
    assert!(inline(&[b"\n \n", message.as_slice(), b"\n\n"].concat(), &[&key]).is_ok());
    for unsigned in [b"".as_slice(), b"\n", TEXT, b"\xff\xfe"] {
        assert_eq!(inline(unsigned, &[&key]), Err(Error::NotSigned));
        assert_eq!(openpgp::cleartext(unsigned), Err(Error::NotSigned));
    }
}

#[test]
fn what_is_no_signature_is_none() {
    let home = Home::new();
    home.key("a", "ed25519", "sign", "never");
    let key = home.export(&["a"]);
    let detached = |signature: &[u8]| openpgp::verify_detached(TEXT, signature, &[&key], SystemTime::now());
    assert_eq!(detached(b""), Err(Error::NotSigned));
    assert_eq!(detached(TEXT), Err(Error::NotSigned));
    assert!(matches!(detached(&key), Err(Error::Malformed { .. })));
    // A signature over the key is none over data.
    let certification = packets(&key).pop().unwrap();
    assert!(matches!(
        detached(&written([&certification])),
        Err(Error::Malformed { .. })
    ));
}

#[test]
fn a_signature_that_is_changed_is_refused() {
    let home = Home::new();
    home.key("a", "ed25519", "sign", "never");
    let key = home.export(&["a"]);
    let signature = home.run(&["--detach-sign"], TEXT);
    let verify = |signature: &[u8]| openpgp::verify_detached(TEXT, signature, &[&key], SystemTime::now());
    assert!(verify(&signature).is_ok());
    let good = packets(&signature);
    for index in 0..signature.len() {
        for bit in 0..8 {
            let mut changed = signature.clone();
            changed[index] ^= 1 << bit;
            // What may change is what is not signed: the key id beside the fingerprint, and how lengths are written.
            if verify(&changed).is_ok() {
                let Packet::Signature(changed) = &packets(&changed)[0] else {
                    panic!("{index}")
                };
                let Packet::Signature(good) = &good[0] else {
                    panic!("{index}")
                };
                assert_eq!(changed.signature(), good.signature(), "{index} {bit}");
                assert_eq!(changed.created(), good.created(), "{index} {bit}");
            }
        }
    }
}

#[test]
fn sizes_are_limited() {
    let now = SystemTime::now();
    let (long, key) = (vec![b'a'; MAX_MESSAGE + 1], vec![b'a'; MAX_KEYS + 1]);
    let v6 = include_bytes!("openpgp/v6.message.asc");
    // Long, and not slow: headers without an end, and packets without anything in them.
    let headers = [
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n".to_vec(),
        b"A: b\n".repeat(MAX_KEYS / 6),
    ]
    .concat();
    for keys in [headers, b"\xc2\x00".repeat(MAX_KEYS / 2)] {
        assert_eq!(openpgp::verify_inline(v6, &[&keys], now), Err(Error::NoKeys));
    }
    for error in [
        openpgp::cleartext(&long).unwrap_err(),
        openpgp::verify_inline(&long, &[], now).unwrap_err(),
        openpgp::verify_inline(v6, &[&key], now).unwrap_err(),
        openpgp::verify_detached(&long, b"", &[], now).unwrap_err(),
        openpgp::verify_detached(b"", &long, &[], now).unwrap_err(),
    ] {
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn noise_is_refused_and_never_panics(
        noise in collection::vec(any::<u8>(), 0..512), place in any::<proptest::sample::Index>(), bit in any::<u8>(),
    ) {
        let now = SystemTime::now();
        let (key, message) = (include_bytes!("openpgp/v6.key.asc"), include_bytes!("openpgp/v6.message.asc"));
        prop_assert!(openpgp::verify_inline(&noise, &[&noise], now).is_err());
        prop_assert!(openpgp::verify_detached(&noise, &noise, &[&noise, key], now).is_err());
        let mut tag = noise.clone();
        tag.splice(..0, [0xc2]);
        prop_assert!(openpgp::verify_detached(&noise, &tag, &[key], now).is_err());
        tag[0] = 0xc6;
        prop_assert!(openpgp::verify_inline(message, &[&tag], now).is_err());
        // One byte of a good message or key: good as before, or refused.
        for file in 0..2 {
            let mut files = [message.to_vec(), key.to_vec()];
            let at = place.index(files[file].len());
            files[file][at] = bit;
            let before = openpgp::cleartext(message).unwrap();
            prop_assert!(inline(&files[0], &[&files[1]]).map_or(true, |verified| verified.text == before));
        }
    }
}
