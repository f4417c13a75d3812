//! `[admin]`: the listener for probes, apart from what clients see.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::value;

/// Where `/livez` and `/readyz` are answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "an [admin] table")]
pub struct Admin {
    /// IP address and port; differs from every listener's. Port 0 takes a free one.
    #[serde(deserialize_with = "value::address")]
    pub address: SocketAddr,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 5001).into(),
        }
    }
}
