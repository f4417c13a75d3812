//! Layers: read as they come and as they are stored, and made deterministic.

use std::io::Cursor;

use patchport_packages::layer::{Compression, LayerFiles, Normalise, merge, normalise, read};

use crate::bundle::{layers, limits, tars, wanted};

/// What a build began at; entries of bundles are on both sides of it.
const BUILD_START: u64 = 5000;

/// A layer as it comes from a registry. Where blocks look like headers their checksums are made right, which no fuzzer can.
pub(crate) fn layer(input: &[u8]) {
    let mut input = input.to_vec();
    if Compression::of_magic(&input) == Compression::None {
        input.chunks_exact_mut(512).for_each(mend);
    }
    if let Ok(files) = read(&*input, Compression::Detect, &wanted(), &limits()) {
        assert_layer(&files);
    }
    assert_normalises(&input);
}

/// A tar's header begins with a path and has a magic.
pub(crate) fn mend(block: &mut [u8]) {
    if block.get(257..262) != Some(b"ustar") {
        return;
    }
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Layers over one another, described by a bundle: links, whiteouts, files.
pub(crate) fn changes(input: &[u8]) {
    let layers = layers(input);
    layers.iter().for_each(assert_layer);
    if layers.is_empty() {
        return;
    }
    let merged = merge(layers.iter().rev());
    for directory in ["", "etc", "etc/apt/sources.list.d", "var/lib/dpkg/status.d"] {
        let _ = merged.list(directory);
    }
    // An empty layer on top changes nothing.
    let nothing = read(&[0; 1024][..], Compression::None, &wanted(), &limits()).expect("an empty layer");
    assert_eq!(merged, merge(std::iter::once(&nothing).chain(layers.iter().rev())));
    for tar in tars(input) {
        assert_normalises(&tar);
    }
}

fn assert_layer(files: &LayerFiles) {
    let most = limits();
    assert!(files.kept_bytes() <= most.kept_bytes + most.loose_bytes);
    let bytes = files.to_bytes().expect("a layer can be stored");
    let read = LayerFiles::from_bytes(&bytes, &wanted(), &limits()).expect("what was stored can be read");
    assert_eq!(*files, read);
    // A layer that has a path twice counts it twice.
    assert!(read.kept_bytes() <= files.kept_bytes());
    assert_eq!(bytes, read.to_bytes().expect("a layer can be stored"));
    let mut less = read;
    less.forget_loose();
    assert!(less.kept_bytes() <= files.kept_bytes());
}

fn assert_normalises(tar: &[u8]) {
    let mut rules = Normalise::new(BUILD_START, 42);
    (rules.limits, rules.wanted) = (limits(), wanted());
    let mut written = Vec::new();
    let Ok(first) = normalise(Cursor::new(tar), &mut written, &rules) else {
        return;
    };
    // The files that it tells are those that it wrote.
    let files = read(&*written, Compression::None, &rules.wanted, &rules.limits);
    assert_eq!(files.expect("what was written can be read"), first.files);
    let mut again = Vec::new();
    let second = normalise(Cursor::new(&written), &mut again, &rules).expect("what was written can be normalised");
    assert_eq!((second.kept, second.omitted), (first.kept, 0));
    assert!(written == again, "a layer that is normalised stays as it is");
}

/// What may stand in a cache for the files of a layer. Its first bytes and its compression, which no fuzzer gets right, are put
/// around the input.
pub(crate) fn stored(input: &[u8]) {
    let nothing = read(&[0; 1024][..], Compression::None, &wanted(), &limits()).expect("an empty layer");
    let nothing = nothing.to_bytes().expect("a layer can be stored");
    let (magic, packed) = nothing.split_at(nothing.len().min(4));
    let mut unpacked = zstd::decode_all(packed).expect("what was packed can be unpacked");
    // All numbers of an empty layer: whether it is truncated, and how many there are of each of three.
    unpacked.truncate(unpacked.len() - 4);
    unpacked.extend_from_slice(input);
    let mut bytes = magic.to_vec();
    zstd::stream::copy_encode(&*unpacked, &mut bytes, 1).expect("it can be packed");
    for bytes in [input, &bytes] {
        if let Ok(files) = LayerFiles::from_bytes(bytes, &wanted(), &limits()) {
            assert_layer(&files);
        }
    }
}
