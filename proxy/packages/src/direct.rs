//! Upgrades without a package manager and without a container: the files of packages become one layer over an image whose dpkg
//! database is split into `status.d`, that has lists of rpm packages only (distroless), or that has apk's database. No maintainer script
//! runs, so only packages are taken whose scripts have nothing to do. What dpkg or apk would do with files, links, configuration and what
//! is left of the old version is done here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek, Write};

use crate::deb::Control;
use crate::layer::sum::Sum;
use crate::layer::tree::Leaf;
use crate::layer::{self, Algorithm, Files, Tree, Watch};
use crate::{apk as tool, rpm};

mod apk;
mod certificates;
mod examine;
mod fragment;
mod item;
mod manifest;
mod scripts;
mod write;

use examine::Examined;
use fragment::Fragment;
use item::{Item, archive};
use write::Writer;

/// The folder of the split database.
const FRAGMENTS: &str = "var/lib/dpkg/status.d";

/// A package that is to replace the one of its name and architecture.
pub struct Incoming<F> {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// What it says about itself.
    pub about: About,
    /// The tar of its files.
    pub data: F,
}

/// What a package says about itself.
pub enum About {
    /// One of Debian.
    Debian(Control),
    /// One of rpm.
    Rpm(Box<rpm::Head>),
    /// One of apk.
    Apk(Box<tool::Head>),
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

/// Packages that cannot be taken, whatever the image has: known before anything of it is read.
#[must_use]
pub fn refusals<F>(incoming: &[Incoming<F>]) -> Vec<Refusal> {
    let refused = incoming
        .iter()
        .map(|package| Some(package.refused(package.outright()?)));
    refused.flatten().collect()
}

/// Which files of an image have to be looked into to lay packages over it; `files` are those of [`layer::Wanted::packages`].
///
/// # Errors
/// [`Error`] when the image's database, or the tar of a package, cannot be read.
pub fn watch<F: Read + Seek>(files: &Files, incoming: &mut [Incoming<F>]) -> Result<Watch, Error> {
    let database = Database::read(files)?;
    let mut watch = Watch::by(database.algorithm());
    let is_new = |fragment: &&Fragment| {
        let is_it = |package: &Incoming<F>| package.is(fragment);
        incoming.iter().any(is_it)
    };
    for fragment in database.fragments.iter().filter(is_new) {
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
    for path in certificates::CONTENTS.iter().chain(&apk::CONTENTS) {
        watch.content(path);
    }
    watch.folder(apk::FOLDER);
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
    let mut database = Database::read(files)?;
    let before = tree.clone();
    let mut entries = Vec::with_capacity(incoming.len());
    for package in incoming.iter_mut() {
        entries.push(items(package)?);
    }
    if let Err(reason) = database.learn(&before, incoming, &entries) {
        let refused = incoming.iter().map(|package| package.refused(reason.clone()));
        return Ok(Outcome::Refused(refused.collect()));
    }
    let (mut examined, mut refusals) = (Vec::with_capacity(incoming.len()), Vec::new());
    for (package, items) in incoming.iter().zip(entries) {
        match look(&before, &tree, &database, package, items) {
            Ok(found) => {
                found.settle(&mut tree);
                examined.push(found);
            }
            Err(reason) => refusals.push(package.refused(reason)),
        }
    }
    refusals.extend(database.unmet(incoming));
    let mut gone = leftovers(&before, &database, &examined);
    if !refusals.is_empty() {
        return Ok(Outcome::Refused(refusals));
    }
    if let Some(installed) = &database.apk {
        installed.emptied(&before, incoming, &examined, &mut gone);
    }
    for (package, found) in incoming.iter_mut().zip(&mut examined) {
        match database.settled(&before, package, found, &gone)? {
            Ok(made) => found.extra.extend(made),
            Err(reason) => refusals.push(package.refused(reason)),
        }
    }
    if !refusals.is_empty() {
        return Ok(Outcome::Refused(refusals));
    }
    write(files, &before, &database, incoming, &examined, &gone, out)
}

/// The packages of an image.
struct Database<'a> {
    fragments: Vec<Fragment>,
    /// Where apk has it, the database itself.
    apk: Option<apk::Installed<'a>>,
}

impl<'a> Database<'a> {
    /// The packages of an image, as its database or its list has them.
    fn read(files: &'a Files) -> Result<Self, Error> {
        let own = fragment::all(files).map_err(Error::Database)?;
        if own.is_empty() && apk::is_there(files) {
            let (installed, fragments) = apk::Installed::read(files).map_err(Error::Database)?;
            return Ok(Self {
                fragments,
                apk: Some(installed),
            });
        }
        let fragments = if own.is_empty() && manifest::is_there(files) {
            manifest::all(files).map_err(Error::Database)?
        } else {
            own
        };
        Ok(Self { fragments, apk: None })
    }

