//! One job: inspect, scan, plan, patch, assemble, store, for an image or for the children of an index; then one switch.
//!
//! Blobs are in the store before a manifest names them; manifests and decision become visible together.

use std::sync::Arc;

use patchport_oci::manifest::Content;
use patchport_oci::{Digest, Manifest, Platform, media_type};
use patchport_packages::{Findings, Inventory};

use super::job::Patcher;
use super::roster::Watched;
use super::{EngineError, PatchError, PatchLayer, Platforms, direct, finish};
use crate::assemble;
use crate::catalog::{Decision, Planned, Verdict};
use crate::evidence::Artifact;
use crate::flight::Urgency;
use crate::plan::{self, Choices, LeftOut, Plan, Target, Tool};
use crate::route::Place;
use crate::scan::Subject;
use crate::subject::subject;

/// What a decision says of an image that stays as it is.
pub(super) const NOTHING: &str = "nothing to patch";
/// How often a plan is tried again without what turned out not to be possible.
const MAX_LOOKS: usize = 8;

/// What became of an image: what was planned for it, what is said about that, and the patched manifest if there is one.
pub(super) struct Outcome {
    pub(super) watched: Watched,
    pub(super) note: String,
    pub(super) patched: Option<Manifest>,
    /// What comes with the patched manifest, and its time.
    pub(super) evidence: Vec<Artifact>,
    pub(super) created: String,
    /// Whether it is patched without a container.
    pub(super) is_direct: bool,
}

/// What carrying out a plan came to.
pub(super) struct Carried {
    /// What was found in the image.
    pub(super) findings: Findings,
    /// The plan as it was carried out, and what was left out.
    pub(super) planned: plan::Planned,
    /// The key of the plan as it was first made, which a new look at the indexes gives again.
    pub(super) asked: Option<String>,
    /// The layer; nothing was made when there is no plan.
    pub(super) layer: Option<PatchLayer>,
}

impl Patcher {
    /// The whole job: what is decided, and why a platform of an index is missing in it, if one is.
    pub(super) async fn run(
        self: &Arc<Self>,
        place: &Place,
        original: &Manifest,
        choices: Choices,
        urgency: &Urgency,
    ) -> Result<(Decision, Option<PatchError>), PatchError> {
        let (mut watched, mut missing) = (Vec::new(), None);
        let verdict = match &original.content {
            Content::Image { .. } => {
                let outcome = self.image(place, original, None, choices, urgency).await?;
                watched.push(outcome.watched);
                Verdict {
                    made: outcome.patched.into_iter().collect(),
                    evidence: outcome.evidence,
                    note: outcome.note,
                    images: vec![],
                }
            }
            Content::Index { manifests } => {
                let outcomes = self.children(place, original, manifests, choices, urgency).await?;
                self.indexed(place, original, outcomes, &mut watched, &mut missing)
                    .await?
            }
        };
        let verdict = Verdict {
            images: watched.iter().map(|image| image.planned.clone()).collect(),
            ..verdict
        };
        let name = choices.to_string();
        let decided = self
            .parts
            .catalog
            .decide(place, &original.digest, &name, verdict)
            .await?;
        self.roster.put(
            (place.to_string(), original.digest.clone(), name),
            place,
            choices,
            watched,
        );
        Ok((decided, missing))
    }

    /// Patches one image, which may be part of an index. The patched configuration is in the store when this returns.
    pub(super) async fn image(
        self: &Arc<Self>,
        place: &Place,
        image: &Manifest,
        part: Option<(&Digest, &Platform)>,
        choices: Choices,
        urgency: &Urgency,
    ) -> Result<Outcome, PatchError> {
        let docker = image.media_type == media_type::DOCKER_MANIFEST;
        let subject = subject(place, image, part, &self.parts.library, &self.parts.catalog).await?;
        let Some(subject) = subject.filter(|subject| choices.select(&subject.platform)) else {
            return Ok(Outcome {
                watched: Watched {
                    planned: Planned {
                        image: image.digest.clone(),
                        platform: part.map(|(_, platform)| platform.clone()).unwrap_or_default(),
                        plan: None,
                    },
                    inventory: None,
                    docker,
                },
                note: NOTHING.to_owned(),
                patched: None,
                evidence: vec![],
                created: String::new(),
                is_direct: false,
            });
        };
        let ended = subject.ended();
        let Carried {
            findings,
            planned,
            asked,
            layer,
        } = self.carried_out(&subject, choices, urgency).await?;
        let (mut evidence, mut created) = (vec![], String::new());
        let patched = match &layer {
            Some(layer) => {
                let patched = assemble::image(image, &subject.config, layer, &place.to_string())?;
                finish::keep(&self.parts.blobs, &Digest::of(&patched.config), patched.config.into()).await?;
                created = layer.created();
                evidence = self
                    .evidence(&subject, &patched.manifest, &planned, layer, &findings)
                    .await?;
                Some(patched.manifest)
            }
            None => None,
        };
        Ok(Outcome {
            watched: Watched {
                planned: Planned {
                    image: image.digest.clone(),
                    platform: subject.platform.clone(),
                    plan: asked,
                },
                inventory: Some(Arc::clone(&subject.inventory)),
                docker,
            },
            note: note(layer.as_ref(), &planned.left_out, ended),
            patched,
            evidence,
            created,
            is_direct: Tool::of(&subject.inventory).is_ok_and(Tool::is_direct)
                || layer.as_ref().is_some_and(PatchLayer::is_direct),
        })
    }

