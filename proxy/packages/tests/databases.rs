//! dpkg databases, versions and inventories, on texts as dpkg writes them and as an attacker would.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use patchport_packages::dpkg::{self, DEFAULT_LIMIT, Kind, MultiArch, State, Want};
use patchport_packages::inventory::{Inventory, Manager, changes};
use patchport_packages::{Family, OsRelease, Version, version};
use proptest::prelude::{ProptestConfig, any};
use proptest::{collection, prop_assert_eq, proptest};

fn deb(text: &str) -> Result<Version, version::Error> {
    Version::parse(Family::Deb, text)
}

fn parse(text: &str) -> Result<Vec<dpkg::Package>, dpkg::Error> {
    dpkg::read("status", Kind::Status, text.as_bytes(), DEFAULT_LIMIT)
}

fn stanza(name: &str, version: &str) -> String {
    format!("Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n")
}

#[test]
fn a_stanza_is_read() {
    let text = "Package: libc6\nEssential: yes\nStatus: hold ok installed\nMaintainer: x\nArchitecture: amd64\n\
        Multi-Arch: same\nSource: glibc (2.36-9+deb12u7)\nVersion: 2.36-9+deb12u10\nConffiles:\n /etc/ld.so.conf d41\n\
        Description: C library\n With a second line.\n .\n\tand a tab\n";
    let packages = parse(text).unwrap();
    let [libc] = &packages[..] else {
        unreachable!("{packages:?}")
    };
    assert_eq!(
        (libc.key().as_str(), libc.version.as_str()),
        ("libc6:amd64", "2.36-9+deb12u10")
    );
    assert_eq!(
        (libc.source.name.as_str(), libc.source.version.as_str()),
        ("glibc", "2.36-9+deb12u7")
    );
    assert_eq!(
        (libc.status.want, libc.status.state, libc.multi_arch),
        (Want::Hold, State::Installed, MultiArch::Same)
    );
    assert!(libc.essential && libc.is_installed() && libc.is_held());
    let plain = &parse("\n\nversion: 1\npackage: a\nSource: b\narchitecture: all\nStatus: deinstall ok config-files")
        .unwrap()[0];
    assert_eq!(
        (
            plain.source.name.as_str(),
            plain.source.version.as_str(),
            plain.multi_arch
        ),
        ("b", "1", MultiArch::No)
    );
    assert!(!plain.is_installed() && !plain.is_held() && !plain.essential);
}

