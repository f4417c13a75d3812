//! What comes with a patched image is published with it, or neither is.

use patchport_config::Sign;

use super::*;
use crate::evidence::signature::find;

/// A program that signs, or does what else the script does.
fn signer(script: &str) -> Signer {
    let settings = Sign {
        program: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        ..Sign::default()
    };
    Signer::configured(&settings).unwrap().unwrap()
}

const SIGNS: &str = "base64 -w 0";

async fn served(patcher: &Arc<Patcher>, bench: &Bench, original: &Manifest) -> Result<Manifest, PatchError> {
    patcher.patched(&bench.place, original, &TERMS, patience()).await
}

#[tokio::test]
async fn what_was_not_signed_is_signed_once_that_is_asked_for_and_not_made_anew() {
    let bench = Bench::new(Outcome::Tar(upgrade())).await;
    let original = bench.push(&debian().build());
    let first = bench.patched(&original).await.unwrap();
    let listed = bench.catalog.referrers(&bench.place, &first.digest).await.unwrap();
    assert_eq!((listed.len(), find(&listed)), (2, None), "provenance and SBOM");
    let signing = bench.restarted_with(signer(SIGNS));
    let second = served(&signing, &bench, &original).await.unwrap();
    assert_eq!((second.digest.clone(), bench.engine.runs()), (first.digest.clone(), 1));
    let listed = bench.catalog.referrers(&bench.place, &first.digest).await.unwrap();
    assert_eq!(listed.len(), 3);
    let signature = bench.catalog.manifest(&find(&listed).unwrap()).await.unwrap().unwrap();
    bench.pulled(&signature).await;
}

#[tokio::test]
async fn an_image_that_cannot_be_signed_is_not_published() {
    let bench = Bench::new(Outcome::Tar(upgrade())).await;
    let original = bench.push(&debian().build());
    let broken = bench.restarted_with(signer("exit 1"));
    let error = served(&broken, &bench, &original).await.unwrap_err();
    assert!(
        matches!(error, PatchError::Evidence(_)) && error.to_string().contains("cannot be signed"),
        "{error}"
    );
    assert!(bench.decision(&original).await.is_none());
    let again = served(&broken, &bench, &original).await.unwrap_err();
    assert!(
        matches!(again, PatchError::Evidence(_)),
        "it stands for a moment: {again}"
    );
    let signing = bench.restarted_with(signer(SIGNS));
    served(&signing, &bench, &original).await.unwrap();
    assert_eq!(bench.engine.runs(), 1, "the layer was kept");
}

#[tokio::test]
async fn documents_that_lost_a_blob_are_made_again() {
    let bench = Bench::new(Outcome::Tar(upgrade())).await;
    let original = bench.push(&debian().build());
    let patched = bench.patched(&original).await.unwrap();
    for digest in bench.catalog.evidence(&bench.place, &patched.digest).await.unwrap() {
        let manifest = bench.catalog.manifest(&digest).await.unwrap().unwrap();
        assert_eq!(bench.pulled(&manifest).await.layers.len(), 1);
    }
    // Another store has nothing of them.
    let store = Arc::new(Blobs::new(Arc::new(MemoryStore::default()), bench.tasks.clone()));
    let settings = Settings::default();
    let other = patcher(
        &bench.catalog,
        &store,
        &bench.engine,
        &bench.scanner,
        &bench.tasks,
        bench.scratch.path(),
        settings,
    );
    assert_eq!(served(&other, &bench, &original).await.unwrap().digest, patched.digest);
    for digest in bench.catalog.evidence(&bench.place, &patched.digest).await.unwrap() {
        let manifest = bench.catalog.manifest(&digest).await.unwrap().unwrap();
        for blob in manifest.references() {
            assert!(store.stored(&blob.digest).await.unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn new_findings_replace_the_documents_and_leave_the_old_ones_readable() {
    let bench = Bench::new(Outcome::Tar(upgrade())).await;
    let original = bench.push(&debian().build());
    let patched = bench.patched(&original).await.unwrap();
    let before = bench.catalog.evidence(&bench.place, &patched.digest).await.unwrap();
    // The same image by another rule's choices: what it says of the choices differs.
    let mut terms = TERMS;
    terms.major_upgrades = true;
    let again = bench
        .patcher
        .patched(&bench.place, &original, &terms, patience())
        .await
        .unwrap();
    assert_eq!(again.digest, patched.digest);
    let after = bench.catalog.evidence(&bench.place, &patched.digest).await.unwrap();
    assert_eq!(before.len(), after.len());
    assert_ne!(before, after);
    bench
        .catalog
        .publish(&bench.place, &tag("v1"), &original.digest, &patched.digest)
        .await
        .unwrap();
    for digest in before.iter().chain(&after) {
        assert!(bench.catalog.may_read(&bench.place, digest).await.unwrap(), "{digest}");
    }
}
