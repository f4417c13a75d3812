//! Findings to plan: what to upgrade, with which package manager, in which image.
//!
//! Pure. Equal plans have equal keys, and a plan is worth running once.

use patchport_config::{CacheScope, Compression};
use patchport_oci::{Digest, Platform};
use patchport_packages::Inventory;
use patchport_packages::inventory::Manager;
use serde::Serialize;

use crate::scan::Findings;

/// Raised whenever the same plan would give another layer: keys change with it.
const RECIPE: u32 = 1;

/// What to do to one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    recipe: u32,
    /// The image's manifest.
    pub image: Digest,
    /// Its platform.
    pub platform: Platform,
    /// The distribution's id, such as `debian`.
    pub distribution: String,
    /// The distribution's suite, such as `bookworm`; its version where it has no code name.
    pub suite: String,
    /// What to upgrade.
    pub upgrade: Upgrade,
    /// How the layer is compressed.
    #[serde(serialize_with = "compression")]
    pub compression: Compression,
    /// What shares the package manager's caches with this plan.
    pub cache: String,
}

/// What to upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upgrade {
    /// Everything that the image's own sources have newer, holds respected, nothing removed.
    AllOutdated,
}

/// The choices of the operator that a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Choices {
    /// How OCI layers are compressed.
    pub compression: Compression,
    /// How far the package manager's caches are shared.
    pub cache_scope: CacheScope,
}

/// The image that a plan is for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its manifest.
    pub image: &'a Digest,
    /// Its platform.
    pub platform: &'a Platform,
    /// Its `host/repository`.
    pub name: &'a str,
    /// Whether its manifest is of Docker's type, which has no zstd layers.
    pub docker: bool,
}

/// Why there is no plan for an image.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("its packages cannot be upgraded: {0}")]
pub struct NoPlan(pub String);

impl Plan {
    /// A name for the plan: equal for equal plans only.
    pub fn key(&self) -> String {
        let json = serde_json::to_vec(self).unwrap_or_else(|_| format!("{self:?}").into_bytes());
        Digest::of(&json).hex().to_owned()
    }
}

/// Makes the plan; `Ok(None)` when there is nothing to do.
///
/// # Errors
/// [`NoPlan`] when there is something to do that cannot be done.
pub fn plan(
    inventory: &Inventory,
    findings: Findings,
    target: Target<'_>,
    choices: Choices,
) -> Result<Option<Plan>, NoPlan> {
    match (findings, inventory.manager) {
        (Findings::Nothing, _) => return Ok(None),
        (Findings::AnyOutdated, Manager::Dpkg) => {}
        (Findings::AnyOutdated, Manager::DpkgFragments) => {
            return Err(NoPlan(
                "images without a package manager (distroless) are not supported yet".into(),
            ));
        }
    }
    let os = &inventory.os;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let suite = Some(text(&os.version_codename))
        .filter(|suite| !suite.is_empty())
        .unwrap_or(text(&os.version_id));
    let distribution = os.id.clone();
    let cache = match choices.cache_scope {
        // The image's own code writes to the caches: only images that trust each other share them.
        CacheScope::Repository => format!(
            "{distribution}-{suite}-{}",
            &Digest::of(target.name.as_bytes()).hex()[..16]
        ),
        CacheScope::Distribution => format!("{distribution}-{suite}"),
    };
    Ok(Some(Plan {
        recipe: RECIPE,
        image: target.image.clone(),
        platform: target.platform.clone(),
        distribution,
        suite,
        upgrade: Upgrade::AllOutdated,
        compression: if target.docker {
            Compression::Gzip
        } else {
            choices.compression
        },
        cache,
    }))
}

fn compression<S: serde::Serializer>(compression: &Compression, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match compression {
        Compression::Zstd => "zstd",
        Compression::Gzip => "gzip",
    })
}

#[cfg(test)]
mod tests;
