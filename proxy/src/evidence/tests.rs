//! Documents about a patched image: what they claim of each kind of finding, and that they are the same twice.

use patchport_config::{CacheScope, Compression, Platforms, Selection};
use patchport_packages::findings::{Finding, Kind, Severity, Status};
use patchport_packages::inventory::{Manager, Repositories, Source, changes};
use patchport_packages::{Family, OsRelease, Version};

use super::*;
use crate::patch::PackageFile;
use crate::plan::{self, Choices, Target};
use crate::testing::patch_layer;

const NAME: &str = "registry.example/team/app";

fn version(text: &str) -> Version {
    Version::parse(Family::Deb, text).unwrap()
}

fn inventory(packages: &[(&str, &str)]) -> Inventory {
    let installed = packages.iter().map(|(name, text)| Installed {
        name: (*name).into(),
        architecture: "amd64".into(),
        version: version(text),
        source: Source {
            name: (*name).into(),
            version: version(text),
        },
        origin: None,
    });
    Inventory {
        os: OsRelease::parse(b"ID=debian\nVERSION_ID=12\n").unwrap(),
        manager: Manager::Dpkg,
        packages: installed.collect(),
        held: vec![],
        repositories: Repositories::default(),
        tools: ["apt-get", "dpkg", "sh"].map(str::to_owned).into(),
    }
}

fn finding(name: &str, advisory: &str, fixed: Option<&str>, status: Status) -> Finding {
    Finding {
        package: name.into(),
        architecture: "amd64".into(),
        installed: version("1.0"),
        fixed: fixed.map(version),
        status,
        kind: Kind::Security,
        severity: Severity::High,
        advisories: vec![advisory.into()],
        origin: None,
        leaves: None,
    }
}

fn manifest(text: &str) -> Manifest {
    let json = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{}","size":1}},"layers":[]}}"#,
        media_type::OCI_CONFIG,
        Digest::of(text.as_bytes())
    );
    Manifest::parse(json, media_type::OCI_MANIFEST).unwrap()
}

/// A package of a programming language.
fn module() -> language::Package {
    language::Package {
        ecosystem: language::Ecosystem::Pypi,
        name: "module".into(),
        version: "2.0".into(),
        path: "site-packages/module-2.0.dist-info/METADATA".into(),
    }
}

/// What a test knows of an image that went from one state to another.
struct Case {
    before: Inventory,
    after: Inventory,
    findings: Findings,
}

impl Case {
    fn new(before: &[(&str, &str)], after: &[(&str, &str)], findings: Vec<Finding>) -> Self {
        Self {
            before: inventory(before),
            after: inventory(after),
            findings: Findings::new(findings, vec![]),
        }
    }

    fn planned(&self) -> plan::Planned {
        let platform = Platform::new("linux", "amd64", "");
        let target = Target {
            image: &manifest("original").digest,
            platform: &platform,
            name: NAME,
            docker: false,
        };
        let choices = Choices {
            compression: Compression::Zstd,
            cache_scope: CacheScope::Repository,
            selection: Selection::Outdated,
            major_upgrades: false,
            platforms: Platforms::ALL,
            emulation: false,
            maintained: false,
            policy: None,
        };
        plan::plan(&self.before, &self.findings, target, choices).unwrap()
    }

    fn documents(&self, packages: &[PackageFile]) -> Vec<Artifact> {
        let (planned, mut layer) = (self.planned(), patch_layer(&[]));
        layer.changes = changes(&self.before, &self.after);
        layer.packages = packages.to_vec();
        let (original, patched) = (manifest("original"), manifest("patched"));
        of_image(&Account {
            name: NAME,
            original: &original,
            patched: &patched,
            platform: &Platform::new("linux", "amd64", ""),
            plan: planned.plan.as_ref().unwrap(),
            layer: &layer,
            findings: &self.findings,
            left_out: &planned.left_out,
            before: &self.before,
            after: &self.after,
            languages: &[module()],
            notes: &["one file is too large".to_owned()],
        })
        .unwrap()
    }

