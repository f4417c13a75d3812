//! One image after another through the stages of the mirror: find, inspect, scan, plan, patch, assemble.
//!
//! What becomes of each platform is told apart; a platform that is not patched keeps its original descriptor.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use futures_util::future::join_all;
use patchport_config::Config;
use patchport_oci::manifest::Content;
use patchport_oci::{Descriptor, Digest, Manifest, Platform, Reference};
use serde::Deserialize;

use super::engine::{Engine as Store, Loader};
use super::outcome::{Fate, Made, Outcome, Row};
use super::progress::Display;
use super::tree::Tree;
use super::{LOCAL, Misused};
use crate::app::table;
use crate::assemble;
use crate::cli::image::{Named, Workbench, Written, kept_folder};
use crate::depot::Depot;
use crate::evidence::{self, vex};
use crate::patch::builds::Builds;
use crate::patch::workers::Pool;
use crate::patch::{self, Engine as _, Helpers, PatchError, Patcher};
use crate::plan::{Choices, Planned};
use crate::respond::chain;
use crate::scan::Subject;
use crate::scan::given::Given;
use crate::subject::{is_linux, subject};

/// More images than a real index has for one builder.
const MAX_PARTS: usize = 64;

/// The stages, and how they are to be used.
pub(super) struct Work {
    pub(super) bench: Workbench,
    pub(super) display: Display,
    /// `$PATH`.
    pub(super) path: Option<OsString>,
    patcher: Arc<Patcher>,
    engine: Arc<Pool>,
    given: Option<Given>,
    choices: Choices,
    dry_run: bool,
    ignore_errors: bool,
}

/// What is asked of all images.
pub(super) struct Terms {
    /// The reports that are given.
    pub(super) given: Option<Given>,
    /// What is upgraded.
    pub(super) choices: Choices,
    /// Whether it is only planned.
    pub(super) dry_run: bool,
    /// Whether a platform that fails stays as it is.
    pub(super) ignore_errors: bool,
}

/// The part of a manifest that says what it was made from.
#[derive(Deserialize)]
struct Annotated {
    #[serde(default)]
    annotations: Option<HashMap<String, String>>,
}

