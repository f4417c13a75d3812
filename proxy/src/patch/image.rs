//! One job: inspect, scan, plan, patch, assemble, store, for an image or for the platforms of an index; then one switch.
//!
//! Blobs are in the store before a manifest names them; manifests and decision become visible together.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use patchport_oci::manifest::Content;
use patchport_oci::{Descriptor, Digest, Manifest, Platform, media_type};
use patchport_packages::Inventory;
use serde::Deserialize;

use super::job::{Made, Patcher};
use super::{Base, PatchError, PatchLayer, finish};
use crate::assemble;
use crate::catalog::Decision;
use crate::flight::Interrupted;
use crate::inspect::{Inspected, inspect};
use crate::plan::{Choices, Plan, Target, plan};
use crate::respond::chain;
use crate::route::Place;

/// The largest image configuration that is read, in bytes.
const MAX_CONFIG: u64 = 8 * 1024 * 1024;
/// More layers than overlayfs mounts, one kept free for the patch.
const MAX_LAYERS: usize = 126;
/// More native platforms than any real index has.
const MAX_NATIVES: usize = 16;
/// What a decision says of an image that stays as it is.
const NOTHING: &str = "nothing to patch";

#[derive(Deserialize)]
struct ConfigPlatform {
    #[serde(flatten)]
    platform: Platform,
}

/// A patched image, and what was done to it.
type Patched = (Manifest, PatchLayer);

impl Patcher {
    /// The whole job.
    pub(super) async fn run(self: &Arc<Self>, place: &Place, original: &Manifest) -> Result<Decision, PatchError> {
        let (made, note) = match &original.content {
            Content::Image { .. } => match self.image(place, original, None).await? {
                Some((manifest, layer)) => (vec![manifest], layer.summary()),
                None => (vec![], NOTHING.to_owned()),
            },
            Content::Index { manifests } => self.index(place, original, manifests).await?,
        };
        Ok(self.parts.catalog.decide(place, &original.digest, &made, &note).await?)
    }

    /// Patches the children of an index that the engine runs natively, and puts them into a new index.
    async fn index(
        self: &Arc<Self>,
        place: &Place,
        original: &Manifest,
        children: &[Descriptor],
    ) -> Result<(Vec<Manifest>, String), PatchError> {
        let workers = self.parts.engine.platforms().await?;
        let native = |platform: &Platform| workers.iter().any(|worker| worker.same(platform));
        let natives = children
            .iter()
            .filter(|child| child.platform.as_ref().is_some_and(native));
        let natives: Vec<_> = natives.collect();
        if natives.len() > MAX_NATIVES {
            return Err(PatchError::Unsupported(format!(
                "it has {} images for the builder's platforms",
                natives.len()
            )));
        }
        let patches = natives
            .into_iter()
            .map(|child| self.child(place, child.digest.clone(), child.platform.clone()));
        let results = try_join_all(patches).await?;
        if results.is_empty()
            && children
                .iter()
                .any(|child| child.platform.as_ref().is_some_and(is_linux))
        {
            let platforms = list(children.iter().filter_map(|child| child.platform.as_ref()));
            return Err(PatchError::NoWorker {
                platforms,
                workers: list(&workers),
            });
        }
        let (mut patched, mut notes, mut failure) = (HashMap::new(), Vec::new(), None);
        for (digest, result) in results {
            match result {
                Ok(Some((manifest, layer))) => {
                    notes.push(layer.summary());
                    patched.insert(digest, manifest);
                }
                Ok(None) => notes.push(NOTHING.to_owned()),
                Err(error) => {
                    tracing::warn!(image.repository = %place, image.digest = %digest, error = chain(&error), "a platform was not patched");
                    failure = Some(error);
                }
            }
        }
        // A platform that fails keeps its original descriptor, unless no other was patched.
        match failure {
            Some(error) if patched.is_empty() => return Err(error),
            _ if patched.is_empty() => return Ok((vec![], NOTHING.to_owned())),
            _ => {}
        }
        let index = assemble::index(original, &patched, &place.to_string())?;
        let made = patched.into_values().chain([index]).collect();
        Ok((made, notes.join("; ")))
    }

    /// One child of an index. Only what concerns all of them is an error of the whole.
    async fn child(
        self: &Arc<Self>,
        place: &Place,
        digest: Digest,
        platform: Option<Platform>,
    ) -> Result<(Digest, Result<Option<Patched>, PatchError>), PatchError> {
        let readable = self.parts.library.may_read(place, &digest).await?;
        let manifest = self.parts.resolver.digest(place, &digest, readable).await?;
        let patched = self.image(place, &manifest, platform.as_ref()).await;
        Ok((digest, patched))
    }

