//! The real trivy, with a database of our own in a registry: its findings, the plan, and what is left after the patch. And reports
//! that it wrote before.

use patchport_kit::Mirror;
use patchport_kit::apt::Package;
use patchport_kit::client::pull;
use patchport_kit::debian::{self, Installed, Rootfs, testbed};
use patchport_kit::mirror::Setup;
use patchport_kit::scanner::{program, push_trivy_database, trivy_report};
use serde_json::{Value, json};

use crate::patch_scene::{LONG, REPOSITORY, Scene, get_tag, rule, until_patched};
use crate::promise::promise;
use crate::scan_scene::scan;
use crate::scene::{assert_clear_error, setup};

/// What the database knows of the packages of the image: by source package, as trivy has it for Debian.
pub(crate) fn description(release: &str) -> Value {
    json!({ release: {
        "kit-critical": { "CVE-2026-1001": { "fixed": "1.1", "severity": "CRITICAL" }, "CVE-2026-1002": { "fixed": "1.0.1", "severity": "LOW" } },
        "kit-high": { "CVE-2026-1003": { "fixed": "1.1", "severity": "HIGH" } },
        "kit-low": { "CVE-2026-1004": { "fixed": "1.1", "severity": "LOW" } },
        "kit-unfixed": { "CVE-2026-1005": { "fixed": "", "severity": "HIGH", "status": "will_not_fix" } },
        "kit-done": { "CVE-2026-1006": { "fixed": "0.9", "severity": "HIGH" } },
        "kit-absent": { "CVE-2026-1007": { "fixed": "1.1", "severity": "HIGH" } },
    }})
}

const PACKAGES: [&str; 6] = [
    "kit-critical",
    "kit-high",
    "kit-low",
    "kit-unfixed",
    "kit-done",
    "kit-ordinary",
];
/// What trivy finds: package, identifier, fixed version, status.
const FOUND: [&str; 5] = [
    "kit-critical CVE-2026-1001 1.1 fixable critical",
    "kit-critical CVE-2026-1002 1.0.1 fixable low",
    "kit-high CVE-2026-1003 1.1 fixable high",
    "kit-low CVE-2026-1004 1.1 fixable low",
    "kit-unfixed CVE-2026-1005 - no-fix high",
];

/// A package of the distribution with a module of Python's, of the same version, in it.
fn package(name: &str, version: &str) -> Package {
    let path = format!("usr/lib/python3/dist-packages/{name}-{version}.dist-info/METADATA");
    let metadata = format!("Metadata-Version: 2.1\nName: module-of-{name}\nVersion: {version}\n");
    Package::new(name, version).file(&path, &metadata)
}

/// The packages at 1.0 in an image, all of them at 1.1 in its repository.
pub(crate) async fn scene() -> (Scene, patchport_kit::Image) {
    let scene = Scene::shared().await;
    for name in PACKAGES {
        scene.apt.publish(&package(name, "1.1"));
    }
    let installed = PACKAGES.map(|name| Installed::new(package(name, "1.0")));
    let image = debian::image(&scene.apt, &installed).await.build();
    (scene, image)
}

/// trivy's name for the image's release.
pub(crate) async fn release(image: &patchport_kit::Image) -> String {
    let report = scan(&Mirror::setup(), image, &["--packages-only", "--format", "json"])
        .await
        .json();
    let text = |member: &str| report["os"][member].as_str().unwrap().to_owned();
    format!("{} {}", text("id"), text("version"))
}

pub(crate) fn scanners(setup: Setup, names: &str, more: &str) -> Setup {
    let trivy = format!("trivy = \"{}\"\ntimeout = \"60s\"\n{more}", program("trivy").display());
    setup.set("scan", &format!("scanners = [{names}]\n{trivy}"))
}

