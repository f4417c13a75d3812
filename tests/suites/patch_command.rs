//! `patchport patch` as a person or a pipeline calls it: where a patched image can go, what is patched of it, and what is said.
//! Real BuildKit, a real registry, skopeo and Podman as judges.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use patchport_kit::apt::{Package, Repository};
use patchport_kit::debian::{self, Installed, testbed};
use patchport_kit::image::{Pulled, validate};
use patchport_kit::mirror::{Said, Setup, binary};
use patchport_kit::process::{Log, Process, run};
use patchport_kit::registry::Access;
use patchport_kit::scanner::write_layout;
use patchport_kit::tools::{read, skopeo};
use patchport_kit::{Buildkitd, Fault, Gate, Image, Index, Layer, Mirror, Registry};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::patch_scene::{REPOSITORY, Scene, image};
use crate::patched_image::assert_nothing_but_the_patch;
use crate::promise::promise;

/// A configuration with the scene's BuildKit.
fn setup(scene: &Scene) -> Setup {
    Mirror::setup().buildkit(scene.buildkit.address())
}

/// The scene's image by its name.
fn name(scene: &Scene) -> String {
    format!("{}/{REPOSITORY}:v1", scene.registry.host())
}

/// Runs `patchport patch` without noise; panics unless it succeeds.
async fn patch(setup: &Setup, arguments: &[&str]) -> Said {
    let said = try_patch(setup, arguments).await;
    assert_eq!(said.code, Some(0), "{arguments:?}: {}{}", said.stdout, said.stderr);
    said
}

async fn try_patch(setup: &Setup, arguments: &[&str]) -> Said {
    setup
        .run(&[&["patch", "--progress", "quiet"], arguments].concat())
        .await
}

/// The digest that the command says at its end.
#[track_caller]
fn digest(said: &Said) -> String {
    let last = said.stdout.lines().last().unwrap_or_default();
    last.strip_prefix("digest ")
        .unwrap_or_else(|| panic!("{}", said.stdout))
        .to_owned()
}

/// A folder of the test's own.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.0.path().join(name), content).unwrap();
        self.path(name)
    }

    fn is_empty(&self) -> bool {
        std::fs::read_dir(self.0.path()).unwrap().next().is_none()
    }
}

/// A repository of the real registry that no other test uses.
fn repository(name: &str) -> String {
    format!(
        "{}/patch-command/{name}-{}",
        testbed("PATCHPORT_TEST_REGISTRY"),
        std::process::id()
    )
}

