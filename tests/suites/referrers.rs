//! What comes with a patched image, by the referrers API: provenance, what is fixed and what is not, an SBOM, a signature. And what
//! upstream has of the original stays where it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use patchport_kit::apt::Package;
use patchport_kit::client::{Response, pull, pull_artifact};
use patchport_kit::debian::{self, Installed, Rootfs, testbed};
use patchport_kit::image::{Pulled, media};
use patchport_kit::process::run;
use patchport_kit::scanner::push_trivy_database;
use patchport_kit::tools::skopeo;
use patchport_kit::{Fault, Image, Index, Layer, Mirror, Registry};
use serde_json::{Value, json};

use crate::patch_scene::{LONG, REPOSITORY, Scene, assert_original_with_warning, get_tag, rule, until_patched};
use crate::promise::promise;
use crate::scan_trivy::{description, release, scanners};
use crate::scene::{assert_clear_error, image, setup};

const IN_TOTO: &str = "application/vnd.in-toto+json";
const SBOM: &str = "application/vnd.cyclonedx+json";
const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const OPENVEX: &str = "https://openvex.dev/ns/v0.2.0";

async fn referrers_of(mirror: &Mirror, digest: &str, query: &str) -> Response {
    let path = format!("/v2/{REPOSITORY}/referrers/{digest}{query}");
    mirror.client().get(&path).await
}

/// The descriptors of a list; panics unless it is one.
#[track_caller]
fn listed(answer: &Response) -> Vec<Value> {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some(media::OCI_INDEX)),
        "{}",
        answer.text()
    );
    let index = answer.json();
    assert_eq!(index["schemaVersion"], 2, "{index}");
    index["manifests"].as_array().unwrap().clone()
}

/// What comes with a digest: each artifact pulled and checked, its payload by predicate type or artifact type.
pub(crate) async fn evidence(mirror: &Mirror, digest: &str) -> BTreeMap<String, Value> {
    let mut documents = BTreeMap::new();
    for descriptor in listed(&referrers_of(mirror, digest, "").await) {
        let artifact = pull_artifact(&mirror.client(), REPOSITORY, descriptor["digest"].as_str().unwrap()).await;
        let manifest = artifact.manifest_json();
        assert_eq!(manifest["subject"]["digest"], digest, "{manifest}");
        assert_eq!(manifest["artifactType"], descriptor["artifactType"], "{manifest}");
        assert_eq!(descriptor["size"], artifact.manifest.len(), "{descriptor}");
        let kind = descriptor["annotations"]["in-toto.io/predicate-type"].as_str();
        let kind = kind.or(descriptor["artifactType"].as_str()).unwrap().to_owned();
        let payload: Value = serde_json::from_slice(&artifact.layers[0]).unwrap();
        documents.insert(kind, payload);
    }
    documents
}

