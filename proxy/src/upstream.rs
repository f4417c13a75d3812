//! The registries that we mirror, as a seam: tags, manifests and blobs, verified before they are believed.
//!
//! [`client`] is the real one, on hyper. `oci-client` is not used for it: it reads manifests without a size limit,
//! follows redirects and token realms wherever they lead, and hands out no response headers before the body. It is a
//! client of this mirror in the test suites instead.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use patchport_oci::manifest::ManifestError;
use patchport_oci::{Digest, Manifest, Reference, Repository, Tag};
use serde_json::Value;

mod auth;
pub mod client;
#[cfg(test)]
mod conformance;
pub mod layout;

pub use client::Client;

/// A blob on its way from upstream.
pub struct Download {
    /// Its size, when upstream says so.
    pub size: Option<u64>,
    /// Its bytes, unverified. Ends with an error when upstream stops early.
    pub body: BoxStream<'static, Result<Bytes, UpstreamError>>,
}

/// One upstream registry.
#[async_trait]
pub trait Upstream: Send + Sync {
    /// The digest that upstream names for a tag; `None` when it does not say.
    async fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, UpstreamError>;

    /// A manifest. Its bytes have the digest that was asked for, or that upstream names in its answer to a tag.
    async fn manifest(&self, repository: &Repository, reference: &Reference) -> Result<Manifest, UpstreamError>;

    /// The size of a blob of this repository.
    async fn blob_size(&self, repository: &Repository, digest: &Digest) -> Result<u64, UpstreamError>;

    /// What upstream says refers to a digest of this repository: descriptors as it wrote them, each with a digest. Nothing when it
    /// cannot be asked that.
    async fn referrers(&self, repository: &Repository, digest: &Digest) -> Result<Option<Vec<Value>>, UpstreamError> {
        let _ = (repository, digest);
        Ok(None)
    }

    /// Tags of this repository, in the registry's order, from the one after `last`; and whether there are more. Nothing when it
    /// keeps no list.
    async fn tags(&self, repository: &Repository, last: Option<&Tag>) -> Result<(Vec<Tag>, bool), UpstreamError> {
        let _ = (repository, last);
        Ok((vec![], false))
    }

    /// The bytes of a blob of this repository.
    async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Download, UpstreamError>;
}

/// Why upstream did not give what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Upstream does not have it.
    #[error("upstream {upstream} has no {subject}")]
    NotFound {
        /// The upstream's name.
        upstream: Arc<str>,
        /// What was asked for.
        subject: String,
    },
    /// Upstream refuses us.
    #[error(
        "upstream {upstream} refuses access to {subject} ({status}): it does not exist there, or the credentials configured for {upstream} may not read it"
    )]
    Refused {
        /// The upstream's name.
        upstream: Arc<str>,
        /// What was asked for.
        subject: String,
        /// 401 or 403.
        status: u16,
    },
    /// Upstream limits our requests.
    #[error("upstream {upstream} limits the rate of requests: {subject} was not fetched; try again later")]
    RateLimited {
        /// The upstream's name.
        upstream: Arc<str>,
        /// What was asked for.
        subject: String,
        /// What upstream asks us to wait.
        retry_after: Option<Duration>,
    },
    /// Upstream answers, but with a fault.
    #[error("upstream {upstream} answered {status} to the request for {subject}")]
    Faulty {
        /// The upstream's name.
        upstream: Arc<str>,
        /// What was asked for.
        subject: String,
        /// Its status.
        status: u16,
    },
    /// Upstream cannot be reached, or stopped talking.
    #[error("upstream {upstream} could not be read for {subject}: {reason}")]
    Unreachable {
        /// The upstream's name.
        upstream: Arc<str>,
        /// What was asked for.
        subject: String,
        /// What happened.
        reason: String,
    },
    /// Upstream sent something else than it said, or than its digest says.
    #[error("upstream {upstream} sent wrong bytes for {subject}: {reason}")]
    Lied {
        /// The upstream's name.
        upstream: Arc<str>,
        /// What was asked for.
        subject: String,
        /// How we know.
        reason: String,
    },
    /// Upstream sent a manifest that cannot be served.
    #[error("upstream {upstream} sent no usable manifest for {subject}")]
    Manifest {
        /// The upstream's name.
        upstream: Arc<str>,
        /// What was asked for.
        subject: String,
        /// What is wrong with it.
        #[source]
        source: Arc<ManifestError>,
    },
    /// Upstream sends us, or our credentials, where they must not go.
    #[error("upstream {upstream} leads {subject} to a place that is not trusted: {reason}")]
    Untrusted {
        /// The upstream's name.
        upstream: Arc<str>,
        /// What was asked for.
        subject: String,
        /// Where, and what to do about it.
        reason: String,
    },
}

impl UpstreamError {
    /// Whether the same request may succeed in a moment.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Faulty { status, .. } => matches!(status, 500 | 502 | 503 | 504 | 408),
            Self::NotFound { .. }
            | Self::Refused { .. }
            | Self::RateLimited { .. }
            | Self::Lied { .. }
            | Self::Manifest { .. }
            | Self::Untrusted { .. } => false,
        }
    }

    /// Whether an older answer may stand in while this lasts: upstream is down or busy, it did not say no.
    pub fn allows_stale(&self) -> bool {
        self.is_transient() || matches!(self, Self::RateLimited { .. } | Self::Faulty { .. })
    }
}

#[cfg(test)]
mod tests;
