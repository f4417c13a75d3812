//! Plans and their keys.
//!
//! Each case changes one thing and says whether that makes another plan.

use patchport_packages::inventory::{Held, Installed};
use patchport_packages::{OsRelease, dpkg};

use super::*;

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
        let version = "1.0".parse::<patchport_packages::Version>().unwrap();
        let package = Installed {
            name: "libc6".into(),
            architecture: "amd64".into(),
            version: version.clone(),
            source: dpkg::Source {
                name: "glibc".into(),
                version,
            },
        };
        Self {
            inventory: Inventory {
                os,
                manager: Manager::Dpkg,
                packages: vec![package],
                held: vec![],
            },
            image: Digest::of(b"image"),
            platform: Platform::new("linux", "amd64", ""),
            name: "registry.example/team/app",
            docker: false,
            choices: Choices {
                compression: Compression::Zstd,
                cache_scope: CacheScope::Repository,
            },
        }
    }

    fn plan(&self, findings: Findings) -> Result<Option<Plan>, NoPlan> {
        let target = Target {
            image: &self.image,
            platform: &self.platform,
            name: self.name,
            docker: self.docker,
        };
        plan(&self.inventory, findings, target, self.choices)
    }

    fn made(&self) -> Plan {
        self.plan(Findings::AnyOutdated).unwrap().unwrap()
    }
}

type Change = fn(&mut Inputs);

#[test]
fn equal_plans_have_equal_keys_and_others_have_others() {
    let cases: [(&str, Change, bool); 10] = [
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

#[test]
fn there_is_no_plan_for_nothing_and_none_without_a_package_manager() {
    let mut inputs = Inputs::new();
    assert_eq!(inputs.plan(Findings::Nothing), Ok(None));
    inputs.inventory.manager = Manager::DpkgFragments;
    assert_eq!(inputs.plan(Findings::Nothing), Ok(None), "nothing to do is no failure");
    let refused = inputs.plan(Findings::AnyOutdated).unwrap_err();
    assert!(refused.to_string().contains("distroless"), "{refused}");
}

#[tokio::test]
async fn an_image_in_which_all_is_held_has_nothing_to_fix() {
    use crate::scan::{Scanner as _, Unindexed};

    let mut inventory = Inputs::new().inventory;
    assert_eq!(Unindexed.scan(&inventory).await, Findings::AnyOutdated);
    inventory.held.push(Held {
        name: "libc6".into(),
        architecture: "amd64".into(),
    });
    assert_eq!(Unindexed.scan(&inventory).await, Findings::Nothing);
}
