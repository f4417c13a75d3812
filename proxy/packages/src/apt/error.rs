//! What can be wrong with apt's configuration and indexes.
//! Errors name the file and the line, never more of the content than a word.

use crate::layer;

/// Why configuration or an index cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be reached.
    #[error("cannot look up {path} in the image")]
    Lookup {
        /// The path.
        path: String,
        /// Why not.
        #[source]
        source: layer::Error,
    },
    /// Something that apt would refuse, or that is not understood here and must not be ignored.
    #[error("{file}:{line}: {what}")]
    Syntax {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// More than is taken.
    #[error("{what}: more than {limit}")]
    TooMany {
        /// What there is too much of.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// A file ended or failed under our hands, or its compression is broken.
    #[error("cannot read the index")]
    Read(#[source] std::io::Error),
    /// A compression that is not known here.
    #[error("{0} is compressed in a way that is not known here")]
    Compression(String),
}

impl Error {
    pub(super) fn syntax(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self::Syntax {
            file: file.to_owned(),
            line,
            what: what.into(),
        }
    }

    pub(super) fn too_many(what: &str, limit: u64) -> Self {
        Self::TooMany {
            what: what.to_owned(),
            limit,
        }
    }
}
