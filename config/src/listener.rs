//! `[[listener]]`: the addresses that clients pull from.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::document::Problems;
use crate::value;

/// One address that clients pull from.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// IP address and port. Port 0 takes a free one, which is logged.
    pub address: SocketAddr,
    /// Name of the upstream that is meant when a request names none.
    pub default_upstream: Option<String>,
    /// Certificate and key; plain HTTP without.
    pub tls: Option<Tls>,
}

/// The files of a TLS listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// PEM file of the certificate chain.
    pub cert: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
}

/// A `[[listener]]` table as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a [[listener]] table")]
pub(crate) struct Entry {
    #[serde(deserialize_with = "value::address")]
    pub(crate) address: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_upstream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_key: Option<PathBuf>,
}

impl Entry {
    /// The only listener of a configuration that has none.
    pub(crate) fn built_in() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 5000).into(),
            default_upstream: Some("docker.io".to_owned()),
            tls_cert: None,
            tls_key: None,
        }
    }

    /// The listener, or what is wrong with it under `key`. `upstreams` are the names of the table.
    pub(crate) fn check(self, key: &str, upstreams: &[String], problems: &mut Problems) -> Listener {
        if let Some(name) = self.default_upstream.as_ref().filter(|name| !upstreams.contains(name)) {
            let known = upstreams.join(", ");
            problems.add(
                format!("{key}.default_upstream"),
                format!("{name:?} is no [[upstream]], use one of: {known}"),
            );
        }
        let tls = match (self.tls_cert, self.tls_key) {
            (Some(cert), Some(key)) => Some(Tls { cert, key }),
            (None, None) => None,
            (cert, _) => {
                let missing = if cert.is_some() { "tls_key" } else { "tls_cert" };
                problems.add(
                    format!("{key}.{missing}"),
                    "is missing, tls_cert and tls_key go together",
                );
                None
            }
        };
        Listener {
            address: self.address,
            default_upstream: self.default_upstream,
            tls,
        }
    }
}

impl From<&Listener> for Entry {
    fn from(listener: &Listener) -> Self {
        Self {
            address: listener.address,
            default_upstream: listener.default_upstream.clone(),
            tls_cert: listener.tls.as_ref().map(|tls| tls.cert.clone()),
            tls_key: listener.tls.as_ref().map(|tls| tls.key.clone()),
        }
    }
}
