//! Signatures of patched manifests in cosign's layout: a "simple signing" payload, signed with a key or by a program.
//!
//! A key signs deterministically (RFC 6979). Neither key nor payload reaches a log or an error; a program that fails, is late or
//! gives no signature is an error, never an unsigned image.

use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use p256::SecretKey;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::DecodePrivateKey as _;
use patchport_config::Sign;
use patchport_oci::{Digest, Manifest, Tag};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::{Artifact, EvidenceError, Payload, attach};

/// The artifact type of a signature, as cosign has it for referrers.
pub const TYPE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// The payload's media type.
const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of the payload's descriptor that holds its signature.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// The largest key file, in bytes.
const MAX_KEY: u64 = 64 * 1024;
/// The largest answer of a program, in bytes: a signature has some hundred.
const MAX_SIGNATURE: u64 = 16 * 1024;
/// How much of what a program complains is kept, in bytes.
const MAX_COMPLAINT: u64 = 16 * 1024;

/// Who signs.
pub struct Signer(Means);

enum Means {
    Key(SigningKey),
    Program {
        program: String,
        arguments: Vec<String>,
        timeout: Duration,
    },
}

/// Why there is nobody who signs.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the key {file} of [sign]")]
    Unreadable {
        /// The file.
        file: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file holds no key that we know.
    #[error("the key {file} of [sign] is not usable: {reason}")]
    Unusable {
        /// The file.
        file: String,
        /// Why not, and what to do.
        reason: &'static str,
    },
}

impl Signer {
    /// The signer that the operator asks for, if any.
    ///
    /// # Errors
    /// [`KeyError`] names the file.
    pub fn configured(settings: &Sign) -> Result<Option<Self>, KeyError> {
        if let Some(file) = &settings.key {
            return key(file).map(|key| Some(Self(Means::Key(key))));
        }
        let program = settings.program.split_first();
        Ok(program.map(|(program, arguments)| {
            Self(Means::Program {
                program: program.clone(),
                arguments: arguments.to_vec(),
                timeout: settings.timeout,
            })
        }))
    }

    /// The signature of a manifest of `name` (`host/repository`), as an artifact about it.
    ///
    /// # Errors
    /// [`EvidenceError::Unsigned`] when there is no signature.
    pub async fn sign(&self, name: &str, manifest: &Manifest) -> Result<Artifact, EvidenceError> {
        let payload = payload(name, &manifest.digest);
        let signature = match &self.0 {
            Means::Key(key) => {
                let signature: DerSignature = key.sign(&payload);
                signature.as_bytes().to_vec()
            }
            Means::Program {
                program,
                arguments,
                timeout,
            } => {
                let signed = tokio::time::timeout(*timeout, run(program, arguments, &payload)).await;
                let signed = signed.unwrap_or_else(|_| Err(format!("{program} did not end within {timeout:?}")));
                signed.map_err(|reason| EvidenceError::Unsigned {
                    subject: manifest.digest.clone(),
                    reason,
                })?
            }
        };
        let signed = Payload {
            artifact_type: TYPE,
            layer_type: PAYLOAD,
            bytes: Bytes::from(payload),
            title: "signature.payload.json",
            layer_annotations: vec![(SIGNATURE, STANDARD.encode(signature))],
            annotations: vec![],
        };
        attach(manifest, signed)
    }
}

/// The signature among the descriptors of what comes with an image.
pub fn find(referrers: &[Value]) -> Option<Digest> {
    let signature = referrers.iter().find(|descriptor| descriptor["artifactType"] == TYPE)?;
    signature["digest"].as_str()?.parse().ok()
}

/// The digest whose signature a tag names by cosign's rule: `sha256-<hex>.sig`.
pub fn signed_by(tag: &Tag) -> Option<Digest> {
    let (algorithm, hex) = tag.as_str().strip_suffix(".sig")?.split_once('-')?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// What is signed ([cosign's signature specification](https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md)).
fn payload(name: &str, digest: &Digest) -> Vec<u8> {
    let payload = json!({
        "critical": {
            "identity": { "docker-reference": name },
            "image": { "docker-manifest-digest": digest },
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    payload.to_string().into_bytes()
}

fn key(file: &Path) -> Result<SigningKey, KeyError> {
    let name = file.display().to_string();
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|opened| opened.take(MAX_KEY).read_to_string(&mut text));
    read.map_err(|source| KeyError::Unreadable {
        file: name.clone(),
        source,
    })?;
    let unusable = |reason| KeyError::Unusable { file: name, reason };
    let text = text.trim();
    if text.contains("-----BEGIN ENCRYPTED") {
        return Err(unusable(
            "it is encrypted; give an unencrypted one that only this program may read, or let cosign sign: program = [\"cosign\", \"sign-blob\", ...]",
        ));
    }
    let pkcs8 = SecretKey::from_pkcs8_pem(text).ok();
    let secret = pkcs8.or_else(|| SecretKey::from_sec1_pem(text).ok());
    let secret = secret.ok_or_else(|| unusable("it is no ECDSA P-256 private key in PEM (PKCS#8, \"PRIVATE KEY\")"))?;
    Ok(SigningKey::from(secret))
}

/// Has a program sign what it gets on its standard input: it writes the signature, in base64 or as it is.
async fn run(program: &str, arguments: &[String], payload: &[u8]) -> Result<Vec<u8>, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{program} cannot be started: {error}"))?;
    let stdin = child.stdin.take();
    let write = async {
        // One that does not read what it signs tells why by its exit.
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(payload).await;
        }
    };
    let ((), answer, complaint) = tokio::join!(
        write,
        read(child.stdout.take(), MAX_SIGNATURE + 1),
        read(child.stderr.take(), MAX_COMPLAINT)
    );
    let status = child
        .wait()
        .await
        .map_err(|error| format!("{program} cannot be waited for: {error}"))?;
    if !status.success() {
        return Err(format!("{program} ended with {status}: {}", last_line(&complaint)));
    }
    decoded(&answer).ok_or_else(|| format!("{program} gave no signature on its standard output"))
}

/// A signature as it is (DER), or in base64; RSA and Ed25519 signatures have no form of their own and come in base64.
fn decoded(answer: &[u8]) -> Option<Vec<u8>> {
    if answer.is_empty() || answer.len() as u64 > MAX_SIGNATURE {
        return None;
    }
    if DerSignature::try_from(answer).is_ok() {
        return Some(answer.to_vec());
    }
    let text: Vec<u8> = answer
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let signature = STANDARD.decode(text).ok()?;
    // Shorter than any signature that somebody would trust.
    (signature.len() >= 64).then_some(signature)
}

/// The last line of a complaint, for people.
fn last_line(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("it said nothing").chars().take(300).collect()
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, limit: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(limit).read_to_end(&mut bytes).await;
    }
    bytes
}

#[cfg(test)]
mod tests;
