//! Patched manifests, compared with the text that they should be.
//!
//! The originals have members that nobody knows, in an order that nobody writes: both must survive.

use super::*;
use crate::testing::patch_layer;

const NAME: &str = "registry.example/team/app";

const CONFIG: &str = r#"{"x-first":1,"history":[{"created_by":"one"}],"os":"linux","config":{"User":"app","Env":["A=b"],"Labels":{"z":"1","a":"<&>"},"Entrypoint":["/x"],"Healthcheck":{"Interval":30000000000}},"rootfs":{"diff_ids":["sha256:aa"],"type":"layers"},"architecture":"amd64","x-last":[1,2.5,null]}"#;

/// Members out of order, unknown members, and a copy of the configuration in its descriptor.
fn original(media_type: &str, config: &str) -> Manifest {
    let (digest, base) = (Digest::of(config.as_bytes()), Digest::of(b"base"));
    let json = format!(
        r#"{{"layers":[{{"size":4,"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{base}","x-kept":true}}],"x-unknown":{{"b":[1,2.5],"a":null}},"config":{{"size":{},"data":"e30=","digest":"{digest}","mediaType":"application/vnd.oci.image.config.v1+json","x-kept":1}},"annotations":{{"z":"1","a":"2"}},"mediaType":"{media_type}","schemaVersion":2}}"#,
        config.len()
    );
    Manifest::parse(json, media_type).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn patched(original: &Manifest, config: &str, layer: &PatchLayer) -> Patched {
    image(original, config.as_bytes(), layer, NAME).unwrap()
}

#[test]
fn an_image_gets_a_layer_and_annotations_and_is_the_same_text_otherwise() {
    let (original, layer) = (
        original(media_type::OCI_MANIFEST, CONFIG),
        patch_layer(&["bash", "vim"]),
    );
    let patched = patched(&original, CONFIG, &layer);
    let (config, origin) = (Digest::of(&patched.config), &original.digest);
    let expected = text(&original.bytes)
        .replace(&format!(r#""size":{},"data":"e30=","#, CONFIG.len()), &format!(r#""size":{},"#, patched.config.len()))
        .replace(&Digest::of(CONFIG.as_bytes()).to_string(), &config.to_string())
        .replace(
            r#""x-kept":true}]"#,
            &format!(
                r#""x-kept":true}},{{"mediaType":"{}","digest":"{}","size":5}}]"#,
                layer.media_type, layer.digest
            ),
        )
        .replace(
            r#""a":"2"}"#,
            &format!(
                r#""a":"2","sh.copa.patch.origin.kind":"manifest","sh.copa.patch.origin.name":"{NAME}","sh.copa.patch.origin.digest":"{origin}","dev.patchport.upgraded":"libc6:amd64=2.36-9+deb12u4","dev.patchport.held":"bash:amd64,vim:amd64"}}"#
            ),
        );
    assert_eq!(text(&patched.manifest.bytes), expected);
    assert_eq!(patched.manifest.media_type, media_type::OCI_MANIFEST);
}

#[test]
fn a_configuration_gets_a_diff_id_and_a_history_entry_and_is_the_same_text_otherwise() {
    let layer = patch_layer(&[]);
    let patched = patched(&original(media_type::OCI_MANIFEST, CONFIG), CONFIG, &layer);
    let entry = r#"{"created":"2024-01-01T00:00:00Z","created_by":"patchport: upgraded libc6 2.36-9 -> 2.36-9+deb12u4","comment":"dev.patchport"}"#;
    let expected = CONFIG
        .replace(r#"["sha256:aa"]"#, &format!(r#"["sha256:aa","{}"]"#, layer.diff_id))
        .replace(r#"{"created_by":"one"}"#, &format!(r#"{{"created_by":"one"}},{entry}"#));
    assert_eq!(text(&patched.config), expected);
}

#[test]
fn an_image_without_history_keeps_none() {
    for (name, config, history) in [
        ("no member", r#"{"rootfs":{"diff_ids":[]}}"#, None),
        ("empty", r#"{"history":[],"rootfs":{"diff_ids":[]}}"#, Some(json!([]))),
        (
            "null",
            r#"{"history":null,"rootfs":{"diff_ids":[]}}"#,
            Some(Value::Null),
        ),
    ] {
        let patched = patched(&original(media_type::OCI_MANIFEST, config), config, &patch_layer(&[]));
        let config: Value = serde_json::from_slice(&patched.config).unwrap();
        assert_eq!(config.get("history").cloned(), history, "{name}");
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 1, "{name}");
    }
}

#[test]
fn a_docker_image_stays_one() {
    let original = original(media_type::DOCKER_MANIFEST, CONFIG);
    let patched = patched(&original, CONFIG, &patch_layer(&["bash"]));
    let json: Value = serde_json::from_slice(&patched.manifest.bytes).unwrap();
    assert_eq!(patched.manifest.media_type, media_type::DOCKER_MANIFEST);
    assert_eq!(json["layers"][1]["mediaType"], media_type::DOCKER_LAYER_GZIP);
    assert_eq!(
        json["annotations"],
        json!({"z": "1", "a": "2"}),
        "Docker's schema 2 has no annotations"
    );
}

#[test]
fn annotations_are_added_where_there_were_none() {
    for (name, had, expected) in [
        ("none", "", 4),
        ("null", r#","annotations":null"#, 4),
        ("some", r#","annotations":{"a":"1"}"#, 5),
    ] {
        let config = Digest::of(CONFIG.as_bytes());
        let json = format!(r#"{{"schemaVersion":2,"config":{{"digest":"{config}","size":1}},"layers":[]{had}}}"#);
        let original = Manifest::parse(json, media_type::OCI_MANIFEST).unwrap();
        let patched = patched(&original, CONFIG, &patch_layer(&[]));
        let json: Value = serde_json::from_slice(&patched.manifest.bytes).unwrap();
        assert_eq!(json["annotations"].as_object().unwrap().len(), expected, "{name}");
    }
}

#[test]
fn what_is_not_shaped_like_an_image_takes_no_layer() {
    let layer = patch_layer(&[]);
    let config = Digest::of(b"{}");
    let no_layers = format!(r#"{{"schemaVersion":2,"config":{{"digest":"{config}","size":2}}}}"#);
    let no_layers = Manifest::parse(no_layers, "").unwrap();
    let image_of = |config| (original(media_type::OCI_MANIFEST, config), config);
    for (name, (original, config), what) in [
        ("an index", (index_of(&[]), CONFIG), "manifest"),
        ("no layers", (no_layers, CONFIG), "manifest"),
        ("no rootfs", image_of("{}"), "configuration"),
        (
            "no list of diff_ids",
            image_of(r#"{"rootfs":{"diff_ids":"x"}}"#),
            "configuration",
        ),
        ("no object", image_of("[]"), "configuration"),
        ("no JSON", image_of("<html>"), "configuration"),
    ] {
        match image(&original, config.as_bytes(), &layer, NAME) {
            Err(AssembleError::Shape { what: found, .. }) => assert_eq!(found, what, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let image = original(media_type::OCI_MANIFEST, CONFIG);
    assert!(matches!(
        index(&image, &HashMap::new(), NAME),
        Err(AssembleError::Shape { what: "index", .. })
    ));
}

/// An entry of an index, with members that must survive.
fn entry(name: &str, architecture: &str) -> String {
    let digest = Digest::of(name.as_bytes());
    format!(
        r#"{{"x-kept":[2.5],"platform":{{"os":"linux","architecture":"{architecture}","x-features":["sse4"]}},"digest":"{digest}","mediaType":"application/vnd.oci.image.manifest.v1+json","size":7,"annotations":{{"b":"1","a":"2"}}}}"#
    )
}

fn attestation(subject: &str) -> String {
    let (digest, subject) = (
        Digest::of(format!("about {subject}").as_bytes()),
        Digest::of(subject.as_bytes()),
    );
    format!(
        r#"{{"annotations":{{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"{subject}"}},"platform":{{"os":"unknown","architecture":"unknown"}},"digest":"{digest}","size":9}}"#
    )
}

fn index_of(entries: &[String]) -> Manifest {
    index_as(media_type::OCI_INDEX, entries)
}

fn index_as(media_type: &str, entries: &[String]) -> Manifest {
    let json = format!(
        r#"{{"x-unknown":{{"b":1,"a":2}},"manifests":[{}],"mediaType":"{media_type}","schemaVersion":2}}"#,
        entries.join(",")
    );
    Manifest::parse(json, media_type).unwrap()
}

/// What replaces the child of this name.
fn replaced(names: &[&str]) -> HashMap<Digest, Manifest> {
    let child = patched(&original(media_type::OCI_MANIFEST, CONFIG), CONFIG, &patch_layer(&[])).manifest;
    names
        .iter()
        .map(|name| (Digest::of(name.as_bytes()), child.clone()))
        .collect()
}

#[test]
fn an_index_has_patched_children_replaced_and_is_the_same_text_otherwise() {
    let about_index = attestation("something else");
    let entries = [
        attestation("amd"),
        entry("amd", "amd64"),
        entry("arm", "arm64"),
        attestation("arm"),
        about_index.clone(),
    ];
    let (original, patched) = (index_of(&entries), replaced(&["amd"]));
    let child = &patched[&Digest::of(b"amd")];
    let made = index(&original, &patched, NAME).unwrap();
    let amd = entry("amd", "amd64")
        .replace(&Digest::of(b"amd").to_string(), &child.digest.to_string())
        .replace(r#""size":7"#, &format!(r#""size":{}"#, child.bytes.len()));
    let kept = [amd, entry("arm", "arm64"), attestation("arm"), about_index].join(",");
    let expected = format!(
        r#"{{"x-unknown":{{"b":1,"a":2}},"manifests":[{kept}],"mediaType":"{}","schemaVersion":2,"annotations":{{"sh.copa.patch.origin.kind":"index","sh.copa.patch.origin.name":"{NAME}","sh.copa.patch.origin.digest":"{}"}}}}"#,
        media_type::OCI_INDEX,
        original.digest
    );
    assert_eq!(text(&made.bytes), expected);
}

#[test]
fn a_child_that_stands_twice_is_replaced_twice_and_its_copy_in_the_entry_is_dropped() {
    let with_data = entry("amd", "amd64").replace(r#""size":7"#, r#""size":7,"data":"e30=""#);
    let original = index_as(media_type::DOCKER_INDEX, &[with_data, entry("amd", "386")]);
    let patched = replaced(&["amd"]);
    let made = index(&original, &patched, NAME).unwrap();
    let child = &patched[&Digest::of(b"amd")].digest;
    let digests: Vec<&Digest> = made.references().map(|descriptor| &descriptor.digest).collect();
    assert_eq!(digests, [child, child]);
    assert!(
        !text(&made.bytes).contains("data") && !text(&made.bytes).contains("copa"),
        "{}",
        text(&made.bytes)
    );
    assert_eq!(made.media_type, media_type::DOCKER_INDEX);
}

#[test]
fn equal_inputs_give_equal_bytes() {
    let original = original(media_type::OCI_MANIFEST, CONFIG);
    let layer = patch_layer(&["bash"]);
    // As the catalog gives it back in another process.
    let stored: PatchLayer = serde_json::from_str(&serde_json::to_string(&layer).unwrap()).unwrap();
    let (one, two) = (patched(&original, CONFIG, &layer), patched(&original, CONFIG, &stored));
    assert_eq!((one.manifest.bytes, one.config), (two.manifest.bytes, two.config));
    // Hash maps differ in their order from one to the next.
    let names = ["a", "b", "c", "d", "e", "f"];
    let entries = names.map(|name| entry(name, "amd64"));
    let make = || index(&index_of(&entries), &replaced(&names), NAME).unwrap().digest;
    assert_eq!(make(), make());
}
