//! Small images and indexes, made in memory, byte for byte the same each time. What a test needs to know of an
//! image stands in its fields; nothing is parsed back.

mod layer;
mod validate;

use bytes::Bytes;
use serde_json::{Value, json};

pub use layer::{Blob, Compression, Layer, from_tar, inflate, unpack};
pub use validate::{Pulled, validate};

/// Media types of the manifests that the kit makes (OCI image specification, Docker image manifest v2 schema 2).
pub mod media {
    /// An OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// An OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// A Docker schema 2 manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// A Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// A Docker image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
}

/// An image: a manifest and the blobs it names.
#[derive(Clone, Debug)]
pub struct Image {
    /// Media type of the manifest.
    pub media_type: String,
    /// The manifest's bytes.
    pub manifest: Bytes,
    /// The configuration's bytes.
    pub config: Bytes,
    /// The layers, base first.
    pub layers: Vec<Blob>,
    /// `os/architecture`.
    pub platform: (String, String),
}

impl Image {
    /// Begins an image for linux on this machine's architecture, without layers.
    pub fn builder() -> ImageBuilder {
        ImageBuilder {
            layers: Vec::new(),
            config: json!({}),
            docker: false,
            architecture: native().to_owned(),
            annotations: json!({}),
        }
    }

    /// A tiny image that no other call with another `content` gives: one gzip layer with one file.
    pub fn tiny(content: &str) -> Self {
        Self::builder()
            .layer(Layer::new().file("content", content).gzip())
            .build()
    }

    /// Digest of the manifest.
    pub fn digest(&self) -> String {
        crate::digest(&self.manifest)
    }

    /// Digest of the configuration.
    pub fn config_digest(&self) -> String {
        crate::digest(&self.config)
    }

    /// Digests of config and layers.
    pub fn blob_digests(&self) -> Vec<String> {
        let layers = self.layers.iter().map(Blob::digest);
        layers.chain([self.config_digest()]).collect()
    }
}

/// The architecture of this machine as OCI names it.
pub fn native() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Collects what an image is made of.
pub struct ImageBuilder {
    layers: Vec<Blob>,
    config: Value,
    docker: bool,
    architecture: String,
    annotations: Value,
}

impl ImageBuilder {
    /// Adds a layer on top.
    pub fn layer(mut self, blob: Blob) -> Self {
        self.layers.push(blob);
        self
    }

    /// Sets a member of the image's `config` object, such as `Entrypoint` or `Labels`.
    pub fn config(mut self, member: &str, value: Value) -> Self {
        self.config[member] = value;
        self
    }

    /// Adds an annotation to the manifest.
    pub fn annotation(mut self, name: &str, value: &str) -> Self {
        self.annotations[name] = json!(value);
        self
    }

    /// Gives the image Docker's media types.
    pub fn docker(mut self) -> Self {
        self.docker = true;
        self
    }

    /// Says the image is for linux on this architecture.
    pub fn architecture(mut self, name: &str) -> Self {
        name.clone_into(&mut self.architecture);
        self
    }

    /// The image. Members that no code of the product knows are part of it on purpose: they must survive.
    pub fn build(self) -> Image {
        let history: Vec<Value> = (0..self.layers.len())
            .map(|number| json!({ "created": "2024-01-01T00:00:00Z", "created_by": format!("kit layer {number}") }))
            .collect();
        let diff_ids: Vec<&str> = self.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let config = json!({
            "architecture": self.architecture, "os": "linux", "created": "2024-01-01T00:00:00Z", "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids }, "history": history, "x-kit-unknown": { "kept": [1, 2.50, "\u{e9}"] },
        });
        let config = Bytes::from(serde_json::to_vec_pretty(&config).unwrap());
        let (media_type, config_type) = if self.docker {
            (media::DOCKER_MANIFEST, media::DOCKER_CONFIG)
        } else {
            (media::OCI_MANIFEST, media::OCI_CONFIG)
        };
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| descriptor(layer.compression.media_type(self.docker), &layer.bytes))
            .collect();
        let mut manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": descriptor(config_type, &config), "layers": layers });
        if self
            .annotations
            .as_object()
            .is_some_and(|annotations| !annotations.is_empty())
        {
            manifest["annotations"] = self.annotations;
        }
        Image {
            media_type: media_type.to_owned(),
            manifest: serde_json::to_vec_pretty(&manifest).unwrap().into(),
            config,
            layers: self.layers,
            platform: ("linux".to_owned(), self.architecture),
        }
    }
}

