//! What changed between two inventories.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Held, Installed, Inventory};
use crate::version::Version;

/// What changed between two inventories, each list ordered by name and architecture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// Packages with a newer version.
    pub upgraded: Vec<Upgrade>,
    /// Packages with an older version.
    pub downgraded: Vec<Upgrade>,
    /// Packages that were not there.
    pub added: Vec<Installed>,
    /// Packages that are gone.
    pub removed: Vec<Installed>,
    /// Packages that were held before and so were not to change.
    pub held: Vec<Held>,
}

/// One package's step from a version to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// The package's name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// The version before.
    pub from: Version,
    /// The version after.
    pub to: Version,
}

impl Changes {
    /// Whether the packages are the same, whatever is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.upgraded.is_empty() && self.downgraded.is_empty() && self.added.is_empty() && self.removed.is_empty()
    }

    /// A package that went and one of its name that came are one upgrade, where only the architecture is another.
    fn pair(&mut self) {
        let Self {
            upgraded,
            added,
            removed,
            ..
        } = self;
        removed.retain(|old| {
            let newer = |new: &Installed| {
                new.name == old.name && new.version > old.version && replaces(&new.architecture, &old.architecture)
            };
            let Some(at) = added.iter().position(newer) else {
                return true;
            };
            let new = added.remove(at);
            upgraded.push(Upgrade {
                name: old.name.clone(),
                architecture: old.architecture.clone(),
                from: old.version.clone(),
                to: new.version,
            });
            false
        });
        upgraded.sort_by(|one, other| (&one.name, &one.architecture).cmp(&(&other.name, &other.architecture)));
    }
}

/// What happened between `before` and `after`.
#[must_use]
pub fn changes(before: &Inventory, after: &Inventory) -> Changes {
    fn key(package: &Installed) -> (&str, &str) {
        (&package.name, &package.architecture)
    }
    let old: BTreeMap<_, _> = before.packages.iter().map(|package| (key(package), package)).collect();
    let new: BTreeMap<_, _> = after.packages.iter().map(|package| (key(package), package)).collect();
    let missing_in = |other: &BTreeMap<_, _>, packages: &[Installed]| -> Vec<Installed> {
        packages
            .iter()
            .filter(|package| !other.contains_key(&key(package)))
            .cloned()
            .collect()
    };
    let mut changes = Changes {
        added: missing_in(&old, &after.packages),
        removed: missing_in(&new, &before.packages),
        held: before.held.clone(),
        ..Changes::default()
    };
    for (key, from) in &old {
        let Some(to) = new.get(key).filter(|to| to.version != from.version) else {
            continue;
        };
        let list = if to.version > from.version {
            &mut changes.upgraded
        } else {
            &mut changes.downgraded
        };
        list.push(Upgrade {
            name: from.name.clone(),
            architecture: from.architecture.clone(),
            from: from.version.clone(),
            to: to.version.clone(),
        });
    }
    changes.pair();
    changes
}

/// Whether a package of an architecture can take the place of one of another: only those for all go with any.
#[must_use]
pub fn replaces(new: &str, old: &str) -> bool {
    let is_for_all = |architecture: &str| matches!(architecture, "all" | "noarch" | "any");
    new == old || is_for_all(new) || is_for_all(old)
}
