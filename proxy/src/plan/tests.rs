//! Plans and their keys.
//!
//! Each case changes one thing and says whether that makes another plan.

use patchport_config::Severity as AtLeast;
use patchport_packages::findings::{Kind, Severity};
use patchport_packages::inventory::{Held, Installed, Manager, Repositories, Source};
use patchport_packages::{Family, OsRelease};

use super::*;

fn version(text: &str) -> Version {
    Version::parse(Family::Deb, text).unwrap()
}

fn installed(name: &str, text: &str) -> Installed {
    Installed {
        name: name.into(),
        architecture: "amd64".into(),
        version: version(text),
        source: Source {
            name: name.into(),
            version: version(text),
        },
        origin: None,
    }
}

/// What an index offers, not a matter of security.
fn offer(name: &str, fixed: &str) -> Finding {
    Finding {
        package: name.into(),
        architecture: "amd64".into(),
        installed: version("1.0"),
        fixed: Some(version(fixed)),
        status: Status::Fixable,
        kind: Kind::Ordinary,
        severity: Severity::Unknown,
        advisories: vec![],
        origin: Some("Debian bookworm main".into()),
        leaves: None,
    }
}

/// A vulnerability that a scanner reports.
fn report(name: &str, fixed: &str, severity: Severity) -> Finding {
    Finding {
        kind: Kind::Security,
        severity,
        advisories: vec!["CVE-2026-1".into()],
        origin: None,
        ..offer(name, fixed)
    }
}

fn found(findings: &[Finding]) -> Findings {
    Findings::new(findings.to_vec(), vec![])
}

/// Everything that a plan is made from.
#[derive(Clone)]
struct Inputs {
    inventory: Inventory,
    image: Digest,
    platform: Platform,
    name: &'static str,
    docker: bool,
    choices: Choices,
}

impl Inputs {
    fn new() -> Self {
        let os = OsRelease::parse(b"ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\n").unwrap();
        let package = installed("libc6", "1.0");
        Self {
            inventory: Inventory {
                os,
                manager: Manager::Dpkg,
                packages: vec![package],
                held: vec![],
                repositories: Repositories::default(),
                tools: ["apt-get", "dpkg", "sh"].map(str::to_owned).into(),
            },
            image: Digest::of(b"image"),
            platform: Platform::new("linux", "amd64", ""),
            name: "registry.example/team/app",
            docker: false,
            choices: Choices {
                compression: Compression::Zstd,
                cache_scope: CacheScope::Repository,
                selection: Selection::Outdated,
                major_upgrades: false,
                platforms: Platforms::ALL,
                emulation: false,
                maintained: false,
                policy: None,
            },
        }
    }

    fn plan(&self, findings: &Findings) -> Result<Planned, NoPlan> {
        let target = Target {
            image: &self.image,
            platform: &self.platform,
            name: self.name,
            docker: self.docker,
        };
        plan(&self.inventory, findings, target, self.choices)
    }

    fn made(&self) -> Plan {
        self.plan(&found(&[offer("libc6", "1.1")])).unwrap().plan.unwrap()
    }
}

type Change = fn(&mut Inputs);

#[test]
fn equal_plans_have_equal_keys_and_others_have_others() {
    let cases: [(&str, Change, bool); 11] = [
        ("nothing", |_| {}, true),
        ("image", |inputs| inputs.image = Digest::of(b"other"), false),
        (
            "platform",
            |inputs| inputs.platform.architecture = "arm64".into(),
            false,
        ),
        ("variant", |inputs| inputs.platform.variant = "v7".into(), false),
        ("distribution", |inputs| inputs.inventory.os.id = "ubuntu".into(), false),
        (
            "suite",
            |inputs| inputs.inventory.os.version_codename = Some("trixie".into()),
            false,
        ),
        (
            "compression",
            |inputs| inputs.choices.compression = Compression::Gzip,
            false,
        ),
        (
            "cache scope",
            |inputs| inputs.choices.cache_scope = CacheScope::Distribution,
            false,
        ),
        ("repository", |inputs| inputs.name = "registry.example/other", false),
        ("major upgrades", |inputs| inputs.choices.major_upgrades = true, false),
        (
            "what is said for people",
            |inputs| inputs.inventory.os.pretty_name = Some("x".into()),
            true,
        ),
    ];
    let first = Inputs::new().made();
    for (name, change, same) in cases {
        let mut inputs = Inputs::new();
        change(&mut inputs);
        let other = inputs.made();
        assert_eq!(other.key() == first.key(), same, "{name}");
        assert_eq!(other == first, same, "{name}");
    }
    assert!(first.key().len() == 64 && first.key().bytes().all(|byte| byte.is_ascii_hexdigit()));
}

