//! The bundle of certificates that `ca-certificates` makes at its installation, made anew without running it: the package's
//! certificates one after the other, in the order of their names, as update-ca-certificates(8) has them. Certificates of the image's
//! own that were added to the bundle stay, and those of the package that were taken out of it stay away.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};

use super::{Error, Examined, Incoming, Sums, archive};
use crate::layer::sum::{Algorithm, Sum};
use crate::layer::tree::Leaf;
use crate::layer::{Tree, path};

/// The package.
const PACKAGE: &str = "ca-certificates";
/// The bundle, and the choices of the image's owner.
pub(super) const CONTENTS: [&str; 2] = [BUNDLE, CHOICES];
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";
const CHOICES: &str = "etc/ca-certificates.conf";
const FOLDER: &str = "usr/share/ca-certificates";
/// The largest certificate, in bytes.
const MAX_CERTIFICATE: u64 = 64 * 1024;
/// How a certificate ends.
const END: &[u8] = b"-----END CERTIFICATE-----";

/// A file to write: its path and content.
pub(super) type Made = Option<(String, Vec<u8>)>;

/// The new bundle; nothing for other packages, and for an image that has none. The inner error says why the package cannot be taken.
pub(super) fn bundle<F: Read + Seek>(
    tree: &Tree,
    found: &Examined<'_>,
    package: &mut Incoming<F>,
) -> Result<Result<Made, String>, Error> {
    if package.name != PACKAGE {
        return Ok(Ok(None));
    }
    let Some(place) = tree.place(BUNDLE).filter(|place| tree.get(place).is_some()) else {
        return Ok(Ok(None));
    };
    let fresh = certificates(package)?;
    Ok(made(tree, found, &place, &fresh).map(|bytes| bytes.map(|bytes| (BUNDLE.to_owned(), bytes))))
}

fn made(
    tree: &Tree,
    found: &Examined<'_>,
    place: &str,
    fresh: &BTreeMap<String, Vec<u8>>,
) -> Result<Option<Vec<u8>>, String> {
    let Some(Leaf::File(facts)) = tree.get(place) else {
        return Err(format!("/{BUNDLE} is no file"));
    };
    let Some(bundle) = &facts.content else {
        return Err(format!("/{BUNDLE} is too large"));
    };
    if tree.children(path::split(place).0).any(|(path, _)| path != place) {
        return Err(format!(
            "the folder of /{BUNDLE} has links by name and hash, which only update-ca-certificates makes"
        ));
    }
    let old: Sums = found
        .fragment
        .sums
        .iter()
        .flatten()
        .filter(|(path, _)| is_certificate(path))
        .map(|(path, sum)| (path.clone(), *sum))
        .collect();
    if old.is_empty() {
        return Err(format!(
            "the package database does not tell the certificates in /{BUNDLE} that are the package's from those that are the image's own"
        ));
    }
    let pieces = pieces(bundle);
    let sums: BTreeSet<Sum> = pieces.iter().map(|piece| sum(piece)).collect();
    let known: BTreeSet<&Sum> = old.values().collect();
    let deselected = deselected(tree);
    let is_chosen = |path: &str| {
        let was_there = old.get(path).is_none_or(|sum| sums.contains(sum));
        was_there && !deselected.contains(path)
    };
    let chosen = fresh
        .iter()
        .filter(|(path, _)| is_chosen(path))
        .map(|(_, bytes)| bytes.clone());
    let own = pieces.into_iter().filter(|piece| !known.contains(&sum(piece)));
    let made: Vec<u8> = chosen.chain(own).flatten().collect();
    Ok((made != **bundle).then_some(made))
}

/// The certificates that a package brings, by path, each ending with a line's end.
fn certificates<F: Read + Seek>(package: &mut Incoming<F>) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let name = package.name.clone();
    let failed = |source| Error::Data {
        package: name.clone(),
        source,
    };
    let mut archive = archive(&mut package.data).map_err(failed)?;
    let mut found = BTreeMap::new();
    while let Some(member) = archive.next().map_err(failed)? {
        let path = path::clean(&String::from_utf8_lossy(&member.path));
        if !is_certificate(&path) || member.size > MAX_CERTIFICATE {
            continue;
        }
        if let Some(bytes) = archive.read_content(MAX_CERTIFICATE).map_err(failed)? {
            found.insert(path, ended(bytes));
        }
    }
    Ok(found)
}

/// Certificates that the image's owner has deselected.
fn deselected(tree: &Tree) -> BTreeSet<String> {
    let Some(Leaf::File(facts)) = tree.place(CHOICES).and_then(|place| tree.get(&place)) else {
        return BTreeSet::new();
    };
    let text = String::from_utf8_lossy(facts.content.as_deref().unwrap_or_default()).into_owned();
    let lines = text.lines().filter_map(|line| line.strip_prefix('!'));
    lines.map(|line| format!("{FOLDER}/{}", line.trim())).collect()
}

fn is_certificate(path: &str) -> bool {
    path::is_below(path, FOLDER) && path.ends_with(".crt")
}

/// A bundle cut after each certificate; what stands before one belongs to it.
fn pieces(bundle: &[u8]) -> Vec<Vec<u8>> {
    let (mut pieces, mut piece) = (Vec::new(), Vec::new());
    for line in bundle.split_inclusive(|byte| *byte == b'\n') {
        piece.extend_from_slice(line);
        if line.trim_ascii_end() == END {
            pieces.push(ended(std::mem::take(&mut piece)));
        }
    }
    if !piece.trim_ascii().is_empty() {
        pieces.push(ended(piece));
    }
    pieces
}

fn ended(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last().is_some_and(|last| *last != b'\n') {
        bytes.push(b'\n');
    }
    bytes
}

fn sum(bytes: &[u8]) -> Sum {
    Algorithm::Md5.sum(bytes)
}
