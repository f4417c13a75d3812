//! Documents of one small image: what they say, that they are always the same, and that nothing in them can hurt.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;
mod urls;

use patchport_packages::document::{Format, Subject, View};
use patchport_packages::findings::Findings;
use proptest::prelude::{ProptestConfig, any};
use proptest::{collection, prop_assert, prop_assert_eq, proptest};
use serde_json::{Value, json};

use crate::kit::{Image, document};

const FORMATS: [Format; 5] = [
    Format::Json,
    Format::CycloneDx,
    Format::Spdx,
    Format::Sarif,
    Format::Table { width: 100 },
];

/// The strings at a pointer of each element of a list.
fn each(document: &Value, list: &str, pointer: &str) -> Vec<String> {
    let list = document.pointer(list).and_then(Value::as_array).unwrap().iter();
    list.map(|value| {
        value
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    })
    .collect()
}

#[test]
fn our_own_json() {
    let image = Image::new();
    let report = document(&image.view(), Format::Json);
    assert_eq!(report["version"], 1);
    assert_eq!(report["tool"], json!({"name": "patchport", "version": "0.1.0"}));
    assert_eq!(report["os"]["codename"], "bookworm");
    assert_eq!(report["package_manager"], "dpkg");
    assert_eq!(
        report["packages"][1],
        json!({
            "name": "passwd", "version": "1:4.13+dfsg1-1+b1", "architecture": "amd64", "family": "deb",
            "source": {"name": "shadow", "version": "1:4.13+dfsg1-1"}, "held": false,
            "purl": "pkg:deb/debian/passwd@1:4.13%2Bdfsg1-1%2Bb1?arch=amd64&distro=debian-12\
                     &upstream=shadow%401:4.13%2Bdfsg1-1",
        })
    );
    assert_eq!(report["packages"][2]["held"], true);
    assert_eq!(
        report["languages"][1],
        json!({
            "ecosystem": "npm", "name": "@babel/core", "version": "7.0.0", "purl": "pkg:npm/%40babel/core@7.0.0",
            "paths": ["a/node_modules/@babel/core/package.json", "b/node_modules/@babel/core/package.json"],
        })
    );
    assert_eq!(
        report["findings"][2],
        json!({
            "package": "zlib1g", "architecture": "amd64", "family": "deb", "installed": "1:1.2.13.dfsg-1",
            "fixed": "1:1.3", "status": "kept-back", "reason": "it is on hold", "kind": "ordinary",
            "severity": "unknown", "advisories": [],
        })
    );
    assert_eq!(report["notes"], json!(["x is not read", "the scanner was slow"]));
    assert_eq!(report.get("created"), None);
    let unseen = View {
        findings: None,
        created: Some("2026-01-02T03:04:05Z"),
        ..image.view()
    };
    let report = document(&unseen, Format::Json);
    assert_eq!(
        (report.get("findings"), &report["created"]),
        (None, &json!("2026-01-02T03:04:05Z"))
    );
}

#[test]
fn cyclonedx() {
    let image = Image::new();
    let bom = document(&image.view(), Format::CycloneDx);
    assert_eq!(
        (&bom["bomFormat"], &bom["specVersion"]),
        (&json!("CycloneDX"), &json!("1.6"))
    );
    assert_eq!(
        bom["metadata"]["component"]["purl"],
        "pkg:oci/debian@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
         ?arch=amd64&repository_url=docker.io%2Flibrary%2Fdebian&tag=12"
    );
    let names = each(&bom, "/components", "/name");
    assert_eq!(names, ["debian", "libc6", "passwd", "zlib1g", "stdlib", "@babel/core"]);
    assert_eq!(
        bom["components"][5]["evidence"]["occurrences"],
        json!([
            {"location": "/a/node_modules/@babel/core/package.json"},
            {"location": "/b/node_modules/@babel/core/package.json"},
        ])
    );
    assert_eq!(each(&bom, "/vulnerabilities", "/id"), ["CVE-2026-0001", "DSA-1-1"]);
    let first = &bom["vulnerabilities"][0];
    assert_eq!(first["ratings"], json!([{"severity": "high"}]));
    assert_eq!(first["source"]["url"], "https://www.cve.org/CVERecord?id=CVE-2026-0001");
    assert_eq!(
        first["recommendation"],
        "there is no fix for passwd 1:4.13+dfsg1-1+b1; upgrade libc6 from 2.36-9+deb12u10 to 2.36-9+deb12u11"
    );
    let references = each(&bom, "/components", "/bom-ref");
    assert_eq!(each(&bom, "/vulnerabilities/0/affects", "/ref"), references[1..3]);
    let unseen = View {
        findings: None,
        ..image.view()
    };
    assert_eq!(document(&unseen, Format::CycloneDx).get("vulnerabilities"), None);
}

#[test]
fn spdx() {
    let spdx = document(&Image::new().view(), Format::Spdx);
    let hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    assert_eq!(
        spdx["documentNamespace"],
        format!("https://patchport.dev/spdx/{hex}/0.1.0/undated")
    );
    let ids = each(&spdx, "/packages", "/SPDXID");
    let expected = [
        "SPDXRef-Image",
        "SPDXRef-deb-libc6-2.36-9-deb12u10",
        "SPDXRef-deb-passwd-1-4.13-dfsg1-1-b1",
        "SPDXRef-deb-zlib1g-1-1.2.13.dfsg-1",
        "SPDXRef-golang-stdlib-1.24.1",
        "SPDXRef-npm--babel-core-7.0.0",
    ];
    assert_eq!(ids, expected);
    assert_eq!(each(&spdx, "/relationships", "/relatedSpdxElement"), expected);
    assert_eq!(spdx["packages"][0]["checksums"][0]["checksumValue"], hex);
    assert_eq!(spdx["creationInfo"]["creators"], json!(["Tool: patchport-0.1.0"]));
}

