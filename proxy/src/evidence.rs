//! What comes with a patched image: where it comes from, what it fixes and what not, what is in it, and who vouches for it.
//!
//! Pure, but for a signer that is a program: equal inputs give equal bytes, and no clock is asked. A document is an artifact
//! whose `subject` is the patched manifest (OCI image spec 1.1), so that the referrers API lists it there.

use std::collections::BTreeSet;

use bytes::Bytes;
use patchport_oci::manifest::ManifestError;
use patchport_oci::{Digest, Manifest, Platform, media_type};
use patchport_packages::inventory::Installed;
use patchport_packages::{Findings, Inventory, language};
use serde_json::{Value, json};

use crate::patch::PatchLayer;
use crate::plan::{LeftOut, Plan};

pub mod provenance;
pub mod sbom;
pub mod signature;
pub mod vex;

/// The media type of in-toto statements, signed or not.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The annotation by which clients choose a statement without reading it.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// The configuration of an artifact that has none.
const EMPTY: &[u8] = b"{}";

/// All that is known of one patched image.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    /// Its `host/repository`.
    pub name: &'a str,
    /// The manifest that it was made from.
    pub original: &'a Manifest,
    /// Its own manifest.
    pub patched: &'a Manifest,
    /// Its platform.
    pub platform: &'a Platform,
    /// What was done to it.
    pub plan: &'a Plan,
    /// What that made.
    pub layer: &'a PatchLayer,
    /// What was found in the original.
    pub findings: &'a Findings,
    /// What of that the plan leaves as it is.
    pub left_out: &'a [LeftOut],
    /// The original's packages.
    pub before: &'a Inventory,
    /// Its own packages, as its package database has them.
    pub after: &'a Inventory,
    /// Its packages of programming languages.
    pub languages: &'a [language::Package],
    /// What of those could not be read, for people.
    pub notes: &'a [String],
}

/// An artifact about a manifest, with the bytes of its blobs.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Its manifest, whose `subject` is what it is about.
    pub manifest: Manifest,
    /// What it is about.
    pub subject: Digest,
    /// What lists show of it.
    pub descriptor: Value,
    /// Its blobs.
    pub blobs: Vec<Bytes>,
}

/// Why a document cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// What was made is no manifest.
    #[error("the manifest of a document about {subject} would not be valid")]
    Made {
        /// What the document is about.
        subject: Digest,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// The signer gave no signature.
    #[error("{subject} cannot be signed: {reason}")]
    Unsigned {
        /// The manifest.
        subject: Digest,
        /// What went wrong, and where.
        reason: String,
    },
    /// The SBOM cannot be written.
    #[error("the SBOM of {subject} cannot be written")]
    Sbom {
        /// The image.
        subject: Digest,
        /// Why.
        #[source]
        source: patchport_packages::document::Error,
    },
}

/// The documents about a patched image: provenance, what was fixed and what was not (where advisories are known), SBOM.
///
/// # Errors
/// [`EvidenceError`], which has no reason to be.
pub fn of_image(account: &Account<'_>) -> Result<Vec<Artifact>, EvidenceError> {
    let created = account.layer.created();
    let digest = account.patched.digest.to_string();
    let about = statement_of(account.name, &account.patched.digest);
    let provenance = about(provenance::TYPE, provenance::predicate(account));
    let vex = vex::openvex(&vex::Product {
        name: account.name,
        digest: &digest,
        before: account.before,
        after: account.after,
        findings: account.findings,
        left_out: account.left_out,
        created: &created,
    });
    let sbom = sbom::document(account, &created).map_err(|source| EvidenceError::Sbom {
        subject: account.patched.digest.clone(),
        source,
    })?;
    let statements = [
        Some((provenance::TYPE, "provenance.json", provenance)),
        vex.map(|document| (vex::TYPE, "openvex.json", about(vex::TYPE, document))),
    ];
    let mut artifacts = Vec::new();
    for (kind, title, text) in statements.into_iter().flatten() {
        artifacts.push(statement(account.patched, kind, title, &text, &created)?);
    }
    let sbom = Payload {
        artifact_type: sbom::TYPE,
        layer_type: sbom::TYPE,
        bytes: sbom.into(),
        title: "sbom.cdx.json",
        layer_annotations: vec![],
        annotations: vec![("org.opencontainers.image.created", created)],
    };
    artifacts.push(attach(account.patched, sbom)?);
    Ok(artifacts)
}

