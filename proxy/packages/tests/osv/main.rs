//! OSV's advisories: what is read of them, and which packages of an image they are about.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use patchport_packages::Version;
use patchport_packages::inventory::Manager;
use serde_json::{Value, json};

use fixtures::{affected, debian, load, os, other, record, short};

mod fixtures;
mod loading;

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn debian_goes_by_source_packages() {
    let events = |fixed: &str| json!([{"introduced": "0"}, {"fixed": fixed}]);
    let with = |mut value: Value, member: &str, new: Value| {
        value[member] = new;
        value
    };
    let urgency = |word: &str, value: Value| with(value, "ecosystem_specific", json!({"urgency": word}));
    let database = load(&[
        record(
            "DSA-1-1",
            json!([
                affected("Debian:11", "openssl", events("1")),
                affected("Debian:12", "openssl", events("3.0.16-1~deb12u1"))
            ]),
        ),
        record(
            "DEBIAN-CVE-2",
            json!([urgency(
                "unimportant",
                affected("Debian:12", "lvm2", events("2.03.16-3"))
            )]),
        ),
        record(
            "DEBIAN-CVE-3",
            json!([urgency(
                "not yet assigned",
                affected("Debian:12", "libzstd", events("1.5.4-1"))
            )]),
        ),
        record(
            "DEBIAN-CVE-4",
            json!([affected("Debian:12", "libzstd", json!([{"introduced": "0"}]))]),
        ),
        record(
            "DEBIAN-CVE-5",
            json!([urgency(
                "end-of-life",
                affected("Debian:12", "libzstd", json!([{"introduced": "0"}]))
            )]),
        ),
        with(
            record("DSA-6", json!([affected("Debian:12", "openssl", events("9"))])),
            "withdrawn",
            json!("2026-01-01T00:00:00Z"),
        ),
        record("DSA-7", json!([affected("Debian:12", "libssl3", events("9"))])),
        record("GHSA-8", json!([affected("npm", "openssl", events("9"))])),
        record(
            "DSA-9",
            json!([with(
                affected("Debian:12", "libzstd", json!([])),
                "versions",
                json!(["1.5.4-1", "1.5.4-0"])
            )]),
        ),
    ]);
    assert_eq!((database.len(), database.problems().count), (7, 0));
    let expected = [
        "dmsetup - Fixable Negligible CVE-2026-1,DEBIAN-CVE-2",
        "libssl3 3.0.16-1~deb12u1 Fixable Critical CVE-2026-1,DSA-1-1",
        "libzstd1 - NoFix Critical CVE-2026-1,DEBIAN-CVE-4",
        "libzstd1 - EndOfLife Critical CVE-2026-1,DEBIAN-CVE-5",
        "libzstd1 - NoFix Critical CVE-2026-1,DSA-9",
    ];
    assert_eq!(short(&database.scan(&debian()).unwrap()), expected);
}

#[test]
fn ubuntu_knows_the_versions_of_binary_packages() {
    let mut entry = affected(
        "Ubuntu:24.04:LTS",
        "lvm2",
        json!([{"introduced": "0"}, {"fixed": "2.03.16-3ubuntu1"}]),
    );
    entry["ecosystem_specific"] = json!({"availability": "No subscription required", "binaries": [
        {"binary_name": "lvm2", "binary_version": "2.03.16-3ubuntu1"},
        {"binary_name": "dmsetup", "binary_version": "2:1.02.185-3ubuntu1"}
    ]});
    let mut usn = record(
        "USN-1-1",
        json!([
            entry,
            affected("Ubuntu:Pro:24.04:LTS", "openssl", json!([{"introduced": "0"}]))
        ]),
    );
    usn["severity"] = json!([{"type": "Ubuntu", "score": "medium"}]);
    let mut inventory = debian();
    inventory.os = os("ID=ubuntu\nVERSION_ID=24.04");
    let expected = ["dmsetup 2:1.02.185-3ubuntu1 Fixable Medium CVE-2026-1,USN-1-1"];
    assert_eq!(short(&load(&[usn]).scan(&inventory).unwrap()), expected);
}

