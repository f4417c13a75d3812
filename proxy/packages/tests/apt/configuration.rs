//! What an image's `etc/apt` says: tables of sources, pins and options.

use patchport_packages::apt::{self, Pinned, Source};
use proptest::prelude::*;

use crate::judge::{files, image, try_files};

const LIST: &str = "etc/apt/sources.list";
const STANZAS: &str = "etc/apt/sources.list.d/debian.sources";

fn targets(files: &[(&str, &str)]) -> Vec<String> {
    let configuration = crate::judge::files(files);
    let targets = apt::targets(&configuration, "amd64");
    targets
        .iter()
        .map(|target| format!("{}{}{}", target.uri, target.release(), target.packages()))
        .collect()
}

/// Name, files by path, indexes.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn indexes_that_sources_ask_for() {
    const TWO: &str = "APT::Architectures { \"amd64\"; \"i386\"; };";
    let cases: [Case; 9] = [
        (
            "one line, comments, deb-src",
            &[(
                LIST,
                "# deb http://no.test a b\ndeb http://d.test/debian bookworm main contrib # and more\ndeb-src http://d.test/debian x y\n",
            )],
            &[
                "http://d.test/debian/dists/bookworm/main/binary-amd64/Packages",
                "http://d.test/debian/dists/bookworm/contrib/binary-amd64/Packages",
            ],
        ),
        (
            "flat",
            &[(LIST, "deb http://d.test/flat/ ./\ndeb http://d.test/flat sub/\n")],
            &["http://d.test/flat/./Packages", "http://d.test/flat/sub/Packages"],
        ),
        (
            "architecture in the way",
            &[(LIST, "deb http://d.test/$(ARCH) a/$(ARCH)/\n")],
            &["http://d.test/amd64/a/amd64/Packages"],
        ),
        (
            "options",
            &[(LIST, "deb [ arch=i386,armhf signed-by=/k#x.gpg ] https://d.test a b\n")],
            &[
                "https://d.test/dists/a/b/binary-i386/Packages",
                "https://d.test/dists/a/b/binary-armhf/Packages",
            ],
        ),
        (
            "architectures of apt",
            &[
                ("etc/apt/apt.conf.d/10x", TWO),
                (LIST, "deb http://d.test a b\ndeb [arch-=amd64] http://e.test a b"),
            ],
            &[
                "http://d.test/dists/a/b/binary-amd64/Packages",
                "http://d.test/dists/a/b/binary-i386/Packages",
                "http://e.test/dists/a/b/binary-i386/Packages",
            ],
        ),
        (
            "stanzas",
            &[(
                STANZAS,
                "Types: deb deb-src\nURIs: http://d.test/ http://e.test\nSuites: a\n a-updates\nComponents: main\n\nTypes: deb\nURIs: http://f.test\nSuites: a\nComponents: b\nEnabled: no\n",
            )],
            &[
                "http://d.test/dists/a/main/binary-amd64/Packages",
                "http://d.test/dists/a-updates/main/binary-amd64/Packages",
                "http://e.test/dists/a/main/binary-amd64/Packages",
                "http://e.test/dists/a-updates/main/binary-amd64/Packages",
            ],
        ),
        (
            "twice",
            &[
                (LIST, "deb http://d.test a b\n"),
                (STANZAS, "Types: deb\nURIs: http://d.test\nSuites: a\nComponents: b\n"),
            ],
            &["http://d.test/dists/a/b/binary-amd64/Packages"],
        ),
        (
            "other names are not read",
            &[
                ("etc/apt/sources.list.d/x.list.save", "deb http://d.test a b\n"),
                ("etc/apt/sources.list.d/x~.list", "deb http://d.test a b\n"),
            ],
            &[],
        ),
        (
            "elsewhere",
            &[(
                LIST,
                "deb cdrom:[Debian_12]/ a b\ndeb file:/x a b\ndeb mirror+http://d.test a b\ndeb tor+http://d.test a b",
            )],
            &[],
        ),
    ];
    for (name, files, expected) in cases {
        assert_eq!(targets(files), expected, "{name}");
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let configuration = files(&[(LIST, "deb cdrom:[Debian_12_#]/ a b\ndeb file:/x a b\n")]);
    assert_eq!(configuration.unsupported.len(), 2);
    assert!(
        configuration.unsupported[0].contains("cdrom:"),
        "{:?}",
        configuration.unsupported
    );
}

