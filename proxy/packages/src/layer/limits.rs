//! How much of a layer is taken, and the reader that enforces it while a layer is unpacked.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// How much of a layer is taken. The defaults fit any image that is not made to hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes of a wanted file that is a whole database: rpm's, which holds every package's files and texts.
    pub database_bytes: u64,
    /// Bytes of one other wanted file.
    pub file_bytes: u64,
    /// Bytes of one file that is wanted for its directory: there are many of those, and each is small.
    pub listed_file_bytes: u64,
    /// Bytes of all wanted files together, and of what is remembered about them.
    pub kept_bytes: u64,
    /// Bytes of one file that is wanted by a pattern. One that is larger is left out.
    pub loose_file_bytes: u64,
    /// Bytes of all that is remembered for the sake of files that are wanted by a pattern, besides `kept_bytes`: the part of
    /// them that tells packages, their paths, and what could hide them. What exceeds it is left out.
    pub loose_bytes: u64,
    /// Paths that are remembered for that, likewise.
    pub loose_files: u64,
    /// Bytes after decompression.
    pub unpacked_bytes: u64,
    /// Bytes after decompression per compressed byte, once `unpacked_free` is used up. gzip cannot exceed
    /// 1032, so this is for zstd.
    pub ratio: u64,
    /// Bytes after decompression for which the ratio does not count: runs of zeros are legitimate.
    pub unpacked_free: u64,
    /// Bytes of a path or link target.
    pub path_bytes: u64,
    /// Bytes of all paths and link targets together; for [`normalise`], which remembers them.
    ///
    /// [`normalise`]: crate::layer::normalise()
    pub all_path_bytes: u64,
    /// Bytes of one entry's extended records.
    pub record_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 2_000_000,
            database_bytes: 256 * 1024 * 1024,
            file_bytes: 64 * 1024 * 1024,
            listed_file_bytes: 1024 * 1024,
            kept_bytes: (256 + 32) * 1024 * 1024,
            loose_file_bytes: 2 * 1024 * 1024,
            loose_bytes: 32 * 1024 * 1024,
            loose_files: 200_000,
            unpacked_bytes: 64 * 1024 * 1024 * 1024,
            ratio: 1032,
            unpacked_free: 1024 * 1024 * 1024,
            path_bytes: 4096,
            all_path_bytes: 64 * 1024 * 1024,
            record_bytes: 1024 * 1024,
        }
    }
}

/// A limit of the unpacked stream that was hit; travels inside an `io::Error`.
#[derive(Debug, thiserror::Error)]
#[error("more than {limit} {what}")]
pub(crate) struct Exceeded {
    pub(crate) what: &'static str,
    pub(crate) limit: u64,
}

/// Counts the compressed bytes that pass.
pub(crate) struct Counted<R> {
    pub(crate) inner: R,
    pub(crate) count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.set(self.count.get().saturating_add(read as u64));
        Ok(read)
    }
}

/// Fails once more bytes were unpacked than the limits allow.
pub(crate) struct Bounded<R> {
    pub(crate) inner: R,
    pub(crate) packed: Rc<Cell<u64>>,
    pub(crate) unpacked: u64,
    pub(crate) limits: Limits,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.unpacked = self.unpacked.saturating_add(read as u64);
        let limits = &self.limits;
        if self.unpacked > limits.unpacked_bytes {
            let (what, limit) = ("unpacked bytes", limits.unpacked_bytes);
            return Err(io::Error::other(Exceeded { what, limit }));
        }
        let by_ratio = self.packed.get().saturating_mul(limits.ratio);
        if self.unpacked > limits.unpacked_free.saturating_add(by_ratio) {
            let (what, limit) = ("unpacked bytes per compressed byte", limits.ratio);
            return Err(io::Error::other(Exceeded { what, limit }));
        }
        Ok(read)
    }
}
