//! A view of a manifest or an index beside the bytes that were received.
//!
//! The bytes are the truth and are served unchanged. The view is read from them once, with the checks that keep us and
//! every client looking at the same tree: one `mediaType`, no body that is both an index and an image, no duplicate keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::digest::{Algorithm, Digest, Hasher};
use crate::media_type;
use crate::platform::Platform;

/// The largest manifest that is read, in bytes: what Podman accepts (containerd's limit is a little above).
pub const MAX_SIZE: usize = 4 * 1024 * 1024;
/// More children or layers than any real image has.
const MAX_DESCRIPTORS: usize = 4096;

/// A reference to content: type, digest, size
/// ([image-spec, descriptors](https://github.com/opencontainers/image-spec/blob/main/descriptor.md)).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content; empty when absent.
    #[serde(default)]
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// Platform of a child manifest.
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<Annotations>,
}

/// The one annotation that we read. The others are left in the bytes: a tree of them could be many times their size.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Annotations {
    /// By this, BuildKit's attestations name the manifest that they describe.
    #[serde(default, rename = "vnd.docker.reference.digest")]
    reference: Option<String>,
}

impl Descriptor {
    /// The manifest that this attestation describes, when it is one.
    pub fn attests(&self) -> Option<Digest> {
        self.annotations.as_ref()?.reference.as_ref()?.parse().ok()
    }
}

/// A manifest, its bytes and its digest. A clone is cheap: caches hand out many.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The bytes as received.
    pub bytes: Bytes,
    /// Digest of `bytes`.
    pub digest: Digest,
    /// Media type to serve it with, one of the four of [`media_type`]: whoever wrote the body does not choose freely
    /// what browsers and clients take it for.
    pub media_type: &'static str,
    /// What it refers to.
    pub content: Content,
    /// The manifest that it is about, by its own word.
    pub subject: Option<Digest>,
}

/// What a manifest refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// One image (or artifact): a config and layers.
    Image {
        /// The configuration.
        config: Descriptor,
        /// Layers, lowest first.
        layers: Arc<[Descriptor]>,
    },
    /// One manifest per platform.
    Index {
        /// The children, in order.
        manifests: Arc<[Descriptor]>,
    },
}

/// Why bytes are no manifest that can be served.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or members of the wrong type.
    #[error("manifest {digest} is not valid: {reason}")]
    Invalid {
        /// Digest of the bytes.
        digest: Digest,
        /// What is wrong.
        reason: String,
    },
    /// Larger than [`MAX_SIZE`].
    #[error("manifest {digest} has {size} bytes, more than the {MAX_SIZE} that clients accept")]
    TooLarge {
        /// Digest of the bytes.
        digest: Digest,
        /// Their number.
        size: usize,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    subject: Option<Descriptor>,
}

impl Manifest {
    /// As [`Manifest::parse_as`], under its SHA-256 digest.
    ///
    /// # Errors
    /// As [`Manifest::parse_as`].
    pub fn parse(bytes: impl Into<Bytes>, content_type: &str) -> Result<Self, ManifestError> {
        Self::parse_as(bytes, content_type, Algorithm::Sha256)
    }

