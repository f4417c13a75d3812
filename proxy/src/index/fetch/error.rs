//! Why a file of a package repository was not fetched.

use url::Url;

use super::address::shown;
use crate::sources::SourceError;

/// Why a file was not fetched. URLs are shown without user and query.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchError {
    /// The text is no URL of ours.
    #[error("{url} is no http:// or https:// URL")]
    Url {
        /// The text, shortened.
        url: String,
    },
    /// It is not there.
    #[error("{url} does not exist ({status})")]
    Missing {
        /// The URL.
        url: String,
        /// 404 or 410.
        status: u16,
    },
    /// The server says something else than yes.
    #[error("{url} was answered with {status}")]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: u16,
    },
    /// The server cannot be reached, or stopped talking.
    #[error("{url} cannot be read: {reason}")]
    Unreachable {
        /// The URL.
        url: String,
        /// What happened.
        reason: String,
    },
    /// It is too large.
    #[error("{url} is larger than {limit} bytes")]
    TooLarge {
        /// The URL.
        url: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// The operator's source policy has it otherwise.
    #[error(transparent)]
    Source(Box<SourceError>),
    /// It leads where it must not.
    #[error("{url} is not read: {reason}; a [[repository]] entry that matches it would allow it")]
    Untrusted {
        /// The URL.
        url: String,
        /// Why not.
        reason: String,
    },
}

impl From<SourceError> for FetchError {
    fn from(error: SourceError) -> Self {
        Self::Source(Box::new(error))
    }
}

impl FetchError {
    /// Whether the same request may succeed later: the server is away or out of order.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::Url { .. }
            | Self::Missing { .. }
            | Self::TooLarge { .. }
            | Self::Source(_)
            | Self::Untrusted { .. } => false,
        }
    }

    /// Whether the file is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}

/// Nothing can be had from there.
pub(super) fn unreachable(url: &Url, reason: String) -> FetchError {
    FetchError::Unreachable {
        url: shown(url),
        reason,
    }
}
