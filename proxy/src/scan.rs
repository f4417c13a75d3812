//! What can be fixed in an inventory, as a seam.
//!
//! The first scanner asks nobody: it leaves to the image's own package manager what is outdated, and rules out only the
//! images in which nothing can be.

use async_trait::async_trait;
use patchport_packages::Inventory;

/// What a scanner found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Findings {
    /// Any package that is not held may be outdated; the package manager will tell.
    AnyOutdated,
    /// Nothing can be fixed.
    Nothing,
}

/// Finds what can be fixed.
#[async_trait]
pub trait Scanner: Send + Sync {
    /// The findings for one image.
    async fn scan(&self, inventory: &Inventory) -> Findings;
}

/// Takes every package that is not held for outdated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unindexed;

#[async_trait]
impl Scanner for Unindexed {
    async fn scan(&self, inventory: &Inventory) -> Findings {
        if inventory.packages.len() > inventory.held.len() {
            Findings::AnyOutdated
        } else {
            Findings::Nothing
        }
    }
}
