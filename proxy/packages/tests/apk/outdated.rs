//! What is outdated, as `apk list --upgradeable` says, and what of it is taken, as `apk upgrade --simulate` does.

use std::collections::BTreeSet;

use patchport_packages::apk::{self, DEFAULT_LIMIT};
use patchport_packages::findings::{Kind, Status};
use patchport_packages::inventory::Installed;

use crate::kit::{Offer, Root, checksum};

/// A root, its repositories, and what is found in it.
struct Case {
    name: &'static str,
    installed: &'static [Offer<'static>],
    world: &'static str,
    /// Folder, tag with its `@` and blank, and what is there.
    repositories: &'static [(&'static str, &'static str, &'static [Offer<'static>])],
    /// Package, version found, and why it is kept back.
    found: &'static [(&'static str, &'static str, Option<&'static str>)],
}

const AB: &[Offer<'static>] = &[("a", "1.0-r0", ""), ("b", "1.0-r0", "")];

const CASES: &[Case] = &[
    Case {
        name: "nothing to do",
        installed: AB,
        world: "a\nb\n",
        repositories: &[("main", "", &[("a", "1.0-r0", ""), ("b", "0.9-r9", "")])],
        found: &[],
    },
    Case {
        name: "no repository",
        installed: AB,
        world: "a\nb\n",
        repositories: &[],
        found: &[],
    },
    Case {
        name: "an update, and a newer release of the same version",
        installed: AB,
        world: "a\nb\n",
        repositories: &[(
            "main",
            "",
            &[("a", "1.0-r1", ""), ("b", "1.0.1_rc1-r0", ""), ("c", "9-r0", "")],
        )],
        found: &[("a", "1.0-r1", None), ("b", "1.0.1_rc1-r0", None)],
    },
    Case {
        name: "several versions, in several repositories",
        installed: AB,
        world: "a b",
        repositories: &[
            (
                "main",
                "",
                &[("a", "1.1-r0", ""), ("a", "1.10-r0", ""), ("a", "1.9-r0", "")],
            ),
            ("community", "", &[("a", "1.2-r0", ""), ("b", "1.0-r1", "")]),
        ],
        found: &[("a", "1.10-r0", None), ("b", "1.0-r1", None)],
    },
    Case {
        name: "a package that nobody asked for, but another needs",
        installed: &[("a", "1.0-r0", "D:b\n"), ("b", "1.0-r0", "")],
        world: "a",
        repositories: &[("main", "", &[("a", "1.0-r0", "D:b\n"), ("b", "1.1-r0", "")])],
        found: &[("b", "1.1-r0", None)],
    },
    Case {
        name: "a change of repository, with a new architecture",
        installed: &[("a", "1.0-r0", "A:noarch\n"), ("b", "1.0-r0", "A:x86_64\n")],
        world: "a\nb\n",
        repositories: &[(
            "v3.24",
            "",
            &[("a", "2.0-r0", "A:x86_64\n"), ("b", "2.0-r0", "A:noarch\n")],
        )],
        found: &[("a", "2.0-r0", None), ("b", "2.0-r0", None)],
    },
    Case {
        name: "a pin to a version",
        installed: AB,
        world: "a=1.0-r0\nb\n",
        repositories: &[("main", "", &[("a", "1.0-r1", ""), ("b", "1.0-r1", "")])],
        found: &[
            ("a", "1.0-r1", Some("etc/apk/world has a=1.0-r0")),
            ("b", "1.0-r1", None),
        ],
    },
    Case {
        name: "an upper bound that something newer keeps to",
        installed: AB,
        world: "a<2\nb<1.0.5\n",
        repositories: &[(
            "main",
            "",
            &[("a", "2.0-r0", ""), ("a", "1.9-r3", ""), ("b", "1.1-r0", "")],
        )],
        found: &[
            ("a", "1.9-r3", None),
            ("b", "1.1-r0", Some("etc/apk/world has b<1.0.5")),
        ],
    },
    Case {
        name: "a prefix",
        installed: AB,
        world: "a~1.0\nb~1\n",
        repositories: &[(
            "main",
            "",
            &[
                ("a", "1.1-r0", ""),
                ("a", "1.0.7_p1-r0", ""),
                ("b", "10-r0", ""),
                ("b", "1.3-r0", ""),
            ],
        )],
        found: &[("a", "1.0.7_p1-r0", None), ("b", "1.3-r0", None)],
    },
    Case {
        name: "a prefix that keeps back",
        installed: AB,
        world: "a~1.0\nb<~1.0\n",
        repositories: &[(
            "main",
            "",
            &[("a", "1.1-r0", ""), ("b", "1.1-r0", ""), ("b", "1.0.2-r0", "")],
        )],
        found: &[
            ("a", "1.1-r0", Some("etc/apk/world has a~1.0")),
            ("b", "1.0.2-r0", None),
        ],
    },
    Case {
        name: "a conflict with newer versions",
        installed: AB,
        world: "!a>1.5 a b",
        repositories: &[("main", "", &[("a", "2.0-r0", ""), ("b", "2.0-r0", "")])],
        found: &[("a", "2.0-r0", Some("etc/apk/world has !a>1.5")), ("b", "2.0-r0", None)],
    },
    Case {
        name: "a package from a file, known by its checksum",
        installed: &[("a", "1.0-r0", "")],
        world: "a><CHECKSUM",
        repositories: &[("main", "", &[("a", "2.0-r0", "")])],
        found: &[("a", "2.0-r0", Some("etc/apk/world has a><CHECKSUM"))],
    },
    Case {
        name: "a tagged repository that nobody asked for",
        installed: AB,
        world: "a\nb\n",
        repositories: &[
            ("main", "", &[("a", "1.1-r0", "")]),
            ("edge", "@edge ", &[("a", "2.0-r0", ""), ("b", "2.0-r0", "")]),
        ],
        found: &[("a", "1.1-r0", None)],
    },
    Case {
        name: "a tagged repository that one package is from",
        installed: &[("a", "1.0-r0", "s:edge\n"), ("b", "1.0-r0", "")],
        world: "a@edge\nb\n",
        repositories: &[
            ("main", "", &[("a", "1.1-r0", ""), ("b", "1.1-r0", "")]),
            ("edge", "@edge ", &[("a", "2.0-r0", ""), ("b", "2.0-r0", "")]),
            ("testing", "@testing ", &[("a", "3.0-r0", "")]),
        ],
        found: &[("a", "2.0-r0", None), ("b", "1.1-r0", None)],
    },
    Case {
        name: "a tag and a pin",
        installed: &[("a", "1.0-r0", "s:edge\n")],
        world: "a@edge=1.0-r0",
        repositories: &[("edge", "@edge ", &[("a", "2.0-r0", "")])],
        found: &[("a", "2.0-r0", Some("etc/apk/world has a@edge=1.0-r0"))],
    },
    Case {
        name: "a repository with and without a tag",
        installed: &[("a", "1.0-r0", "s:edge\n"), ("b", "1.0-r0", "")],
        world: "a@edge b",
        repositories: &[
            ("edge", "", &[("a", "2.0-r0", ""), ("b", "2.0-r0", "")]),
            ("edge", "@edge ", &[("a", "2.0-r0", ""), ("b", "2.0-r0", "")]),
        ],
        found: &[("a", "2.0-r0", None), ("b", "2.0-r0", None)],
    },
    Case {
        name: "a group and a package of another architecture",
        installed: &[(".build", "20240101.120000", "A:noarch\nD:a\n"), ("a", "1.0-r0", "")],
        world: ".build",
        repositories: &[("main", "", &[("a", "1.2-r0", "A:riscv64\n")])],
        found: &[("a", "1.2-r0", Some("it is for riscv64"))],
    },
];

impl Case {
    fn root(&self) -> Root {
        let root = Root::new(
            self.installed,
            &self.world.replace("CHECKSUM", &checksum("a", "1.0-r0")),
        );
        let lines = self.repositories.iter().map(|(folder, tag, offers)| {
            let url = root.offer(folder, offers);
            format!("{tag}{url}\n")
        });
        let lines: String = lines.collect();
        root.write("etc/apk/repositories", lines.as_bytes());
        root
    }
}

fn installed(root: &Root) -> Vec<Installed> {
    let database = std::fs::read(root.path().join(apk::DATABASES[0])).unwrap();
    let packages = apk::read("installed", &*database, DEFAULT_LIMIT).unwrap();
    packages.into_iter().map(Installed::from).collect()
}

#[test]
fn what_is_outdated_is_what_apk_says() {
    for case in CASES {
        let (name, root) = (case.name, case.root());
        let (configuration, indexes) = root.read();
        let indexes: Vec<_> = indexes.iter().map(|(repository, index)| (repository, index)).collect();
        let findings = apk::outdated(&installed(&root), &configuration, &indexes);
        let mut found = Vec::new();
        for finding in &findings.findings {
            assert_eq!((finding.kind, &findings.notes), (Kind::Unknown, &Vec::new()), "{name}");
            let why = match &finding.status {
                Status::KeptBack(why) => Some(why.replace(&checksum("a", "1.0-r0"), "CHECKSUM")),
                status => {
                    assert_eq!(*status, Status::Fixable, "{name}");
                    None
                }
            };
            found.push((
                finding.package.clone(),
                finding.fixed.as_ref().unwrap().to_string(),
                why,
            ));
        }
        let expected = case
            .found
            .iter()
            .map(|(package, version, why)| ((*package).to_owned(), (*version).to_owned(), why.map(ToOwned::to_owned)));
        assert_eq!(found, expected.collect::<Vec<_>>(), "{name}");
        compare_with_list(&root, name, &found);
        compare_with_upgrade(&root, name, &found);
    }
}

type Found = (String, String, Option<String>);

/// apk lists the same packages, with all newer versions.
fn compare_with_list(root: &Root, name: &str, found: &[Found]) {
    let said = root.apk(&["list", "--upgradeable"]);
    let listed: BTreeSet<(&str, &str)> = said
        .lines()
        .map(|line| {
            let (offer, _) = line.split_once(' ').unwrap();
            offer.split_once('-').unwrap()
        })
        .collect();
    for (package, version, _) in found {
        assert!(
            listed.contains(&(package, version)),
            "{name}: {package} {version}: apk says\n{said}"
        );
    }
    let packages: BTreeSet<&str> = listed.iter().map(|(package, _)| *package).collect();
    assert_eq!(
        packages,
        found.iter().map(|(package, ..)| &**package).collect(),
        "{name}: apk says\n{said}"
    );
    let said = root.apk(&["version", "--limit", "<"]);
    let named = |package: &str| said.lines().any(|line| line.starts_with(&format!("{package}-")));
    assert!(
        found.iter().all(|(package, ..)| named(package)),
        "{name}: apk says\n{said}"
    );
}

/// apk upgrades what is not kept back, and to the same versions.
fn compare_with_upgrade(root: &Root, name: &str, found: &[Found]) {
    let said = root.apk(&["upgrade", "--simulate"]);
    let upgraded: BTreeSet<(&str, &str)> = said
        .lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(" Upgrading ")?;
            let (package, versions) = rest.split_once(" (")?;
            let (_, to) = versions.trim_end_matches(')').split_once(" -> ")?;
            Some((package.split('@').next()?, to))
        })
        .collect();
    let taken = found.iter().filter(|(.., why)| why.is_none());
    assert_eq!(
        upgraded,
        taken.map(|(package, version, _)| (&**package, &**version)).collect(),
        "{name}: apk says\n{said}"
    );
}
