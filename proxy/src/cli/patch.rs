//! `patchport patch IMAGE`: one image patched, or those of a bulk file, and written, loaded or pushed where it is wanted.
//!
//! What is said on standard output is about what was done; progress goes to standard error.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::StreamExt as _;
use patchport_config::{Config, Platforms};
use patchport_oci::Platform;

use self::arguments::Arguments;
use self::bulk::Bulk;
use self::destination::{Output, Title};
use self::engine::{Engine as Store, Loader};
use self::outcome::{Fate, Outcome, Row};
use self::progress::Display;
use self::tree::Tree;
use self::work::{Terms, Work};
use super::image::Written;
use super::scan::native;
use crate::patch::Environment;
use crate::plan::Choices;
use crate::scan::given::Given;

pub mod arguments;
pub mod bulk;
mod destination;
mod engine;
mod layout;
mod newest;
mod outcome;
mod progress;
mod registry;
mod table;
mod tree;
mod work;

/// The site of images that no registry has.
const LOCAL: &str = "local";
/// Images of a bulk file that are patched at once; how many builds a worker takes at once it says itself.
const AT_ONCE: usize = 4;

/// What there is to say at the end.
pub struct Report {
    /// What was done.
    pub text: String,
    /// What failed; the command fails with it.
    pub failures: Vec<String>,
}

/// Where images go.
struct Way {
    outputs: Vec<Output>,
    push: bool,
    dry_run: bool,
    width: u16,
}

/// Patches what the arguments name; `bulk` is the bulk file among them.
///
/// # Errors
/// When nothing can be done, or not in time.
pub async fn run(
    mut config: Config,
    environment: Environment,
    arguments: &Arguments,
    bulk: Option<&Path>,
    width: u16,
) -> anyhow::Result<Report> {
    registry::provide_tls();
    arguments.apply(&mut config).context(Misused)?;
    let suffix = destination::suffix(&arguments.tag_suffix).context(Misused)?;
    let bulk = bulk.map(|file| Bulk::read(file, suffix)).transpose().context(Misused)?;
    let image = arguments.one(bulk.is_some()).context(Misused)?;
    arguments.check_outputs().context(Misused)?;
    let way = Way::new(arguments, bulk.is_some(), environment.path.as_deref(), width).await?;
    let terms = Terms {
        given: arguments
            .report
            .as_deref()
            .map(Given::at)
            .transpose()
            .context(Misused)?,
        choices: Choices {
            compression: config.patch.compression,
            cache_scope: config.patch.cache_scope,
            selection: arguments.patch,
            major_upgrades: arguments.major_upgrades,
            platforms: Platforms::ALL,
            // Who names a platform wants it, however long that takes.
            emulation: !arguments.platform.is_empty(),
            maintained: arguments.exit_on_eol,
            policy: None,
        },
        dry_run: arguments.dry_run,
        ignore_errors: arguments.ignore_errors,
    };
    let display = Display::new(arguments.progress);
    let work = Work::new(config, environment, display, terms).await?;
    let working = async {
        match (&bulk, image) {
            (Some(bulk), _) => many(&work, bulk, &way, arguments).await,
            (None, image) => one(&work, image.unwrap_or_default(), &way, arguments).await,
        }
    };
    let limit = arguments.timeout.unwrap_or(Duration::MAX);
    let result = tokio::select! {
        result = tokio::time::timeout(limit, working) => result.unwrap_or_else(|_| {
            Err(anyhow::anyhow!("it did not end within {limit:?}; --timeout would give it more"))
        }),
        _ = tokio::signal::ctrl_c() => Err(Interrupted.into()),
    };
    work.close().await;
    result
}

/// What was given cannot be used, whatever the image.
#[derive(Debug, thiserror::Error)]
#[error("these arguments cannot be used")]
pub struct Misused;

