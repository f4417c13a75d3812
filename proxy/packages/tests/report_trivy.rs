//! Reports of the real Trivy, with a database of our own: of a list of components, a root file system and an image.
//! Wants `trivy` and `trivydb` on the PATH; `tests/tools/install scanners` puts them there.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use patchport_oci::digest::Digest;
use patchport_oci::platform::Platform;
use patchport_packages::dpkg::{self, DEFAULT_LIMIT};
use patchport_packages::inventory::{Installed, Inventory, Manager, Source};
use patchport_packages::report::command::{self, Invocation, Subject, Trivy};
use patchport_packages::report::{self, Binding, Required};
use patchport_packages::{Family, OsRelease, Version};
use serde_json::{Value, json};

const OS_RELEASE: &str = "ID=debian\nVERSION_ID=12\n";

fn status() -> String {
    let packages = [
        (
            "bsdutils",
            "1:2.38.1-5+deb12u1",
            "amd64",
            "util-linux (2.38.1-5+deb12u1)",
        ),
        ("libc6", "2.36-9+deb12u10", "amd64", "glibc"),
        ("libssl3", "3.0.15-1~deb12u1", "amd64", "openssl"),
        ("tzdata", "2024b-0+deb12u1", "all", "tzdata"),
        ("zlib1g", "1:1.2.13.dfsg-1", "amd64", "zlib"),
    ];
    let stanza = |(name, version, architecture, source): (&str, &str, &str, &str)| {
        format!(
            "Package: {name}\nStatus: install ok installed\nMaintainer: x <x@example.org>\nArchitecture: {architecture}\n\
             Source: {source}\nVersion: {version}\nDescription: x\n\n"
        )
    };
    packages.map(stanza).concat()
}

fn description() -> Value {
    json!({"debian 12": {
        "openssl": {"CVE-2026-0001": {"fixed": "3.0.16-1~deb12u1", "severity": "CRITICAL", "vendor": ["DSA-1-1"]}},
        "util-linux": {"CVE-2026-0002": {"fixed": "2.38.1-5+deb12u3", "severity": "MEDIUM"}},
        "glibc": {"CVE-2026-0003": {"fixed": "", "status": "will_not_fix", "severity": "LOW"}},
        "zlib": {"CVE-2026-0004": {"fixed": "", "status": "end_of_life"}},
        "tzdata": {"CVE-2026-0005": {"fixed": "2024a-0", "severity": "HIGH"}},
        "nano": {"CVE-2026-0006": {"fixed": "9", "severity": "HIGH"}}
    }})
}

/// What must come out, however the image reached Trivy.
const EXPECTED: [&str; 4] = [
    "bsdutils:amd64 - Fixable Medium CVE-2026-0002",
    "libc6:amd64 - NoFix Low CVE-2026-0003",
    "libssl3:amd64 3.0.16-1~deb12u1 Fixable Critical CVE-2026-0001,DSA-1-1",
    "zlib1g:amd64 - EndOfLife Unknown CVE-2026-0004",
];

fn write_database(folder: &Path, description: &Value) {
    let folder = folder.join("cache/db");
    let command = Command::new("trivydb").arg(folder).stdin(Stdio::piped()).spawn();
    let mut child = command.unwrap_or_else(|error| panic!("trivydb: {error}; run tests/tools/install scanners"));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(description.to_string().as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
}

fn trivy(folder: &Path) -> (impl Fn(Invocation) -> Output, PathBuf) {
    let work = folder.join("work");
    fs::create_dir_all(&work).unwrap();
    // Neither must have an effect.
    fs::write(work.join(".trivyignore"), "CVE-2026-0001\n").unwrap();
    fs::write(work.join("trivy.yaml"), "severity: [MEDIUM]\n").unwrap();
    let cache = folder.join("cache");
    // The environment is to be the invocation's alone, so the program is found before.
    let found = Command::new("sh")
        .args(["-c", "command -v trivy"])
        .output()
        .unwrap()
        .stdout;
    let program = String::from_utf8(found).unwrap().trim().to_owned();
    assert!(
        !program.is_empty(),
        "no trivy on the PATH; run tests/tools/install scanners"
    );
    let run = move |invocation: Invocation| {
        let mut command = Command::new(&program);
        command
            .args(invocation.arguments)
            .env_clear()
            .envs(invocation.environment);
        command.current_dir(&work).stdin(Stdio::null()).output().unwrap()
    };
    (run, cache)
}

fn scan(folder: &Path, subject: Subject<'_>) -> Vec<u8> {
    let (run, cache) = trivy(folder);
    let output = run(options(&cache).scan(subject));
    assert!(
        output.status.success(),
        "{subject:?}: {}",
        command::reason(&output.stderr)
    );
    output.stdout
}

fn options(cache: &Path) -> Trivy<'_> {
    Trivy {
        cache,
        server: None,
        timeout: Duration::from_secs(60),
    }
}

