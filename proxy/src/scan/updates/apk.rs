//! Alpine and its like: repositories to indexes, indexes to findings.

use futures_util::future::try_join_all;
use patchport_packages::apk::{self, Configuration, Repository};
use patchport_packages::{Findings, Inventory, Version, version::Family};

use super::{ScanError, Subject, Updates, failed};
use crate::depot::{Identity, Package, Supply};
use crate::index::IndexError;
use crate::index::apk::{Apk, Key};
use crate::index::keeper::Loaded;
use crate::index::keys::Keyring;
use crate::patch::{PACKAGES, REPOSITORIES};
use crate::plan::Upgrade;
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
    let loaded = held(updates, inventory, configuration, keyrings)?;
    Some(judge(inventory, configuration, &loaded))
}

/// The indexes of an image, if all of them are held and its keys vouch for them.
fn held<'a>(
    updates: &Updates,
    inventory: &Inventory,
    configuration: &'a Configuration,
    keyrings: &[Keyring],
) -> Option<Vec<(&'a Repository, Loaded<Apk>)>> {
    let (keyring, architecture) = (keyrings.first()?, architecture(inventory, configuration));
    let known = |repository| {
        let key = Key(Repository::index_url(repository, &architecture));
        Some((repository, updates.indexes.apk.known(&key, keyring)?))
    };
    configuration.repositories.iter().map(known).collect()
}

/// The packages of these upgrades, and those that they need, as a part of the image's repositories: the indexes are those that were
/// signed, so the image's own apk verifies with its own keys what it installs; one that
/// only the operator believes is refused by it.
pub(super) fn packages(
    updates: &Updates,
    inventory: &Inventory,
    configuration: &Configuration,
    keyrings: &[Keyring],
    upgrades: &[Upgrade],
) -> Option<Supply> {
    let loaded = held(updates, inventory, configuration, keyrings)?;
    if loaded.iter().any(|(_, loaded)| loaded.index.names_files()) {
        return None;
    }
    let indexes: Vec<_> = loaded
        .iter()
        .map(|(repository, loaded)| (*repository, &*loaded.index))
        .collect();
    let wanted: Vec<_> = upgrades.iter().map(|upgrade| (&*upgrade.name, &upgrade.to)).collect();
    let taken = apk::sources(&inventory.packages, configuration, &indexes, &wanted)?;
    let own = architecture(inventory, configuration);
    let mut supply = Supply::default();
    let mut lines = String::new();
    for (number, (repository, loaded)) in loaded.iter().enumerate() {
        let url = repository.index_url(&own);
        let file = url.rsplit('/').next().unwrap_or_default();
        let folder = format!("{PACKAGES}/{number}");
        lines.push_str(&repository.line_at(&folder, &format!("{own}/{file}")));
        supply
            .files
            .push((format!("{number}/{own}/{file}"), (*loaded.root).clone()));
    }
    supply.files.push((REPOSITORIES.to_owned(), lines.into()));
    for (number, offer) in taken {
        let (repository, _) = loaded.get(number)?;
        let architecture = Some(offer.architecture).filter(|name| !name.is_empty()).unwrap_or(&own);
        let (folder, file) = repository.package_place(offer.name, offer.version, architecture);
        let own_folder = if repository.format == apk::Format::Index {
            &own
        } else {
            architecture
        };
        supply.packages.push(Package {
            name: offer.name.to_owned(),
            architecture: architecture.to_owned(),
            version: Version::parse(Family::Apk, offer.version).ok()?,
            repository: folder,
            identity: Identity::Apk(offer.checksum.to_owned()),
            size: offer.size,
            place: Some(format!("{number}/{own_folder}/{file}")),
            path: file,
        });
    }
    Some(supply)
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
pub(crate) fn architecture(inventory: &Inventory, configuration: &Configuration) -> String {
    if let Some(own) = configuration.architectures.first() {
        return own.clone();
    }
    let mut packages = inventory.packages.iter();
    let specific = packages.find(|package| !matches!(package.architecture.as_str(), "noarch" | "all" | ""));
    specific.map_or_else(|| "noarch".to_owned(), |package| package.architecture.clone())
}
