//! Scanners' reports: what is taken of them, which are refused, and that hostile ones get nothing through.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use patchport_packages::findings::{Kind, Severity, Status};
use patchport_packages::report::{Error, Required};
use serde_json::{Value, json};

use fixtures::{copa, digest, grype, grype_match, parse, short, trivy, vulnerability, with};

mod binding;
mod fixtures;
mod hostile;

#[test]
fn trivy_findings() {
    let report = trivy(json!([
        with(
            vulnerability("libc6", "2.36-9", "2.38-1, 2.36-10, 2.36-1"),
            "/VendorIDs",
            json!(["DSA-1-1"])
        ),
        vulnerability("bsdutils", "1:2.38.1-5", "2.38.1-6"),
        vulnerability("libzstd1", "1.5.4-1+b1", "1.5.4-2"),
        with(vulnerability("tzdata", "2024a-0", ""), "/PkgIdentifier", json!({})),
        vulnerability("nano", "7.2-1", "7.2-2"),
        with(
            vulnerability("libc6", "2.36-8", "2.36-9"),
            "/VulnerabilityID",
            json!("CVE-2026-2")
        ),
        with(
            vulnerability("libzstd1", "1.5.4-1+b1", "1.5.4-1"),
            "/VulnerabilityID",
            json!("CVE-2026-3")
        ),
        with(
            vulnerability("libzstd1", "1.5.4-1+b1", ""),
            "/Status",
            json!("not_affected")
        ),
    ]));
    let findings = parse(&report, Required::Image).unwrap();
    let expected = [
        "bsdutils:amd64 - Fixable High CVE-2026-1",
        "libc6:amd64 2.36-10 Fixable High CVE-2026-1,DSA-1-1",
        "libzstd1:amd64 1.5.4-2 Fixable High CVE-2026-1",
        "tzdata:all - NoFix High CVE-2026-1",
    ];
    assert_eq!(short(&findings), expected);
    assert!(findings.findings.iter().all(|found| found.kind == Kind::Security));
    let notes = [
        "1 findings in packages that are not the operating system's: python-pkg 1",
        "reported, but not installed: nano",
        "reported, but installed at another version: libc6",
        "reported, but fixed in what is installed: 1 findings",
    ];
    assert_eq!(findings.notes, notes);
}

#[test]
fn trivy_words_for_what_has_no_fix() {
    for (word, status) in [
        ("affected", Status::NoFix),
        ("will_not_fix", Status::NoFix),
        ("fix_deferred", Status::NoFix),
        ("under_investigation", Status::NoFix),
        ("fixed", Status::NoFix),
        ("", Status::NoFix),
        ("end_of_life", Status::EndOfLife),
    ] {
        let report = trivy(json!([with(
            vulnerability("tzdata", "2024a-0", ""),
            "/PkgIdentifier/PURL",
            json!("pkg:deb/x")
        )]));
        let report = with(report, "/Results/0/Vulnerabilities/0/Status", json!(word));
        assert_eq!(
            parse(&report, Required::Image).unwrap().findings[0].status,
            status,
            "{word}"
        );
    }
}

#[test]
fn a_package_without_architecture_is_all_of_its_name() {
    let report = trivy(json!([with(
        vulnerability("libc6", "2.36-9", "2.36-10"),
        "/PkgIdentifier",
        json!({})
    )]));
    let expected = [
        "libc6:amd64 2.36-10 Fixable High CVE-2026-1",
        "libc6:i386 2.36-10 Fixable High CVE-2026-1",
    ];
    assert_eq!(short(&parse(&report, Required::Image).unwrap()), expected);
}

