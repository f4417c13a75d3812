//! What is outdated: the packages that `dnf check-update` lists, on repositories that createrepo_c made.

use std::collections::BTreeMap;

use patchport_packages::findings::{Finding, Kind, Severity, Status};
use patchport_packages::inventory::Held;
use patchport_packages::{Family, Version};

use crate::bed::{Bed, line};
use crate::kit;

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn what_dnf_lists() {
    let mut bed = Bed::new();
    bed.install(
        "x86_64",
        &[
            ("current", "1-1"),
            ("old", "1.0-1"),
            ("newer", "9-1"),
            ("epoch", "1:1-1"),
            ("tilde", "2.0~rc1-1"),
            ("caret", "2.0^git1-1"),
            ("two-repos", "1-1"),
            ("excluded", "1-1"),
            ("excluded-version", "1-1"),
            ("excluded-here", "1-1"),
            ("included", "1-1"),
            ("becomes-noarch", "1-1"),
            ("both", "1-1"),
            ("gone", "1-1"),
            ("pinned", "1-1"),
        ],
    );
    bed.install("i686", &[("both", "1-1"), ("only-32", "1-1")]);
    bed.install("noarch", &[("becomes-arch", "1-1"), ("data", "1-1")]);
    let base = bed.build(
        "x86_64",
        &[
            ("current", "1-1"),
            ("old", "1.0-2"),
            ("newer", "8-1"),
            ("epoch", "5-1"),
            ("tilde", "2.0-1"),
            ("caret", "2.0-1"),
            ("two-repos", "2-1"),
            ("excluded", "2-1"),
            ("excluded-version", "2-1"),
            ("excluded-here", "2-1"),
            ("becomes-arch", "2-1"),
            ("both", "2-1"),
            ("only-32", "3-1"),
            ("pinned", "1-2"),
            ("not-installed", "1-1"),
        ],
    );
    let older = bed.build(
        "x86_64",
        &[("old", "1.0-1.5"), ("excluded-version", "3-1"), ("both", "1-2")],
    );
    let others = [
        bed.build("i686", &[("both", "3-1"), ("old", "7-1")]),
        bed.build("noarch", &[("becomes-noarch", "2-1"), ("data", "1.1-1")]),
    ];
    let extra = bed.build(
        "x86_64",
        &[
            ("two-repos", "3-1"),
            ("included", "2-1"),
            ("old", "5-1"),
            ("excluded-here", "3-1"),
            ("pinned", "9-1"),
        ],
    );
    bed.publish("base", &[base, older, others.concat()].concat());
    bed.publish("extra", &extra);
    let configurations: [(&str, &str, &str); 8] = [
        ("", "", ""),
        ("excludepkgs=excluded,excluded-version-3*", "", ""),
        (
            "exclude=old-1.0-2.x86_64 two-repos-0:3-1.*",
            "exclude=excluded-here",
            "",
        ),
        ("", "", "includepkgs=included,old"),
        ("includepkgs=old* both.i686 two-repos", "", ""),
        ("", "", "priority=10"),
        ("", "priority=5", ""),
        ("", "priority=5\nexclude=pinned two-*", "enabled=1"),
    ];
    for (main, first, second) in configurations {
        bed.configure(main, &[("base", first), ("extra", second)]);
        let expected = bed.expected();
        assert!(!expected.is_empty());
        assert_eq!(bed.found(), expected, "{main:?} {first:?} {second:?}");
    }
    // The repository changes: what was offered is replaced, and something else is new.
    bed.configure("", &[("base", ""), ("extra", "enabled=0")]);
    let before = bed.expected();
    std::fs::remove_file(bed.path("base").join("old-1.0-2.x86_64.rpm")).unwrap();
    let newer = bed.build("x86_64", &[("current", "1-2"), ("gone", "2-1")]);
    bed.publish("base", &newer);
    let after = bed.expected();
    assert_ne!(before, after);
    assert_eq!(bed.found(), after);
}

#[test]
fn what_dnf_lists_of_many() {
    let mut bed = Bed::new();
    let names: Vec<String> = (0..60).map(|number| format!("p{number}")).collect();
    let mut state = 20_260_101_u64;
    let mut dice = |sides: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % sides
    };
    let versions = [
        "1-1", "1-1.1", "1~a-1", "1^b-1", "1:0.1-1", "01-1", "1.0-1", "1.a-2", "2-1", "10-1",
    ];
    let architectures = ["x86_64", "i686", "noarch"];
    let mut some = |bed: &mut Bed, share: usize| {
        let version = versions[dice(versions.len())];
        let picked: Vec<_> = names
            .iter()
            .filter(|_| dice(100) < share)
            .map(|name| (name.as_str(), version))
            .collect();
        bed.build(architectures[dice(3)], &picked)
    };
    for _ in 0..4 {
        let built = some(&mut bed, 40);
        kit::install(&bed.database(), &built);
    }
    for repository in ["a", "b", "c"] {
        for _ in 0..5 {
            let built = some(&mut bed, 50);
            bed.publish(repository, &built);
        }
    }
    for priorities in [[99, 99, 99], [1, 2, 3], [3, 1, 1]] {
        let options = priorities.map(|priority| format!("priority={priority}\nexclude=p1?"));
        bed.configure(
            "excludepkgs=*-0.1-1 p7",
            &[("a", &options[0]), ("b", &options[1]), ("c", "")],
        );
        // Which repository dnf names where several have a version is nobody's business; and it lists a package of each
        // architecture that may replace an installed one, where a finding names the newest of them.
        let (expected, found) = (bed.expected(), bed.found());
        let (expected, found) = (newest(&expected), newest(&found));
        assert!(expected.len() > 10, "{expected:?}");
        assert_eq!(found, expected, "{priorities:?}");
    }
}

