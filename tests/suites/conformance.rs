//! The distribution specification's own conformance test, for a registry that is only read
//! ([conformance](https://github.com/opencontainers/distribution-spec/tree/main/conformance)).

use std::process::Command;

use patchport_kit::process::outcome;
use patchport_kit::scanner::program;
use patchport_kit::{Image, Index, Layer, Registry};

use crate::scene::{image, setup};

#[tokio::test(flavor = "multi_thread")]
async fn the_specifications_own_test_passes() {
    let registry = Registry::start().await;
    let (one, two) = (image(1), Image::tiny("two"));
    let docker = Image::builder()
        .docker()
        .layer(Layer::new().file("a", "1").gzip())
        .build();
    let index = Index::of(&[one.clone(), two.clone()], true);
    let mut digests = vec![
        registry.push("team/app", Some("one"), &one),
        registry.push("team/app", Some("docker"), &docker),
        registry.push_index("team/app", Some("index"), &index),
    ];
    digests.push(two.digest());
    let blobs: Vec<String> = [&one, &docker, &two]
        .iter()
        .flat_map(|image| {
            image
                .layers
                .iter()
                .map(patchport_kit::image::Blob::digest)
                .chain([image.config_digest()])
        })
        .collect();
    let mirror = setup(&registry).start().await;
    let results = tempfile::tempdir().unwrap();
    let mut test = Command::new(program("conformance"));
    test.current_dir(results.path()).envs([
        ("OCI_REGISTRY", mirror.host()),
        ("OCI_TLS", "disabled"),
        ("OCI_REPO1", "team/app"),
        ("OCI_API_PUSH", "false"),
        ("OCI_API_BLOBS_DELETE", "false"),
        ("OCI_API_MANIFESTS_DELETE", "false"),
        ("OCI_API_TAGS_DELETE", "false"),
        ("OCI_RO_DATA_TAGS", "one docker index"),
        ("OCI_RO_DATA_MANIFESTS", &digests.join(" ")),
        ("OCI_RO_DATA_BLOBS", &blobs.join(" ")),
        ("OCI_RO_DATA_REFERRERS", &digests[0]),
    ]);
    // Its exit code says nothing, and of a registry that is only read it cannot write all its reports.
    let said = outcome(test).await.output;
    let count = |name: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(name));
        let number = line.and_then(|line| line.trim_start_matches(['.', ':', ' ']).trim().parse::<usize>().ok());
        number.unwrap_or_else(|| panic!("no count of {name} in:\n{said}"))
    };
    assert!(said.contains("OCI Conformance Result: Pass"), "{said}");
    assert_eq!((count("FAIL"), count("Error"), count("Skip")), (0, 0, 0), "{said}");
    assert!(count("Pass") > 30, "{said}");
}
