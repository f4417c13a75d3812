//! Reads the wanted files of a layer in one pass over its stream.

use std::io::Read;

use crate::layer::archive::Archive;
use crate::layer::collect::Collector;
use crate::layer::compression::unpack;
use crate::layer::go::Scan;
use crate::layer::{Compression, Error, LayerFiles, Limits, Wanted};

/// Reads the wanted files of a layer. The stream is read to its end, so a checksum of the compression is
/// checked; the digest is the caller's, who has the bytes.
///
/// # Errors
/// [`Error`] when the stream fails, ends early, is no tar, or exceeds `limits`.
pub fn read(
    reader: impl Read,
    compression: Compression,
    wanted: &Wanted,
    limits: &Limits,
) -> Result<LayerFiles, Error> {
    let mut archive = Archive::new(unpack(reader, compression, limits)?, *limits);
    let mut files = Collector::new(wanted, limits);
    while let Some(member) = archive.next()? {
        files.add(&member, |most| archive.read_content(most))?;
        if files.may_be_go(&member) {
            let mut scan = Scan::default();
            archive.copy_content(&mut scan)?;
            if let Some(build) = scan.finish() {
                files.add_go(&member, build)?;
            }
        }
    }
    archive.finish()?;
    Ok(files.finish())
}
