//! Images with rpm's database and no package manager (as UBI micro), upgraded by the rpm of a helper image, as dnf, rpm and syft see the
//! result; and what happens when there is no helper that fits.

use std::collections::BTreeSet;

use patchport_kit::apt::Repository;
use patchport_kit::client::pull;
use patchport_kit::image::{Blob, Pulled, unpack};
use patchport_kit::mirror::Setup;
use patchport_kit::rpm::{self, Offers, Package, Rootfs};
use patchport_kit::scanner::syft_of;
use patchport_kit::{Buildkitd, Image, Layer, Registry};
use serde_json::{Value, json};

use crate::patch_scene::{LONG, REPOSITORY, logged, rule, until_patched};
use crate::patched_image::assert_nothing_but_the_patch;
use crate::promise::promise;
use crate::scene::{assert_clear_error, setup};

/// The programs of the root that an image without a package manager lacks.
const MANAGERS: [&str; 5] = ["rpm", "dnf", "dnf-3", "yum", "zypper"];
/// Its shells.
const SHELLS: [&str; 4] = ["sh", "dash", "bash", "rbash"];
/// Where the helper is.
const HELPERS: &str = "helpers/rocky";

struct Scene {
    packages: Repository,
    offers: Offers,
    registry: Registry,
    buildkit: Buildkitd,
    helper: Image,
}

impl Scene {
    /// With a repository that offers these, and a helper: the root with its tools.
    async fn offering(packages: &[Package]) -> Self {
        let (server, offers) = (Repository::start().await, Offers::new("kit"));
        offers.publish(&server, packages);
        let registry = Registry::start().await;
        let helper = rpm::image(&[], "", &[]).await.build();
        registry.push(HELPERS, Some("9"), &helper);
        Self {
            packages: server,
            offers,
            registry,
            buildkit: Buildkitd::shared().await,
            helper,
        }
    }

    /// Pushes an image that has these packages in a database in this folder, and lacks these programs.
    async fn push(&self, installed: &[Package], database: &str, without: &[&str], more: Layer) -> Image {
        let section = self.offers.section(&self.packages, "");
        let gone = without.iter().fold(Layer::new(), |layer, program| {
            layer.file(&format!("usr/bin/.wh.{program}"), "")
        });
        let top = rpm::top_with(gone, installed, &section, database);
        let builder = Image::builder().layer(rpm::base().await.clone());
        let builder = builder
            .layer(top.gzip())
            .layer(more.gzip())
            .config("Entrypoint", json!(["/bin/cat", "/usr/share/kit-a/version"]))
            .config("User", json!("nobody"))
            .config("Labels", json!({ "kit": "label" }));
        let image = builder.build();
        self.registry.push(REPOSITORY, Some("v1"), &image);
        image
    }

    /// A mirror that denies what is not patched, with this helper for the image.
    fn mirror(&self, helper: &str) -> Setup {
        let setup = setup(&self.registry)
            .buildkit(self.buildkit.address())
            .set("patch", "retry_after = \"1s\"")
            .helper(&format!("id = \"rocky\"\nversion = \"9.*\"\nimage = {helper:?}"));
        setup.rule(&rule(LONG, "deny", "deny"))
    }

    /// The patched image, and its provenance.
    async fn patched(&self, helper: &str, image: &Image) -> (Pulled, Value) {
        let mirror = self.mirror(helper).start().await;
        let served = until_patched(&mirror, "v1", &image.digest()).await.digest;
        let documents = crate::referrers::evidence(&mirror, &served).await;
        let pulled = pull(&mirror.client(), REPOSITORY, "v1").await;
        (pulled, documents["https://slsa.dev/provenance/v1"]["predicate"].clone())
    }

    /// Why the image is not patched, by the mirror's log.
    async fn refused(&self, setup: Setup, reason: &str) {
        let mirror = setup.start().await;
        let path = format!("/v2/{REPOSITORY}/manifests/v1");
        let answer = mirror.client().get(&path).await;
        assert_clear_error(reason, &answer, &[403]);
        logged(&mirror, reason).await;
    }
}