    /// Scans, plans, and carries the plan out.
    pub(super) async fn carried_out(
        self: &Arc<Self>,
        subject: &Subject,
        choices: Choices,
        urgency: &Urgency,
    ) -> Result<Carried, PatchError> {
        let (mut findings, mut planned) = self.plan(subject, choices).await?;
        let mut made = self.made(subject, planned.plan.as_ref(), choices, urgency).await;
        if let Err(PatchError::Engine(EngineError::NotOffered { reason })) = &made {
            // A repository that has moved on has something newer: one more look, and one more try.
            tracing::info!(image.digest = %subject.manifest.digest, reason, "the plan is out of date");
            self.parts.scanners.refresh(subject).await;
            let (found, newer) = self.plan(subject, choices).await?;
            if newer.plan != planned.plan {
                (findings, planned) = (found, newer);
                made = self.made(subject, planned.plan.as_ref(), choices, urgency).await;
            }
        }
        let asked = planned.plan.as_ref().map(Plan::key);
        // What turns out not to be possible is left out, and the rest done without it; each look leaves out one package at least.
        for _ in 0..MAX_LOOKS {
            let (Err(PatchError::LeftOut(refused)), Some(plan)) = (&made, planned.plan.clone()) else {
                break;
            };
            planned.plan = direct::without(plan, refused, &mut planned.left_out);
            made = self.made(subject, planned.plan.as_ref(), choices, urgency).await;
        }
        let layer = made?;
        if let (Some(plan), Some(layer)) = (&mut planned.plan, &layer) {
            plan.helper.clone_from(&layer.helper);
        }
        Ok(Carried {
            findings,
            planned,
            asked,
            layer,
        })
    }

    /// What the scanners find, and what that comes to; a failure where only what is maintained may be patched, and this is not.
    pub(crate) async fn plan(
        &self,
        subject: &Subject,
        choices: Choices,
    ) -> Result<(Findings, plan::Planned), PatchError> {
        maintained(subject, choices)?;
        let findings = self.parts.scanners.scan(subject).await?;
        let target = Target {
            image: &subject.manifest.digest,
            platform: &subject.platform,
            name: &subject.place.to_string(),
            docker: subject.manifest.media_type == media_type::DOCKER_MANIFEST,
        };
        let planned = plan::plan(&subject.inventory, &findings, target, choices)?;
        Ok((findings, planned))
    }
}

/// Whether an image may be patched without a container.
pub(super) fn may_be_direct(inventory: &Inventory) -> bool {
    Tool::of(inventory).is_ok_and(|tool| tool.is_direct() || tool.may_be_direct())
}

/// Nobody can patch these platforms.
pub(super) fn no_worker(platforms: String, workers: &Platforms, emulation: bool) -> PatchError {
    let workers = if emulation || workers.emulated.is_empty() {
        workers.to_string()
    } else {
        format!("{workers} (emulation = \"never\")")
    };
    PatchError::NoWorker { platforms, workers }
}

/// Sees that its distribution is maintained, where that is asked for.
fn maintained(subject: &Subject, choices: Choices) -> Result<(), PatchError> {
    match subject.ended() {
        Some(last) if choices.maintained => Err(PatchError::EndOfLife {
            distribution: subject.distribution(),
            last: last.to_string(),
        }),
        _ => Ok(()),
    }
}

/// What was done to an image and what was left out, for people.
fn note(layer: Option<&PatchLayer>, left_out: &[LeftOut], ended: Option<jiff::civil::Date>) -> String {
    let left = left_out
        .iter()
        .map(|left| format!("{} left as it is: {}", left.name, left.reason));
    let done = layer.map_or_else(|| NOTHING.to_owned(), PatchLayer::summary);
    let ended = ended.map(|last| format!("its distribution is no longer maintained since {last}"));
    [done]
        .into_iter()
        .chain(left)
        .chain(ended)
        .collect::<Vec<_>>()
        .join("; ")
}

pub(super) fn list<'a>(platforms: impl IntoIterator<Item = &'a Platform>) -> String {
    platforms
        .into_iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
