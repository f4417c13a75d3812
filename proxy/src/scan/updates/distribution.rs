//! Images that name no package repository and have nothing that could read one (distroless): the repositories of their own release,
//! which the operator has to name. Versions are compared with that release's suites only, never with another's.

use std::collections::HashMap;
use std::sync::Arc;

use patchport_config::Distribution;
use patchport_packages::apt::{self, Configuration, Source, Target};
use patchport_packages::inventory::{Manager, Repositories, machine};
use patchport_packages::{Findings, Inventory, rpm};

use super::apt::{held, load, native, repositories};
use super::{Known, ScanError, Subject, Updates, failed};
use crate::index::apt::{Apt, FINGERPRINT};
use crate::index::keeper::Loaded;
use crate::index::keys::Keyring;
use crate::respond::chain;

/// What an image's distribution says.
pub(super) struct Found {
    /// As if the image's own apt had been told so.
    pub(super) configuration: Configuration,
    entry: Distribution,
}

/// What is said about an image that names no repository; nothing for one that does, or has apt.
///
/// # Errors
/// When the operator has to write an entry, or a better one.
pub(super) fn of(updates: &Updates, inventory: &Inventory, named: &Configuration) -> Result<Option<Found>, ScanError> {
    if inventory.manager != Manager::DpkgFragments || !named.sources.is_empty() {
        return Ok(None);
    }
    let id = &inventory.os.id;
    let codename = inventory.os.version_codename.as_deref().unwrap_or_default();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if codename.is_empty() || !codename.bytes().all(is_name) {
        return Err(failed(
            "the image names no package repositories (distroless), and its os-release does not say of which release it is",
        ));
    }
    let Some(entry) = updates.distributions.iter().find(|entry| entry.matches(id, codename)) else {
        return Err(failed(&format!(
            "the image names no package repositories (distroless); write a [[scan.distribution]] with id = \"{id}\", \
             codename = \"{codename}\" and the `sources` of that release"
        )));
    };
    let name = format!("[[scan.distribution]] {id}");
    let sources = Source::parse(&name, &entry.sources.replace("$codename", codename));
    let sources = sources.map_err(|error| failed(&chain(&error)))?;
    if sources.is_empty() {
        return Err(failed(&format!("{name} names no repository of packages")));
    }
    Ok(Some(Found {
        configuration: Configuration {
            sources,
            // There is no machine to draw a lot for.
            phased: true,
            ..named.clone()
        },
        entry: entry.clone(),
    }))
}

/// The same for an image of rpm's family that enables no repository: its own settings, with the repositories of the operator's entry.
///
/// # Errors
/// When the operator has to write an entry, or a better one.
pub(super) fn of_rpm(
    updates: &Updates,
    inventory: &Inventory,
    named: &rpm::Configuration,
) -> Result<Option<(rpm::Configuration, Distribution)>, ScanError> {
    if named.enabled().next().is_some() {
        return Ok(None);
    }
    let os = &inventory.os;
    let release = os
        .version_codename
        .as_deref()
        .or(os.version_id.as_deref())
        .unwrap_or_default();
    let (id, mut entries) = (&os.id, updates.distributions.iter());
    let Some(entry) = entries.find(|entry| entry.matches(id, release)) else {
        return Err(failed(&format!(
            "no package repository is enabled in the image; write a [[scan.distribution]] with id = \"{id}\", \
             codename = \"{release}\" and the `sources` of that release"
        )));
    };
    let name = format!("[[scan.distribution]] {id}");
    let architecture = machine(&inventory.packages);
    let text = entry.sources.replace("$codename", release);
    let configuration = named.clone().with(&name, &text, os, &architecture);
    let configuration = configuration.map_err(|error| failed(&chain(&error)))?;
    if configuration.enabled().next().is_none() {
        return Err(failed(&format!(
            "{name} names no repository of packages that is enabled"
        )));
    }
    Ok(Some((configuration, entry.clone())))
}

/// What is outdated in such an image.
pub(super) async fn scan(updates: &Updates, subject: &Subject, found: &Found) -> Result<Findings, ScanError> {
    let native = native(|| subject.inventory.packages.iter());
    let keyrings = keyrings(updates, subject, found).await?;
    let targets = apt::targets(&found.configuration, &native);
    let (loaded, absent) = load(updates, targets, &keyrings).await?;
    let mut findings = judge(&subject.inventory, &found.configuration, &loaded, &native);
    findings.notes.extend(absent);
    Ok(findings)
}

/// The same from what is held.
pub(super) fn rescan(updates: &Updates, known: &Known<'_>) -> Option<Findings> {
    let keyrings = updates.keyrings.get(known.image)?;
    let inventory = known.inventory.inventory();
    let Repositories::Apt(named) = &inventory.repositories else {
        return None;
    };
    let found = of(updates, &inventory, named).ok()??;
    let native = native(|| inventory.packages.iter());
    let targets = apt::targets(&found.configuration, &native).into_iter();
    let loaded: Vec<_> = targets
        .map(|target| held(updates, target, &keyrings))
        .collect::<Option<_>>()?;
    Some(judge(&inventory, &found.configuration, &loaded, &native))
}

/// No new package comes into such an image: nobody there asked for the one that needs it.
fn judge(
    inventory: &Inventory,
    configuration: &Configuration,
    loaded: &[(Target, Loaded<Apt>)],
    native: &str,
) -> Findings {
    let packages: Vec<_> = inventory.packages.iter().collect();
    apt::plain_upgrade(&packages, &inventory.held, configuration, &repositories(loaded), native)
}

/// The keys of each source: those of the entry, and what `signed-by` names on this machine.
async fn keyrings(updates: &Updates, subject: &Subject, found: &Found) -> Result<Arc<Vec<Keyring>>, ScanError> {
    let image = &subject.manifest.digest;
    if let Some(known) = updates.keyrings.get(image) {
        return Ok(known);
    }
    let mut keyrings = Vec::new();
    let mut read: HashMap<Vec<String>, Keyring> = HashMap::new();
    for source in &found.configuration.sources {
        let keyring = match read.get(&source.signed_by) {
            Some(known) => known.clone(),
            None => keyring(&found.entry, source).await?,
        };
        let digest = keyring.digest().clone();
        let keyring = updates.shared.get_with(digest, || keyring);
        read.insert(source.signed_by.clone(), keyring.clone());
        keyrings.push(keyring);
    }
    let keyrings = Arc::new(keyrings);
    updates.keyrings.insert(image.clone(), Arc::clone(&keyrings));
    Ok(keyrings)
}

async fn keyring(entry: &Distribution, source: &Source) -> Result<Keyring, ScanError> {
    let (files, fingerprints): (Vec<&String>, Vec<&String>) =
        source.signed_by.iter().partition(|by| by.starts_with('/'));
    let paths: Vec<_> = entry
        .keys
        .iter()
        .cloned()
        .chain(files.into_iter().map(Into::into))
        .collect();
    let files = Keyring::read(&paths).await.map_err(|reason| failed(&reason))?;
    let named = fingerprints
        .into_iter()
        .map(|by| (format!("{FINGERPRINT}{}", by.trim_end_matches('!')), Vec::new()));
    let inline = source
        .inline_key
        .iter()
        .map(|key| ("Signed-By".to_owned(), key.clone().into_bytes()));
    Ok(files.with(&Keyring::new(named.chain(inline).collect())))
}
