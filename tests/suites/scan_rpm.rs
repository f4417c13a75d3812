//! What is outdated in an rpm image: exactly what the image's own dnf says, and again after a repository changes under us.

use patchport_kit::Mirror;
use patchport_kit::apt::Repository;
use patchport_kit::image::{Image, Layer};
use patchport_kit::mirror::Setup;
use patchport_kit::rpm::{self, Offers, Package, Rootfs};

use crate::scan_scene::{careful, found, scan};

/// A package: name, version, a line more of its preamble; `name.architecture` where it is not for all.
type Offer = (&'static str, &'static str, &'static str);
/// A repository: its path, options, packages.
type Offered = (&'static str, &'static str, &'static [Offer]);

/// An image and its repositories.
struct Case {
    name: &'static str,
    repositories: &'static [Offered],
    installed: &'static [Offer],
    /// Lines of `[main]`.
    main: &'static str,
    /// Lines of dnf's list of locks.
    locks: &'static str,
    /// What must be found fixable, and what else is newer: a case is to show what its name says.
    fixable: &'static [&'static str],
    kept: &'static [&'static str],
    /// Which of the latter dnf does not list.
    hidden: &'static [&'static str],
}

const PLAIN: Case = Case {
    name: "",
    repositories: &[],
    installed: &[("kit-a", "1.0-1", ""), ("kit-b", "1.0-1", "")],
    main: "",
    locks: "",
    fixable: &[],
    kept: &[],
    hidden: &[],
};

const CASES: &[Case] = &[
    Case {
        name: "newer, the same, older, and another release",
        repositories: &[(
            "one",
            "",
            &[
                ("kit-a", "1.1-1", ""),
                ("kit-b", "1.0-1", ""),
                ("kit-c", "0.9-1", ""),
                ("kit-d", "1.0-10", ""),
                ("kit-new", "9-1", ""),
            ],
        )],
        installed: &[
            ("kit-a", "1.0-1", ""),
            ("kit-b", "1.0-1", ""),
            ("kit-c", "1.0-1", ""),
            ("kit-d", "1.0-9", ""),
        ],
        fixable: &["kit-a 1.1-1", "kit-d 1.0-10"],
        ..PLAIN
    },
    Case {
        name: "epochs, a tilde and a caret",
        repositories: &[(
            "one",
            "",
            &[
                ("kit-a", "2:0.5-1", ""),
                ("kit-b", "9.0-1", ""),
                ("kit-c", "2.0-1", ""),
                ("kit-d", "2.0^git1-1", ""),
            ],
        )],
        installed: &[
            ("kit-a", "1.0-1", ""),
            ("kit-b", "1:1.0-1", ""),
            ("kit-c", "2.0~rc1-1", ""),
            ("kit-d", "2.0-1", ""),
        ],
        fixable: &["kit-a 2:0.5-1", "kit-c 2.0-1", "kit-d 2.0^git1-1"],
        ..PLAIN
    },
    Case {
        name: "a package that takes the place of an installed one, and one that is not installed and does",
        repositories: &[(
            "one",
            "",
            &[
                ("kit-a", "1.1-1", "Obsoletes: kit-b < 2"),
                ("kit-b", "1.5-1", ""),
                ("kit-c", "1.1-1", "Obsoletes: kit-b < 1.0"),
                ("kit-d", "1.1-1", ""),
                ("kit-other", "1.0-1", "Obsoletes: kit-d"),
            ],
        )],
        installed: &[
            ("kit-a", "1.0-1", ""),
            ("kit-b", "1.0-1", ""),
            ("kit-c", "1.0-1", ""),
            ("kit-d", "1.0-1", ""),
        ],
        fixable: &["kit-b 1.5-1", "kit-c 1.1-1", "kit-d 1.1-1"],
        kept: &["kit-a 1.1-1"],
        ..PLAIN
    },
    Case {
        name: "a lock",
        repositories: &[("one", "", &[("kit-a", "1.1-1", ""), ("kit-b", "1.1-1", "")])],
        locks: "# kept by its owner\nkit-b-0:1.0-1.*\n",
        fixable: &["kit-a 1.1-1"],
        kept: &["kit-b 1.1-1"],
        hidden: &["kit-b 1.1-1"],
        ..PLAIN
    },
    Case {
        name: "what is excluded everywhere, in one repository, and all but one there",
        repositories: &[
            (
                "one",
                "excludepkgs=kit-b*",
                &[("kit-a", "1.1-1", ""), ("kit-b", "1.1-1", ""), ("kit-c", "1.1-1", "")],
            ),
            (
                "two",
                "includepkgs=kit-d",
                &[("kit-b", "1.2-1", ""), ("kit-d", "1.1-1", "")],
            ),
        ],
        main: "excludepkgs=kit-c",
        installed: &[
            ("kit-a", "1.0-1", ""),
            ("kit-b", "1.0-1", ""),
            ("kit-c", "1.0-1", ""),
            ("kit-d", "1.0-1", ""),
        ],
        fixable: &["kit-a 1.1-1", "kit-d 1.1-1"],
        ..PLAIN
    },
    Case {
        name: "several repositories, priorities, and one that is not enabled",
        repositories: &[
            ("one", "", &[("kit-a", "1.1-1", ""), ("kit-b", "1.3-1", "")]),
            ("two", "priority=10", &[("kit-b", "1.2-1", "")]),
            ("three", "", &[("kit-a", "1.2-1", ""), ("kit-a", "1.10-1", "")]),
            ("four", "enabled=0", &[("kit-a", "9-1", "")]),
        ],
        fixable: &["kit-a 1.10-1", "kit-b 1.2-1"],
        ..PLAIN
    },
    Case {
        name: "two architectures of one package, and one that is for all now",
        repositories: &[(
            "one",
            "",
            &[
                ("kit-a.x86_64", "1.1-1", ""),
                ("kit-a.i686", "1.1-1", ""),
                ("kit-b", "1.1-1", ""),
                ("kit-c.i686", "1.1-1", ""),
            ],
        )],
        installed: &[
            ("kit-a.x86_64", "1.0-1", ""),
            ("kit-a.i686", "1.0-1", ""),
            ("kit-b.x86_64", "1.0-1", ""),
            ("kit-c.x86_64", "1.0-1", ""),
        ],
        fixable: &["kit-a 1.1-1", "kit-b 1.1-1"],
        ..PLAIN
    },
];

