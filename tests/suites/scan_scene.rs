//! What the suites about scanning share: an image that is scanned by the real command, and what came out.

use patchport_kit::apt::{Package, Repository, Suite};
use patchport_kit::debian::{self, Installed};
use patchport_kit::image::{ImageBuilder, Layer};
use patchport_kit::mirror::{Said, Setup};
use patchport_kit::scanner::write_layout;
use patchport_kit::signer::Signer;
use patchport_kit::{Image, Mirror};
use serde_json::Value;

/// Where images of the suites keep the key of their repository.
pub(crate) const KEY: &str = "usr/share/keyrings/kit.gpg";
/// The option of a source that trusts this key only.
pub(crate) const SIGNED_BY: &str = "[signed-by=/usr/share/keyrings/kit.gpg]";
/// An entry that lets images name repositories on loopback, and believes what is signed only.
pub(crate) const LOOPBACK: &str = "match = \"http://127.0.0.1:*\"";

/// A configuration that believes what is signed only.
pub(crate) fn careful() -> Setup {
    Mirror::setup().no_repositories().repository(LOOPBACK)
}

/// Runs `patchport scan` on an OCI layout of the image.
pub(crate) async fn scan(setup: &Setup, image: &Image, arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    write_layout(image, folder.path());
    let path = folder.path().display().to_string();
    setup.run(&[&["scan", &path], arguments].concat()).await
}

/// What a scan found: what can be upgraded, and all that has a newer version; each as `name version`, sorted.
pub(crate) fn found(report: &Value) -> (Vec<String>, Vec<String>) {
    let findings = report["findings"].as_array().expect("a scan has findings");
    let named = |finding: &&Value| {
        let text = |member: &str| finding[member].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("package"), text("fixed"))
    };
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list.dedup();
        list
    };
    let fixable = findings.iter().filter(|finding| finding["status"] == "fixable");
    (
        sorted(fixable.map(|finding| named(&finding)).collect()),
        sorted(findings.iter().map(|finding| named(&finding)).collect()),
    )
}

/// A repository with `kit-hello` 1.1 in the suite `stable`, not published yet.
pub(crate) async fn stable() -> (Repository, Suite) {
    let repository = Repository::start().await;
    let suite = Suite::new("stable").package(&repository, &Package::new("kit-hello", "1.1"));
    (repository, suite)
}

/// A Debian with `kit-hello` 1.0 and the key in its place.
pub(crate) async fn outdated(source: &str, signer: &Signer) -> ImageBuilder {
    let installed = [Installed::new(Package::new("kit-hello", "1.0"))];
    let builder = debian::image_of(source, &installed).await;
    builder.layer(Layer::new().file(KEY, signer.public()).gzip())
}
