//! What became of an image and of each of its platforms, as the stages leave it.

use patchport_oci::{Descriptor, Digest, Manifest, Platform};
use serde_json::Value;

use super::progress::clean;
use super::tree::Tree;
use crate::cli::image::Named;
use crate::patch::{PatchError, PatchLayer};
use crate::plan::Planned;
use crate::respond::chain;

/// What became of one platform.
pub(super) struct Row {
    /// The platform; empty when it is not known.
    pub(super) platform: String,
    /// The original's manifest.
    pub(super) original: Digest,
    /// What was planned.
    pub(super) planned: Planned,
    /// What came of it.
    pub(super) fate: Fate,
}

/// What came of a plan.
pub(super) enum Fate {
    /// It was carried out.
    Patched(Box<Made>),
    /// It would be carried out.
    Planned,
    /// There is nothing to do, for this reason.
    Nothing(String),
    /// It was not looked at, for this reason.
    Kept(String),
    /// It failed; with the end of the build's log.
    Failed(PatchError, Vec<String>),
}

/// What was made.
pub(super) struct Made {
    /// The layer.
    pub(super) layer: PatchLayer,
    /// The patched manifest.
    pub(super) manifest: Manifest,
    /// What it fixes and what not, in OpenVEX; nothing when no advisory is known.
    pub(super) vex: Option<Value>,
}

/// What became of an image.
pub(super) struct Outcome<'a> {
    /// The image.
    pub(super) named: Named,
    /// Its platforms.
    pub(super) rows: Vec<Row>,
    /// The patched image; nothing when no platform was patched.
    pub(super) tree: Option<Tree<'a>>,
}

impl Outcome<'_> {
    /// What is fixed in all platforms and what not, as one document.
    pub(super) fn vex(&self) -> Option<Value> {
        let made = self.rows.iter().filter_map(|row| match &row.fate {
            Fate::Patched(made) => made.vex.clone(),
            _ => None,
        });
        made.reduce(|mut all, mut next| {
            let more = next.get_mut("statements").and_then(Value::as_array_mut);
            if let (Some(all), Some(more)) = (all.get_mut("statements").and_then(Value::as_array_mut), more) {
                all.append(more);
            }
            all
        })
    }
}

impl Row {
    /// One that is not looked at.
    pub(super) fn kept(platform: &Platform, child: &Descriptor, reason: String) -> Self {
        Self {
            platform: platform.to_string(),
            original: child.digest.clone(),
            planned: Planned::default(),
            fate: Fate::Kept(reason),
        }
    }

    /// Why it failed, and what its build said last.
    pub(super) fn failure(&self) -> Option<String> {
        let Fate::Failed(error, log) = &self.fate else {
            return None;
        };
        let platform = if self.platform.is_empty() {
            ""
        } else {
            &format!("{}: ", self.platform)
        };
        let mut text = format!("{platform}{}", clean(&chain(error)));
        if !log.is_empty() {
            text.push_str("\nthe build's last lines:");
        }
        for line in log {
            text.push_str("\n  ");
            text.push_str(line);
        }
        Some(text)
    }
}