/// The person does not want it any more.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Way {
    async fn new(
        arguments: &Arguments,
        is_bulk: bool,
        path: Option<&std::ffi::OsStr>,
        width: u16,
    ) -> anyhow::Result<Self> {
        let mut outputs = arguments.outputs();
        let dry_run = arguments.dry_run;
        if is_bulk {
            let is_one = |output: &Output| match output {
                Output::OciArchive { .. } | Output::DockerArchive { .. } => true,
                Output::Layout { name, .. } | Output::Docker { name } | Output::Podman { name } => name.is_some(),
            };
            ensure!(
                !outputs.iter().any(is_one),
                "a bulk file has many images; --output takes oci:FOLDER, docker-daemon or containers-storage there"
            );
        }
        // Better to know it before an image is patched that nobody takes.
        if outputs.is_empty() && !arguments.push && !dry_run {
            let store = Store::any(path).await.context(
                "the patched image has no place to go; start Docker or Podman, or give --push, or --output oci:FOLDER",
            )?;
            outputs.push(match store.loader {
                Loader::Docker => Output::Docker { name: None },
                Loader::Podman => Output::Podman { name: None },
            });
        } else if !dry_run {
            for loader in outputs.iter().filter_map(Output::loader) {
                Store::of(loader, path)
                    .await
                    .context("the patched image has no place to go")?;
            }
        }
        Ok(Self {
            outputs,
            push: arguments.push,
            dry_run,
            width,
        })
    }
}

async fn one(work: &Work, image: &str, way: &Way, arguments: &Arguments) -> anyhow::Result<Report> {
    let outcome = work.patch(image, &arguments.platform).await?;
    let title = Title::of(&outcome.named, arguments.tag.as_deref(), &arguments.tag_suffix)?;
    let mut text = String::new();
    told(work, &outcome, &title, way, &mut text).await?;
    if let Some(file) = arguments.vex_file() {
        match outcome.vex() {
            Some(document) => {
                let write = tokio::fs::write(file, format!("{document:#}\n")).await;
                write.with_context(|| format!("cannot write {}", file.display()))?;
            }
            None => text.push_str("no advisory is known of what was patched: no VEX was written\n"),
        }
    }
    Ok(Report { text, failures: vec![] })
}

async fn many(work: &Work, bulk: &Bulk, way: &Way, arguments: &Arguments) -> anyhow::Result<Report> {
    let (mut jobs, mut text, mut failures) = (Vec::new(), String::new(), Vec::new());
    for group in bulk.groups() {
        let chosen = async {
            let tags = if group.needs_tags() {
                let written = Written::parse(&group.image)?;
                bulk::tags(&work.bench.place(&written).await?).await?
            } else {
                vec![]
            };
            group.jobs(&tags)
        };
        match chosen.await {
            Ok(chosen) => jobs.extend(chosen),
            Err(error) if arguments.ignore_errors => failures.push(format!("{error:#}")),
            Err(error) => return Err(error),
        }
    }
    bulk::apart(&jobs)?;
    let patched = jobs.iter().map(|job| async move {
        let platforms = match arguments.platform.as_slice() {
            [] => &job.platforms,
            chosen => chosen,
        };
        (job, work.patch(&job.image, platforms).await)
    });
    let mut patched = futures_util::stream::iter(patched).buffered(AT_ONCE);
    while let Some((job, outcome)) = patched.next().await {
        // One after the other: several may go to the same folder.
        let done = async { told(work, &outcome?, &job.title, way, &mut text).await };
        // The others are patched all the same.
        if let Err(error) = done.await {
            let reason = format!("{}: {error:#}", job.image);
            work.display.say(&reason);
            failures.push(reason);
        }
    }
    let _ = writeln!(text, "{} images, {} failed", jobs.len(), failures.len());
    if arguments.ignore_errors && failures.len() < jobs.len() {
        for failure in failures.drain(..) {
            let _ = writeln!(text, "failed: {failure}");
        }
    }
    Ok(Report { text, failures })
}

/// Tells what became of an image, and brings it where it is wanted.
async fn told(work: &Work, outcome: &Outcome<'_>, title: &Title, way: &Way, text: &mut String) -> anyhow::Result<()> {
    let _ = writeln!(text, "{}", outcome.named.name);
    for row in &outcome.rows {
        say(row, way.width, text);
    }
    let Some(tree) = &outcome.tree else {
        if !way.dry_run {
            text.push_str("nothing to patch: nothing was written\n");
        }
        return Ok(());
    };
    for output in &way.outputs {
        let place = write(work, tree, output, title).await?;
        let _ = writeln!(text, "{place}");
    }
    if way.push {
        let written = registry::target(title, &work.bench.config)?;
        work.display.say(&format!("pushing {}", title.full()?));
        let registry = registry::Registry::of(&written, &work.bench.config).await?;
        let sent = registry
            .push(tree, &written.repository, &title.tag, &work.display)
            .await?;
        let _ = writeln!(text, "pushed {}: {}", title.full()?, sent.sum());
    }
    let _ = writeln!(text, "digest {}", tree.root.digest);
    Ok(())
}

