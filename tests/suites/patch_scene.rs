//! The stage of the patch suites: a package repository, a Debian image with packages from it that are outdated, an
//! upstream that has the image, a real BuildKit and a mirror that patches.

use std::time::Duration;

use patchport_kit::apt::{Package, Repository};
use patchport_kit::client::{ACCEPT, Response, pull};
use patchport_kit::debian::{self, Installed};
use patchport_kit::image::{ImageBuilder, Pulled};
use patchport_kit::mirror::Setup;
use patchport_kit::{Buildkitd, Image, Mirror, Registry};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::scene::setup;

/// Where the image stands on every patch scene.
pub(crate) const REPOSITORY: &str = "team/app";
/// The longest wait that may be configured: patches that a test wants to see get all of it.
pub(crate) const LONG: &str = "25s";

/// Everything but the mirror.
pub(crate) struct Scene {
    pub(crate) apt: Repository,
    pub(crate) registry: Registry,
    pub(crate) buildkit: Buildkitd,
    pub(crate) image: Image,
}

impl Scene {
    /// With the testbed's warm BuildKit.
    pub(crate) async fn shared() -> Self {
        Self::with(Buildkitd::shared().await).await
    }

    /// With a BuildKit of its own, so that solves can be counted and the daemon killed.
    pub(crate) async fn own() -> Self {
        Self::with(Buildkitd::own().await).await
    }

    async fn with(buildkit: Buildkitd) -> Self {
        let apt = Repository::start().await;
        apt.publish(&Package::new("kit-hello", "1.1"));
        let image = image(&apt, "1.0").await.build();
        let registry = Registry::start().await;
        registry.push(REPOSITORY, Some("v1"), &image);
        Self {
            apt,
            registry,
            buildkit,
            image,
        }
    }

    /// A mirror that patches, on these terms.
    pub(crate) fn mirror(&self, wait: &str, on_timeout: &str, on_failure: &str) -> Setup {
        let setup = setup(&self.registry)
            .buildkit(self.buildkit.address())
            .set("patch", "retry_after = \"1s\"");
        setup.rule(&rule(wait, on_timeout, on_failure))
    }

    /// The same, where the image's own tool fetches the packages: what the repository holds back keeps a container waiting.
    pub(crate) fn own_tool(&self, wait: &str, on_timeout: &str, on_failure: &str) -> Setup {
        self.mirror(wait, on_timeout, on_failure)
            .set("patch", "packages = \"image\"")
    }

    /// A mirror that patches and denies what is not patched.
    pub(crate) async fn strict(&self) -> Mirror {
        self.mirror(LONG, "deny", "deny").start().await
    }
}

/// A rule that patches everything.
pub(crate) fn rule(wait: &str, on_timeout: &str, on_failure: &str) -> String {
    format!(
        "name = \"patch-all\"\nmatch = [\"**\"]\naction = \"patch\"\nwait = \"{wait}\"\non_timeout = \"{on_timeout}\"\non_failure = \"{on_failure}\""
    )
}

/// A Debian image with `kit-hello` at this version, and a configuration whose every member must survive.
pub(crate) async fn image(apt: &Repository, version: &str) -> ImageBuilder {
    let builder = debian::image(apt, &[Installed::new(Package::new("kit-hello", version))]).await;
    builder
        .config("Entrypoint", json!(["/bin/echo", "original entrypoint:"]))
        .config("Cmd", json!(["original command"]))
        .config("Env", json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "KIT=kept"]))
        .config("User", json!("nobody"))
        .config("Labels", json!({ "kit": "label" }))
        .config("StopSignal", json!("SIGINT"))
        .annotation("kit.annotation", "kept")
}

/// `GET` of the tag.
pub(crate) async fn get_tag(mirror: &Mirror, tag: &str) -> Response {
    mirror
        .client()
        .send(
            "GET",
            &format!("/v2/{REPOSITORY}/manifests/{tag}"),
            &[("accept", ACCEPT)],
        )
        .await
}

/// Asks for the tag until its answer is a patched image; panics after two minutes. How long a patch takes depends on what
/// else this machine does, so what a patch is does not hang on its being made within one wait.
pub(crate) async fn until_patched(mirror: &Mirror, tag: &str, original: &str) -> Response {
    until_patched_in(mirror, REPOSITORY, tag, original).await
}

/// The same in any repository.
pub(crate) async fn until_patched_in(mirror: &Mirror, repository: &str, tag: &str, original: &str) -> Response {
    let path = format!("/v2/{repository}/manifests/{tag}");
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let answer = mirror.client().send("GET", &path, &[("accept", ACCEPT)]).await;
        if answer.status == 200 && answer.digest != original && answer.header("warning").is_none() {
            return answer;
        }
        assert!(
            Instant::now() < end,
            "{tag} is not patched after two minutes: {} {}",
            answer.status,
            answer.text()
        );
        sleep(Duration::from_millis(200)).await;
    }
}

/// Waits for the patch of a tag whose original has this digest, and pulls it.
pub(crate) async fn pull_patched(mirror: &Mirror, tag: &str, original: &str) -> Pulled {
    until_patched(mirror, tag, original).await;
    pull(&mirror.client(), REPOSITORY, tag).await
}

/// Panics unless the answer is the original with a warning that says so (RFC 7234 section 5.5, code 299).
#[track_caller]
pub(crate) fn assert_original_with_warning(answer: &Response, original: &str) {
    assert_eq!(
        (answer.status, answer.digest.as_str()),
        (200, original),
        "the original is served"
    );
    let warning = answer
        .header("warning")
        .expect("an original in place of a patch has a Warning");
    assert!(warning.starts_with("299 - \"") && warning.ends_with('"'), "{warning}");
}

/// Waits until the mirror has logged a text.
pub(crate) async fn logged(mirror: &Mirror, text: &str) {
    let found = |lines: &[String]| lines.iter().any(|line| line.contains(text)).then_some(());
    mirror.log().wait(0, text, Duration::from_secs(60), found).await;
}
