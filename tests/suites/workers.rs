//! Several workers, platforms by policy, and the logs of builds: what an operator of more than one BuildKit relies on.

use std::time::Duration;

use patchport_kit::apt::Package;
use patchport_kit::client::pull;
use patchport_kit::debian::{self, Installed};
use patchport_kit::image::{Index, Layer};
use patchport_kit::{Buildkitd, Image};
use serde_json::Value;

use crate::patch_scene::{LONG, REPOSITORY, Scene, get_tag, image, logged, rule, until_patched};
use crate::promise::promise;
use crate::scene::setup;

/// A Debian image with a package whose upgrade takes some seconds.
async fn slow(scene: &Scene) -> Image {
    let upgrade = Package::new("kit-slow", "1.1").script("postinst", "sleep 5");
    scene.apt.publish(&upgrade);
    let image = debian::image(&scene.apt, &[Installed::new(Package::new("kit-slow", "1.0"))])
        .await
        .build();
    scene.registry.push(REPOSITORY, Some("slow"), &image);
    image
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_in_the_middle_of_a_patch_is_replaced_by_another() {
    promise("A worker that is lost in the middle of a patch is replaced by another.");
    let mut scene = Scene::own().await;
    let image = slow(&scene).await;
    let other = Buildkitd::own().await;
    let mirror = setup(&scene.registry)
        .buildkits(&[scene.buildkit.address(), other.address()])
        .rule(&rule(LONG, "deny", "deny"))
        .start()
        .await;
    let client = mirror.client();
    let asked = tokio::spawn(async move { client.get("/v2/team/app/manifests/slow").await });
    scene.buildkit.runs_containers(1).await;
    assert_eq!(other.containers_started(), 0);
    scene.buildkit.kill9();
    // It is patched within its wait, or soon after on a slow machine; a failure would be remembered for longer.
    let first = asked.await.unwrap();
    assert!(
        first.status == 200 || first.text().contains("not ready"),
        "{}",
        first.text()
    );
    let answer = until_patched(&mirror, "slow", &image.digest()).await;
    assert!(first.status != 200 || first.digest == answer.digest, "one answer");
    assert_eq!((other.solves(), other.containers_started()), (1, 1));
    pull(&mirror.client(), REPOSITORY, "slow").await;
    logged(&mirror, "worker is down").await;
    let log = mirror.log().text();
    assert!(
        log.contains("worker is down") && log.contains(scene.buildkit.address()),
        "{log}"
    );
    // With one worker left the next image is patched as if nothing had been.
    until_patched(&mirror, "v1", &scene.image.digest()).await;
    // What became of the build is in its log, worker by worker.
    let builds = mirror.admin().get("/builds").await.text();
    let line = builds.lines().find(|line| line.contains(&image.digest())).unwrap();
    assert!(line.ends_with("done"), "{builds}");
    let log = mirror.admin().get(&format!("/builds/{}", &line[..16])).await.text();
    for word in [
        scene.buildkit.address(),
        "lost: ",
        other.address(),
        "kit-slow 1.0 -> 1.1",
    ] {
        assert!(log.contains(word), "{word}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_failed_build_is_kept_shown_and_without_secrets() {
    promise("The log of the last build of each plan is kept, without the users and passwords of URLs.");
    let scene = Scene::shared().await;
    let script = "echo see https://robot:hunter2@deb.example.org/x; echo kit-postinst-says-no >&2; exit 7";
    scene
        .apt
        .publish(&Package::new("kit-failing", "1.1").script("postinst", script));
    let image = debian::image(&scene.apt, &[Installed::new(Package::new("kit-failing", "1.0"))])
        .await
        .build();
    scene.registry.push(REPOSITORY, Some("failing"), &image);
    let setup = scene.mirror(LONG, "deny", "serve-original");
    let mirror = setup.clone().start().await;
    let mut answer = get_tag(&mirror, "failing").await;
    for _ in 0..20 {
        if answer.status == 200 {
            break;
        }
        // The build has not ended yet.
        answer = get_tag(&mirror, "failing").await;
    }
    let warning = answer.header("warning").unwrap_or_default();
    assert!(warning.contains("(build log "), "the answer names the log: {warning}");
    let builds = mirror.admin().get("/builds").await.text();
    let line = builds.lines().find(|line| line.contains(&image.digest())).unwrap();
    assert!(line.contains("failed: "), "{builds}");
    assert!(warning.contains(&line[..16]), "{warning}");
    let log = mirror.admin().get(&format!("/builds/{}", &line[..16])).await;
    assert_eq!(log.status, 200);
    for word in [
        "kit-postinst-says-no",
        "https://<hidden>@deb.example.org/x",
        "kit-failing 1.0 -> 1.1",
    ] {
        assert!(log.text().contains(word), "{word}: {}", log.text());
    }
    assert_eq!(mirror.admin().get("/builds/0123456789abcdef").await.status, 404);
    assert_eq!(mirror.admin().get("/builds/..%2f..%2fcatalog").await.status, 404);
    let reference = format!("{}/{REPOSITORY}:failing", scene.registry.host());
    let store = mirror.store().display().to_string();
    let explained = setup
        .environment("PATCHPORT__STORE__DIR", &store)
        .run(&["explain", &reference])
        .await;
    assert_eq!(explained.code, Some(0), "{}", explained.stderr);
    for word in ["last build", "failed: ", "build log  ", "kit-postinst-says-no"] {
        assert!(explained.stdout.contains(word), "{word}: {}", explained.stdout);
    }
    let everything = [
        builds,
        log.text(),
        explained.stdout,
        warning.to_owned(),
        mirror.log().text(),
    ];
    assert!(
        everything.iter().all(|text| !text.contains("hunter2")),
        "{everything:?}"
    );
}

/// Which entries of an index the answer leaves as they were.
fn kept(before: &Index, after: &Value) -> Vec<bool> {
    let before: Value = serde_json::from_slice(&before.manifest).unwrap();
    let (before, after) = (
        before["manifests"].as_array().unwrap(),
        after["manifests"].as_array().unwrap(),
    );
    assert_eq!(before.len(), after.len(), "{after:?}");
    let pairs = before.iter().zip(after);
    pairs
        .map(|(before, after)| {
            assert_eq!(before["platform"], after["platform"]);
            before == after
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_index_the_platforms_are_patched_that_workers_run_and_the_rule_names() {
    promise(
        "Children are patched for the platforms that a worker runs, among them those that the rule's `platforms` names.",
    );
    let scene = Scene::shared().await;
    // A processor that runs the first natively runs the second, too; for the third there is no worker.
    let other = image(&scene.apt, "1.0").await.architecture("386").build();
    let foreign = Image::builder()
        .architecture("s390x")
        .layer(Layer::new().file("a", "z").gzip())
        .build();
    let index = Index::of(&[scene.image.clone(), other, foreign], false);
    scene.registry.push_index(REPOSITORY, Some("multi"), &index);
    for (platforms, expected) in [
        ("", [false, false, true]),
        ("platforms = [\"linux/amd64\", \"linux/s390x\"]", [false, true, true]),
        ("platforms = \"linux/386\"\nemulation = \"allow\"", [true, false, true]),
    ] {
        let rule = format!("{}\n{platforms}", rule(LONG, "deny", "deny"));
        let mirror = setup(&scene.registry)
            .buildkit(scene.buildkit.address())
            .rule(&rule)
            .start()
            .await;
        let answer = until_patched(&mirror, "multi", &index.digest()).await;
        assert_eq!(kept(&index, &answer.json()), expected, "{platforms}");
        pull(&mirror.client(), REPOSITORY, "multi").await;
    }
    // Nobody runs what the rule names: on_failure, with the platforms in the error.
    let rule = format!(
        "{}\nplatforms = [\"linux/s390x\"]",
        rule(LONG, "deny", "serve-original")
    );
    let mirror = setup(&scene.registry)
        .buildkit(scene.buildkit.address())
        .rule(&rule)
        .start()
        .await;
    let answer = get_tag(&mirror, "multi").await;
    let warning = answer.header("warning").unwrap_or_default();
    assert_eq!((answer.status, answer.digest.as_str()), (200, index.digest().as_str()));
    assert!(
        warning.contains("no builder runs linux/s390x; it runs linux/amd64"),
        "{warning}"
    );
    // The rule names nothing that is in the index: nothing to patch.
    let rule = rule_for("linux/riscv64");
    let mirror = setup(&scene.registry)
        .buildkit(scene.buildkit.address())
        .rule(&rule)
        .start()
        .await;
    let answer = get_tag(&mirror, "multi").await;
    assert_eq!(
        (answer.digest.as_str(), answer.header("warning")),
        (index.digest().as_str(), None)
    );
}

fn rule_for(platform: &str) -> String {
    format!("{}\nplatforms = [\"{platform}\"]", rule(LONG, "deny", "deny"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_away_from_the_start_is_named_and_the_other_does_the_work() {
    let scene = Scene::shared().await;
    let mirror = setup(&scene.registry)
        .buildkits(&["unix:///nonexistent/kit.sock", scene.buildkit.address()])
        .rule(&rule(LONG, "deny", "deny"))
        .start()
        .await;
    until_patched(&mirror, "v1", &scene.image.digest()).await;
    logged(&mirror, "worker is down").await;
    let log = mirror.log().text();
    let down = log.lines().find(|line| line.contains("worker is down"));
    assert!(
        down.is_some_and(|line| line.contains("unix:///nonexistent/kit.sock")),
        "{log}"
    );
    // With none there, the answer names them all.
    let mirror = setup(&scene.registry)
        .buildkits(&["unix:///nonexistent/kit.sock", "tcp://127.0.0.1:1"])
        .rule(&rule(LONG, "deny", "serve-original"))
        .start()
        .await;
    let begun = tokio::time::Instant::now();
    let answer = get_tag(&mirror, "v1").await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let warning = answer.header("warning").unwrap_or_default();
    for name in ["unix:///nonexistent/kit.sock", "tcp://127.0.0.1:1"] {
        assert!(warning.contains(&format!("worker {name}: ")), "{warning}");
    }
}
