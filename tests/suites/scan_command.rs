//! `patchport scan` and `patchport explain` as a person or a script calls them: every form of answer, every way to name an image, exit
//! codes, and what is said when something is wrong.

use std::process::Command;

use patchport_kit::image::{Compression, Index, Layer, from_tar};
use patchport_kit::mirror::Setup;
use patchport_kit::process::run;
use patchport_kit::scanner::write_layout;
use patchport_kit::signer::Signer;
use patchport_kit::{Image, Registry};

use crate::scan_scene::{SIGNED_BY, careful, found, outdated, scan, stable};
use crate::scene::UPSTREAM;

/// A Debian with `kit-hello` 1.0, whose repository offers 1.1; the repository lives as long as the first part.
async fn scene() -> (patchport_kit::apt::Repository, Image) {
    let signer = Signer::new("kit");
    let (repository, suite) = stable().await;
    suite.publish(&repository, Some(&signer));
    let image = outdated(&suite.source(&repository, SIGNED_BY), &signer).await.build();
    (repository, image)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_answer_and_every_exit_code() {
    let (_repository, image) = scene().await;
    let setup = careful();
    let table = scan(&setup, &image, &[]).await;
    assert_eq!(table.code, Some(0), "{}", table.stderr);
    let row = table
        .stdout
        .lines()
        .find(|line| line.starts_with("kit-hello "))
        .expect("a row");
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words[..4], ["kit-hello", "1.0", "1.1", "fixable"], "{}", table.stdout);
    assert_eq!(table.stderr, "", "nobody looks at a terminal: no progress");
    let cases: [(&str, &[&str], &str); 4] = [
        ("json", &[], "packages"),
        ("cyclonedx", &[], "components"),
        ("spdx", &[], "packages"),
        ("sarif", &[], "runs"),
    ];
    for (format, more, member) in cases {
        let said = scan(&setup, &image, &[&["--format", format], more].concat()).await;
        let document = said.json();
        assert!(document[member].is_array(), "{format} has {member}");
        assert!(said.stdout.contains("kit-hello"), "{format} names the package");
    }
    let listed = scan(&setup, &image, &["--packages-only", "--format", "json"])
        .await
        .json();
    assert!(listed["findings"].is_null() && listed["packages"].as_array().unwrap().len() > 80);

    for (selection, code) in [("outdated", 2), ("security", 0), ("fixable:high", 0), ("nonsense", 64)] {
        let said = scan(&setup, &image, &["--fail-on", selection]).await;
        assert_eq!(said.code, Some(code), "--fail-on {selection}: {}", said.stderr);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    let said = scan(
        &setup,
        &image,
        &["--format", "json", "--output", &path, "--fail-on", "outdated"],
    )
    .await;
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""));
    let written: serde_json::Value = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
    assert_eq!(found(&written).0, ["kit-hello 1.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_name_an_image() {
    let (_repository, image) = scene().await;
    let registry = Registry::start().await;
    registry.push("team/app", Some("v1"), &image);
    let foreign = Image::builder()
        .layer(image.layers[0].clone())
        .architecture("s390x")
        .build();
    registry.push_index("team/app", Some("multi"), &Index::of(&[foreign, image.clone()], true));
    let mirror = careful()
        .upstream(UPSTREAM, &registry.url())
        .default_upstream(UPSTREAM)
        .start()
        .await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    write_layout(&image, &folder.path().join("layout"));
    for kind in ["oci-archive", "docker-archive"] {
        run(Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy"])
            .arg(format!("oci:{}:kit", path("layout")))
            .arg(format!("{kind}:{}:app:v1", path(kind))));
    }
    let names = [
        path("layout"),
        format!("oci:{}", path("layout")),
        path("oci-archive"),
        path("docker-archive"),
        format!("{}/team/app:v1", registry.host()),
        format!("docker://{}/team/app:v1", registry.host()),
        format!("{}/team/app@{}", registry.host(), image.digest()),
        format!("{}/team/app:multi", registry.host()),
        format!("{}/team/app:v1", mirror.host()),
        format!("{}/{UPSTREAM}/team/app:v1", mirror.host()),
    ];
    for name in &names {
        let said = careful().run(&["scan", "--format", "json", name]).await;
        let report = said.json();
        assert_eq!(found(&report).0, ["kit-hello 1.1"], "{name}");
        assert_eq!(report["image"]["name"], name.as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_and_the_exit_code_is_1() {
    let (_repository, image) = scene().await;
    let registry = Registry::start().await;
    registry.push_index(
        "team/app",
        Some("multi"),
        &Index::of(std::slice::from_ref(&image), true),
    );
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("text"), "no tar").unwrap();
    std::fs::create_dir(path("empty")).unwrap();
    let made = |name: &str, image: &Image| write_layout(image, &folder.path().join(name));
    made("plain", &Image::tiny("no distribution"));
    let release = || Layer::new().file("etc/os-release", "ID=debian\nVERSION_ID=12\n");
    made(
        "database",
        &Image::builder()
            .layer(release().file("var/lib/dpkg/status", "Package: a\nno field\n\n").gzip())
            .build(),
    );
    let mut layer = release().gzip();
    layer.bytes = layer.bytes.slice(..layer.bytes.len() / 2);
    made("cut", &Image::builder().layer(layer).build());
    made(
        "garbage",
        &Image::builder()
            .layer(from_tar(&[0x55; 4096], Compression::Gzip))
            .build(),
    );
    write_layout(&image, &folder.path().join("missing"));
    let gone = image.layers[1].digest();
    std::fs::remove_file(folder.path().join("missing/blobs/sha256").join(&gone[7..])).unwrap();
    let tagged = format!("{}/team/app:none", registry.host());
    let multi = format!("{}/team/app:multi", registry.host());
    let cases: Vec<(&str, Vec<String>, &str)> = vec![
        (
            "a file that is not there",
            vec![path("nowhere")],
            "neither a file nor the name of an image",
        ),
        (
            "a malformed reference",
            vec!["UPPER/case:x".into()],
            "neither a file nor the name of an image",
        ),
        (
            "a malformed digest",
            vec!["a.test/b@sha256:12".into()],
            "neither a file nor the name of an image",
        ),
        ("a text", vec![path("text")], "text"),
        ("an empty folder", vec![path("empty")], "empty"),
        ("a tag that is not there", vec![tagged.clone()], tagged.as_str()),
        (
            "a platform that is not there",
            vec![multi.clone(), "--platform=linux/s390x".into()],
            "linux/s390x",
        ),
        (
            "a document of an image without a distribution",
            vec![path("plain"), "--format=json".into()],
            "no packages of a distribution",
        ),
        ("a broken database", vec![path("database")], "var/lib/dpkg/status"),
        ("a layer that is cut", vec![path("cut")], "cut"),
        ("a layer that is no tar", vec![path("garbage")], "garbage"),
        ("a layer that is not there", vec![path("missing")], "missing"),
    ]
    .into_iter()
    .collect();
    for (name, arguments, words) in cases {
        let mut all = vec!["scan"];
        all.extend(arguments.iter().map(String::as_str));
        let said = careful().run(&all).await;
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (Some(1), ""),
            "{name}: {}",
            said.stderr
        );
        let is_clear = said.stderr.starts_with("patchport: ") && said.stderr.contains(words);
        assert!(is_clear && said.stderr.lines().count() == 1, "{name}: {}", said.stderr);
    }
    let plain = careful().run(&["scan", &path("plain")]).await;
    assert_eq!(
        plain.code,
        Some(0),
        "that there are no packages is an answer, too: {}",
        plain.stderr
    );
    assert!(
        plain.stdout.contains("no packages of a distribution"),
        "{}",
        plain.stdout
    );
    let usage = careful().run(&["scan", "--platform", "linux", &path("plain")]).await;
    assert_eq!(usage.code, Some(64), "{}", usage.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_which_rule_what_is_planned_and_what_would_be_served() {
    let (repository, image) = scene().await;
    let registry = Registry::start().await;
    registry.push("team/app", Some("v1"), &image);
    let name = format!("{}/team/app:v1", registry.host());
    let rule = |action: &str| {
        format!(
            "name = \"kit-rule\"\nmatch = \"**\"\naction = \"{action}\"\nwait = \"20s\"\non_timeout = \"deny\"\non_failure = \"deny\""
        )
    };
    let explained = async |setup: Setup, words: &[&str]| {
        let said = setup.run(&["explain", &name]).await;
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        for word in words {
            assert!(said.stdout.contains(word), "{word}: {}", said.stdout);
        }
    };
    let patch = || careful().rule(&rule("patch"));
    explained(
        patch(),
        &[
            "kit-rule: patch outdated",
            "plan       1 upgrades",
            "kit-hello 1.0 -> 1.1",
            "served     the patched image of plan",
        ],
    )
    .await;
    let security = careful().rule(&(rule("patch") + "\npatch = \"security\""));
    explained(
        security,
        &[
            "left out   kit-hello 1.0: not asked for",
            "served     the original: nothing to patch",
        ],
    )
    .await;
    let denied = "name = \"no-v1\"\nmatch = \"**\"\naction = \"deny\"\nreason = \"pin a version\"";
    explained(
        careful().rule(denied),
        &["no-v1: deny", "served     nothing", "pin a version"],
    )
    .await;
    explained(careful(), &["pass", "served     the original"]).await;
    repository.set_away(true);
    explained(
        patch(),
        &["findings   unknown", &repository.url(), "served     on_failure: deny"],
    )
    .await;
}
