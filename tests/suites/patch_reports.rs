//! `patchport patch --report`: a report decides what is patched, counts for its own image only, and is refused as a whole where a
//! shell or a tool would take a name or a version in it for something else.

use std::path::Path;

use patchport_kit::apt::{Package, Repository};
use patchport_kit::debian::{self, Installed};
use patchport_kit::tools::read;
use patchport_kit::{Buildkitd, Image, Index, Layer, Mirror, Registry};
use serde_json::{Value, json};

use crate::command_scene::{Folder, name, patch, setup, try_patch};
use crate::patch_scene::Scene;

/// A package that is outdated, and the version that fixes it.
const FIX: (&str, &str) = ("kit-one", "1.1");

/// Packages and their fixed versions that no distribution has.
const HOSTILE: [(&str, &str); 10] = [
    ("kit-one; touch /pwned #", "1.1"),
    ("$(touch /pwned)", "1.1"),
    ("`touch /pwned`", "1.1"),
    ("kit-one\ntouch /pwned", "1.1"),
    ("-oDPkg::Pre-Invoke::=touch /pwned", "1.1"),
    ("--option=Dir::Etc=/pwned", "1.1"),
    ("../../pwned", "1.1"),
    ("kit-one", "1.1; touch /pwned"),
    ("kit-one", "1.1 $(touch /pwned)"),
    ("kit-one", "-oDPkg::Post-Invoke::=touch /pwned"),
];

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
    let own = folder.write("own.json", report(&image, &[FIX]).to_string());
    let reports = Folder::new();
    reports.write("a-foreign.json", report(&Image::tiny("other"), &[FIX]).to_string());
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
        said.stderr.contains("no report can be used for it") && said.stderr.contains("a-foreign.json"),
        "{}",
        said.stderr
    );

    reports.write("b-own.json", report(&image, &[FIX]).to_string());
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

/// A report of Trivy about an image, with these packages.
fn report(image: &Image, packages: &[(&str, &str)]) -> Value {
    let config: Value = serde_json::from_slice(&image.config).unwrap();
    let found = packages.iter().enumerate().map(|(number, (name, fixed))| {
        json!({
            "VulnerabilityID": format!("CVE-2026-{}", number + 1), "PkgName": name, "InstalledVersion": "1.0", "FixedVersion": fixed,
            "Severity": "HIGH", "Status": "fixed",
        })
    });
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
        "Results": [{ "Target": "app", "Class": "os-pkgs", "Type": "debian", "Vulnerabilities": found.collect::<Vec<_>>() }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_with_names_and_versions_that_are_none_is_refused_as_a_whole() {
    let scene = Scene::shared().await;
    let (setup, folder) = (setup(&scene), Folder::new());
    let output = format!("oci:{}", folder.path("out"));
    for hostile in HOSTILE {
        let file = folder.write("report.json", report(&scene.image, &[FIX, hostile]).to_string());
        let said = try_patch(&setup, &[&name(&scene), "--report", &file, "--output", &output]).await;
        assert_eq!(said.code, Some(1), "{hostile:?}: {}{}", said.stdout, said.stderr);
        let strange = if hostile.0 == FIX.0 { hostile.1 } else { hostile.0 };
        let is_named = said.stderr.contains(&format!("{strange:?}")) && said.stderr.contains("report.json");
        assert!(is_named, "{hostile:?}: {}", said.stderr);
        assert!(
            !Path::new(&folder.path("out")).exists(),
            "{hostile:?}: nothing is written"
        );
    }
}