    /// Patches one image; `None` when it needs no patch. The patched configuration is in the store when this returns.
    async fn image(
        self: &Arc<Self>,
        place: &Place,
        image: &Manifest,
        platform: Option<&Platform>,
    ) -> Result<Option<Patched>, PatchError> {
        let Some((descriptor, layers)) = runnable(image) else {
            return Ok(None);
        };
        if layers.len() > MAX_LAYERS {
            return Err(PatchError::Unsupported(format!("it has {} layers", layers.len())));
        }
        let config = self.config(place, descriptor).await?;
        let own: ConfigPlatform = serde_json::from_slice(&config)
            .map_err(|error| PatchError::Unsupported(format!("its configuration is malformed: {error}")))?;
        let platform = platform.unwrap_or(&own.platform);
        if !is_linux(platform) {
            return Ok(None);
        }
        let inspected = inspect(image, place, &self.parts.library, &self.parts.catalog).await?;
        // The inventory may have been known; that the image names a layer is no reason to let its repository have it.
        try_join_all(
            layers
                .iter()
                .map(|layer| self.parts.library.vouch(place, &layer.digest)),
        )
        .await?;
        let inventory = match inspected {
            Inspected::Packages(inventory) => inventory,
            Inspected::NoDistribution => return Ok(None),
            Inspected::Unsupported(reason) => return Err(PatchError::Unsupported(reason)),
        };
        let findings = self.scanner.scan(&inventory).await;
        let name = place.to_string();
        let docker = image.media_type == media_type::DOCKER_MANIFEST;
        let target = Target {
            image: &image.digest,
            platform,
            name: &name,
            docker,
        };
        let choices = Choices {
            compression: self.settings.compression,
            cache_scope: self.settings.cache_scope,
        };
        let Some(plan) = plan(&inventory, findings, target, choices)? else {
            return Ok(None);
        };
        let base = Base {
            manifest: image.clone(),
            config: config.clone(),
            name: name.clone(),
            place: place.clone(),
        };
        let made = self
            .layers
            .join(plan.key(), || Arc::clone(self).layer(plan, base, inventory))
            .result()
            .await??;
        let Some(layer) = made else { return Ok(None) };
        let patched = assemble::image(image, &config, &layer, &name)?;
        finish::keep(&self.parts.blobs, &Digest::of(&patched.config), patched.config.into()).await?;
        Ok(Some((patched.manifest, layer)))
    }

    /// Carries out a plan, unless its layer is known and fresh.
    async fn layer(self: Arc<Self>, plan: Plan, base: Base, before: Box<Inventory>) -> Made {
        let key = plan.key();
        if let Some((layer, made_at)) = self.parts.catalog.layer(&key).await?
            && self.is_recent(made_at)
            && self.is_stored(layer.as_ref()).await?
        {
            return Ok(layer);
        }
        let _slot = self.slots.acquire().await.map_err(|_| Interrupted)?;
        let workers = self.parts.engine.platforms().await?;
        if !workers.iter().any(|worker| worker.same(&plan.platform)) {
            return Err(PatchError::NoWorker {
                platforms: plan.platform.to_string(),
                workers: list(&workers),
            });
        }
        tracing::info!(plan.key = key, image.digest = %plan.image, image.repository = base.name, "patching");
        let layer = match self.parts.engine.run(&plan, &base).await? {
            Some(raw) => finish::finish(raw, &plan, &before, &self.parts.blobs, &self.parts.scratch).await?,
            None => None,
        };
        self.parts.catalog.put_layer(&key, layer.as_ref()).await?;
        Ok(layer)
    }

    async fn is_stored(&self, layer: Option<&PatchLayer>) -> Result<bool, PatchError> {
        match layer {
            Some(layer) => Ok(self.parts.blobs.stored(&layer.digest).await?.is_some()),
            None => Ok(true),
        }
    }

    async fn config(&self, place: &Place, descriptor: &Descriptor) -> Result<Bytes, PatchError> {
        let size = Some(descriptor.size);
        let content = self.parts.library.blob(place, &descriptor.digest, size).await?;
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

fn is_linux(platform: &Platform) -> bool {
    platform.os == "linux"
}

fn list<'a>(platforms: impl IntoIterator<Item = &'a Platform>) -> String {
    platforms
        .into_iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
