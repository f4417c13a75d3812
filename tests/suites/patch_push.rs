//! `patchport patch --push`: what is sent, and with whose credentials.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use patchport_kit::image::{Pulled, validate};
use patchport_kit::process::{Log, Process, run};
use patchport_kit::registry::Access;
use patchport_kit::tools::skopeo;
use serde_json::{Value, json};

use crate::command_scene::{Folder, digest, name, patch, repository, setup, try_patch, upload};
use crate::patch_scene::Scene;
use crate::patched_image::assert_nothing_but_the_patch;

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
