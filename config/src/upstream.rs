//! `[[upstream]]`: the closed table of registries that may be asked.
//! A request names an upstream, never an address: what is not in this table is never dialled.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::credentials::{Credentials, Login};
use crate::document::Problems;
use crate::host::{HOST_FORM, is_host};
use crate::secret::Secret;
use crate::url::Url;
use crate::value;

/// The registries that are known without being configured: name and URL.
const KNOWN: [(&str, &str); 7] = [
    ("docker.io", "https://registry-1.docker.io"),
    ("quay.io", "https://quay.io"),
    ("ghcr.io", "https://ghcr.io"),
    ("registry.k8s.io", "https://registry.k8s.io"),
    ("gcr.io", "https://gcr.io"),
    ("mcr.microsoft.com", "https://mcr.microsoft.com"),
    ("public.ecr.aws", "https://public.ecr.aws"),
];

/// One registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// The host that references name, such as `docker.io`.
    pub name: String,
    /// Where its API is.
    pub url: Url,
    /// What we log in with; anonymous without.
    pub credentials: Option<Credentials>,
    /// PEM file of the certificate authority to trust for it, instead of the system's.
    pub ca: Option<PathBuf>,
    /// Hosts besides the URL's own that may receive the credentials in exchange for a token.
    pub token_realms: Vec<String>,
    /// Whether a repository of one component means `library/` plus that component.
    pub docker_library: bool,
    /// Patches of its images that run at the same time, 1 to 1024; as many as there is room for without.
    pub jobs: Option<u32>,
}

/// An `[[upstream]]` table as written. `url`, `token_realms` and `docker_library` may be left out for the
/// registries in `KNOWN`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an [[upstream]] table")]
pub(crate) struct Entry {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_realms: Option<Vec<String>>,
    #[serde(default, deserialize_with = "value::switch", skip_serializing_if = "Option::is_none")]
    docker_library: Option<bool>,
    #[serde(
        default,
        deserialize_with = "value::optional_count::<_, 1024>",
        skip_serializing_if = "Option::is_none"
    )]
    jobs: Option<u32>,
}

impl Entry {
    fn named(name: &str) -> Self {
        let name = name.to_owned();
        let (url, username, password, password_file) = (None, None, None, None);
        Self {
            name,
            url,
            username,
            password,
            password_file,
            ca: None,
            token_realms: None,
            docker_library: None,
            jobs: None,
        }
    }

    /// The table of a configuration that has none.
    pub(crate) fn built_in() -> Vec<Self> {
        KNOWN.iter().map(|(name, _)| Self::named(name)).collect()
    }

    /// The upstream, or what is wrong with it under `key`. `read` gives the content of a password file.
    pub(crate) fn check(
        self,
        key: &str,
        read: &dyn Fn(&Path) -> Result<String, String>,
        problems: &mut Problems,
    ) -> Option<Upstream> {
        let docker = self.name == "docker.io";
        if !is_host(&self.name) {
            problems.add(format!("{key}.name"), format!("{:?} is not {HOST_FORM}", self.name));
        }
        let realms = self.token_realms.clone();
        let token_realms = realms.unwrap_or_else(|| docker.then(|| "auth.docker.io".to_owned()).into_iter().collect());
        for (index, realm) in token_realms.iter().enumerate().filter(|(_, realm)| !is_host(realm)) {
            let text = format!("{realm:?} is not {HOST_FORM}");
            problems.add(format!("{key}.token_realms[{index}]"), text);
        }
        let login = Login {
            username: self.username.as_deref(),
            password: self.password.as_ref(),
            password_file: self.password_file.as_deref(),
        };
        let credentials = login.check(key, read, problems);
        let url = self.url(key, problems)?;
        if credentials.is_some() && !url.is_https() && !url.is_loopback() {
            let text = "must be https:// when there is a username, plain http would show the password";
            problems.add(format!("{key}.url"), text);
        }
        let docker_library = self.docker_library.unwrap_or(docker);
        let (name, ca, jobs) = (self.name, self.ca, self.jobs);
        Some(Upstream {
            name,
            url,
            credentials,
            ca,
            token_realms,
            docker_library,
            jobs,
        })
    }

    fn url(&self, key: &str, problems: &mut Problems) -> Option<Url> {
        let known = KNOWN.iter().find(|(name, _)| *name == self.name);
        let Some(text) = self.url.as_deref().or(known.map(|(_, url)| *url)) else {
            let text = format!("is missing, it may be left out for {} only", known_names());
            problems.add(format!("{key}.url"), text);
            return None;
        };
        problems.keep(format!("{key}.url"), text.parse())
    }
}

fn known_names() -> String {
    KNOWN.map(|(name, _)| name).join(", ")
}

impl From<&Upstream> for Entry {
    fn from(upstream: &Upstream) -> Self {
        let login = upstream.credentials.as_ref();
        let file = login.and_then(|login| login.password_file.clone());
        Self {
            name: upstream.name.clone(),
            url: Some(upstream.url.to_string()),
            username: login.map(|login| login.username.clone()),
            password: login.filter(|_| file.is_none()).map(|login| login.password.clone()),
            password_file: file,
            ca: upstream.ca.clone(),
            token_realms: Some(upstream.token_realms.clone()),
            docker_library: Some(upstream.docker_library),
            jobs: upstream.jobs,
        }
    }
}