    /// Reads `bytes` that came with `content_type` (empty when there was none). Its digest is of `algorithm`: whoever
    /// asks for a SHA-512 digest is answered with that one.
    ///
    /// # Errors
    /// [`ManifestError`] when the bytes are too many, no manifest of a type that we know, of schema 1, or mean
    /// different things to different readers (CVE-2021-41190).
    pub fn parse_as(bytes: impl Into<Bytes>, content_type: &str, algorithm: Algorithm) -> Result<Self, ManifestError> {
        let bytes = bytes.into();
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&bytes);
        let digest = hasher.finish();
        if bytes.len() > MAX_SIZE {
            return Err(ManifestError::TooLarge {
                digest,
                size: bytes.len(),
            });
        }
        // A struct refuses a key of its own that stands twice; keys that it does not know are nobody's concern.
        let parsed = serde_json::from_slice::<Raw>(&bytes).map_err(|error| error.to_string());
        let checked = parsed.and_then(|raw| spelled_exactly(&bytes).map(|()| raw));
        let read = checked.and_then(|mut raw| {
            let subject = raw.subject.take().map(|subject| subject.digest);
            content(raw, media_type::essence(content_type)).map(|(media_type, content)| (media_type, content, subject))
        });
        match read {
            Ok((media_type, content, subject)) => Ok(Self {
                bytes,
                digest,
                media_type,
                content,
                subject,
            }),
            Err(reason) => Err(ManifestError::Invalid { digest, reason }),
        }
    }

    /// Everything that this refers to directly.
    pub fn references(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, rest) = match &self.content {
            Content::Image { config, layers } => (Some(config), layers),
            Content::Index { manifests } => (None, manifests),
        };
        config.into_iter().chain(rest.iter())
    }

    /// Whether this is an index.
    pub fn is_index(&self) -> bool {
        matches!(self.content, Content::Index { .. })
    }

    /// Whether this is neither an index nor an image that a runtime could run: a signature, an SBOM, a chart.
    pub fn is_artifact(&self) -> bool {
        match &self.content {
            Content::Image { config, layers } => {
                !media_type::is_image_config(&config.media_type)
                    || layers.is_empty()
                    || !layers.iter().all(|layer| media_type::is_layer(&layer.media_type))
            }
            Content::Index { .. } => false,
        }
    }
}

/// Go's decoder takes `Manifests` for `manifests`, ours does not: refuse what the two would read differently.
fn spelled_exactly(bytes: &[u8]) -> Result<(), String> {
    const KEYS: [&str; 6] = ["schemaVersion", "mediaType", "config", "layers", "manifests", "subject"];
    let keys: BTreeMap<String, IgnoredAny> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let odd = keys
        .keys()
        .find(|key| KEYS.iter().any(|known| key.eq_ignore_ascii_case(known) && key != known));
    odd.map_or(Ok(()), |key| {
        Err(format!(
            "the member `{key}` would be read differently by different clients"
        ))
    })
}

fn content(raw: Raw, header: &str) -> Result<(&'static str, Content), String> {
    if raw.schema_version != 2 {
        return Err(format!("schemaVersion is {}, only 2 is served", raw.schema_version));
    }
    let content = match (raw.config, raw.layers, raw.manifests) {
        (None, None, Some(manifests)) => Content::Index {
            manifests: manifests.into(),
        },
        (Some(config), layers, None) => Content::Image {
            config,
            layers: layers.unwrap_or_default().into(),
        },
        (None, _, None) => return Err("it has neither `config` nor `manifests`".into()),
        _ => return Err("it is an index and an image at once".into()),
    };
    let (count, default) = match &content {
        Content::Image { layers, .. } => (layers.len(), media_type::OCI_MANIFEST),
        Content::Index { manifests } => (manifests.len(), media_type::OCI_INDEX),
    };
    if count > MAX_DESCRIPTORS {
        return Err(format!("it has {count} entries, more than {MAX_DESCRIPTORS}"));
    }
    let declared = declared(raw.media_type.as_deref().unwrap_or_default(), header)?.unwrap_or(default);
    if media_type::is_index(declared) != media_type::is_index(default) {
        return Err(format!("its type `{declared}` does not fit its content"));
    }
    Ok((declared, content))
}

/// The type that body and header agree on; nothing when neither names one. A header of another kind
/// (`application/json`, say) comes from servers that do not know what they store, and says nothing.
fn declared(body: &str, header: &str) -> Result<Option<&'static str>, String> {
    let by_header = media_type::manifest(header);
    if body.is_empty() {
        return Ok(by_header);
    }
    let known = media_type::manifest(body).ok_or_else(|| {
        let shown: String = body.chars().take(100).collect();
        format!("its type {shown:?} is none of a manifest")
    })?;
    match by_header {
        Some(other) if other != known => Err(format!("the header says `{other}` and the body says `{known}`")),
        _ => Ok(Some(known)),
    }
}

#[cfg(test)]
mod tests;
