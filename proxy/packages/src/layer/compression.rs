//! How a layer is compressed, by its media type or by its first bytes, and the reader that undoes it.
//! Several gzip members or zstd frames in a row are one stream, as eStargz and zstd:chunked make them.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::rc::Rc;

use crate::layer::limits::{Bounded, Counted};
use crate::layer::{Error, Limits};

/// The first bytes of a gzip member (RFC 1952).
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 0x08];

/// The first bytes of a zstd frame (RFC 8878), and of a skippable one but for the low half of its first byte.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Look at the first bytes. The right choice for layers from outside: containerd does the same, so a
    /// media type that says something else does not keep clients from unpacking the layer.
    Detect,
    /// Plain tar.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Compression {
    /// What a layer's media type says, or nothing when it is no layer's media type.
    #[must_use]
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        let kind = media_type.strip_prefix("application/vnd.")?;
        match kind {
            "oci.image.layer.v1.tar" | "oci.image.layer.nondistributable.v1.tar" | "docker.image.rootfs.diff.tar" => {
                Some(Self::None)
            }
            "oci.image.layer.v1.tar+gzip"
            | "oci.image.layer.nondistributable.v1.tar+gzip"
            | "docker.image.rootfs.diff.tar.gzip"
            | "docker.image.rootfs.foreign.diff.tar.gzip" => Some(Self::Gzip),
            "oci.image.layer.v1.tar+zstd"
            | "oci.image.layer.nondistributable.v1.tar+zstd"
            | "docker.image.rootfs.diff.tar.zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// What the first bytes of a layer say; four are enough.
    #[must_use]
    pub fn of_magic(start: &[u8]) -> Self {
        let skippable = start.len() >= 4 && start[0] & 0xf0 == 0x50 && start[1..4] == ZSTD_SKIPPABLE;
        if start.starts_with(&GZIP_MAGIC) {
            Self::Gzip
        } else if start.starts_with(&ZSTD_MAGIC) || skippable {
            Self::Zstd
        } else {
            Self::None
        }
    }
}

/// The plain tar stream of a layer, within `limits`.
pub(crate) fn unpack<'a>(
    mut reader: impl Read + 'a,
    compression: Compression,
    limits: &Limits,
) -> Result<impl BufRead + 'a, Error> {
    let mut start = Vec::with_capacity(4);
    reader.by_ref().take(4).read_to_end(&mut start).map_err(Error::Read)?;
    let compression = match compression {
        Compression::Detect => Compression::of_magic(&start),
        named => named,
    };
    let packed = Rc::new(Cell::new(0));
    let inner = Counted {
        inner: Cursor::new(start).chain(reader),
        count: Rc::clone(&packed),
    };
    let inner: Box<dyn Read + 'a> = match compression {
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(
            BUFFER, inner,
        ))),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(inner).map_err(Error::Read)?),
        Compression::None | Compression::Detect => Box::new(inner),
    };
    let bounded = Bounded {
        inner,
        packed,
        unpacked: 0,
        limits: *limits,
    };
    Ok(BufReader::with_capacity(BUFFER, bounded))
}

/// Bytes read at once on both sides of the decompressor.
const BUFFER: usize = 128 * 1024;
