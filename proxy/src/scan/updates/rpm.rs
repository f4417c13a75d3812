//! rpm images: enabled repositories to indexes, indexes to findings.

use futures_util::future::try_join_all;
use patchport_packages::layer::Files;
use patchport_packages::rpm::{self, Configuration, Repository};
use patchport_packages::{Findings, Inventory};

use super::{KeyFiles, ScanError, Subject, Updates, distribution, failed};
use crate::depot::{Identity, Package};
use crate::index::IndexError;
use crate::index::keeper::Loaded;
use crate::index::keys::Keyring;
use crate::index::rpm::{Key, Rpm, digest};
use crate::plan::Upgrade;
use crate::respond::chain;

/// Where distributions keep the keys of their packages.
const KEYS: &str = "etc/pki/rpm-gpg";

/// What is outdated in an image; indexes that are not known yet are fetched.
pub(super) async fn scan(
    updates: &Updates,
    subject: &Subject,
    configuration: &Configuration,
) -> Result<Findings, ScanError> {
    let found = distribution::of_rpm(updates, &subject.inventory, configuration)?;
    let configuration = found.as_ref().map_or(configuration, |(configuration, _)| configuration);
    let repositories: Vec<&Repository> = configuration.enabled().collect();
    let operators = match &found {
        Some((_, entry)) => {
            let keyring = Keyring::read(&entry.keys).await.map_err(|reason| failed(&reason))?;
            Some(keyring.files().to_vec())
        }
        None => None,
    };
    let keyrings = updates.keyrings(subject, |files| {
        let own = |repository: &&Repository| operators.clone().unwrap_or_else(|| keys(files, repository));
        Ok(repositories.iter().map(own).collect())
    });
    let keyrings = keyrings.await?;
    let loads = repositories.iter().enumerate().map(|(at, repository)| {
        let keyring = keyrings.get(at).cloned().unwrap_or_default();
        async move {
            let loaded = updates.indexes.rpm.index(&Key::of(repository), &keyring).await?;
            Ok::<_, IndexError>((repository.id.as_str(), loaded))
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
    let found = distribution::of_rpm(updates, inventory, configuration).ok()?;
    let configuration = found.as_ref().map_or(configuration, |(configuration, _)| configuration);
    let loaded = known(updates, configuration, keyrings)?;
    Some(judge(inventory, configuration, &loaded))
}

/// The indexes of all enabled repositories, if all of them are held.
fn known<'a>(
    updates: &Updates,
    configuration: &'a Configuration,
    keyrings: &[Keyring],
) -> Option<Vec<(&'a str, Loaded<Rpm>)>> {
    let known = |(at, repository): (usize, &'a Repository)| {
        let loaded = updates.indexes.rpm.known(&Key::of(repository), keyrings.get(at)?)?;
        Some((repository.id.as_str(), loaded))
    };
    configuration.enabled().enumerate().map(known).collect()
}

/// The packages of these upgrades, from the indexes that are held. What they need beyond each other the lists do not tell: rpm does.
pub(super) fn packages(
    updates: &Updates,
    inventory: &Inventory,
    configuration: &Configuration,
    keyrings: &[Keyring],
    upgrades: &[Upgrade],
) -> Option<Vec<Package>> {
    // Of these a tool keeps several versions, where rpm by itself would remove the old one.
    if upgrades.iter().any(|upgrade| upgrade.name.starts_with("kernel")) {
        return None;
    }
    let found = distribution::of_rpm(updates, inventory, configuration).ok()?;
    let configuration = found.as_ref().map_or(configuration, |(configuration, _)| configuration);
    let loaded = known(updates, configuration, keyrings)?;
    let indexes: Vec<_> = loaded.iter().map(|(id, loaded)| (*id, &*loaded.index)).collect();
    let wanted = upgrades
        .iter()
        .map(|upgrade| (&*upgrade.name, &*upgrade.architecture, &upgrade.to));
    let wanted: Vec<_> = wanted.collect();
    let offered = rpm::offered(&inventory.packages, configuration, &indexes, &wanted)?;
    let package = |(id, available): (&str, rpm::Available<'_>)| {
        let (_, loaded) = loaded.iter().find(|(known, _)| *known == id)?;
        Some(Package {
            name: available.name.to_owned(),
            architecture: available.architecture.to_owned(),
            identity: Identity::File(digest(available.checksum?)?),
            place: None,
            path: available.path.to_owned(),
            size: available.size,
            repository: loaded.root.place().to_owned(),
            version: available.version,
        })
    };
    offered.into_iter().map(package).collect()
}

/// Looks at the indexes again.
pub(super) async fn refresh(updates: &Updates, inventory: &Inventory, configuration: &Configuration) {
    let found = distribution::of_rpm(updates, inventory, configuration).ok().flatten();
    let configuration = found.as_ref().map_or(configuration, |(configuration, _)| configuration);
    updates
        .indexes
        .rpm
        .refresh_all(configuration.enabled().map(Key::of).collect())
        .await;
}

fn judge(inventory: &Inventory, configuration: &Configuration, loaded: &[(&str, Loaded<Rpm>)]) -> Findings {
    let indexes: Vec<_> = loaded.iter().map(|(id, loaded)| (*id, &*loaded.index)).collect();
    rpm::outdated(&inventory.packages, &inventory.held, configuration, &indexes)
}

/// The keys that a repository names in the image; all that the image has for packages where it names none.
fn keys(files: &Files, repository: &Repository) -> KeyFiles {
    let named = repository.gpg_keys.iter().filter_map(|url| url.strip_prefix("file://"));
    let named: KeyFiles = named
        .filter_map(|path| Some((path.to_owned(), files.read(path).ok()??.to_vec())))
        .collect();
    if !named.is_empty() {
        return named;
    }
    let all = files.list(KEYS).unwrap_or_default();
    all.into_iter().map(|(path, bytes)| (path, bytes.to_vec())).collect()
}
