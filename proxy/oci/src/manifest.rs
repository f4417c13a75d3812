//! A view of a manifest or an index beside the bytes that were received.
//!
//! The bytes are the truth and are served unchanged. The view is read from them once, with the checks that keep us and
//! every client looking at the same tree: one `mediaType`, no body that is both an index and an image, no duplicate keys.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::digest::Digest;
use crate::media_type;
use crate::platform::Platform;

/// The largest manifest that is read, in bytes: what Podman accepts (containerd's limit is a little above).
pub const MAX_SIZE: usize = 4 * 1024 * 1024;
/// More children or layers than any real image has.
const MAX_DESCRIPTORS: usize = 4096;
/// The annotation by which BuildKit's attestations name the manifest that they describe.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

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
    /// Annotations; only those that we read are looked at.
    #[serde(default)]
    annotations: Option<serde_json::Map<String, Value>>,
}

impl Descriptor {
    /// The manifest that this attestation describes, when it is one.
    pub fn attests(&self) -> Option<Digest> {
        self.annotations.as_ref()?.get(REFERENCE_DIGEST)?.as_str()?.parse().ok()
    }
}

/// A manifest, its bytes and its digest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The bytes as received.
    pub bytes: Bytes,
    /// Digest of `bytes`.
    pub digest: Digest,
    /// Media type to serve it with.
    pub media_type: String,
    /// What it refers to.
    pub content: Content,
}

/// What a manifest refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// One image (or artifact): a config and layers.
    Image {
        /// The configuration.
        config: Descriptor,
        /// Layers, lowest first.
        layers: Vec<Descriptor>,
    },
    /// One manifest per platform.
    Index {
        /// The children, in order.
        manifests: Vec<Descriptor>,
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
}

impl Manifest {
    /// Reads `bytes` that came with `content_type` (empty when there was none).
    ///
    /// # Errors
    /// [`ManifestError`] when the bytes are too many, no manifest, of schema 1, or mean different things to different
    /// readers (CVE-2021-41190).
    pub fn parse(bytes: impl Into<Bytes>, content_type: &str) -> Result<Self, ManifestError> {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        if bytes.len() > MAX_SIZE {
            return Err(ManifestError::TooLarge {
                digest,
                size: bytes.len(),
            });
        }
        // A struct refuses a key of its own that stands twice; keys that it does not know are nobody's concern.
        let parsed = serde_json::from_slice::<Raw>(&bytes).map_err(|error| error.to_string());
        let checked = parsed.and_then(|raw| spelled_exactly(&bytes).map(|()| raw));
        match checked.and_then(|raw| content(raw, media_type::essence(content_type))) {
            Ok((media_type, content)) => Ok(Self {
                bytes,
                digest,
                media_type,
                content,
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
        config.into_iter().chain(rest)
    }

    /// Whether this is an index.
    pub fn is_index(&self) -> bool {
        matches!(self.content, Content::Index { .. })
    }
}

/// Go's decoder takes `Manifests` for `manifests`, ours does not: refuse what the two would read differently.
fn spelled_exactly(bytes: &[u8]) -> Result<(), String> {
    const KEYS: [&str; 5] = ["schemaVersion", "mediaType", "config", "layers", "manifests"];
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

fn content(raw: Raw, header: &str) -> Result<(String, Content), String> {
    if raw.schema_version != 2 {
        return Err(format!("schemaVersion is {}, only 2 is served", raw.schema_version));
    }
    let body_type = raw.media_type.unwrap_or_default();
    if !body_type.is_empty() && is_manifest_type(header) && header != body_type {
        return Err(format!("the header says `{header}` and the body says `{body_type}`"));
    }
    let content = match (raw.config, raw.layers, raw.manifests) {
        (None, None, Some(manifests)) => Content::Index { manifests },
        (Some(config), layers, None) => Content::Image {
            config,
            layers: layers.unwrap_or_default(),
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
    let declared = if !body_type.is_empty() {
        body_type
    } else if is_manifest_type(header) {
        header.to_owned()
    } else {
        default.to_owned()
    };
    if is_manifest_type(&declared) && media_type::is_index(&declared) != media_type::is_index(default) {
        return Err(format!("its type `{declared}` does not fit its content"));
    }
    Ok((declared, content))
}

fn is_manifest_type(text: &str) -> bool {
    media_type::is_index(text) || media_type::is_image_manifest(text)
}

#[cfg(test)]
mod tests {
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
}
