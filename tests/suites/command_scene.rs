//! The stage of the suites about `patchport patch`: how it is called, and places for what it makes.

use std::path::Path;
use std::process::Command;

use patchport_kit::debian::testbed;
use patchport_kit::mirror::{Said, Setup};
use patchport_kit::process::run;
use patchport_kit::scanner::write_layout;
use patchport_kit::{Image, Mirror};
use tempfile::TempDir;

use crate::patch_scene::{REPOSITORY, Scene};

/// A configuration with the scene's BuildKit.
pub(crate) fn setup(scene: &Scene) -> Setup {
    Mirror::setup().buildkit(scene.buildkit.address())
}

/// The scene's image by its name.
pub(crate) fn name(scene: &Scene) -> String {
    format!("{}/{REPOSITORY}:v1", scene.registry.host())
}

/// Runs `patchport patch` without noise; panics unless it succeeds.
pub(crate) async fn patch(setup: &Setup, arguments: &[&str]) -> Said {
    let said = try_patch(setup, arguments).await;
    assert_eq!(said.code, Some(0), "{arguments:?}: {}{}", said.stdout, said.stderr);
    said
}

pub(crate) async fn try_patch(setup: &Setup, arguments: &[&str]) -> Said {
    setup
        .run(&[&["patch", "--progress", "quiet"], arguments].concat())
        .await
}

/// The digest that the command says at its end.
#[track_caller]
pub(crate) fn digest(said: &Said) -> String {
    let last = said.stdout.lines().last().unwrap_or_default();
    last.strip_prefix("digest ")
        .unwrap_or_else(|| panic!("{}", said.stdout))
        .to_owned()
}

/// A folder of the test's own.
pub(crate) struct Folder(pub(crate) TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.0.path().join(name), content).unwrap();
        self.path(name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        std::fs::read_dir(self.0.path()).unwrap().next().is_none()
    }
}

/// A repository of the real registry that no other test uses.
pub(crate) fn repository(name: &str) -> String {
    format!(
        "{}/patch-command/{name}-{}",
        testbed("PATCHPORT_TEST_REGISTRY"),
        std::process::id()
    )
}

/// Pushes an image to the real registry with skopeo.
pub(crate) fn upload(image: &Image, to: &str) {
    let folder = Folder::new();
    write_layout(image, Path::new(&folder.path("layout")));
    run(Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
        .args([format!("oci:{}:kit", folder.path("layout")), format!("docker://{to}")]));
}
