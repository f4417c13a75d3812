//! Findings to plan: what to upgrade, with which package manager, in which image; and what is left out, with its reason.
//!
//! Pure. Equal plans have equal keys, and a plan is worth running once.

use std::collections::BTreeMap;
use std::fmt;

use patchport_config::{CacheScope, Compression, Emulation, EndOfLife, Platforms, Selection, Terms};
use patchport_oci::{Digest, Platform};
use patchport_packages::findings::Status;
use patchport_packages::inventory::{Held, Installed, Kept};
use patchport_packages::{Finding, Findings, Inventory, Version};
use serde::{Deserialize, Serialize};

mod select;
mod tool;

use select::Verdict;
pub(crate) use select::is_major;
pub use tool::Tool;

/// Raised whenever the same plan would give another layer: keys change with it.
const RECIPE: u32 = 6;
/// Words in the name of choices, after the selection: where major upgrades are allowed, where an emulator may be used, where only
/// what is maintained is patched, which platforms are patched, and under which source policy.
const MAJOR: &str = "major";
const EMULATED: &str = "emulated";
const MAINTAINED: &str = "maintained";
const PLATFORMS: &str = "platforms=";
const POLICY: &str = "policy=";

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
    /// What upgrades them.
    pub tool: Tool,
    /// The image that this tool is in, once that is known; nothing where it is in the image itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helper: Option<Helper>,
    /// What to upgrade, ordered by name and architecture; never empty.
    pub upgrades: Vec<Upgrade>,
    /// Whether a package may come out in another major version than it went in.
    pub major_upgrades: bool,
    /// How the layer is compressed.
    #[serde(serialize_with = "compression")]
    pub compression: Compression,
    /// What shares the package manager's caches with this plan.
    pub cache: String,
}

/// An image that has the tool for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Helper {
    /// Its `host/repository`.
    pub name: String,
    /// Its manifest.
    pub digest: Digest,
}

/// One package to upgrade.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Upgrade {
    /// The package's name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// The installed version.
    pub from: Version,
    /// The version to have afterwards.
    pub to: Version,
    /// Whether `to` is what a repository of the image offers; else a newer one may be all there is.
    pub exact: bool,
}

/// A finding that the plan does not act on, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The package's name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// The installed version.
    pub installed: Version,
    /// The version that it could have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<Version>,
    /// Why it is left as it is, in words for people.
    pub reason: String,
}

/// What findings come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Planned {
    /// The plan; nothing when there is nothing to do.
    pub plan: Option<Plan>,
    /// What is left out of it.
    pub left_out: Vec<LeftOut>,
}

/// The choices of the operator that a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Choices {
    /// How OCI layers are compressed.
    pub compression: Compression,
    /// How far the package manager's caches are shared.
    pub cache_scope: CacheScope,
    /// Which packages are upgraded.
    pub selection: Selection,
    /// Whether an upgrade may go to another major version or origin.
    pub major_upgrades: bool,
    /// Which images of an index are patched.
    pub platforms: Platforms,
    /// Whether a worker may emulate their platforms.
    pub emulation: bool,
    /// Whether only images of distributions are patched that are still maintained.
    pub maintained: bool,
    /// What tells the source policy that this was decided under from others; nothing where there is none.
    pub policy: Option<u64>,
}

impl Choices {
    /// The choices that [`fmt::Display`] wrote.
    pub fn parse(text: &str, settings: &patchport_config::Patch) -> Option<Self> {
        let mut words = text.split(' ');
        let mut choices = Self {
            compression: settings.compression,
            cache_scope: settings.cache_scope,
            selection: words.next()?.parse().ok()?,
            major_upgrades: false,
            platforms: Platforms::ALL,
            emulation: false,
            maintained: false,
            policy: None,
        };
        for word in words {
            if let Some(mark) = word.strip_prefix(POLICY) {
                choices.policy = Some(u64::from_str_radix(mark, 16).ok()?);
                continue;
            }
            match word.strip_prefix(PLATFORMS) {
                Some(names) => choices.platforms = Platforms::named(names.split(',')).ok()?,
                None if word == MAJOR => choices.major_upgrades = true,
                None if word == EMULATED => choices.emulation = true,
                None if word == MAINTAINED => choices.maintained = true,
                None => return None,
            }
        }
        Some(choices)
    }

    /// The choices of a rule, and of `[patch]`.
    pub fn new(terms: &Terms, settings: &patchport_config::Patch) -> Self {
        Self {
            compression: settings.compression,
            cache_scope: settings.cache_scope,
            selection: terms.patch,
            major_upgrades: terms.major_upgrades,
            platforms: terms.platforms,
            emulation: terms.emulation == Emulation::Allow,
            maintained: terms.end_of_life == EndOfLife::Fail,
            policy: None,
        }
    }

