//! The real things that benchmarks work on: a layer, an inventory, the indexes that it names.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use patchport_packages::apt::{self, Index, Release, Target};
use patchport_packages::inventory::{Installed, Repositories, Source};
use patchport_packages::layer::{self, Compression, LayerFiles, Limits, Pattern, Wanted};
use patchport_packages::{Family, Inventory, Version, openpgp};

use crate::Real;

/// An index with its release.
pub(crate) struct Held {
    pub(crate) target: Target,
    pub(crate) release: Release,
    pub(crate) index: Index,
}

impl Held {
    /// As apt's rules want it.
    pub(crate) fn repository(&self) -> apt::Repository<'_> {
        apt::Repository {
            target: &self.target,
            release: &self.release,
            index: &self.index,
        }
    }
}

/// The largest blob of a layout: the layer of the one image that matters.
pub(crate) fn layer(real: &Real) -> anyhow::Result<PathBuf> {
    let mut blobs = Vec::new();
    for entry in std::fs::read_dir(real.layout.join("blobs/sha256"))? {
        let entry = entry?;
        blobs.push((entry.metadata()?.len(), entry.path()));
    }
    Ok(blobs.into_iter().max().context("a layout with blobs")?.1)
}

/// What the product reads of a layer.
pub(crate) fn read(file: &Path) -> anyhow::Result<LayerFiles> {
    let wanted = Wanted::packages().with(Pattern::ALL);
    Ok(layer::read(
        File::open(file)?,
        Compression::Detect,
        &wanted,
        &Limits::default(),
    )?)
}

/// The inventory of an image of that one layer.
pub(crate) fn inventory(file: &Path) -> anyhow::Result<Inventory> {
    Ok(Inventory::read(&layer::merge([&read(file)?]))?)
}

/// The indexes that an inventory names, as far as they are in the folder.
pub(crate) fn indexes(real: &Real, inventory: &Inventory) -> anyhow::Result<Vec<Held>> {
    let Repositories::Apt(configuration) = &inventory.repositories else {
        anyhow::bail!("the image has no apt repositories");
    };
    let mut held = Vec::new();
    for target in apt::targets(configuration, "amd64") {
        let component = target.component.as_deref().unwrap_or_default();
        let file = real.lists.join(format!("{}_{component}.xz", target.suite));
        let text = std::fs::read(real.lists.join(format!("{}.InRelease", target.suite)))
            .with_context(|| format!("the release of {}", target.suite))?;
        let release = Release::parse(&openpgp::cleartext(&text)?)?;
        let index = parse(&file)?;
        held.push(Held { target, release, index });
    }
    Ok(held)
}

/// An index from its file.
pub(crate) fn parse(file: &Path) -> anyhow::Result<Index> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    let name = file.to_string_lossy();
    Ok(Index::parse(apt::decompress(&name, &bytes, 1 << 30)?, 1 << 30)?)
}

/// A file, read in pieces.
pub(crate) fn open(file: &Path) -> anyhow::Result<BufReader<File>> {
    Ok(BufReader::with_capacity(128 * 1024, File::open(file)?))
}

/// Inventories of made images: the real one with programs of its distribution on top and all that they need, one package in
/// twenty at an older version; so many images, of at least so many packages each.
pub(crate) fn fleet(
    base: &Inventory,
    index: &Index,
    images: usize,
    packages: usize,
) -> impl Iterator<Item = Inventory> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let programs: Vec<_> = index.entries().filter(|entry| !entry.name.starts_with("lib")).collect();
    let installed: BTreeSet<&str> = base.packages.iter().map(|package| package.name.as_str()).collect();
    let mut sets = Vec::new();
    while sets.len() < 300 && !programs.is_empty() {
        let program = programs.get(dice.below(programs.len())).map_or("", |entry| entry.name);
        sets.extend(needed(program, index, &installed));
    }
    let image = move |_| {
        let (mut inventory, mut has) = (base.clone(), installed.clone());
        while inventory.packages.len() < packages {
            for name in sets.get(dice.below(sets.len())).into_iter().flatten() {
                if has.insert(name) {
                    inventory.packages.extend(package(name, index, dice.below(20) == 0));
                }
            }
        }
        let key = |package: &Installed| (package.name.clone(), package.architecture.clone());
        inventory.packages.sort_by_cached_key(key);
        inventory
    };
    (0..images).map(image)
}

/// A package with what it needs and is not installed; nothing when that is much.
fn needed<'a>(program: &'a str, index: &'a Index, installed: &BTreeSet<&str>) -> Option<Vec<&'a str>> {
    let (mut queue, mut found) = (vec![program], Vec::new());
    while let Some(name) = queue.pop() {
        if installed.contains(name) || found.contains(&name) {
            continue;
        }
        let Some(entry) = index.versions(name).next() else {
            continue;
        };
        found.push(entry.name);
        let relations = entry.depends.split(',').chain(entry.pre_depends.split(','));
        let names = relations.filter_map(|relation| relation.trim().split([' ', '(', ':', '[', '|']).next());
        queue.extend(names.filter(|name| !name.is_empty()));
        if found.len() > 60 {
            return None;
        }
    }
    Some(found)
}

fn package(name: &str, index: &Index, old: bool) -> Option<Installed> {
    let entry = index.versions(name).next()?;
    let version = |text: &str| Version::parse(Family::Deb, text).ok();
    let older = match entry.version.split_once(':') {
        Some((epoch, rest)) => format!("{epoch}:0~{rest}"),
        None => format!("0~{}", entry.version),
    };
    Some(Installed {
        name: entry.name.to_owned(),
        architecture: entry.architecture.to_owned(),
        version: version(if old { &older } else { entry.version })?,
        source: Source {
            name: entry.source.to_owned(),
            version: version(entry.source_version)?,
        },
        origin: None,
    })
}

/// Numbers that look random and are the same each time (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap_or(1)).unwrap_or_default()
    }
}
