//! `[server]`: limits of the process that hold for all listeners together.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::value;

/// Limits of the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a [server] table")]
pub struct Server {
    /// How long running requests may still take after SIGTERM.
    #[serde(with = "value::duration")]
    pub shutdown_timeout: Duration,
    /// Connections open at the same time, over all listeners: 1 to 1048576.
    #[serde(deserialize_with = "value::count::<_, 1_048_576>")]
    pub max_connections: u32,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            shutdown_timeout: Duration::from_secs(20),
            max_connections: 16_384,
        }
    }
}
