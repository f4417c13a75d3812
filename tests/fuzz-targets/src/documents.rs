//! Documents about an image: whatever is in it, they are well formed and the same each time.

use patchport_packages::document::{Format, Subject, View};
use patchport_packages::language::Package;
use patchport_packages::{Findings, Inventory};

/// Asserts that every document about an image is what its form says.
pub(crate) fn assert_documents(
    inventory: &Inventory,
    languages: &[Package],
    findings: Option<&Findings>,
    notes: &[String],
) {
    let view = View {
        subject: Subject {
            name: "docker.io/library/debian:12",
            digest: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            platform: "linux/amd64",
        },
        inventory,
        languages,
        findings,
        notes,
        tool_version: "1",
        created: Some("2026-01-02T03:04:05Z"),
    };
    for format in [Format::Json, Format::CycloneDx, Format::Spdx, Format::Sarif] {
        let text = view.render(format).expect("it can be written");
        serde_json::from_str::<serde_json::Value>(&text).expect("it is JSON");
    }
    for width in [20, 100] {
        let table = view.render(Format::Table { width }).expect("it can be written");
        let strange = table.chars().find(|symbol| symbol.is_control() && *symbol != '\n');
        assert_eq!(strange, None, "a terminal is not told anything but text");
    }
}
