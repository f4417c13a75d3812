//! pacman: versions as libalpm's `vercmp` compares them, and the files of its database.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::cmp::Ordering;
use std::process::Command;
use std::thread;

use patchport_packages::inventory::Installed;
use patchport_packages::pacman::{self, MAX_LENGTH, Package};
use patchport_packages::{Family, Version};
use proptest::prelude::{Strategy, any};
use proptest::strategy::ValueTree;
use proptest::string::string_regex;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use proptest::{collection, prop_assert_eq, proptest};

/// `vercmp` takes 2 ms for each. It was run once with 20,000.
const PAIRS: usize = 5_000;

fn parse(text: &str) -> Option<Version> {
    Version::parse(Family::Pacman, text).ok()
}

/// `vercmp`'s word for an order.
fn vercmp(one: &str, other: &str) -> Ordering {
    let output = Command::new("vercmp").args([one, other]).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run vercmp: {error}; run tests/tools/install"));
    let said = String::from_utf8(output.stdout).unwrap();
    said.trim().parse::<i32>().unwrap().cmp(&0)
}

#[test]
fn versions_are_compared_as_by_vercmp() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    // Few different parts, so that two often share a beginning; the second is often the first with one part changed.
    let parts = "(1|2|10|01|0|9|20240101|99999999999999999999999|a|b|rc|alpha|Z|[.]|[.]|[.]|_|[+]|~|[.][.]|:)";
    let version = format!("([0-2]?:)?{parts}{{1,6}}(-[0-3]([.]1)?)?");
    let regex = |text: &str| string_regex(text).unwrap();
    let pairs = (regex(&version), regex(&version), 0..12_usize, regex(parts));
    let mut tested = Vec::new();
    while tested.len() < PAIRS {
        let (one, independent, at, part) = pairs.new_tree(&mut runner).unwrap().current();
        let (before, after) = one.split_at_checked(at).unwrap_or((&one, ""));
        let other = if at < 3 {
            independent
        } else {
            format!("{before}{part}{after}")
        };
        if let (Some(one), Some(other)) = (parse(&one), parse(&other)) {
            tested.push(if at % 2 == 0 { (one, other) } else { (other, one) });
        }
    }
    thread::scope(|scope| {
        for half in tested.chunks(PAIRS.div_ceil(2)) {
            scope.spawn(move || {
                for (one, other) in half {
                    assert_eq!(one.cmp(other), vercmp(one.as_str(), other.as_str()), "{one} {other}");
                }
            });
        }
    });
}

#[test]
fn versions_that_say_how_it_is_done() {
    let rising = [
        "1.0a", "1.0alpha", "1.0b", "1.0beta", "1.0p", "1.0pre", "1.0rc", "1.0", "1.0.a", "1.0.", "1.0.1", "1.1",
        "1.10", "1:0.1",
    ];
    for pair in rising.windows(2) {
        let [one, other] = pair else { unreachable!() };
        assert_eq!(vercmp(one, other), Ordering::Less, "{one} {other}");
        assert!(parse(one) < parse(other), "{one} {other}");
    }
    for (one, other) in [
        ("1.0-1", "1.0"),
        ("0:1.0", "1.0"),
        ("1.0", "1.00"),
        ("1_0", "1.0"),
        (":1", "1"),
    ] {
        assert_eq!(parse(one), parse(other), "{one} {other}");
    }
    for text in ["", "1.0-", "1:", "1 0", "1/0", "1.0-1\n", "caf\u{e9}"] {
        assert_eq!(parse(text), None, "{text}");
    }
    let version = parse("2:1.0-3.1").unwrap();
    assert_eq!(
        (version.epoch(), version.upstream(), version.release()),
        (2, "1.0", Some("3.1"))
    );
}

const DESC: &str = "%NAME%\nlibelf\n\n%VERSION%\n0.192-4\n\n%BASE%\nelfutils\n\n%DESC%\n%NAME% is not here\n\n%ARCH%\nx86_64\n\n\
    %BUILDDATE%\n1738000000\n\n%LICENSE%\nGPL-2.0-or-later\nLGPL-3.0-or-later\n\n%XDATA%\npkgtype=split\n\n";

#[test]
fn a_package_is_read() {
    let package = pacman::parse_desc("desc", DESC.as_bytes()).unwrap();
    assert_eq!((&*package.name, package.version.as_str()), ("libelf", "0.192-4"));
    assert_eq!((&*package.architecture, &*package.base), ("x86_64", "elfutils"));
    let installed: Installed = package.into();
    assert_eq!(
        (&*installed.source.name, installed.source.version.as_str()),
        ("elfutils", "0.192-4")
    );
    let Package { architecture, base, .. } = pacman::parse_desc("desc", b"%VERSION%\r\n1-1\r\n%NAME%\na").unwrap();
    assert_eq!((&*architecture, &*base), ("any", "a"));
}

#[test]
fn malformed_files_are_told_with_their_line() {
    let table = [
        ("", "desc: it has no %NAME%"),
        ("%NAME%\na\n", "desc: it has no %VERSION%"),
        ("%NAME%\n\n%VERSION%\n1-1\n", "desc:2: %NAME% has the value \"\""),
        (
            "%NAME%\n--root\n%VERSION%\n1-1\n",
            "desc:2: %NAME% has the value \"--root\"",
        ),
        ("%NAME%\na\n%VERSION%\n1 1\n", "desc:4: %VERSION% is no version"),
        (
            "%NAME%\na\n%VERSION%\n1-1\n%ARCH%\n$(id)\n",
            "desc:6: %ARCH% has the value \"$(id)\"",
        ),
        (
            "%NAME%\na\n%VERSION%\n1-1\n%BASE%\n../x\n",
            "desc:6: %BASE% has the value \"../x\"",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(
            pacman::parse_desc("desc", text.as_bytes()).unwrap_err().to_string(),
            expected
        );
    }
    let error = pacman::parse_desc("desc", &vec![b'\n'; MAX_LENGTH + 1]).unwrap_err();
    assert_eq!(error.to_string(), "desc: larger than 1048576 bytes");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in collection::vec(any::<u8>(), 0..200), text in "(%(NAME|VERSION|ARCH|BASE)%\n|[a-z0-9.:-]{0,3}\n){0,9}") {
        let _ = pacman::parse_desc("desc", &bytes);
        let _ = pacman::parse_desc("desc", text.as_bytes());
    }

    #[test]
    fn any_text_is_compared_or_refused(one in any::<String>(), other in "[0-9a-z.:_~-]{1,30}") {
        if let (Some(one), Some(other)) = (parse(&one).or_else(|| parse("1")), parse(&other)) {
            prop_assert_eq!(one.cmp(&other), other.cmp(&one).reverse());
            prop_assert_eq!(other.cmp(&other), Ordering::Equal);
        }
    }
}