#[test]
fn images_that_trust_one_another_share_a_plan() {
    let mut inputs = Inputs::new();
    inputs.choices.cache_scope = CacheScope::Distribution;
    let one = inputs.made();
    inputs.name = "registry.example/other";
    assert_eq!(one.key(), inputs.made().key());
    assert_eq!(one.cache, "debian-bookworm");
}

#[test]
fn a_docker_image_has_a_gzip_layer_whatever_is_chosen() {
    for (docker, chosen, expected) in [
        (true, Compression::Zstd, Compression::Gzip),
        (true, Compression::Gzip, Compression::Gzip),
        (false, Compression::Zstd, Compression::Zstd),
        (false, Compression::Gzip, Compression::Gzip),
    ] {
        let mut inputs = Inputs::new();
        (inputs.docker, inputs.choices.compression) = (docker, chosen);
        assert_eq!(inputs.made().compression, expected, "docker: {docker}, {chosen:?}");
    }
}

#[test]
fn the_suite_is_the_code_name_or_the_version() {
    for (code_name, version, expected) in [
        (Some("bookworm"), Some("12"), "bookworm"),
        (None, Some("12"), "12"),
        (Some(""), Some("12"), "12"),
        (None, None, ""),
    ] {
        let mut inputs = Inputs::new();
        inputs.inventory.os.version_codename = code_name.map(str::to_owned);
        inputs.inventory.os.version_id = version.map(str::to_owned);
        assert_eq!(inputs.made().suite, expected, "{code_name:?} {version:?}");
    }
}

