//! What a repository offers, kept small: tens of thousands of packages share one text, and look-ups are by name.
//! Bytes are believed only when a trusted key has signed them.

use std::fmt;

use super::{Error, Keys, adb, tarball};
use crate::version::{Family, Version};

/// What a repository offers.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Index {
    description: String,
    text: String,
    /// Ordered by name.
    entries: Vec<Entry>,
    left_out: usize,
    names_files: bool,
}

/// A package in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version, which was checked.
    pub version: &'a str,
    /// Its architecture; empty where the index says none.
    pub architecture: &'a str,
    /// The source package; its own name where the index says none.
    pub origin: &'a str,
    /// The checksum that identifies it: `Q1` (SHA-1) or `Q2` (SHA-256) with base64.
    pub checksum: &'a str,
    /// What it needs, each as in `world`, separated by blanks.
    pub depends: &'a str,
    /// What it provides, likewise.
    pub provides: &'a str,
    /// The size of its file in bytes.
    pub size: u64,
}

/// Why there is no index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Neither a signed tar nor apk's own format of version 3.
    #[error("{file}: not an index of apk: {text}")]
    Format {
        /// The file.
        file: String,
        /// What is wrong.
        text: &'static str,
    },
    /// The compression is broken.
    #[error("{file}: cannot unpack the index")]
    Unpack {
        /// The file.
        file: String,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// Larger than allowed.
    #[error("{file}: the index is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        file: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Nobody signed it.
    #[error("{file}: the index has no signature")]
    NoSignature {
        /// The file.
        file: String,
    },
    /// None of those who signed it is trusted, or only in a way that is not known here.
    #[error("{file}: the index is signed by {keys}, and none of them is trusted")]
    UnknownKey {
        /// The file.
        file: String,
        /// The names of the keys, or their identifiers in apk 3; with the algorithm if that is not known here.
        keys: String,
    },
    /// It was changed after a trusted key signed it.
    #[error("{file}: the signature by {key} does not fit the index")]
    BadSignature {
        /// The file.
        file: String,
        /// The key.
        key: String,
    },
    /// What stands in it is malformed.
    #[error("cannot read the index")]
    Text(#[source] Error),
}

/// A stretch of the text. Both fit: a text ends before 4 GiB.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

/// The fields of an offer, in the order of [`Offer`].
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    fields: [Span; FIELDS],
    size: u64,
}

const FIELDS: usize = 7;

impl Index {
    /// Reads an index of at most `limit` bytes (unpacked) of either format, if one of `keys` signed it. `file` names it in
    /// errors. Packages that apk could not install are left out: without name, version or checksum, or with wrong ones.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn read(file: &str, bytes: &[u8], keys: &Keys, limit: u64) -> Result<Self, IndexError> {
        Self::checked(file, bytes, Some(keys), limit)
    }

    /// The same without a look at its signature: for an index that is not to be believed before [`read`](Self::read) has
    /// verified the same bytes, or that the operator believes as it is.
    ///
    /// # Errors
    /// [`IndexError`], but none about signatures.
    pub fn unverified(file: &str, bytes: &[u8], limit: u64) -> Result<Self, IndexError> {
        Self::checked(file, bytes, None, limit)
    }

    fn checked(file: &str, bytes: &[u8], keys: Option<&Keys>, limit: u64) -> Result<Self, IndexError> {
        if bytes.starts_with(b"ADB") {
            adb::read(file, bytes, keys, limit)
        } else {
            tarball::read(file, bytes, keys, limit)
        }
    }

    /// What the repository says of itself, such as `v3.23.0-100-gabcdef`.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// How many packages it offers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it offers none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many were left out because apk could not install them.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Whether it names its packages' files in its own way, which is not known here.
    #[must_use]
    pub fn names_files(&self) -> bool {
        self.names_files
    }

    /// The bytes of memory that it takes, nearly.
    #[must_use]
    pub fn memory(&self) -> usize {
        let entries = self.entries.capacity().saturating_mul(size_of::<Entry>());
        entries.saturating_add(self.text.capacity())
    }

    /// All packages, by name.
    pub fn offers(&self) -> impl Iterator<Item = Offer<'_>> {
        self.entries.iter().map(|entry| self.offer(entry))
    }

    /// The packages with a name, in all their versions.
    pub fn find<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = Offer<'a>> + use<'a, 'n> {
        let start = self.entries.partition_point(|entry| self.name(entry) < name);
        let entries = self.entries.get(start..).unwrap_or_default().iter();
        entries
            .map(|entry| self.offer(entry))
            .take_while(move |offer| offer.name == name)
    }

    fn name(&self, entry: &Entry) -> &str {
        let [name, ..] = entry.fields;
        self.slice(name)
    }

    fn slice(&self, span: Span) -> &str {
        self.text
            .get(span.start as usize..span.end as usize)
            .unwrap_or_default()
    }

    fn offer(&self, entry: &Entry) -> Offer<'_> {
        let [name, version, architecture, origin, checksum, depends, provides] =
            entry.fields.map(|span| self.slice(span));
        Offer {
            name,
            version,
            architecture,
            origin,
            checksum,
            depends,
            provides,
            size: entry.size,
        }
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Index({:?}, {} packages)", self.description, self.entries.len())
    }
}

