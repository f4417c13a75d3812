//! One job: inspect, scan, plan, patch, assemble, store, for an image or for the platforms of an index; then one switch.
//!
//! Blobs are in the store before a manifest names them; manifests and decision become visible together.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use patchport_config::PackageSource;
use patchport_oci::manifest::Content;
use patchport_oci::{Descriptor, Digest, Manifest, Platform, media_type};

use super::job::{Made, Patcher};
use super::roster::Watched;
use super::{Base, EngineError, Packages, PatchError, PatchLayer, finish};
use crate::assemble;
use crate::catalog::{Decision, Planned, Verdict};
use crate::flight::Interrupted;
use crate::inspect;
use crate::plan::{self, Choices, LeftOut, Plan, Target};
use crate::respond::chain;
use crate::route::Place;
use crate::scan::Subject;
use crate::subject::{is_linux, subject};

/// More native platforms than any real index has.
const MAX_NATIVES: usize = 16;
/// What a decision says of an image that stays as it is.
const NOTHING: &str = "nothing to patch";

/// What became of an image: what was planned for it, what is said about that, and the patched manifest if there is one.
struct Outcome {
    watched: Watched,
    note: String,
    patched: Option<Manifest>,
}

impl Patcher {
    /// The whole job.
    pub(super) async fn run(
        self: &Arc<Self>,
        place: &Place,
        original: &Manifest,
        choices: Choices,
    ) -> Result<Decision, PatchError> {
        let mut watched = Vec::new();
        let verdict = match &original.content {
            Content::Image { .. } => {
                let outcome = self.image(place, original, None, choices).await?;
                watched.push(outcome.watched);
                Verdict {
                    made: outcome.patched.into_iter().collect(),
                    note: outcome.note,
                    images: vec![],
                }
            }
            Content::Index { manifests } => self.index(place, original, manifests, choices, &mut watched).await?,
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
        Ok(decided)
    }

    /// Patches the children of an index that the engine runs natively, and puts them into a new index.
    async fn index(
        self: &Arc<Self>,
        place: &Place,
        original: &Manifest,
        children: &[Descriptor],
        choices: Choices,
        watched: &mut Vec<Watched>,
    ) -> Result<Verdict, PatchError> {
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
            .map(|child| self.child(place, &original.digest, child, choices));
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
        let (mut patched, mut verdict, mut notes, mut failure) = (HashMap::new(), Verdict::default(), Vec::new(), None);
        for (digest, result) in results {
            match result {
                Ok(outcome) => {
                    notes.push(outcome.note);
                    watched.push(outcome.watched);
                    patched.extend(outcome.patched.map(|manifest| (digest, manifest)));
                }
                Err(error) => {
                    tracing::warn!(image.repository = %place, image.digest = %digest, error = chain(&error), "a platform was not patched");
                    failure = Some(error);
                }
            }
        }
        verdict.note = notes.join("; ");
        // A platform that fails keeps its original descriptor, unless no other was patched.
        match failure {
            Some(error) if patched.is_empty() => return Err(error),
            _ if patched.is_empty() => return Ok(verdict),
            _ => {}
        }
        let index = assemble::index(original, &patched, &place.to_string())?;
        verdict.made = patched.into_values().chain([index]).collect();
        Ok(verdict)
    }

    /// One child of an index. Only what concerns all of them is an error of the whole.
    async fn child(
        self: &Arc<Self>,
        place: &Place,
        index: &Digest,
        child: &Descriptor,
        choices: Choices,
    ) -> Result<(Digest, Result<Outcome, PatchError>), PatchError> {
        let digest = child.digest.clone();
        let readable = self.parts.library.may_read(place, &digest).await?;
        let manifest = self.parts.resolver.digest(place, &digest, readable).await?;
        let part = child.platform.as_ref().map(|platform| (index, platform));
        let outcome = self.image(place, &manifest, part, choices).await;
        Ok((digest, outcome))
    }

    /// Patches one image, which may be part of an index. The patched configuration is in the store when this returns.
    async fn image(
        self: &Arc<Self>,
        place: &Place,
        image: &Manifest,
        part: Option<(&Digest, &Platform)>,
        choices: Choices,
    ) -> Result<Outcome, PatchError> {
        let docker = image.media_type == media_type::DOCKER_MANIFEST;
        let Some(subject) = subject(place, image, part, &self.parts.library, &self.parts.catalog).await? else {
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
            });
        };
        let mut planned = self.plan(&subject, choices).await?;
        let mut made = self.made(&subject, planned.plan.as_ref()).await;
        if let Err(PatchError::Engine(EngineError::NotOffered { reason })) = &made {
            // A repository that has moved on has something newer: one more look, and one more try.
            tracing::info!(image.digest = %image.digest, reason, "the plan is out of date");
            self.parts.scanners.refresh(&subject).await;
            let newer = self.plan(&subject, choices).await?;
            if newer.plan != planned.plan {
                planned = newer;
                made = self.made(&subject, planned.plan.as_ref()).await;
            }
        }
        let layer = made?;
        let patched = match &layer {
            Some(layer) => {
                let patched = assemble::image(image, &subject.config, layer, &place.to_string())?;
                finish::keep(&self.parts.blobs, &Digest::of(&patched.config), patched.config.into()).await?;
                Some(patched.manifest)
            }
            None => None,
        };
        Ok(Outcome {
            watched: Watched {
                planned: Planned {
                    image: image.digest.clone(),
                    platform: subject.platform.clone(),
                    plan: planned.plan.as_ref().map(Plan::key),
                },
                inventory: Some(Arc::clone(&subject.inventory)),
                docker,
            },
            note: note(layer.as_ref(), &planned.left_out),
            patched,
        })
    }

    /// The layer of a plan, made once however many ask; nothing when there is no plan.
    async fn made(self: &Arc<Self>, subject: &Subject, plan: Option<&Plan>) -> Result<Option<PatchLayer>, PatchError> {
        let Some(plan) = plan else { return Ok(None) };
        let (plan, subject) = (plan.clone(), subject.clone());
        let flight = self.layers.join(plan.key(), || Arc::clone(self).layer(plan, subject));
        Ok(Some(flight.result().await??))
    }

    /// What the scanners' findings come to.
    pub(crate) async fn plan(&self, subject: &Subject, choices: Choices) -> Result<plan::Planned, PatchError> {
        let findings = self.parts.scanners.scan(subject).await?;
        let target = Target {
            image: &subject.manifest.digest,
            platform: &subject.platform,
            name: &subject.place.to_string(),
            docker: subject.manifest.media_type == media_type::DOCKER_MANIFEST,
        };
        Ok(plan::plan(&subject.inventory, &findings, target, choices)?)
    }

    /// Carries out a plan, unless its layer is known and fresh.
    async fn layer(self: Arc<Self>, plan: Plan, subject: Subject) -> Made {
        let key = plan.key();
        if let Some((layer, made_at)) = self.parts.catalog.layer(&key).await?
            // Exact versions do not age; what a repository offers beyond a report's fix does.
            && (plan.upgrades.iter().all(|upgrade| upgrade.exact) || self.is_recent(made_at))
            && self.parts.blobs.stored(&layer.digest).await?.is_some()
        {
            return Ok(layer);
        }
        // What is fetched waits for no worker.
        let packages = self.packages(&plan, &subject).await?;
        let base = Base {
            manifest: subject.manifest.clone(),
            config: subject.config.clone(),
            name: subject.place.to_string(),
            place: subject.place.clone(),
            packages: packages.map(Arc::new),
            own_tool: self.settings.packages != PackageSource::Fetched,
        };
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
            Some(raw) => {
                let files = base.packages.filter(|_| raw.from_packages);
                let below = inspect::layers(
                    &subject.manifest,
                    &subject.place,
                    &self.parts.library,
                    &self.parts.catalog,
                );
                let below = below.await?.unwrap_or_default();
                let finishing = finish::Finishing {
                    plan: plan.clone(),
                    before: Arc::clone(&subject.inventory),
                    below,
                    packages: files.map(|packages| packages.files.clone()).unwrap_or_default(),
                };
                finishing.finish(raw, &self.parts.blobs, &self.parts.scratch).await?
            }
            None => None,
        };
        let layer = layer.ok_or_else(|| {
            let names: Vec<&str> = plan.upgrades.iter().map(|upgrade| upgrade.name.as_str()).collect();
            PatchError::Unproven(format!("its package manager upgraded none of {}", names.join(", ")))
        })?;
        self.parts.catalog.put_layer(&key, &layer).await?;
        Ok(layer)
    }

    /// The packages of a plan, fetched; nothing when the image's own tool is to fetch them.
    async fn packages(&self, plan: &Plan, subject: &Subject) -> Result<Option<Packages>, PatchError> {
        let choice = self.settings.packages;
        if choice == PackageSource::Image {
            return Ok(None);
        }
        let must = choice == PackageSource::Fetched;
        let Some(packages) = self.parts.scanners.packages(subject, &plan.upgrades).await else {
            let needs_more = || {
                let reason = "the package indexes do not say all that its upgrades need, and `patch.packages = \"fetched\"` keeps the image's own tool from finding out";
                Err(PatchError::Unsupported(reason.to_owned()))
            };
            return if must { needs_more() } else { Ok(None) };
        };
        let limit = self.settings.timeout;
        let fetch = Packages::fetch(&self.parts.depot, &packages, &plan.platform, &self.parts.scratch);
        let late = |_| Err(PatchError::Engine(EngineError::TimedOut { limit }));
        match tokio::time::timeout(limit, fetch).await.unwrap_or_else(late) {
            Ok(packages) => Ok(Some(packages)),
            Err(PatchError::Depot(error)) if error.is_stale() => {
                Err(PatchError::Engine(EngineError::NotOffered { reason: chain(&error) }))
            }
            // The builder may reach what we do not.
            Err(PatchError::Depot(error)) if !must => {
                tracing::warn!(image.digest = %plan.image, error = chain(&error), "packages cannot be fetched, the image's own tool has to");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// What was done to an image and what was left out, for people.
fn note(layer: Option<&PatchLayer>, left_out: &[LeftOut]) -> String {
    let left = left_out
        .iter()
        .map(|left| format!("{} left as it is: {}", left.name, left.reason));
    let done = layer.map_or_else(|| NOTHING.to_owned(), PatchLayer::summary);
    [done].into_iter().chain(left).collect::<Vec<_>>().join("; ")
}

fn list<'a>(platforms: impl IntoIterator<Item = &'a Platform>) -> String {
    platforms
        .into_iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
