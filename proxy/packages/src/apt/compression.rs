//! Compressions of indexes, told by the path's suffix.
//! Neither the output nor the memory for it is without limit.

use std::io::{self, BufRead, BufReader, Read};

use super::Error;

/// Memory for a decoder, in KiB: `xz -9` needs 65 MiB.
const MEMORY_KIB: u32 = 96 * 1024;

/// The same for zstd, as the logarithm of its window.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Undoes the compression of an index by its path's suffix. At most `limit` bytes come out; a read that would give more
/// fails, and so does one of broken data.
///
/// # Errors
/// [`Error::Compression`] for a suffix that is not known here, [`Error::Read`] when it cannot begin.
pub fn decompress<'a>(path: &str, bytes: &'a [u8], limit: u64) -> Result<Box<dyn BufRead + 'a>, Error> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let reader: Box<dyn Read + 'a> = match name.rsplit_once('.').map(|(_, suffix)| suffix) {
        None => Box::new(bytes),
        Some("xz") => Box::new(lzma_rust2::XzReader::new_mem_limit(bytes, true, MEMORY_KIB)),
        Some("gz") => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
        Some("zst") => {
            let mut decoder = zstd::Decoder::with_buffer(bytes)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Some(_) => return Err(Error::Compression(path.chars().take(200).collect())),
    };
    let limited = Limited { reader, left: limit };
    Ok(Box::new(BufReader::with_capacity(64 * 1024, limited)))
}

/// A reader that fails once more than so many bytes came.
struct Limited<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other("more bytes than allowed"))?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn all(path: &str, bytes: &[u8], limit: u64) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decompress(path, bytes, limit).ok()?.read_to_end(&mut out).ok()?;
        Some(out)
    }

    fn forms(text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(text).unwrap();
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(6)).unwrap();
        xz.write_all(text).unwrap();
        vec![
            ("a.b/Packages", text.to_vec()),
            ("Packages.gz", gz.finish().unwrap()),
            ("Packages.xz", xz.finish().unwrap()),
            ("Packages.zst", zstd::encode_all(text, 3).unwrap()),
        ]
    }

    #[test]
    fn forms_and_limits() {
        let text = b"Package: a\n".repeat(10_000);
        for (path, bytes) in forms(&text) {
            let length = text.len() as u64;
            assert_eq!(all(path, &bytes, length).as_ref(), Some(&text), "{path}");
            assert_eq!(all(path, &bytes, length - 1), None, "{path}");
            if path != "a.b/Packages" {
                assert_eq!(all(path, &bytes[..bytes.len() / 2], length), None, "{path}");
            }
        }
        assert_eq!(all("Packages.bz2", &text, 1), None);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(at in 0_usize..200, with: u8) {
            for (path, mut bytes) in forms(b"Package: a\nVersion: 1\n") {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = with;
                }
                let _ = all(path, &bytes, 10_000);
            }
        }
    }
}
