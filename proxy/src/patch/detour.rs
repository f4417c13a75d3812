//! What an image's own tool is told in place of the image's words on its repositories: the operator's `[[repository]]` table.
//!
//! The files are secrets of the build, mounted below `/dev`: nothing of them is in the graph, in a cache key, or in the image. The
//! table is matched by the same code that fetches indexes and packages. A word of the operator that a tool cannot obey is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use patchport_buildkit::{MAX_SECRET, Secrets};
use patchport_packages::inventory::Repositories;
use patchport_packages::layer::Files;
use tokio::io::AsyncReadExt as _;
use url::Url;

use crate::index::fetch::{Base, FetchError, Fetcher};
use crate::index::files;
use crate::plan::Tool;
use crate::scan::Subject;

mod apk;
mod apt;
mod pacman;
mod rpm;

/// Where the files are in the container.
pub(super) const DETOUR: &str = "/dev/patchport/detour";

/// More files than any image and table come to.
const MAX_FILES: usize = 512;

/// What a tool is told. Has no `Debug`: there are passwords in it.
#[derive(Clone, Default)]
pub struct Detour {
    files: BTreeMap<String, Bytes>,
    variables: BTreeMap<&'static str, String>,
}

/// Why a tool cannot be told what the operator's table says.
#[derive(Debug, thiserror::Error)]
pub(super) enum DetourError {
    /// The tool has no way to do it.
    #[error(
        "the image's {tool} cannot be told what [[repository]] says: {reason}; let Patchport fetch the packages (`patch.packages = \"fetched\"`)"
    )]
    Cannot {
        /// The tool.
        tool: Tool,
        /// What it cannot do.
        reason: String,
    },
    /// A file of the operator's cannot be used.
    #[error("the file {path} of a [[repository]] cannot be used: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A repository's address cannot be used.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The image's own words cannot be read.
    #[error("the image's settings for {tool} cannot be read: {reason}")]
    Settings {
        /// The tool.
        tool: Tool,
        /// Why not.
        reason: String,
    },
}

impl Detour {
    /// What the table says of an image's repositories, for a tool; nothing where it names none of them.
    ///
    /// # Errors
    /// [`DetourError`] when the tool cannot be told.
    pub(super) async fn of(
        subject: &Subject,
        tool: Tool,
        files: &Files,
        fetcher: &Fetcher,
        kept: &files::Files,
    ) -> Result<Self, DetourError> {
        let mut draft = Draft {
            tool,
            fetcher,
            detour: Self::default(),
            copied: BTreeMap::new(),
        };
        match (tool, &subject.inventory.repositories) {
            (Tool::Apt, _) => apt::draft(&mut draft, files, &subject.inventory).await?,
            (Tool::Apk, _) => apk::draft(&mut draft, files, &subject.inventory).await?,
            (Tool::Pacman, _) => pacman::draft(&mut draft, files, &subject.platform).await?,
            (_, Repositories::Rpm(configuration)) => rpm::draft(&mut draft, files, configuration, kept).await?,
            // They fetch nothing.
            _ => {}
        }
        draft.end()
    }

    /// Whether the tool is told nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Its files, by their paths below [`DETOUR`].
    pub(super) fn paths(&self) -> impl Iterator<Item = &String> {
        self.files.keys()
    }

    /// What its environment is besides.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&'static str, &String)> {
        self.variables.iter().map(|(name, value)| (*name, value))
    }

    /// Its files, as the build's secrets by the same paths.
    pub(super) fn secrets(&self) -> Secrets {
        let files = self.files.iter();
        files.map(|(path, bytes)| (path.clone(), bytes.clone())).collect()
    }
}

/// A detour while it is put together.
struct Draft<'a> {
    tool: Tool,
    fetcher: &'a Fetcher,
    detour: Detour,
    /// Files of the operator's that are in it, with their paths in the container.
    copied: BTreeMap<PathBuf, String>,
}

