//! `[buildkit]`: which BuildKit patches images, and from which sources.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::document::Problems;
use crate::value;

/// More workers than a mirror keeps busy.
const MAX_ADDRESSES: usize = 64;

/// What an address may begin with, besides being `auto` or `docker://`.
const SCHEMES: [&str; 8] = [
    "unix://",
    "tcp://",
    "docker:///",
    "docker-container://",
    "podman-container://",
    "nerdctl-container://",
    "kubepod://",
    "kube-pod://",
];
const FORMS: &str = "auto, unix://PATH, tcp://HOST:PORT, docker://, docker-container://NAME, podman-container://NAME, \
                     nerdctl-container://NAME or kubepod://POD";

/// Which BuildKit patches, and the TLS files for `tcp://`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a [buildkit] table")]
pub struct BuildKit {
    /// The workers: `auto` alone, or one of the other forms each (`unix://PATH`, `tcp://HOST:PORT`, `docker://`,
    /// `docker-container://NAME` and its like, `kubepod://POD`); at least one.
    #[serde(deserialize_with = "value::one_or_many", serialize_with = "value::as_one_or_many")]
    pub address: Vec<String>,
    /// Patches that run at the same time on each worker; others queue. 1 to 1024.
    #[serde(deserialize_with = "value::count::<_, 1024>")]
    pub jobs: u32,
    /// PEM file of the certificate authority that signed BuildKit's certificate; `tcp://` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file of our client certificate, with `key`; `tcp://` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// PEM file of our client key, with `cert`; `tcp://` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// JSON file of a source policy, in the form of `EXPERIMENTAL_BUILDKIT_SOURCE_POLICY`: which sources may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_policy: Option<PathBuf>,
}

impl Default for BuildKit {
    fn default() -> Self {
        Self {
            address: vec!["auto".to_owned()],
            jobs: 2,
            ca: None,
            cert: None,
            key: None,
            source_policy: None,
        }
    }
}

impl BuildKit {
    /// Reports what cannot work, under the key `buildkit`.
    pub(crate) fn check(&self, problems: &mut Problems) {
        if self.address.is_empty() || self.address.len() > MAX_ADDRESSES {
            problems.add("buildkit.address", format!("must be 1 to {MAX_ADDRESSES} addresses"));
        }
        for (index, address) in self.address.iter().enumerate() {
            // A single one may be written without the brackets of a list.
            let key = match self.address.len() {
                1 => "buildkit.address".to_owned(),
                _ => format!("buildkit.address[{index}]"),
            };
            let begins = |scheme: &str| address.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty());
            let known = address == "docker://" || SCHEMES.into_iter().any(begins);
            if address == "auto" && self.address.len() > 1 {
                problems.add(key, "\"auto\" looks for one BuildKit, it is allowed alone only");
            } else if address != "auto" && !known {
                problems.add(key, format!("{address:?} is not allowed, use {FORMS}"));
            } else if self.address.iter().take(index).any(|other| other == address) {
                problems.add(key, format!("{address:?} is there already"));
            }
        }
        let files = [("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)];
        let is_tcp = self.address.iter().any(|address| address.starts_with("tcp://"));
        for (name, _) in files.iter().filter(|(_, file)| file.is_some() && !is_tcp) {
            problems.add(format!("buildkit.{name}"), "is allowed with a tcp:// address only");
        }
        match (&self.cert, &self.key) {
            (Some(_), None) => problems.add("buildkit.key", "is missing, cert and key go together"),
            (None, Some(_)) => problems.add("buildkit.cert", "is missing, cert and key go together"),
            _ => {}
        }
    }
}
