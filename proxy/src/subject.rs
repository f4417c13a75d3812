//! An image as the stages after `resolve` see it: manifest, configuration, platform, inventory.
//!
//! Every layer that it names may be read by its repository, or there is no subject.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use patchport_oci::manifest::Content;
use patchport_oci::{Descriptor, Digest, Manifest, Platform, media_type};
use serde::Deserialize;

use crate::catalog::Catalog;
use crate::inspect::{Inspected, inspect};
use crate::library::Library;
use crate::patch::PatchError;
use crate::route::Place;
use crate::scan::Subject;

/// The largest image configuration that is read, in bytes.
const MAX_CONFIG: u64 = 8 * 1024 * 1024;
/// More layers than overlayfs mounts, one kept free for the patch.
const MAX_LAYERS: usize = 126;

#[derive(Deserialize)]
struct ConfigPlatform {
    #[serde(flatten)]
    platform: Platform,
}

/// What is to be scanned of an image, which may be part of an index; nothing when it is none that could be patched.
///
/// # Errors
/// [`PatchError`] when it cannot be read, or is of a kind that we do not know.
pub async fn subject(
    place: &Place,
    image: &Manifest,
    part: Option<(&Digest, &Platform)>,
    library: &Library,
    catalog: &Catalog,
) -> Result<Option<Subject>, PatchError> {
    let Some((descriptor, layers)) = runnable(image) else {
        return Ok(None);
    };
    if layers.len() > MAX_LAYERS {
        return Err(PatchError::Unsupported(format!("it has {} layers", layers.len())));
    }
    let config = config(place, descriptor, library).await?;
    let own: ConfigPlatform = serde_json::from_slice(&config)
        .map_err(|error| PatchError::Unsupported(format!("its configuration is malformed: {error}")))?;
    let platform = part.map_or(own.platform, |(_, platform)| platform.clone());
    if !is_linux(&platform) {
        return Ok(None);
    }
    let inspected = inspect(image, place, library, catalog).await?;
    // The inventory may have been known; that the image names a layer is no reason to let its repository have it.
    try_join_all(layers.iter().map(|layer| library.vouch(place, &layer.digest))).await?;
    let inventory = match inspected {
        Inspected::Packages(inventory) => Arc::from(inventory),
        Inspected::NoDistribution => return Ok(None),
        Inspected::Unsupported(reason) => return Err(PatchError::Unsupported(reason)),
    };
    Ok(Some(Subject {
        place: place.clone(),
        manifest: image.clone(),
        index: part.map(|(index, _)| index.clone()),
        config,
        platform,
        inventory,
    }))
}

async fn config(place: &Place, descriptor: &Descriptor, library: &Library) -> Result<Bytes, PatchError> {
    let size = Some(descriptor.size);
    let content = library.blob(place, &descriptor.digest, size).await?;
    // The descriptor may lie about a blob that is in the store.
    if content.size() != size || descriptor.size > MAX_CONFIG {
        let found = content.size().unwrap_or_default();
        return Err(PatchError::Unsupported(format!("its configuration has {found} bytes")));
    }
    let mut stream = content.stream(None);
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes.freeze())
}

/// Whether a manifest could be of an image with packages: artifacts, and lists of them, cannot.
pub fn may_be_patched(manifest: &Manifest) -> bool {
    match &manifest.content {
        Content::Image { .. } => !manifest.is_artifact(),
        Content::Index { manifests } => manifests.iter().any(|child| child.platform.is_some()),
    }
}

/// Configuration and layers of an image that a runtime can run; artifacts have other types.
fn runnable(image: &Manifest) -> Option<(&Descriptor, &[Descriptor])> {
    let Content::Image { config, layers } = &image.content else {
        return None;
    };
    let is_image = media_type::is_image_config(&config.media_type)
        && !layers.is_empty()
        && layers.iter().all(|layer| media_type::is_layer(&layer.media_type));
    is_image.then_some((config, &layers[..]))
}

/// Whether a platform is one that a package manager of ours could run on.
pub(crate) fn is_linux(platform: &Platform) -> bool {
    platform.os == "linux"
}
