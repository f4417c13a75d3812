//! Why a layer cannot be read, merged or written.

use std::io;

/// Why a layer cannot be read, merged or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source failed, or its compression is broken.
    #[error("cannot read the layer")]
    Read(#[source] io::Error),
    /// The layer ends in the middle of an entry or of its compression.
    #[error("the layer ends too early")]
    Truncated,
    /// The layer is larger than allowed.
    #[error("the layer has more than {limit} {what}")]
    TooMuch {
        /// What is counted, in the plural.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A wanted file is larger than allowed.
    #[error("{path} in the layer is larger than {limit} bytes")]
    FileTooLarge {
        /// The file.
        path: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A tar header or extended record that cannot be.
    #[error("entry {entry} of the layer is malformed: {text}")]
    Malformed {
        /// The entry, from 1.
        entry: u64,
        /// What is wrong.
        text: &'static str,
    },
    /// A path that leaves the root.
    #[error("the layer has an entry with the path {0:?}")]
    UnsafePath(String),
    /// An old GNU sparse file, which BuildKit does not write.
    #[error("the layer has the sparse file {0:?}")]
    Sparse(String),
    /// A chain of symbolic links that does not end.
    #[error("{0} leads through too many symbolic links")]
    SymlinkLoop(String),
    /// A link to something that was not wanted when the layers were read.
    #[error("{path} is a link to {target}, which is not there or was not read")]
    NotKept {
        /// The link.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// The destination failed.
    #[error("cannot write the layer")]
    Write(#[source] io::Error),
}
