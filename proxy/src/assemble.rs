//! Original manifest and patch layer to patched manifest: composed from the original's own JSON.
//!
//! Pure. A patched image differs from its original by one layer, one history entry, and annotations that say so; equal
//! inputs give equal bytes.

use std::collections::HashMap;

use patchport_oci::manifest::{Content, ManifestError};
use patchport_oci::{Descriptor, Digest, Manifest, media_type};
use serde_json::{Map, Value, json};

use crate::patch::PatchLayer;

/// Why a patched manifest cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The original's JSON has not the shape that it needs.
    #[error("the {what} of {digest} cannot take a layer: {reason}")]
    Shape {
        /// Manifest, configuration or index.
        what: &'static str,
        /// Its digest.
        digest: Digest,
        /// What is missing.
        reason: &'static str,
    },
    /// What was made is no manifest.
    #[error("the patched manifest of {digest} would not be valid")]
    Made {
        /// The original.
        digest: Digest,
        /// Why.
        #[source]
        source: ManifestError,
    },
}

/// A patched image: its manifest and its configuration.
#[derive(Debug)]
pub struct Patched {
    /// The manifest.
    pub manifest: Manifest,
    /// The configuration's bytes.
    pub config: Vec<u8>,
}

/// Adds `layer` to an image whose configuration is `config`. `name` is its `host/repository`, for the lineage.
///
/// # Errors
/// [`AssembleError`] when the original is not shaped like an image.
pub fn image(original: &Manifest, config: &[u8], layer: &PatchLayer, name: &str) -> Result<Patched, AssembleError> {
    let Content::Image {
        config: config_descriptor,
        ..
    } = &original.content
    else {
        return Err(shape("manifest", &original.digest, "it is an index"));
    };
    let config = patched_config(config, &config_descriptor.digest, layer)?;
    let mut manifest = object(&original.bytes).ok_or_else(|| shape("manifest", &original.digest, "it is no object"))?;
    let missing = || shape("manifest", &original.digest, "it has no config or layers");
    let descriptor = manifest
        .get_mut("config")
        .and_then(Value::as_object_mut)
        .ok_or_else(missing)?;
    redescribe(descriptor, &Digest::of(&config), config.len() as u64);
    // A copy of the content inside of its descriptor would be the original's.
    descriptor.shift_remove("data");
    manifest
        .get_mut("layers")
        .and_then(Value::as_array_mut)
        .ok_or_else(missing)?
        .push(json!({
            "mediaType": layer_type(original, layer), "digest": layer.digest, "size": layer.size,
        }));
    if original.media_type == media_type::OCI_MANIFEST {
        annotate(&mut manifest, "manifest", &original.digest, name, Some(layer));
    }
    let manifest = made(manifest, original)?;
    Ok(Patched { manifest, config })
}

/// Puts patched children into an index, by the digests of their originals. Attestations of replaced children are dropped,
/// for they describe other bytes; everything else keeps its descriptor.
///
/// # Errors
/// [`AssembleError`] when the original is not shaped like an index.
pub fn index(original: &Manifest, patched: &HashMap<Digest, Manifest>, name: &str) -> Result<Manifest, AssembleError> {
    let Content::Index { manifests: descriptors } = &original.content else {
        return Err(shape("index", &original.digest, "it is a manifest"));
    };
    let mut index = object(&original.bytes).ok_or_else(|| shape("index", &original.digest, "it is no object"))?;
    let entries = index.get_mut("manifests").and_then(Value::as_array_mut);
    let entries = entries.ok_or_else(|| shape("index", &original.digest, "it has no manifests"))?;
    let kept = entries
        .drain(..)
        .zip(descriptors.iter())
        .filter(|(_, descriptor)| !describes_replaced(descriptor, patched));
    let kept: Vec<Value> = kept
        .map(|(mut entry, descriptor)| {
            if let (Some(child), Some(entry)) = (patched.get(&descriptor.digest), entry.as_object_mut()) {
                redescribe(entry, &child.digest, child.bytes.len() as u64);
                entry.shift_remove("data");
            }
            entry
        })
        .collect();
    *entries = kept;
    if original.media_type == media_type::OCI_INDEX {
        annotate(&mut index, "index", &original.digest, name, None);
    }
    made(index, original)
}