#[test]
fn rpm_distributions_go_by_either() {
    let events = |fixed: &str| json!([{"introduced": "0"}, {"fixed": fixed}]);
    let packages = [
        ("bash", "5.1.8-6.el9", "bash", "5.1.8-6.el9"),
        ("libssl", "1:3.0.7-1.el9", "openssl", "1:3.0.7-1.el9"),
        ("nodejs", "1:16.20-1.el9", "nodejs", "1:16.20-1.el9"),
    ];
    let table = [
        ("ID=rocky\nVERSION_ID=9.4", "Rocky Linux:9", "openssl"),
        ("ID=almalinux\nVERSION_ID=9.4", "AlmaLinux:9", "libssl"),
        (
            "ID=rhel\nVERSION_ID=9.4",
            "Red Hat:enterprise_linux:9::baseos",
            "libssl",
        ),
        (
            "ID=sles\nVERSION_ID=15.6",
            "SUSE:Linux Enterprise Module for Basesystem 15 SP6",
            "openssl",
        ),
        ("ID=azurelinux\nVERSION_ID=3.0", "Azure Linux:3", "openssl"),
    ];
    for (release, ecosystem, name) in table {
        let database = load(&[
            record(
                "A-1",
                json!([
                    affected(ecosystem, name, events("1:3.0.7-2.el9")),
                    affected(ecosystem, "bash", events("5.1.8-6.el9"))
                ]),
            ),
            record(
                "A-2",
                json!([affected(
                    ecosystem,
                    "nodejs",
                    events("1:18.0-1.module+el9.1.0+1+aaaaaaaa")
                )]),
            ),
        ]);
        let inventory = other(release, Manager::Rpm, &packages);
        let expected = ["libssl 1:3.0.7-2.el9 Fixable Critical A-1,CVE-2026-1"];
        assert_eq!(short(&database.scan(&inventory).unwrap()), expected, "{release}");
    }
    // Two repositories of one release repeat an advisory.
    let twice = ["baseos", "appstream"].map(|repository| {
        affected(
            &format!("Red Hat:enterprise_linux:9::{repository}"),
            "bash",
            events("6-1"),
        )
    });
    let inventory = other("ID=rhel\nVERSION_ID=9.4", Manager::Rpm, &packages);
    assert_eq!(
        load(&[record("RHSA-1", json!(twice))])
            .scan(&inventory)
            .unwrap()
            .findings
            .len(),
        1
    );
}

#[test]
fn module_streams_are_not_ordinary_packages() {
    let events = |fixed: &str| json!([{"introduced": "0"}, {"fixed": fixed}]);
    let entries = ["1:18.0-1.module+el9.1.0+1+aaaaaaaa", "1:16.20-2.el9"];
    let entries = entries.map(|fixed| affected("Red Hat:enterprise_linux:9::appstream", "nodejs", events(fixed)));
    let database = load(&[record("RHSA-1", json!(entries))]);
    for (installed, fixed) in [
        ("1:16.20-1.el9", "1:16.20-2.el9"),
        (
            "1:18.0-0.module+el9.0.0+1+bbbbbbbb",
            "1:18.0-1.module+el9.1.0+1+aaaaaaaa",
        ),
    ] {
        let packages = [("nodejs", installed, "nodejs", installed)];
        let inventory = other("ID=rhel\nVERSION_ID=9.4", Manager::Rpm, &packages);
        let expected = [format!("nodejs {fixed} Fixable Critical CVE-2026-1,RHSA-1")];
        assert_eq!(short(&database.scan(&inventory).unwrap()), expected);
    }
}

#[test]
fn alpine_goes_by_origin() {
    let database = load(&[record(
        "ALPINE-CVE-1",
        json!([affected(
            "Alpine:v3.23",
            "openssl",
            json!([{"introduced": "0"}, {"fixed": "3.5.5-r0"}])
        )]),
    )]);
    let inventory = other(
        "ID=alpine\nVERSION_ID=3.23.0",
        Manager::Apk,
        &[("libcrypto3", "3.5.4-r0", "openssl", "3.5.4-r0")],
    );
    let expected = ["libcrypto3 3.5.5-r0 Fixable Critical ALPINE-CVE-1,CVE-2026-1"];
    assert_eq!(short(&database.scan(&inventory).unwrap()), expected);
}

