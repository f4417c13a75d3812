//! One image, patched for somebody who waits for it: nothing is published and nothing is decided for later pulls.
//!
//! It takes the same stages as a job, so it gives the same bytes.

use std::sync::Arc;

use patchport_oci::{Digest, Manifest};
use patchport_packages::Findings;

use super::image::Carried;
use super::job::Patcher;
use super::{PatchError, PatchLayer, finish};
use crate::assemble;
use crate::flight::Urgency;
use crate::plan::{Choices, Planned};
use crate::scan::Subject;

/// What became of an image.
pub struct Once {
    /// What was found in it.
    pub findings: Findings,
    /// What was planned, and what was left out.
    pub planned: Planned,
    /// What was made; nothing when nothing was planned.
    pub made: Option<(PatchLayer, Manifest)>,
}

impl Patcher {
    /// Patches an image. `name` is its `host/repository` for the lineage. What it made is in the store when this returns.
    ///
    /// # Errors
    /// [`PatchError`] when there is something to do that did not come to an end.
    pub async fn once(self: &Arc<Self>, subject: &Subject, choices: Choices, name: &str) -> Result<Once, PatchError> {
        let urgency = Urgency::default();
        urgency.raise();
        let Carried {
            findings,
            planned,
            layer,
            ..
        } = self.carried_out(subject, choices, &urgency).await?;
        let Some(layer) = layer else {
            return Ok(Once {
                findings,
                planned,
                made: None,
            });
        };
        let patched = assemble::image(&subject.manifest, &subject.config, &layer, name)?;
        finish::keep(&self.parts.blobs, &Digest::of(&patched.config), patched.config.into()).await?;
        let made = Some((layer, patched.manifest));
        Ok(Once {
            findings,
            planned,
            made,
        })
    }
}