/// Pushes an image to the real registry with skopeo.
fn upload(image: &Image, to: &str) {
    let folder = Folder::new();
    write_layout(image, Path::new(&folder.path("layout")));
    run(Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
        .args([format!("oci:{}:kit", folder.path("layout")), format!("docker://{to}")]));
}

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
async fn a_push_sends_only_what_the_registry_lacks() {
    let scene = Scene::shared().await;
    let (source, other) = (repository("push"), repository("push-other"));
    upload(&scene.image, &format!("{source}:v1"));
    let setup = setup(&scene);
    let said = patch(&setup, &[&format!("{source}:v1"), "--push"]).await;
    let patched = skopeo(&format!("{source}:v1-patched")).await;
    validate(&patched);
    assert_eq!(patched.digest(), digest(&said));
    assert_nothing_but_the_patch(&Pulled::of(&scene.image), &patched);
    assert!(
        said.stdout.contains("2 blobs sent"),
        "configuration and new layer: {}",
        said.stdout
    );
    assert_eq!(
        skopeo(&format!("{source}:v1")).await.digest(),
        scene.image.digest(),
        "the original's tag stays"
    );

    let target = format!("{other}:fixed");
    let said = patch(&setup, &[&format!("{source}:v1"), "--push", "--tag", &target]).await;
    assert_eq!(skopeo(&target).await.digest(), patched.digest());
    let layers = scene.image.layers.len();
    // What the first push has brought is there to be mounted, too.
    assert!(
        said.stdout.contains("0 blobs sent"),
        "{layers} layers are mounted: {}",
        said.stdout
    );

    // Patching the patched image starts from its original: one patch layer, the same digest.
    let again = patch(&setup, &[&format!("{source}:v1-patched"), "--push"]).await;
    assert_eq!(digest(&again), patched.digest());
    assert!(again.stdout.contains("0 blobs sent"), "{}", again.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_uses_the_credentials_of_docker_login_and_its_helpers() {
    let scene = Scene::shared().await;
    let folder = Folder::new();
    let guarded = Guarded::start(&folder).await;
    let target = format!("{}/app:fixed", guarded.host);
    let config = |name: &str, content: Value| {
        let home = folder.path(name);
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(Path::new(&home).join("config.json"), content.to_string()).unwrap();
        setup(&scene)
            .environment("DOCKER_CONFIG", &home)
            .environment("REGISTRY_AUTH_FILE", "/nonexistent")
    };
    let source = name(&scene);
    let arguments = [source.as_str(), "--push", "--tag", target.as_str()];
    let said = try_patch(&config("none", json!({})), &arguments).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr.contains(&format!("docker login {}", guarded.host)),
        "{}",
        said.stderr
    );
    // kit:secret-canary, and a wrong password.
    let right = json!({ "auths": { guarded.host.clone(): { "auth": "a2l0OnNlY3JldC1jYW5hcnk=" } } });
    let wrong = json!({ "auths": { guarded.host.clone(): { "auth": "a2l0Ondyb25nLWNhbmFyeQ==" } } });
    let said = try_patch(&config("wrong", wrong), &arguments).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr.contains("may not push") && !said.stderr.contains("canary"),
        "{}",
        said.stderr
    );
    patch(&config("right", right), &arguments).await;

    let bin = folder.path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let helper = Path::new(&bin).join("docker-credential-kit");
    std::fs::write(
        &helper,
        "#!/bin/sh\ncat > /dev/null\necho '{\"Username\":\"kit\",\"Secret\":\"secret-canary\"}'\n",
    )
    .unwrap();
    run(Command::new("chmod").arg("755").arg(&helper));
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let helped = config("helper", json!({ "credHelpers": { guarded.host.clone(): "kit" } })).environment("PATH", &path);
    let said = patch(&helped, &arguments).await;
    assert!(said.stdout.contains("0 blobs sent"), "{}", said.stdout);

    // The image itself may need them as well.
    scene
        .registry
        .require(Access::Basic("kit".into(), "secret-canary".into()));
    let both = json!({ "auths": { scene.registry.host(): { "auth": "a2l0OnNlY3JldC1jYW5hcnk=" } } });
    let said = patch(&config("pull", both), &[&source, "--dry-run"]).await;
    assert!(said.stdout.contains("1 upgrade"), "{}", said.stdout);
}

/// A real registry that wants `kit` and `secret-canary`.
struct Guarded {
    host: String,
    _process: Process,
}

