//! apt images: sources to targets, targets to indexes, indexes to findings.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use patchport_oci::Digest;
use patchport_packages::apt::{self, Configuration, Judge, Source, Target};
use patchport_packages::inventory::{Installed, Repositories};
use patchport_packages::layer::Files;
use patchport_packages::{Findings, Inventory};

use super::{KeyFiles, Known, ScanError, Subject, Updates, failed};
use crate::depot::{Identity, Package};
use crate::index::Trouble;
use crate::index::apt::{Apt, FINGERPRINT, Key};
use crate::index::keeper::Loaded;
use crate::index::keys::Keyring;
use crate::plan::Upgrade;
use crate::respond::chain;

/// What is outdated in an image; indexes that are not known yet are fetched.
pub(super) async fn scan(
    updates: &Updates,
    subject: &Subject,
    configuration: &Configuration,
) -> Result<Findings, ScanError> {
    let native = native(|| subject.inventory.packages.iter());
    let targets = apt::targets(configuration, &native);
    if targets.is_empty() {
        let why = configuration
            .unsupported
            .first()
            .map(|text| format!(": {text}"))
            .unwrap_or_default();
        return Err(failed(&format!(
            "the image names no package repository that can be read here{why}"
        )));
    }
    let sources = &configuration.sources;
    let from = |files: &Files| Ok(sources.iter().map(|source| keys(files, source)).collect());
    let keyrings = updates.keyrings(subject, from).await?;
    let (loaded, absent) = load(updates, targets, &keyrings).await?;
    let mut findings = judge(&subject.inventory, configuration, &loaded, &native);
    findings.notes.extend(absent);
    Ok(findings)
}

/// The indexes that are there, and what is said about those that are not.
pub(super) async fn load(
    updates: &Updates,
    targets: Vec<Target>,
    keyrings: &[Keyring],
) -> Result<(Vec<(Target, Loaded<Apt>)>, Vec<String>), ScanError> {
    let loads = targets.into_iter().map(|target| {
        let keyring = keyrings.get(target.source).cloned().unwrap_or_default();
        async move {
            let key = Key(target);
            match updates.indexes.apt.index(&key, &keyring).await {
                Ok(loaded) => Ok(Ok((key.0, loaded))),
                // apt, too, goes on without a component or an architecture that a repository does not have.
                Err(error) if matches!(error.trouble, Trouble::NotOffered(_)) => Ok(Err(error)),
                Err(error) => Err(error),
            }
        }
    });
    let loads = try_join_all(loads).await.map_err(|error| failed(&chain(&error)))?;
    let (mut loaded, mut absent) = (Vec::new(), Vec::new());
    for load in loads {
        match load {
            Ok(found) => loaded.push(found),
            Err(error) => absent.push(error.to_string()),
        }
    }
    if let Some(reason) = absent.first().filter(|_| loaded.is_empty()) {
        return Err(failed(reason));
    }
    Ok((loaded, absent))
}

/// The keys of a source: files, and in an entry each without content the fingerprints that it names.
fn keys(files: &Files, source: &Source) -> KeyFiles {
    let named = source.signed_by.iter().filter(|by| !by.starts_with('/'));
    let named = named.map(|fingerprint| {
        (
            format!("{FINGERPRINT}{}", fingerprint.trim_end_matches('!')),
            Vec::new(),
        )
    });
    apt::keys(files, source).into_iter().chain(named).collect()
}

/// Images that say the same of their repositories, trust the same keys and so see the same.
struct Alike<'a> {
    configuration: &'a Configuration,
    native: String,
    keyrings: Arc<Vec<Keyring>>,
    /// Their numbers.
    images: Vec<usize>,
}

/// The same from what is held, for many images.
pub(super) fn rescan(updates: &Updates, images: &[Known<'_>], found: &mut dyn FnMut(usize, Findings)) {
    for alike in alike(updates, images) {
        let Some(loaded) = known(updates, &alike) else { continue };
        let repositories = repositories(&loaded);
        let judge = Judge::new(alike.configuration, &repositories, &alike.native);
        let images = alike
            .images
            .iter()
            .filter_map(|number| Some((*number, images.get(*number)?)));
        for (number, known) in images {
            let packages: Vec<_> = known.inventory.apt().collect();
            found(number, judge.outdated(&packages, &known.inventory.rest().held));
        }
    }
}

/// Images by what they see.
fn alike<'a>(updates: &Updates, images: &[Known<'a>]) -> Vec<Alike<'a>> {
    let mut groups: HashMap<(*const Inventory, Vec<Digest>, String), Alike<'a>> = HashMap::new();
    for (number, known) in images.iter().enumerate() {
        let rest = known.inventory.rest();
        let Repositories::Apt(configuration) = &rest.repositories else {
            continue;
        };
        // What names no source is its distribution's.
        let Some(keyrings) = updates
            .keyrings
            .get(known.image)
            .filter(|_| !configuration.sources.is_empty())
        else {
            continue;
        };
        let native = native(|| known.inventory.packages());
        let keys = keyrings.iter().map(|keyring| keyring.digest().clone()).collect();
        let group = groups.entry((Arc::as_ptr(rest), keys, native.clone()));
        let group = group.or_insert_with(|| Alike {
            configuration,
            native,
            keyrings,
            images: Vec::new(),
        });
        group.images.push(number);
    }
    groups.into_values().collect()
}

