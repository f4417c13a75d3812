//! Every way to a BuildKit, with the real thing at the other end: Docker's own, those in containers of Docker and of Podman, one in a pod.
//! What is there is all that is there: the command's PATH has nothing else.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use patchport_kit::debian::Rootfs;
use patchport_kit::docker::{Contained, Docker, Edition, podman};
use patchport_kit::image::{Pulled, validate};
use patchport_kit::mirror::{Said, Setup};
use patchport_kit::process::run;
use patchport_kit::tools::read;
use patchport_kit::{Buildkitd, Mirror};
use tempfile::TempDir;

use crate::patch_scene::{REPOSITORY, Scene, pull_patched};
use crate::patched_image::assert_nothing_but_the_patch;

/// A folder for a PATH, with these programs of the machine in it.
fn programs(names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let found = run(std::process::Command::new("sh").args(["-c", &format!("command -v {name}")]));
        symlink(found.trim(), folder.path().join(name)).unwrap();
    }
    folder
}

/// A configuration as it is built in, on a machine with these programs; Docker is at `host`.
fn machine(path: &Path, host: &str) -> Setup {
    Mirror::setup()
        .buildkit("auto")
        .environment("PATH", &path.display().to_string())
        .environment("BUILDKIT_HOST", "")
        .environment("DOCKER_HOST", host)
}

async fn patch(setup: &Setup, arguments: &[&str]) -> Said {
    let said = setup
        .run(&[&["patch", "--progress", "quiet"], arguments].concat())
        .await;
    assert_eq!(said.code, Some(0), "{arguments:?}: {}{}", said.stdout, said.stderr);
    said
}

/// Why the command failed.
async fn complaint(setup: &Setup, arguments: &[&str]) -> String {
    let said = setup
        .run(&[&["patch", "--progress", "quiet"], arguments].concat())
        .await;
    assert_eq!(said.code, Some(1), "{arguments:?}: {}{}", said.stdout, said.stderr);
    said.stderr
}

fn name(scene: &Scene) -> String {
    format!("{}/{REPOSITORY}:v1", scene.registry.host())
}

/// A name for a patched image that no other test uses.
fn fixed(what: &str) -> String {
    format!("localhost/buildkits-{what}-{}:fixed", std::process::id())
}

