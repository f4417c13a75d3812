//! BuildKit's source policies: the operator's file is about every source that a patch uses, the base image and what is fetched for it.
//! Real BuildKit, a real repository.

use std::path::Path;

use patchport_kit::apt::{Package, Repository};
use patchport_kit::debian::{self, Installed, Rootfs};
use patchport_kit::mirror::Setup;
use patchport_kit::{Buildkitd, Image, Mirror, Registry};
use serde_json::{Value, json};

use crate::patch_scene::{LONG, REPOSITORY, assert_original_with_warning, get_tag, logged, pull_patched, rule};
use crate::promise::promise;
use crate::scene::{assert_clear_error, setup};

/// Where images name their repository: nothing resolves it.
const DEAD: &str = "http://deb.kit.invalid";

struct Scene {
    packages: Repository,
    registry: Registry,
    buildkit: Buildkitd,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let packages = Repository::start().await;
        packages.publish(&Package::new("kit-hello", "1.1"));
        Self {
            packages,
            registry: Registry::start().await,
            buildkit: Buildkitd::shared().await,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Pushes an outdated image whose repository is at this address.
    async fn push(&self, tag: &str, repository: &str) -> Image {
        let source = format!("deb [trusted=yes] {repository}/ ./\n");
        let installed = [Installed::new(Package::new("kit-hello", "1.0"))];
        let image = debian::image_of(&source, &installed).await;
        let image = image.config("Labels", json!({ "kit": tag })).build();
        self.registry.push(REPOSITORY, Some(tag), &image);
        image
    }

    fn setup(&self, packages: &str, rules: &[Value]) -> Setup {
        let setup = setup(&self.registry)
            .buildkit(self.buildkit.address())
            .repository("match = \"deb.kit.invalid\"\nunsigned = \"allow\"")
            .set("patch", &format!("retry_after = \"1s\"\npackages = \"{packages}\""));
        setup.set(
            "buildkit",
            &format!("source_policy = \"{}\"", policy(self.folder.path(), rules)),
        )
    }

    async fn mirror(&self, packages: &str, rules: &[Value]) -> Mirror {
        self.setup(packages, rules)
            .rule(&rule(LONG, "deny", "deny"))
            .start()
            .await
    }
}

/// Writes a policy; its path.
fn policy(folder: &Path, rules: &[Value]) -> String {
    let path = folder.join("policy.json");
    std::fs::write(&path, json!({ "version": 1, "rules": rules }).to_string()).unwrap();
    path.display().to_string()
}

fn deny(identifier: &str) -> Value {
    json!({ "action": "DENY", "selector": { "identifier": identifier } })
}

fn allow(identifier: &str) -> Value {
    json!({ "action": "ALLOW", "selector": { "identifier": identifier } })
}

fn convert(identifier: &str, to: &str) -> Value {
    json!({ "action": "CONVERT", "selector": { "identifier": identifier }, "updates": { "identifier": to } })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_policy_denies_is_not_used_and_the_rule_is_named() {
    promise("No source that the operator's source policy denies is used for a patch.");
    let scene = Scene::new().await;
    let image = scene.push("v1", &scene.packages.url()).await;
    let named = format!("docker-image://up.test/{REPOSITORY}:v1@{}", image.digest());
    let denied_base = format!("the source {named} is denied by the source policy");
    let cases = [
        (
            "auto",
            vec![deny("docker-image://up.test/*:v1@sha256:*")],
            denied_base.clone(),
        ),
        ("auto", vec![deny("*")], format!("the source {}", scene.packages.url())),
        (
            "auto",
            vec![allow("http*"), deny(&format!("{}/*.deb", scene.packages.url()))],
            "kit-hello_1.1_all.deb is denied".to_owned(),
        ),
        (
            "auto",
            vec![convert(&named, "docker-image://up.test/team/other:v1")],
            "has docker-image://up.test/team/other:v1 used in place of".to_owned(),
        ),
        (
            "image",
            vec![deny("https://elsewhere.example/*")],
            "nobody judges what the image's own tool fetches".to_owned(),
        ),
    ];
    for (packages, rules, expected) in cases {
        let mirror = scene.mirror(packages, &rules).await;
        assert_clear_error(&expected, &get_tag(&mirror, "v1").await, &[403]);
        logged(&mirror, &expected).await;
    }
    // A tag that is not meant is patched, and the rule of the pull says what is served instead of the one that is.
    let other = scene.push("v2", &scene.packages.url()).await;
    let rules = [deny(&format!("docker-image://up.test/{REPOSITORY}:v1"))];
    let setup = scene.setup("auto", &rules).rule(&rule(LONG, "deny", "serve-original"));
    let mirror = setup.start().await;
    assert_original_with_warning(&get_tag(&mirror, "v1").await, &image.digest());
    pull_patched(&mirror, "v2", &other.digest()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_policy_allows_is_enough_and_what_it_converts_comes_from_there() {
    let scene = Scene::new().await;
    let own = scene.packages.url();
    let image = scene.push("v1", &own).await;
    let only = [deny("*"), allow("docker-image://up.test/*"), allow(&format!("{own}/*"))];
    for packages in ["auto", "fetched"] {
        let mirror = scene.mirror(packages, &only).await;
        let rootfs = Rootfs::unpack(&pull_patched(&mirror, "v1", &image.digest()).await);
        assert_eq!(
            rootfs.version("kit-hello").await,
            "1.1 install ok installed",
            "{packages}"
        );
    }
    // A policy that is not about files leaves the image's own tool its way.
    let mirror = scene.mirror("image", &[deny("docker-image://docker.io/*")]).await;
    pull_patched(&mirror, "v1", &image.digest()).await;

    let image = scene.push("moved", DEAD).await;
    let mirror = scene
        .mirror("auto", &[convert(&format!("{DEAD}/*"), &format!("{own}/$1"))])
        .await;
    let patched = pull_patched(&mirror, "moved", &image.digest()).await;
    let rootfs = Rootfs::unpack(&patched);
    assert_eq!(rootfs.version("kit-hello").await, "1.1 install ok installed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_none_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = policy(
        folder.path(),
        &[
            allow("*"),
            json!({ "action": "DANY", "selector": { "identifier": "*" } }),
        ],
    );
    let setup = || Mirror::setup().set("buildkit", &format!("source_policy = \"{file}\""));
    let checked = setup().check().await;
    assert_eq!(checked.code, Some(64), "{}", checked.output);
    let expected = format!("buildkit.source_policy: the source policy {file}: rule 2, action: \"DANY\" is not known");
    assert!(checked.output.contains(&expected), "{}", checked.output);
    let served = setup().run(&["serve"]).await;
    assert_eq!(served.code, Some(64), "{}", served.stderr);
    assert!(served.stderr.contains(&expected), "{}", served.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_takes_the_policy_that_buildkits_clients_take() {
    let scene = Scene::new().await;
    scene.push("v1", &scene.packages.url()).await;
    let image = format!("{}/{REPOSITORY}:v1", scene.registry.host());
    let file = policy(
        scene.folder.path(),
        &[deny(&format!("docker-image://{}/*", scene.registry.host()))],
    );
    let setup = Mirror::setup().buildkit(scene.buildkit.address());
    let output = format!("oci:{}", scene.folder.path().join("layout").display());
    let arguments = ["patch", "--progress", "quiet", &image, "--output", &output];
    let denied = setup
        .clone()
        .environment("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", &file)
        .run(&arguments)
        .await;
    assert_eq!(denied.code, Some(1), "{}{}", denied.stdout, denied.stderr);
    let expected = format!("denied by the source policy {file}, rule 1");
    assert!(denied.stderr.contains(&expected), "{}", denied.stderr);
    let said = setup.run(&arguments).await;
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
}
