//! Images of a small distribution: an `os-release`, a package database, and the layer that an upgrade leaves.
//!
//! Byte for byte the same each time.

use bytes::Bytes;
use patchport_kit::image::ImageBuilder;
use patchport_kit::{Image, Layer};

/// `os-release` of Debian 12.
pub(crate) const OS_RELEASE: &str = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";
/// The packages of [`debian`].
pub(crate) const OLD: [(&str, &str); 2] = [("libc6", "2.36-9"), ("zlib1g", "1:1.2.13")];
/// The packages of the layer that [`upgrade`] makes.
pub(crate) const NEW: [(&str, &str); 2] = [("libc6", "2.36-9+deb12u4"), ("zlib1g", "1:1.2.13")];

/// A stanza of dpkg's database with this `Status`.
pub(crate) fn stanza(name: &str, version: &str, status: &str) -> String {
    format!("Package: {name}\nStatus: {status}\nArchitecture: amd64\nVersion: {version}\n\n")
}

/// A database of installed packages.
pub(crate) fn status(packages: &[(&str, &str)]) -> String {
    let stanzas = packages
        .iter()
        .map(|(name, version)| stanza(name, version, "install ok installed"));
    stanzas.collect()
}

/// An image in the making, for amd64, with this database.
pub(crate) fn with_status(status: &str) -> ImageBuilder {
    let layer = Layer::new()
        .file("etc/os-release", OS_RELEASE)
        .file("var/lib/dpkg/status", status)
        .file("bin/sh", "")
        .file("usr/bin/apt-get", "")
        .file("usr/bin/dpkg", "")
        .file("usr/lib/libc.so.6", "old");
    Image::builder().architecture("amd64").layer(layer.gzip())
}

/// An image in which [`OLD`] is installed.
pub(crate) fn debian() -> ImageBuilder {
    with_status(&status(&OLD))
}

/// The change to the file system that leaves this database.
pub(crate) fn changed(status: &str) -> Bytes {
    Layer::new()
        .file("usr/lib/libc.so.6", "new")
        .file("var/lib/dpkg/status", status)
        .plain()
        .bytes
}

/// The change to the file system that leaves [`NEW`].
pub(crate) fn upgrade() -> Bytes {
    changed(&status(&NEW))
}
