//! The commands that look at images for a person: `scan` and `explain`.
//!
//! They use the stages of the mirror on a store of their own, which is gone when they end; package indexes are kept where the
//! mirror keeps its own.

pub mod archive;
pub mod explain;
pub mod image;
pub mod scan;