impl Guarded {
    async fn start(folder: &Folder) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let host = format!("127.0.0.1:{port}");
        // `htpasswd -nbB kit secret-canary`.
        let users = folder.write(
            "htpasswd",
            "kit:$2y$05$abcdefghijklmnopqrstuuE6FVw2/qAlDXuPyGuYBpBXSBlRx.kqC\n",
        );
        let store = folder.path("registry");
        let settings = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {store}}}}}\nhttp: {{addr: \"{host}\"}}\n\
             auth: {{htpasswd: {{realm: kit, path: {users}}}}}\n"
        );
        let log = Log::default();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(folder.write("registry.yml", settings));
        let process = Process::start("docker-registry", &mut command, &log);
        log.wait(0, "the registry listens", Duration::from_secs(20), |lines| {
            lines.iter().any(|line| line.contains("listening on")).then_some(())
        })
        .await;
        Self {
            host,
            _process: process,
        }
    }
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
async fn a_report_decides_what_is_patched_and_only_of_its_own_image() {
    let apt = Repository::start().await;
    for package in ["kit-one", "kit-two"] {
        apt.publish(&Package::new(package, "1.1"));
    }
    let installed = ["kit-one", "kit-two"].map(|name| Installed::new(Package::new(name, "1.0")));
    let image = debian::image(&apt, &installed).await.build();
    let registry = Registry::start().await;
    registry.push("app", Some("v1"), &image);
    let buildkit = Buildkitd::shared().await;
    let setup = Mirror::setup().buildkit(buildkit.address());
    let name = format!("{}/app:v1", registry.host());
    let folder = Folder::new();
    let own = folder.write("own.json", report(&image, "1.0").to_string());
    let reports = Folder::new();
    reports.write("a-foreign.json", report(&Image::tiny("other"), "1.0").to_string());
    let foreign = reports.path("a-foreign.json");
    let output = format!("oci:{}", folder.path("out"));

    let vex = folder.path("vex.json");
    let named = [
        &name, "--report", &own, "-s", "trivy", "--output", &output, "--vex", &vex,
    ];
    let said = patch(&setup, &named.map(AsRef::as_ref)).await;
    let document: Value = serde_json::from_slice(&std::fs::read(&vex).expect("a VEX")).expect("JSON");
    let statements = document["statements"].as_array().expect("statements");
    assert_eq!(statements.len(), 1, "{document}");
    assert_eq!(statements[0]["vulnerability"]["name"], "CVE-2026-1");
    assert_eq!(statements[0]["status"], "fixed");
    // Copacetic's words for the same.
    let copa = folder.path("copa.json");
    let named = [
        "-i", &name, "-r", &own, "-f", "openvex", "-o", &copa, "--output", &output,
    ];
    patch(&setup, &named.map(AsRef::as_ref)).await;
    let document: Value = serde_json::from_slice(&std::fs::read(&copa).expect("a VEX")).expect("JSON");
    assert_eq!(
        document["statements"].as_array().expect("statements").len(),
        1,
        "{document}"
    );
    let rootfs = debian::Rootfs::unpack(&read(&format!("{output}:v1-patched")).await);
    assert_eq!(
        rootfs.outdated().await,
        ["kit-two"],
        "only what the report names: {}",
        said.stdout
    );

    let said = try_patch(&setup, &[&name, "-r", &foreign, "--output", &output]).await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.stderr.contains("no report is about it") && said.stderr.contains("a-foreign.json"),
        "{}",
        said.stderr
    );

    reports.write("b-own.json", report(&image, "1.0").to_string());
    let said = patch(
        &setup,
        &[&name, "-r", &reports.0.path().display().to_string(), "--dry-run"],
    )
    .await;
    assert!(
        said.stdout.contains("1 upgrade"),
        "of a folder, the one that is about it: {}",
        said.stdout
    );

    // An index, of which one platform has a report.
    let foreign = Image::builder()
        .architecture("s390x")
        .layer(Layer::new().file("a", "z").gzip())
        .build();
    registry.push_index("app", Some("multi"), &Index::of(&[image, foreign], false));
    let said = patch(
        &setup,
        &[&format!("{}/app:multi", registry.host()), "-r", &own, "--dry-run"],
    )
    .await;
    assert!(said.stdout.contains("1 upgrade"), "{}", said.stdout);
}