impl Work {
    /// The stages as the configuration has them.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(super) async fn new(
        config: Config,
        environment: patch::Environment,
        display: Display,
        terms: Terms,
    ) -> anyhow::Result<Self> {
        let path = environment.path.clone();
        let mut bench = Workbench::new(config, path.as_deref()).await?;
        if let Some(given) = &terms.given {
            bench.scanners = bench.scanners.clone().and(Arc::new(given.clone()));
        }
        let config = &bench.config;
        let engine = Pool::configured(
            config,
            &bench.sources,
            &kept_folder(config, bench.folder.path(), "buildkit-of-patch"),
            &environment,
            &bench.blobs,
            &bench.scratch,
            Some(&display.watch()),
        );
        let engine = Arc::new(engine.context(Misused)?);
        let parts = patch::Parts {
            helpers: Helpers::new(config.helpers.clone(), table(config.upstreams.clone(), &config.cache)?),
            catalog: bench.catalog.clone(),
            resolver: Arc::clone(&bench.resolver),
            depot: Depot::new(
                Arc::clone(bench.indexes.fetcher()),
                Arc::clone(&bench.blobs),
                bench.catalog.clone(),
                bench.tasks.clone(),
            ),
            indexes: Arc::clone(&bench.indexes),
            sources: bench.sources.clone(),
            blobs: Arc::clone(&bench.blobs),
            library: Arc::clone(&bench.library),
            scanners: bench.scanners.clone(),
            engine: Arc::clone(&engine) as Arc<dyn patch::Engine>,
            builds: Builds::new(kept_folder(config, bench.folder.path(), "builds-of-patch")),
            // What is made for one person goes where that person says; nobody is told that it came from a mirror.
            signer: None,
            scratch: bench.scratch.clone(),
        };
        Ok(Self {
            patcher: Patcher::new(parts, config.patch.clone(), bench.tasks.clone()),
            given: terms.given,
            choices: terms.choices,
            dry_run: terms.dry_run,
            ignore_errors: terms.ignore_errors,
            bench,
            display,
            path,
            engine,
        })
    }

    /// Ends what still runs.
    pub(super) async fn close(self) {
        self.engine.shut_down().await;
        drop(self.patcher);
        self.bench.close().await;
    }

    /// Patches an image, or plans to.
    ///
    /// # Errors
    /// When it cannot be found, or a platform fails and errors are not to be ignored.
    pub(super) async fn patch(&self, image: &str, platforms: &[Platform]) -> anyhow::Result<Outcome<'_>> {
        self.display.say(&format!("looking for {image}"));
        let named = self.original(self.find(image).await?).await;
        let name = lineage(&named);
        let rows = match &named.manifest.content {
            Content::Image { .. } => vec![self.whole(&named, &name, platforms).await?],
            Content::Index { manifests } => self.children(&named, &name, manifests, platforms).await?,
        };
        self.judge(&named, &rows)?;
        let made: HashMap<Digest, Manifest> = rows
            .iter()
            .filter_map(|row| match &row.fate {
                Fate::Patched(made) => Some((row.original.clone(), made.manifest.clone())),
                _ => None,
            })
            .collect();
        let root = match (&named.manifest.content, made.values().next()) {
            (_, None) => None,
            (Content::Image { .. }, Some(manifest)) => Some(manifest.clone()),
            (Content::Index { .. }, Some(_)) => Some(assemble::index(&named.manifest, &made, &name)?),
        };
        let tree = root.map(|root| Tree {
            bench: &self.bench,
            place: named.place.clone(),
            root,
            made: made
                .into_values()
                .map(|manifest| (manifest.digest.clone(), manifest))
                .collect(),
        });
        Ok(Outcome { named, rows, tree })
    }

    /// The image of that name: of a folder or a file, of a registry, else of a store of this machine.
    async fn find(&self, image: &str) -> anyhow::Result<Named> {
        for (prefix, loader) in [
            ("docker-daemon:", Loader::Docker),
            ("containers-storage:", Loader::Podman),
        ] {
            if let Some(name) = image.strip_prefix(prefix) {
                let store = Store::of(loader, self.path.as_deref()).await?;
                return self.saved(&store, name).await;
            }
        }
        let remote = match self.bench.find(image).await {
            Ok(named) => return Ok(named),
            Err(error) => error,
        };
        let name = image.strip_prefix("docker://").unwrap_or(image);
        if Written::parse(name).is_ok_and(|written| matches!(written.reference, Reference::Tag(_))) {
            let mut reasons = Vec::new();
            for loader in [Loader::Docker, Loader::Podman] {
                match Store::of(loader, self.path.as_deref()).await {
                    Ok(store) if store.has(name).await => {
                        self.display
                            .say(&format!("{remote:#}; taking the image that {} has", store.name()));
                        return self.saved(&store, name).await;
                    }
                    Ok(store) => reasons.push(format!("{} has none of that name", store.name())),
                    Err(error) => reasons.push(format!("{error:#}")),
                }
            }
            bail!("{remote:#}; nor is it on this machine: {}", reasons.join("; "));
        }
        Err(remote)
    }

    async fn saved(&self, store: &Store, name: &str) -> anyhow::Result<Named> {
        let file = tempfile::NamedTempFile::new_in(self.bench.folder.path()).context("cannot make a temporary file")?;
        store.save(name, file.path()).await?;
        let mut named = self.bench.archived(name, file.path()).await?;
        named.label = Some(name.to_owned());
        Ok(named)
    }

    /// What a patched image was made from, if it is there: patches do not pile up.
    async fn original(&self, mut named: Named) -> Named {
        let annotated: Option<Annotated> = serde_json::from_slice(&named.manifest.bytes).ok();
        let annotations = annotated.and_then(|found| found.annotations).unwrap_or_default();
        let origin = annotations.get("sh.copa.patch.origin.digest");
        let Some(origin) = origin.and_then(|text| text.parse::<Digest>().ok()) else {
            return named;
        };
        match self.bench.resolver.digest(&named.place, &origin, false).await {
            Ok(manifest) => {
                self.display.say(&format!(
                    "{} is a patched image; starting from its original {origin}",
                    named.name
                ));
                named.manifest = manifest;
            }
            Err(error) => {
                let reason = chain(&error);
                self.display.say(&format!(
                    "{} is a patched image, and its original is not to be had ({reason}): the patch goes on top of it",
                    named.name
                ));
            }
        }
        named
    }

    /// An image that is not part of an index.
    async fn whole(&self, named: &Named, name: &str, platforms: &[Platform]) -> anyhow::Result<Row> {
        let row = self.part(named, name, &named.manifest, None, platforms).await;
        if let Fate::Kept(reason) = &row.fate {
            bail!("{}: {reason}", named.name);
        }
        Ok(row)
    }

    /// The images of an index.
    async fn children(
        &self,
        named: &Named,
        name: &str,
        children: &[Descriptor],
        platforms: &[Platform],
    ) -> anyhow::Result<Vec<Row>> {
        // What is only planned needs no builder.
        let workers = if self.dry_run {
            None
        } else {
            let workers = self.engine.platforms().await?;
            Some(workers.native)
        };
        let (mut rows, chosen) = choose(&named.name, children, platforms, workers.as_deref())?;
        let patches = chosen.into_iter().map(|(child, platform)| async move {
            let found = self.bench.resolver.digest(&named.place, &child.digest, true).await;
            match found {
                Ok(manifest) => {
                    let part = Some((&named.manifest.digest, platform));
                    self.part(named, name, &manifest, part, platforms).await
                }
                Err(error) => Row {
                    fate: Fate::Failed(error.into(), vec![]),
                    ..Row::kept(platform, child, String::new())
                },
            }
        });
        rows.extend(join_all(patches).await);
        let order = |row: &Row| children.iter().position(|child| child.digest == row.original);
        rows.sort_by_key(order);
        Ok(rows)
    }

    /// One image, which may be part of an index.
    async fn part(
        &self,
        named: &Named,
        name: &str,
        manifest: &Manifest,
        part: Option<(&Digest, &Platform)>,
        platforms: &[Platform],
    ) -> Row {
        let row = |platform: Option<&Platform>, planned, fate| Row {
            platform: platform.map(ToString::to_string).unwrap_or_default(),
            original: manifest.digest.clone(),
            planned,
            fate,
        };
        let of_index = part.map(|(_, platform)| platform);
        let found = subject(&named.place, manifest, part, &self.bench.library, &self.bench.catalog).await;
        let subject = match found {
            Ok(Some(subject)) => subject,
            Ok(None) => {
                let reason = "no packages of a distribution are installed in it";
                return row(of_index, Planned::default(), Fate::Nothing(reason.into()));
            }
            Err(error) => return row(of_index, Planned::default(), Fate::Failed(error, vec![])),
        };
        let platform = Some(&subject.platform);
        if !platforms.is_empty() && !platforms.iter().any(|wanted| wanted.same(&subject.platform)) {
            let reason = format!("it is for {}, which was not asked for", subject.platform);
            return row(platform, Planned::default(), Fate::Kept(reason));
        }
        if let Some(given) = &self.given
            && let Err(reasons) = given.about(&subject).await
        {
            let reason = format!("no report can be used for it: {reasons}");
            return row(platform, Planned::default(), Fate::Kept(reason));
        }
        let label = format!("{} {}", named.name, subject.platform);
        self.display.expect(&manifest.digest, &label);
        self.display.say(&format!("looking for upgrades of {label}"));
        match self.carried_out(&subject, name).await {
            Ok((planned, fate)) => row(platform, planned, fate),
            Err(error) => {
                let log = self.display.last_lines(&manifest.digest);
                row(platform, Planned::default(), Fate::Failed(error, log))
            }
        }
    }

    async fn carried_out(&self, subject: &Subject, name: &str) -> Result<(Planned, Fate), PatchError> {
        if self.dry_run {
            let (_, planned) = self.patcher.plan(subject, self.choices).await?;
            let fate = if planned.plan.is_some() {
                Fate::Planned
            } else {
                Fate::Nothing(String::new())
            };
            return Ok((planned, fate));
        }
        let done = self.patcher.once(subject, self.choices, name).await;
        self.display.ended(&subject.manifest.digest);
        let done = done?;
        let fate = match done.made {
            Some((layer, manifest)) => {
                let vex = vex::openvex(&vex::Product {
                    name,
                    digest: &manifest.digest.to_string(),
                    before: &subject.inventory,
                    after: &evidence::after(&subject.inventory, &layer),
                    findings: &done.findings,
                    left_out: &done.planned.left_out,
                    created: &layer.created(),
                });
                Fate::Patched(Box::new(Made { layer, manifest, vex }))
            }
            None => Fate::Nothing(String::new()),
        };
        Ok((done.planned, fate))
    }

    /// Whether what became of the platforms is good enough.
    fn judge(&self, named: &Named, rows: &[Row]) -> anyhow::Result<()> {
        let is_good = |row: &Row| matches!(row.fate, Fate::Patched(_) | Fate::Planned | Fate::Nothing(_));
        let failures: Vec<String> = rows.iter().filter_map(Row::failure).collect();
        if !failures.is_empty() && (!self.ignore_errors || !rows.iter().any(is_good)) {
            let hint = if !self.ignore_errors && rows.iter().any(is_good) {
                "\n(--ignore-errors would leave such a platform as it is)"
            } else {
                ""
            };
            bail!("{} was not patched\n{}{hint}", named.name, failures.join("\n"));
        }
        let kept: Vec<String> = rows
            .iter()
            .filter_map(|row| match &row.fate {
                Fate::Kept(reason) => Some(format!("{}: {reason}", row.platform)),
                _ => None,
            })
            .collect();
        // Only what nobody has looked at is left: a report was given for something else.
        ensure!(
            rows.iter().any(|row| !matches!(row.fate, Fate::Kept(_))),
            "{}: {}",
            named.name,
            kept.join("\n")
        );
        Ok(())
    }
}

