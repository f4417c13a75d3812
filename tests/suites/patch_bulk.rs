//! `patchport patch` with a bulk file of Copacetic: which images, where to, how many at once.

use std::process::Command;

use patchport_kit::Gate;
use patchport_kit::image::Pulled;
use patchport_kit::process::run;
use patchport_kit::tools::skopeo;
use serde_json::json;

use crate::command_scene::{Folder, patch, repository, setup, try_patch, upload};
use crate::patch_scene::{Scene, image};
use crate::patched_image::assert_nothing_but_the_patch;

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
