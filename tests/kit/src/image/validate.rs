//! Everything that must be true of an image that was pulled, whoever made it: digests, sizes, media types, the
//! config's diff_ids against the layers, history against layers. One function, called wherever a test pulls.

use bytes::Bytes;
use serde_json::Value;

use super::layer::inflate;
use super::{Image, media};

/// An image as a client received it.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// `Content-Type` of the manifest.
    pub media_type: String,
    /// The manifest's bytes.
    pub manifest: Bytes,
    /// The configuration's bytes.
    pub config: Bytes,
    /// The layers' bytes, base first.
    pub layers: Vec<Bytes>,
}

impl Pulled {
    /// What a perfect client would receive.
    pub fn of(image: &Image) -> Self {
        Self {
            media_type: image.media_type.clone(),
            manifest: image.manifest.clone(),
            config: image.config.clone(),
            layers: image.layers.iter().map(|layer| layer.bytes.clone()).collect(),
        }
    }

    /// Digest of the manifest.
    pub fn digest(&self) -> String {
        crate::digest(&self.manifest)
    }

    /// The manifest, parsed.
    pub fn manifest_json(&self) -> Value {
        serde_json::from_slice(&self.manifest).expect("a manifest is JSON")
    }

    /// The configuration, parsed.
    pub fn config_json(&self) -> Value {
        serde_json::from_slice(&self.config).expect("a configuration is JSON")
    }

    /// Digests of the layers, base first.
    pub fn layer_digests(&self) -> Vec<String> {
        self.layers.iter().map(|layer| crate::digest(layer)).collect()
    }
}

/// Panics unless every invariant of the image holds.
#[track_caller]
pub fn validate(pulled: &Pulled) {
    let manifest = pulled.manifest_json();
    let config = pulled.config_json();
    assert_eq!(manifest["schemaVersion"], 2, "schemaVersion");
    assert_eq!(
        manifest["mediaType"],
        pulled.media_type.as_str(),
        "mediaType in the manifest and Content-Type"
    );
    let docker = pulled.media_type == media::DOCKER_MANIFEST;
    let config_type = if docker {
        media::DOCKER_CONFIG
    } else {
        media::OCI_CONFIG
    };
    assert_eq!(manifest["config"]["mediaType"], config_type, "media type of the config");
    described(&manifest["config"], &pulled.config);
    layers_fit(&manifest, &config, &pulled.layers, docker);
    if let Some(history) = config["history"].as_array() {
        let filled = history.iter().filter(|entry| entry["empty_layer"] != true).count();
        assert_eq!(filled, pulled.layers.len(), "history entries that made a layer");
    }
}

#[track_caller]
fn layers_fit(manifest: &Value, config: &Value, blobs: &[Bytes], docker: bool) {
    let layers = manifest["layers"].as_array().expect("a manifest has layers");
    let diff_ids = config["rootfs"]["diff_ids"]
        .as_array()
        .expect("a configuration has diff_ids");
    assert_eq!(config["rootfs"]["type"], "layers", "rootfs.type");
    assert_eq!(
        (layers.len(), diff_ids.len()),
        (blobs.len(), blobs.len()),
        "layers and diff_ids are as many as blobs"
    );
    for ((descriptor, diff_id), bytes) in layers.iter().zip(diff_ids).zip(blobs) {
        described(descriptor, bytes);
        assert_eq!(
            *diff_id,
            crate::digest(&inflate(bytes)),
            "diff_id of {}",
            descriptor["digest"]
        );
        media_type_fits(descriptor, bytes, docker);
    }
}

#[track_caller]
fn described(descriptor: &Value, bytes: &[u8]) {
    assert_eq!(descriptor["digest"], crate::digest(bytes), "digest of {descriptor}");
    assert_eq!(descriptor["size"], bytes.len(), "size of {descriptor}");
}

#[track_caller]
fn media_type_fits(descriptor: &Value, bytes: &[u8], docker: bool) {
    let name = descriptor["mediaType"].as_str().unwrap_or_default();
    let packing = match bytes {
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        _ => "tar",
    };
    assert!(
        name.ends_with(packing),
        "{name} says how {} is packed ({packing})",
        descriptor["digest"]
    );
    assert_eq!(
        name.contains("vnd.docker."),
        docker,
        "{name} belongs to the family of the manifest"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Layer;

    fn spoiled(name: &str, spoil: impl Fn(&mut Pulled) + std::panic::RefUnwindSafe) {
        let image = Image::builder().layer(Layer::new().file("a", "b").gzip()).build();
        let refused = std::panic::catch_unwind(|| {
            let mut pulled = Pulled::of(&image);
            spoil(&mut pulled);
            validate(&pulled);
        });
        assert!(refused.is_err(), "{name} passes for valid");
    }

    #[test]
    fn each_spoiled_image_is_refused() {
        spoiled("another layer", |pulled| {
            pulled.layers[0] = Layer::new().file("a", "c").gzip().bytes
        });
        spoiled("a missing layer", |pulled| pulled.layers.clear());
        spoiled("another config", |pulled| {
            pulled.config = Bytes::from_static(b"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}")
        });
        spoiled("another content type", |pulled| {
            pulled.media_type = media::DOCKER_MANIFEST.to_owned()
        });
        spoiled("a wrong size", |pulled| {
            let mut manifest = pulled.manifest_json();
            manifest["config"]["size"] = 1.into();
            pulled.manifest = serde_json::to_vec(&manifest).unwrap().into();
        });
    }
}