#[test]
fn stanzas_that_are_not_installed_or_not_utf8() {
    let text = [
        stanza("a", "1").into_bytes(),
        b"Package: never\nStatus: unknown ok not-installed\n\n".to_vec(),
        b"Package: b\nStatus: install ok half-configured\nArchitecture: all\nVersion: 2\nDescription: caf\xe9\n"
            .to_vec(),
    ];
    let packages = dpkg::read("status", Kind::Status, text.concat().as_slice(), DEFAULT_LIMIT).unwrap();
    let installed: Vec<bool> = packages.iter().map(dpkg::Package::is_installed).collect();
    assert_eq!(installed, [true, false]);
    let fragment = "Package: base-files\nArchitecture: amd64\nVersion: 12.4\n";
    assert!(dpkg::read("x", Kind::Fragment, fragment.as_bytes(), DEFAULT_LIMIT).unwrap()[0].is_installed());
    assert_eq!(parse("").unwrap(), []);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn malformed_databases_are_told_with_their_line() {
    let good = stanza("a", "1");
    let table = [
        (
            format!("{good}no colon\n"),
            "status:6: neither a field nor the continuation of one",
        ),
        (
            " continuation\n".to_owned(),
            "status:1: neither a field nor the continuation of one",
        ),
        (
            ": x\n".to_owned(),
            "status:1: neither a field nor the continuation of one",
        ),
        (
            format!("{good}Version: 1\n"),
            "status:6: the stanza that begins here has no Package",
        ),
        (
            good.replace("Status", "State"),
            "status:1: the stanza that begins here has no Status",
        ),
        (
            good.replace("Version", "V"),
            "status:1: the stanza that begins here has no Version",
        ),
        (
            good.replace("Arch", "A"),
            "status:1: the stanza that begins here has no Architecture",
        ),
        (
            good.replace("amd64", "a;b"),
            "status:1: Architecture in the stanza that begins here has the value \"a;b\"",
        ),
        (
            good.replace(": a\n", ": a b\n"),
            "status:1: Package in the stanza that begins here has the value \"a b\"",
        ),
        (
            good.replace("ok installed", "installed"),
            "status:1: Status in the stanza that begins here has the value \"install installed\"",
        ),
        (
            good.replace(": 1\n", ": 1 2\n"),
            "status:1: Version in the stanza that begins here is no version",
        ),
        (
            format!("Source: -\n{good}"),
            "status:1: Source in the stanza that begins here has the value \"-\"",
        ),
        (
            format!("Source: a ()\n{good}"),
            "status:1: Source in the stanza that begins here is no version",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(parse(&text).unwrap_err().to_string(), expected, "{text}");
    }
    let error = dpkg::read("status", Kind::Status, good.repeat(9).as_bytes(), 100).unwrap_err();
    assert_eq!(
        error.to_string(),
        "status: the package database is larger than 100 bytes"
    );
    let endless = std::io::BufReader::new(std::io::repeat(b'x'));
    assert!(matches!(
        dpkg::read("status", Kind::Status, endless, 5000),
        Err(dpkg::Error::TooLarge { .. })
    ));
}

const VERSIONS: [&str; 44] = [
    "1.0",
    "1.0-0",
    "1.0-1",
    "1.00",
    "1.0a",
    "1.0a0",
    "1.0a00-",
    "1.",
    "1.0~",
    "1.0~rc1",
    "1.0~~",
    "1.0~~a",
    "1.0+b1",
    "1.0+deb12u1",
    "1.0-1+deb12u1",
    "1.0-1~deb12u1",
    "0:1.0",
    "1:0.1",
    "2147483647:1",
    "1:1:1",
    "1:1-1-1",
    "10",
    "9",
    "1.10",
    "1.9",
    "1.0-a",
    "1.0-a0",
    "a",
    "a0",
    "A",
    "1.0.",
    "1.0+",
    "1.0-1.",
    "1.0-1+",
    "007",
    "7",
    "1_0",
    "2.36-9+deb12u10",
    "2.36-9+deb12u7",
    "00000000000000000000001",
    "99999999999999999999999999999999999999",
    "99999999999999999999999999999999999998",
    "18446744073709551616",
    "18446744073709551615",
];

#[test]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn versions_compare_as_dpkg_does() {
    if Command::new("dpkg").arg("--version").output().is_err() {
        eprintln!("SKIPPED: this machine has no dpkg");
        return;
    }
    let texts: Vec<(&str, Version)> = VERSIONS
        .iter()
        .filter_map(|text| Some((*text, deb(text).ok()?)))
        .collect();
    assert_eq!(texts.len(), VERSIONS.len() - 1, "only the empty revision is refused");
    // Each with its seven followers in a stride that mixes them: 300 pairs, one process each.
    for (index, (one_text, one)) in texts.iter().enumerate() {
        for step in [0, 1, 2, 3, 5, 8, 13] {
            let (other_text, other) = &texts[(index + step) % texts.len()];
            let relation = match one.cmp(other) {
                std::cmp::Ordering::Less => "lt",
                std::cmp::Ordering::Equal => "eq",
                std::cmp::Ordering::Greater => "gt",
            };
            let status = Command::new("dpkg")
                .args(["--compare-versions", one_text, relation, other_text])
                .output()
                .unwrap()
                .status;
            assert!(status.success(), "{one_text} is not {relation} {other_text}");
        }
    }
}

#[test]
fn texts_that_are_no_versions() {
    let table = [
        ("", "has an empty part"),
        ("1-", "has an empty part"),
        ("-1", "has an empty part"),
        ("1:", "has an empty part"),
        ("a:1", "has an epoch"),
        (":1", "has an epoch"),
        ("+1:1", "has an epoch"),
        ("2147483648:1", "has an epoch"),
        ("1 2", "has a character"),
        ("1.0\n", "has a character"),
        ("1.0$(id)", "has a character"),
        ("١.0", "has a character"),
    ];
    for (text, expected) in table {
        let error = deb(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    assert_eq!(
        deb(&"1".repeat(513)).unwrap_err().to_string(),
        "version is longer than 512 bytes"
    );
}

fn inventory(stanzas: &[String]) -> Inventory {
    Inventory::of(
        OsRelease::parse(b"ID=debian").unwrap(),
        Manager::Dpkg,
        parse(&stanzas.concat()).unwrap(),
    )
}

#[test]
fn changes_between_two_inventories() {
    let held = stanza("held", "1").replace("install ok", "hold ok");
    let gone = stanza("config", "1").replace("ok installed", "ok config-files");
    let before = inventory(&[
        stanza("up", "1.0-1"),
        stanza("down", "2"),
        stanza("same", "1.0"),
        stanza("removed", "1"),
        held.clone(),
        gone,
    ]);
    let after = inventory(&[
        stanza("up", "1.0-1+deb12u1"),
        stanza("down", "1"),
        stanza("same", "1.00"),
        stanza("added", "1"),
        held,
    ]);
    let changes = changes(&before, &after);
    let steps = |list: &[patchport_packages::inventory::Upgrade]| -> Vec<String> {
        list.iter()
            .map(|step| format!("{}:{} {} -> {}", step.name, step.architecture, step.from, step.to))
            .collect()
    };
    assert_eq!(steps(&changes.upgraded), ["up:amd64 1.0-1 -> 1.0-1+deb12u1"]);
    assert_eq!(steps(&changes.downgraded), ["down:amd64 2 -> 1"]);
    assert_eq!(
        (changes.added[0].name.as_str(), changes.removed[0].name.as_str()),
        ("added", "removed")
    );
    assert_eq!(
        (
            changes.added.len(),
            changes.removed.len(),
            changes.held[0].name.as_str()
        ),
        (1, 1, "held")
    );
    assert!(!changes.is_empty());
    let text = serde_json::to_string(&before).unwrap();
    assert_eq!(serde_json::from_str::<Inventory>(&text).unwrap(), before);
    assert!(
        text.contains(r#""version":"deb:1.0-1""#) && text.contains(r#""manager":"dpkg""#),
        "{text}"
    );
}

#[test]
fn a_package_that_is_for_all_architectures_now_was_upgraded() {
    let of = |name: &str, version: &str, architecture: &str| {
        stanza(name, version).replace("Architecture: amd64", &format!("Architecture: {architecture}"))
    };
    let before = inventory(&[
        of("general", "1", "amd64"),
        of("special", "1", "all"),
        of("older", "2", "amd64"),
        of("foreign", "1", "amd64"),
    ]);
    let after = inventory(&[
        of("general", "2", "all"),
        of("special", "2", "amd64"),
        of("older", "1", "all"),
        of("foreign", "2", "i386"),
    ]);
    let changes = changes(&before, &after);
    let upgraded: Vec<_> = changes.upgraded.iter().map(|step| step.name.as_str()).collect();
    let removed: Vec<_> = changes.removed.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(upgraded, ["general", "special"]);
    assert_eq!(removed, ["foreign", "older"]);
    assert_eq!(changes.upgraded[0].architecture, "amd64", "as it was planned");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_never_panics(noise in collection::vec(any::<u8>(), 0..600)) {
        let _ = dpkg::read("status", Kind::Status, noise.as_slice(), DEFAULT_LIMIT);
        let _ = OsRelease::parse(&noise);
    }

    #[test]
    fn versions_are_ordered_consistently(one in "[0-9]{0,30}[a-zA-Z0-9.+~:-]{0,12}", other in "[0-9]{0,30}[a-zA-Z0-9.+~:-]{0,12}") {
        if let (Ok(one), Ok(other)) = (deb(&one), deb(&other)) {
            prop_assert_eq!(one.cmp(&other), other.cmp(&one).reverse());
            prop_assert_eq!(one.cmp(&one), std::cmp::Ordering::Equal);
        }
    }
}
