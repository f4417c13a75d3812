//! `[[repository]]`: how package repositories are reached. An image names its own; this table says what is asked instead, with
//! which keys and credentials, and what is believed. A repository that no entry matches is asked where the image says,
//! unless that is this machine or its link.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::credentials::{Credentials, Login};
use crate::document::Problems;
use crate::prefix::Prefix;
use crate::secret::Secret;
use crate::url::Url;
use crate::value;
use crate::words::words;

words! {
    /// What happens to an index that is not what it should be.
    Tolerance {
        /// It is an error.
        Refuse = "refuse",
        /// It is taken.
        Allow = "allow",
    }
}

/// How some repositories are reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Repository {
    /// It is about the URLs that begin with one of these; at least one. The first entry that matches decides.
    pub prefixes: Vec<Prefix>,
    /// What is asked in place of the matched beginning; the image's own URL without.
    pub mirror: Option<Url>,
    /// Where to ask next, in this order, when the repository is not there any more (404 or 410).
    pub archives: Vec<Url>,
    /// The HTTP proxy to go through.
    pub proxy: Option<Url>,
    /// What we log in with, at the mirror or the repository itself; never at an archive.
    pub credentials: Option<Credentials>,
    /// PEM file of the certificate authority to trust, instead of the system's.
    pub ca: Option<PathBuf>,
    /// Files of keys that may sign, besides those in the image.
    pub keys: Vec<PathBuf>,
    /// What happens to an index that is not signed, or by nobody that is trusted.
    pub unsigned: Tolerance,
    /// What happens to an index whose `Valid-Until` has passed.
    pub expired: Tolerance,
}

/// A `[[repository]]` table as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a [[repository]] table")]
pub(crate) struct Entry {
    #[serde(rename = "match", deserialize_with = "value::one_or_many")]
    prefixes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mirror: Option<String>,
    #[serde(
        default,
        deserialize_with = "value::one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    archive: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
    #[serde(
        default,
        deserialize_with = "value::one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    keys: Vec<String>,
    #[serde(default = "refuse")]
    unsigned: Tolerance,
    #[serde(default = "refuse")]
    expired: Tolerance,
}

fn refuse() -> Tolerance {
    Tolerance::Refuse
}

impl Entry {
    /// The entry, or what is wrong with it under `key`. `read` gives the content of a password file.
    pub(crate) fn check(
        self,
        key: &str,
        read: &dyn Fn(&Path) -> Result<String, String>,
        problems: &mut Problems,
    ) -> Option<Repository> {
        if self.prefixes.is_empty() {
            problems.add(format!("{key}.match"), "is empty, give at least one beginning of a URL");
        }
        let mut prefixes = Vec::with_capacity(self.prefixes.len());
        for (index, text) in self.prefixes.iter().enumerate() {
            prefixes.extend(problems.keep(format!("{key}.match[{index}]"), text.parse::<Prefix>()));
        }
        let mut archives = Vec::with_capacity(self.archive.len());
        for (index, text) in self.archive.iter().enumerate() {
            archives.extend(problems.keep(format!("{key}.archive[{index}]"), text.parse::<Url>()));
        }
        let mut url = |name: &str, text: Option<&String>| {
            text.and_then(|text| problems.keep(format!("{key}.{name}"), text.parse::<Url>()))
        };
        let (mirror, proxy) = (url("mirror", self.mirror.as_ref()), url("proxy", self.proxy.as_ref()));
        let login = Login {
            username: self.username.as_deref(),
            password: self.password.as_ref(),
            password_file: self.password_file.as_deref(),
        };
        let credentials = login.check(key, read, problems);
        let is_plain = match &mirror {
            Some(url) => !url.is_https() && !url.is_loopback(),
            None => !prefixes.iter().all(Prefix::is_private),
        };
        if credentials.is_some() && is_plain {
            let text = "must be https:// when there is a username, plain http would show the password";
            let name = if mirror.is_some() { "mirror" } else { "match" };
            problems.add(format!("{key}.{name}"), text);
        }
        Some(Repository {
            prefixes,
            mirror,
            archives,
            proxy,
            credentials,
            ca: self.ca,
            keys: self.keys.into_iter().map(PathBuf::from).collect(),
            unsigned: self.unsigned,
            expired: self.expired,
        })
    }
}

impl From<&Repository> for Entry {
    fn from(repository: &Repository) -> Self {
        let login = repository.credentials.as_ref();
        let file = login.and_then(|login| login.password_file.clone());
        let urls = |urls: &[Url]| urls.iter().map(ToString::to_string).collect();
        Self {
            prefixes: repository.prefixes.iter().map(ToString::to_string).collect(),
            mirror: repository.mirror.as_ref().map(ToString::to_string),
            archive: urls(&repository.archives),
            proxy: repository.proxy.as_ref().map(ToString::to_string),
            username: login.map(|login| login.username.clone()),
            password: login.filter(|_| file.is_none()).map(|login| login.password.clone()),
            password_file: file,
            ca: repository.ca.clone(),
            keys: repository.keys.iter().map(|path| path.display().to_string()).collect(),
            unsigned: repository.unsigned,
            expired: repository.expired,
        }
    }
}
