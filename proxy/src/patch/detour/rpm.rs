//! rpm's family: the image's `.repo` files with the sections changed that the table names.
//! Lists of mirrors are asked here, for the table is about what is in them, too.

use std::collections::BTreeMap;

use patchport_packages::layer::Files;
use patchport_packages::rpm::{Configuration, Repository};
use url::Url;

use super::{DetourError, Draft, Use, bare, proxy, standing, with_login};
use crate::index::fetch::Base;
use crate::index::files::Files as Kept;
use crate::index::rpm::{Key, places};
use crate::plan::Tool;
use crate::respond::chain;

/// Where `.repo` files are.
const FOLDERS: [&str; 3] = ["etc/yum.repos.d", "etc/yum/repos.d", "etc/distro.repos.d"];
const ZYPPER: [&str; 1] = ["etc/zypp/repos.d"];
/// What stands between the values of an option.
const CONTINUED: &str = "\n       ";
/// Places of a repository that a tool is told of.
const MAX_PLACES: usize = 8;

/// What the table says of a repository, by the names of options; they take the place of what the file says.
pub(super) type Section = Vec<(&'static str, String)>;

/// Writes what the tool is to be told, if the table names a repository.
pub(super) async fn draft(
    draft: &mut Draft<'_>,
    files: &Files,
    configuration: &Configuration,
    kept: &Kept,
) -> Result<(), DetourError> {
    let (mut sections, mut uses) = (BTreeMap::new(), Vec::new());
    for repository in configuration.enabled() {
        if let Some(section) = section(draft, repository, kept, &mut uses).await? {
            sections.insert(repository.id.clone(), section);
        }
    }
    if sections.is_empty() {
        return Ok(());
    }
    let folders: &[&str] = if draft.tool == Tool::Zypper { &ZYPPER } else { &FOLDERS };
    let mut written = Vec::new();
    for folder in folders {
        for (path, text) in files.list(folder).map_err(|error| draft.settings(chain(&error)))? {
            let name = path.rsplit('/').next().unwrap_or_default();
            if name.ends_with(".repo") {
                let text = String::from_utf8_lossy(text);
                draft.add(format!("repos.d/{name}"), rewritten(&text, &sections, &mut written));
            }
        }
    }
    if let Some(id) = sections.keys().find(|id| !written.contains(id)) {
        return Err(draft.cannot(format!(
            "the repository {id} is not in a file of its own below {}",
            folders.join(", ")
        )));
    }
    if draft.tool == Tool::Tdnf {
        // The others take a certificate for each repository, and so does this one.
        uses.iter_mut().for_each(|used: &mut Use| used.https = false);
        draft.share(&uses)?;
    }
    Ok(())
}

/// What a tool is told of a repository, if the table names it.
async fn section(
    draft: &mut Draft<'_>,
    repository: &Repository,
    kept: &Kept,
    uses: &mut Vec<Use>,
) -> Result<Option<Section>, DetourError> {
    let list = repository.metalink.as_ref().or(repository.mirror_list.as_ref());
    let list = list.filter(|_| repository.base_urls.is_empty());
    let is_listed = list.is_some_and(|url| matches!(draft.places(url), Ok(Some(_))));
    let (urls, _) = match places(&Key::of(repository), draft.fetcher, kept).await {
        Ok(found) => found,
        // What the table does not name is the image's own matter.
        Err(_) if !is_listed => return Ok(None),
        Err(error) => return Err(draft.settings(format!("the list of mirrors of {}: {error}", repository.id))),
    };
    let (mut bases, mut is_named) = (Vec::new(), is_listed);
    for url in &urls {
        match draft.places(url)? {
            Some(places) => {
                is_named = true;
                bases.extend(places);
            }
            None => bases.extend(draft.fetcher.bases(url).unwrap_or_default()),
        }
    }
    bases.truncate(MAX_PLACES);
    if !is_named || bases.is_empty() {
        uses.extend(urls.first().and_then(|url| Use::unlisted(url)));
        return Ok(None);
    }
    described(draft, repository, &bases, uses).await.map(Some)
}

/// Where a repository is, in the words of its tool, and who signs it.
async fn described(
    draft: &mut Draft<'_>,
    repository: &Repository,
    bases: &[Base],
    uses: &mut Vec<Use>,
) -> Result<Section, DetourError> {
    // One login, certificate and proxy is all that a section has: zypper alone has them in the URL.
    let is_one = bases.iter().all(|base| Some(way(base)) == bases.first().map(way));
    let first = match is_one {
        true => bases.first().cloned(),
        false => standing(bases.to_vec(), &["repodata/repomd.xml".to_owned()]).await,
    };
    let Some(first) = first else { return Ok(vec![]) };
    let is_zypper = draft.tool == Tool::Zypper;
    let usable: Vec<&Base> = bases
        .iter()
        .filter(|base| is_zypper || way(base) == way(&first))
        .collect();
    let authority = draft.authority(&first).await?;
    uses.extend(usable.iter().map(|base| Use::listed(base, authority.clone())));
    if is_zypper && authority.is_some() {
        return Err(draft.cannot(format!("it takes no `ca` for one repository ({})", repository.id)));
    }
    let urls = usable.iter().map(|base| match first.credentials() {
        _ if is_zypper => zypper(base),
        Some(_) => bare(base).to_string(),
        None => base.url().to_string(),
    });
    let mut section = vec![("baseurl", urls.collect::<Vec<_>>().join(CONTINUED))];
    if !is_zypper {
        section.extend(reached(draft, &first, authority)?);
    }
    if first.allows_unsigned() {
        section.push(("repo_gpgcheck", "0".to_owned()));
    }
    if !first.keys().is_empty() {
        let mut keys = repository.gpg_keys.clone();
        for key in first.keys() {
            let place = draft.copy(key, |at, _| format!("key-{at}")).await?;
            keys.push(format!("file://{place}"));
        }
        section.push(("gpgkey", keys.join(CONTINUED)));
    }
    Ok(section)
}

/// How a place is reached: its login, proxy and authority, and whether that matters.
fn way(base: &Base) -> impl PartialEq {
    let ca = base.settings().and_then(|settings| settings.ca.clone());
    let is_secure = base.url().scheme() == "https";
    (base.credentials().cloned(), proxy(base), ca, is_secure)
}

/// The options that say how a place is reached.
fn reached(draft: &Draft<'_>, base: &Base, authority: Option<String>) -> Result<Section, DetourError> {
    let mut section = Section::new();
    if let Some(login) = base.credentials() {
        let (user, password) = (login.username.clone(), login.password.expose().to_owned());
        let is_plain = |text: &String| text.trim() == text && !text.contains(['\n', '\r']);
        if !is_plain(&user) || !is_plain(&password) {
            return Err(draft.cannot("a user or password with blanks around it cannot be written for it"));
        }
        section.extend([("username", user), ("password", password)]);
    }
    section.extend(authority.map(|file| ("sslcacert", file)));
    if draft.tool != Tool::Tdnf {
        section.extend(proxy(base).map(|proxy| ("proxy", proxy)));
    }
    Ok(section)
}

/// A place as zypper takes it: with login and proxy in the URL.
fn zypper(base: &Base) -> String {
    let mut url = with_login(base);
    if let Some(proxy) = proxy(base).and_then(|proxy| Url::parse(&proxy).ok()) {
        let port = proxy.port_or_known_default().unwrap_or(80).to_string();
        let host = proxy.host_str().unwrap_or_default();
        url.query_pairs_mut()
            .append_pair("proxy", host)
            .append_pair("proxyport", &port);
    }
    url.to_string()
}

/// A `.repo` file with sections changed; adds the names of those that were.
pub(super) fn rewritten(text: &str, sections: &BTreeMap<String, Section>, written: &mut Vec<String>) -> String {
    /// Options that say where a repository is and how it is reached.
    const PLACE: [&str; 9] = [
        "baseurl",
        "mirrorlist",
        "metalink",
        "proxy",
        "proxy_username",
        "proxy_password",
        "username",
        "password",
        "sslcacert",
    ];
    let (mut made, mut current, mut is_dropped) = (String::new(), None, false);
    for line in text.lines() {
        if let Some((name, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            current = sections.get(name);
            is_dropped = false;
            made.push_str(line);
            made.push('\n');
            for (key, value) in current.into_iter().flatten() {
                made.push_str(&format!("{key}={value}\n"));
            }
            if current.is_some() {
                written.push(name.to_owned());
            }
            continue;
        }
        if !line.starts_with([' ', '\t']) {
            let key = line.split_once('=').map_or("", |(key, _)| key.trim());
            is_dropped = current
                .is_some_and(|section: &Section| PLACE.contains(&key) || section.iter().any(|(name, _)| *name == key));
        }
        if !is_dropped {
            made.push_str(line);
            made.push('\n');
        }
    }
    made
}