#[test]
fn sarif() {
    let image = Image::new();
    let sarif = document(&image.view(), Format::Sarif);
    let rules = each(&sarif, "/runs/0/tool/driver/rules", "/id");
    assert_eq!(rules, ["CVE-2026-0001", "DSA-1-1", "outdated-package"]);
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let short: Vec<_> = results
        .iter()
        .map(|result| {
            let package = result.pointer("/locations/0/logicalLocations/0/name").unwrap();
            let rule = result["ruleIndex"].as_u64().unwrap();
            (rule, result["level"].as_str().unwrap(), package.as_str().unwrap())
        })
        .collect();
    let expected = [
        (0, "error", "libc6"),
        (0, "note", "passwd"),
        (1, "error", "libc6"),
        (2, "note", "zlib1g"),
    ];
    assert_eq!(short, expected);
    let rule = &sarif["runs"][0]["tool"]["driver"]["rules"][0];
    assert_eq!(rule["properties"]["security-severity"], "8.0");
    assert_eq!(rule["shortDescription"]["text"], "CVE-2026-0001 in libc6, passwd");
    let unseen = View {
        findings: None,
        ..image.view()
    };
    assert_eq!(document(&unseen, Format::Sarif)["runs"][0]["results"], json!([]));
}

const TABLE: &str = "\
docker.io/library/debian:12 (linux/amd64)
sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef, Debian GNU/Linux 12 (bookworm)

PACKAGE  INSTALLED          FIXED            STATUS                    SEVERITY  ADVISORIES
libc6    2.36-9+deb12u10    2.36-9+deb12u11  fixable                   high      CVE-2026-0001 DSA-1-1
passwd   1:4.13+dfsg1-1+b1                   no-fix                    low       CVE-2026-0001
zlib1g   1:1.2.13.dfsg-1    1:1.3            kept-back: it is on hold  unknown

3 packages with findings, 1 can be fixed; 1 high, 1 low, 1 unknown
note: x is not read
note: the scanner was slow
";

const LIST: &str = "\
PACKAGE      INSTALLED          KIND
libc6        2.36-9+deb12u10    deb amd64
passwd       1:4.13+dfsg1-1+b1  deb amd64
zlib1g       1:1.2.13.dfsg-1    deb amd64
stdlib       1.24.1             golang
@babel/core  7.0.0              npm

3 packages, 2 of programming languages
";

#[test]
fn tables() {
    let mut image = Image::new();
    let table = |view: &View<'_>, width| view.render(Format::Table { width }).unwrap();
    assert_eq!(table(&image.view(), 110), TABLE);
    for width in [0, 40, 60, 80, 200] {
        let text = table(&image.view(), width);
        let body = text.lines().skip(3).take_while(|line| !line.is_empty());
        assert!(
            body.into_iter()
                .all(|line| line.chars().count() <= usize::from(width.max(40))),
            "{text}"
        );
    }
    let unseen = View {
        findings: None,
        notes: &[],
        ..image.view()
    };
    assert!(table(&unseen, 100).ends_with(LIST), "{}", table(&unseen, 100));
    image.findings = Findings::default();
    assert!(table(&image.view(), 100).contains("\n\nnothing was found\n"));
}

#[test]
fn forms_by_name() {
    for (name, format) in ["json", "cyclonedx", "spdx", "sarif"].into_iter().zip(FORMATS) {
        assert_eq!(name.parse(), Ok(format));
    }
    assert_eq!("table".parse(), Ok(Format::Table { width: 100 }));
    let error = "xml".parse::<Format>().unwrap_err().to_string();
    assert_eq!(
        error,
        "there is no document of the form \"xml\"; there are json, cyclonedx, spdx, sarif and table"
    );
}

#[test]
fn two_with_one_name_are_two() {
    let mut image = Image::new();
    image.inventory.packages = vec![image.inventory.packages[0].clone(); 2];
    let bom = document(&image.view(), Format::CycloneDx);
    let mut references = each(&bom, "/components", "/bom-ref");
    references.sort();
    references.dedup();
    assert_eq!(references.len(), 5);
    let mut ids = each(&document(&image.view(), Format::Spdx), "/packages", "/SPDXID");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5);
}

#[test]
fn the_order_of_what_comes_in_does_not_matter() {
    let image = Image::new();
    let mut other = Image::new();
    other.inventory.packages.reverse();
    other.languages.reverse();
    for format in FORMATS {
        assert_eq!(
            image.view().render(format).unwrap(),
            other.view().render(format).unwrap()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_texts_stay_texts(
        texts in collection::vec(any::<String>(), 8),
        width in any::<u16>(),
        seen in any::<bool>(),
    ) {
        let mut image = Image::new();
        image.inventory.packages[0].name.clone_from(&texts[0]);
        image.inventory.packages[1].architecture.clone_from(&texts[1]);
        image.languages[0].name.clone_from(&texts[2]);
        image.languages[1].version.clone_from(&texts[3]);
        image.findings.findings[0].advisories = vec![texts[4].clone(), "\u{1b}[2J".to_owned()];
        image.findings.findings[1].package.clone_from(&texts[5]);
        image.notes[0].clone_from(&texts[6]);
        let view = View {
            subject: Subject { name: &texts[7], digest: &texts[0], platform: &texts[1] },
            findings: seen.then_some(&image.findings),
            ..image.view()
        };
        for format in FORMATS.into_iter().take(4) {
            let text = view.render(format).unwrap();
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
            prop_assert_eq!(view.render(format).unwrap(), text);
        }
        let text = view.render(Format::Table { width }).unwrap();
        prop_assert!(!text.chars().any(|char| char.is_control() && char != '\n'));
    }
}