fn package((name, version, line): &Offer) -> Package {
    let (name, architecture) = name.split_once('.').unwrap_or((name, "noarch"));
    let package = Package::new(name, version).of(architecture);
    if line.is_empty() { package } else { package.with(line) }
}

fn packages(offers: &[Offer]) -> Vec<Package> {
    offers.iter().map(package).collect()
}

/// An image as a scan takes it: what says which distribution it is below, the packages on top.
fn image(layer: Layer, installed: &[Package], sections: &str) -> Image {
    let release = "NAME=\"Rocky Linux\"\nID=rocky\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=9.4\n";
    let below = Layer::new().file("usr/lib/os-release", release);
    let top = rpm::top(layer, installed, sections);
    Image::builder().layer(below.gzip()).layer(top.gzip()).build()
}

/// What we find: fixable, and all; after a look at what dnf names: all but `hidden`.
async fn compare(what: &str, setup: &Setup, image: &Image, root: &Rootfs, hidden: &[&str]) -> [Vec<String>; 2] {
    let said = scan(setup, image, &["--format", "json"]).await;
    let (fixable, all) = found(&said.json());
    root.put(&image.layers[1..]);
    let theirs = root.outdated().await;
    let mut ours: Vec<String> = all
        .iter()
        .filter(|one| !hidden.contains(&one.as_str()))
        .cloned()
        .collect();
    ours.dedup();
    assert_eq!(ours, theirs, "{what}: as the image's own dnf says");
    [fixable, all]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_outdated_in_an_rpm_image_is_what_its_own_dnf_says() {
    if std::env::consts::ARCH != "x86_64" {
        return;
    }
    let (root, server) = (Rootfs::bare().await, Repository::start().await);
    for (number, case) in CASES.iter().enumerate() {
        let mut sections = String::new();
        for (path, options, offers) in case.repositories {
            let served = Offers::new(&format!("{number}-{path}"));
            served.publish(&server, &packages(offers));
            sections += &served.section(&server, options);
        }
        let own = Layer::new().file("etc/dnf/dnf.conf", format!("[main]\ngpgcheck=0\n{}\n", case.main));
        let installed = packages(case.installed);
        let image = image(own, &installed, &sections);
        let image = locked(image, case.locks);
        let [fixable, all] = compare(case.name, &Mirror::setup(), &image, &root, case.hidden).await;
        assert_eq!(fixable, case.fixable, "{}: fixable", case.name);
        let kept: Vec<_> = all.iter().filter(|one| !fixable.contains(one)).collect();
        assert_eq!(kept, case.kept.iter().collect::<Vec<_>>(), "{}: kept back", case.name);
    }
}

/// The image with a layer more that locks.
fn locked(image: Image, locks: &str) -> Image {
    let top = Layer::new().file("etc/dnf/plugins/versionlock.list", locks).gzip();
    let layers = image.layers.into_iter().chain([top]);
    layers
        .fold(Image::builder(), |builder, layer| builder.layer(layer))
        .build()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_repository_that_changes_is_read_again() {
    let (root, server) = (Rootfs::bare().await, Repository::start().await);
    let (offers, key) = Offers::new("signed/9.4").signed();
    let offers_at = |version: &str| vec![Package::new("kit-a", version)];
    let installed = [Package::new("kit-a", "1.0-1"), Package::new("kit-b", "1.0-1")];
    let section = offers.section(&server, "gpgkey=file:///etc/pki/rpm-gpg/kit");
    let section = section.replace("signed/9.4", "signed/$releasever");
    let own = Layer::new()
        .file("etc/dnf/dnf.conf", "[main]\n")
        .file("etc/pki/rpm-gpg/kit", key);
    let image = image(own, &installed, &section);
    let mut expected = Vec::new();
    for version in ["1.1-1", "1.2-1"] {
        offers.publish(&server, &offers_at(version));
        expected = vec![format!("kit-a {version}")];
        let [fixable, _] = compare(version, &careful(), &image, &root, &[]).await;
        assert_eq!(fixable, expected);
    }
    assert!(!expected.is_empty());
}
