//! What is read from manifests, and what is refused, as tables.

use super::*;

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn descriptor() -> String {
    format!(r#"{{"mediaType":"x","digest":"{D}","size":1}}"#)
}

fn parse(body: &str, header: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(body.replace("D!", &descriptor()), header)
}

#[test]
fn images_and_indexes_keep_their_bytes() {
    let image = parse(
        r#"{ "schemaVersion":2, "config":D!, "layers":[D!, D!], "other":1 }"#,
        "",
    )
    .unwrap();
    assert_eq!(image.media_type, media_type::OCI_MANIFEST);
    assert_eq!(image.references().count(), 3);
    assert_eq!(Digest::of(&image.bytes), image.digest);
    let index = parse(r#"{"schemaVersion":2,"manifests":[D!]}"#, media_type::DOCKER_INDEX).unwrap();
    assert!(index.is_index());
    assert_eq!(index.media_type, media_type::DOCKER_INDEX);
}

#[test]
fn a_type_with_parameters_is_the_same_type() {
    let header = format!("{}; charset=utf-8", media_type::OCI_INDEX);
    assert_eq!(
        parse(r#"{"schemaVersion":2,"manifests":[]}"#, &header)
            .unwrap()
            .media_type,
        media_type::OCI_INDEX
    );
}

#[test]
fn the_digest_is_of_the_algorithm_that_was_asked_for() {
    let body = r#"{"schemaVersion":2,"manifests":[]}"#;
    for (algorithm, prefix) in [
        (Algorithm::Sha256, "sha256:bc5857ac"),
        (Algorithm::Sha512, "sha512:61749b92"),
    ] {
        let manifest = Manifest::parse_as(body, "", algorithm).unwrap();
        assert!(manifest.digest.to_string().starts_with(prefix), "{}", manifest.digest);
    }
    let broken = Manifest::parse_as("no", "", Algorithm::Sha512).unwrap_err();
    assert!(broken.to_string().starts_with("manifest sha512:"), "{broken}");
}

#[test]
fn only_types_of_manifests_are_served() {
    const IMAGE: &str = r#"{"schemaVersion":2,"config":D!,"layers":[]}"#;
    const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;
    for (name, body, header, served) in [
        ("no header", IMAGE, "", media_type::OCI_MANIFEST),
        (
            "a server of files",
            IMAGE,
            "application/octet-stream",
            media_type::OCI_MANIFEST,
        ),
        (
            "a server of JSON",
            INDEX,
            "application/json; charset=utf-8",
            media_type::OCI_INDEX,
        ),
        ("a page", INDEX, "text/html", media_type::OCI_INDEX),
        (
            "Docker by header",
            IMAGE,
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_MANIFEST,
        ),
        (
            "an empty type in the body",
            r#"{"schemaVersion":2,"mediaType":"","manifests":[]}"#,
            "",
            media_type::OCI_INDEX,
        ),
        (
            "the body knows better than text/plain",
            r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[]}"#,
            "text/plain",
            media_type::DOCKER_INDEX,
        ),
    ] {
        assert_eq!(parse(body, header).unwrap().media_type, served, "{name}");
    }
    for body_type in [
        "text/html",
        "application/json",
        "application/vnd.oci.image.config.v1+json",
        " ",
    ] {
        for header in ["", "text/html", media_type::OCI_INDEX] {
            let body = INDEX.replace('{', &format!(r#"{{"mediaType":"{body_type}","#));
            let error = parse(&body, header).unwrap_err().to_string();
            assert!(
                error.contains("is none of a manifest"),
                "{body_type}, {header}: {error}"
            );
        }
    }
}

#[test]
fn of_annotations_only_the_one_that_is_read_is_kept() {
    let with = |annotations: &str| {
        let child = descriptor().replace('{', &format!(r#"{{"annotations":{annotations},"#));
        parse(&format!(r#"{{"schemaVersion":2,"manifests":[{child}]}}"#), "")
    };
    let attests = |annotations: &str| with(annotations).unwrap().references().next().unwrap().attests();
    let reference = format!(r#"{{"a":[0,{{"b":null}}],"vnd.docker.reference.digest":"{D}","c":"d"}}"#);
    assert_eq!(attests(&reference), D.parse().ok());
    for nothing in [
        "null",
        "{}",
        r#"{"a":1}"#,
        r#"{"vnd.docker.reference.digest":"latest"}"#,
    ] {
        assert_eq!(attests(nothing), None, "{nothing}");
    }
    let twice = r#"{"vnd.docker.reference.digest":"a","vnd.docker.reference.digest":"b"}"#;
    for refused in [r#"{"vnd.docker.reference.digest":1}"#, twice, "1"] {
        assert!(with(refused).is_err(), "{refused}");
    }
}

#[test]
fn clones_share_what_is_large() {
    let image = parse(r#"{"schemaVersion":2,"config":D!,"layers":[D!]}"#, "").unwrap();
    let copy = image.clone();
    let (Content::Image { layers: one, .. }, Content::Image { layers: other, .. }) = (&image.content, &copy.content)
    else {
        panic!("an image was read as an index");
    };
    assert!(Arc::ptr_eq(one, other));
    assert_eq!(image.bytes.as_ptr(), copy.bytes.as_ptr());
}

#[test]
fn what_confuses_readers_is_refused() {
    for (name, body, header) in [
        ("not JSON", "<html>", ""),
        ("schema 1", r#"{"schemaVersion":1,"fsLayers":[]}"#, ""),
        ("nothing", r#"{"schemaVersion":2}"#, ""),
        (
            "both",
            r#"{"schemaVersion":2,"config":D!,"layers":[],"manifests":[]}"#,
            "",
        ),
        (
            "two spellings",
            r#"{"schemaVersion":2,"config":D!,"layers":[],"Manifests":[]}"#,
            "",
        ),
        ("twice", r#"{"schemaVersion":2,"manifests":[],"manifests":[D!]}"#, ""),
        (
            "two types",
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
            media_type::OCI_MANIFEST,
        ),
        (
            "wrong type",
            r#"{"schemaVersion":2,"manifests":[]}"#,
            media_type::OCI_MANIFEST,
        ),
        (
            "bad digest",
            r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:../x","size":1}]}"#,
            "",
        ),
        (
            "negative size",
            &format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{D}","size":-1}}]}}"#),
            "",
        ),
    ] {
        assert!(parse(body, header).is_err(), "{name}");
    }
    assert!(matches!(
        Manifest::parse(vec![b' '; MAX_SIZE + 1], ""),
        Err(ManifestError::TooLarge { .. })
    ));
}

proptest::proptest! {
    #[test]
    fn no_body_panics(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = Manifest::parse(body, "");
    }
}
