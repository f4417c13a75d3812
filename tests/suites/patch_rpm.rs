//! rpm's family: images with dnf, with zypper and with rpm alone, patched from fetched packages and by the image's own tool, as the
//! image's own tools and syft see the result.

use std::collections::BTreeSet;

use patchport_kit::apt::Repository;
use patchport_kit::client::pull;
use patchport_kit::image::{Pulled, unpack};
use patchport_kit::rpm::{self, Offers, Package, Rootfs};
use patchport_kit::scanner::syft_of;
use patchport_kit::{Buildkitd, Image, Layer, Mirror, Registry};
use serde_json::json;

use crate::patch_scene::{LONG, REPOSITORY, logged, rule, until_patched};
use crate::patched_image::assert_nothing_but_the_patch;
use crate::promise::promise;
use crate::scene::{assert_clear_error, setup};

/// What upgrades packages, and the programs that an image of it does not have.
type Tool = (&'static str, &'static [&'static str]);

const DNF: Tool = ("dnf", &["zypper", "yum"]);
const ZYPPER: Tool = ("zypper", &["dnf", "dnf-3", "yum"]);
const RPM: Tool = ("rpm", &["dnf", "dnf-3", "yum", "zypper"]);

/// Everything but the mirror.
struct Scene {
    packages: Repository,
    offers: Offers,
    registry: Registry,
    buildkit: Buildkitd,
}

impl Scene {
    /// With a repository that offers these.
    async fn offering(packages: &[Package]) -> Self {
        let (server, offers) = (Repository::start().await, Offers::new("kit"));
        offers.publish(&server, packages);
        Self {
            packages: server,
            offers,
            registry: Registry::start().await,
            buildkit: Buildkitd::shared().await,
        }
    }

    /// Pushes an image of a tool that has these packages, and more files in a layer of its own.
    async fn push(&self, (tool, without): Tool, installed: &[Package], more: Layer) -> Image {
        let section = self.offers.section(&self.packages, "");
        let (repositories, zypper) = if tool == "zypper" {
            ("", section.as_str())
        } else {
            (section.as_str(), "")
        };
        let builder = rpm::image(installed, repositories, without).await;
        let more = more
            .directory("etc/zypp/repos.d")
            .file("etc/zypp/repos.d/kit.repo", zypper);
        let builder = builder
            .layer(more.gzip())
            .config("Entrypoint", json!(["/bin/cat", "/usr/share/kit-a/version"]))
            .config("Labels", json!({ "kit": "label" }));
        let image = builder.build();
        self.registry.push(REPOSITORY, Some(tool), &image);
        image
    }

    /// A mirror that takes packages so, and denies what is not patched.
    async fn mirror(&self, packages: &str) -> Mirror {
        let setup = setup(&self.registry)
            .buildkit(self.buildkit.address())
            .set("patch", "retry_after = \"1s\"")
            .set("patch", &format!("packages = \"{packages}\""));
        setup.rule(&rule(LONG, "deny", "deny")).start().await
    }

    /// The digest of the patched image of a tool, by a mirror that knows of no other.
    async fn digest(&self, packages: &str, tool: Tool, image: &Image) -> String {
        let mirror = self.mirror(packages).await;
        until_patched(&mirror, tool.0, &image.digest()).await.digest
    }

    /// The patched image of a tool.
    async fn patched(&self, packages: &str, tool: Tool, image: &Image) -> Pulled {
        let mirror = self.mirror(packages).await;
        until_patched(&mirror, tool.0, &image.digest()).await;
        pull(&mirror.client(), REPOSITORY, tool.0).await
    }
}

/// One package for the machine's architecture with a version that follows a pre-release, one with an epoch, and one that is locked.
fn outdated() -> Vec<Package> {
    vec![
        Package::new("kit-a", "1.0~rc1-1").of(std::env::consts::ARCH),
        Package::new("kit-b", "2:1.0-1"),
        Package::new("kit-current", "1.0-1"),
        Package::new("kit-locked", "1.0-1"),
    ]
}

fn offered() -> Vec<Package> {
    vec![
        Package::new("kit-a", "1.0-1")
            .of(std::env::consts::ARCH)
            .post("cat /proc/net/dev | grep -c : > /usr/share/kit-a/devices"),
        Package::new("kit-b", "2:1.1-1"),
        Package::new("kit-b", "1:9.0-1"),
        Package::new("kit-current", "1.0-1"),
        Package::new("kit-locked", "1.1-1"),
    ]
}

/// Configuration of its owner, and a lock.
fn owned() -> Layer {
    Layer::new()
        .file("etc/kit-b.conf", "changed by its owner\n")
        .file("etc/dnf/plugins/versionlock.list", "kit-locked-0:1.0-1.*\n")
        .file(
            "etc/zypp/locks",
            "\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: kit-locked\n",
        )
}

/// What of a patch belongs neither to an upgraded package nor to the database of packages.
fn strangers(patched: &Pulled) -> BTreeSet<String> {
    let belongs = |path: &String| {
        let own = [
            "usr/share/kit-a/",
            "usr/share/kit-b/",
            "etc/kit-a.conf",
            "etc/kit-b.conf.rpmnew",
            "var/lib/rpm/",
        ];
        let docs = ["usr/share/doc/kit-a/", "usr/share/doc/kit-b/"];
        path.ends_with('/') || own.iter().chain(&docs).any(|start| path.starts_with(start))
    };
    let paths = unpack(patched.layers.last().unwrap()).into_keys();
    paths.filter(|path| !belongs(path)).collect()
}

async fn assert_upgraded(what: &str, image: &Image, patched: &Pulled) -> Rootfs {
    assert_nothing_but_the_patch(&Pulled::of(image), patched);
    assert_eq!(strangers(patched), BTreeSet::new(), "{what}: nothing but the upgrades");
    let rootfs = Rootfs::unpack(patched);
    let installed = rootfs.installed().await;
    let version = |name: &str| installed.get(name).map(String::as_str);
    assert_eq!(
        version(&format!("kit-a.{}", std::env::consts::ARCH)),
        Some("1.0-1"),
        "{what}"
    );
    assert_eq!(version("kit-b.noarch"), Some("2:1.1-1"), "{what}");
    assert_eq!(version("kit-locked.noarch"), Some("1.0-1"), "{what}: locked");
    let read = |path: &str| rootfs.read(path).unwrap_or_default();
    assert_eq!(read("etc/kit-b.conf"), "changed by its owner\n", "{what}");
    assert_eq!(read("etc/kit-b.conf.rpmnew"), "default of 1.1\n", "{what}");
    let verified = rootfs
        .run("rpm", &["--verify", "--nodeps", "kit-a", "kit-current"])
        .await;
    assert!(
        verified.success && !verified.output.contains("kit-a"),
        "{what}: {}",
        verified.output
    );
    let entry = rootfs.run("/bin/cat", &["/usr/share/kit-a/version"]).await;
    assert_eq!(entry.output, "1.0-1\n", "{what}: its entrypoint runs");
    let seen = syft_of(patched).await;
    for package in [
        format!("kit-a 1.0-1 {}", std::env::consts::ARCH),
        "kit-b 2:1.1-1 noarch".to_owned(),
    ] {
        assert!(seen.contains(&package), "{what}: syft has {package}: {seen:?}");
    }
    rootfs
}

#[tokio::test(flavor = "multi_thread")]
async fn images_with_dnf_are_patched_either_way() {
    promise("What runs in an image has no network, where the plan says all that is needed.");
    let scene = Scene::offering(&offered()).await;
    let image = scene.push(DNF, &outdated(), owned()).await;
    let before = Rootfs::unpack(&Pulled::of(&image)).outdated().await;
    assert_eq!(before, ["kit-a 1.0-1", "kit-b 2:1.1-1"], "by the image's own dnf");
    for (packages, devices) in [("fetched", true), ("image", false)] {
        let patched = scene.patched(packages, DNF, &image).await;
        let rootfs = assert_upgraded(packages, &image, &patched).await;
        assert_eq!(
            rootfs.outdated().await,
            Vec::<String>::new(),
            "{packages}: by the image's own dnf"
        );
        let is_alone = rootfs.read("usr/share/kit-a/devices").as_deref() == Some("1\n");
        assert_eq!(
            is_alone, devices,
            "{packages}: nothing but loopback where all was fetched"
        );
        let again = scene.digest(packages, DNF, &image).await;
        assert_eq!(again, patched.digest(), "{packages}: the same plan, the same image");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_with_zypper_are_patched_either_way() {
    let scene = Scene::offering(&offered()).await;
    let image = scene.push(ZYPPER, &outdated(), owned()).await;
    let before = Rootfs::unpack(&Pulled::of(&image)).outdated_by_zypper().await;
    assert_eq!(before, ["kit-a 1.0-1", "kit-b 2:1.1-1"], "by the image's own zypper");
    for packages in ["fetched", "image"] {
        let patched = scene.patched(packages, ZYPPER, &image).await;
        let rootfs = assert_upgraded(packages, &image, &patched).await;
        assert_eq!(rootfs.outdated_by_zypper().await, Vec::<String>::new(), "{packages}");
        let again = scene.digest(packages, ZYPPER, &image).await;
        assert_eq!(again, patched.digest(), "{packages}: the same plan, the same image");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_with_rpm_alone_are_patched_from_fetched_packages() {
    let scene = Scene::offering(&offered()).await;
    let own = owned().file("etc/dnf/dnf.conf", "[main]\ntsflags=nodocs\n");
    let image = scene.push(RPM, &outdated(), own).await;
    let patched = scene.patched("auto", RPM, &image).await;
    let rootfs = assert_upgraded("auto", &image, &patched).await;
    let readme = rootfs.read("usr/share/doc/kit-b/README");
    assert_eq!(readme, None, "documentation stays out");
    let again = scene.digest("auto", RPM, &image).await;
    assert_eq!(again, patched.digest(), "the same plan, the same image");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_insists_on_signatures_gets_no_package_without() {
    let scene = Scene::offering(&offered()).await;
    let own = owned().file("etc/rpm/macros.strict", "%_pkgverify_level all\n");
    scene.push(RPM, &outdated(), own).await;
    let mirror = scene.mirror("auto").await;
    let path = format!("/v2/{REPOSITORY}/manifests/{}", RPM.0);
    let answer = mirror.client().get(&path).await;
    assert_clear_error("unsigned packages", &answer, &[403]);
    logged(&mirror, "could not be installed by the image's rpm").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rpm_alone_cannot_do_is_left_to_dnf_and_nothing_is_removed() {
    let scene = Scene::offering(&[
        Package::new("kit-needs", "1.1-1").with("Requires: kit-new"),
        Package::new("kit-new", "1.0-1"),
        Package::new("kit-takes-over", "1.1-1").with("Obsoletes: kit-old < 2"),
    ])
    .await;
    let installed = [
        Package::new("kit-needs", "1.0-1"),
        Package::new("kit-takes-over", "1.0-1"),
        Package::new("kit-old", "1.0-1"),
    ];
    let image = scene.push(DNF, &installed, Layer::new()).await;
    let patched = scene.patched("auto", DNF, &image).await;
    let installed = Rootfs::unpack(&patched).installed().await;
    let version = |name: &str| installed.get(name).map(String::as_str);
    assert_eq!(version("kit-needs.noarch"), Some("1.1-1"));
    assert_eq!(version("kit-new.noarch"), Some("1.0-1"), "what it needs came along");
    assert_eq!(version("kit-old.noarch"), Some("1.0-1"), "nothing was removed");
    assert_eq!(
        version("kit-takes-over.noarch"),
        Some("1.0-1"),
        "nor upgraded at that price"
    );
}
