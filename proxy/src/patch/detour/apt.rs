//! apt: sources, keys, certificates, proxies and logins as files of its own that its settings name.
//! All sources of the image are written anew, those that the table does not name as they were.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use patchport_packages::Inventory;
use patchport_packages::apt::{self, Configuration, Source};
use patchport_packages::layer::Files;

use super::{DetourError, Draft, Use, bare, standing};
use crate::index::fetch::Base;
use crate::respond::chain;
use crate::scan::updates::apt::native;

/// What apt is told of hosts, which is one for all repositories there.
type Hosts = BTreeMap<String, Host>;

/// What apt is told of a host: the proxy, and the authority of those that are asked over TLS. Each may be none, or not known yet.
#[derive(Default)]
struct Host {
    proxy: Option<Option<String>>,
    authority: Option<Option<String>>,
}

/// Writes what apt is to be told, if the table names a source.
pub(super) async fn draft(draft: &mut Draft<'_>, files: &Files, inventory: &Inventory) -> Result<(), DetourError> {
    let configuration = Configuration::read(files).map_err(|error| draft.settings(chain(&error)))?;
    let native = native(|| inventory.packages.iter());
    let (mut lines, mut logins, mut hosts, mut is_named) = (String::new(), String::new(), Hosts::new(), false);
    for source in &configuration.sources {
        let Some(places) = draft.places(&source.uri.replace("$(ARCH)", &native))? else {
            lines.push_str(&line(
                source,
                &source.uri,
                &source.suites,
                &signers(draft, source, files, &[]).await?,
            ));
            note(draft, &mut hosts, Use::unlisted(&source.uri))?;
            continue;
        };
        is_named = true;
        // One suite may be at the mirror, and another in the archive.
        for suite in &source.suites {
            let Some(place) = standing(places.clone(), &signs(source, suite)).await else {
                continue;
            };
            let authority = draft.authority(&place).await?;
            note(draft, &mut hosts, Some(Use::listed(&place, authority)))?;
            logins.push_str(&login(draft, &place)?);
            lines.push_str(&told(draft, source, suite, &place, files).await?);
        }
    }
    if !is_named {
        return Ok(());
    }
    let sources = draft.add("sources.list", lines);
    let mut settings = format!("Dir::Etc::sourcelist \"{sources}\";\nDir::Etc::sourceparts \"/dev/null\";\n");
    for (host, Host { proxy, authority }) in hosts {
        if let Some(proxy) = proxy.flatten() {
            let _ = writeln!(
                settings,
                "Acquire::http::Proxy::{host} \"{proxy}\";\nAcquire::https::Proxy::{host} \"{proxy}\";"
            );
        }
        if let Some(file) = authority.flatten() {
            let _ = writeln!(
                settings,
                "Acquire::https::CAInfo::{host} \"{file}\";\nAcquire::https::{host}::CAInfo \"{file}\";"
            );
        }
    }
    draft.add("apt.conf", settings);
    if !logins.is_empty() {
        draft.add("auth.conf", logins);
    }
    Ok(())
}

/// A source at the place that the table gives one of its suites.
async fn told(
    draft: &mut Draft<'_>,
    source: &Source,
    suite: &String,
    place: &Base,
    files: &Files,
) -> Result<String, DetourError> {
    let mut source = source.clone();
    if place.allows_unsigned() {
        source.trusted = Some(true);
    }
    if place.allows_expired() {
        source.check_valid_until = Some(false);
    }
    let signers = signers(draft, &source, files, place.keys()).await?;
    let url = if place.credentials().is_some() {
        bare(place)
    } else {
        place.url().clone()
    };
    Ok(line(&source, url.as_str(), std::slice::from_ref(suite), &signers))
}

/// Which files tell that a repository has a suite.
fn signs(source: &Source, suite: &str) -> Vec<String> {
    let folder = if source.components.is_empty() {
        suite.to_owned()
    } else {
        format!("dists/{suite}/")
    };
    ["InRelease", "Release"].map(|name| format!("{folder}{name}")).to_vec()
}

/// The keys that a source must be signed by: what the image says, and these files of the operator's.
async fn signers(
    draft: &mut Draft<'_>,
    source: &Source,
    files: &Files,
    keys: &[std::path::PathBuf],
) -> Result<Vec<String>, DetourError> {
    let mut signers = source.signed_by.clone();
    if let Some(key) = &source.inline_key {
        let at = draft.detour.files.len();
        signers.push(draft.add(format!("key-{at}.asc"), key.clone()));
    } else if !keys.is_empty() && !signers.iter().any(|signer| signer.starts_with('/')) {
        // Who names no keys trusts these, and would not any more once others are named.
        let trusted = apt::keys(files, source).into_iter();
        signers.extend(trusted.map(|(path, _)| format!("/{}", path.trim_start_matches('/'))));
    }
    for key in keys {
        let name = |at: usize, bytes: &[u8]| {
            let form = if bytes.starts_with(b"-----BEGIN") { "asc" } else { "gpg" };
            format!("operator-{at}.{form}")
        };
        signers.push(draft.copy(key, name).await?);
    }
    Ok(signers)
}

/// A source in the one-line format, which every apt reads.
fn line(source: &Source, url: &str, suites: &[String], signers: &[String]) -> String {
    let mut options: Vec<(&str, String)> = vec![
        ("arch", source.architectures.join(",")),
        ("arch+", source.architectures_added.join(",")),
        ("arch-", source.architectures_removed.join(",")),
        ("signed-by", signers.join(",")),
    ];
    let word = |value: bool| if value { "yes" } else { "no" }.to_owned();
    options.extend(source.trusted.map(|value| ("trusted", word(value))));
    options.extend(source.check_valid_until.map(|value| ("check-valid-until", word(value))));
    options.extend(source.others.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let options: Vec<String> = options
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let options = if options.is_empty() {
        String::new()
    } else {
        format!("[{}] ", options.join(" "))
    };
    let components = source.components.join(" ");
    let each = suites
        .iter()
        .map(|suite| format!("deb {options}{url} {suite} {components}\n"));
    each.collect()
}

/// What apt logs in with at a place, in the format of its `auth.conf`.
fn login(draft: &Draft<'_>, place: &Base) -> Result<String, DetourError> {
    let Some(login) = place.credentials() else {
        return Ok(String::new());
    };
    let (user, password) = (login.username.as_str(), login.password.expose());
    if [user, password].iter().any(|text| text.contains(char::is_whitespace)) {
        return Err(draft.cannot("a user or password with blanks cannot be written for it"));
    }
    let url = bare(place);
    // Without a scheme such an entry is about https alone, and that is all that older ones know.
    let machine = url.as_str().trim_start_matches("https://");
    Ok(format!("machine {machine} login {user} password {password}\n"))
}

fn note(draft: &Draft<'_>, hosts: &mut Hosts, used: Option<Use>) -> Result<(), DetourError> {
    let Some(used) = used else { return Ok(()) };
    let known = hosts.entry(used.host.clone()).or_default();
    let is_one = *known.proxy.get_or_insert_with(|| used.proxy.clone()) == used.proxy
        && (!used.https || *known.authority.get_or_insert_with(|| used.authority.clone()) == used.authority);
    if is_one {
        return Ok(());
    }
    let host = used.host;
    Err(draft.cannot(format!(
        "it takes one `ca` and one `proxy` for all repositories of {host}"
    )))
}
