//! `[store]`: where Patchport keeps its state.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where state lives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a [store] table")]
pub struct Store {
    /// Directory that is created when missing: `blobs/`, `ingest/`, `catalog.sqlite`, and `buildkit/` for
    /// the state of a buildkitd that Patchport starts itself.
    pub dir: PathBuf,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            dir: "/var/lib/patchport".into(),
        }
    }
}