/// The document about a patched index: which index it was made from, and which of its children were.
///
/// # Errors
/// [`EvidenceError`], which has no reason to be.
pub fn of_index(
    name: &str,
    original: &Manifest,
    patched: &Manifest,
    children: &[(&Digest, &Digest)],
    created: &str,
) -> Result<Artifact, EvidenceError> {
    let predicate = provenance::index_predicate(name, original, children);
    let text = statement_of(name, &patched.digest)(provenance::TYPE, predicate);
    statement(patched, provenance::TYPE, "provenance.json", &text, created)
}

/// The packages of the result: those before, with what its package database has of the ones that changed.
pub fn after(before: &Inventory, layer: &PatchLayer) -> Inventory {
    let key = |package: &Installed| (package.name.clone(), package.architecture.clone());
    let changed: BTreeSet<_> = layer.now.iter().chain(&layer.changes.removed).map(key).collect();
    let kept = before
        .packages
        .iter()
        .filter(|package| !changed.contains(&key(package)));
    let mut packages: Vec<Installed> = kept.chain(&layer.now).chain(&layer.changes.added).cloned().collect();
    packages.sort_by_cached_key(key);
    Inventory {
        packages,
        ..before.clone()
    }
}

/// An in-toto statement about a manifest, as text
/// ([statement v1](https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md)).
fn statement_of<'a>(name: &'a str, digest: &'a Digest) -> impl Fn(&str, Value) -> String + 'a {
    move |kind, predicate| {
        json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "name": name, "digest": digest_set(digest) }],
            "predicateType": kind,
            "predicate": predicate,
        })
        .to_string()
    }
}

/// A digest as in-toto writes it.
fn digest_set(digest: &Digest) -> Value {
    json!({ (digest.algorithm().name()): digest.hex() })
}

fn statement(
    subject: &Manifest,
    kind: &'static str,
    title: &'static str,
    text: &str,
    created: &str,
) -> Result<Artifact, EvidenceError> {
    let payload = Payload {
        artifact_type: IN_TOTO,
        layer_type: IN_TOTO,
        bytes: Bytes::copy_from_slice(text.as_bytes()),
        title,
        layer_annotations: vec![(PREDICATE_TYPE, kind.to_owned())],
        annotations: vec![
            ("org.opencontainers.image.created", created.to_owned()),
            (PREDICATE_TYPE, kind.to_owned()),
        ],
    };
    attach(subject, payload)
}

/// What an artifact holds.
struct Payload {
    artifact_type: &'static str,
    layer_type: &'static str,
    bytes: Bytes,
    /// The name of the file that clients make of it.
    title: &'static str,
    layer_annotations: Vec<(&'static str, String)>,
    annotations: Vec<(&'static str, String)>,
}

/// An artifact with one layer, about a manifest.
fn attach(subject: &Manifest, payload: Payload) -> Result<Artifact, EvidenceError> {
    let annotations =
        |list: Vec<(&str, String)>| Value::Object(list.into_iter().map(|(k, v)| (k.into(), v.into())).collect());
    let mut layer = payload.layer_annotations;
    layer.push(("org.opencontainers.image.title", payload.title.to_owned()));
    let about = annotations(payload.annotations);
    let json = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "artifactType": payload.artifact_type,
        "config": { "mediaType": media_type::OCI_EMPTY, "digest": Digest::of(EMPTY), "size": EMPTY.len(), "data": "e30=" },
        "layers": [{
            "mediaType": payload.layer_type,
            "digest": Digest::of(&payload.bytes),
            "size": payload.bytes.len(),
            "annotations": annotations(layer),
        }],
        "subject": { "mediaType": subject.media_type, "digest": subject.digest, "size": subject.bytes.len() },
        "annotations": about,
    });
    let made = Manifest::parse(json.to_string().into_bytes(), media_type::OCI_MANIFEST);
    let manifest = made.map_err(|source| EvidenceError::Made {
        subject: subject.digest.clone(),
        source,
    })?;
    Ok(Artifact {
        subject: subject.digest.clone(),
        descriptor: json!({
            "mediaType": manifest.media_type,
            "digest": manifest.digest,
            "size": manifest.bytes.len(),
            "artifactType": payload.artifact_type,
            "annotations": about,
        }),
        manifest,
        blobs: vec![Bytes::from_static(EMPTY), payload.bytes],
    })
}

#[cfg(test)]
mod tests;
