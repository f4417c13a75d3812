//! apk: a file of repositories and a folder of keys in place of the image's own; what remains is in its environment, one for all.

use patchport_packages::Inventory;
use patchport_packages::apk::{self, Configuration, Format};
use patchport_packages::layer::Files;

use super::{DetourError, Draft, Use, standing, with_login};
use crate::respond::chain;
use crate::scan::updates::apk::architecture;

/// Writes what apk is to be told, if the table names a repository.
pub(super) async fn draft(draft: &mut Draft<'_>, files: &Files, inventory: &Inventory) -> Result<(), DetourError> {
    let configuration = Configuration::read(files).map_err(|error| draft.settings(chain(&error)))?;
    let architecture = architecture(inventory, &configuration);
    let (mut lines, mut uses, mut keys, mut is_named) = (String::new(), Vec::new(), Vec::new(), false);
    for repository in &configuration.repositories {
        // Of a repository that is named by its index the folder around that is asked.
        let (folder, file) = match repository.format {
            Format::Index => repository.url.rsplit_once('/').unwrap_or(("", &repository.url)),
            Format::V2 | Format::V3 => (repository.url.as_str(), ""),
        };
        let Some(places) = draft.places(folder)? else {
            lines.push_str(&repository.line_at(folder, file));
            uses.extend(Use::unlisted(folder));
            continue;
        };
        is_named = true;
        let index = repository.index_url(&architecture);
        let sign = index
            .strip_prefix(folder)
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned();
        let Some(place) = standing(places, &[sign]).await else {
            continue;
        };
        let authority = draft.authority(&place).await?;
        uses.push(Use::listed(&place, authority));
        keys.extend(place.keys().to_vec());
        lines.push_str(&repository.line_at(with_login(&place).as_str().trim_end_matches('/'), file));
    }
    if !is_named {
        return Ok(());
    }
    draft.add("repositories", lines);
    draft.share(&uses)?;
    if keys.is_empty() {
        return Ok(());
    }
    for (name, bytes) in apk::keys(files).map_err(|error| draft.settings(chain(&error)))? {
        draft.add(format!("keys/{name}"), bytes);
    }
    for key in keys {
        // A key is known by the name of its file.
        let name = key.file_name().unwrap_or_default().to_string_lossy().into_owned();
        draft.copy(&key, |_, _| format!("keys/{name}")).await?;
    }
    Ok(())
}
