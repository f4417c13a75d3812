//! What is outdated: exactly what the image's own package manager says, on made images and a real one, and again after a
//! repository changes under us.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use patchport_kit::Mirror;
use patchport_kit::alpine;
use patchport_kit::apt::{Package, Repository, Suite};
use patchport_kit::client::{Client, pull};
use patchport_kit::debian::{self, Installed, Rootfs, testbed};
use patchport_kit::image::Layer;
use patchport_kit::mirror::Setup;
use patchport_kit::signer::Signer;
use tokio::time::{Instant, sleep};

use crate::patch_scene::{REPOSITORY, Scene, get_tag, pull_patched, until_patched};
use crate::promise::promise;
use crate::scan_scene::{KEY, SIGNED_BY, careful, found, scan};

/// A package: name, version, more lines of its control file.
type Offer = (&'static str, &'static str, &'static str);
/// A suite: name, fields of its `Release`, packages.
type Offers = (&'static str, &'static [(&'static str, &'static str)], &'static [Offer]);

/// An image and its repositories.
struct Case {
    name: &'static str,
    suites: &'static [Offers],
    installed: &'static [Offer],
    held: &'static [&'static str],
    /// Paths and contents in the image.
    files: &'static [(&'static str, &'static str)],
    /// What must be found fixable, and what else is newer: a case is to show what its name says.
    fixable: &'static [&'static str],
    kept: &'static [&'static str],
}

const AB: &[Offer] = &[("kit-a", "1.0", ""), ("kit-b", "1.0", "")];
const PLAIN: Case = Case {
    name: "",
    suites: &[],
    installed: AB,
    held: &[],
    files: &[],
    fixable: &[],
    kept: &[],
};