/// The newest version of each name.
fn newest(lines: &[String]) -> BTreeMap<&str, Version> {
    let mut newest = BTreeMap::new();
    for line in lines {
        let [name, version, _] = line.split(' ').collect::<Vec<_>>()[..] else {
            unreachable!("{line}")
        };
        let version = Version::parse(Family::Rpm, version).unwrap();
        let known = newest.entry(name).or_insert_with(|| version.clone());
        *known = version.max(known.clone());
    }
    newest
}

const UPDATEINFO: &str = r#"<?xml version="1.0"?>
<updates>
  <update from="x@y" status="final" type="security" version="1"><id>X-2026:1</id><title>t</title><severity>Moderate</severity>
    <issued date="2026-01-01 00:00:00"/><references><reference href="h" id="CVE-2026-1" type="cve" title="t"/>
    <reference href="h" id="1234" type="bugzilla" title="t"/></references><pkglist><collection short="c"><name>n</name>
    <package name="old" version="1.1" release="1" epoch="0" arch="x86_64" src="s"><filename>f</filename></package>
    </collection></pkglist></update>
  <update from="x@y" status="final" type="security" version="1"><id>X-2026:2</id><severity>Critical</severity>
    <references><reference href="h" id="CVE-2026-2" type="cve"/></references><pkglist><collection>
    <package name="old" version="1.2" release="1" epoch="0" arch="x86_64"/></collection></pkglist></update>
  <update type="security"><id>X-2025:9</id><severity>Critical</severity><pkglist><collection>
    <package name="old" version="1.0" release="1" epoch="0" arch="x86_64"/>
    <package name="old" version="1.2" release="1" epoch="0" arch="i686"/>
    <package name="old" version="9" release="1" epoch="0" arch="x86_64"/></collection></pkglist></update>
  <update type="bugfix"><id>X-2026:3</id><pkglist><collection>
    <package name="fixed" version="2" release="1" arch="x86_64"/></collection></pkglist></update>
</updates>"#;

#[test]
fn advisories_tell_what_an_update_is_for() {
    let mut bed = Bed::new();
    bed.install("x86_64", &[("old", "1.0-1"), ("fixed", "1-1"), ("plain", "1-1")]);
    let base = bed.build("x86_64", &[("old", "1.2-1"), ("fixed", "2-1"), ("plain", "2-1")]);
    let between = bed.build("x86_64", &[("old", "1.1-1")]);
    bed.publish("base", &[base, between].concat());
    bed.configure("", &[("base", "")]);
    assert!(bed.findings(&[]).iter().all(|finding| finding.kind == Kind::Unknown));
    bed.advise("base", UPDATEINFO);
    let findings = bed.findings(&[]);
    let [fixed, old, plain] = &findings[..] else {
        unreachable!("{findings:?}")
    };
    assert_eq!((old.kind, old.severity), (Kind::Security, Severity::Critical));
    assert_eq!(old.advisories, ["CVE-2026-1", "CVE-2026-2", "X-2026:1", "X-2026:2"]);
    assert_eq!(
        (fixed.kind, &fixed.advisories[..]),
        (Kind::Ordinary, &["X-2026:3".to_owned()][..])
    );
    assert_eq!((plain.kind, plain.advisories.len()), (Kind::Ordinary, 0));
    // dnf has the same, and those for versions that nobody offers.
    let said = bed.dnf(&["updateinfo", "list", "--updates"]);
    let ids = |finding: &Finding| {
        let ids = finding.advisories.iter().filter(|id| id.starts_with("X-"));
        ids.cloned().collect::<Vec<_>>()
    };
    let mut expected: Vec<&str> = said.lines().filter_map(|line| line.split_whitespace().next()).collect();
    expected.sort_unstable();
    let mut found = findings.iter().flat_map(ids).collect::<Vec<_>>();
    found.push("X-2025:9".to_owned());
    found.sort();
    assert_eq!(found, expected, "{said}");
    let held = [Held {
        name: "old".to_owned(),
        architecture: "x86_64".to_owned(),
    }];
    let findings = bed.findings(&held);
    assert!(matches!(&findings[1].status, Status::KeptBack(why) if why == "it is locked at its version"));
    assert_eq!(findings[0].status, Status::Fixable);
}

#[test]
fn modules_are_kept_back() {
    let mut bed = Bed::new();
    bed.install(
        "x86_64",
        &[
            ("node", "18.1-1.module+el9+1"),
            ("plain", "1-1"),
            ("next", "1-1.module_el9+1"),
        ],
    );
    let built = bed.build(
        "x86_64",
        &[
            ("node", "20.1-1.module+el9+2"),
            ("plain", "2-1.module+el9+1"),
            ("next", "3-1"),
        ],
    );
    bed.publish("base", &built);
    bed.configure("", &[("base", "")]);
    let findings = bed.findings(&[]);
    let lines: Vec<String> = findings.iter().map(line).collect();
    assert_eq!(lines, ["node 20.1-1.module+el9+2 base"]);
    assert!(matches!(findings[0].status, Status::KeptBack(_)));
    bed.configure("", &[("base", "module_hotfixes=1")]);
    assert_eq!(bed.found(), bed.expected());
    assert_eq!(bed.found().len(), 3);
}