fn outdated() -> Vec<Package> {
    vec![
        Package::new("kit-a", "1.0-1").of(std::env::consts::ARCH),
        Package::new("kit-b", "1.0-1"),
        Package::new("kit-current", "1.0-1"),
    ]
}

/// One whose script runs with what the image has, and one without scripts.
fn offered() -> Vec<Package> {
    vec![
        Package::new("kit-a", "1.1-1")
            .of(std::env::consts::ARCH)
            .post("grep -c : /etc/group > /dev/null; echo ran > /usr/share/kit-a/script"),
        Package::new("kit-b", "1.1-1"),
        Package::new("kit-current", "1.0-1"),
    ]
}

/// What of a patch belongs neither to an upgraded package nor to the database of packages.
fn strangers(patched: &Pulled, database: &str) -> BTreeSet<String> {
    let belongs = |path: &String| {
        let own = [
            "usr/share/kit-a/",
            "usr/share/kit-b/",
            "etc/kit-a.conf",
            "etc/kit-b.conf",
        ];
        let own = own.iter().any(|start| path.starts_with(start));
        own || path.starts_with("usr/share/doc/kit-") || path.starts_with(database) || path.ends_with('/')
    };
    let paths = unpack(patched.layers.last().unwrap()).into_keys();
    paths.filter(|path| !belongs(path)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_a_package_manager_is_upgraded_by_a_helper() {
    promise(
        "An image with rpm's database and no package manager is upgraded by the rpm of a helper image of the same distribution and release.",
    );
    let scene = Scene::offering(&offered()).await;
    for database in ["var/lib/rpm", "usr/lib/sysimage/rpm"] {
        let image = scene.push(&outdated(), database, &MANAGERS, Layer::new()).await;
        let (patched, provenance) = scene.patched("up.test/helpers/rocky:$major", &image).await;
        assert_nothing_but_the_patch(&Pulled::of(&image), &patched);
        assert_eq!(
            strangers(&patched, database),
            BTreeSet::new(),
            "{database}: nothing but the upgrades"
        );
        let folders = unpack(patched.layers.last().unwrap()).into_keys();
        let marks: Vec<String> = folders
            .filter(|path| {
                ["dev", "run", "tmp", "var/tmp"]
                    .iter()
                    .any(|mark| path.starts_with(mark))
            })
            .collect();
        assert_eq!(marks, Vec::<String>::new(), "{database}: no marks of mounts");
        let seen = syft_of(&patched).await;
        let architecture = std::env::consts::ARCH;
        for package in [
            format!("kit-a 1.1-1 {architecture}"),
            "kit-b 1.1-1 noarch".into(),
            "kit-current 1.0-1 noarch".into(),
        ] {
            assert!(seen.contains(&package), "{database}: syft has {package}: {seen:?}");
        }
        let rootfs = Rootfs::unpack(&patched);
        assert_eq!(
            rootfs.read("usr/share/kit-a/script").as_deref(),
            Some("ran\n"),
            "{database}: its script ran"
        );
        let entry = rootfs.run("/bin/cat", &["/usr/share/kit-a/version"]).await;
        assert_eq!(entry.output, "1.1-1\n", "{database}: its entrypoint runs");
        // By the judgement of tools that it does not have.
        rootfs.restore(&["rpm", "dnf", "dnf-3"]).await;
        let path = format!("/{database}");
        let verified = rootfs
            .run(
                "rpm",
                &["--dbpath", &path, "--verify", "--nodeps", "kit-b", "kit-current"],
            )
            .await;
        assert!(
            verified.success && verified.output.is_empty(),
            "{database}: {}",
            verified.output
        );
        if database == "var/lib/rpm" {
            assert_eq!(rootfs.outdated().await, Vec::<String>::new(), "by dnf");
        }
        let dependencies = provenance["buildDefinition"]["resolvedDependencies"]
            .as_array()
            .unwrap();
        let helper = dependencies.iter().find(|one| one["name"] == "helper").unwrap();
        assert_eq!(
            helper["digest"]["sha256"],
            scene.helper.digest().trim_start_matches("sha256:")
        );
        let (again, _) = scene
            .patched(&format!("up.test/{HELPERS}@{}", scene.helper.digest()), &image)
            .await;
        assert_eq!(
            again.digest(),
            patched.digest(),
            "{database}: the same plan, the same image"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_image_cannot_run_is_left_out_and_the_rest_is_upgraded() {
    promise("A package with a script that nothing in the image can run is left as it is and reported with its reason.");
    let scene = Scene::offering(&offered()).await;
    let without = [&MANAGERS[..], &SHELLS].concat();
    let image = scene.push(&outdated(), "var/lib/rpm", &without, Layer::new()).await;
    let (patched, provenance) = scene.patched("up.test/helpers/rocky:9", &image).await;
    let seen = syft_of(&patched).await;
    assert!(seen.contains("kit-b 1.1-1 noarch"), "{seen:?}");
    assert!(
        seen.contains(&format!("kit-a 1.0-1 {}", std::env::consts::ARCH)),
        "{seen:?}"
    );
    let left = &provenance["buildDefinition"]["internalParameters"]["leftOut"];
    assert_eq!(left[0]["package"], "kit-a", "{left}");
    assert_eq!(
        left[0]["reason"],
        "its script %post needs /bin/sh, which the image does not have"
    );
    let entry = Rootfs::unpack(&patched)
        .run("/bin/cat", &["/usr/share/kit-b/version"])
        .await;
    assert_eq!(entry.output, "1.1-1\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_does_not_fit_is_refused() {
    let scene = Scene::offering(&offered()).await;
    scene.push(&outdated(), "var/lib/rpm", &MANAGERS, Layer::new()).await;
    let other = |release: &str, without: Layer| without.file("usr/lib/os-release", release).gzip();
    let push = async |tag: &str, layer: Blob| {
        let helper = rpm::image(&[], "", &[]).await.layer(layer).build();
        scene.registry.push(HELPERS, Some(tag), &helper);
        scene.mirror(&format!("up.test/{HELPERS}:{tag}"))
    };
    let older = push("8", other("ID=rocky\nVERSION_ID=8.10\n", Layer::new())).await;
    scene
        .refused(older, "does not fit it: it is rocky 8.10, the image is rocky 9.4")
        .await;
    let foreign = push("alma", other("ID=almalinux\nVERSION_ID=9.4\n", Layer::new())).await;
    scene
        .refused(foreign, "does not fit it: it is almalinux 9.4, the image is rocky 9.4")
        .await;
    let bare = push("bare", Layer::new().file("usr/bin/.wh.rpm", "").gzip()).await;
    scene.refused(bare, "does not fit it: it has no rpm").await;
    let missing = scene.mirror("up.test/helpers/rocky:nothing");
    scene
        .refused(
            missing,
            "the helper image up.test/helpers/rocky:nothing for it cannot be had",
        )
        .await;
    let unknown = scene.mirror("other.test/rocky:9");
    scene
        .refused(unknown, "`other.test` is not among the upstreams of this mirror")
        .await;
    let nobody = setup(&scene.registry)
        .buildkit(scene.buildkit.address())
        .helper("id = \"rhel\"\nimage = \"up.test/ubi:9\"");
    let nobody = nobody.rule(&rule(LONG, "deny", "deny"));
    scene.refused(nobody, "no [[helper]] has one for rocky 9.4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_insists_on_signatures_gets_no_package_without_from_a_helper() {
    let scene = Scene::offering(&offered()).await;
    let strict = Layer::new()
        .directory("etc/rpm")
        .file("etc/rpm/macros.strict", "%_pkgverify_level all\n");
    scene.push(&outdated(), "var/lib/rpm", &MANAGERS, strict).await;
    let mirror = scene.mirror("up.test/helpers/rocky:9");
    scene
        .refused(mirror, "could not be installed by the helper's rpm")
        .await;
}