/// What becomes of `foo 1.0`: the version to have, `name=` before it when it is exact, or why it is left out.
fn fate(findings: &[Finding], change: Change) -> String {
    let mut inputs = Inputs::new();
    inputs.inventory.packages = vec![installed("foo", "1.0")];
    change(&mut inputs);
    let planned = inputs.plan(&found(findings)).unwrap();
    let upgrades = planned.plan.map_or_else(Vec::new, |plan| plan.upgrades);
    match (&upgrades[..], &planned.left_out[..]) {
        ([], []) => String::new(),
        ([one], []) => format!("{}{}", if one.exact { "=" } else { ">=" }, one.to),
        ([], [left]) => left.reason.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_becomes_of_a_package() {
    let same: Change = |_| {};
    let select = |text: &str| text.parse::<Selection>().unwrap();
    assert_eq!(select("fixable:high"), Selection::Fixable(AtLeast::High));
    let high: Change = |inputs| inputs.choices.selection = Selection::Fixable(AtLeast::High);
    let security: Change = |inputs| inputs.choices.selection = Selection::Security;
    let major: Change = |inputs| inputs.choices.major_upgrades = true;
    let held: Change = |inputs| {
        inputs.inventory.held = vec![Held {
            name: "foo".into(),
            architecture: "amd64".into(),
        }];
    };
    let dated: Change = |inputs| inputs.inventory.packages = vec![installed("foo", "2024a-0+deb12u1")];
    let from_suite = Finding {
        kind: Kind::Security,
        origin: Some("Debian-Security bookworm-security main".into()),
        ..offer("foo", "2.0")
    };
    let elsewhere = Finding {
        leaves: Some("Varnish".into()),
        ..offer("foo", "1.5")
    };
    let kept = Finding {
        status: Status::KeptBack("it needs bar 2".into()),
        ..offer("foo", "1.1")
    };
    let hopeless = Finding {
        status: Status::NoFix,
        fixed: None,
        ..report("foo", "1.1", Severity::High)
    };
    let unrated = report("foo", "1.1", Severity::Unknown);
    let by_source = Finding {
        fixed: None,
        ..report("foo", "1.1", Severity::High)
    };
    let cases: Vec<(&str, Vec<Finding>, Change, &str)> = vec![
        ("nothing found", vec![], same, ""),
        ("offered", vec![offer("foo", "1.1")], same, "=1.1"),
        ("not installed", vec![offer("bar", "1.1")], same, ""),
        ("older", vec![offer("foo", "0.9")], same, ""),
        ("on hold", vec![offer("foo", "1.1")], held, "on hold"),
        ("kept back", vec![kept], same, "it needs bar 2"),
        ("no fix", vec![hopeless], same, "there is no fixed version yet"),
        (
            "reported only",
            vec![report("foo", "1.1", Severity::Low)],
            same,
            ">=1.1",
        ),
        (
            "reported, offered newer",
            vec![report("foo", "1.1", Severity::Low), offer("foo", "1.2")],
            same,
            "=1.2",
        ),
        (
            "reported, offered older",
            vec![report("foo", "1.3", Severity::Low), offer("foo", "1.2")],
            same,
            "the fix is 1.3, but its repositories offer 1.2",
        ),
        (
            "reported by its source",
            vec![by_source.clone()],
            same,
            "a fix is known, but not in which version of this package",
        ),
        (
            "reported by its source, offered",
            vec![by_source, offer("foo", "1.2")],
            security,
            "=1.2",
        ),
        (
            "not security",
            vec![offer("foo", "1.1")],
            security,
            "not asked for: patch = \"security\"",
        ),
        ("security", vec![from_suite.clone()], security, "=2.0"),
        (
            "too low",
            vec![report("foo", "1.1", Severity::Medium)],
            high,
            "not asked for: patch = \"fixable:high\"",
        ),
        (
            "high enough",
            vec![report("foo", "1.1", Severity::Critical)],
            high,
            ">=1.1",
        ),
        ("unrated", vec![unrated], high, ">=1.1"),
        (
            "another major version",
            vec![offer("foo", "2.0")],
            same,
            "1.0 to 2.0 is another major version; major_upgrades = true would allow it",
        ),
        (
            "another major version that a report asks for",
            vec![report("foo", "7.1.1", Severity::High)],
            same,
            "1.0 to 7.1.1 is another major version; major_upgrades = true would allow it",
        ),
        (
            "another major version, allowed",
            vec![offer("foo", "2.0")],
            major,
            "=2.0",
        ),
        (
            "another major version of the security suite",
            vec![from_suite],
            same,
            "=2.0",
        ),
        (
            "a date for a version",
            vec![offer("foo", "2026b-0+deb12u1")],
            dated,
            "=2026b-0+deb12u1",
        ),
        (
            "another origin",
            vec![elsewhere],
            same,
            "it comes from Varnish, the newer version from Debian bookworm main; major_upgrades = true would allow it",
        ),
    ];
    for (name, findings, change, expected) in cases {
        assert_eq!(fate(&findings, change), expected, "{name}");
    }
}

#[test]
fn there_is_no_plan_for_nothing_and_none_without_a_package_manager() {
    let mut inputs = Inputs::new();
    assert_eq!(inputs.plan(&Findings::default()), Ok(Planned::default()));
    inputs.inventory.manager = Manager::Pacman;
    inputs.inventory.tools = vec!["sh".to_owned()];
    let nothing = inputs.plan(&Findings::default());
    assert_eq!(nothing, Ok(Planned::default()), "nothing to do is no failure");
    let refused = inputs.plan(&found(&[offer("libc6", "1.1")])).unwrap_err();
    assert!(refused.to_string().contains("but not pacman"), "{refused}");
    assert!(refused.to_string().contains("libc6"), "{refused}");
}

#[test]
fn choices_have_names_of_their_own_that_can_be_read_back() {
    let settings = patchport_config::Patch::default();
    for (text, expected) in [
        ("outdated", (false, false, "all")),
        ("fixable:high major", (true, false, "all")),
        ("security emulated", (false, true, "all")),
        ("outdated policy=00ff00ff00ff00ff", (false, false, "all")),
        (
            "outdated platforms=linux/amd64,linux/arm64",
            (false, false, "linux/amd64,linux/arm64"),
        ),
        (
            "outdated major emulated platforms=linux/arm/v7",
            (true, true, "linux/arm/v7"),
        ),
    ] {
        let choices = Choices::parse(text, &settings).expect(text);
        assert_eq!(choices.to_string(), text);
        let found = (choices.major_upgrades, choices.emulation, choices.platforms.to_string());
        assert_eq!(found, (expected.0, expected.1, expected.2.to_owned()), "{text}");
    }
    for text in [
        "",
        "all",
        "outdated minor",
        "outdated  major",
        "outdated platforms=",
        "outdated platforms=linux/x",
        "outdated policy=x",
    ] {
        assert!(Choices::parse(text, &settings).is_none(), "{text:?}");
    }
}
