//! Records in a zip archive, as OSV gives them for an ecosystem (`all.zip`).

use std::io::Read as _;

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive, ZipSliceEntry};

use super::{Error, Loader};

/// Puts all records of an archive into a loader. Folders and other files are passed over.
///
/// # Errors
/// [`Error`] when it is no zip archive, a file's checksum is wrong, or a limit of the loader is hit.
pub fn read_archive(bytes: &[u8], loader: &mut Loader) -> Result<(), Error> {
    let broken = |file: Option<&str>| {
        let file = file.map(str::to_owned);
        move |source| Error::Archive { file, source }
    };
    let archive = ZipArchive::from_slice(bytes).map_err(broken(None))?;
    let mut entries = archive.entries();
    let mut record = Vec::new();
    while let Some(entry) = entries.next_entry().map_err(broken(None))? {
        let path = entry.file_path();
        let name = String::from_utf8_lossy(path.as_ref());
        if entry.is_dir() || !name.ends_with(".json") {
            continue;
        }
        let method = entry.compression_method();
        let data = archive.get_entry(entry.wayfinder()).map_err(broken(Some(&name)))?;
        unpack(&name, method, &data, loader.limits.record_bytes, &mut record)?;
        loader.add(&name, &record)?;
    }
    Ok(())
}

/// Unpacks one file, of which never more than one byte over the limit is kept.
fn unpack(
    name: &str,
    method: CompressionMethod,
    data: &ZipSliceEntry<'_>,
    limit: u64,
    to: &mut Vec<u8>,
) -> Result<(), Error> {
    let failed = |source| Error::Unpack {
        file: name.to_owned(),
        source,
    };
    to.clear();
    let most = limit.saturating_add(1);
    // The verifying reader compares the checksum at the end, which one that is too large does not reach.
    match method {
        CompressionMethod::STORE => data.verifying_reader(data.data()).take(most).read_to_end(to),
        CompressionMethod::DEFLATE => {
            let inflated = DeflateDecoder::new(data.data());
            data.verifying_reader(inflated).take(most).read_to_end(to)
        }
        _ => Err(std::io::Error::other("compressed in a way that OSV does not use")),
    }
    .map_err(failed)?;
    Ok(())
}
