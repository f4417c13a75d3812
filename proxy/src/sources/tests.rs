//! Images by all their names, and files by their URLs.

use std::sync::Arc;

use super::*;
use crate::testing::Memory;

fn sources(rules: &str) -> Sources {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{{\"rules\": [{rules}]}}")).unwrap();
    Sources::read(Some(file.path())).unwrap()
}

fn rule(action: &str, identifier: &str, to: &str) -> String {
    let selector = serde_json::json!({ "identifier": identifier });
    serde_json::json!({ "action": action, "selector": selector, "updates": { "identifier": to } }).to_string()
}

#[test]
fn an_image_is_judged_by_its_tags_and_digests() {
    let place = crate::testing::place("team/app", Arc::new(Memory::default()));
    let (image, index) = (Digest::of(b"image"), Digest::of(b"index"));
    let tags = ["v1".parse().unwrap(), "latest".parse().unwrap()];
    let name = format!("docker-image://{place}");
    let allow_only = |identifier: &str| format!("{},{}", rule("DENY", "*", ""), rule("ALLOW", identifier, ""));
    let table = [
        (rule("DENY", &format!("{name}:v1"), ""), false),
        (rule("DENY", &format!("{name}:v2"), ""), true),
        (rule("DENY", &format!("{name}:latest@{index}"), ""), false),
        (rule("DENY", &format!("*@{image}"), ""), false),
        (rule("DENY", "https://*", ""), true),
        (allow_only(&format!("{name}:v1")), true),
        (allow_only(&format!("{name}*@{image}")), true),
        (allow_only(&format!("{name}:v3")), false),
        (
            rule("CONVERT", &format!("{name}:v1"), &format!("{name}:v1@{index}")),
            true,
        ),
        (
            rule("CONVERT", &format!("{name}:v1"), "docker-image://other.example/app:v1"),
            false,
        ),
    ];
    for (rules, expected) in table {
        let admitted = sources(&rules).admit_image(&place, &tags, &[&index, &image]);
        assert_eq!(admitted.is_ok(), expected, "{rules}: {admitted:?}");
    }
    assert_eq!(Sources::default().admit_image(&place, &tags, &[&image]), Ok(()));
}

#[test]
fn a_file_is_denied_or_fetched_from_elsewhere() {
    let url = "https://deb.example.org/debian/dists/stable/InRelease";
    let elsewhere = rule("CONVERT", "https://deb.example.org/*", "https://mirror.example/deb/$1");
    let found = sources(&elsewhere).file(url).unwrap();
    assert_eq!(
        found.as_deref(),
        Some("https://mirror.example/deb/debian/dists/stable/InRelease")
    );
    assert_eq!(sources(&rule("DENY", "docker-image://*", "")).file(url), Ok(None));
    let denied = sources(&rule("DENY", "https://*", "")).file(url).unwrap_err();
    assert!(
        denied.to_string().contains(url) && denied.to_string().contains("rule 1 (DENY"),
        "{denied}"
    );
    for (rules, reason) in [
        (rule("CONVERT", "https://*", "docker-image://a.example/$1"), "no URL of HTTP"),
        (
            r#"{"action": "CONVERT", "selector": {"identifier": "https://*"}, "updates": {"attrs": {"http.checksum": "sha256:1"}}}"#.to_owned(),
            "attributes are not known",
        ),
    ] {
        let error = sources(&rules).file(url).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
