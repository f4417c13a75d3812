//! Keys that sign, keys that do not, and programs that do what programs do.

use std::path::PathBuf;

use p256::ecdsa::VerifyingKey;
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::{EncodePrivateKey as _, LineEnding};
use patchport_oci::media_type;
use serde_json::Value;

use super::*;

const NAME: &str = "registry.example/team/app";

fn manifest() -> Manifest {
    let json = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{}","size":1}},"layers":[]}}"#,
        media_type::OCI_CONFIG,
        Digest::of(b"config")
    );
    Manifest::parse(json, media_type::OCI_MANIFEST).unwrap()
}

fn secret() -> SecretKey {
    SecretKey::from_slice(&[7; 32]).unwrap()
}

fn signer(settings: Sign) -> Signer {
    Signer::configured(&settings).unwrap().unwrap()
}

fn with_key(text: &str) -> Result<Option<Signer>, KeyError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Signer::configured(&Sign {
        key: Some(file.path().to_owned()),
        ..Sign::default()
    })
}

fn script(text: &str, timeout: Duration) -> Signer {
    signer(Sign {
        program: ["/bin/sh", "-c", text].map(str::to_owned).to_vec(),
        timeout,
        ..Sign::default()
    })
}

fn signature_in(artifact: &Artifact) -> Vec<u8> {
    let manifest: Value = serde_json::from_slice(&artifact.manifest.bytes).unwrap();
    STANDARD
        .decode(manifest["layers"][0]["annotations"][SIGNATURE].as_str().unwrap())
        .unwrap()
}

#[tokio::test]
async fn a_key_signs_the_payload_that_cosign_reads_the_same_each_time() {
    let pem = secret().to_pkcs8_pem(LineEnding::LF).unwrap();
    let sec1 = secret().to_sec1_pem(LineEnding::LF).unwrap();
    let signer = with_key(&pem).unwrap().unwrap();
    let artifact = signer.sign(NAME, &manifest()).await.unwrap();
    let key = VerifyingKey::from(secret().public_key());
    let signature = DerSignature::try_from(&signature_in(&artifact)[..]).unwrap();
    key.verify(&artifact.blobs[1], &signature).unwrap();
    let payload: Value = serde_json::from_slice(&artifact.blobs[1]).unwrap();
    let critical = &payload["critical"];
    assert_eq!(
        critical["image"]["docker-manifest-digest"],
        manifest().digest.to_string()
    );
    assert_eq!(critical["identity"]["docker-reference"], NAME);
    assert_eq!(critical["type"], "cosign container image signature");
    assert_eq!(artifact.manifest.subject.as_ref(), Some(&manifest().digest));
    assert_eq!(
        find(std::slice::from_ref(&artifact.descriptor)),
        Some(artifact.manifest.digest.clone())
    );
    let again = with_key(&sec1).unwrap().unwrap().sign(NAME, &manifest()).await.unwrap();
    assert_eq!(again.manifest.digest, artifact.manifest.digest);
}

#[test]
fn a_key_that_cannot_sign_is_refused_and_not_shown() {
    for (name, text, said) in [
        ("nothing", "", "no ECDSA P-256 private key"),
        ("other text", "hunter2", "no ECDSA P-256 private key"),
        (
            "cosign's own form",
            "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nhunter2\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
            "encrypted",
        ),
    ] {
        let error = with_key(text).err().unwrap().to_string();
        assert!(error.contains(said) && !error.contains("hunter2"), "{name}: {error}");
    }
    let missing = Signer::configured(&Sign {
        key: Some(PathBuf::from("/nonexistent/sign.key")),
        ..Sign::default()
    });
    assert!(missing.err().unwrap().to_string().contains("/nonexistent/sign.key"));
    assert!(Signer::configured(&Sign::default()).unwrap().is_none());
}

#[tokio::test]
async fn a_program_gets_the_payload_and_gives_the_signature() {
    let minute = Duration::from_secs(60);
    // What it got, as if that were a signature.
    let artifact = script("base64 -w 50", minute).sign(NAME, &manifest()).await.unwrap();
    assert_eq!(signature_in(&artifact), artifact.blobs[1]);
    for (name, text, timeout, said) in [
        (
            "fails",
            "echo one >&2; echo no key >&2; exit 3",
            minute,
            "exit status: 3: no key",
        ),
        ("says nothing", "cat > /dev/null", minute, "no signature"),
        (
            "talks",
            "echo Signed by me, with all my heart and a long text",
            minute,
            "no signature",
        ),
        ("a short one", "echo YWJj", minute, "no signature"),
        ("too much", "exec cat /dev/zero", minute, ""),
        (
            "late",
            "exec sleep 60",
            Duration::from_millis(100),
            "did not end within",
        ),
    ] {
        let error = script(text, timeout)
            .sign(NAME, &manifest())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(said) && error.contains("cannot be signed"),
            "{name}: {error}"
        );
    }
    let missing = signer(Sign {
        program: vec!["/nonexistent/signer".into()],
        ..Sign::default()
    });
    let error = missing.sign(NAME, &manifest()).await.unwrap_err().to_string();
    assert!(error.contains("/nonexistent/signer cannot be started"), "{error}");
}

#[test]
fn tags_of_signatures() {
    let digest = Digest::of(b"x");
    let tag = |text: &str| text.parse::<Tag>().unwrap();
    assert_eq!(
        signed_by(&tag(&format!("sha256-{}.sig", digest.hex()))),
        Some(digest.clone())
    );
    for text in ["v1", "v1.sig", "sha256-abc.sig"] {
        assert_eq!(signed_by(&tag(text)), None, "{text}");
    }
    assert_eq!(signed_by(&tag(&format!("sha256-{}.att", digest.hex()))), None);
}
