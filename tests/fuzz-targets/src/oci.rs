//! What clients ask for and what registries answer: routes, names, ranges and manifests.

use patchport_oci::manifest::{Content, Manifest};
use patchport_oci::{ByteRange, Digest, Reference, Repository, Route, Tag, error};

use crate::assert_storable;

/// A manifest, as its own type and as each that a registry may say it is: it means one thing.
pub(crate) fn manifest(input: &[u8]) {
    const TYPES: [&str; 4] = [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ];
    let read = |content_type: &str| Manifest::parse(input.to_vec(), content_type).ok();
    let found: Vec<Manifest> = TYPES.iter().chain(&[""]).filter_map(|kind| read(kind)).collect();
    for manifest in &found {
        assert_eq!(manifest.bytes, input);
        assert_eq!(manifest.digest, Digest::of(input));
        assert!(TYPES.contains(&manifest.media_type));
        assert_eq!(manifest.is_index(), matches!(manifest.content, Content::Index { .. }));
        for descriptor in manifest.references() {
            let _ = descriptor.attests();
        }
        let again = read(manifest.media_type).expect("it is of the type that it is said to be");
        assert_eq!(manifest.content, again.content);
    }
}

/// A path, a name, a reference, a digest and a range: each line is tried as each.
pub(crate) fn names(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for line in text.split('\n').take(16) {
        if let Ok(route) = Route::parse(line) {
            assert_route(line, &route);
        }
        if let Ok(name) = line.parse::<Repository>() {
            assert_eq!(name.as_str(), line);
            assert_storable(&name);
        }
        if let Ok(tag) = line.parse::<Tag>() {
            assert_eq!(tag.as_str(), line);
            assert_storable(&tag);
        }
        if let Ok(reference) = line.parse::<Reference>() {
            assert_eq!(reference.to_string(), line);
        }
        if let Ok(digest) = line.parse::<Digest>() {
            assert_eq!(digest.to_string(), line);
            assert_storable(&digest);
        }
        for size in [0, 1, 500, u64::MAX] {
            if let Ok(Some(range)) = ByteRange::parse(line, size) {
                assert!(range.first <= range.last && range.last < size && range.length() >= 1);
            }
        }
        let body = error::body(patchport_oci::ErrorCode::NameInvalid, line);
        serde_json::from_slice::<serde_json::Value>(&body).expect("an error is JSON");
    }
}

fn assert_route(path: &str, route: &Route<'_>) {
    let again = match route {
        Route::Base => "/v2/".to_owned(),
        Route::Manifest { name, reference } => format!("/v2/{name}/manifests/{reference}"),
        Route::Blob { name, digest } => format!("/v2/{name}/blobs/{digest}"),
        Route::Referrers { name, digest } => format!("/v2/{name}/referrers/{digest}"),
        Route::Tags { name } => format!("/v2/{name}/tags/list"),
    };
    assert_eq!(Route::parse(&again).as_ref(), Ok(route), "{path}");
}
