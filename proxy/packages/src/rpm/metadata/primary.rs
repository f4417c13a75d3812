//! `primary.xml`: the packages of a repository. What is not kept of a package, such as its description, only passes by. One
//! that rpm would not have built is told as such: it must not stand in the way of the others.

use std::io::BufRead;

use crate::rpm::metadata::xml::{Element, Sink, walk};
use crate::rpm::metadata::{Checksum, Error, Wrong};
use crate::rpm::obsoletes::{Comparison, Obsolete};
use crate::rpm::{header, is_architecture, is_name};
use crate::version::Version;

const MAX_PATH: usize = 2048;

/// The most that one package may take the place of.
const MAX_OBSOLETES: usize = 10_000;

/// A package as it is listed.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) architecture: String,
    pub(crate) version: Version,
    pub(crate) path: String,
    /// Nothing when the repository has none that proves something.
    pub(crate) checksum: Option<Checksum>,
    pub(crate) size: u64,
    pub(crate) source_rpm: String,
    /// What it takes the place of.
    pub(crate) obsoletes: Vec<Obsolete>,
}

/// Tells all packages of a list that is already decompressed, but for source packages; nothing in place of one whose name,
/// architecture, version or path cannot be.
pub(crate) fn read(
    file: &str,
    reader: impl BufRead,
    take: impl FnMut(Option<Listed>) -> Result<(), Wrong>,
) -> Result<(), Error> {
    let mut reading = Reading {
        take,
        package: Package::default(),
    };
    walk(file, reader, &mut reading)
}

struct Reading<F> {
    take: F,
    package: Package,
}

/// What was said of a package so far.
#[derive(Default)]
struct Package {
    name: String,
    architecture: String,
    /// Nothing when it is no number.
    epoch: Option<u32>,
    version_release: String,
    path: String,
    checksum_kind: String,
    checksum: Option<Checksum>,
    size: u64,
    source_rpm: String,
    in_obsoletes: bool,
    obsoletes: Vec<Obsolete>,
}

impl<F: FnMut(Option<Listed>) -> Result<(), Wrong>> Sink for Reading<F> {
    fn start(&mut self, element: &Element<'_>, depth: usize) -> Result<(), Wrong> {
        let package = &mut self.package;
        match (depth, element.name()) {
            (1, "metadata") => {}
            (1, _) => return Err(Wrong::Text("not a list of packages")),
            (2, "package") => *package = Package::default(),
            (3, "version") => {
                package.epoch = number(element.attribute("epoch")?);
                package.version_release = version_release(element.attribute("ver")?, element.attribute("rel")?);
            }
            (3, "checksum") => package.checksum_kind = element.attribute("type")?.unwrap_or_default(),
            (3, "location") => {
                package.path = element.attribute("href")?.unwrap_or_default();
                if let Some(base) = element.attribute("base")?.filter(|base| !base.is_empty()) {
                    // It is not below this repository: an address that leads elsewhere says so to whoever joins it.
                    package.path = format!("{}/{}", base.trim_end_matches('/'), package.path);
                }
            }
            (3, "size") => {
                let size = element.attribute("package")?;
                package.size = size.and_then(|text| text.parse().ok()).unwrap_or_default();
            }
            (4, "obsoletes") => package.in_obsoletes = true,
            (5, "entry") if package.in_obsoletes => {
                package.obsoletes.extend(obsolete(element)?);
                if package.obsoletes.len() > MAX_OBSOLETES {
                    return Err(Wrong::Text("a package that obsoletes more than ten thousand others"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, name: &str, text: &str, depth: usize) -> Result<(), Wrong> {
        let package = &mut self.package;
        match (depth, name) {
            (2, "package") => return self.finish(),
            (3, "name") => text.clone_into(&mut package.name),
            (3, "arch") => text.clone_into(&mut package.architecture),
            (3, "checksum") => package.checksum = Checksum::of(&package.checksum_kind, text),
            (4, "sourcerpm") => text.clone_into(&mut package.source_rpm),
            (4, "obsoletes") => package.in_obsoletes = false,
            _ => {}
        }
        Ok(())
    }
}

impl<F: FnMut(Option<Listed>) -> Result<(), Wrong>> Reading<F> {
    fn finish(&mut self) -> Result<(), Wrong> {
        let package = std::mem::take(&mut self.package);
        if matches!(package.architecture.as_str(), "src" | "nosrc") {
            return Ok(());
        }
        (self.take)(package.listed())
    }
}

impl Package {
    fn listed(self) -> Option<Listed> {
        let right =
            is_name(&self.name) && is_architecture(&self.architecture) && (1..=MAX_PATH).contains(&self.path.len());
        let version = header::version(self.epoch?, &self.version_release).ok();
        Some(Listed {
            version: version.filter(|_| right)?,
            name: self.name,
            architecture: self.architecture,
            path: self.path,
            checksum: self.checksum,
            size: self.size,
            source_rpm: self.source_rpm,
            obsoletes: self.obsoletes,
        })
    }
}

/// What an entry says is obsolete; nothing when no package can be meant.
fn obsolete(element: &Element<'_>) -> Result<Option<Obsolete>, Wrong> {
    let name = element.attribute("name")?.filter(|name| is_name(name));
    let comparison = Comparison::of(element.attribute("flags")?.as_deref().unwrap_or_default());
    let (version, release) = (element.attribute("ver")?, element.attribute("rel")?);
    let epoch = number(element.attribute("epoch")?);
    let text = match (
        version.unwrap_or_default(),
        release.filter(|release| !release.is_empty()),
    ) {
        (version, Some(release)) => format!("{version}-{release}"),
        (version, None) => version,
    };
    let version = epoch.and_then(|epoch| header::version(epoch, &text).ok());
    Ok(name.and_then(|name| Obsolete::new(name, comparison?, version)))
}

/// A number that may be missing, which is zero then; nothing when it is none.
pub(crate) fn number(text: Option<String>) -> Option<u32> {
    text.filter(|text| !text.is_empty())
        .map_or(Some(0), |text| text.parse().ok())
}

pub(crate) fn version_release(version: Option<String>, release: Option<String>) -> String {
    format!("{}-{}", version.unwrap_or_default(), release.unwrap_or_default())
}