    /// Learns from the image what an upgrade to these packages has to heed, or fails in words for people.
    fn learn<F>(&mut self, tree: &Tree, incoming: &[Incoming<F>], items: &[Vec<Item>]) -> Result<(), String> {
        let Some(installed) = &mut self.apk else { return Ok(()) };
        installed.learn(tree, &self.fragments, items)?;
        let is_new = |fragment: &&mut Fragment| incoming.iter().any(|package| package.is(fragment));
        for fragment in self.fragments.iter_mut().filter(is_new) {
            fragment.conffiles = Some(installed.protected_of(fragment));
        }
        Ok(())
    }

    /// How it sums up files.
    fn algorithm(&self) -> Algorithm {
        if self.apk.is_some() {
            Algorithm::Sha1
        } else {
            Algorithm::Md5
        }
    }

    /// Packages whose upgrade would leave others without what they need.
    fn unmet<F>(&self, incoming: &[Incoming<F>]) -> Vec<Refusal> {
        let unmet = self.apk.as_ref().map(|installed| installed.unmet(incoming));
        let refused = |(name, reason): (String, String)| {
            let package = incoming.iter().find(|package| package.name == name)?;
            Some(package.refused(reason))
        };
        unmet.into_iter().flatten().filter_map(refused).collect()
    }

    /// The files that what would run for a package would make, or why the package cannot be taken without that.
    fn settled<F: Read + Seek>(
        &self,
        tree: &Tree,
        package: &mut Incoming<F>,
        found: &Examined<'_>,
        gone: &BTreeSet<String>,
    ) -> Result<Result<certificates::Made, String>, Error> {
        if let Some(installed) = &self.apk {
            let trigger = installed.trigger(&package.name, found, gone);
            return Ok(trigger.map_or(Ok(None), Err));
        }
        let certificates = certificates::bundle(tree, found, package)?;
        Ok(certificates.and_then(|bundle| scripts::cache(tree, package, found, gone).map(|()| bundle)))
    }
}

/// What becomes of a package, or why it is not taken.
fn look<'a, F>(
    before: &Tree,
    tree: &Tree,
    database: &'a Database<'_>,
    package: &Incoming<F>,
    items: Vec<Item>,
) -> Result<Examined<'a>, String> {
    let (name, architecture) = (&package.name, &package.architecture);
    let refusal = package.outright().or_else(|| match (&package.about, &database.apk) {
        (About::Rpm(head), _) => manifest::refusal(before, head),
        (About::Apk(_), Some(installed)) => installed.refusal(before, name, &items),
        _ => None,
    });
    if let Some(reason) = refusal {
        return Err(reason);
    }
    let configuration;
    let control = match &package.about {
        About::Debian(control) => control,
        About::Rpm(head) => {
            configuration = Control::configuration(head.configuration());
            &configuration
        }
        About::Apk(_) => {
            let Some(installed) = &database.apk else {
                return Err("the image has no database of apk".to_owned());
            };
            configuration = Control::configuration(installed.protected(&items));
            &configuration
        }
    };
    let rules = Rules {
        control,
        beside: database.apk.as_ref().map(|_| apk::BESIDE),
    };
    examine::examine(tree, &database.fragments, name, architecture, &rules, items)
}

