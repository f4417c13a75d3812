//! Reports that were made to hurt.

use patchport_packages::findings::Findings;
use patchport_packages::report::{self, Error, MAX_SIZE, Required};
use patchport_packages::{Family, Version};
use proptest::prelude::any;
use proptest::{collection, proptest, sample};
use serde_json::json;

use crate::fixtures::{binding, copa, grype, grype_match, inventory, parse, short, trivy, vulnerability, with};

#[test]
fn nothing_hostile_gets_through() {
    let names = [
        "a;rm",
        "$(id)",
        "a\nb",
        "-y",
        "a\0b",
        "`id`",
        "a b",
        "a/b",
        "a|b",
        "a=1",
        "",
        "ä",
        "a:i386",
        &"a".repeat(300),
    ];
    for text in names {
        for (member, value) in [("PkgName", json!(text)), ("VulnerabilityID", json!(text))] {
            if member == "VulnerabilityID" && text == "a:i386" {
                continue;
            }
            let path = format!("/{member}");
            let error = parse(
                &trivy(json!([with(vulnerability("libc6", "2.36-9", "3"), &path, value)])),
                Required::Image,
            );
            let error = error.unwrap_err().to_string();
            assert!(
                error.starts_with("the report has \"") && error.len() < 500,
                "{text:?}: {error}"
            );
            assert!(!error.contains('\n') && !error.contains('\0'), "{error:?}");
        }
        let purl = json!(format!("pkg:deb/x?arch={text}"));
        let report = trivy(json!([with(
            vulnerability("libc6", "2.36-9", "3"),
            "/PkgIdentifier/PURL",
            purl
        )]));
        assert!(
            text.is_empty() || short_or_nothing(parse(&report, Required::Image)).is_empty(),
            "{text:?}"
        );
    }
    for version in ["1;2", "$(id)", "1\n2", "1 2", "a:1", "1\0"] {
        for member in ["/InstalledVersion", "/FixedVersion"] {
            let report = trivy(json!([with(
                vulnerability("libc6", "2.36-9", "3"),
                member,
                json!(version)
            )]));
            let error = parse(&report, Required::Image).unwrap_err();
            assert!(matches!(error, Error::Version { .. }), "{version:?}: {error}");
        }
    }
}

fn short_or_nothing(result: Result<Findings, Error>) -> Vec<String> {
    result.map(|findings| short(&findings)).unwrap_or_default()
}

#[test]
fn limits_and_kinds() {
    let inventory = inventory();
    let binding = binding(&inventory, Required::Distribution);
    let error = report::parse(&vec![b' '; MAX_SIZE + 1], &binding).unwrap_err();
    assert!(matches!(error, Error::TooLarge), "{error}");
    let many = format!(r#"{{"SchemaVersion": 2, "Results": [{}{{}}]}}"#, "{},".repeat(100_000));
    let error = report::parse(many.as_bytes(), &binding).unwrap_err();
    assert!(matches!(error, Error::Json(_)), "{error}");
    let deep = format!(r#"{{"SchemaVersion": 2, "x": {}"#, "[".repeat(100_000));
    assert!(matches!(report::parse(deep.as_bytes(), &binding), Err(Error::Json(_))));
    let kinds = [
        (json!({"bomFormat": "CycloneDX"}), "the report is a list of components"),
        (json!({"runs": []}), "the report is SARIF"),
        (json!({}), "the report is of an unknown kind"),
        (
            json!({"SchemaVersion": 1}),
            "the report is Trivy JSON of version \"1\", not 2",
        ),
        (json!({"apiVersion": "v1alpha1"}), "cannot read the report"),
    ];
    for (report, text) in kinds {
        let error = report::parse(report.to_string().as_bytes(), &binding)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(text), "{error}");
    }
    for text in ["", "[]", "null", "\"x\"", "{"] {
        assert!(matches!(report::kind(text.as_bytes()), Err(Error::Json(_))), "{text}");
    }
}

proptest! {
    #[test]
    fn never_panics(bytes in collection::vec(any::<u8>(), 0..200)) {
        let inventory = inventory();
        let _ = report::parse(&bytes, &binding(&inventory, Required::Distribution));
    }

    /// Whatever a report says: what comes out is installed, and a fixed version is a newer one.
    #[test]
    fn only_installed_packages_come_out(
        name in sample::select(vec!["libc6", "bsdutils", "tzdata", "nano", "x;y"]),
        installed in sample::select(vec!["2.36-9", "1:2.38.1-5", "2024a-0", "1"]),
        fixed in "[0-9:.,a-z~+ -]{0,12}",
        kind in 0..3_usize,
    ) {
        let inventory = inventory();
        let report = match kind {
            0 => trivy(json!([vulnerability(name, installed, &fixed)])),
            1 => grype(json!([grype_match(name, "deb", installed, &[&fixed])])),
            _ => copa(json!([{"name": name, "installedVersion": installed, "fixedVersion": fixed}])),
        };
        let seen = report::parse(report.to_string().as_bytes(), &binding(&inventory, Required::Distribution));
        for found in seen.map(|findings| findings.findings).unwrap_or_default() {
            let installed = Version::parse(Family::Deb, installed).unwrap();
            assert!(inventory.packages.iter().any(|package| {
                package.name == found.package && package.architecture == found.architecture && package.version == installed
            }));
            assert!(found.fixed.is_none_or(|fixed| fixed > installed));
        }
    }
}