impl Draft<'_> {
    fn cannot(&self, reason: impl Into<String>) -> DetourError {
        DetourError::Cannot {
            tool: self.tool,
            reason: reason.into(),
        }
    }

    fn settings(&self, reason: impl Into<String>) -> DetourError {
        DetourError::Settings {
            tool: self.tool,
            reason: reason.into(),
        }
    }

    /// The places of a repository that the table names; nothing for any other, and for what is not reached over HTTP.
    fn places(&self, url: &str) -> Result<Option<Vec<Base>>, DetourError> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Ok(None);
        }
        Ok(self.fetcher.listed(url)?)
    }

    /// Adds a file; its path in the container.
    fn add(&mut self, path: impl Into<String>, bytes: impl Into<Bytes>) -> String {
        let path = path.into();
        let place = format!("{DETOUR}/{path}");
        self.detour.files.insert(path, bytes.into());
        place
    }

    /// Adds a file of the operator's under a name; its path in the container, which is the same each time.
    async fn copy(&mut self, file: &Path, name: impl FnOnce(usize, &[u8]) -> String) -> Result<String, DetourError> {
        if let Some(place) = self.copied.get(file) {
            return Ok(place.clone());
        }
        let bytes = read(file).await?;
        let place = self.add(name(self.copied.len(), &bytes), bytes);
        self.copied.insert(file.to_owned(), place.clone());
        Ok(place)
    }

    /// The certificate authority for a place, as a file in the container.
    async fn authority(&mut self, base: &Base) -> Result<Option<String>, DetourError> {
        let file = base.settings().and_then(|settings| settings.ca.clone());
        let file = file.filter(|_| base.url().scheme() == "https");
        match file {
            Some(file) => Ok(Some(self.copy(&file, |at, _| format!("ca-{at}.pem")).await?)),
            None => Ok(None),
        }
    }

    /// Has the tool's environment say what is one for all repositories.
    fn share(&mut self, uses: &[Use]) -> Result<(), DetourError> {
        let proxies: BTreeSet<&String> = uses.iter().filter_map(|used| used.proxy.as_ref()).collect();
        let direct: BTreeSet<&String> = uses
            .iter()
            .filter(|used| used.proxy.is_none())
            .map(|used| &used.host)
            .collect();
        if proxies.len() > 1 {
            return Err(self.cannot("it takes one `proxy` for all repositories of an image, and there are several"));
        }
        if let Some(proxy) = proxies.first() {
            if let Some(host) = uses
                .iter()
                .find(|used| used.proxy.is_some() && direct.contains(&used.host))
            {
                let host = &host.host;
                return Err(self.cannot(format!(
                    "it reaches all repositories of {host} through one `proxy`, or none"
                )));
            }
            for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
                self.detour.variables.insert(name, (*proxy).clone());
            }
            let direct: Vec<&str> = direct.iter().map(|host| host.as_str()).collect();
            for name in ["no_proxy", "NO_PROXY"] {
                self.detour.variables.insert(name, direct.join(","));
            }
        }
        let authorities: BTreeSet<&Option<String>> = uses
            .iter()
            .filter(|used| used.https)
            .map(|used| &used.authority)
            .collect();
        if authorities.len() > 1 {
            return Err(self.cannot("it takes one `ca` for all repositories of an image"));
        }
        if let Some(Some(authority)) = authorities.first() {
            self.detour.variables.insert("SSL_CERT_FILE", authority.clone());
        }
        Ok(())
    }

    fn end(self) -> Result<Detour, DetourError> {
        if self.detour.files.len() > MAX_FILES {
            return Err(self.cannot(format!("it would come to more than {MAX_FILES} files")));
        }
        match self.detour.files.iter().find(|(_, bytes)| bytes.len() > MAX_SECRET) {
            Some((path, _)) => Err(self.cannot(format!("{path} would have more than {MAX_SECRET} bytes"))),
            None => Ok(self.detour),
        }
    }
}

/// How a repository is reached, for a tool that is told so once for all of them.
struct Use {
    host: String,
    https: bool,
    proxy: Option<String>,
    authority: Option<String>,
}

impl Use {
    /// A repository that the table does not name.
    fn unlisted(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        Some(Self {
            host: url.host_str()?.to_owned(),
            https: url.scheme() == "https",
            proxy: None,
            authority: None,
        })
    }

    fn listed(base: &Base, authority: Option<String>) -> Self {
        Self {
            host: base.url().host_str().unwrap_or_default().to_owned(),
            https: base.url().scheme() == "https",
            proxy: proxy(base),
            authority,
        }
    }
}

/// The proxy of a place.
fn proxy(base: &Base) -> Option<String> {
    Some(base.settings()?.proxy.as_ref()?.to_string())
}

/// The URL of a place without what logs in there, ending in a slash.
fn bare(base: &Base) -> Url {
    let mut url = base.url().clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// The URL of a place with what logs in there: the operator's credentials, else the image's own.
fn with_login(base: &Base) -> Url {
    let mut url = base.url().clone();
    if let Some(login) = base.credentials() {
        // A URL of HTTP has a host, so it may have a user.
        let _ = url.set_username(&login.username);
        let _ = url.set_password(Some(login.password.expose()));
    }
    url
}

/// The place to tell a tool that takes one only: the first that has one of these files. Where that cannot be found out from here,
/// the builder may know better.
async fn standing(mut places: Vec<Base>, signs: &[String]) -> Option<Base> {
    /// The largest of such files, in bytes.
    const MAX_SIGN: usize = 64 << 20;
    if places.len() > 1 {
        for (at, place) in places.iter().enumerate() {
            for sign in signs {
                match place.fetch(sign, MAX_SIGN, None).await {
                    Err(error) if error.is_missing() => {}
                    _ => return Some(places.swap_remove(at)),
                }
            }
        }
    }
    places.into_iter().next()
}

/// A file of the operator's.
async fn read(path: &Path) -> Result<Vec<u8>, DetourError> {
    let failed = |reason: String| DetourError::File {
        path: path.display().to_string(),
        reason,
    };
    let file = tokio::fs::File::open(path)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let mut bytes = Vec::new();
    let mut limited = file.take(MAX_SECRET as u64 + 1);
    limited
        .read_to_end(&mut bytes)
        .await
        .map_err(|error| failed(error.to_string()))?;
    if bytes.len() > MAX_SECRET {
        return Err(failed(format!(
            "it has more than {MAX_SECRET} bytes, which BuildKit takes no secret of"
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