/// Writes what was decided, and the database as it is then.
fn write<F: Read + Seek>(
    files: &Files,
    before: &Tree,
    database: &Database<'_>,
    incoming: &mut [Incoming<F>],
    examined: &[Examined<'_>],
    gone: &BTreeSet<String>,
    out: &mut impl Write,
) -> Result<Outcome, Error> {
    let mut writer = Writer::new(out, before);
    let mut notes = Vec::new();
    for (package, found) in incoming.iter_mut().zip(examined) {
        writer.package(package, found)?;
        notes.extend(found.notes.iter().cloned());
    }
    writer.whiteouts(gone).map_err(Error::Write)?;
    for found in examined {
        let own = if database.fragments.iter().any(|one| one.is_listed) {
            vec![]
        } else {
            found.database()
        };
        for (path, bytes) in found.extra.iter().chain(&own) {
            writer.made(path, bytes, found.newest).map_err(Error::Write)?;
        }
    }
    let lists = match &database.apk {
        Some(installed) => vec![installed.renewed(incoming, examined)],
        None => {
            let new = incoming.iter().filter_map(|one| match &one.about {
                About::Rpm(head) => Some((one.architecture.as_str(), &**head)),
                _ => None,
            });
            let new: Vec<_> = new.collect();
            if new.is_empty() {
                vec![]
            } else {
                manifest::renewed(files, &new).map_err(Error::Database)?
            }
        }
    };
    let newest = examined.iter().map(|found| found.newest).max().unwrap_or(0);
    for (path, bytes) in lists {
        writer.made(&path, &bytes, newest).map_err(Error::Write)?;
    }
    writer.finish().map_err(Error::Write)?;
    Ok(Outcome::Layer { notes })
}

impl<F> Incoming<F> {
    /// Why it cannot be taken in any image.
    fn outright(&self) -> Option<String> {
        match &self.about {
            About::Debian(control) => scripts::refusal(&self.name, control),
            About::Rpm(_) => None,
            About::Apk(head) => apk::refusal(head),
        }
    }

    /// Whether it is a newer version of this.
    fn is(&self, fragment: &Fragment) -> bool {
        fragment.name == self.name && fragment.architecture == self.architecture
    }

    fn refused(&self, reason: String) -> Refusal {
        Refusal {
            name: self.name.clone(),
            architecture: self.architecture.clone(),
            reason,
        }
    }
}

/// What the old versions had, the new ones have not, and no other package has either: by the place where it is.
fn leftovers(tree: &Tree, database: &Database<'_>, examined: &[Examined<'_>]) -> BTreeSet<String> {
    let mut owned: BTreeSet<&str> = BTreeSet::new();
    let places: Vec<String> = database
        .fragments
        .iter()
        .filter(|fragment| !examined.iter().any(|found| std::ptr::eq(found.fragment, *fragment)))
        .flat_map(|fragment| fragment.sums.iter().flatten())
        .filter_map(|(path, _)| tree.place(path))
        .collect();
    owned.extend(places.iter().map(String::as_str));
    for found in examined {
        owned.extend(found.shipped.iter().map(String::as_str));
    }
    // Links beside a file, such as those of shared libraries, were the old version's, too, where its list names files only.
    let links = match database.apk {
        Some(_) => BTreeMap::new(),
        None => tree.links_beside(),
    };
    let mut gone = BTreeSet::new();
    for (path, sum) in examined.iter().flat_map(|found| found.fragment.sums.iter().flatten()) {
        let Some(place) = tree.place(path).filter(|place| !owned.contains(place.as_str())) else {
            continue;
        };
        let beside = database
            .apk
            .as_ref()
            .and_then(|installed| installed.beside(path, &place));
        let is_file = |place: &String| matches!(tree.get(place), Some(Leaf::File(_) | Leaf::Symlink(_)));
        gone.extend(beside.filter(is_file));
        if !is_file(&place) {
            continue;
        }
        let keeps = |installed: &apk::Installed<'_>| installed.keeps(tree, path, &place, sum);
        if database.apk.as_ref().is_some_and(keeps) {
            continue;
        }
        let links = links.get(&place).into_iter().flatten();
        gone.extend(links.filter(|link| !owned.contains(link.as_str())).cloned());
        gone.insert(place);
    }
    gone
}

/// What an upgrade does with configuration.
struct Rules<'a> {
    /// What the package says about itself.
    control: &'a Control,
    /// What is put behind the name of a new file that lies beside one that somebody has changed; nothing where it stays away.
    beside: Option<&'static str>,
}

/// The entries of a package's tar, in order.
fn items<F: Read + Seek>(package: &mut Incoming<F>) -> Result<Vec<Item>, Error> {
    let algorithm = match package.about {
        About::Apk(_) => Algorithm::Sha1,
        About::Debian(_) | About::Rpm(_) => Algorithm::Md5,
    };
    item::all(&mut package.data, algorithm).map_err(|source| Error::Data {
        package: package.name.clone(),
        source,
    })
}

/// A sum as Debian writes it.
fn hex(sum: &Sum) -> String {
    use std::fmt::Write as _;
    sum.bytes().iter().fold(String::with_capacity(40), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Sums by path.
type Sums = BTreeMap<String, Sum>;

#[cfg(test)]
mod tests;
