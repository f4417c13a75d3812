//! Layers: a tar of given entries, plain or compressed, and back to a list of entries.

use std::collections::BTreeMap;
use std::io::{Read, Write as _};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// How a layer is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Tar as it is.
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// The layer's media type, in Docker's words or OCI's.
    pub fn media_type(self, docker: bool) -> &'static str {
        match (self, docker) {
            (Self::Plain, true) => "application/vnd.docker.image.rootfs.diff.tar",
            (Self::Gzip, true) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Self::Zstd, true) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
            (Self::Plain, false) => "application/vnd.oci.image.layer.v1.tar",
            (Self::Gzip, false) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Self::Zstd, false) => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// A stored layer.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The bytes as they travel.
    pub bytes: Bytes,
    /// Digest of the tar within.
    pub diff_id: String,
    /// How the tar was compressed.
    pub compression: Compression,
}

impl Blob {
    /// Digest of the bytes as they travel.
    pub fn digest(&self) -> String {
        crate::digest(&self.bytes)
    }
}

/// A layer in the making; entries in the order given, owned by root, dated 2024-01-01.
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
}

impl Default for Layer {
    fn default() -> Self {
        Self {
            tar: tar::Builder::new(Vec::new()),
        }
    }
}

impl Layer {
    /// An empty layer.
    pub fn new() -> Self {
        Self::default()
    }

    /// A regular file, mode 0644.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.file_mode(path, content, 0o644)
    }

    /// A regular file with this mode.
    pub fn file_mode(mut self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> Self {
        let content = content.as_ref();
        let mut header = header(tar::EntryType::Regular, mode, content.len());
        self.tar.append_data(&mut header, path, content).unwrap();
        self
    }

    /// A directory, mode 0755.
    pub fn directory(mut self, path: &str) -> Self {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        self.tar.append_data(&mut header, path, std::io::empty()).unwrap();
        self
    }

    /// A symbolic link.
    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.tar.append_link(&mut header, path, target).unwrap();
        self
    }

    /// `size` bytes that do not compress and depend on `seed` only.
    pub fn noise(self, path: &str, seed: u64, size: usize) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut content = Vec::with_capacity(size);
        while content.len() < size {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            content.extend_from_slice(&state.to_le_bytes());
        }
        content.truncate(size);
        self.file(path, content)
    }

    /// Stores the tar as it is.
    pub fn plain(self) -> Blob {
        from_tar(&self.tar.into_inner().unwrap(), Compression::Plain)
    }

    /// Stores the tar as gzip.
    pub fn gzip(self) -> Blob {
        from_tar(&self.tar.into_inner().unwrap(), Compression::Gzip)
    }

    /// Stores the tar as Zstandard.
    pub fn zstd(self) -> Blob {
        from_tar(&self.tar.into_inner().unwrap(), Compression::Zstd)
    }
}

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_704_067_200);
    header.set_size(size as u64);
    header
}

/// Stores a tar that exists already.
pub fn from_tar(tar: &[u8], compression: Compression) -> Blob {
    let bytes = match compression {
        Compression::Plain => tar.to_vec(),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(tar, 1).unwrap(),
    };
    Blob {
        bytes: bytes.into(),
        diff_id: crate::digest(tar),
        compression,
    }
}

/// The tar within a stored layer, told by its first bytes.
pub fn inflate(bytes: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        MultiGzDecoder::new(bytes)
            .read_to_end(&mut tar)
            .expect("a gzip layer inflates");
    } else if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        tar = zstd::decode_all(bytes).expect("a zstd layer inflates");
    } else {
        tar = bytes.to_vec();
    }
    tar
}

/// Paths (without a leading `./`) and contents of a stored layer; directories end in `/`, links carry their target.
pub fn unpack(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let tar = inflate(bytes);
    let mut archive = tar::Archive::new(tar.as_slice());
    let mut entries = BTreeMap::new();
    for entry in archive.entries().expect("a layer is a tar") {
        let mut entry = entry.expect("a layer's tar is whole");
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut content = Vec::new();
        match entry.link_name_bytes() {
            Some(target) => content.extend_from_slice(&target),
            None => drop(entry.read_to_end(&mut content).expect("a layer's tar is whole")),
        }
        entries.insert(path.trim_start_matches("./").to_owned(), content);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_into_a_layer_comes_out_however_it_is_stored() {
        let layer = || {
            Layer::new()
                .directory("etc")
                .file("etc/a", "one")
                .symlink("etc/b", "a")
                .noise("n", 7, 1000)
        };
        for blob in [layer().plain(), layer().gzip(), layer().zstd()] {
            let entries = unpack(&blob.bytes);
            assert_eq!(entries["etc/a"], b"one");
            assert_eq!(entries["etc/b"], b"a");
            assert_eq!(entries["n"].len(), 1000);
            assert_eq!(blob.diff_id, layer().plain().digest());
        }
    }
}