#[test]
fn which_releases_an_ecosystem_is_about() {
    let table = [
        ("Debian:12", "ID=debian\nVERSION_ID=12", true),
        ("Debian:12", "ID=debian\nVERSION_ID=12.7", true),
        ("Debian:12", "ID=debian\nVERSION_ID=11", false),
        ("Debian:12", "ID=debian", false),
        ("Debian:12", "ID=kali\nID_LIKE=debian\nVERSION_ID=12", false),
        ("Ubuntu:24.04:LTS", "ID=ubuntu\nVERSION_ID=24.04", true),
        ("Ubuntu:24.10", "ID=ubuntu\nVERSION_ID=24.10", true),
        ("Ubuntu:Pro:18.04:LTS", "ID=ubuntu\nVERSION_ID=18.04", false),
        ("Alpine:v3.2", "ID=alpine\nVERSION_ID=3.23.0", false),
        ("Alpine:v3.23", "ID=alpine\nVERSION_ID=3.23.0", true),
        ("Alpine:v3.24", "ID=alpine\nVERSION_ID=3.24_alpha20260101", false),
        ("Wolfi", "ID=wolfi\nVERSION_ID=20230201", true),
        ("Chainguard", "ID=wolfi\nVERSION_ID=20230201", false),
        ("Red Hat:enterprise_linux:9::baseos", "ID=rhel\nVERSION_ID=9.4", true),
        ("Red Hat:rhel_eus:9.4::baseos", "ID=rhel\nVERSION_ID=9.4", false),
        ("SUSE:Linux Enterprise Server 15 SP6", "ID=sles\nVERSION_ID=15.6", true),
        (
            "SUSE:Linux Enterprise Server 15 SP5-LTSS",
            "ID=sles\nVERSION_ID=15.5",
            false,
        ),
        ("SUSE:Linux Enterprise Server 15 SP6", "ID=sles\nVERSION_ID=15", false),
        ("openSUSE:Leap 15.6", "ID=opensuse-leap\nVERSION_ID=15.6", true),
        (
            "openSUSE:Tumbleweed",
            "ID=opensuse-tumbleweed\nVERSION_ID=20260101",
            true,
        ),
        ("openSUSE:Tumbleweed", "ID=opensuse-leap\nVERSION_ID=15.6", false),
        ("openEuler:24.03-LTS", "ID=openEuler\nVERSION_ID=24.03", true),
        ("Photon OS:5.0", "ID=photon\nVERSION_ID=5.0", true),
        ("Mageia:9", "ID=mageia\nVERSION_ID=9", true),
    ];
    for (ecosystem, release, covered) in table {
        let database = load(&[record(
            "A-1",
            json!([affected(ecosystem, "x", json!([{"introduced": "0"}]))]),
        )]);
        assert_eq!(database.covers(&os(release)), covered, "{ecosystem} {release}");
    }
    let error = load(&[]).scan(&debian()).unwrap_err();
    assert_eq!(error.to_string(), "there are no advisories for debian 12");
}

#[test]
fn ranges() {
    let table = [
        (
            json!([{"introduced": "0"}, {"fixed": "2"}]),
            vec!["1 2", "2 no", "3 no"],
        ),
        (
            json!([{"fixed": "2"}, {"introduced": "1"}]),
            vec!["0.9 no", "1 2", "2 no"],
        ),
        (
            json!([{"introduced": "0"}, {"last_affected": "2"}]),
            vec!["2 none", "2.1 no"],
        ),
        (
            json!([{"introduced": "0"}, {"fixed": "2"}, {"introduced": "3"}, {"fixed": "4"}]),
            vec!["1 2", "2.5 no", "3 4", "4 no"],
        ),
        (json!([{"introduced": "2"}, {"fixed": "2"}]), vec!["1 no", "2 none"]),
        (json!([{"fixed": "2"}]), vec!["1 no"]),
        (json!([{"introduced": "0", "fixed": "2"}]), vec!["1 2"]),
        (json!([{"introduced": "0"}, {"limit": "2"}]), vec!["3 none"]),
    ];
    for (events, cases) in table {
        let database = load(&[record("A-1", json!([affected("Debian:12", "x", events.clone())]))]);
        for case in cases {
            let (version, expected) = case.split_once(' ').unwrap();
            let inventory = other(
                "ID=debian\nVERSION_ID=12",
                Manager::Dpkg,
                &[("x", version, "x", version)],
            );
            let found = database.scan(&inventory).unwrap().findings;
            let seen = found
                .first()
                .map_or("no", |found| found.fixed.as_ref().map_or("none", Version::as_str));
            assert_eq!(seen, expected, "{events} {case}");
        }
    }
}

#[test]
fn severities() {
    let table = [
        (
            json!([{"type": "CVSS_V2", "score": "AV:N/AC:L/Au:N/C:P/I:P/A:P"}]),
            json!(null),
            "High",
        ),
        (
            json!([{"type": "CVSS_V3", "score": "CVSS:3.0/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"}]),
            json!(null),
            "Low",
        ),
        (
            json!([{"type": "CVSS_V4", "score": "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H"}]),
            json!(null),
            "Critical",
        ),
        (
            json!([{"type": "CVSS_V3", "score": "nonsense"}]),
            json!(null),
            "Unknown",
        ),
        (
            json!([{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]),
            json!({"severity": "Moderate"}),
            "Medium",
        ),
        (json!([]), json!({"severity": ["odd"]}), "Unknown"),
    ];
    for (scores, specific, expected) in table {
        let mut advisory = record(
            "A-1",
            json!([affected("Debian:12", "openssl", json!([{"introduced": "0"}]))]),
        );
        advisory["severity"] = scores.clone();
        advisory["database_specific"] = specific;
        let found = load(&[advisory]).scan(&debian()).unwrap().findings;
        assert_eq!(format!("{:?}", found[0].severity), expected, "{scores}");
    }
}
