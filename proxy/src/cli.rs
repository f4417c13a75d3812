//! The commands that work on images for a person: `scan`, `explain` and `patch`.
//!
//! They use the stages of the mirror on a store of their own, which is gone when they end; package indexes are kept where the
//! mirror keeps its own.

pub mod archive;
pub mod explain;
pub mod image;
mod login;
pub mod patch;
pub mod scan;
