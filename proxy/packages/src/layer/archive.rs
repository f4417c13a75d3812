//! Walks the entries of a tar stream: ustar, GNU long names, pax records, old GNU sparse headers.
//! The `tar` crate reads header fields; the walk is ours, so that names and records have limits, a pax size
//! counts, and entries can be written again as they were.

use std::borrow::Cow;
use std::io::{self, BufRead, Write};

use tar::{EntryType, Header};

use crate::layer::limits::Exceeded;
use crate::layer::pax::{self, Record};
use crate::layer::{Error, Limits};

const BLOCK: usize = 512;

/// The entries of a tar stream.
pub(crate) struct Archive<R> {
    reader: R,
    limits: Limits,
    entries: u64,
    /// Bytes of the current entry's content that were not read yet, and the padding after them.
    content: u64,
    padding: u64,
}

/// One entry without its content.
pub(crate) struct Member {
    /// The header as it stands in the archive.
    pub(crate) header: Header,
    /// The path, from wherever the format keeps it; not cleaned.
    pub(crate) path: Vec<u8>,
    /// The target of a link, likewise.
    pub(crate) link: Vec<u8>,
    /// Bytes of content in the archive.
    pub(crate) size: u64,
    /// All extended records of the entry.
    pub(crate) records: Vec<Record>,
}

/// What extension entries say about the entry after them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Vec<Record>,
}

impl<R: BufRead> Archive<R> {
    pub(crate) fn new(reader: R, limits: Limits) -> Self {
        Self {
            reader,
            limits,
            entries: 0,
            content: 0,
            padding: 0,
        }
    }

