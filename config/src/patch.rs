//! `[patch]`: how patches are made and how long their answers hold.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::value;
use crate::words::words;

words! {
    /// How the patch layer is compressed.
    Compression {
        /// Smaller and faster; every client that pulls through a current containerd, Docker or Podman reads it.
        Zstd = "zstd",
        /// For clients that know nothing else.
        Gzip = "gzip",
    }
}

words! {
    /// Which patches share BuildKit's cache of package lists and archives.
    CacheScope {
        /// Patches of one repository: no image can feed another one's cache.
        Repository = "repository",
        /// All images of one distribution and suite: fewer downloads, and they trust one another.
        Distribution = "distribution",
    }
}

words! {
    /// Where the packages of a patch come from.
    PackageSource {
        /// Fetched where the plan says all that is needed, else by the image's own package manager.
        Auto = "auto",
        /// Fetched and verified by Patchport: what runs in the image has no network. What cannot be patched so is not patched.
        Fetched = "fetched",
        /// The image's own package manager fetches them, from the builder's network.
        Image = "image",
    }
}

/// How patches are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a [patch] table")]
pub struct Patch {
    /// How long one patch may take before it has failed. No client waits that long.
    #[serde(with = "value::duration")]
    pub timeout: Duration,
    /// How long a finished patch, or "nothing to patch", holds before packages are looked at again.
    #[serde(with = "value::duration")]
    pub refresh_after: Duration,
    /// How long a failed patch is not tried again.
    #[serde(with = "value::duration")]
    pub retry_after: Duration,
    /// How the patch layer is compressed.
    pub compression: Compression,
    /// Which patches share a package cache.
    pub cache_scope: CacheScope,
    /// Where packages come from.
    pub packages: PackageSource,
    /// Patches that run at the same time over all workers; others queue. 1 to 1024.
    #[serde(deserialize_with = "value::count::<_, 1024>")]
    pub concurrency: u32,
}

impl Default for Patch {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10 * 60),
            refresh_after: Duration::from_secs(6 * 60 * 60),
            retry_after: Duration::from_secs(30),
            compression: Compression::Zstd,
            cache_scope: CacheScope::Repository,
            packages: PackageSource::Auto,
            concurrency: 16,
        }
    }
}
