//! What ties a report to the image that it must be about.

use patchport_oci::Digest;
use patchport_oci::manifest::Content;
use patchport_packages::report::{Binding, Required};
use serde::Deserialize;

use super::Subject;

#[derive(Deserialize)]
struct Configuration {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<Digest>,
}

/// The binding of an image; `required` is what a report must show at least.
pub(super) fn binding(subject: &Subject, required: Required) -> Binding<'_> {
    let configuration = serde_json::from_slice::<Configuration>(&subject.config);
    let config = match &subject.manifest.content {
        Content::Image { config, .. } => config.digest.clone(),
        Content::Index { .. } => Digest::of(&subject.config),
    };
    Binding {
        manifests: vec![subject.manifest.digest.clone()],
        config,
        indexes: subject.index.iter().cloned().collect(),
        diff_ids: configuration.map(|found| found.rootfs.diff_ids).unwrap_or_default(),
        platform: subject.platform.clone(),
        inventory: &subject.inventory,
        required,
    }
}
