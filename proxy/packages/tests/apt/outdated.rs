//! What is outdated: the same worlds before the real `apt-get -s upgrade` and this crate.

use patchport_packages::findings::{Kind, Status};

use crate::cases::{Packages, SECURITY, archive, cases, one, world};
use crate::judge::{World, fixable};

#[test]
fn as_the_real_apt() {
    for (name, world, expected) in cases() {
        assert_eq!(world.apt(&["upgrade"]), expected, "apt: {name}");
        let findings = world.findings(false);
        assert_eq!(fixable(&findings), expected, "here: {name}: {findings:?}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn as_the_real_apt_with_new_packages() {
    let simple = cases().into_iter().map(|(name, world, _)| (name, world));
    let more = [
        (
            "new needs new",
            one(
                &[("a", "1", "")],
                &[
                    ("a", "2", "Depends: n\n"),
                    ("n", "1", "Depends: m (>= 1)\n"),
                    ("m", "1", ""),
                ],
            ),
        ),
        (
            "new needs what is nowhere",
            one(
                &[("a", "1", "")],
                &[("a", "2", "Depends: n\n"), ("n", "1", "Depends: nowhere\n")],
            ),
        ),
        (
            "new is too old",
            one(&[("a", "1", "")], &[("a", "2", "Depends: n (>= 2)\n"), ("n", "1", "")]),
        ),
        (
            "new by provision",
            one(
                &[("a", "1", "")],
                &[("a", "2", "Depends: v\n"), ("n", "1", "Provides: v\n")],
            ),
        ),
        (
            "second alternative",
            one(
                &[("a", "1", "")],
                &[("a", "2", "Depends: nowhere | n\n"), ("n", "1", "")],
            ),
        ),
        (
            "new conflicts",
            one(
                &[("a", "1", ""), ("b", "1", "")],
                &[("a", "2", "Depends: n\n"), ("n", "1", "Conflicts: b\n"), ("b", "1", "")],
            ),
        ),
        (
            "renamed library",
            one(
                &[("a", "1", ""), ("l1", "1", "")],
                &[("a", "2", "Depends: l2 (>= 2)\n"), ("l2", "2", ""), ("l1", "1", "")],
            ),
        ),
        (
            "two need the same",
            one(
                &[("a", "1", ""), ("b", "1", "")],
                &[("a", "2", "Depends: n\n"), ("b", "2", "Depends: n\n"), ("n", "1", "")],
            ),
        ),
    ];
    for (name, world) in simple.chain(more) {
        let expected = world.apt(&["upgrade", "--with-new-pkgs"]);
        let findings = world.findings(true);
        assert_eq!(fixable(&findings), expected, "{name}: {findings:?}");
    }
}

/// Where apt gives up with an error, only that package stays here.
#[test]
fn new_packages_that_break_something() {
    let installed = [("a", "1", ""), ("b", "1", "Breaks: n\n"), ("c", "1", "")];
    let packages = [
        ("a", "2", "Depends: n\n"),
        ("n", "1", ""),
        ("b", "1", "Breaks: n\n"),
        ("c", "2", ""),
    ];
    assert_eq!(fixable(&one(&installed, &packages).findings(true)), ["c 2"]);
}

/// Every package needs the next, and the last needs what is nowhere: all stay, in little time.
#[test]
fn long_chains() {
    let name = |number: usize| -> &'static str { Box::leak(format!("p{number}").into_boxed_str()) };
    let depends =
        |number: usize| -> &'static str { Box::leak(format!("Depends: p{} (>= 2)\n", number + 1).into_boxed_str()) };
    let installed: Packages = (0..3000).map(|number| (name(number), "1", "")).collect();
    let packages: Packages = (0..3000).map(|number| (name(number), "2", depends(number))).collect();
    let findings = one(&installed, &packages).findings(true);
    assert_eq!((findings.findings.len(), fixable(&findings).len()), (3000, 0));
}

/// Everything provides the same and needs another version of it: all stay before that takes long.
#[test]
fn entangled() {
    let name = |number: usize| -> &'static str { Box::leak(format!("p{number}").into_boxed_str()) };
    let installed: Packages = (0..6000).map(|number| (name(number), "1", "")).collect();
    let relations = "Provides: v (= 1)\nDepends: v (>= 2)\n";
    let packages: Packages = (0..6000).map(|number| (name(number), "2", relations)).collect();
    let findings = one(&installed, &packages).findings(true);
    assert_eq!((findings.findings.len(), fixable(&findings).len()), (6000, 0));
}

#[test]
fn downgrades_are_never_proposed() {
    let world = World {
        preferences: "Package: a\nPin: version 1\nPin-Priority: 1001\n",
        ..one(&[("a", "2", "")], &[("a", "1", ""), ("a", "3", "")])
    };
    assert!(world.findings(true).findings.is_empty());
}

#[test]
fn a_repository_that_changed_afterwards() {
    let before = one(&[("a", "1", "")], &[("a", "2", "")]);
    let after = one(&[("a", "1", "")], &[("a", "3", ""), ("a", "2.5", "")]);
    assert_eq!(fixable(&before.findings(true)), ["a 2"]);
    assert_eq!(fixable(&after.findings(true)), ["a 3"]);
    assert_eq!(after.apt(&["upgrade"]), ["a 3"]);
}

#[test]
fn reasons_kinds_and_origins() {
    let installed = [
        ("a", "1", ""),
        ("b", "1", ""),
        ("c", "1", "Status: hold ok installed\n"),
        ("d", "1", ""),
        ("e", "1", ""),
        ("f", "1", ""),
    ];
    let security = archive(
        "stable-security",
        SECURITY,
        &[("a", "1.5", ""), ("f", "2", "Phased-Update-Percentage: 10\n")],
    );
    let stable = [
        ("a", "2", ""),
        ("b", "2", "Depends: nowhere (>= 1) | x\n"),
        ("c", "2", ""),
        ("d", "2", "Phased-Update-Percentage: 20\n"),
    ];
    let vendor = archive("vendor", "Origin: Vendor\nLabel: Vendor Inc\n", &[("e", "1", "")]);
    let elsewhere = archive("stable", "", &[&stable[..], &[("e", "2", "")]].concat());
    let findings = world(&installed, vec![elsewhere, security, vendor])
        .findings(true)
        .findings;
    let said: Vec<_> = findings
        .iter()
        .map(|finding| {
            let status = match &finding.status {
                Status::KeptBack(why) => why.as_str(),
                Status::Fixable => "",
                other => panic!("{other:?}"),
            };
            (
                finding.package.as_str(),
                finding.kind,
                status,
                finding.origin.as_deref().unwrap(),
                finding.leaves.as_deref(),
            )
        })
        .collect();
    let stable = "Debian stable main";
    let expected = [
        ("a", Kind::Security, "", stable, None),
        ("b", Kind::Ordinary, "depends on nowhere (>= 1) | x", stable, None),
        ("c", Kind::Ordinary, "on hold", stable, None),
        ("d", Kind::Ordinary, "phased update, at 20 %", stable, None),
        ("e", Kind::Ordinary, "", stable, Some("Vendor Inc")),
        ("f", Kind::Security, "", "Debian-Security stable-security main", None),
    ];
    assert_eq!(said, expected);
}