/// Findings of the kit's packages in a report, sorted.
fn lines(report: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    let findings = findings.filter(|finding| text(&finding["package"]).starts_with("kit-"));
    let mut lines: Vec<String> = findings
        .map(|finding| {
            let [package, id, fixed, status, severity] = [
                &finding["package"],
                &finding["advisories"][0],
                &finding["fixed"],
                &finding["status"],
                &finding["severity"],
            ]
            .map(text);
            format!("{package} {id} {fixed} {status} {severity}")
        })
        .collect();
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn what_trivy_finds_is_planned_patched_and_gone() {
    promise("Only the packages that the rule asks for are upgraded, each to a version that was planned.");
    let (scene, image) = scene().await;
    let description = description(&release(&image).await);
    let database = push_trivy_database(&testbed("PATCHPORT_TEST_REGISTRY"), "kit/trivy-db", &description);
    scene.registry.push(REPOSITORY, Some("v1"), &image);
    for (names, tag) in [("\"trivy\"", "alone"), ("\"updates\", \"trivy\"", "together")] {
        scene.registry.push(REPOSITORY, Some(tag), &image);
        let database = format!("trivy_db = \"{database}\"");
        let only_trivy = scanners(Mirror::setup(), "\"trivy\"", &database);
        let report = scan(&only_trivy, &image, &["--format", "json"]).await.json();
        assert_eq!(lines(&report), FOUND, "the findings are those of the database");

        let rule = rule(LONG, "deny", "deny") + "\npatch = \"fixable:high\"";
        let setup = scanners(setup(&scene.registry), names, &database)
            .rule(&rule)
            .buildkit(scene.buildkit.address());
        let explained = setup
            .run(&["explain", &format!("{}/{REPOSITORY}:{tag}", scene.registry.host())])
            .await;
        assert_eq!(explained.code, Some(0), "{}", explained.stderr);
        let planned: Vec<&str> = explained
            .stdout
            .lines()
            .map(str::trim)
            .filter(|line| line.contains(" -> "))
            .collect();
        assert_eq!(
            planned,
            ["kit-critical 1.0 -> 1.1", "kit-high 1.0 -> 1.1"],
            "{names}: {}",
            explained.stdout
        );
        // Where a repository has a newer version, that is what is to be said of a package without a known fix.
        let unfixed = match tag {
            "alone" => "left out   kit-unfixed 1.0: there is no fixed version yet",
            _ => "left out   kit-unfixed 1.0: not asked for",
        };
        assert!(explained.stdout.contains(unfixed), "{}", explained.stdout);

        let mirror = setup.start().await;
        until_patched(&mirror, tag, &image.digest()).await;
        let rootfs = Rootfs::unpack(&pull(&mirror.client(), REPOSITORY, tag).await);
        for name in PACKAGES {
            let version = if ["kit-critical", "kit-high"].contains(&name) {
                "1.1"
            } else {
                "1.0"
            };
            assert_eq!(
                rootfs.version(name).await,
                format!("{version} install ok installed"),
                "{names}: {name}"
            );
        }
        let reference = format!("{}/{REPOSITORY}:{tag}", mirror.host());
        let after = only_trivy
            .run(&["scan", "--format", "json", "--fail-on", "fixable:high", &reference])
            .await;
        assert_eq!(
            lines(&after.json()),
            &FOUND[3..],
            "{names}: nothing is left that was fixable and asked for"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_trivy_is_used_for_its_image_and_refused_for_another() {
    let (scene, image) = scene().await;
    let report = trivy_report(&image, &description(&release(&image).await)).await;
    let folder = tempfile::tempdir().unwrap();
    let reports = format!("reports = \"{}\"", folder.path().display());
    let with_reports = |setup: Setup| scanners(setup, "\"report\"", &reports);
    let file = |digest: &str| folder.path().join(format!("{}.json", digest.replace(':', "-")));
    let missing = scan(&with_reports(Mirror::setup()), &image, &[]).await;
    assert_eq!(missing.code, Some(1));
    assert!(
        missing.stderr.contains("there is no report of this image"),
        "{}",
        missing.stderr
    );
    for digest in [image.digest(), image.config_digest()] {
        std::fs::write(file(&digest), &report).unwrap();
        let said = scan(&with_reports(Mirror::setup()), &image, &["--format", "json"]).await;
        assert_eq!(lines(&said.json()), FOUND);
        std::fs::remove_file(file(&digest)).unwrap();
    }
    // The same report under the name of another image.
    std::fs::write(file(&scene.image.digest()), &report).unwrap();
    let refused = scan(&with_reports(Mirror::setup()), &scene.image, &[]).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert!(
        refused.stderr.contains(&scene.image.digest()[7..]),
        "it names the file: {}",
        refused.stderr
    );
    let mirror = with_reports(scene.mirror("20s", "deny", "deny")).start().await;
    assert_clear_error("a report of another image", &get_tag(&mirror, "v1").await, &[403]);
}
