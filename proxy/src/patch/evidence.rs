//! What comes with a patched image: made when the image is, signed where the operator asks for it, stored before it is named.
//!
//! An image that cannot be signed is not published.

use std::collections::HashMap;

use patchport_oci::{Digest, Manifest};
use patchport_packages::{Findings, language};

use super::job::Patcher;
use super::{PatchError, PatchLayer, finish};
use crate::evidence::{self, Account, Artifact, signature};
use crate::flight::Interrupted;
use crate::inspect;
use crate::plan::Planned;
use crate::route::Place;
use crate::scan::Subject;

impl Patcher {
    /// The documents about a patched image, and its signature. Their blobs are in the store when this returns.
    pub(super) async fn evidence(
        &self,
        subject: &Subject,
        patched: &Manifest,
        planned: &Planned,
        layer: &PatchLayer,
        findings: &Findings,
    ) -> Result<Vec<Artifact>, PatchError> {
        let Some(plan) = &planned.plan else { return Ok(vec![]) };
        let name = subject.place.to_string();
        let (library, catalog) = (&self.parts.library, &self.parts.catalog);
        let files = inspect::files(patched, &subject.place, library, catalog).await?;
        let read = tokio::task::spawn_blocking(move || files.as_ref().map(language::read).unwrap_or_default());
        let (languages, notes) = read.await.map_err(|_| Interrupted)?;
        let documents = evidence::of_image(&Account {
            name: &name,
            original: &subject.manifest,
            patched,
            platform: &subject.platform,
            plan,
            layer,
            findings,
            left_out: &planned.left_out,
            before: &subject.inventory,
            after: &evidence::after(&subject.inventory, layer),
            languages: &languages,
            notes: &notes,
        })?;
        self.sealed(&name, patched, documents).await
    }

    /// The document about an index of which some children were patched, and its signature.
    pub(super) async fn index_evidence(
        &self,
        place: &Place,
        original: &Manifest,
        index: &Manifest,
        patched: &HashMap<Digest, Manifest>,
        created: &str,
    ) -> Result<Vec<Artifact>, PatchError> {
        let children: Vec<_> = patched.iter().map(|(from, to)| (from, &to.digest)).collect();
        let name = place.to_string();
        let document = evidence::of_index(&name, original, index, &children, created)?;
        self.sealed(&name, index, vec![document]).await
    }

    /// Adds the signature and stores all blobs.
    async fn sealed(
        &self,
        name: &str,
        manifest: &Manifest,
        mut artifacts: Vec<Artifact>,
    ) -> Result<Vec<Artifact>, PatchError> {
        if let Some(signer) = &self.parts.signer {
            artifacts.push(signer.sign(name, manifest).await?);
        }
        for blob in artifacts.iter().flat_map(|artifact| &artifact.blobs) {
            let digest = Digest::of(blob);
            if self.parts.blobs.stored(&digest).await?.is_none() {
                finish::keep(&self.parts.blobs, &digest, blob.clone()).await?;
            }
        }
        Ok(artifacts)
    }

    /// Whether all that comes with a patched image is in the store, with a signature where one is asked for: somebody may have
    /// cleared the store, or asked for signatures since.
    pub(super) async fn is_evidence_whole(&self, place: &Place, served: &Digest) -> Result<bool, PatchError> {
        let catalog = &self.parts.catalog;
        if self.parts.signer.is_some() && signature::find(&catalog.referrers(place, served).await?).is_none() {
            return Ok(false);
        }
        for digest in catalog.evidence(place, served).await? {
            let Some(manifest) = self.parts.resolver.held(&digest).await? else {
                return Ok(false);
            };
            for blob in manifest.references() {
                if self.parts.blobs.stored(&blob.digest).await?.is_none() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