    /// The same under a source policy.
    #[must_use]
    pub fn under(self, policy: Option<u64>) -> Self {
        Self { policy, ..self }
    }

    /// Whether a platform is one that is to be patched.
    pub fn select(&self, platform: &Platform) -> bool {
        self.platforms
            .selects(&platform.os, &platform.architecture, &platform.variant)
    }
}

/// A name for what a rule selects: decisions are kept apart by it.
impl fmt::Display for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.selection)?;
        if self.major_upgrades {
            write!(f, " {MAJOR}")?;
        }
        if self.emulation {
            write!(f, " {EMULATED}")?;
        }
        if self.maintained {
            write!(f, " {MAINTAINED}")?;
        }
        if !self.platforms.is_all() {
            write!(f, " {PLATFORMS}{}", self.platforms)?;
        }
        if let Some(mark) = self.policy {
            write!(f, " {POLICY}{mark:016x}")?;
        }
        Ok(())
    }
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

/// Makes the plan, and says what is left out of it.
///
/// # Errors
/// [`NoPlan`] when there is something to do that cannot be done.
pub fn plan(
    inventory: &Inventory,
    findings: &Findings,
    target: Target<'_>,
    choices: Choices,
) -> Result<Planned, NoPlan> {
    let installed: BTreeMap<(&str, &str), &Installed> = inventory
        .packages
        .iter()
        .map(|package| ((package.name.as_str(), package.architecture.as_str()), package))
        .collect();
    made(inventory, |key| installed.get(&key).copied(), findings, target, choices)
}

/// The same for an inventory that is kept in mind.
///
/// # Errors
/// [`NoPlan`] when there is something to do that cannot be done.
pub fn plan_kept(
    inventory: &Kept,
    findings: &Findings,
    target: Target<'_>,
    choices: Choices,
) -> Result<Planned, NoPlan> {
    let find = |(name, architecture): (&str, &str)| inventory.package(name, architecture);
    made(inventory.rest(), find, findings, target, choices)
}

/// The plan; `find` gives an installed package by name and architecture.
fn made<'a>(
    inventory: &Inventory,
    find: impl Fn((&str, &str)) -> Option<&'a Installed>,
    findings: &Findings,
    target: Target<'_>,
    choices: Choices,
) -> Result<Planned, NoPlan> {
    let (upgrades, left_out) = selected(&inventory.held, find, findings, choices);
    if upgrades.is_empty() {
        return Ok(Planned { plan: None, left_out });
    }
    let tool = Tool::of(inventory).map_err(|reason| {
        let names: Vec<&str> = upgrades.iter().map(|upgrade| upgrade.name.as_str()).collect();
        NoPlan(format!("{reason}; outdated: {}", names.join(", ")))
    })?;
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
    let plan = Plan {
        recipe: RECIPE,
        image: target.image.clone(),
        platform: target.platform.clone(),
        distribution,
        suite,
        tool,
        helper: None,
        upgrades,
        major_upgrades: choices.major_upgrades,
        compression: if target.docker {
            Compression::Gzip
        } else {
            choices.compression
        },
        cache,
    };
    Ok(Planned {
        plan: Some(plan),
        left_out,
    })
}

/// The upgrades that the operator asks for, and what is left out.
fn selected<'a>(
    held: &[Held],
    find: impl Fn((&str, &str)) -> Option<&'a Installed>,
    findings: &Findings,
    choices: Choices,
) -> (Vec<Upgrade>, Vec<LeftOut>) {
    let (mut upgrades, mut left_out) = (Vec::new(), Vec::new());
    for (key, found) in findings.by_package() {
        // What is not installed cannot be outdated, whatever a scanner says.
        let Some(package) = find(key) else { continue };
        match select::judge(package, &found, is_held(held, key), choices) {
            Verdict::Upgrade(upgrade) => upgrades.push(upgrade),
            Verdict::LeftOut(left) => left_out.push(left),
            Verdict::Current => {}
        }
    }
    (upgrades, left_out)
}

fn is_held(held: &[Held], (name, architecture): (&str, &str)) -> bool {
    held.iter()
        .any(|held| held.name == name && held.architecture == architecture)
}

fn compression<S: serde::Serializer>(compression: &Compression, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match compression {
        Compression::Zstd => "zstd",
        Compression::Gzip => "gzip",
    })
}

#[cfg(test)]
mod tests;
