//! Image layers: reading a few files out of them, merging those of several layers, and making a new layer
//! deterministic. Layers come from strangers: every size, count and name is limited, and nothing panics.

pub(crate) mod archive;
mod collect;
mod compression;
mod error;
mod files;
mod go;
pub(crate) mod limits;
mod links;
mod merge;
pub(crate) mod normalise;
mod omit;
pub(crate) mod path;
mod pattern;
pub(crate) mod pax;
mod read;
mod stored;
pub(crate) mod sum;
pub(crate) mod tree;
mod wanted;

pub use compression::Compression;
pub use error::Error;
pub use files::{LayerFiles, Node};
pub use limits::Limits;
pub use merge::{Files, merge};
pub use normalise::{Normalise, Normalised, normalise};
pub use omit::Omit;
pub use pattern::Pattern;
pub(crate) use pattern::{DotnetDeps, NodePackage};
pub use read::read;
pub use stored::StoredError;
pub use sum::Algorithm;
pub use tree::{LayerTree, Tree, Watch};
pub use wanted::Wanted;
pub(crate) use wanted::{PROGRAMS, TOOLS};

#[cfg(test)]
mod tests;
