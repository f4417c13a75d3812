//! Inventories, and advisories about them as OSV gives them but shorter.

use patchport_packages::dpkg::{self, DEFAULT_LIMIT};
use patchport_packages::findings::Findings;
use patchport_packages::inventory::{Installed, Inventory, Manager, Source};
use patchport_packages::osv::{Database, Limits, Loader};
use patchport_packages::{Finding, OsRelease, Version};
use serde_json::{Value, json};

pub(crate) fn os(text: &str) -> OsRelease {
    OsRelease::parse(text.as_bytes()).unwrap()
}

pub(crate) fn debian() -> Inventory {
    let mut status = String::new();
    for (name, version, source) in [
        ("dmsetup", "2:1.02.185-2", "lvm2 (2.03.16-2)"),
        ("libssl3", "3.0.15-1~deb12u1", "openssl"),
        ("libzstd1", "1.5.4-1+b1", "libzstd (1.5.4-1)"),
    ] {
        let stanza = format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\nSource: {source}\n\n"
        );
        status.push_str(&stanza);
    }
    let packages = dpkg::read("status", dpkg::Kind::Status, status.as_bytes(), DEFAULT_LIMIT).unwrap();
    Inventory::of(os("ID=debian\nVERSION_ID=12\n"), Manager::Dpkg, packages)
}

/// An inventory of another family, with packages of name, version, source and its version.
pub(crate) fn other(release: &str, manager: Manager, packages: &[(&str, &str, &str, &str)]) -> Inventory {
    let version = |text: &str| Version::parse(manager.family(), text).unwrap();
    let package = |(name, own, source, from): &(&str, &str, &str, &str)| Installed {
        name: (*name).to_owned(),
        architecture: "x86_64".to_owned(),
        version: version(own),
        source: Source {
            name: (*source).to_owned(),
            version: version(from),
        },
        origin: None,
    };
    Inventory {
        os: os(release),
        manager,
        packages: packages.iter().map(package).collect(),
        held: Vec::new(),
        repositories: patchport_packages::inventory::Repositories::default(),
        tools: Vec::new(),
    }
}

pub(crate) fn load(records: &[Value]) -> Database {
    let mut loader = Loader::new(Limits::default());
    for record in records {
        loader.add("a.json", record.to_string().as_bytes()).unwrap();
    }
    loader.finish()
}

pub(crate) fn affected(ecosystem: &str, name: &str, events: Value) -> Value {
    json!({"package": {"ecosystem": ecosystem, "name": name}, "ranges": [{"type": "ECOSYSTEM", "events": events}]})
}

pub(crate) fn record(id: &str, affected: Value) -> Value {
    json!({
        "schema_version": "1.7.0",
        "id": id,
        "modified": "2026-11-01T00:00:00Z",
        "upstream": ["CVE-2026-1"],
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
        "affected": affected
    })
}

pub(crate) fn short(findings: &Findings) -> Vec<String> {
    let line = |found: &Finding| {
        let fixed = found.fixed.as_ref().map_or("-", Version::as_str);
        let (status, severity, advisories) = (&found.status, found.severity, found.advisories.join(","));
        format!("{} {fixed} {status:?} {severity:?} {advisories}", found.package)
    };
    findings.findings.iter().map(line).collect()
}