/// Docker's schema 2 has names of its own for what is the same gzipped tar.
fn layer_type<'a>(original: &Manifest, layer: &'a PatchLayer) -> &'a str {
    if original.media_type == media_type::DOCKER_MANIFEST {
        media_type::DOCKER_LAYER_GZIP
    } else {
        &layer.media_type
    }
}

fn describes_replaced(descriptor: &Descriptor, patched: &HashMap<Digest, Manifest>) -> bool {
    descriptor
        .attests()
        .is_some_and(|subject| patched.contains_key(&subject))
}

fn patched_config(config: &[u8], digest: &Digest, layer: &PatchLayer) -> Result<Vec<u8>, AssembleError> {
    let mut config = object(config).ok_or_else(|| shape("configuration", digest, "it is no object"))?;
    let diff_ids = config
        .get_mut("rootfs")
        .and_then(|rootfs| rootfs.get_mut("diff_ids"))
        .and_then(Value::as_array_mut);
    let diff_ids = diff_ids.ok_or_else(|| shape("configuration", digest, "it has no rootfs.diff_ids"))?;
    diff_ids.push(json!(layer.diff_id));
    // An image without history keeps none: one entry beside many layers would be wrong.
    if let Some(history) = config
        .get_mut("history")
        .and_then(Value::as_array_mut)
        .filter(|list| !list.is_empty())
    {
        history.push(json!({
            "created": layer.created(), "created_by": layer.summary(), "comment": "dev.patchport",
        }));
    }
    Ok(serialised(&Value::Object(config)))
}

/// Lineage under the names that Copacetic settled on, and what we did under our own.
fn annotate(object: &mut Map<String, Value>, kind: &str, origin: &Digest, name: &str, layer: Option<&PatchLayer>) {
    let annotations = object.entry("annotations").or_insert_with(|| json!({}));
    if !annotations.is_object() {
        *annotations = json!({});
    }
    let Some(annotations) = annotations.as_object_mut() else {
        return;
    };
    annotations.insert("sh.copa.patch.origin.kind".into(), json!(kind));
    annotations.insert("sh.copa.patch.origin.name".into(), json!(name));
    annotations.insert("sh.copa.patch.origin.digest".into(), json!(origin));
    if let Some(layer) = layer {
        let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(",");
        let upgraded = &mut layer
            .changes
            .upgraded
            .iter()
            .map(|step| format!("{}:{}={}", step.name, step.architecture, step.to));
        annotations.insert("dev.patchport.upgraded".into(), json!(list(upgraded)));
        let held = &mut layer
            .changes
            .held
            .iter()
            .map(|held| format!("{}:{}", held.name, held.architecture));
        if !layer.changes.held.is_empty() {
            annotations.insert("dev.patchport.held".into(), json!(list(held)));
        }
    }
}

fn redescribe(descriptor: &mut Map<String, Value>, digest: &Digest, size: u64) {
    descriptor.insert("digest".into(), json!(digest));
    descriptor.insert("size".into(), json!(size));
}

fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(bytes).ok()
}

fn serialised(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn made(object: Map<String, Value>, original: &Manifest) -> Result<Manifest, AssembleError> {
    let bytes = serialised(&Value::Object(object));
    let digest = original.digest.clone();
    Manifest::parse(bytes, original.media_type).map_err(|source| AssembleError::Made { digest, source })
}

fn shape(what: &'static str, digest: &Digest, reason: &'static str) -> AssembleError {
    AssembleError::Shape {
        what,
        digest: digest.clone(),
        reason,
    }
}

#[cfg(test)]
mod tests;
