//! Real clients pull a patched image as an operator would have them: skopeo, Podman with `registries.conf`, containerd
//! with `hosts.toml`, and the crate oci-client.

use patchport_kit::client::pull;
use patchport_kit::debian::Rootfs;
use patchport_kit::image::validate;
use patchport_kit::tools::{Containerd, Podman, oci_client, skopeo};

use crate::patch_scene::{REPOSITORY, Scene, get_tag, until_patched};

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_copies_the_patched_image() {
    let scene = Scene::shared().await;
    let mirror = scene.strict().await;
    until_patched(&mirror, "v1", &scene.image.digest()).await;
    for reference in [
        format!("{}/{REPOSITORY}:v1", mirror.host()),
        format!("{}/up.test/{REPOSITORY}:v1", mirror.host()),
    ] {
        let copied = skopeo(&reference).await;
        validate(&copied);
        assert_ne!(copied.digest(), scene.image.digest());
        assert_eq!(
            copied.layer_digests()[..2],
            [scene.image.layers[0].digest(), scene.image.layers[1].digest()]
        );
        assert_eq!(Rootfs::unpack(&copied).outdated().await, Vec::<String>::new());
    }
    let original = skopeo(&format!("{}/{REPOSITORY}@{}", mirror.host(), scene.image.digest())).await;
    assert_eq!(original.digest(), scene.image.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_runs_the_patched_image_with_its_original_entrypoint() {
    let scene = Scene::shared().await;
    let mirror = scene.strict().await;
    until_patched(&mirror, "v1", &scene.image.digest()).await;
    let podman = Podman::new("up.test", &format!("{}/up.test", mirror.host()));
    let reference = format!("up.test/{REPOSITORY}:v1");
    let pulled = podman.run(&["pull", "--quiet", &reference]).await;
    assert!(pulled.success, "{}", pulled.output);
    let digest = podman
        .run(&["image", "inspect", "--format", "{{.Digest}}", &reference])
        .await;
    assert_eq!(digest.output.trim(), get_tag(&mirror, "v1").await.digest);
    let ran = podman.run(&["run", "--rm", "--network", "host", &reference]).await;
    assert!(ran.success, "{}", ran.output);
    assert!(
        ran.output.contains("original entrypoint: original command"),
        "{}",
        ran.output
    );
    let asked = [
        "run",
        "--rm",
        "--network",
        "host",
        "--user",
        "0",
        "--entrypoint",
        "/bin/sh",
        &reference,
        "-c",
        "apt-get -qq update && apt-get -s dist-upgrade",
    ];
    let upgrade = podman.run(&asked).await;
    assert!(
        upgrade.success && upgrade.output.contains("0 upgraded"),
        "{}",
        upgrade.output
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_pulls_the_patched_image() {
    let scene = Scene::shared().await;
    let mirror = scene.strict().await;
    until_patched(&mirror, "v1", &scene.image.digest()).await;
    let containerd = Containerd::start("up.test", &mirror.url()).await;
    let reference = format!("up.test/{REPOSITORY}:v1");
    let pulled = containerd.pull(&reference).await;
    assert!(pulled.success, "{}", pulled.output);
    let listed = containerd.ctr(&["images", "ls", &format!("name=={reference}")]).await;
    let digest = get_tag(&mirror, "v1").await.digest;
    assert!(
        listed.output.contains(&digest),
        "containerd has {digest}: {}",
        listed.output
    );
    assert_ne!(digest, scene.image.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn oci_client_pulls_the_patched_image() {
    let scene = Scene::shared().await;
    let mirror = scene.strict().await;
    until_patched(&mirror, "v1", &scene.image.digest()).await;
    let (digest, layers) = oci_client(&format!("{}/{REPOSITORY}:v1", mirror.host())).await;
    let patched = pull(&mirror.client(), REPOSITORY, "v1").await;
    assert_eq!((digest, layers), (patched.digest(), patched.layer_digests()));
}