#[test]
fn what_apt_refuses() {
    let cases = [
        (LIST, "dep http://d.test a b"),
        (LIST, "deb http://d.test"),
        (LIST, "deb http://d.test a"),
        (LIST, "deb http://d.test a/ b"),
        (LIST, "deb [arch=amd64 http://d.test a b"),
        (LIST, "deb d.test a b"),
        (STANZAS, "Types: deb\nURIs: http://d.test\nComponents: b\n"),
        (STANZAS, "Types: deb\nSuites: a\nComponents: b\n"),
        (STANZAS, "nothing\n"),
        ("etc/apt/preferences", "Package: x\nPin: version /1/\nPin-Priority: 1\n"),
    ];
    for (path, text) in cases {
        assert!(try_files(&[(path, text)]).is_err(), "{text}");
    }
}

#[test]
fn keys_of_sources() {
    let text = "Types: deb\nURIs: http://a.test\nSuites: a\nComponents: b\nTrusted: no\nCheck-Valid-Until: no\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ\n -----END PGP PUBLIC KEY BLOCK-----\n\n\
                Types: deb\nURIs: http://b.test\nSuites: a\nComponents: b\nSigned-By: /usr/share/keyrings/b.gpg, /etc/apt/keyrings/none.asc\n\n\
                Types: deb\nURIs: http://c.test\nSuites: a\nComponents: b\n";
    let all = [
        (STANZAS, text),
        ("usr/share/keyrings/b.gpg", "B"),
        ("etc/apt/trusted.gpg", "T"),
        ("etc/apt/trusted.gpg.d/one.asc", "1"),
        ("etc/apt/trusted.gpg.d/two.txt", "2"),
    ];
    let (image, configuration) = (image(&all), files(&all));
    let [inline, path, trusted] = &configuration.sources[..] else {
        panic!("{configuration:?}")
    };
    assert_eq!((inline.trusted, inline.check_valid_until), (Some(false), Some(false)));
    let block = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ\n-----END PGP PUBLIC KEY BLOCK-----\n";
    assert_eq!(inline.inline_key.as_deref(), Some(block));
    let keys = |source: &Source| -> Vec<String> {
        let keys = apt::keys(&image, source).into_iter();
        keys.map(|(path, bytes)| format!("{path}={}", String::from_utf8(bytes).unwrap()))
            .collect()
    };
    assert_eq!(keys(inline), [format!("Signed-By={block}")]);
    assert_eq!(keys(path), ["/usr/share/keyrings/b.gpg=B"]);
    assert_eq!(
        keys(trusted),
        ["etc/apt/trusted.gpg=T", "etc/apt/trusted.gpg.d/one.asc=1"]
    );
}

#[test]
fn options_and_pins_in_their_order() {
    let configuration = files(&[
        (
            "etc/apt/apt.conf.d/10a",
            "APT::Default-Release \"a\"; Acquire { Check-Valid-Until \"false\"; };",
        ),
        (
            "etc/apt/apt.conf",
            "APT { Default-Release \"b\"; Get::Always-Include-Phased-Updates yes; };",
        ),
        (
            "etc/apt/preferences.d/z.pref",
            "Package: z\nPin: version 1\nPin-Priority: 2\n",
        ),
        ("etc/apt/preferences.d/ignored.txt", "nothing"),
        (
            "etc/apt/preferences",
            "Package: a\nPin: origin x\nPin-Priority: never\n",
        ),
    ]);
    assert_eq!(configuration.default_release.as_deref(), Some("b"));
    assert!(configuration.phased && !configuration.check_valid_until);
    let pins: Vec<_> = configuration
        .pins
        .iter()
        .map(|pin| (pin.packages.join(" "), pin.of.clone(), pin.priority))
        .collect();
    let expected = [
        ("a".to_owned(), Pinned::Host("x".to_owned()), i16::MIN),
        ("z".to_owned(), Pinned::Version("1".to_owned()), 2),
    ];
    assert_eq!(pins, expected);
}

proptest! {
    #[test]
    fn never_panics(text in "(deb |deb-src |\\[|\\]|http://a |Types: deb\n|URIs: |Suites: |[a/#=:, \nü]){0,40}") {
        let _ = try_files(&[(LIST, &text), (STANZAS, &text)]);
    }
}
