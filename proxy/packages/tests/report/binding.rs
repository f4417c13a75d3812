//! Which image a report is for: what is refused, and what ties a report to its image.

use patchport_packages::OsRelease;
use patchport_packages::report::{self, Error, Required};
use serde_json::{Value, json};

use crate::fixtures::{binding, copa, digest, inventory, parse, trivy, with};

#[test]
fn reports_for_something_else_are_refused() {
    let good = trivy(json!([]));
    let other = digest("other").to_string();
    let table = [
        (
            "/Metadata/ImageID",
            json!(other),
            format!("for image ID {other:?}, not {}", digest("config")),
        ),
        (
            "/Metadata/ImageConfig/architecture",
            json!("arm64"),
            "for platform \"linux/arm64\", not linux/amd64".to_owned(),
        ),
        (
            "/Metadata/ImageConfig/os",
            json!("windows"),
            "for platform \"windows/amd64\", not linux/amd64".to_owned(),
        ),
        (
            "/Metadata/ImageConfig/variant",
            json!("v3"),
            "for platform \"linux/amd64/v3\", not linux/amd64".to_owned(),
        ),
        (
            "/Metadata/ImageConfig/rootfs/diff_ids",
            json!([digest("lower"), other]),
            format!("for layer {other:?}"),
        ),
        (
            "/Metadata/ImageConfig/rootfs/diff_ids",
            json!([digest("lower")]),
            "numbering \"1\", not 2".to_owned(),
        ),
        (
            "/Metadata/OS/Family",
            json!("ubuntu"),
            "for the distribution \"ubuntu\", not debian".to_owned(),
        ),
        (
            "/Metadata/OS/Name",
            json!("11.9"),
            "for the release \"debian 11.9\", not debian 12".to_owned(),
        ),
        (
            "/Metadata/OS",
            Value::Null,
            "does not say which distribution".to_owned(),
        ),
    ];
    for (path, value, text) in table {
        let error = parse(&with(good.clone(), path, value), Required::Distribution)
            .unwrap_err()
            .to_string();
        assert!(error.contains(&text), "{path}: {error}");
    }
}

/// The image ID decides over names in registries; without it, one of these must be right.
#[test]
fn an_image_that_was_moved() {
    let moved = json!([format!("elsewhere@{}", digest("other"))]);
    let moved = with(trivy(json!([])), "/Metadata/RepoDigests", moved);
    assert!(parse(&moved, Required::Image).is_ok());
    let unnamed = with(moved, "/Metadata/ImageID", Value::Null);
    let error = parse(&unnamed, Required::Platform).unwrap_err().to_string();
    assert!(error.contains("for manifest"), "{error}");
}

#[test]
fn what_ties_a_report_to_the_image() {
    let bare = with(trivy(json!([])), "/Metadata/ImageConfig/rootfs", Value::Null);
    let bare = ["ImageID", "DiffIDs", "RepoDigests"]
        .iter()
        .fold(bare, |report, member| {
            with(report, &format!("/Metadata/{member}"), Value::Null)
        });
    let anonymous = with(bare.clone(), "/Metadata/ImageConfig", Value::Null);
    let named = |name: &str| {
        with(
            bare.clone(),
            "/Metadata/RepoDigests",
            json!([format!("a@{}", digest("x")), format!("a@{}", digest(name))]),
        )
    };
    let table = [
        ("nothing", anonymous, Required::Distribution),
        ("platform", bare.clone(), Required::Platform),
        ("manifest", named("manifest"), Required::Image),
        ("index and platform", named("index"), Required::Image),
        (
            "index alone",
            with(named("index"), "/Metadata/ImageConfig", Value::Null),
            Required::Distribution,
        ),
        (
            "layers",
            with(
                bare.clone(),
                "/Metadata/DiffIDs",
                json!([digest("lower"), digest("upper")]),
            ),
            Required::Image,
        ),
        (
            "image ID",
            with(bare.clone(), "/Metadata/ImageID", json!(digest("config"))),
            Required::Image,
        ),
        (
            "manifest as image ID",
            with(bare, "/Metadata/ImageID", json!(digest("manifest"))),
            Required::Image,
        ),
    ];
    for (name, report, most) in table {
        for required in [Required::Distribution, Required::Platform, Required::Image] {
            let taken = parse(&report, required);
            assert_eq!(taken.is_ok(), required <= most, "{name} {required:?}: {taken:?}");
            let Err(error) = taken else { continue };
            assert!(
                matches!(error, Error::Unidentified("image" | "architecture")),
                "{error}"
            );
        }
    }
}

#[test]
fn a_report_without_a_digest_must_fit_the_image_exactly() {
    let update = |name: &str, version: &str| json!({"name": name, "installedVersion": version, "fixedVersion": "9999"});
    let right = update("tzdata", "2024a-0");
    let error = parse(&copa(json!([right, update("libc6", "2.31-1")])), Required::Platform)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "the report says that libc6 is installed at 2.31-1, but the image has 2.36-9"
    );
    let error = parse(
        &copa(json!([update("nano", "1"), update("vim", "1")])),
        Required::Platform,
    )
    .unwrap_err();
    assert!(matches!(error, Error::Strangers(2)), "{error}");
    let mixed = parse(&copa(json!([right, update("vim", "1")])), Required::Platform).unwrap();
    assert_eq!((mixed.findings.len(), mixed.notes.len()), (1, 1));
}

#[test]
fn derivatives_and_other_words_for_distributions() {
    for (os, said, version, taken) in [
        (
            "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=22",
            "ubuntu",
            "24.04",
            true,
        ),
        (
            "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=22",
            "alpine",
            "22",
            false,
        ),
        ("ID=amzn\nVERSION_ID=2", "amazon", "2 (Karoo)", true),
        ("ID=rhel\nVERSION_ID=9.4", "redhat", "9.4", true),
        ("ID=rhel\nVERSION_ID=9.4", "redhat", "8.9", false),
        ("ID=ol\nVERSION_ID=8.9", "oracle", "8.9", true),
        ("ID=almalinux\nVERSION_ID=9.4", "alma", "9", true),
        ("ID=\"opensuse-leap\"\nVERSION_ID=15.6", "opensuse.leap", "15.6", true),
        ("ID=debian", "debian", "trixie/sid", true),
        ("ID=arch\nVERSION_ID=20240101.0", "archlinux", "", true),
        ("ID=alpine\nVERSION_ID=3.20.3", "alpine", "3.20.3", true),
        ("ID=alpine\nVERSION_ID=3.20.3", "alpine", "3.2.3", false),
    ] {
        let mut inventory = inventory();
        inventory.os = OsRelease::parse(os.as_bytes()).unwrap();
        let report = with(
            trivy(json!([])),
            "/Metadata/OS",
            json!({"Family": said, "Name": version}),
        );
        let seen = report::parse(report.to_string().as_bytes(), &binding(&inventory, Required::Image));
        assert_eq!(seen.is_ok(), taken, "{os} {said} {version}: {seen:?}");
    }
}
