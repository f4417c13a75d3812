//! From a plan to its layer: where its packages come from, who makes it, and whether what comes back is believed.
//!
//! A layer is made once however many ask, and known by the key of its plan from then on.

use std::pin::pin;
use std::sync::Arc;

use patchport_config::PackageSource;
use patchport_oci::Digest;

use super::helper::Found;
use super::image::no_worker;
use super::job::{Made, Patcher};
use super::{Base, Detour, EngineError, Order, PackageFile, Packages, Parts, PatchError, PatchLayer, RawLayer, finish};
use crate::flight::Urgency;
use crate::inspect;
use crate::plan::{Choices, Plan, Tool};
use crate::respond::chain;
use crate::scan::Subject;

impl Patcher {
    /// The layer of a plan, made once however many ask; nothing when there is no plan.
    pub(super) async fn made(
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
            return self.direct_layer(&key, plan, &subject, &order.urgency).await;
        }
        match self.without_container(&key, &plan, &subject, &order.urgency).await? {
            Some(layer) => Ok(layer),
            None => self.in_container(&key, plan, subject, helper, order).await,
        }
    }

    /// Carries out a plan by an engine.
    async fn in_container(&self, key: &str, plan: Plan, subject: Subject, helper: Option<Found>, order: Order) -> Made {
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
        self.parts.catalog.put_layer(key, &layer).await?;
        Ok(layer)
    }

    /// Carries out without a container what could also be done in one, where nothing has to run; nothing where that is not so.
    async fn without_container(
        &self,
        key: &str,
        plan: &Plan,
        subject: &Subject,
        urgency: &Urgency,
    ) -> Result<Option<PatchLayer>, PatchError> {
        if !plan.tool.may_be_direct() || self.package_source()? == PackageSource::Image {
            return Ok(None);
        }
        match self.direct_layer(key, plan.clone(), subject, urgency).await {
            // The image's own tool has the last word on these.
            Err(
                error @ (PatchError::LeftOut(_)
                | PatchError::Unsupported(_)
                | PatchError::Unproven(_)
                | PatchError::Depot(_)),
            ) => {
                let why = match error {
                    PatchError::LeftOut(refused) => {
                        let reasons = refused.iter().map(|one| format!("{}: {}", one.name, one.reason));
                        reasons.collect::<Vec<_>>().join("; ")
                    }
                    error => chain(&error),
                };
                tracing::info!(plan.key = key, image.digest = %plan.image, why, "a container is needed");
                Ok(None)
            }
            made => made.map(Some),
        }
    }

    /// Carries out a plan without a container.
    async fn direct_layer(&self, key: &str, plan: Plan, subject: &Subject, urgency: &Urgency) -> Made {
        let _turn = self.direct_turns.take(urgency).await?;
        let limit = self.settings.timeout;
        tracing::info!(plan.key = key, image.digest = %plan.image, image.repository = %subject.place, "patching without a container");
        let work = async {
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
