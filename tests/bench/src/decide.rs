//! What a decision costs when inventory and indexes are known: one by one, and many at once after an index has changed.

use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use patchport::plan::{self, Choices, Target};
use patchport_oci::{Digest, Platform};
use patchport_packages::apt::{self, Configuration, Judge, Repository};
use patchport_packages::inventory::{Installed, Kept, Pool, Repositories};
use patchport_packages::{Findings, Inventory};

use crate::measure::{Figures, MIB, apart, line, median, memory, of, processor};
use crate::{Real, real};

const RUNS: usize = 200;
const IMAGES: usize = 10_000;
const PACKAGES: usize = 200;

pub(crate) fn run(real: &Real) -> anyhow::Result<()> {
    let base = real::inventory(&real::layer(real)?)?;
    let held = real::indexes(real, &base)?;
    let repositories: Vec<_> = held.iter().map(real::Held::repository).collect();
    let main = largest(&repositories)?;
    let large = real::fleet(&base, main.index, 1, 500);
    for inventory in std::iter::once(base.clone()).chain(large) {
        let (mut times, mut upgrades) = (Vec::new(), 0);
        for _ in 0..RUNS {
            let start = Instant::now();
            upgrades = one(&inventory, &repositories)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let what = format!("decision: {} packages, {upgrades} to upgrade", inventory.packages.len());
        line(&what, median(times), "ms", None, "<= 1 ms");
    }
    Ok(())
}

/// All decisions anew.
pub(crate) fn run_many(real: &Real) -> anyhow::Result<()> {
    let folder = real.scratch.join("real.json");
    let places = [&real.layout, &real.lists, &real.scratch];
    std::fs::write(&folder, serde_json::to_vec(&places)?)?;
    let figures = apart("decide", &folder, 3)?;
    let what = format!("{IMAGES} decisions anew, {:.0} plans", of(&figures, "plans"));
    line(&what, of(&figures, "elapsed"), "s", None, "<= 1 s");
    let what = format!("{what}: processor time");
    line(&what, of(&figures, "spent"), "s", None, "");
    let what = format!("{IMAGES} inventories of {PACKAGES} packages, kept");
    line(&what, of(&figures, "memory") / MIB, "MiB", None, "<= 200 MiB");
    Ok(())
}

/// Keeps many inventories in mind, as the roster does, then decides all of them anew on all cores.
pub(crate) fn many(file: &Path) -> anyhow::Result<(Figures, Vec<Kept>)> {
    let [layout, lists, scratch] = serde_json::from_slice(&std::fs::read(file)?)?;
    let real = Real { layout, lists, scratch };
    let base = real::inventory(&real::layer(&real)?)?;
    let held = real::indexes(&real, &base)?;
    let repositories: Vec<_> = held.iter().map(real::Held::repository).collect();
    let index = largest(&repositories)?.index;
    let (mut pool, mut kept) = (Pool::default(), Vec::with_capacity(IMAGES));
    let before = memory("VmRSS")?;
    for image in real::fleet(&base, index, IMAGES, PACKAGES) {
        kept.push(pool.keep(&image));
    }
    let grown = memory("VmRSS")? - before;
    let (start, spent) = (Instant::now(), processor());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = kept.len().div_ceil(cores).max(1);
    let plans: usize = std::thread::scope(|scope| {
        let parts = kept.chunks(share);
        let repositories = &repositories;
        let looks: Vec<_> = parts.map(|part| scope.spawn(move || all(part, repositories))).collect();
        looks.into_iter().filter_map(|look| look.join().ok()).sum()
    });
    let figures = Figures::from([
        ("elapsed".to_owned(), start.elapsed().as_secs_f64()),
        ("spent".to_owned(), processor() - spent),
        ("memory".to_owned(), grown),
        ("plans".to_owned(), f64::from(u32::try_from(plans)?)),
    ]);
    Ok((figures, kept))
}

/// Decides alike images; how many plans there are.
fn all(images: &[Kept], repositories: &[Repository<'_>]) -> usize {
    let Some(Repositories::Apt(configuration)) = images.first().map(|image| &image.rest().repositories) else {
        return 0;
    };
    let judge = Judge::new(configuration, repositories, "amd64");
    let planned = images.iter().filter(|image| {
        let packages: Vec<_> = image.apt().collect();
        let findings = judge.outdated(&packages, &image.rest().held);
        is_planned(|target| plan::plan_kept(image, &findings, target, choices()))
    });
    planned.count()
}

fn largest<'a, 'b>(repositories: &'b [Repository<'a>]) -> anyhow::Result<&'b Repository<'a>> {
    let largest = repositories.iter().max_by_key(|repository| repository.index.len());
    largest.context("the image names an index")
}

/// How many upgrades are planned for an image.
fn one(inventory: &Inventory, repositories: &[Repository<'_>]) -> anyhow::Result<usize> {
    let Repositories::Apt(configuration) = &inventory.repositories else {
        return Ok(0);
    };
    let findings = found(inventory, configuration, repositories);
    let mut upgrades = 0;
    is_planned(|target| {
        let planned = plan::plan(inventory, &findings, target, choices())?;
        upgrades = planned.plan.as_ref().map_or(0, |plan| plan.upgrades.len());
        Ok(planned)
    });
    Ok(upgrades)
}

fn found(inventory: &Inventory, configuration: &Configuration, repositories: &[Repository<'_>]) -> Findings {
    let packages: Vec<&Installed> = inventory.packages.iter().collect();
    apt::outdated(&packages, &inventory.held, configuration, repositories, "amd64")
}

/// Whether there is a plan; its name is made, too.
fn is_planned(make: impl FnOnce(Target<'_>) -> Result<plan::Planned, plan::NoPlan>) -> bool {
    let image = Digest::of(b"image");
    let target = Target {
        image: &image,
        platform: &Platform::new("linux", "amd64", ""),
        name: "registry.test/app",
        docker: false,
    };
    let planned = make(target).ok().and_then(|planned| planned.plan);
    planned.is_some_and(|plan| !std::hint::black_box(plan.key()).is_empty())
}

fn choices() -> Choices {
    let settings = patchport_config::Patch::default();
    Choices {
        compression: settings.compression,
        cache_scope: settings.cache_scope,
        selection: patchport_config::Selection::Outdated,
        major_upgrades: false,
        platforms: patchport_config::Platforms::ALL,
        emulation: false,
        maintained: false,
        policy: None,
    }
}