/// The indexes of alike images, if all of them are held.
fn known(updates: &Updates, alike: &Alike<'_>) -> Option<Vec<(Target, Loaded<Apt>)>> {
    let targets = apt::targets(alike.configuration, &alike.native);
    targets
        .into_iter()
        .map(|target| held(updates, target, &alike.keyrings))
        .collect()
}

/// An index that is held and that the keys of its source vouch for.
pub(super) fn held(updates: &Updates, target: Target, keyrings: &[Keyring]) -> Option<(Target, Loaded<Apt>)> {
    let keyring = keyrings.get(target.source)?;
    let key = Key(target);
    let loaded = updates.indexes.apt.known(&key, keyring)?;
    Some((key.0, loaded))
}

/// The packages of these upgrades, and those that they need, from the indexes that are held; a component that a repository lacks has none.
pub(super) fn packages(
    updates: &Updates,
    inventory: &Inventory,
    configuration: &Configuration,
    keyrings: &[Keyring],
    upgrades: &[Upgrade],
) -> Option<Vec<Package>> {
    let native = native(|| inventory.packages.iter());
    let targets = apt::targets(configuration, &native).into_iter();
    let loaded: Vec<_> = targets.filter_map(|target| held(updates, target, keyrings)).collect();
    let repositories = repositories(&loaded);
    let installed = apt::with_said(&inventory.packages, configuration);
    let wanted = upgrades
        .iter()
        .map(|upgrade| (&*upgrade.name, &*upgrade.architecture, &upgrade.to));
    let wanted: Vec<_> = wanted.collect();
    let sources = Judge::new(configuration, &repositories, &native).sources(&installed, &wanted)?;
    let package = |(number, entry): (usize, apt::Entry<'_>)| {
        let (target, _) = loaded.get(number)?;
        Some(Package {
            name: entry.name.to_owned(),
            architecture: entry.architecture.to_owned(),
            version: entry.parsed()?,
            repository: target.uri.trim_end_matches('/').to_owned(),
            path: entry.filename(),
            identity: Identity::File(Digest::from_sha256(entry.sha256)),
            size: entry.size,
            place: None,
        })
    };
    sources.into_iter().map(package).collect()
}

pub(super) fn repositories(loaded: &[(Target, Loaded<Apt>)]) -> Vec<apt::Repository<'_>> {
    let repositories = loaded.iter().map(|(target, loaded)| apt::Repository {
        target,
        release: &loaded.root.release,
        index: &loaded.index,
    });
    repositories.collect()
}

/// Looks at the indexes again.
pub(super) async fn refresh(updates: &Updates, inventory: &Inventory, configuration: &Configuration) {
    let keys = apt::targets(configuration, &native(|| inventory.packages.iter()))
        .into_iter()
        .map(Key);
    updates.indexes.apt.refresh_all(keys.collect()).await;
}

/// What is outdated, by these indexes.
fn judge(
    inventory: &Inventory,
    configuration: &Configuration,
    loaded: &[(Target, Loaded<Apt>)],
    native: &str,
) -> Findings {
    let packages: Vec<_> = inventory.packages.iter().collect();
    apt::outdated(&packages, &inventory.held, configuration, &repositories(loaded), native)
}

/// dpkg's own architecture, by the packages that are there.
pub(crate) fn native<'a, I: Iterator<Item = &'a Installed>>(packages: impl Fn() -> I) -> String {
    let of = |name: &str| packages().find(|package| package.name == name && package.architecture != "all");
    let found = ["dpkg", "libc6", "base-files"].into_iter().find_map(of);
    found
        .or_else(|| packages().find(|package| package.architecture != "all"))
        .map_or_else(|| "all".to_owned(), |package| package.architecture.clone())
}
