//! pacman: its file of settings with other servers, what it includes taken in; a proxy is in its environment.

use patchport_oci::Platform;
use patchport_packages::layer::Files;
use patchport_packages::pacman::CONFIGURATION;

use super::{DetourError, Draft, Use, with_login};
use crate::respond::chain;

/// The folder of what may be included: the list of mirrors is the only file of it that layers are searched for.
const MIRRORS: &str = "/etc/pacman.d/mirrorlist";

/// Writes what pacman is to be told, if the table names a server.
pub(super) async fn draft(draft: &mut Draft<'_>, files: &Files, platform: &Platform) -> Result<(), DetourError> {
    let read = |path: &str| {
        let found = files.read(path).map_err(|error| chain(&error));
        found.map(|bytes| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned())
    };
    let text = read(CONFIGURATION).map_err(|reason| draft.settings(reason))?;
    let mut writer = Writer {
        architecture: match platform.architecture.as_str() {
            "amd64" => "x86_64".to_owned(),
            "arm64" => "aarch64".to_owned(),
            other => other.to_owned(),
        },
        ..Writer::default()
    };
    let mut unknown = Vec::new();
    for line in text.lines() {
        match option(line) {
            Some(("Include", MIRRORS)) => {
                for line in read(MIRRORS).map_err(|reason| draft.settings(reason))?.lines() {
                    writer.line(draft, line).await?;
                }
            }
            Some(("Include", path)) => {
                unknown.push(path.to_owned());
                writer.line(draft, line).await?;
            }
            _ => writer.line(draft, line).await?,
        }
    }
    // What is in there might be named, too: the table is obeyed in all of it or the image is left alone.
    if let Some(path) = unknown.first() {
        return Err(draft.cannot(format!("its settings include {path}, which is not looked at")));
    }
    if writer.is_named {
        draft.add("pacman.conf", writer.made);
        draft.share(&writer.uses)?;
    }
    Ok(())
}

/// A line as an option.
fn option(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    Some((key.trim(), value.trim()))
}

#[derive(Default)]
struct Writer {
    architecture: String,
    section: String,
    made: String,
    uses: Vec<Use>,
    is_named: bool,
}

impl Writer {
    async fn line(&mut self, draft: &mut Draft<'_>, line: &str) -> Result<(), DetourError> {
        if let Some(section) = line.trim().strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section.clone_into(&mut self.section);
        }
        if let Some(("Architecture", value)) = option(line)
            && let Some(first) = value.split_whitespace().next().filter(|first| *first != "auto")
        {
            first.clone_into(&mut self.architecture);
        }
        match option(line) {
            Some((key @ ("Server" | "CacheServer"), url)) => self.server(draft, key, url).await,
            _ => {
                self.made.push_str(line);
                self.made.push('\n');
                Ok(())
            }
        }
    }

    async fn server(&mut self, draft: &mut Draft<'_>, key: &str, url: &str) -> Result<(), DetourError> {
        let filled = url.replace("$repo", &self.section).replace("$arch", &self.architecture);
        let Some(places) = draft.places(&filled)? else {
            self.made.push_str(&format!("{key} = {url}\n"));
            self.uses.extend(Use::unlisted(&filled));
            return Ok(());
        };
        self.is_named = true;
        for place in &places {
            let settings = place.settings();
            if settings.is_some_and(|settings| settings.ca.is_some()) && place.url().scheme() == "https" {
                return Err(draft.cannot("it takes no `ca`"));
            }
            if !place.keys().is_empty() {
                return Err(draft.cannot("it takes no `keys` besides those in its keyring"));
            }
            let url = with_login(place);
            self.made
                .push_str(&format!("{key} = {}\n", url.as_str().trim_end_matches('/')));
            self.uses.push(Use::listed(place, None));
        }
        // pacman's own words for what need not be signed; what is signed wrongly is refused all the same.
        if key == "Server" && places.iter().any(crate::index::fetch::Base::allows_unsigned) {
            self.made.push_str("SigLevel = Optional\n");
        }
        Ok(())
    }
}
