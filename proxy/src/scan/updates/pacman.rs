//! Arch Linux and its like: repositories to indexes, indexes to findings. Packages are left to pacman, which upgrades all at once.

use futures_util::future::try_join_all;
use patchport_packages::layer::Files;
use patchport_packages::pacman::{self, Configuration, KEYS};
use patchport_packages::{Findings, Inventory};

use super::{KeyFiles, ScanError, Subject, Updates, failed};
use crate::index::IndexError;
use crate::index::keeper::Loaded;
use crate::index::keys::Keyring;
use crate::index::pacman::{Key, Pacman};
use crate::respond::chain;

/// What is outdated in an image; indexes that are not known yet are fetched.
pub(super) async fn scan(
    updates: &Updates,
    subject: &Subject,
    configuration: &Configuration,
) -> Result<Findings, ScanError> {
    if configuration.repositories.is_empty() {
        return Err(failed("the image names no package repository"));
    }
    let keyrings = updates.keyrings(subject, |files| Ok(vec![keys(files)])).await?;
    let keyring = keyrings.first().cloned().unwrap_or_default();
    let architecture = architecture(&subject.inventory, configuration);
    let loads = configuration.repositories.iter().map(|repository| {
        let (key, keyring) = (Key::of(repository, &architecture), keyring.clone());
        async move {
            let loaded = updates.indexes.pacman.index(&key, &keyring).await?;
            Ok::<_, IndexError>((repository.name.as_str(), loaded))
        }
    });
    let loaded = try_join_all(loads).await.map_err(|error| failed(&chain(&error)))?;
    Ok(judge(&subject.inventory, configuration, &loaded))
}

/// The same from what is held.
pub(super) fn rescan(
    updates: &Updates,
    inventory: &Inventory,
    configuration: &Configuration,
    keyrings: &[Keyring],
) -> Option<Findings> {
    let (keyring, architecture) = (keyrings.first()?, architecture(inventory, configuration));
    let known = |repository: &pacman::Repository| {
        let key = Key::of(repository, &architecture);
        updates.indexes.pacman.known(&key, keyring)
    };
    let repositories = &configuration.repositories;
    let loaded: Option<Vec<_>> = repositories
        .iter()
        .map(|repository| Some((repository.name.as_str(), known(repository)?)))
        .collect();
    Some(judge(inventory, configuration, &loaded?))
}

/// Looks at the indexes again.
pub(super) async fn refresh(updates: &Updates, inventory: &Inventory, configuration: &Configuration) {
    let architecture = architecture(inventory, configuration);
    let keys = configuration
        .repositories
        .iter()
        .map(|repository| Key::of(repository, &architecture));
    updates.indexes.pacman.refresh_all(keys.collect()).await;
}

fn judge(inventory: &Inventory, configuration: &Configuration, loaded: &[(&str, Loaded<Pacman>)]) -> Findings {
    let indexes: Vec<_> = loaded.iter().map(|(name, loaded)| (*name, &*loaded.index)).collect();
    pacman::outdated(&inventory.packages, configuration, &indexes)
}

/// The keys that the image's pacman verifies with; those that its distribution brings where it has none yet.
fn keys(files: &Files) -> KeyFiles {
    let [own, shipped] = KEYS;
    match files.read(own) {
        Ok(Some(bytes)) if !bytes.is_empty() => vec![(own.to_owned(), bytes.to_vec())],
        _ => {
            let shipped = files.list(shipped).unwrap_or_default().into_iter();
            let is_keyring = |path: &String| path.ends_with(".gpg");
            let shipped = shipped.filter(|(path, _)| is_keyring(path));
            shipped.map(|(path, bytes)| (path, bytes.to_vec())).collect()
        }
    }
}

/// pacman's word for the machine: what the image says, else what its packages are of.
fn architecture(inventory: &Inventory, configuration: &Configuration) -> String {
    if let Some(own) = &configuration.architecture {
        return own.clone();
    }
    let mut packages = inventory.packages.iter();
    let specific = packages.find(|package| package.architecture != "any");
    specific.map_or_else(|| "any".to_owned(), |package| package.architecture.clone())
}