/// An image with one layer as an OCI layout; the digests of its layer, config and manifest.
fn layout(root: &Path, folder: &Path) -> [Digest; 3] {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        digest
    };
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_dir_all(".", root).unwrap();
    let layer = archive.into_inner().unwrap();
    let diff_id = put(&layer);
    let config = json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}});
    let config = config.to_string();
    let config_digest = put(config.as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": diff_id, "size": layer.len()}]
    });
    let manifest = manifest.to_string();
    let digest = put(manifest.as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": manifest.len()
    }]});
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    [diff_id, config_digest, digest]
}

fn root(folder: &Path) {
    fs::create_dir_all(folder.join("etc")).unwrap();
    fs::create_dir_all(folder.join("var/lib/dpkg")).unwrap();
    fs::write(folder.join("etc/os-release"), OS_RELEASE).unwrap();
    fs::write(folder.join("etc/debian_version"), "12.10\n").unwrap();
    fs::write(folder.join("var/lib/dpkg/status"), status()).unwrap();
}

fn short(report: &[u8], binding: &Binding<'_>) -> Vec<String> {
    let findings = report::parse(report, binding).unwrap();
    assert_eq!(findings.notes, [""; 0]);
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

#[test]
fn what_was_put_in_comes_out() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_database(folder, &description());
    root(&folder.join("root"));
    let [diff_id, config, manifest] = layout(&folder.join("root"), &folder.join("image"));
    let packages = dpkg::read("status", dpkg::Kind::Status, status().as_bytes(), DEFAULT_LIMIT).unwrap();
    let inventory = Inventory::of(
        OsRelease::parse(OS_RELEASE.as_bytes()).unwrap(),
        Manager::Dpkg,
        packages,
    );
    let mut binding = Binding {
        manifests: vec![manifest],
        config,
        indexes: Vec::new(),
        diff_ids: vec![diff_id],
        platform: Platform::new("linux", "amd64", ""),
        inventory: &inventory,
        required: Required::Image,
    };
    let image = scan(folder, Subject::Image(&folder.join("image")));
    assert_eq!(short(&image, &binding), EXPECTED);

    binding.required = Required::Distribution;
    assert_eq!(
        short(&scan(folder, Subject::Root(&folder.join("root"))), &binding),
        EXPECTED
    );
    let components = folder.join("components.json");
    fs::write(&components, report::components(&inventory)).unwrap();
    assert_eq!(
        short(&scan(folder, Subject::Components(&components)), &binding),
        EXPECTED
    );

    binding.config = Digest::of(b"other");
    binding.manifests.clear();
    assert!(report::parse(&image, &binding).is_err());
}

