//! `[cache]`: how upstream answers are kept and how long they are waited for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::value;

/// How upstream answers are kept and waited for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a [cache] table")]
pub struct Cache {
    /// How long the digest of a tag is believed before upstream is asked again.
    #[serde(with = "value::duration")]
    pub tag_ttl: Duration,
    /// How long an upstream may take to send response headers.
    #[serde(with = "value::duration")]
    pub upstream_timeout: Duration,
    /// How long an upstream may send no byte of a body before the download fails.
    #[serde(with = "value::duration")]
    pub stall_timeout: Duration,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            tag_ttl: Duration::from_secs(5 * 60),
            upstream_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(60),
        }
    }
}
