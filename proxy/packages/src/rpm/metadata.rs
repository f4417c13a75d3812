//! The files of an rpm-md repository (createrepo_c(8)): `repomd.xml`, the package list, the advisories, and metalinks.
//! Each is parsed as it streams, with limits on what one element may hold and how many there may be.

mod checksum;
mod metalink;
mod primary;
mod repomd;
mod updateinfo;
mod xml;

pub use checksum::Checksum;
pub use metalink::{Metalink, Mirror, mirror_list};
pub use repomd::{Data, Repomd};
pub use updateinfo::{Advisory, AdvisoryKind};

pub(crate) use primary::read as read_primary;
pub(crate) use updateinfo::read as read_updateinfo;

/// Why a file is not what a repository has.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not XML, or XML that cannot be taken.
    #[error("{file}: byte {at}: not XML that can be read")]
    Xml {
        /// The file.
        file: String,
        /// Byte, from 0.
        at: u64,
        /// What is wrong.
        #[source]
        source: quick_xml::Error,
    },
    /// XML that a repository does not have.
    #[error("{file}: byte {at}: {text}")]
    Malformed {
        /// The file.
        file: String,
        /// Byte, from 0.
        at: u64,
        /// What is wrong.
        text: &'static str,
    },
    /// A value that is not allowed.
    #[error("{file}: byte {at}: the {what} is {value:?}")]
    Value {
        /// The file.
        file: String,
        /// Byte, from 0.
        at: u64,
        /// What has the value.
        what: &'static str,
        /// The value, shortened.
        value: String,
    },
}

/// What is wrong, without where.
#[derive(Debug)]
pub(crate) enum Wrong {
    Text(&'static str),
    Value(&'static str, String),
}

impl Wrong {
    fn at(self, file: &str, at: u64) -> Error {
        let file = file.to_owned();
        match self {
            Self::Text(text) => Error::Malformed { file, at, text },
            Self::Value(what, value) => Error::Value {
                file,
                at,
                what,
                value: value.chars().take(100).collect(),
            },
        }
    }
}
