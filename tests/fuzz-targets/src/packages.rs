//! Packages, and the layers that are made of them over an image.

use std::io::Cursor;

use patchport_packages::deb;
use patchport_packages::direct::{Incoming, Outcome, compose, watch};
use patchport_packages::layer::{Compression, LayerTree, Limits, Tree, Wanted, merge, read};

use crate::bundle::limits;
use crate::layers::mend;

/// A package as a repository has it.
pub(crate) fn deb(input: &[u8]) {
    let mut data = Limit(Vec::new());
    let _ = deb::read(input, &mut data);
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

/// The files of a package over an image: the first half of the input is the image's layer, the second the package's tar.
pub(crate) fn direct(input: &[u8]) {
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
        control: deb::Control {
            stanza: b"Package: foo\nVersion: 2\nArchitecture: amd64\n".to_vec(),
            conffiles: vec!["etc/foo".to_owned()],
            ..deb::Control::default()
        },
        head: None,
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