impl Offer<'_> {
    /// Whether apk could install it.
    pub(crate) fn is_installable(&self) -> bool {
        super::is_name(self.name)
            && super::is_word(self.architecture)
            && self.checksum.starts_with('Q')
            && Version::parse(Family::Apk, self.version).is_ok()
    }
}

/// An index that is being read.
pub(crate) struct Builder {
    index: Index,
    limit: u64,
    is_full: bool,
}

impl Builder {
    /// An index whose text is at most `limit` bytes long.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            index: Index::default(),
            limit: limit.min(u32::MAX.into()),
            is_full: false,
        }
    }

    /// Notes that the index names files in its own way.
    pub(crate) fn names_files(&mut self) {
        self.index.names_files = true;
    }

    /// Whether it became longer than allowed.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Takes a package, unless apk could not install it.
    pub(crate) fn add(&mut self, offer: &Offer<'_>) {
        if !offer.is_installable() {
            self.index.left_out = self.index.left_out.saturating_add(1);
            return;
        }
        let last = self.index.entries.last().copied();
        let name = self.span(offer.name, None);
        let [_, _, architecture, origin, ..] = last.map_or([Span::default(); FIELDS], |last| last.fields);
        let own = if offer.origin.is_empty() {
            offer.name
        } else {
            offer.origin
        };
        let fields = [
            name,
            self.span(offer.version, None),
            self.span(offer.architecture, Some(architecture)),
            self.span(own, Some(if own == offer.name { name } else { origin })),
            self.span(offer.checksum, None),
            self.span(offer.depends, None),
            self.span(offer.provides, None),
        ];
        let size = offer.size;
        self.index.entries.push(Entry { fields, size });
    }

    /// Puts a text into the shared one, or uses a stretch that has the same.
    fn span(&mut self, text: &str, same: Option<Span>) -> Span {
        if let Some(same) = same.filter(|same| self.index.slice(*same) == text) {
            return same;
        }
        let start = self.index.text.len();
        let end = start.saturating_add(text.len());
        let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(end)) else {
            self.is_full = true;
            return Span::default();
        };
        if u64::from(end) > self.limit {
            self.is_full = true;
            return Span::default();
        }
        self.index.text.push_str(text);
        Span { start, end }
    }

    /// The index; `file` names it in errors.
    pub(crate) fn finish(self, file: &str, description: String) -> Result<Index, IndexError> {
        let Self {
            mut index,
            limit,
            is_full,
        } = self;
        if is_full {
            let file = file.to_owned();
            return Err(IndexError::TooLarge { file, limit });
        }
        let mut entries = std::mem::take(&mut index.entries);
        entries.sort_by(|one, other| index.name(one).cmp(index.name(other)));
        entries.shrink_to_fit();
        index.text.shrink_to_fit();
        Ok(Index {
            description,
            entries,
            ..index
        })
    }
}
