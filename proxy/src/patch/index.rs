//! The children of an index: which are patched, all at the same time, and the new index that holds them.
//!
//! What is not patched keeps its descriptor; a platform that failed is missing, and the job is told.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use patchport_oci::{Descriptor, Digest, Manifest};

use super::image::{NOTHING, Outcome, list, may_be_direct, no_worker};
use super::job::Patcher;
use super::roster::Watched;
use super::{EngineError, PatchError};
use crate::assemble;
use crate::catalog::Verdict;
use crate::flight::Urgency;
use crate::plan::Choices;
use crate::respond::chain;
use crate::route::Place;
use crate::subject::{is_linux, subject};

/// More images for our platforms than any real index has.
const MAX_PLATFORMS: usize = 16;

/// A child of an index, and what became of it.
type Done = (Digest, Result<Outcome, PatchError>);

impl Patcher {
    /// Patches the children of an index that the rule selects and a worker runs, all at the same time. The others are named.
    pub(super) async fn children(
        self: &Arc<Self>,
        place: &Place,
        original: &Manifest,
        children: &[Descriptor],
        choices: Choices,
        urgency: &Urgency,
    ) -> Result<Children, PatchError> {
        let selected = |child: &&Descriptor| {
            let platform = child.platform.as_ref();
            platform.is_some_and(|platform| is_linux(platform) && choices.select(platform))
        };
        let selected: Vec<&Descriptor> = children.iter().filter(selected).collect();
        if selected.is_empty() {
            return Ok(Children::default());
        }
        let workers = self.parts.engine.platforms().await;
        let allowed = |child: &&Descriptor| {
            let platform = child.platform.as_ref();
            let runs = |platform| {
                workers
                    .as_ref()
                    .is_ok_and(|workers| workers.allow(platform, choices.emulation))
            };
            platform.is_some_and(runs)
        };
        let (ours, others): (Vec<&Descriptor>, Vec<&Descriptor>) = selected.into_iter().partition(allowed);
        if ours.len().max(others.len()) > MAX_PLATFORMS {
            let reason = format!("it has {} images for the workers' platforms", ours.len());
            return Err(PatchError::Unsupported(reason));
        }
        let patches = ours
            .into_iter()
            .map(|child| self.child(place, &original.digest, child, choices, urgency));
        let mut results = try_join_all(patches).await?;
        let direct = self
            .others(place, &original.digest, &others, &results, choices, urgency)
            .await?;
        let is_left = |child: &&Descriptor| !direct.iter().any(|(digest, _)| *digest == child.digest);
        let others = others.into_iter().filter(is_left);
        let others = list(others.filter_map(|child| child.platform.as_ref()));
        results.extend(direct);
        if results.is_empty() {
            return Err(no_worker(others, &workers?, choices.emulation));
        }
        Ok(Children { results, others })
    }

    /// Those of the platforms that no worker runs that are patched without one. The images of one index are alike: where one of
    /// the `done` was patched without a container, or none is of a platform that a container could run on, the others may be, too.
    async fn others(
        self: &Arc<Self>,
        place: &Place,
        index: &Digest,
        others: &[&Descriptor],
        done: &[Done],
        choices: Choices,
        urgency: &Urgency,
    ) -> Result<Vec<Done>, PatchError> {
        let any_direct = |done: &[Done]| {
            done.iter()
                .any(|(_, result)| result.as_ref().is_ok_and(|outcome| outcome.is_direct))
        };
        let look = |child| self.direct_child(place, index, child, choices, urgency);
        let (mut left, mut found) = (others.iter().copied(), Vec::new());
        if done.is_empty()
            && let Some(first) = left.next()
        {
            found.extend(look(first).await?);
        }
        if any_direct(done) || any_direct(&found) {
            found.extend(try_join_all(left.map(look)).await?.into_iter().flatten());
        }
        Ok(found)
    }

    /// A child for a platform that no worker runs; nothing unless it is patched without one.
    async fn direct_child(
        self: &Arc<Self>,
        place: &Place,
        index: &Digest,
        child: &Descriptor,
        choices: Choices,
        urgency: &Urgency,
    ) -> Result<Option<Done>, PatchError> {
        let readable = self.parts.library.may_read(place, &child.digest).await?;
        let manifest = self.parts.resolver.digest(place, &child.digest, readable).await?;
        let part = child.platform.as_ref().map(|platform| (index, platform));
        let subject = subject(place, &manifest, part, &self.parts.library, &self.parts.catalog).await;
        // What cannot be read there stays as it is, like any other that no worker runs.
        match subject {
            Ok(Some(subject)) if may_be_direct(&subject.inventory) => {
                match self.image(place, &manifest, part, choices, urgency).await {
                    // It takes a container after all.
                    Err(PatchError::NoWorker { .. } | PatchError::Engine(EngineError::Unreachable { .. })) => Ok(None),
                    outcome => Ok(Some((child.digest.clone(), outcome))),
                }
            }
            _ => Ok(None),
        }
    }

    /// One child of an index. Only what concerns all of them is an error of the whole.
    async fn child(
        self: &Arc<Self>,
        place: &Place,
        index: &Digest,
        child: &Descriptor,
        choices: Choices,
        urgency: &Urgency,
    ) -> Result<Done, PatchError> {
        let digest = child.digest.clone();
        let readable = self.parts.library.may_read(place, &digest).await?;
        let manifest = self.parts.resolver.digest(place, &digest, readable).await?;
        let part = child.platform.as_ref().map(|platform| (index, platform));
        let outcome = self.image(place, &manifest, part, choices, urgency).await;
        Ok((digest, outcome))
    }

    /// Puts the patched children into a new index. A platform that fails keeps its original descriptor and is missing, unless no other
    /// was patched: then all has failed.
    pub(super) async fn indexed(
        &self,
        place: &Place,
        original: &Manifest,
        children: Children,
        watched: &mut Vec<Watched>,
        missing: &mut Option<PatchError>,
    ) -> Result<Verdict, PatchError> {
        let (mut patched, mut notes) = (HashMap::new(), Vec::new());
        let (mut evidence, mut created) = (Vec::new(), String::new());
        for (digest, result) in children.results {
            match result {
                Ok(outcome) => {
                    notes.push(outcome.note);
                    watched.push(outcome.watched);
                    evidence.extend(outcome.evidence);
                    created = created.max(outcome.created);
                    patched.extend(outcome.patched.map(|manifest| (digest, manifest)));
                }
                Err(error) => {
                    tracing::warn!(image.repository = %place, image.digest = %digest, error = chain(&error), "a platform was not patched");
                    notes.push(format!("{digest} left as it is: {}", chain(&error)));
                    *missing = Some(error);
                }
            }
        }
        if !children.others.is_empty() {
            notes.push(format!("no worker runs {}", children.others));
        }
        if notes.is_empty() {
            notes.push(NOTHING.to_owned());
        }
        let note = notes.join("; ");
        let made = match missing.take() {
            Some(error) if patched.is_empty() => return Err(error),
            _ if patched.is_empty() => vec![],
            failure => {
                *missing = failure;
                let index = assemble::index(original, &patched, &place.to_string())?;
                evidence.extend(self.index_evidence(place, original, &index, &patched, &created).await?);
                patched.into_values().chain([index]).collect()
            }
        };
        Ok(Verdict {
            made,
            evidence,
            note,
            images: vec![],
        })
    }
}

/// What became of the children of an index.
#[derive(Default)]
pub(super) struct Children {
    /// Those that were to be patched.
    results: Vec<Done>,
    /// The platforms that no worker runs.
    others: String,
}