    /// Advisory, status, packages and text of each statement.
    fn vex(&self) -> Vec<String> {
        let document = vex::openvex(&vex::Product {
            name: NAME,
            digest: &Digest::of(b"patched").to_string(),
            before: &self.before,
            after: &self.after,
            findings: &self.findings,
            left_out: &self.planned().left_out,
            created: "2024-01-01T00:00:00Z",
        });
        let document = document.unwrap_or_else(|| json!({ "statements": [] }));
        let statements = document["statements"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let line = |statement: &Value| {
            let packages = statement["products"][0]["subcomponents"].as_array().unwrap().iter();
            let packages: Vec<String> = packages.map(|package| text(&package["@id"])).collect();
            let said = [&statement["action_statement"], &statement["status_notes"]]
                .map(text)
                .concat();
            let name = text(&statement["vulnerability"]["name"]);
            format!("{name} {} {} | {said}", text(&statement["status"]), packages.join(" "))
        };
        statements.map(line).collect()
    }
}

fn url(name: &str, version: &str) -> String {
    format!("pkg:deb/debian/{name}@{version}?arch=amd64&distro=debian-12")
}

#[test]
fn fixed_is_said_only_of_what_the_package_database_shows() {
    let upgraded = |findings| Case::new(&[("a", "1.0"), ("b", "1.0")], &[("a", "1.1"), ("b", "1.0")], findings);
    let found = |fixed| finding("a", "CVE-1", fixed, Status::Fixable);
    let (a, b) = (url("a", "1.1"), url("b", "1.0"));
    let not_in_b = finding("b", "CVE-1", Some("1.1"), Status::KeptBack("it is phased".into()));
    let cases = [
        (
            "at the fix",
            vec![found(Some("1.1"))],
            vec![format!("CVE-1 fixed {a} | a 1.1 has the fix of 1.1")],
        ),
        (
            "short of the fix of one of two scanners",
            vec![found(Some("1.1")), found(Some("1.2"))],
            vec![format!("CVE-1 affected {a} | upgrade a from 1.1 to 1.2 or later")],
        ),
        (
            "a fix of no known version",
            vec![found(None)],
            vec![format!(
                "CVE-1 under_investigation {a} | a is 1.1 now; that this version has the fix is not known"
            )],
        ),
        (
            "no fix",
            vec![finding("b", "CVE-1", None, Status::NoFix)],
            vec![format!(
                "CVE-1 affected {b} | there is no fix for b 1.0 yet (left as it is: there is no fixed version yet)"
            )],
        ),
        (
            "fixed in one package, kept back in another",
            vec![found(Some("1.1")), not_in_b],
            vec![
                format!("CVE-1 fixed {a} | a 1.1 has the fix of 1.1"),
                format!("CVE-1 affected {b} | upgrade b from 1.0 to 1.1 or later"),
            ],
        ),
        (
            "not installed",
            vec![finding("c", "CVE-1", Some("1.1"), Status::Fixable)],
            vec![],
        ),
    ];
    for (name, findings, statements) in cases {
        assert_eq!(upgraded(findings).vex(), statements, "{name}");
    }
    let mut ordinary = found(Some("1.1"));
    ordinary.kind = Kind::Ordinary;
    assert!(upgraded(vec![ordinary]).vex().is_empty(), "no matter of security");
}

#[test]
fn what_was_left_out_is_said_with_its_reason() {
    let findings = vec![
        finding("a", "CVE-1", Some("1.1"), Status::Fixable),
        finding("b", "CVE-2", Some("2.0"), Status::Fixable),
    ];
    let case = Case::new(&[("a", "1.0"), ("b", "1.0")], &[("a", "1.1"), ("b", "1.0")], findings);
    let [fixed, left] = &case.vex()[..] else {
        panic!("{:?}", case.vex())
    };
    assert!(fixed.starts_with("CVE-1 fixed"), "{fixed}");
    assert!(
        left.starts_with("CVE-2 affected")
            && left.contains("another major version; major_upgrades = true would allow it"),
        "{left}"
    );
}

#[test]
fn an_rpm_url_has_its_own_type_and_epoch() {
    let mut inventory = inventory(&[("openssl", "1:3.0")]);
    inventory.manager = Manager::Rpm;
    inventory.os = OsRelease::parse(b"ID=rocky\nVERSION_ID=9.3\n").unwrap();
    inventory.packages[0].version = Version::parse(Family::Rpm, "1:3.0-5.el9").unwrap();
    let told = patchport_packages::document::package_url(&inventory, &inventory.packages[0]);
    assert_eq!(
        told,
        "pkg:rpm/rocky/openssl@3.0-5.el9?arch=amd64&distro=rocky-9.3&epoch=1"
    );
}

#[test]
fn the_documents_are_about_the_patched_manifest_and_the_same_twice() {
    let findings = || vec![finding("a", "CVE-1", Some("1.1"), Status::Fixable)];
    let case = Case::new(&[("a", "1.0"), ("b", "1.0")], &[("a", "1.1"), ("b", "1.0")], findings());
    let file = [PackageFile {
        name: "a".into(),
        architecture: "amd64".into(),
        version: "1.1".into(),
        url: "https://deb.example.org/pool/a.deb".into(),
        digest: Digest::of(b"a.deb"),
        size: 5,
    }];
    let (first, second) = (case.documents(&file), case.documents(&file));
    let digests = |artifacts: &[Artifact]| {
        artifacts
            .iter()
            .map(|one| one.manifest.digest.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(digests(&first), digests(&second));
    let patched = manifest("patched").digest;
    for artifact in &first {
        assert!(artifact.manifest.is_artifact());
        assert_eq!(artifact.manifest.subject.as_ref(), Some(&patched));
        let blobs: Vec<Digest> = artifact.blobs.iter().map(|blob| Digest::of(blob)).collect();
        let named: Vec<Digest> = artifact.manifest.references().map(|blob| blob.digest.clone()).collect();
        assert_eq!(blobs, named);
    }
    let [provenance, vex, sbom] = &first[..] else {
        panic!("{first:?}")
    };
    let read = |artifact: &Artifact| -> Value { serde_json::from_slice(&artifact.blobs[1]).unwrap() };
    let statement = read(provenance);
    assert_eq!(statement["subject"][0]["digest"]["sha256"], patched.hex());
    assert_eq!(statement["predicateType"], provenance::TYPE);
    let build = &statement["predicate"]["buildDefinition"];
    assert_eq!(
        build["resolvedDependencies"][0]["digest"]["sha256"],
        manifest("original").digest.hex()
    );
    let package = &build["resolvedDependencies"][1];
    assert_eq!(package["digest"]["sha256"], Digest::of(b"a.deb").hex());
    assert_eq!(package["uri"], url("a", "1.1"));
    assert_eq!(package["downloadLocation"], "https://deb.example.org/pool/a.deb");
    assert_eq!(build["internalParameters"]["upgrades"][0]["to"], "1.1");
    assert_eq!(
        statement["predicate"]["runDetails"]["builder"]["version"]["engine"],
        "fake 1"
    );
    assert_eq!(vex.descriptor["annotations"]["in-toto.io/predicate-type"], vex::TYPE);
    assert_eq!(read(vex)["predicate"]["@context"], vex::TYPE);
    assert_eq!(sbom.descriptor["artifactType"], sbom::TYPE);
    let names = |bom: &Value| bom.to_string().matches("pkg:deb/debian/").count();
    let text = read(sbom).to_string();
    assert!(names(&read(sbom)) >= 3 && text.contains("pkg:deb/debian/a@1.1") && text.contains("pkg:pypi/module@2.0"));
    assert!(text.contains("one file is too large"));
}

#[test]
fn the_packages_after_are_those_before_with_the_changes() {
    let before = inventory(&[("a", "1.0"), ("b", "1.0"), ("c", "1.0")]);
    let expected = inventory(&[("a", "1.1"), ("aa", "1"), ("c", "1.0")]);
    let mut layer = patch_layer(&[]);
    layer.changes = changes(&before, &expected);
    layer.now = vec![expected.packages[0].clone()];
    assert_eq!(after(&before, &layer), expected);
}

#[test]
fn the_document_about_an_index_names_its_replaced_children() {
    let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
    let pairs = [(&one, &other), (&other, &one)];
    let of = |pairs: &[(&Digest, &Digest)]| {
        of_index(
            NAME,
            &manifest("original"),
            &manifest("index"),
            pairs,
            "2024-01-01T00:00:00Z",
        )
        .unwrap()
    };
    let document = of(&pairs);
    assert_eq!(
        document.manifest.digest,
        of(&[pairs[1], pairs[0]]).manifest.digest,
        "in any order"
    );
    let statement: Value = serde_json::from_slice(&document.blobs[1]).unwrap();
    let replaced = &statement["predicate"]["buildDefinition"]["internalParameters"]["replaced"];
    assert_eq!(replaced.as_array().unwrap().len(), 2);
    assert_eq!(document.subject, manifest("index").digest);
}