/// The status of each advisory in an OpenVEX document.
fn statuses(document: &Value) -> Vec<String> {
    let statements = document["statements"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    statements
        .map(|statement| {
            let package = text(&statement["products"][0]["subcomponents"][0]["@id"]);
            let package = package
                .split('?')
                .next()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap()
                .to_owned();
            format!(
                "{} {} {package}",
                text(&statement["vulnerability"]["name"]),
                text(&statement["status"])
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patched_image_comes_with_provenance_vex_and_sbom() {
    promise(
        "A patched image comes with a statement of where it comes from, of what is fixed in it and what is not, and with a list of what is in it.",
    );
    promise("An advisory is called fixed only where the package database of the result shows the fix.");
    let (scene, original) = crate::scan_trivy::scene().await;
    let description = description(&release(&original).await);
    let database = push_trivy_database(
        &testbed("PATCHPORT_TEST_REGISTRY"),
        "kit/trivy-db-referrers",
        &description,
    );
    scene.registry.push(REPOSITORY, Some("v1"), &original);
    let rule = rule(LONG, "deny", "deny") + "\npatch = \"fixable:high\"";
    let setup = scanners(
        setup(&scene.registry),
        "\"trivy\"",
        &format!("trivy_db = \"{database}\""),
    );
    let mirror = setup.rule(&rule).buildkit(scene.buildkit.address()).start().await;
    let served = until_patched(&mirror, "v1", &original.digest()).await.digest;
    let documents = evidence(&mirror, &served).await;
    assert_eq!(documents.keys().collect::<Vec<_>>(), [SBOM, OPENVEX, PROVENANCE]);

    let provenance = &documents[PROVENANCE];
    let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    assert_eq!(provenance["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(provenance["subject"][0]["digest"]["sha256"], hex(&served));
    assert_eq!(provenance["subject"][0]["name"], "up.test/team/app");
    let build = &provenance["predicate"]["buildDefinition"];
    assert_eq!(
        build["resolvedDependencies"][0]["digest"]["sha256"],
        hex(&original.digest())
    );
    let upgrades = build["internalParameters"]["upgrades"].as_array().unwrap();
    let upgrades: Vec<&str> = upgrades.iter().map(|one| one["package"].as_str().unwrap()).collect();
    assert_eq!(upgrades, ["kit-critical", "kit-high"]);
    let engine = provenance["predicate"]["runDetails"]["builder"]["version"]["engine"]
        .as_str()
        .unwrap();
    assert!(engine.starts_with("buildkit v"), "{engine}");

    let statement = &documents[OPENVEX];
    assert_eq!(statement["subject"][0]["digest"]["sha256"], hex(&served));
    let vex = &statement["predicate"];
    assert_eq!(
        statuses(vex),
        [
            "CVE-2026-1001 fixed kit-critical@1.1",
            "CVE-2026-1002 fixed kit-critical@1.1",
            "CVE-2026-1003 fixed kit-high@1.1",
            "CVE-2026-1004 affected kit-low@1.0",
            "CVE-2026-1005 affected kit-unfixed@1.0",
        ]
    );
    let left = vex["statements"][3]["action_statement"].as_str().unwrap();
    assert!(left.contains("not asked for"), "why it was left is said: {left}");
    let package = vex["statements"][0]["products"][0]["subcomponents"][0]["@id"]
        .as_str()
        .unwrap();
    assert!(
        package.starts_with("pkg:deb/debian/kit-critical@1.1?arch=") && package.contains("&distro=debian-"),
        "{package}"
    );

    let components = documents[SBOM]["components"].as_array().unwrap().iter();
    let components: BTreeMap<&str, &str> = components
        .filter_map(|one| Some((one["name"].as_str()?, one["version"].as_str()?)))
        .collect();
    let rootfs = Rootfs::unpack(&pull(&mirror.client(), REPOSITORY, "v1").await);
    for (name, version) in components.iter().filter(|(name, _)| name.starts_with("kit-")) {
        assert_eq!(rootfs.version(name).await, format!("{version} install ok installed"));
    }
    assert_eq!((components["kit-critical"], components["kit-low"]), ("1.1", "1.0"));
    let modules = (components["module-of-kit-critical"], components["module-of-kit-low"]);
    assert_eq!(modules, ("1.1", "1.0"), "what languages have in the result");

    let one = referrers_of(&mirror, &served, &format!("?artifactType={SBOM}")).await;
    assert_eq!(
        (listed(&one).len(), one.header("oci-filters-applied")),
        (1, Some("artifactType"))
    );
    let two = referrers_of(&mirror, &served, "?artifactType=application%2Fvnd.in-toto%2Bjson").await;
    assert!(listed(&two).iter().all(|one| one["artifactType"] == IN_TOTO) && listed(&two).len() == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_and_its_patched_child_come_with_their_provenance() {
    let scene = Scene::shared().await;
    let foreign = Image::builder()
        .architecture("s390x")
        .layer(Layer::new().file("a", "z").gzip())
        .build();
    let index = Index::of(&[scene.image.clone(), foreign.clone()], true);
    scene.registry.push_index(REPOSITORY, Some("multi"), &index);
    let mut mirror = scene.strict().await;
    let answer = until_patched(&mirror, "multi", &index.digest()).await;
    let child = answer.json()["manifests"][0]["digest"].as_str().unwrap().to_owned();
    for (digest, origin) in [(&answer.digest, index.digest()), (&child, scene.image.digest())] {
        let documents = evidence(&mirror, digest).await;
        let original =
            &documents[PROVENANCE]["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"]["sha256"];
        assert_eq!(*original, origin.trim_start_matches("sha256:"));
    }
    assert!(listed(&referrers_of(&mirror, &foreign.digest(), "").await).is_empty());
    // They are part of what was published.
    mirror.kill9();
    mirror.restart().await;
    assert_eq!(evidence(&mirror, &child).await.len(), 2);
    mirror.assert_store_is_true();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_originals_referrers_and_signatures_stay_where_they_were() {
    promise("What upstream has of the original stays reachable under the original's digest.");
    for has_api in [true, false] {
        let scene = Scene::shared().await;
        let (registry, original) = (&scene.registry, scene.image.digest());
        let tag = original.replace(':', "-");
        let attached: Vec<String> = ["one", "two", "three", "four", "five"]
            .map(|text| registry.attach(REPOSITORY, None, &original, "application/spdx+json", text))
            .to_vec();
        let signature = registry.attach(
            REPOSITORY,
            Some(&format!("{tag}.sig")),
            &scene.image.digest(),
            SIGNATURE,
            "sig",
        );
        registry.attach(
            REPOSITORY,
            Some(&format!("{tag}.att")),
            &scene.image.digest(),
            SIGNATURE,
            "att",
        );
        if !has_api {
            registry.no_referrers();
            let entries: Vec<Value> = attached
                .iter()
                .map(|digest| json!({ "mediaType": media::OCI_MANIFEST, "digest": digest, "size": 1, "artifactType": "application/spdx+json" }))
                .collect();
            let index = json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries });
            registry.put_manifest(REPOSITORY, Some(&tag), media::OCI_INDEX, index.to_string());
        }
        let mirror = scene.strict().await;
        let served = until_patched(&mirror, "v1", &original).await.digest;
        let list = referrers_of(&mirror, &original, "?artifactType=application/spdx+json").await;
        let mut found: Vec<String> = listed(&list)
            .iter()
            .map(|one| one["digest"].as_str().unwrap().to_owned())
            .collect();
        let mut expected = attached.clone();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "API: {has_api}; it has several pages");
        for digest in &attached {
            pull_artifact(&mirror.client(), REPOSITORY, digest).await;
        }
        for suffix in [".sig", ".att"] {
            let pulled = pull_artifact(&mirror.client(), REPOSITORY, &format!("{tag}{suffix}")).await;
            assert_eq!(pulled.manifest_json()["subject"]["digest"], original);
            assert!(suffix != ".sig" || pulled.digest() == signature);
        }
        let asked = registry.count(&format!("/referrers/{original}"));
        assert_eq!(
            listed(&referrers_of(&mirror, &original, "").await).len(),
            if has_api { 7 } else { 5 }
        );
        assert_eq!(
            registry.count(&format!("/referrers/{original}")),
            asked,
            "upstream is not asked again at once"
        );
        assert_eq!(
            registry.count(&format!("/referrers/{served}")),
            0,
            "upstream is never asked of what is ours"
        );
        // Nothing of the original's is said of the patched image: it is about other bytes.
        assert!(
            evidence(&mirror, &served)
                .await
                .keys()
                .all(|kind| [SBOM, PROVENANCE].contains(&kind.as_str()))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policy_denies_has_no_referrers_either() {
    let registry = Registry::start().await;
    let original = image(900);
    registry.push(REPOSITORY, Some("v1"), &original);
    let artifact = registry.attach(REPOSITORY, None, &original.digest(), "application/spdx+json", "x");
    let deny = "name = \"shut\"\nmatch = [\"up.test/team/app\"]\naction = \"deny\"\nreason = \"not here\"";
    let mirror = setup(&registry)
        .rule(deny)
        .rule(patchport_kit::mirror::PASS_ALL)
        .start()
        .await;
    for path in [
        format!("referrers/{}", original.digest()),
        format!("manifests/{artifact}"),
        format!("manifests/{}.sig", original.digest().replace(':', "-")),
    ] {
        let answer = mirror.client().get(&format!("/v2/{REPOSITORY}/{path}")).await;
        assert_clear_error(&path, &answer, &[403]);
        assert!(answer.text().contains("not here"), "{path}: {}", answer.text());
    }
    assert_eq!(registry.count("/v2/team/app/"), 0, "upstream is not even asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_upstream_spoils_is_a_clear_error() {
    let registry = Registry::start().await;
    let original = image(901);
    registry.push(REPOSITORY, Some("v1"), &original);
    let mirror = setup(&registry).set("cache", "stall_timeout = \"1s\"").start().await;
    let cases = [
        ("down", Fault::status(503)),
        ("endless", Fault::Endless),
        ("stops", Fault::StopAfter(10)),
        (
            "leads elsewhere",
            Fault::Status(
                200,
                vec![("link", "</v2/team/secret/referrers/x>; rel=\"next\"".to_owned())],
            ),
        ),
    ];
    for (name, fault) in cases {
        registry.fault("/referrers/", fault);
        let answer = referrers_of(&mirror, &original.digest(), "").await;
        assert_clear_error(name, &answer, &[502, 504]);
        registry.heal();
    }
    // Other registries without the API say so in other ways.
    registry.fault("/referrers/", Fault::Body("<html>".into()));
    assert!(listed(&referrers_of(&mirror, &original.digest(), "").await).is_empty());
    let bad = mirror.client().get(&format!("/v2/{REPOSITORY}/referrers/latest")).await;
    assert_clear_error("a tag in the place of the digest", &bad, &[400]);
}

/// A key pair: a PKCS#8 key and its public key, as files.
fn key_pair(folder: &Path) -> (String, String) {
    let path = |name: &str| folder.join(name).display().to_string();
    let (key, public) = (path("sign.key"), path("sign.pub"));
    let curve = [
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        &key,
    ];
    run(Command::new("openssl").args(curve));
    run(Command::new("openssl").args(["pkey", "-in", &key, "-pubout", "-out", &public]));
    (key, public)
}

/// Panics unless openssl finds the signature of this digest good.
async fn assert_signed(mirror: &Mirror, digest: &str, public: &str) {
    let listed = listed(&referrers_of(mirror, digest, &format!("?artifactType={SIGNATURE}")).await);
    let tag = format!("{}.sig", digest.replace(':', "-"));
    let by_tag = pull_artifact(&mirror.client(), REPOSITORY, &tag).await;
    assert_eq!(
        (listed.len(), &listed[0]["digest"]),
        (1, &json!(by_tag.digest())),
        "one signature by either way"
    );
    verify(&by_tag, digest, public);
}

fn verify(signature: &Pulled, digest: &str, public: &str) {
    let layer = &signature.manifest_json()["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.dev.cosign.simplesigning.v1+json");
    let payload: Value = serde_json::from_slice(&signature.layers[0]).unwrap();
    assert_eq!(payload["critical"]["image"]["docker-manifest-digest"], digest);
    assert_eq!(payload["critical"]["identity"]["docker-reference"], "up.test/team/app");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("payload"), &signature.layers[0]).unwrap();
    let base64 = layer["annotations"]["dev.cosignproject.cosign/signature"]
        .as_str()
        .unwrap();
    std::fs::write(path("base64"), base64).unwrap();
    run(Command::new("openssl").args(["base64", "-d", "-A", "-in", &path("base64"), "-out", &path("signature")]));
    run(Command::new("openssl").args([
        "dgst",
        "-sha256",
        "-verify",
        public,
        "-signature",
        &path("signature"),
        &path("payload"),
    ]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patched_image_is_signed_with_the_operators_key() {
    promise("Where the operator asks for signatures, a patched image is signed before it is served, or not served.");
    let folder = tempfile::tempdir().unwrap();
    let (key, public) = key_pair(folder.path());
    let scene = Scene::shared().await;
    let index = Index::of(std::slice::from_ref(&scene.image), false);
    scene.registry.push_index(REPOSITORY, Some("multi"), &index);
    let setup = scene
        .mirror(LONG, "deny", "deny")
        .set("sign", &format!("key = \"{key}\""));
    let mirror = setup.start().await;
    let served = until_patched(&mirror, "v1", &scene.image.digest()).await.digest;
    assert_signed(&mirror, &served, &public).await;
    // skopeo copies a signature under its tag as it copies an image.
    let copied = skopeo(&format!(
        "{}/{REPOSITORY}:{}.sig",
        mirror.host(),
        served.replace(':', "-")
    ))
    .await;
    verify(&copied, &served, &public);
    let multi = until_patched(&mirror, "multi", &index.digest()).await;
    for digest in [
        multi.digest.clone(),
        multi.json()["manifests"][0]["digest"].as_str().unwrap().to_owned(),
    ] {
        assert_signed(&mirror, &digest, &public).await;
    }
    let secret = std::fs::read_to_string(&key).unwrap();
    let line = secret.lines().nth(1).unwrap();
    assert!(!mirror.log().text().contains(line), "the key is not in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_signs_and_one_that_fails_is_a_failed_patch() {
    let folder = tempfile::tempdir().unwrap();
    let (key, public) = key_pair(folder.path());
    let scene = Scene::shared().await;
    let program = |script: &str| format!("program = [\"/bin/sh\", \"-c\", \"{script}\"]");
    let signs = program(&format!("openssl dgst -sha256 -sign {key} | openssl base64 -A"));
    let mirror = scene.mirror(LONG, "deny", "deny").set("sign", &signs).start().await;
    let served = until_patched(&mirror, "v1", &scene.image.digest()).await.digest;
    assert_signed(&mirror, &served, &public).await;

    let fails = program("echo the key is away >&2; exit 1");
    let mirror = scene.mirror(LONG, "deny", "deny").set("sign", &fails).start().await;
    let answer = get_tag(&mirror, "v1").await;
    assert_clear_error("unsigned", &answer, &[403]);
    assert!(answer.text().contains("cannot be signed"), "{}", answer.text());
    mirror
        .log()
        .wait(0, "the reason", std::time::Duration::from_secs(5), |lines| {
            lines.iter().find(|line| line.contains("the key is away")).map(|_| ())
        })
        .await;
    let mirror = scene
        .mirror(LONG, "deny", "serve-original")
        .set("sign", &fails)
        .start()
        .await;
    assert_original_with_warning(&get_tag(&mirror, "v1").await, &scene.image.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_advisories_says_nothing_of_any() {
    let scene = Scene::shared().await;
    scene.apt.publish(&Package::new("kit-plain", "1.1"));
    let original = debian::image(&scene.apt, &[Installed::new(Package::new("kit-plain", "1.0"))])
        .await
        .build();
    scene.registry.push(REPOSITORY, Some("plain"), &original);
    let mirror = scene.strict().await;
    let served = until_patched(&mirror, "plain", &original.digest()).await.digest;
    assert_eq!(
        evidence(&mirror, &served).await.keys().collect::<Vec<_>>(),
        [SBOM, PROVENANCE]
    );
}
