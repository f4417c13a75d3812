//! Which installed packages repositories have newer versions of: what `pacman -Qu` says. Repositories of pacman do not tell fixes of
//! security from others.

use super::{Configuration, Index};
use crate::findings::{Finding, Findings, Kind, Severity, Status};
use crate::inventory::Installed;

/// The packages that are outdated, given the indexes of the repositories of `configuration`, each with its name, in their order.
///
/// As in pacman, the first repository that has a package decides, also when a later one has a newer version.
#[must_use]
pub fn outdated(packages: &[Installed], configuration: &Configuration, indexes: &[(&str, &Index)]) -> Findings {
    let found = packages.iter().filter_map(|package| {
        let mut offers = indexes
            .iter()
            .filter_map(|(name, index)| Some((name, index.find(&package.name)?)));
        let (repository, version) = offers.next()?;
        (*version > package.version).then(|| Finding {
            package: package.name.clone(),
            architecture: package.architecture.clone(),
            installed: package.version.clone(),
            fixed: Some(version.clone()),
            status: Status::Fixable,
            kind: Kind::Unknown,
            severity: Severity::Unknown,
            advisories: Vec::new(),
            origin: Some((*repository).to_owned()),
            leaves: None,
        })
    });
    let empty = configuration
        .repositories
        .iter()
        .filter(|repository| repository.servers.is_empty());
    let notes = empty.map(|repository| format!("the repository {} names no server", repository.name));
    Findings::new(found.collect(), notes.collect())
}