#[test]
fn an_empty_report_vouches_only_for_what_was_scanned() {
    let clean = with(trivy(json!([])), "/Results/0/Vulnerabilities", Value::Null);
    assert_eq!(parse(&clean, Required::Image).unwrap().findings, []);
    let eol = with(clean.clone(), "/Metadata/OS/EOSL", json!(true));
    assert!(parse(&eol, Required::Image).unwrap().notes[0].contains("past its support"));
    for results in [json!([]), json!([{"Class": "lang-pkgs", "Type": "jar"}]), Value::Null] {
        let report = with(clean.clone(), "/Results", results);
        assert!(matches!(parse(&report, Required::Distribution), Err(Error::NotScanned)));
    }
    let report = with(grype(json!([])), "/distro", json!({"name": "", "version": ""}));
    assert!(matches!(parse(&report, Required::Distribution), Err(Error::NotScanned)));
}

#[test]
fn grype_findings() {
    let report = grype(json!([
        grype_match("libc6", "deb", "2.36-9", &["2.36-11", "2.36-10"]),
        grype_match("bsdutils", "deb", "1:2.38.1-5", &["2.38.1-6"]),
        grype_match("libzstd1", "deb", "1.5.4-1+b1", &[]),
        grype_match("requests", "python", "1", &["2"]),
    ]));
    let findings = parse(&report, Required::Image).unwrap();
    let expected = [
        "bsdutils:amd64 - Fixable Negligible CVE-2026-1,DSA-1-1",
        "libc6:amd64 2.36-10 Fixable Negligible CVE-2026-1,DSA-1-1",
        "libzstd1:amd64 - NoFix Negligible CVE-2026-1,DSA-1-1",
    ];
    assert_eq!(short(&findings), expected);
    assert_eq!(
        findings.notes,
        ["1 findings in packages that are not the operating system's"]
    );
    let other = digest("other");
    for (path, value) in [
        ("/source/target/imageID", json!(other)),
        ("/source/target/architecture", json!("s390x")),
        ("/distro/version", json!("13")),
    ] {
        assert!(
            matches!(
                parse(&with(report.clone(), path, value), Required::Image),
                Err(Error::Foreign { .. })
            ),
            "{path}"
        );
    }
    // Grype makes up a manifest for images that come from an engine.
    assert!(
        parse(
            &with(report.clone(), "/source/target/manifestDigest", json!(other)),
            Required::Image
        )
        .is_ok()
    );
    let directory = with(report, "/source", json!({"type": "directory", "target": "/rootfs"}));
    assert_eq!(short(&parse(&directory, Required::Distribution).unwrap()), expected);
    assert!(matches!(
        parse(&directory, Required::Image),
        Err(Error::Unidentified("image"))
    ));
}

#[test]
fn copa_findings() {
    let update = json!({"name": "libzstd1", "installedVersion": "1.5.4-1+b1", "fixedVersion": "1.5.5-1", "vulnerabilityID": "CVE-2026-1"});
    let expected = ["libzstd1:amd64 1.5.5-1 Fixable Unknown CVE-2026-1"];
    let first = copa(json!([update]));
    assert_eq!(short(&parse(&first, Required::Platform).unwrap()), expected);
    assert_eq!(
        parse(&first, Required::Platform).unwrap().findings[0].severity,
        Severity::Unknown
    );
    let second = json!({
        "apiVersion": "v1alpha2",
        "metadata": {"os": {"type": "debian", "version": "12"}, "config": {"arch": "amd64", "variant": ""}},
        "osupdates": [update],
        "langupdates": [{"name": "certifi", "installedVersion": "1", "fixedVersion": "2", "type": "python-pkg", "class": "lang-pkgs"}]
    });
    let findings = parse(&second, Required::Platform).unwrap();
    assert_eq!(short(&findings), expected);
    assert_eq!(
        findings.notes,
        ["1 findings in packages that are not the operating system's"]
    );
    assert!(matches!(
        parse(&first, Required::Image),
        Err(Error::Unidentified("image"))
    ));
    assert_eq!(parse(&copa(Value::Null), Required::Platform).unwrap().findings, []);
    let error = parse(&with(first, "/apiVersion", json!("v2")), Required::Platform)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "the report is Copa JSON of version \"v2\", not v1alpha1 or v1alpha2"
    );
}
