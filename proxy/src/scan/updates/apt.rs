//! apt images: sources to targets, targets to indexes, indexes to findings.

use futures_util::future::try_join_all;
use patchport_packages::apt::{self, Configuration, Source, Target};
use patchport_packages::layer::Files;
use patchport_packages::{Findings, Inventory};

use super::{KeyFiles, ScanError, Subject, Updates, failed};
use crate::index::Trouble;
use crate::index::apt::{Apt, FINGERPRINT, Key};
use crate::index::keeper::Loaded;
use crate::index::keys::Keyring;
use crate::respond::chain;

/// What is outdated in an image; indexes that are not known yet are fetched.
pub(super) async fn scan(
    updates: &Updates,
    subject: &Subject,
    configuration: &Configuration,
) -> Result<Findings, ScanError> {
    let native = native(&subject.inventory);
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
    let mut findings = judge(&subject.inventory, configuration, &loaded, &native);
    findings.notes.extend(absent);
    Ok(findings)
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

/// The same from what is held.
pub(super) fn rescan(
    updates: &Updates,
    inventory: &Inventory,
    configuration: &Configuration,
    keyrings: &[Keyring],
) -> Option<Findings> {
    let native = native(inventory);
    let known = |target: Target| {
        let keyring = keyrings.get(target.source)?;
        let key = Key(target);
        let loaded = updates.indexes.apt.known(&key, keyring)?;
        Some((key.0, loaded))
    };
    let loaded: Vec<_> = apt::targets(configuration, &native)
        .into_iter()
        .map(known)
        .collect::<Option<_>>()?;
    Some(judge(inventory, configuration, &loaded, &native))
}

/// Looks at the indexes again.
pub(super) async fn refresh(updates: &Updates, inventory: &Inventory, configuration: &Configuration) {
    let keys = apt::targets(configuration, &native(inventory)).into_iter().map(Key);
    updates.indexes.apt.refresh_all(keys.collect()).await;
}

/// What is outdated, by these indexes.
fn judge(
    inventory: &Inventory,
    configuration: &Configuration,
    loaded: &[(Target, Loaded<Apt>)],
    native: &str,
) -> Findings {
    let repositories = loaded.iter().map(|(target, loaded)| apt::Repository {
        target,
        release: &loaded.root.release,
        index: &loaded.index,
    });
    let repositories: Vec<_> = repositories.collect();
    let packages: Vec<_> = inventory.packages.iter().collect();
    apt::outdated(&packages, &inventory.held, configuration, &repositories, native)
}

/// dpkg's own architecture, by the packages that are there.
fn native(inventory: &Inventory) -> String {
    let of = |name: &str| {
        let mut packages = inventory.packages.iter();
        let found = packages.find(|package| package.name == name && package.architecture != "all")?;
        Some(found.architecture.clone())
    };
    let any = || inventory.packages.iter().find(|package| package.architecture != "all");
    ["dpkg", "libc6", "base-files"]
        .into_iter()
        .find_map(of)
        .or_else(|| any().map(|package| package.architecture.clone()))
        .unwrap_or_else(|| "all".to_owned())
}