/// Distributions as Trivy's database calls them, as `os-release` does, and a version of theirs.
const DISTRIBUTIONS: [(&str, &str, Manager, &str); 11] = [
    ("alma 9", "ID=almalinux\nVERSION_ID=9.4", Manager::Rpm, "1:5.1.8-6.el9"),
    ("rocky 9", "ID=rocky\nVERSION_ID=9.4", Manager::Rpm, "5.1.8-6.el9"),
    ("Oracle Linux 9", "ID=ol\nVERSION_ID=9.4", Manager::Rpm, "5.1.8-6.el9"),
    (
        "amazon linux 2023",
        "ID=amzn\nVERSION_ID=2023",
        Manager::Rpm,
        "5.1.8-6.amzn2023",
    ),
    (
        "CBL-Mariner 2.0",
        "ID=mariner\nVERSION_ID=2.0",
        Manager::RpmManifest,
        "5.1.8-6.cm2",
    ),
    (
        "Azure Linux 3.0",
        "ID=azurelinux\nVERSION_ID=3.0",
        Manager::RpmManifest,
        "5.1.8-6.azl3",
    ),
    (
        "SUSE Linux Enterprise 15.6",
        "ID=sles\nVERSION_ID=15.6",
        Manager::Rpm,
        "5.1-6.1",
    ),
    (
        "openSUSE Leap 15.6",
        "ID=opensuse-leap\nVERSION_ID=15.6",
        Manager::Rpm,
        "5.1-6.1",
    ),
    ("wolfi", "ID=wolfi\nVERSION_ID=20230201", Manager::Apk, "5.1.8-r6"),
    ("alpine 3.23", "ID=alpine\nVERSION_ID=3.23.0", Manager::Apk, "5.1.8-r6"),
    (
        "ubuntu 24.04",
        "ID=ubuntu\nVERSION_ID=24.04",
        Manager::Dpkg,
        "1:5.1.8-6ubuntu1",
    ),
];

#[test]
fn components_of_every_distribution_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let fixed = |version: &str| version.replace("-6", "-7").replace("-r6", "-r7");
    let advisory = |version: &str| json!({"bash": {"CVE-2026-0001": {"fixed": fixed(version), "severity": "HIGH"}}});
    let all: serde_json::Map<_, _> = DISTRIBUTIONS
        .map(|(name, _, _, version)| (name.to_owned(), advisory(version)))
        .into_iter()
        .collect();
    write_database(folder.path(), &Value::Object(all));
    let components = folder.path().join("components.json");
    for (name, release, manager, version) in DISTRIBUTIONS {
        let text = |version: &str| Version::parse(manager.family(), version).unwrap();
        let source = Source {
            name: "bash".to_owned(),
            version: text(version),
        };
        let package = Installed {
            name: "bash-libs".to_owned(),
            architecture: "noarch".to_owned(),
            version: text(version),
            // The rpm distributions' advisories are about binary packages.
            source: source.clone(),
            origin: None,
        };
        let package = match manager.family() {
            Family::Rpm => Installed {
                name: "bash".to_owned(),
                ..package
            },
            Family::Deb | Family::Apk | Family::Pacman => package,
        };
        let inventory = Inventory {
            os: OsRelease::parse(release.as_bytes()).unwrap(),
            manager,
            packages: vec![package],
            held: Vec::new(),
            repositories: patchport_packages::inventory::Repositories::default(),
            tools: vec![],
        };
        fs::write(&components, report::components(&inventory)).unwrap();
        let report = scan(folder.path(), Subject::Components(&components));
        let findings = report::parse(&report, &own(&inventory)).unwrap().findings;
        let seen: Vec<_> = findings
            .iter()
            .map(|found| found.fixed.as_ref().map(Version::as_str))
            .collect();
        assert_eq!(seen, [Some(fixed(version).as_str())], "{name}");
    }
}

/// A binding for reports that were made here, of this inventory.
fn own(inventory: &Inventory) -> Binding<'_> {
    Binding {
        manifests: Vec::new(),
        config: Digest::of(b"config"),
        indexes: Vec::new(),
        diff_ids: Vec::new(),
        platform: Platform::new("linux", "amd64", ""),
        inventory,
        required: Required::Distribution,
    }
}

#[test]
fn failures_have_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (run, cache) = trivy(folder.path());
    let options = options(&cache);
    let missing = folder.path().join("missing");
    let without_database = run(options.scan(Subject::Root(&missing)));
    let refused = run(options.update("127.0.0.1:1/trivy-db:2", true));
    write_database(folder.path(), &description());
    let without_subject = run(options.scan(Subject::Components(&missing)));
    for (output, reason) in [
        (without_database, "first run"),
        (refused, "connection refused"),
        (without_subject, "no such file"),
    ] {
        assert_eq!(output.status.code(), Some(1));
        let seen = command::reason(&output.stderr);
        assert!(seen.contains(reason) && !seen.contains('\n'), "{reason}: {seen}");
        assert!(report::kind(&output.stdout).is_err());
    }
}
