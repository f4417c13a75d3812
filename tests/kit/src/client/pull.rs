//! Pulls as a careful client does: manifest by tag or digest, every blob by digest, everything checked.

use serde_json::Value;

use super::{Client, Response};
use crate::image::{Pulled, media, validate};

/// What current clients accept.
pub const ACCEPT: &str = concat!(
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, ",
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
);

/// `GET` of a manifest; panics unless it is a whole 200 whose headers are true.
pub async fn pull_manifest(client: &Client, repository: &str, reference: &str) -> Response {
    let path = format!("/v2/{repository}/manifests/{reference}");
    let response = client.send("GET", &path, &[("accept", ACCEPT)]).await;
    assert_eq!(response.status, 200, "GET {path}: {}", response.text());
    assert!(response.whole, "GET {path} comes to its end");
    assert_eq!(
        response.header("docker-content-digest"),
        Some(response.digest.as_str()),
        "Docker-Content-Digest of {path}"
    );
    if reference.contains(':') {
        assert_eq!(response.digest, reference, "a digest gives exactly its bytes");
    }
    response
}

/// Pulls an image; of an index the child for linux on this machine. Panics unless all of it is valid.
pub async fn pull(client: &Client, repository: &str, reference: &str) -> Pulled {
    let mut response = pull_manifest(client, repository, reference).await;
    let kind = response.header("content-type").unwrap_or_default();
    if [media::OCI_INDEX, media::DOCKER_LIST].contains(&kind) {
        let child = child(&response.json());
        response = pull_manifest(client, repository, &child).await;
    }
    let pulled = whole(client, repository, response).await;
    validate(&pulled);
    pulled
}

/// Pulls an artifact, which is no image: a signature, an SBOM. Panics unless every digest is true.
pub async fn pull_artifact(client: &Client, repository: &str, reference: &str) -> Pulled {
    let response = pull_manifest(client, repository, reference).await;
    whole(client, repository, response).await
}

/// A manifest with its blobs.
async fn whole(client: &Client, repository: &str, response: Response) -> Pulled {
    let manifest = response.json();
    let config = blob(client, repository, &manifest["config"]).await;
    let mut layers = Vec::new();
    for descriptor in manifest["layers"].as_array().into_iter().flatten() {
        layers.push(blob(client, repository, descriptor).await.into());
    }
    Pulled {
        media_type: response.header("content-type").unwrap_or_default().to_owned(),
        manifest: response.body.into(),
        config: config.into(),
        layers,
    }
}

fn child(index: &Value) -> String {
    let children = index["manifests"].as_array().expect("an index has manifests");
    let ours = children.iter().find(|child| {
        child["platform"]["os"] == "linux" && child["platform"]["architecture"] == crate::image::native()
    });
    let digest = ours.and_then(|child| child["digest"].as_str());
    digest
        .unwrap_or_else(|| panic!("the index has a child for this machine: {index}"))
        .to_owned()
}

async fn blob(client: &Client, repository: &str, descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"].as_str().expect("a descriptor has a digest");
    let path = format!("/v2/{repository}/blobs/{digest}");
    let response = client.get(&path).await;
    assert_eq!(response.status, 200, "GET {path}: {}", response.text());
    assert!(response.whole, "GET {path} comes to its end");
    assert_eq!(response.digest, digest, "a digest gives exactly its bytes");
    response.body
}