fn say(row: &Row, width: u16, text: &mut String) {
    let platform = if row.platform.is_empty() {
        "unknown platform"
    } else {
        &row.platform
    };
    let sum = table::sum(&row.planned);
    let _ = match &row.fate {
        Fate::Patched(made) => {
            let size = made.layer.size;
            writeln!(text, "{platform}: patched, {sum}; the new layer has {size} bytes")
        }
        Fate::Planned => writeln!(text, "{platform}: {sum}"),
        Fate::Nothing(reason) if reason.is_empty() => writeln!(text, "{platform}: {sum}"),
        Fate::Nothing(reason) => writeln!(text, "{platform}: nothing to patch: {reason}"),
        Fate::Kept(reason) => writeln!(text, "{platform}: left as it is: {reason}"),
        Fate::Failed(..) => writeln!(
            text,
            "{platform}: left as it is: it failed: {}",
            row.failure().unwrap_or_default()
        ),
    };
    text.push_str(&table::plan(&row.planned, width));
}

/// Writes an image where it is wanted; what was done.
async fn write(work: &Work, tree: &Tree<'_>, output: &Output, title: &Title) -> anyhow::Result<String> {
    let shown = |path: &PathBuf| path.display().to_string();
    let full = |name: &Option<String>| match name {
        Some(name) => Title::whole(name)?.full(),
        None => title.full(),
    };
    match output {
        Output::Layout { folder, name } => {
            let name = name.as_deref().unwrap_or(&title.tag);
            work.display.say(&format!("writing {}", shown(folder)));
            layout::write(tree, folder, name).await?;
            Ok(format!("wrote oci:{}:{name}", shown(folder)))
        }
        Output::OciArchive { file, name } => {
            let name = name.clone().unwrap_or_else(|| title.short());
            layout::oci_archive(tree, file, &name, None).await?;
            Ok(format!("wrote oci-archive:{}:{name}", shown(file)))
        }
        Output::DockerArchive { file, name } => {
            let name = name.as_ref().map_or_else(|| title.full().ok(), |_| full(name).ok());
            let manifest = tree.single(&native()).await?;
            layout::docker_archive(tree, &manifest, file, name.as_deref()).await?;
            Ok(format!(
                "wrote docker-archive:{}:{}",
                shown(file),
                name.unwrap_or_default()
            ))
        }
        Output::Docker { name } => load(work, tree, Loader::Docker, &full(name)?).await,
        Output::Podman { name } => load(work, tree, Loader::Podman, &full(name)?).await,
    }
}

async fn load(work: &Work, tree: &Tree<'_>, loader: Loader, name: &str) -> anyhow::Result<String> {
    let store = Store::of(loader, work.path.as_deref()).await?;
    let manifest = tree.single(&native()).await?;
    let file = work.bench.folder.path().join("load.tar");
    work.display.say(&format!("loading {name} into {}", store.name()));
    match loader {
        Loader::Docker => layout::docker_archive(tree, &manifest, &file, Some(name)).await?,
        // It keeps the manifest, and with it the digest and the annotations.
        Loader::Podman => layout::oci_archive(tree, &file, name, Some(&manifest)).await?,
    }
    let loaded = store.load(&file).await;
    let _ = std::fs::remove_file(&file);
    loaded?;
    if !store.has(name).await {
        bail!("{} took the image, but has none named {name} now", store.name());
    }
    Ok(format!(
        "loaded {name} into {}{}",
        store.name(),
        of_several(tree, &native())
    ))
}

/// Says which of several platforms a store has got.
fn of_several(tree: &Tree<'_>, native: &Platform) -> String {
    if tree.root.is_index() {
        format!(" (the image for {native}; --output oci:FOLDER writes all platforms)")
    } else {
        String::new()
    }
}
