//! `[buildkit]`: which BuildKit patches images.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::document::Problems;

/// What an address may begin with, besides being `auto`.
const SCHEMES: [&str; 3] = ["unix://", "tcp://", "docker-container://"];

/// Which BuildKit patches, and the TLS files for `tcp://`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a [buildkit] table")]
pub struct BuildKit {
    /// `auto`, `unix://PATH`, `tcp://HOST:PORT` or `docker-container://NAME`.
    pub address: String,
    /// PEM file of the certificate authority that signed BuildKit's certificate; `tcp://` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file of our client certificate, with `key`; `tcp://` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// PEM file of our client key, with `cert`; `tcp://` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl Default for BuildKit {
    fn default() -> Self {
        Self {
            address: "auto".to_owned(),
            ca: None,
            cert: None,
            key: None,
        }
    }
}

impl BuildKit {
    /// Reports what cannot work, under the key `buildkit`.
    pub(crate) fn check(&self, problems: &mut Problems) {
        let address = &self.address;
        let known = |scheme: &str| address.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty());
        if address != "auto" && !SCHEMES.iter().any(|scheme| known(scheme)) {
            let forms = "auto, unix://PATH, tcp://HOST:PORT or docker-container://NAME";
            problems.add("buildkit.address", format!("{address:?} is not allowed, use {forms}"));
        }
        let files = [("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)];
        for (name, _) in files
            .iter()
            .filter(|(_, file)| file.is_some() && !address.starts_with("tcp://"))
        {
            problems.add(format!("buildkit.{name}"), "is allowed with a tcp:// address only");
        }
        match (&self.cert, &self.key) {
            (Some(_), None) => problems.add("buildkit.key", "is missing, cert and key go together"),
            (None, Some(_)) => problems.add("buildkit.cert", "is missing, cert and key go together"),
            _ => {}
        }
    }
}
