//! `patchport patch` as a person or a pipeline calls it: where a patched image can go, what is patched of it, and what is said.
//! Real BuildKit, a real registry, skopeo and Podman as judges.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use patchport_kit::apt::{Package, Repository};
use patchport_kit::debian::{self, Installed};
use patchport_kit::image::{Pulled, validate};
use patchport_kit::mirror::binary;
use patchport_kit::process::{Log, Process, run};
use patchport_kit::scanner::write_layout;
use patchport_kit::tools::read;
use patchport_kit::{Buildkitd, Fault, Gate, Image, Index, Layer, Mirror};
use serde_json::Value;

use crate::command_scene::{Folder, digest, name, patch, setup, try_patch};
use crate::patch_scene::{REPOSITORY, Scene, image};
use crate::patched_image::assert_nothing_but_the_patch;
use crate::promise::promise;

#[tokio::test(flavor = "multi_thread")]
async fn one_patched_image_is_written_to_every_place_that_is_named() {
    promise("`patchport patch` makes the layer and the configuration that a pull through the mirror would give.");
    let scene = Scene::shared().await;
    let folder = Folder::new();
    let (layout, oci, docker) = (folder.path("layout"), folder.path("oci.tar"), folder.path("docker.tar"));
    let places = [
        format!("oci:{layout}"),
        format!("oci-archive:{oci}"),
        format!("docker-archive:{docker}:app:fixed"),
    ];
    let mut arguments = vec![name(&scene)];
    arguments.extend(places.iter().flat_map(|place| ["--output".to_owned(), place.clone()]));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = patch(&setup(&scene), &arguments).await;
    assert!(said.stdout.contains("patched, 1 upgrade"), "{}", said.stdout);

    let original = Pulled::of(&scene.image);
    let patched = read(&format!("oci:{layout}:v1-patched")).await;
    validate(&patched);
    assert_nothing_but_the_patch(&original, &patched);
    assert_eq!(patched.digest(), digest(&said));
    assert_eq!(
        debian::Rootfs::unpack(&patched).version("kit-hello").await,
        "1.1 install ok installed"
    );
    assert_eq!(read(&format!("oci-archive:{oci}")).await.digest(), patched.digest());
    let saved = read(&format!("docker-archive:{docker}:app:fixed")).await;
    assert_eq!(
        saved.config, patched.config,
        "the configuration is the image's id: it is the same"
    );

    let mirror = scene.strict().await;
    let pulled = crate::patch_scene::pull_patched(&mirror, "v1", &scene.image.digest()).await;
    assert_eq!(pulled.config, patched.config, "as the mirror patches it");
    assert_eq!(pulled.layer_digests(), patched.layer_digests());

    // A second image goes beside the first; the same name is replaced.
    let tagged = format!("oci:{layout}:other");
    patch(&setup(&scene), &[&name(&scene), "--output", &tagged]).await;
    patch(&setup(&scene), &[&name(&scene), "--output", &tagged]).await;
    let index: Value = serde_json::from_slice(&std::fs::read(Path::new(&layout).join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2, "{index}");
    let again = patch(&setup(&scene), &[&tagged, "--output", &places[0], "--dry-run"]).await;
    assert!(
        again.stdout.contains("nothing to patch"),
        "a layout is named like its output: {}",
        again.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_plan_and_needs_no_buildkit() {
    let apt = Repository::start().await;
    apt.publish(&Package::new("kit-hello", "1.1"));
    apt.publish(&Package::new("kit-held", "1.1"));
    let installed = [
        Installed::new(Package::new("kit-hello", "1.0")),
        Installed::new(Package::new("kit-held", "1.0")).held(),
    ];
    let folder = Folder::new();
    write_layout(
        &debian::image(&apt, &installed).await.build(),
        Path::new(&folder.path("layout")),
    );
    let out = Folder::new();
    let said = patch(
        &Mirror::setup(),
        &[
            &folder.path("layout"),
            "--dry-run",
            "--output",
            &format!("oci:{}", out.path("x")),
        ],
    )
    .await;
    let row = |package: &str| -> Vec<String> {
        let found = said.stdout.lines().find(|line| line.starts_with(package));
        let words = found.unwrap_or_else(|| panic!("{}", said.stdout)).split_whitespace();
        words.map(str::to_owned).collect()
    };
    assert_eq!(row("kit-hello")[2..], ["1.0", "1.1", "upgrade"]);
    assert_eq!(row("kit-held")[2..], ["1.0", "1.1", "left", "out:", "on", "hold"]);
    assert!(said.stdout.contains("1 upgrade, 1 left out"), "{}", said.stdout);
    assert!(out.is_empty(), "nothing is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn platforms_that_are_not_patched_keep_their_descriptors() {
    let scene = Scene::shared().await;
    let foreign = Image::builder()
        .architecture("s390x")
        .layer(Layer::new().file("a", "z").gzip())
        .build();
    let index = Index::of(&[scene.image.clone(), foreign], true);
    scene.registry.push_index(REPOSITORY, Some("multi"), &index);
    let (setup, folder) = (setup(&scene), Folder::new());
    let name = format!("{}/{REPOSITORY}:multi", scene.registry.host());
    let output = format!("oci:{}", folder.path("out"));
    let native = format!("linux/{}", patchport_kit::image::native());

    let said = patch(&setup, &[&name, "--platform", &native, "--output", &output]).await;
    assert!(
        said.stdout.contains("linux/s390x: left as it is: not asked for"),
        "{}",
        said.stdout
    );
    let manifest = run(Command::new("skopeo").args(["inspect", "--raw", &format!("{output}:multi-patched")]));
    let (before, after): (Value, Value) = (
        serde_json::from_slice(&index.manifest).unwrap(),
        serde_json::from_str(&manifest).unwrap(),
    );
    assert_ne!(
        after["manifests"][0]["digest"], before["manifests"][0]["digest"],
        "the native one is patched"
    );
    assert_eq!(
        after["manifests"][1], before["manifests"][1],
        "the other keeps its descriptor"
    );
    assert_nothing_but_the_patch(
        &Pulled::of(&scene.image),
        &read(&format!("{output}:multi-patched")).await,
    );

    // One that is asked for and cannot be patched is a failure, unless errors are to be ignored.
    let both = format!("{native},linux/s390x");
    let broken = Image::builder()
        .architecture("s390x")
        .layer(scene.image.layers[0].clone())
        .layer(scene.image.layers[1].clone());
    let index = Index::of(&[scene.image.clone(), broken.build()], false);
    scene.registry.push_index(REPOSITORY, Some("broken"), &index);
    let name = format!("{}/{REPOSITORY}:broken", scene.registry.host());
    let said = try_patch(&setup, &[&name, "--platform", &both, "--output", &output]).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr.contains("no builder runs linux/s390x") && said.stderr.contains("--ignore-errors"),
        "{}",
        said.stderr
    );
    let said = patch(
        &setup,
        &[&name, "--platform", &both, "--output", &output, "--ignore-errors"],
    )
    .await;
    assert!(
        said.stdout.contains("linux/s390x: left as it is: it failed"),
        "{}",
        said.stdout
    );
    let said = try_patch(&setup, &[&name, "--platform", "linux/riscv64", "--output", &output]).await;
    assert!(
        said.stderr.contains("has no image for linux/riscv64; it has"),
        "{}",
        said.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_patch_is_said_and_is_no_failure() {
    let scene = Scene::shared().await;
    let current = image(&scene.apt, "1.1").await.build();
    let folder = Folder::new();
    write_layout(&current, Path::new(&folder.path("layout")));
    write_layout(&Image::tiny("no distribution"), Path::new(&folder.path("tiny")));
    for name in ["layout", "tiny"] {
        let out = Folder::new();
        let output = format!("oci:{}", out.path("x"));
        // No BuildKit is needed to find that out.
        let said = patch(&Mirror::setup(), &[&folder.path(name), "--output", &output]).await;
        assert!(
            said.stdout.contains("nothing to patch: nothing was written"),
            "{name}: {}",
            said.stdout
        );
        assert!(out.is_empty(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_with_the_exit_code_for_it() {
    let scene = Scene::shared().await;
    let (setup, folder) = (setup(&scene), Folder::new());
    let name = name(&scene);
    let output = format!("oci:{}", folder.path("out"));
    let file = folder.write("occupied", "something else");
    let cases: [(&[&str], i32, &str); 9] = [
        (
            &[&name, "--addr", "unix:///nonexistent.sock"],
            1,
            "BuildKit at unix:///nonexistent.sock",
        ),
        (
            &[&name, "--addr", "tcp://127.0.0.1:1"],
            1,
            "BuildKit at tcp://127.0.0.1:1",
        ),
        (&[&name, "--addr", "ftp://x"], 64, "its scheme is not known"),
        (&[&name, "--timeout", "1ms"], 1, "--timeout would give it more"),
        (&[&name, "--report", "/nonexistent"], 64, "there is no report"),
        (&[&name, "--scanner", "snyk"], 64, "copa-snyk"),
        (&[&name, "--tag", "a b"], 1, "is no tag"),
        (&["127.0.0.1:1/a:b"], 1, "cannot find 127.0.0.1:1/a:b"),
        (&[], 64, "name an image"),
    ];
    for (arguments, code, expected) in cases {
        let said = try_patch(&setup, &[arguments, &["--output", &output]].concat()).await;
        assert_eq!(said.code, Some(code), "{arguments:?}: {}", said.stderr);
        assert!(said.stderr.contains(expected), "{arguments:?}: {}", said.stderr);
    }
    let said = try_patch(&setup, &[&name, "--output", &format!("oci:{file}")]).await;
    assert_eq!(said.code, Some(1), "a file is no folder: {}", said.stderr);
    assert_eq!(std::fs::read(&file).unwrap(), b"something else");
    // Nobody to load it into.
    let empty = Folder::new();
    let lonely = setup.clone().environment("PATH", &empty.0.path().display().to_string());
    let said = try_patch(&lonely, &[&name]).await;
    assert_eq!(said.code, Some(1));
    for part in [
        "give --push, or --output",
        "there is no `docker` on the PATH; there is no `podman`",
    ] {
        assert!(said.stderr.contains(part), "{}", said.stderr);
    }
    // That is found out before an image is patched for it, and an image that is nowhere was looked for everywhere.
    let said = try_patch(
        &lonely,
        &[&name, "--loader", "docker", "--addr", "unix:///nonexistent.sock"],
    )
    .await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr
            .contains("the patched image has no place to go: there is no `docker` on the PATH"),
        "{}",
        said.stderr
    );
    let said = try_patch(&lonely, &["127.0.0.1:1/a:b", "--output", &output]).await;
    assert!(
        said.stderr
            .contains("nor is it on this machine: there is no `docker` on the PATH; there is no `podman` on the PATH"),
        "{}",
        said.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_no_longer_maintained_is_patched_unless_that_is_to_fail() {
    let scene = Scene::shared().await;
    let ended = "ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\nSUPPORT_END=2020-01-01\n";
    let layer = Layer::new().file("etc/os-release", ended).gzip();
    let image = image(&scene.apt, "1.0").await.layer(layer).build();
    let folder = Folder::new();
    write_layout(&image, Path::new(&folder.path("layout")));
    let (layout, output) = (folder.path("layout"), format!("oci:{}", folder.path("out")));
    let arguments = [layout.as_str(), "--output", &output];
    let said = try_patch(&setup(&scene), &[&arguments[..], &["--exit-on-eol"]].concat()).await;
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    assert!(
        said.stderr.contains("no longer maintained since 2020-01-01") && said.stderr.contains("--exit-on-eol"),
        "{}",
        said.stderr
    );
    let said = patch(&setup(&scene), &arguments).await;
    assert!(said.stdout.contains("patched, 1 upgrade"), "{}", said.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_watched_and_its_last_lines_are_shown_when_it_fails() {
    let apt = Repository::start().await;
    let failing = Package::new("kit-hello", "1.1").script(
        "postinst",
        "#!/bin/sh\nprintf 'the \\033[31mscript\\033[0m says no\\n'\nexit 7\n",
    );
    apt.publish(&failing);
    let image = image(&apt, "1.0").await.build();
    let folder = Folder::new();
    write_layout(&image, Path::new(&folder.path("layout")));
    let buildkit = Buildkitd::shared().await;
    let setup = Mirror::setup().buildkit(buildkit.address());
    let output = format!("oci:{}", folder.path("out"));
    let said = try_patch(&setup, &[&folder.path("layout"), "--output", &output]).await;
    assert_eq!(said.code, Some(1));
    let (_, log) = said
        .stderr
        .split_once("the build's last lines:")
        .unwrap_or_else(|| panic!("{}", said.stderr));
    assert!(log.contains("the script says no"), "{log}");
    assert!(!PathBuf::from(folder.path("out")).exists());
    let run = |mode: &'static str| {
        let arguments = ["patch", "--progress", mode, "--output", &output].map(str::to_owned);
        let (setup, layout) = (setup.clone(), folder.path("layout"));
        async move {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain([layout.as_str()]).collect();
            setup.run(&arguments).await.stderr
        }
    };
    let plain = run("plain").await;
    assert!(
        plain.lines().any(|line| line.ends_with("| the script says no")),
        "{plain}"
    );
    assert!(plain.contains("packages: started"), "{plain}");
    let json = run("rawjson").await;
    let events: Vec<Value> = json
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert!(
        events
            .iter()
            .any(|event| event["event"] == "log" && event["text"] == "the script says no"),
        "{json}"
    );
    assert!(events.iter().any(|event| event["event"] == "failed"), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_runs_what_was_loaded_and_gives_images_that_no_registry_has() {
    let scene = Scene::shared().await;
    let (setup, folder) = (setup(&scene), Folder::new());
    let podman = |arguments: &[&str]| run(Command::new("podman").args(arguments));
    let fixed = format!("localhost/patch-command-{}:v1-patched", std::process::id());
    let said = patch(&setup, &[&name(&scene), "--loader", "podman", "--tag", &fixed]).await;
    assert!(
        said.stdout.contains(&format!("loaded {fixed} into podman")),
        "{}",
        said.stdout
    );
    let ran = podman(&["run", "--rm", "--network", "host", &fixed]);
    assert_eq!(ran.trim(), "original entrypoint: original command");
    assert_eq!(
        podman(&["image", "inspect", "--format", "{{.Digest}}", &fixed]).trim(),
        digest(&said)
    );

    // The original as a local image.
    let local = format!("localhost/patch-command-{}:local", std::process::id());
    write_layout(&scene.image, Path::new(&folder.path("layout")));
    run(Command::new("skopeo")
        .args([
            "copy",
            "--quiet",
            "--insecure-policy",
            &format!("oci:{}:kit", folder.path("layout")),
        ])
        .arg(format!("docker-archive:{}:{local}", folder.path("local.tar"))));
    podman(&["load", "--quiet", "--input", &folder.path("local.tar")]);
    for name in [format!("containers-storage:{local}"), local.clone()] {
        let output = format!("oci:{}", folder.path("out"));
        let said = patch(&setup, &[&name, "--output", &output]).await;
        let patched = read(&format!("{output}:local-patched")).await;
        assert_eq!(patched.digest(), digest(&said), "{name}");
        assert_eq!(
            debian::Rootfs::unpack(&patched).outdated().await,
            Vec::<String>::new(),
            "{name}"
        );
    }
    podman(&["image", "rm", "--force", &fixed, &local]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_ends_at_once_and_leaves_nothing_behind() {
    let scene = Scene::shared().await;
    let gate = Gate::default();
    scene.registry.fault("blobs", Fault::Hold(gate.clone()));
    let folder = Folder::new();
    let mut command = Command::new(binary());
    command
        .args(["patch", "--progress", "plain", "--addr", scene.buildkit.address()])
        .args(["--output", &format!("oci:{}", folder.path("out")), &name(&scene)])
        .env("TMPDIR", folder.0.path())
        .env("PATCHPORT__STORE__DIR", folder.path("store"));
    let log = Log::default();
    let mut process = Process::start("patchport", &mut command, &log);
    gate.reached(1).await;
    process.signal("INT");
    let status = process.ended(Duration::from_secs(5)).await;
    assert_eq!(status.code(), Some(130), "{}", log.text());
    let left: Vec<_> = std::fs::read_dir(folder.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["store"], "temporary files are gone");
}
