//! One job: inspect, scan, plan, patch, assemble, store, for an image or for the children of an index; then one switch.
//!
//! Blobs are in the store before a manifest names them; manifests and decision become visible together.

use std::pin::pin;
use std::sync::Arc;

use patchport_config::PackageSource;
use patchport_oci::manifest::Content;
use patchport_oci::{Digest, Manifest, Platform, media_type};
use patchport_packages::{Findings, Inventory};

use super::helper::Found;
use super::job::{Made, Patcher};
use super::roster::Watched;
use super::{
    Base, Detour, EngineError, Order, PackageFile, Packages, Parts, PatchError, PatchLayer, Platforms, RawLayer,
    direct, finish,
};
use crate::assemble;
use crate::catalog::{Decision, Planned, Verdict};
use crate::evidence::Artifact;
use crate::flight::{Interrupted, Urgency};
use crate::inspect;
use crate::plan::{self, Choices, LeftOut, Plan, Target, Tool};
use crate::respond::chain;
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

    /// The layer of a plan, made once however many ask; nothing when there is no plan.
    async fn made(
        self: &Arc<Self>,
        subject: &Subject,
        plan: Option<&Plan>,
        choices: Choices,
        urgency: &Urgency,
    ) -> Result<Option<PatchLayer>, PatchError> {
        let Some(plan) = plan else { return Ok(None) };
        self.admit(subject).await?;
        let (mut plan, subject) = (plan.clone(), subject.clone());
        let helper = match plan.tool {
            Tool::Helper => Some(self.helper(&subject).await?),
            _ => None,
        };
        // Another helper may give another layer.
        plan.helper = helper.as_ref().map(|helper| helper.named.clone());
        // A run that may not be emulated is none for those who would have it so, and the other way round.
        let key = (plan.key(), choices.emulation);
        let flight = self.layers.launch(key, |urgency| {
            let order = Order {
                urgency,
                emulation: choices.emulation,
                ..Order::default()
            };
            Arc::clone(self).layer(plan, subject, helper, order)
        });
        // Whoever waits for the image waits for its layer, also when that was begun while nobody did.
        let theirs = flight.urgency().clone();
        let mut made = pin!(flight.result());
        tokio::select! {
            biased;
            made = &mut made => return Ok(Some(made??)),
            () = urgency.raised() => theirs.raise(),
        }
        Ok(Some(made.await??))
    }

    /// Whether the source policy lets the image be patched.
    pub(super) async fn admit(&self, subject: &Subject) -> Result<(), PatchError> {
        let sources = &self.parts.sources;
        if sources.policy().is_none() {
            return Ok(());
        }
        let Subject {
            place, manifest, index, ..
        } = subject;
        let root = index.as_ref().unwrap_or(&manifest.digest);
        let tags = self.parts.catalog.ways_to(place, root).await?;
        let digests: Vec<&Digest> = index.iter().chain([&manifest.digest]).collect();
        Ok(sources.admit_image(place, &tags, &digests)?)
    }

    /// Where packages may come from: who cannot be judged fetches none.
    fn package_source(&self) -> Result<PackageSource, PatchError> {
        match self.settings.packages {
            choice if !self.parts.sources.restrict_files() => Ok(choice),
            PackageSource::Image => Err(PatchError::Unsupported(
                "the source policy is about files of package repositories, and nobody judges what the image's own tool fetches: `patch.packages = \"image\"` cannot be kept to".to_owned(),
            )),
            PackageSource::Auto | PackageSource::Fetched => Ok(PackageSource::Fetched),
        }
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

    /// Carries out a plan, unless its layer is known and fresh.
    async fn layer(self: Arc<Self>, plan: Plan, subject: Subject, helper: Option<Found>, order: Order) -> Made {
        let key = plan.key();
        if let Some((layer, made_at)) = self.parts.catalog.layer(&key).await?
            // Exact versions do not age; what a repository offers beyond a report's fix does.
            && (plan.upgrades.iter().all(|upgrade| upgrade.exact) || self.is_recent(made_at))
            && self.parts.blobs.stored(&layer.digest).await?.is_some()
        {
            for file in &layer.packages {
                self.parts.sources.file(&file.url)?;
            }
            return Ok(layer);
        }
        if plan.tool.is_direct() {
            return self.direct_layer(&key, plan, &subject).await;
        }
        // A thousand images that are planned anew do not fetch and fill the disk at once, and none of them keeps a pull waiting.
        let _turn = self.turns.take(&order.urgency).await?;
        let packages = self.packages(&plan, &subject).await?;
        let helper = match (helper, &packages) {
            (Some(found), Some(packages)) => Some(self.helping(&plan, &subject, found, &packages.files).await?),
            _ => None,
        };
        let base = Base {
            manifest: subject.manifest.clone(),
            config: subject.config.clone(),
            name: subject.place.to_string(),
            place: subject.place.clone(),
            detour: self.detour(&plan, &subject).await?,
            packages: packages.map(Arc::new),
            own_tool: self.package_source()? != PackageSource::Fetched,
            helper: helper.map(Arc::new),
        };
        let workers = self.parts.engine.platforms().await?;
        if !workers.allow(&plan.platform, order.emulation) {
            return Err(no_worker(plan.platform.to_string(), &workers, order.emulation));
        }
        let build = self.parts.builds.begin(&plan, &base);
        let order = Order {
            log: build.log(),
            ..order
        };
        tracing::info!(plan.key = key, image.digest = %plan.image, image.repository = base.name, "patching");
        let raw = self.parts.engine.run(&plan, &base, &order).await;
        let made = match raw {
            Ok(raw) => {
                let files = base.packages.map(|packages| packages.files.clone());
                self.believed(raw, &plan, &subject, files.unwrap_or_default()).await
            }
            Err(error) => Err(error.into()),
        };
        let failure = made.as_ref().err().map(|error| chain(error));
        let kept = build.end(failure).await;
        let layer = made.map_err(|error| match (error, kept) {
            (PatchError::Engine(error), Some(path)) => {
                tracing::warn!(plan.key = key, image.digest = %plan.image, build.log = %path.display(), "a build failed, its log is kept");
                // Who may see the log knows where it is by this.
                PatchError::Engine(error.told(|text| format!("{text} (build log {})", &key[..16])))
            }
            (error, _) => error,
        })?;
        self.parts.catalog.put_layer(&key, &layer).await?;
        Ok(layer)
    }

    /// Carries out a plan without a container.
    async fn direct_layer(&self, key: &str, plan: Plan, subject: &Subject) -> Made {
        let limit = self.settings.timeout;
        tracing::info!(plan.key = key, image.digest = %plan.image, image.repository = %subject.place, "patching without a container");
        let work = async {
            let _turn = direct::TURNS.acquire().await.map_err(|_| Interrupted)?;
            let (raw, files) = self.direct(&plan, subject).await?;
            self.believed(Some(raw), &plan, subject, files).await
        };
        let layer = tokio::time::timeout(limit, work).await;
        let layer = layer.map_err(|_| EngineError::TimedOut { limit })??;
        self.parts.catalog.put_layer(key, &layer).await?;
        Ok(layer)
    }

    /// What the image's own tool is told of its repositories, or in words why it cannot be told that.
    async fn detour(&self, plan: &Plan, subject: &Subject) -> Result<Result<Detour, String>, PatchError> {
        let Parts {
            library,
            catalog,
            indexes,
            ..
        } = &self.parts;
        let fetcher = indexes.fetcher();
        if self.package_source()? == PackageSource::Fetched || !fetcher.has_table() {
            return Ok(Ok(Detour::default()));
        }
        let files = inspect::files(&subject.manifest, &subject.place, library, catalog).await?;
        let detour = match &files {
            Some(files) => Detour::of(subject, plan.tool, files, fetcher, indexes.files()).await,
            None => Ok(Detour::default()),
        };
        Ok(detour.map_err(|error| chain(&error)))
    }

    /// The packages of a plan, fetched; nothing when the image's own tool is to fetch them.
    async fn packages(&self, plan: &Plan, subject: &Subject) -> Result<Option<Packages>, PatchError> {
        let has_own = plan.tool != Tool::Helper;
        let choice = self.package_source()?;
        if choice == PackageSource::Image && has_own {
            return Ok(None);
        }
        let must = choice == PackageSource::Fetched || !has_own;
        let Some(supply) = self.parts.scanners.packages(subject, &plan.upgrades).await else {
            let needs_more = || {
                let reason = if has_own {
                    "the package indexes do not say all that its upgrades need, and `patch.packages = \"fetched\"`, or a source policy about package repositories, keeps the image's own tool from finding out"
                } else {
                    "the package indexes do not say all that its upgrades need, and it has no package manager that could find out"
                };
                Err(PatchError::Unsupported(reason.to_owned()))
            };
            return if must { needs_more() } else { Ok(None) };
        };
        let limit = self.settings.timeout;
        let fetch = Packages::fetch(&self.parts.depot, &supply, &plan.platform, &self.parts.scratch);
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

    /// The layer that an engine made, when it shows what was planned.
    async fn believed(
        &self,
        raw: Option<RawLayer>,
        plan: &Plan,
        subject: &Subject,
        packages: Vec<PackageFile>,
    ) -> Made {
        let layer = match raw {
            Some(raw) => {
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
                    packages: if raw.from_packages { packages } else { vec![] },
                };
                let engine = raw.engine.clone();
                match finishing.finish(raw, &self.parts.blobs, &self.parts.scratch).await? {
                    Some((layer, files)) => {
                        inspect::keep(&layer.digest, files, &self.parts.catalog).await?;
                        Some(PatchLayer { engine, ..layer })
                    }
                    None => None,
                }
            }
            None => None,
        };
        layer.ok_or_else(|| {
            let names: Vec<&str> = plan.upgrades.iter().map(|upgrade| upgrade.name.as_str()).collect();
            PatchError::Unproven(format!("its package manager upgraded none of {}", names.join(", ")))
        })
    }
}

impl Outcome {
    /// Whether the image is one that is patched without a container.
    pub(super) fn is_direct(&self) -> bool {
        self.watched.inventory.as_deref().is_some_and(is_direct)
    }
}

/// Whether an image is patched without a container.
pub(super) fn is_direct(inventory: &Inventory) -> bool {
    Tool::of(inventory).is_ok_and(Tool::is_direct)
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