    /// The next entry, or nothing at the end. Content that was not read is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, Error> {
        let mut extensions = Extensions::default();
        loop {
            self.skip(self.content + self.padding)?;
            (self.content, self.padding) = (0, 0);
            let Some(header) = self.header()? else { return Ok(None) };
            let size = header
                .entry_size()
                .map_err(|_| self.malformed("its size is no number"))?;
            match header.entry_type() {
                EntryType::GNULongName => extensions.path = Some(self.long_name(size)?),
                EntryType::GNULongLink => extensions.link = Some(self.long_name(size)?),
                EntryType::XHeader => extensions.records = self.records(size)?,
                // Global records say nothing that clients use (Go's archive/tar ignores them, too).
                EntryType::XGlobalHeader => drop(self.records(size)?),
                _ => return self.member(header, size, extensions).map(Some),
            }
        }
    }

    /// The content of the current entry, at most `limit` bytes; nothing when it is larger.
    pub(crate) fn read_content(&mut self, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        if self.content > limit {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        self.copy_content(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Writes the content of the current entry to `output`.
    pub(crate) fn copy_content(&mut self, output: &mut impl Write) -> Result<(), Error> {
        while self.content > 0 {
            let most = usize::try_from(self.content).unwrap_or(usize::MAX);
            let buffered = fill(&mut self.reader)?;
            let taken = buffered.len().min(most);
            output.write_all(&buffered[..taken]).map_err(Error::Write)?;
            self.reader.consume(taken);
            self.content -= taken as u64;
        }
        Ok(())
    }

    /// Reads what follows the end of the archive: only then the compression's checksum was seen.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        loop {
            let buffered = self.reader.fill_buf().map_err(read_error)?.len();
            if buffered == 0 {
                return Ok(());
            }
            self.reader.consume(buffered);
        }
    }

    fn header(&mut self) -> Result<Option<Header>, Error> {
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? || header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(self.too_much("entries", self.limits.entries));
        }
        let bytes = header.as_bytes();
        let blank = u32::from(b' ') * 8;
        let sum = bytes[..148]
            .iter()
            .chain(&bytes[156..])
            .fold(blank, |sum, byte| sum + u32::from(*byte));
        if header.cksum().ok() != Some(sum) {
            return Err(self.malformed("its checksum is wrong"));
        }
        Ok(Some(header))
    }

    fn member(&mut self, header: Header, size: u64, extensions: Extensions) -> Result<Member, Error> {
        let Extensions { path, link, records } = extensions;
        let record = |key: &[u8]| {
            let found = records.iter().rev().find(|record| record.key == key);
            found.map(|record| record.value.clone())
        };
        let path = record(b"path").or(path);
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = record(b"linkpath").or(link);
        let link = link.unwrap_or_else(|| header.link_name_bytes().map_or_else(Vec::new, Cow::into_owned));
        if path.len().max(link.len()) as u64 > self.limits.path_bytes {
            return Err(self.too_much("bytes in a path", self.limits.path_bytes));
        }
        if path.is_empty() || path.contains(&0) || link.contains(&0) {
            return Err(self.malformed("its path is empty or has a zero byte"));
        }
        if has_content(header.entry_type()) {
            let digits = record(b"size").map(|size| String::from_utf8(size).unwrap_or_default());
            let size = digits.map_or(Ok(size), |digits| digits.parse());
            self.begin_content(size.map_err(|_| self.malformed("its size record is no number"))?)?;
        }
        self.skip_sparse_map(&header)?;
        let size = self.content;
        Ok(Member {
            header,
            path,
            link,
            size,
            records,
        })
    }

    fn begin_content(&mut self, size: u64) -> Result<(), Error> {
        let padded = size.checked_next_multiple_of(BLOCK as u64);
        let padded = padded.ok_or_else(|| self.malformed("its size is too large"))?;
        (self.content, self.padding) = (size, padded - size);
        Ok(())
    }

    /// An old GNU sparse file may have more blocks of header before its content.
    fn skip_sparse_map(&mut self, header: &Header) -> Result<(), Error> {
        let mut more =
            header.entry_type() == EntryType::GNUSparse && header.as_gnu().is_some_and(tar::GnuHeader::is_extended);
        let mut blocks = 0;
        while more {
            let mut map = tar::GnuExtSparseHeader::new();
            blocks += 1;
            if blocks > self.limits.record_bytes / BLOCK as u64 || !self.block(map.as_mut_bytes())? {
                return Err(self.malformed("its sparse map does not end"));
            }
            more = map.is_extended();
        }
        Ok(())
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        self.begin_content(size)?;
        let limit = self.limits.path_bytes;
        let name = self.read_content(limit.saturating_add(1))?;
        let mut name = name.ok_or(self.too_much("bytes in a path", limit))?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn records(&mut self, size: u64) -> Result<Vec<Record>, Error> {
        self.begin_content(size)?;
        let limit = self.limits.record_bytes;
        let bytes = self
            .read_content(limit)?
            .ok_or(self.too_much("bytes of extended records", limit))?;
        pax::parse(&bytes).ok_or_else(|| self.malformed("its extended records are broken"))
    }

    /// Fills a block; false when the stream ends before it.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, Error> {
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(Error::Truncated),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(error)),
            }
        }
        Ok(true)
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), Error> {
        while bytes > 0 {
            let most = usize::try_from(bytes).unwrap_or(usize::MAX);
            let taken = fill(&mut self.reader)?.len().min(most);
            self.reader.consume(taken);
            bytes -= taken as u64;
        }
        Ok(())
    }

    fn too_much(&self, what: &'static str, limit: u64) -> Error {
        Error::TooMuch { what, limit }
    }

    fn malformed(&self, text: &'static str) -> Error {
        Error::Malformed {
            entry: self.entries,
            text,
        }
    }
}

/// Links, directories and devices have no content, whatever their size field says: the reading of Go's
/// archive/tar, which clients unpack with.
fn has_content(kind: EntryType) -> bool {
    !(kind.is_hard_link()
        || kind.is_symlink()
        || kind.is_dir()
        || kind.is_fifo()
        || kind.is_block_special()
        || kind.is_character_special())
}

/// What is buffered, at least one byte.
fn fill(reader: &mut impl BufRead) -> Result<&[u8], Error> {
    match reader.fill_buf().map_err(read_error)? {
        [] => Err(Error::Truncated),
        buffered => Ok(buffered),
    }
}

/// What a failed read means: a limit of ours, an early end, or a broken source.
fn read_error(error: io::Error) -> Error {
    if let Some(exceeded) = error.get_ref().and_then(|inner| inner.downcast_ref::<Exceeded>()) {
        return Error::TooMuch {
            what: exceeded.what,
            limit: exceeded.limit,
        };
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Truncated,
        _ => Error::Read(error),
    }
}
