//! Worlds of installed packages and repositories, each about one rule of apt.

use crate::judge::{Archive, World};

pub(crate) type Packages = Vec<(&'static str, &'static str, &'static str)>;

pub(crate) fn archive(
    name: &'static str,
    release: &'static str,
    packages: &[(&'static str, &'static str, &'static str)],
) -> Archive {
    Archive {
        name,
        release,
        packages: packages.to_vec(),
    }
}

pub(crate) fn world(installed: &[(&'static str, &'static str, &'static str)], archives: Vec<Archive>) -> World {
    World {
        archives,
        installed: installed.to_vec(),
        ..World::default()
    }
}

/// A world with one repository.
pub(crate) fn one(
    installed: &[(&'static str, &'static str, &'static str)],
    packages: &[(&'static str, &'static str, &'static str)],
) -> World {
    world(installed, vec![archive("stable", "", packages)])
}

pub(crate) const BACKPORTS: &str = "NotAutomatic: yes\nButAutomaticUpgrades: yes\n";
pub(crate) const EXPERIMENTAL: &str = "NotAutomatic: yes\n";
pub(crate) const SECURITY: &str = "Label: Debian-Security\n";

/// Worlds by name, with what `apt-get -s upgrade` is known to upgrade in them.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn cases() -> Vec<(&'static str, World, Vec<&'static str>)> {
    let (a1, a2): (Packages, Packages) = (vec![("a", "1", "")], vec![("a", "2", "")]);
    let with = |world: World, preferences: &'static str| World { preferences, ..world };
    let two = |release: &'static str| world(&a1, vec![archive("stable", "", &a1), archive("other", release, &a2)]);
    vec![
        ("plain", one(&a1, &a2), vec!["a 2"]),
        ("nothing newer", one(&a2, &a1), vec![]),
        ("epoch", one(&[("a", "1:1", "")], &[("a", "2", "")]), vec![]),
        (
            "newer epoch",
            one(&[("a", "9", "")], &[("a", "1:1", "")]),
            vec!["a 1:1"],
        ),
        ("tilde", one(&[("a", "1~rc1", "")], &a1), vec!["a 1"]),
        (
            "held",
            one(
                &[("a", "1", "Status: hold ok installed\n"), ("b", "1", "")],
                &[("a", "2", ""), ("b", "2", "")],
            ),
            vec!["b 2"],
        ),
        (
            "pinned to a version",
            with(
                one(&a1, &[("a", "2", ""), ("a", "1.5", "")]),
                "Package: a\nPin: version 1.5*\nPin-Priority: 900\n",
            ),
            vec!["a 1.5"],
        ),
        (
            "pinned away",
            with(one(&a1, &a2), "Package: a\nPin: release o=Debian\nPin-Priority: -1\n"),
            vec![],
        ),
        (
            "all pinned away",
            with(two(""), "Package: *\nPin: release n=other\nPin-Priority: -10\n"),
            vec![],
        ),
        (
            "never",
            with(
                two(""),
                "Package: a\nPin: release a=other\nPin-Priority: 700\n\nPackage: *\nPin: release a=other\nPin-Priority: never\n",
            ),
            vec![],
        ),
        (
            "specific over general",
            with(
                two(""),
                "Package: *\nPin: release a=other\nPin-Priority: -10\n\nPackage: a\nPin: release a=other\nPin-Priority: 500\n",
            ),
            vec!["a 2"],
        ),
        (
            "first pin counts",
            with(
                two(""),
                "Package: a\nPin: release a=other\nPin-Priority: -5\n\nPackage: a\nPin: release a=other\nPin-Priority: 700\n",
            ),
            vec![],
        ),
        (
            "pinned by glob and case",
            with(
                two(""),
                "Package: [a-c]*\nPin: release l=DEB*,a=oth?r\nPin-Priority: -10\n",
            ),
            vec![],
        ),
        (
            "installed pinned higher",
            with(two(""), "Package: a\nPin: release a=stable\nPin-Priority: 990\n"),
            vec![],
        ),
        (
            "now pinned",
            with(one(&a1, &a2), "Package: *\nPin: release a=now\nPin-Priority: 900\n"),
            vec![],
        ),
        (
            "source package pinned",
            with(
                one(
                    &[("a", "1", "Source: s\n"), ("b", "1", "")],
                    &[("a", "2", "Source: s\n"), ("b", "2", "")],
                ),
                "Package: src:s\nPin: version *\nPin-Priority: -1\n",
            ),
            vec!["b 2"],
        ),
        ("backports alone", two(BACKPORTS), vec![]),
        (
            "backports of what is from there",
            world(
                &[("a", "2~bpo1", "")],
                vec![
                    archive("stable", "", &a1),
                    archive("other", BACKPORTS, &[("a", "2~bpo2", "")]),
                ],
            ),
            vec!["a 2~bpo2"],
        ),
        ("not automatic", two(EXPERIMENTAL), vec![]),
        (
            "default release",
            World {
                conf: "APT::Default-Release \"stable\";",
                ..two("")
            },
            vec![],
        ),
        (
            "default release is the newer",
            World {
                conf: "APT::Default-Release \"other\";",
                ..two("")
            },
            vec!["a 2"],
        ),
        (
            "default release by property",
            World {
                conf: "APT::Default-Release \"a=other\";",
                ..two(EXPERIMENTAL)
            },
            vec!["a 2"],
        ),
        ("security", two(SECURITY), vec!["a 2"]),
        (
            "same version twice",
            world(&a1, vec![archive("stable", "", &a2), archive("other", SECURITY, &a2)]),
            vec!["a 2"],
        ),
        (
            "needs a new package",
            one(&a1, &[("a", "2", "Depends: n\n"), ("n", "1", "")]),
            vec![],
        ),
        (
            "needs an upgrade",
            one(
                &[("a", "1", ""), ("b", "1", "")],
                &[("a", "2", "Depends: b (>= 2)\n"), ("b", "2", "")],
            ),
            vec!["a 2", "b 2"],
        ),
        (
            "needs an upgrade that is held",
            one(
                &[("a", "1", ""), ("b", "1", "Status: hold ok installed\n")],
                &[("a", "2", "Depends: b (>= 2)\n"), ("b", "2", "")],
            ),
            vec![],
        ),
        (
            "needs what is nowhere",
            one(&a1, &[("a", "2", "Depends: nowhere\n")]),
            vec![],
        ),
        ("pre-depends", one(&a1, &[("a", "2", "Pre-Depends: nowhere\n")]), vec![]),
        (
            "alternative is there",
            one(
                &[("a", "1", ""), ("b", "1", "")],
                &[("a", "2", "Depends: nowhere | b\n"), ("b", "1", "")],
            ),
            vec!["a 2"],
        ),
        (
            "provided",
            one(
                &[("a", "1", ""), ("b", "1", "Provides: v\n")],
                &[("a", "2", "Depends: v\n"), ("b", "1", "Provides: v\n")],
            ),
            vec!["a 2"],
        ),
        (
            "provided without version",
            one(
                &[("a", "1", ""), ("b", "1", "Provides: v\n")],
                &[("a", "2", "Depends: v (>= 1)\n"), ("b", "1", "Provides: v\n")],
            ),
            vec![],
        ),
        (
            "provided in a version",
            one(
                &[("a", "1", ""), ("b", "1", "Provides: v (= 2)\n")],
                &[("a", "2", "Depends: v (>= 1)\n"), ("b", "1", "Provides: v (= 2)\n")],
            ),
            vec!["a 2"],
        ),
        (
            "breaks what is there",
            one(
                &[("a", "1", ""), ("b", "1", "")],
                &[("a", "2", "Breaks: b (<< 2)\n"), ("b", "1", "")],
            ),
            vec![],
        ),
        (
            "breaks, and that is upgraded",
            one(
                &[("a", "1", ""), ("b", "1", "")],
                &[("a", "2", "Breaks: b (<< 2)\n"), ("b", "2", "")],
            ),
            vec!["a 2", "b 2"],
        ),
        (
            "conflicts",
            one(
                &[("a", "1", ""), ("b", "1", "")],
                &[("a", "2", "Conflicts: b\n"), ("b", "1", "")],
            ),
            vec![],
        ),
        (
            "conflicts with what it provides",
            one(&a1, &[("a", "2", "Provides: v\nConflicts: v\n")]),
            vec!["a 2"],
        ),
        (
            "installed depends on the old one",
            one(
                &[("a", "1", ""), ("b", "1", "Depends: a (= 1)\n")],
                &[("a", "2", ""), ("b", "1", "Depends: a (= 1)\n")],
            ),
            vec![],
        ),
        (
            "both at once",
            one(
                &[("a", "1", ""), ("b", "1", "Depends: a (= 1)\n")],
                &[("a", "2", ""), ("b", "2", "Depends: a (= 2)\n")],
            ),
            vec!["a 2", "b 2"],
        ),
        (
            "chain is kept",
            one(
                &[("a", "1", ""), ("b", "1", ""), ("c", "1", "")],
                &[
                    ("a", "2", "Depends: b (>= 2)\n"),
                    ("b", "2", "Depends: c (>= 2)\n"),
                    ("c", "2", "Depends: n\n"),
                    ("n", "1", ""),
                ],
            ),
            vec![],
        ),
        (
            "newer in another architecture only",
            one(&a1, &[("a", "1", ""), ("a", "2", "Architecture: i386\n")]),
            vec![],
        ),
        (
            "from all to amd64",
            one(&[("a", "1", "Architecture: all\n")], &a2),
            vec!["a 2"],
        ),
        (
            "from amd64 to all",
            one(&a1, &[("a", "2", "Architecture: all\n")]),
            vec!["a 2"],
        ),
        (
            "any",
            one(
                &[("a", "1", ""), ("p", "1", "Multi-Arch: allowed\n")],
                &[("a", "2", "Depends: p:any\n"), ("p", "1", "Multi-Arch: allowed\n")],
            ),
            vec!["a 2"],
        ),
        ("not in a repository", one(&a1, &[("b", "2", "")]), vec![]),
    ]
}
