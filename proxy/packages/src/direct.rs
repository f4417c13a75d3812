//! Upgrades without a package manager and without a container: the files of packages become one layer over an image whose dpkg
//! database is split into `status.d`, or that has lists of rpm packages only (distroless). No maintainer script runs, so only packages are taken whose scripts have nothing
//! to do in such an image. What dpkg would do with files, links, conffiles and what is left of the old version is done here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read, Seek, Write};

use crate::deb::Control;
use crate::layer::archive::Archive;
use crate::layer::tree::{FileFacts, Leaf, Sum};
use crate::layer::{self, Files, Limits, Tree, Watch};
use crate::rpm::Head;

mod certificates;
mod examine;
mod fragment;
mod manifest;
mod scripts;
mod write;

use examine::Examined;
use fragment::Fragment;
use write::Writer;

/// The folder of the split database.
const FRAGMENTS: &str = "var/lib/dpkg/status.d";

/// A package that is to replace the one of its name and architecture.
pub struct Incoming<F> {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// What it says about itself; of a package of rpm its configuration files only.
    pub control: Control,
    /// What a package of rpm says about itself.
    pub head: Option<Box<Head>>,
    /// The tar of its files.
    pub data: F,
}

/// Why a package is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The package's name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Why, in words for people.
    pub reason: String,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A layer.
    Layer {
        /// What people may want to know of it: conffiles that stay as they are.
        notes: Vec<String>,
    },
    /// Nothing: these have to be left out first.
    Refused(Vec<Refusal>),
}

/// Why no layer can be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image's database cannot be reached.
    #[error("the image's package database cannot be read")]
    Database(#[source] layer::Error),
    /// The files of a package are malformed.
    #[error("the files of {package} cannot be read")]
    Data {
        /// Its name.
        package: String,
        /// Why not.
        #[source]
        source: layer::Error,
    },
    /// The layer cannot be written.
    #[error("the layer cannot be written")]
    Write(#[source] std::io::Error),
}

/// Which files of an image have to be looked into to lay packages over it; `files` are those of [`layer::Wanted::packages`].
///
/// # Errors
/// [`Error`] when the image's database, or the tar of a package, cannot be read.
pub fn watch<F: Read + Seek>(files: &Files, incoming: &mut [Incoming<F>]) -> Result<Watch, Error> {
    let mut watch = Watch::default();
    for fragment in fragments(files)? {
        for path in fragment.sums.iter().flatten().map(|(path, _)| path) {
            watch.sum(path);
        }
        for path in fragment.conffiles.iter().flatten().map(|(path, _)| path) {
            watch.sum(path);
        }
    }
    for package in incoming.iter_mut() {
        for item in items(package)? {
            watch.sum(&item.path);
        }
    }
    for path in certificates::CONTENTS {
        watch.content(path);
    }
    Ok(watch)
}

/// Writes the layer that has these packages in place of those in the image; `tree` is what the image has.
///
/// # Errors
/// [`Error`] when something cannot be read or written. A package that cannot be taken is no error.
pub fn compose<F: Read + Seek>(
    files: &Files,
    mut tree: Tree,
    incoming: &mut [Incoming<F>],
    out: &mut impl Write,
) -> Result<Outcome, Error> {
    let fragments = fragments(files)?;
    let before = tree.clone();
    let (mut examined, mut refusals) = (Vec::with_capacity(incoming.len()), Vec::new());
    for package in incoming.iter_mut() {
        match look(&before, &tree, &fragments, package)? {
            Ok(found) => {
                found.settle(&mut tree);
                examined.push(found);
            }
            Err(reason) => refusals.push(package.refused(reason)),
        }
    }
    let gone = leftovers(&before, &fragments, &examined);
    if !refusals.is_empty() {
        return Ok(Outcome::Refused(refusals));
    }
    for (package, found) in incoming.iter_mut().zip(&mut examined) {
        let certificates = certificates::bundle(&before, found, package)?;
        match certificates.and_then(|bundle| scripts::cache(&before, package, found, &gone).map(|()| bundle)) {
            Ok(bundle) => found.extra.extend(bundle),
            Err(reason) => refusals.push(package.refused(reason)),
        }
    }
    if !refusals.is_empty() {
        return Ok(Outcome::Refused(refusals));
    }
    write(files, &before, incoming, &examined, &gone, out)
}

/// What becomes of a package, or why it is not taken.
fn look<'a, F: Read + Seek>(
    before: &Tree,
    tree: &Tree,
    fragments: &'a [Fragment],
    package: &mut Incoming<F>,
) -> Result<Result<Examined<'a>, String>, Error> {
    let items = items(package)?;
    let refusal = package.head.as_ref().and_then(|head| manifest::refusal(before, head));
    if let Some(reason) = refusal {
        return Ok(Err(reason));
    }
    let (name, architecture) = (&package.name, &package.architecture);
    Ok(examine::examine(
        tree,
        fragments,
        name,
        architecture,
        &package.control,
        items,
    ))
}

