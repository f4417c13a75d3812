//! An image, and reports about it in the formats of the scanners, as they write them but shorter.

use patchport_oci::digest::Digest;
use patchport_oci::platform::Platform;
use patchport_packages::dpkg::{self, DEFAULT_LIMIT};
use patchport_packages::findings::Findings;
use patchport_packages::inventory::{Inventory, Manager};
use patchport_packages::report::{self, Binding, Error, Required};
use patchport_packages::{OsRelease, Version};
use serde_json::{Value, json};

/// Debian 12 with packages that are built from others in all the ways there are.
pub(crate) fn inventory() -> Inventory {
    let os = OsRelease::parse(b"ID=debian\nVERSION_ID=12\n").unwrap();
    let mut status = String::new();
    for (name, architecture, version, source) in [
        ("bsdutils", "amd64", "1:2.38.1-5", "util-linux (2.38.1-5)"),
        ("libc6", "amd64", "2.36-9", "glibc"),
        ("libc6", "i386", "2.36-9", "glibc"),
        ("libzstd1", "amd64", "1.5.4-1+b1", "libzstd (1.5.4-1)"),
        ("tzdata", "all", "2024a-0", "tzdata"),
    ] {
        status.push_str(&format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\nVersion: {version}\nSource: {source}\n\n"
        ));
    }
    let packages = dpkg::read("status", dpkg::Kind::Status, status.as_bytes(), DEFAULT_LIMIT).unwrap();
    Inventory::of(os, Manager::Dpkg, packages)
}

pub(crate) fn digest(of: &str) -> Digest {
    Digest::of(of.as_bytes())
}

pub(crate) fn binding(inventory: &Inventory, required: Required) -> Binding<'_> {
    Binding {
        manifests: vec![digest("manifest")],
        config: digest("config"),
        indexes: vec![digest("index")],
        diff_ids: vec![digest("lower"), digest("upper")],
        platform: Platform::new("linux", "amd64", ""),
        inventory,
        required,
    }
}

pub(crate) fn parse(report: &Value, required: Required) -> Result<Findings, Error> {
    let inventory = inventory();
    report::parse(report.to_string().as_bytes(), &binding(&inventory, required))
}

/// A finding in short: package:architecture, fixed version, status, severity, advisories.
pub(crate) fn short(findings: &Findings) -> Vec<String> {
    let line = |found: &patchport_packages::Finding| {
        let fixed = found.fixed.as_ref().map_or("-", Version::as_str);
        let (status, severity, advisories) = (&found.status, found.severity, found.advisories.join(","));
        format!(
            "{}:{} {fixed} {status:?} {severity:?} {advisories}",
            found.package, found.architecture
        )
    };
    findings.findings.iter().map(line).collect()
}

pub(crate) fn trivy(vulnerabilities: Value) -> Value {
    json!({
        "SchemaVersion": 2,
        "CreatedAt": "2026-11-25T13:13:22Z",
        "ArtifactName": "example.org/debian:12",
        "ArtifactType": "container_image",
        "Metadata": {
            "Size": 1,
            "OS": {"Family": "debian", "Name": "12.7"},
            "ImageID": digest("config"),
            "DiffIDs": [digest("lower"), digest("upper")],
            "RepoTags": ["example.org/debian:12"],
            "RepoDigests": [format!("example.org/debian@{}", digest("index"))],
            "ImageConfig": {
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [digest("lower"), digest("upper")]},
                "config": {"Cmd": ["bash"]}
            }
        },
        "Results": [
            {"Target": "example.org/debian:12 (debian 12.7)", "Class": "os-pkgs", "Type": "debian", "Vulnerabilities": vulnerabilities},
            {"Target": "Python", "Class": "lang-pkgs", "Type": "python-pkg", "Vulnerabilities": [
                {"VulnerabilityID": "CVE-2026-9", "PkgName": "$(pip)", "InstalledVersion": "1", "FixedVersion": "2, 3"}
            ]}
        ]
    })
}

pub(crate) fn vulnerability(package: &str, installed: &str, fixed: &str) -> Value {
    json!({
        "VulnerabilityID": "CVE-2026-1",
        "PkgID": format!("{package}@{installed}"),
        "PkgName": package,
        "PkgIdentifier": {"PURL": format!("pkg:deb/debian/{package}@{installed}?arch=amd64&distro=debian-12.7")},
        "InstalledVersion": installed,
        "FixedVersion": fixed,
        "Status": if fixed.is_empty() { "affected" } else { "fixed" },
        "Severity": "HIGH",
        "Title": "text with \u{0} and ;$()\n in it"
    })
}

pub(crate) fn with(mut value: Value, path: &str, new: Value) -> Value {
    let (parent, member) = path.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if new.is_null() {
        parent.remove(member);
    } else {
        parent.insert(member.to_owned(), new);
    }
    value
}

pub(crate) fn grype(matches: Value) -> Value {
    json!({
        "matches": matches,
        "ignoredMatches": [],
        "source": {"type": "image", "target": {
            "userInput": "example.org/debian:12",
            "imageID": digest("config"),
            "manifestDigest": digest("manifest"),
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "tags": [],
            "layers": [{"digest": digest("lower"), "size": 1}],
            "repoDigests": [format!("example.org/debian@{}", digest("index"))],
            "architecture": "amd64",
            "os": "linux"
        }},
        "distro": {"name": "debian", "version": "12", "idLike": []},
        "descriptor": {"name": "grype", "version": "0.90.0"}
    })
}

pub(crate) fn grype_match(package: &str, kind: &str, version: &str, fixed: &[&str]) -> Value {
    let state = if fixed.is_empty() { "wont-fix" } else { "fixed" };
    json!({
        "vulnerability": {"id": "CVE-2026-1", "severity": "Negligible", "namespace": "debian:distro:debian:12",
            "fix": {"versions": fixed, "state": state}, "advisories": [{"id": "DSA-1-1", "link": "https://example.org"}]},
        "relatedVulnerabilities": [],
        "matchDetails": [{"type": "exact-indirect-match", "matcher": "dpkg-matcher", "found": {"versionConstraint": "< 2"}}],
        "artifact": {"id": "1", "name": package, "version": version, "type": kind, "locations": [],
            "purl": format!("pkg:{kind}/debian/{package}@{version}?arch=amd64&upstream=x&distro=debian-12"),
            "upstreams": [{"name": "x", "version": "1"}]}
    })
}

pub(crate) fn copa(updates: Value) -> Value {
    json!({
        "apiVersion": "v1alpha1",
        "metadata": {"os": {"type": "debian", "version": "12.4"}, "config": {"arch": "amd64"}},
        "updates": updates
    })
}
