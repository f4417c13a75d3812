//! Alpine and its like: repositories to indexes, indexes to findings.

use futures_util::future::try_join_all;
use patchport_packages::apk::{self, Configuration, Repository};
use patchport_packages::{Findings, Inventory};

use super::{ScanError, Subject, Updates, failed};
use crate::index::IndexError;
use crate::index::apk::{Apk, Key};
use crate::index::keeper::Loaded;
use crate::index::keys::Keyring;
use crate::respond::chain;

/// What is outdated in an image; indexes that are not known yet are fetched.
pub(super) async fn scan(
    updates: &Updates,
    subject: &Subject,
    configuration: &Configuration,
) -> Result<Findings, ScanError> {
    let repositories = &configuration.repositories;
    if repositories.is_empty() {
        return Err(failed("the image names no package repository"));
    }
    if let Some(local) = repositories.iter().find(|repository| !is_remote(repository)) {
        return Err(failed(&format!(
            "the image names a repository in itself, {local}, which is not read"
        )));
    }
    let from = |files: &_| apk::keys(files).map(|keys| vec![keys]).map_err(|error| chain(&error));
    let keyrings = updates.keyrings(subject, from).await?;
    let keyring = keyrings.first().cloned().unwrap_or_default();
    let architecture = architecture(&subject.inventory, configuration);
    let loads = repositories.iter().map(|repository| {
        let (key, keyring) = (Key(repository.index_url(&architecture)), keyring.clone());
        async move { Ok::<_, IndexError>((repository, updates.indexes.apk.index(&key, &keyring).await?)) }
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
    let known = |repository| {
        let key = Key(Repository::index_url(repository, &architecture));
        Some((repository, updates.indexes.apk.known(&key, keyring)?))
    };
    let loaded: Vec<_> = configuration.repositories.iter().map(known).collect::<Option<_>>()?;
    Some(judge(inventory, configuration, &loaded))
}

/// Looks at the indexes again.
pub(super) async fn refresh(updates: &Updates, inventory: &Inventory, configuration: &Configuration) {
    let architecture = architecture(inventory, configuration);
    let keys = configuration
        .repositories
        .iter()
        .map(|repository| Key(repository.index_url(&architecture)));
    updates.indexes.apk.refresh_all(keys.collect()).await;
}

fn judge(inventory: &Inventory, configuration: &Configuration, loaded: &[(&Repository, Loaded<Apk>)]) -> Findings {
    let indexes: Vec<_> = loaded
        .iter()
        .map(|(repository, loaded)| (*repository, &*loaded.index))
        .collect();
    apk::outdated(&inventory.packages, configuration, &indexes)
}

fn is_remote(repository: &Repository) -> bool {
    repository.url.starts_with("http://") || repository.url.starts_with("https://")
}

/// apk's word for the machine: what the image says, else what most packages are of.
fn architecture(inventory: &Inventory, configuration: &Configuration) -> String {
    if let Some(own) = configuration.architectures.first() {
        return own.clone();
    }
    let mut packages = inventory.packages.iter();
    let specific = packages.find(|package| !matches!(package.architecture.as_str(), "noarch" | "all" | ""));
    specific.map_or_else(|| "noarch".to_owned(), |package| package.architecture.clone())
}