/// Checks that the patched image in a layout is what any other BuildKit makes.
async fn assert_patched(scene: &Scene, layout: &str) {
    let patched = read(&format!("oci:{layout}:v1-patched")).await;
    validate(&patched);
    assert_nothing_but_the_patch(&Pulled::of(&scene.image), &patched);
    let mirror = scene.strict().await;
    let pulled = pull_patched(&mirror, "v1", &scene.image.digest()).await;
    assert_eq!(pulled.layer_digests(), patched.layer_digests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recent_docker_is_all_that_is_needed() {
    let (scene, docker) = (Scene::shared().await, Docker::start(Edition::Recent).await);
    let (path, folder) = (programs(&["docker"]), tempfile::tempdir().unwrap());
    let setup = machine(path.path(), &docker.host());
    let fixed = fixed("recent");
    let said = patch(&setup, &[&name(&scene), "--tag", &fixed]).await;
    assert!(
        said.stdout.contains(&format!("loaded {fixed} into docker")),
        "{}",
        said.stdout
    );
    // Not run: it wants a namespace for time, which not every kernel here has.
    let saved = folder.path().join("saved.tar").display().to_string();
    docker.run(&["save", "--output", &saved, &fixed]);
    let saved = Rootfs::unpack(&read(&format!("docker-archive:{saved}")).await);
    assert_eq!(saved.version("kit-hello").await, "1.1 install ok installed");

    let layout = folder.path().join("layout").display().to_string();
    let (address, output) = (format!("docker://{}", docker.socket()), format!("oci:{layout}"));
    let elsewhere = machine(path.path(), "unix:///nonexistent.sock");
    patch(&elsewhere, &[&name(&scene), "--addr", &address, "--output", &output]).await;
    assert_patched(&scene, &layout).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_without_the_containerd_image_store_says_how_to_turn_it_on() {
    let (scene, docker) = (
        Scene::shared().await,
        Docker::start(Edition::RecentWithoutImageStore).await,
    );
    let path = programs(&["docker"]);
    for address in ["auto", "docker://"] {
        let said = complaint(
            &machine(path.path(), &docker.host()),
            &[&name(&scene), "--addr", address],
        )
        .await;
        for part in [
            "docker:// (Docker/",
            "it lacks the exporter `oci`",
            "\"containerd-snapshotter\": true",
            "docker run --detach --name buildkitd",
        ] {
            assert!(said.contains(part), "{address}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_docker_needs_a_buildkit_in_a_container_and_says_so() {
    let (scene, docker) = (Scene::shared().await, Docker::start(Edition::Debian).await);
    let (path, folder) = (programs(&["docker"]), tempfile::tempdir().unwrap());
    let setup = machine(path.path(), &docker.host());
    let said = complaint(&setup, &[&name(&scene)]).await;
    let order = [
        "BUILDKIT_HOST (not set)",
        "buildkitd on PATH (no such program)",
        "none named buildkitd or buildx_buildkit_* runs",
        "podman on PATH (no such program)",
        "docker:// (Docker/20.10",
        "it is older than v0.11; use Docker 24 or newer",
        "docker run --detach --name buildkitd",
    ];
    let places: Vec<_> = order.iter().map(|part| said.find(part)).collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{places:?}: {said}"
    );

    let command = |arguments: &[&str]| docker.run(arguments);
    let contained = Contained::start("buildkitd", &command).await;
    let fixed = fixed("old");
    let said = patch(&setup, &[&name(&scene), "--tag", &fixed]).await;
    assert!(
        said.stdout.contains(&format!("loaded {fixed} into docker")),
        "{}",
        said.stdout
    );
    let ran = docker.run(&["run", "--rm", "--network", "none", &fixed]);
    assert_eq!(ran.trim(), "original entrypoint: original command");
    let layout = folder.path().join("layout").display().to_string();
    let output = format!("oci:{layout}");
    let arguments = [
        &name(&scene),
        "--addr",
        "docker-container://buildkitd",
        "--output",
        &output,
    ];
    patch(&setup, &arguments).await;
    assert_patched(&scene, &layout).await;

    contained.stop();
    let said = complaint(&setup, &arguments).await;
    assert!(
        said.contains("docker-container://buildkitd") && said.contains("is not running"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_podman_patches_and_podman_takes_the_image() {
    let scene = Scene::shared().await;
    let (path, folder) = (programs(&["podman"]), tempfile::tempdir().unwrap());
    let name_of = format!("buildx_buildkit_kit{}", std::process::id());
    let contained = Contained::start(&name_of, &podman).await;
    let setup = machine(path.path(), "unix:///nonexistent.sock");
    let fixed = fixed("podman");
    let said = patch(&setup, &[&name(&scene), "--tag", &fixed]).await;
    assert!(
        said.stdout.contains(&format!("loaded {fixed} into podman")),
        "{}",
        said.stdout
    );
    podman(&["image", "rm", "--force", &fixed]);
    let layout = folder.path().join("layout").display().to_string();
    let (address, output) = (format!("podman-container://{name_of}"), format!("oci:{layout}"));
    patch(&setup, &[&name(&scene), "--addr", &address, "--output", &output]).await;
    assert_patched(&scene, &layout).await;
    drop(contained);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_patches_in_a_pod() {
    let scene = Scene::shared().await;
    let buildkit = Buildkitd::shared().await;
    let path = tempfile::tempdir().unwrap();
    let kubectl = path.path().join("kubectl");
    // There is no cluster here: kubectl checks what it was asked for, and reaches the real BuildKit as `kubectl exec` would.
    let script = format!(
        "#!/bin/sh\n[ \"$*\" = '--context=far --namespace=ci exec -i --container=b deployment/buildkitd -- buildctl dial-stdio' ] || exit 9\n\
         exec {}/buildctl --addr {} dial-stdio\n",
        Path::new(&std::env::var_os("PATCHPORT_TEST_BUILDKITD").expect("a BuildKit"))
            .parent()
            .unwrap()
            .display(),
        buildkit.address()
    );
    std::fs::write(&kubectl, script).unwrap();
    std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let address = "kubepod://deployment/buildkitd?context=far&namespace=ci&container=b";
    let mirror = scene.mirror(crate::patch_scene::LONG, "deny", "deny").buildkit(address);
    let mirror = mirror
        .environment("PATH", &path.path().display().to_string())
        .start()
        .await;
    let pulled = pull_patched(&mirror, "v1", &scene.image.digest()).await;
    assert_nothing_but_the_patch(&Pulled::of(&scene.image), &pulled);
}