/// A child of an index, and its platform.
type Child<'a> = (&'a Descriptor, &'a Platform);

/// The children of an index that are to be patched, and why the others are not. `workers` is what the builder runs.
fn choose<'a>(
    name: &str,
    children: &'a [Descriptor],
    platforms: &[Platform],
    workers: Option<&[Platform]>,
) -> anyhow::Result<(Vec<Row>, Vec<Child<'a>>)> {
    let described: Vec<Child<'a>> = children
        .iter()
        .filter_map(|child| Some((child, child.platform.as_ref()?)))
        .filter(|(_, platform)| !platform.is_unknown())
        .collect();
    let list = |platforms: &mut dyn Iterator<Item = &Platform>| {
        let names: Vec<String> = platforms.map(ToString::to_string).collect();
        names.join(", ")
    };
    let listed = list(&mut described.iter().map(|(_, platform)| *platform));
    for wanted in platforms {
        ensure!(
            described.iter().any(|(_, own)| own.same(wanted)),
            "{name} has no image for {wanted}; it has {listed}"
        );
    }
    let (mut rows, mut chosen) = (Vec::new(), Vec::new());
    for (child, platform) in described {
        let is_asked = platforms.iter().any(|wanted| wanted.same(platform));
        let runs = |workers: &[Platform]| workers.iter().any(|worker| worker.same(platform));
        let kept = match () {
            () if !is_linux(platform) => "it is not for Linux",
            () if is_asked => "",
            () if !platforms.is_empty() => "not asked for",
            () if !workers.is_none_or(runs) => "the builder does not run it",
            () => "",
        };
        if kept.is_empty() {
            chosen.push((child, platform));
        } else {
            rows.push(Row::kept(platform, child, kept.to_owned()));
        }
    }
    ensure!(
        chosen.len() <= MAX_PARTS,
        "{name} has {} images to patch, {MAX_PARTS} at most are; choose some with --platform",
        chosen.len()
    );
    let runs = list(&mut workers.unwrap_or_default().iter());
    ensure!(
        !chosen.is_empty(),
        "{name} has images for {listed}; the builder runs {runs}"
    );
    Ok((rows, chosen))
}

/// The `host/repository` that a patched image says it comes from.
fn lineage(named: &Named) -> String {
    if &*named.place.site.name == LOCAL {
        return named.label.clone().unwrap_or_else(|| named.name.clone());
    }
    named.place.to_string()
}
