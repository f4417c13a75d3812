//! Packages, and the layers that are made of them over an image.

use std::io::{Cursor, Write as _};

use flate2::write::GzEncoder;
use patchport_packages::direct::{About, Incoming, Outcome, compose, watch};
use patchport_packages::layer::{Compression, LayerTree, Limits, Tree, Wanted, merge, read};

use patchport_packages::{apk, deb};

use crate::bundle::limits;
use crate::layers::mend;

/// A package as a repository has it.
pub(crate) fn deb(input: &[u8]) {
    let mut data = Limit(Vec::new());
    let _ = deb::read(input, &mut data);
}

/// A package of apk: the first half of the input is the tar of its control part, the second that of its files. Its checksum is right, as
/// that of a repository is whose owner means harm.
pub(crate) fn apk_package(input: &[u8]) {
    let mut input = input.to_vec();
    input.chunks_exact_mut(512).for_each(mend);
    let (control, data) = input.split_at(input.len() / 1024 * 512);
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder
            .write_all(bytes)
            .and_then(|()| encoder.finish())
            .expect("memory takes it")
    };
    let (control, data) = (gzip(control), gzip(data));
    let checksum = apk::checksum(&control);
    let file = [control, data].concat();
    let mut unpacked = Limit(Vec::new());
    let _ = apk::unpack(&file[..], "foo", "2-r0", &checksum, &mut unpacked);
    let _ = apk::unpack(&input[..], "foo", "2-r0", &checksum, &mut unpacked);
}

/// Holds only so much of what is written.
struct Limit(Vec<u8>);

impl std::io::Write for Limit {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > 1 << 24 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The files of a package of Debian over an image: the first half of the input is the image's layer, the second the package's tar.
pub(crate) fn direct(input: &[u8]) {
    let control = deb::Control {
        stanza: b"Package: foo\nVersion: 2\nArchitecture: amd64\n".to_vec(),
        conffiles: vec!["etc/foo".to_owned()],
        ..deb::Control::default()
    };
    laid_over(input, About::Debian(control));
}

/// The same of a package of apk.
pub(crate) fn direct_apk(input: &[u8]) {
    let head = apk::Head::new("pkgname = foo\npkgver = 2-r0\narch = amd64\ndepend = bar\nprovides = so:foo=2\n");
    laid_over(input, About::Apk(Box::new(head)));
}

fn laid_over(input: &[u8], about: About) {
    let mut input = input.to_vec();
    input.chunks_exact_mut(512).for_each(mend);
    let half = input.len() / 1024 * 512;
    let (image, data) = input.split_at(half);
    let Ok(files) = read(image, Compression::None, &Wanted::packages(), &limits()) else {
        return;
    };
    let files = merge([&files]);
    let mut incoming = [Incoming {
        name: "foo".to_owned(),
        architecture: "amd64".to_owned(),
        about,
        data: Cursor::new(data),
    }];
    let Ok(watch) = watch(&files, &mut incoming) else {
        return;
    };
    let mut tree = Tree::default();
    let Ok(layer) = LayerTree::read(image, &watch, &limits()) else {
        return;
    };
    if tree.apply(layer).is_err() {
        return;
    }
    let mut out = Vec::new();
    if let Ok(Outcome::Layer { .. }) = compose(&files, tree, &mut incoming, &mut out) {
        read(&*out, Compression::None, &Wanted::packages(), &Limits::default()).expect("what is written is a layer");
    }
}