/// Writes what was decided, and the database as it is then.
fn write<F: Read + Seek>(
    files: &Files,
    before: &Tree,
    incoming: &mut [Incoming<F>],
    examined: &[Examined<'_>],
    gone: &BTreeSet<String>,
    out: &mut impl Write,
) -> Result<Outcome, Error> {
    let is_listed = incoming.iter().all(|package| package.head.is_some());
    let mut writer = Writer::new(out, before);
    let mut notes = Vec::new();
    for (package, found) in incoming.iter_mut().zip(examined) {
        writer.package(package, found)?;
        notes.extend(found.notes.iter().cloned());
    }
    writer.whiteouts(gone).map_err(Error::Write)?;
    for found in examined {
        let database = if is_listed { vec![] } else { found.database() };
        for (path, bytes) in found.extra.iter().chain(&database) {
            writer.made(path, bytes, found.newest).map_err(Error::Write)?;
        }
    }
    if is_listed {
        let newest = examined.iter().map(|found| found.newest).max().unwrap_or(0);
        let new = incoming
            .iter()
            .filter_map(|one| Some((one.architecture.as_str(), one.head.as_deref()?)));
        let lists = manifest::renewed(files, &new.collect::<Vec<_>>()).map_err(Error::Database)?;
        for (path, bytes) in lists {
            writer.made(&path, &bytes, newest).map_err(Error::Write)?;
        }
    }
    writer.finish().map_err(Error::Write)?;
    Ok(Outcome::Layer { notes })
}

impl<F> Incoming<F> {
    fn refused(&self, reason: String) -> Refusal {
        Refusal {
            name: self.name.clone(),
            architecture: self.architecture.clone(),
            reason,
        }
    }
}

/// The packages of an image, as its database or its list has them.
fn fragments(files: &Files) -> Result<Vec<Fragment>, Error> {
    let own = fragment::all(files).map_err(Error::Database)?;
    if own.is_empty() && manifest::is_there(files) {
        return manifest::all(files).map_err(Error::Database);
    }
    Ok(own)
}

/// What the old versions had, the new ones have not, and no other package has either: by the place where it is.
fn leftovers(tree: &Tree, fragments: &[Fragment], examined: &[Examined<'_>]) -> BTreeSet<String> {
    let mut owned: BTreeSet<&str> = BTreeSet::new();
    let places: Vec<String> = fragments
        .iter()
        .filter(|fragment| !examined.iter().any(|found| std::ptr::eq(found.fragment, *fragment)))
        .flat_map(|fragment| fragment.sums.iter().flatten())
        .filter_map(|(path, _)| tree.place(path))
        .collect();
    owned.extend(places.iter().map(String::as_str));
    for found in examined {
        owned.extend(found.shipped.iter().map(String::as_str));
    }
    let (mut gone, links) = (BTreeSet::new(), tree.links_beside());
    for path in examined
        .iter()
        .flat_map(|found| found.fragment.sums.iter().flatten())
        .map(|(path, _)| path)
    {
        let Some(place) = tree.place(path).filter(|place| !owned.contains(place.as_str())) else {
            continue;
        };
        if !matches!(tree.get(&place), Some(Leaf::File(_) | Leaf::Symlink(_))) {
            continue;
        }
        // Links beside it, such as those of shared libraries, were the old version's, too: their list names files only.
        let links = links.get(&place).into_iter().flatten();
        gone.extend(links.filter(|link| !owned.contains(link.as_str())).cloned());
        gone.insert(place);
    }
    gone
}

/// An entry of a package's tar.
pub(crate) struct Item {
    /// Its clean path.
    pub(crate) path: String,
    /// The clean path of what a hard link shares, or the target of a symbolic one as written.
    pub(crate) link: String,
    pub(crate) kind: tar::EntryType,
    pub(crate) facts: FileFacts,
    pub(crate) mtime: u64,
    /// Why no package may have it.
    pub(crate) trouble: Option<&'static str>,
}

/// The limits for a package's tar.
fn limits() -> Limits {
    Limits {
        entries: 300_000,
        ..Limits::default()
    }
}

/// The entries of a package's tar, in order.
fn items<F: Read + Seek>(package: &mut Incoming<F>) -> Result<Vec<Item>, Error> {
    examine::items(&mut package.data).map_err(|source| Error::Data {
        package: package.name.clone(),
        source,
    })
}

/// A tar from its start.
fn archive<F: Read + Seek>(data: &mut F) -> Result<Archive<BufReader<&mut F>>, layer::Error> {
    data.rewind().map_err(layer::Error::Read)?;
    Ok(Archive::new(BufReader::with_capacity(128 * 1024, data), limits()))
}

/// A sum as Debian writes it.
fn hex(sum: &Sum) -> String {
    use std::fmt::Write as _;
    sum.iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Sums by path.
type Sums = BTreeMap<String, Sum>;

#[cfg(test)]
mod tests;
