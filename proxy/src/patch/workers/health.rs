//! How a worker is: what it runs while it is up, and why it is not.
//!
//! A worker that is away keeps what it was known to run: an index is not decided as if nobody could ever patch its platform.

use patchport_oci::Platform;

use crate::patch::Platforms;

/// How a worker is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Health {
    /// Nobody has asked yet.
    #[default]
    Unknown,
    /// It answers.
    Up(Platforms),
    /// It does not.
    Down {
        /// What it ran before, if it ever did.
        before: Option<Platforms>,
        /// Why not.
        reason: String,
    },
}

impl Health {
    /// Whether it can be given work for this platform now.
    pub(super) fn runs(&self, platform: &Platform, emulated: bool) -> bool {
        matches!(self, Self::Up(platforms) if platforms.runs(platform, emulated))
    }

    /// Whether it answers.
    pub(super) fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }

    /// Down from now on.
    pub(super) fn lost(self, reason: String) -> Self {
        let before = self.into_platforms();
        Self::Down { before, reason }
    }

    /// What it runs, or ran when it was last seen.
    pub(super) fn into_platforms(self) -> Option<Platforms> {
        match self {
            Self::Unknown => None,
            Self::Up(platforms) => Some(platforms),
            Self::Down { before, .. } => before,
        }
    }
}