/// An index and its children.
#[derive(Clone, Debug)]
pub struct Index {
    /// Media type of the index.
    pub media_type: String,
    /// The index's bytes.
    pub manifest: Bytes,
    /// Children in the order of the index, attestations included.
    pub images: Vec<Image>,
}

impl Index {
    /// An OCI index of these images, by their platforms; `attest` adds an attestation manifest for each, as
    /// BuildKit writes them (annotation `vnd.docker.reference.type`).
    pub fn of(images: &[Image], attest: bool) -> Self {
        let mut children: Vec<Image> = images.to_vec();
        let mut descriptors: Vec<Value> = images.iter().map(child).collect();
        for image in images.iter().filter(|_| attest) {
            let attestation = attestation(image);
            let mut entry = descriptor(&attestation.media_type, &attestation.manifest);
            entry["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.digest() });
            entry["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
            descriptors.push(entry);
            children.push(attestation);
        }
        let manifest = json!({ "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": descriptors, "annotations": { "kit": "index" } });
        Self {
            media_type: media::OCI_INDEX.to_owned(),
            manifest: serde_json::to_vec_pretty(&manifest).unwrap().into(),
            images: children,
        }
    }

    /// Digest of the index.
    pub fn digest(&self) -> String {
        crate::digest(&self.manifest)
    }
}

fn child(image: &Image) -> Value {
    let mut entry = descriptor(&image.media_type, &image.manifest);
    entry["platform"] = json!({ "os": image.platform.0, "architecture": image.platform.1 });
    entry
}

fn attestation(image: &Image) -> Image {
    let statement = json!({ "_type": "https://in-toto.io/Statement/v0.1", "subject": [{ "digest": image.digest() }] });
    let blob = Blob {
        bytes: serde_json::to_vec(&statement).unwrap().into(),
        diff_id: String::new(),
        compression: Compression::Plain,
    };
    let config = Bytes::from_static(b"{}");
    let mut layer = descriptor("application/vnd.in-toto+json", &blob.bytes);
    layer["annotations"] = json!({ "in-toto.io/predicate-type": "https://spdx.dev/Document" });
    let manifest = json!({ "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": descriptor(media::OCI_CONFIG, &config), "layers": [layer] });
    Image {
        media_type: media::OCI_MANIFEST.to_owned(),
        manifest: serde_json::to_vec(&manifest).unwrap().into(),
        config,
        layers: vec![blob],
        platform: ("unknown".to_owned(), "unknown".to_owned()),
    }
}

/// The descriptor of some bytes.
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": crate::digest(bytes), "size": bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_the_same_bytes_each_time_and_valid() {
        for docker in [false, true] {
            let make = || {
                let builder = Image::builder()
                    .layer(Layer::new().file("etc/a", "1").gzip())
                    .layer(Layer::new().file("etc/b", "2").zstd());
                let builder = builder.config("Entrypoint", json!(["/bin/true"]));
                if docker {
                    builder.docker().build()
                } else {
                    builder.build()
                }
            };
            let (one, two) = (make(), make());
            assert_eq!(one.digest(), two.digest());
            validate(&Pulled::of(&one));
        }
    }

    #[test]
    fn an_index_names_its_children_and_their_attestations() {
        let index = Index::of(
            &[Image::tiny("a"), Image::builder().architecture("s390x").build()],
            true,
        );
        let manifest: Value = serde_json::from_slice(&index.manifest).unwrap();
        assert_eq!(manifest["manifests"].as_array().unwrap().len(), 4);
        assert_eq!(index.images.len(), 4);
        assert_eq!(
            manifest["manifests"][2]["annotations"]["vnd.docker.reference.digest"],
            index.images[0].digest()
        );
    }
}