/// What Trivy would say: `kit-one` has a fix.
fn report(image: &Image, installed: &str) -> Value {
    let config: Value = serde_json::from_slice(&image.config).unwrap();
    json!({
        "SchemaVersion": 2,
        "ArtifactName": "app",
        "ArtifactType": "container_image",
        "Metadata": {
            "OS": { "Family": "debian", "Name": "12" },
            "ImageID": image.config_digest(),
            "DiffIDs": config["rootfs"]["diff_ids"],
            "ImageConfig": config,
        },
        "Results": [{ "Target": "app", "Class": "os-pkgs", "Type": "debian", "Vulnerabilities": [{
            "VulnerabilityID": "CVE-2026-1", "PkgName": "kit-one", "InstalledVersion": installed, "FixedVersion": "1.1",
            "Severity": "HIGH", "Status": "fixed",
        }] }],
    })
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
async fn a_bulk_file_of_copacetic_patches_originals_only() {
    let scene = Scene::shared().await;
    let (source, target) = (repository("bulk"), repository("bulk-target"));
    let current = image(&scene.apt, "1.1").await.build();
    for tag in ["1.9-slim", "1.10-slim", "2.0"] {
        upload(&scene.image, &format!("{source}:{tag}"));
    }
    upload(&current, &format!("{source}:1.8-slim"));
    let (setup, folder) = (setup(&scene), Folder::new());
    let last = source.rsplit('/').next().unwrap();
    let text = format!(
        "apiVersion: copa.sh/v1alpha1\nkind: PatchConfig\nimages:\n\
         - name: slim\n  image: {source}\n  tags:\n    strategy: pattern\n    pattern: \"^1[.].*-slim\"\n    maxTags: 3\n    exclude: [1.9-slim]\n\
         - name: newest\n  image: {source}\n  tags: {{strategy: latest}}\n  target: {{registry: \"{target}\", tag: \"{{{{ .SourceTag }}}}-fixed\"}}\n"
    );
    let file = folder.write("bulk.yaml", &text);
    let first = patch(&setup, &["--config", &file, "--push"]).await;
    assert!(first.stdout.contains("3 images, 0 failed"), "{}", first.stdout);
    let fixed = skopeo(&format!("{source}:1.10-slim-patched")).await;
    assert_nothing_but_the_patch(&Pulled::of(&scene.image), &fixed);
    assert_eq!(
        skopeo(&format!("{target}/{last}:2.0-fixed")).await.layer_digests(),
        fixed.layer_digests()
    );
    let tags = || run(Command::new("skopeo").args(["list-tags", "--tls-verify=false", &format!("docker://{source}")]));
    let before = tags();
    assert!(
        !before.contains("1.8-slim-patched") && !before.contains("1.9-slim-patched"),
        "{before}"
    );

    // Again: patched images are no originals, and nothing new comes of it.
    let second = patch(&setup, &["--config", &file, "--push"]).await;
    assert!(second.stdout.contains("3 images, 0 failed"), "{}", second.stdout);
    assert_eq!(tags(), before);
    let colliding = text.replace("-fixed", "").replace(
        &format!("{target}\""),
        &format!("{}\"", source.rsplit_once('/').unwrap().0),
    );
    let colliding = colliding
        .replace("exclude: [1.9-slim]", "")
        .replace("strategy: latest", "strategy: list, list: ['1.9-slim-patched']");
    let said = try_patch(
        &setup,
        &["--config", &folder.write("colliding.yaml", colliding), "--push"],
    )
    .await;
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("would both become"), "{}", said.stderr);
    let said = try_patch(&setup, &["--config", &file, "--push", &format!("{source}:2.0")]).await;
    assert_eq!(said.code, Some(64), "{}", said.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_a_bulk_file_are_patched_at_once() {
    let scene = Scene::own().await;
    let (folder, gate) = (Folder::new(), Gate::default());
    let mut text = "apiVersion: copa.sh/v1alpha1\nkind: PatchConfig\nimages:\n".to_owned();
    // Builds for one repository share a cache of the image's own tool, and wait for one another.
    for name in ["one", "two"] {
        let (repository, config) = (repository(&format!("at-once-{name}")), json!([name]));
        let image = image(&scene.apt, "1.0").await.config("Cmd", config).build();
        upload(&image, &format!("{repository}:{name}"));
        text += &format!("- {{name: {name}, image: {repository}, tags: {{strategy: list, list: [{name}]}}}}\n");
    }
    let file = folder.write("bulk.yaml", &text);
    // What the image's own tool asks for is held back: both builds stand still.
    let setup = setup(&scene).set("patch", "packages = \"image\"");
    scene.apt.hold("kit-hello", &gate);
    let layout = folder.path("out");
    let output = format!("oci:{layout}");
    let arguments = ["--config", &file, "--output", &output];
    let (said, ()) = tokio::join!(patch(&setup, &arguments), async {
        scene.buildkit.runs_containers(2).await;
        gate.open();
    });
    assert!(said.stdout.contains("2 images, 0 failed"), "{}", said.stdout);
    let index = std::fs::read_to_string(format!("{layout}/index.json")).unwrap();
    for tag in ["one-patched", "two-patched"] {
        assert!(index.contains(tag), "{index}");
    }
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