const CASES: &[Case] = &[
    Case {
        name: "newer, the same and older",
        suites: &[(
            "stable",
            &[],
            &[
                ("kit-a", "1.1", ""),
                ("kit-b", "1.0", ""),
                ("kit-c", "0.9", ""),
                ("kit-d", "9", ""),
            ],
        )],
        installed: &[("kit-a", "1.0", ""), ("kit-b", "1.0", ""), ("kit-c", "1.0", "")],
        fixable: &["kit-a 1.1"],
        ..PLAIN
    },
    Case {
        name: "several versions of one package in two suites",
        suites: &[
            (
                "stable",
                &[],
                &[("kit-a", "1.1", ""), ("kit-a", "1.10", ""), ("kit-b", "1.2", "")],
            ),
            ("updates", &[], &[("kit-a", "1.9", ""), ("kit-b", "1.3", "")]),
        ],
        fixable: &["kit-a 1.10", "kit-b 1.3"],
        ..PLAIN
    },
    Case {
        name: "a package on hold",
        suites: &[("stable", &[], &[("kit-a", "1.1", ""), ("kit-b", "1.1", "")])],
        held: &["kit-b"],
        fixable: &["kit-a 1.1"],
        kept: &["kit-b 1.1"],
        ..PLAIN
    },
    Case {
        name: "an epoch and a tilde",
        suites: &[(
            "stable",
            &[],
            &[("kit-a", "1:0.5", ""), ("kit-b", "1.0~rc1", ""), ("kit-c", "2.0", "")],
        )],
        installed: &[("kit-a", "1.0", ""), ("kit-b", "1.0", ""), ("kit-c", "2.0~rc1", "")],
        fixable: &["kit-a 1:0.5", "kit-c 2.0"],
        ..PLAIN
    },
    Case {
        name: "a pin to a version, and one in a file that apt does not read",
        suites: &[("stable", &[], &[("kit-a", "1.1", ""), ("kit-b", "1.1", "")])],
        files: &[
            (
                "etc/apt/preferences.d/a.pref",
                "Package: kit-a\nPin: version 1.0*\nPin-Priority: 1001\n",
            ),
            (
                "etc/apt/preferences.d/b.bak",
                "Package: kit-b\nPin: version 1.0*\nPin-Priority: 1001\n",
            ),
        ],
        fixable: &["kit-b 1.1"],
        ..PLAIN
    },
    Case {
        name: "a pin of a whole suite",
        suites: &[
            ("stable", &[], &[("kit-a", "1.1", ""), ("kit-b", "1.0", "")]),
            ("testing", &[], &[("kit-a", "2.0", ""), ("kit-b", "2.0", "")]),
        ],
        files: &[(
            "etc/apt/preferences.d/testing",
            "Package: *\nPin: release a=testing\nPin-Priority: -1\n\nPackage: kit-b\nPin: release n=testing\nPin-Priority: 600\n",
        )],
        fixable: &["kit-a 1.1", "kit-b 2.0"],
        ..PLAIN
    },
    Case {
        name: "a security suite",
        suites: &[
            ("stable", &[], &[("kit-a", "1.0", ""), ("kit-b", "1.1", "")]),
            (
                "stable-security",
                &[("Label", "Debian-Security")],
                &[("kit-a", "1.0+deb1", "")],
            ),
        ],
        fixable: &["kit-a 1.0+deb1", "kit-b 1.1"],
        ..PLAIN
    },
    Case {
        name: "a new dependency",
        suites: &[(
            "stable",
            &[],
            &[("kit-a", "1.1", "Depends: kit-new (>= 1)\n"), ("kit-new", "1.0", "")],
        )],
        fixable: &["kit-a 1.1"],
        ..PLAIN
    },
    Case {
        name: "a dependency that nobody has",
        suites: &[(
            "stable",
            &[],
            &[
                ("kit-a", "1.1", "Depends: kit-missing\n"),
                ("kit-b", "1.1", "Depends: kit-a (>= 1.1)\n"),
            ],
        )],
        kept: &["kit-a 1.1", "kit-b 1.1"],
        ..PLAIN
    },
    Case {
        name: "an upgrade that would remove another package",
        suites: &[("stable", &[], &[("kit-a", "1.1", "Conflicts: kit-b\n")])],
        kept: &["kit-a 1.1"],
        ..PLAIN
    },
    Case {
        name: "two packages that must go together",
        suites: &[(
            "stable",
            &[],
            &[
                ("kit-a", "1.1", "Depends: kit-b (= 1.1)\n"),
                ("kit-b", "1.1", "Breaks: kit-a (<< 1.1)\n"),
            ],
        )],
        installed: &[("kit-a", "1.0", "Depends: kit-b (= 1.0)\n"), ("kit-b", "1.0", "")],
        fixable: &["kit-a 1.1", "kit-b 1.1"],
        ..PLAIN
    },
    Case {
        name: "backports",
        suites: &[
            ("stable", &[], &[("kit-a", "1.0", ""), ("kit-b", "1.0", "")]),
            (
                "stable-backports",
                &[("NotAutomatic", "yes"), ("ButAutomaticUpgrades", "yes")],
                &[("kit-a", "2.0~bpo2", ""), ("kit-b", "2.0~bpo1", "")],
            ),
        ],
        installed: &[("kit-a", "2.0~bpo1", ""), ("kit-b", "1.0", "")],
        fixable: &["kit-a 2.0~bpo2"],
        ..PLAIN
    },
    Case {
        name: "a suite that is for those who ask only",
        suites: &[
            ("stable", &[], &[("kit-a", "1.1", "")]),
            (
                "experimental",
                &[("NotAutomatic", "yes")],
                &[("kit-a", "2.0", ""), ("kit-b", "2.0", "")],
            ),
        ],
        fixable: &["kit-a 1.1"],
        ..PLAIN
    },
    Case {
        name: "an update that is for nobody yet",
        suites: &[(
            "stable",
            &[],
            &[("kit-a", "1.1", "Phased-Update-Percentage: 0\n"), ("kit-b", "1.1", "")],
        )],
        files: &[("etc/machine-id", "0123456789abcdef0123456789abcdef\n")],
        fixable: &["kit-b 1.1"],
        kept: &["kit-a 1.1"],
        ..PLAIN
    },
    Case {
        name: "the same where no machine id could draw a lot",
        suites: &[(
            "stable",
            &[],
            &[("kit-a", "1.1", "Phased-Update-Percentage: 0\n"), ("kit-b", "1.1", "")],
        )],
        fixable: &["kit-a 1.1", "kit-b 1.1"],
        ..PLAIN
    },
    Case {
        name: "a default release",
        suites: &[
            ("stable", &[], &[("kit-a", "1.1", "")]),
            ("testing", &[], &[("kit-a", "2.0", ""), ("kit-b", "2.0", "")]),
        ],
        files: &[("etc/apt/apt.conf.d/99default", "APT::Default-Release \"stable\";\n")],
        fixable: &["kit-a 1.1", "kit-b 2.0"],
        ..PLAIN
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_outdated_is_what_the_images_own_apt_says() {
    let (signer, setup, bare) = (Signer::new("kit"), careful(), Rootfs::bare().await);
    // The image's apt and our scan take a while: a few cases at a time.
    for cases in CASES.chunks(4) {
        join_all(cases.iter().map(|case| check(case, &signer, &setup, &bare))).await;
    }
}

async fn check(case: &Case, signer: &Signer, setup: &Setup, bare: &Rootfs) {
    let repository = Repository::start().await;
    let mut sources = String::new();
    for (name, fields, packages) in case.suites {
        let mut suite = Suite::new(name);
        for (field, value) in *fields {
            suite = suite.field(field, value);
        }
        for offer in *packages {
            suite = suite.package(&repository, &package(offer));
        }
        suite.publish(&repository, Some(signer));
        sources += &suite.source(&repository, SIGNED_BY);
    }
    let installed: Vec<Installed> = case
        .installed
        .iter()
        .map(|offer| {
            let one = Installed::new(package(offer));
            if case.held.contains(&offer.0) { one.held() } else { one }
        })
        .collect();
    let mut layer = Layer::new().file(KEY, signer.public());
    for (path, content) in case.files {
        layer = layer.file(path, content);
    }
    let image = debian::image_of(&sources, &installed).await.layer(layer.gzip()).build();
    let (ours, theirs) = (
        scan(setup, &image, &["--format", "json"]).await,
        bare.with(&image).await,
    );
    let (ours, theirs) = (found(&ours.json()), theirs.upgrades().await);
    assert_eq!(ours, theirs, "{}: fixable and upgradable, ours and apt's", case.name);
    assert_eq!(ours.0, case.fixable, "{}: fixable", case.name);
    let kept: Vec<&String> = ours.1.iter().filter(|one| !ours.0.contains(one)).collect();
    assert_eq!(kept, case.kept, "{}: kept back", case.name);
}

fn package((name, version, control): &Offer) -> Package {
    Package {
        control: (*control).to_owned(),
        ..Package::new(name, version)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_outdated_in_a_real_debian_is_what_its_own_apt_says() {
    let registry = testbed("PATCHPORT_TEST_REGISTRY");
    let image = testbed("PATCHPORT_TEST_IMAGE_DEBIAN");
    let (repository, tag) = image.rsplit_once(':').unwrap();
    let pulled = pull(&Client::new(&*registry), repository, tag).await;
    let theirs = Rootfs::unpack(&pulled);
    let reference = format!("{registry}/{image}");
    let ours = Mirror::setup().run(&["scan", "--format", "json", &reference]).await;
    let (ours, theirs) = (found(&ours.json()), theirs.upgrades().await);
    assert!(!theirs.0.is_empty(), "the testbed's Debian has fixes pending");
    assert_eq!(ours, theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_outdated_in_an_alpine_is_what_its_own_apk_says() {
    let (repository, key) = (Repository::start().await, alpine::Key::new());
    let installed = [
        ("kit-old", "1.0-r0", &[][..]),
        ("kit-release", "1.0-r0", &[]),
        ("kit-current", "1.0-r0", &[]),
        ("kit-pinned", "1.0-r0", &[]),
        ("kit-rc", "2.0_rc1-r0", &[]),
        ("kit-user", "1.0-r0", &["kit-library=1.0-r0"]),
        ("kit-library", "1.0-r0", &[]),
        ("kit-wants-new", "1.0-r0", &[]),
    ];
    let main = [
        ("kit-old", "1.10-r0", &[][..]),
        ("kit-old", "1.9-r0", &[]),
        ("kit-release", "1.0-r1", &[]),
        ("kit-current", "1.0-r0", &[]),
        ("kit-pinned", "1.1-r0", &[]),
        ("kit-rc", "2.0-r0", &[]),
        ("kit-user", "1.0-r0", &["kit-library=1.0-r0"]),
        ("kit-library", "1.1-r0", &[]),
        ("kit-library", "1.0-r0", &[]),
        ("kit-wants-new", "1.1-r0", &["kit-new"]),
        ("alpine-keys", "99-r0", &[]),
    ];
    let community = [("kit-new", "1.0-r0", &[][..]), ("kit-release", "1.0-r2", &[])];
    let sources = key.publish(&repository, "main", &main) + &key.publish(&repository, "community", &community);
    let base = alpine::base().await;
    let database: String = installed.iter().map(alpine::installed).collect();
    let world = "kit-old\nkit-release\nkit-current\nkit-pinned=1.0-r0\nkit-rc\nkit-user\nkit-wants-new\n";
    let layer = Layer::new()
        .file("etc/apk/keys/kit.rsa.pub", key.public())
        .file("etc/apk/repositories", sources)
        .file("etc/apk/world", format!("{}{world}", base.world))
        .file(
            "lib/apk/db/installed",
            format!("{}\n\n{database}", base.installed.trim_end()),
        );
    let image = alpine::image().await.layer(layer.gzip()).build();
    let ours = found(&scan(&careful(), &image, &["--format", "json"]).await.json());
    let theirs = alpine::Rootfs::of(&image);
    // apk lists every newer version, we the one that it would take.
    let upgradable = theirs.upgradable().await;
    let names = |list: &[String]| -> BTreeSet<String> {
        list.iter()
            .map(|one| one.split(' ').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&ours.1), names(&upgradable), "what is upgradable");
    assert!(
        ours.1.iter().all(|one| upgradable.contains(one)),
        "{ours:?} {upgradable:?}"
    );
    // Conflicts between the dependencies of packages are not looked at: apk keeps a library that an installed package wants as it is.
    let mut upgraded = theirs.upgrades().await;
    assert!(!upgraded.contains(&"kit-library 1.1-r0".to_owned()));
    upgraded.push("kit-library 1.1-r0".to_owned());
    upgraded.sort();
    assert_eq!(ours.0, upgraded, "what is upgraded");
    assert_eq!(
        ours.0,
        [
            "alpine-keys 99-r0",
            "kit-library 1.1-r0",
            "kit-old 1.10-r0",
            "kit-rc 2.0-r0",
            "kit-release 1.0-r2",
            "kit-wants-new 1.1-r0",
        ]
    );
    assert_eq!(ours.1.len(), ours.0.len() + 1, "kit-pinned is kept back: {:?}", ours.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_changes_under_us_is_noticed_without_anybody_asking() {
    let scene = Scene::shared().await;
    let mirror = scene
        .mirror("25s", "serve-original", "deny")
        .set("scan", "refresh = \"1s\"")
        .start()
        .await;
    let first = until_patched(&mirror, "v1", &scene.image.digest()).await;
    scene.apt.publish(&Package::new("kit-hello", "1.2"));
    // Nobody asks for the tag until the patch is there.
    let queued = |lines: &[String]| {
        lines
            .iter()
            .any(|line| line.contains("package indexes have changed"))
            .then_some(())
    };
    mirror
        .log()
        .wait(0, "that an index has changed", Duration::from_secs(60), queued)
        .await;
    let end = Instant::now() + Duration::from_secs(120);
    while get_tag(&mirror, "v1").await.digest == first.digest {
        assert!(Instant::now() < end, "the tag stays at the old patch");
        sleep(Duration::from_millis(500)).await;
    }
    let patched = pull_patched(&mirror, "v1", &scene.image.digest()).await;
    assert_eq!(
        Rootfs::unpack(&patched).version("kit-hello").await,
        "1.2 install ok installed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_nothing_to_patch_is_answered_without_a_builder() {
    promise("That an image needs no patch is found out without a container");
    promise("It is remembered: the next pull starts no container and reads no layer.");
    let scene = Scene::own().await;
    let image = crate::patch_scene::image(&scene.apt, "1.1").await.build();
    scene.registry.push(REPOSITORY, Some("current"), &image);
    let mut mirror = scene.strict().await;
    for round in ["first", "second", "after a restart"] {
        let answer = get_tag(&mirror, "current").await;
        assert_eq!((answer.status, &answer.digest), (200, &image.digest()), "{round}");
        assert_eq!(answer.header("warning"), None, "{round}: an answer like any other");
        let read = scene.registry.count("GET /v2/team/app/blobs/");
        if round == "first" {
            assert!(read > 0, "its layers were read");
            scene.registry.forget_requests();
            std::fs::remove_dir_all(mirror.store().join("blobs")).unwrap();
        } else {
            assert_eq!(read, 0, "{round}: no layer is read");
        }
        if round == "second" {
            mirror.kill9();
            mirror.restart().await;
        }
    }
    assert_eq!((scene.buildkit.solves(), scene.buildkit.containers_started()), (0, 0));
    // With a builder that is not there the answer is the same.
    let mirror = scene
        .mirror("20s", "deny", "deny")
        .buildkit("unix:///nonexistent/b.sock")
        .start()
        .await;
    assert_eq!(get_tag(&mirror, "current").await.digest, image.digest());
}
