//! `[log]`: what is logged and in which form.

use serde::{Deserialize, Serialize};

use crate::words::words;

words! {
    /// The form of log lines.
    LogFormat {
        /// One line for people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a [log] table")]
pub struct Log {
    /// Directives of `tracing-subscriber`'s `EnvFilter`, such as `info` or `info,patchport=debug`. Read by
    /// the subscriber, not here.
    pub level: String,
    /// The form of log lines.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}
