//! Inventories of many images, kept together in little memory: packages that several have are there once.
//! Ten thousand images of two hundred packages each take some ten megabytes then, not some hundred.

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::{Installed, Inventory, Repositories};
use crate::apt::{self, Said};

/// An inventory that shares its parts with others. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Kept {
    rest: Arc<Inventory>,
    packages: Arc<[Arc<Member>]>,
}

/// A package with what it says of others.
#[derive(Debug)]
struct Member {
    installed: Installed,
    said: Option<Said>,
}

impl Kept {
    /// All of it but the packages. Images that say the same have the very same.
    #[must_use]
    pub fn rest(&self) -> &Arc<Inventory> {
        &self.rest
    }

    /// The packages, ordered by name and architecture.
    pub fn packages(&self) -> impl Iterator<Item = &Installed> {
        self.packages.iter().map(|member| &member.installed)
    }

    /// The same with what they say of others, as apt's rules want it.
    pub fn apt(&self) -> impl Iterator<Item = apt::Package<'_>> {
        self.packages.iter().map(|member| apt::Package {
            installed: &member.installed,
            said: member.said.as_ref(),
        })
    }

    /// A package; the last of several.
    #[must_use]
    pub fn package(&self, name: &str, architecture: &str) -> Option<&Installed> {
        let end = self
            .packages
            .partition_point(|member| key(&member.installed) <= (name, architecture));
        let package = &self.packages.get(end.checked_sub(1)?)?.installed;
        (key(package) == (name, architecture)).then_some(package)
    }

    /// The inventory as it was.
    #[must_use]
    pub fn inventory(&self) -> Inventory {
        let mut inventory = (*self.rest).clone();
        inventory.packages = self.packages().cloned().collect();
        if let Repositories::Apt(configuration) = &mut inventory.repositories {
            let said = self.packages.iter().filter_map(|member| member.said.clone());
            configuration.relations = apt::Relations::from_said(said.collect());
        }
        inventory
    }
}

fn key(package: &Installed) -> (&str, &str) {
    (&package.name, &package.architecture)
}

/// The parts of inventories that are kept.
#[derive(Debug, Default)]
pub struct Pool {
    packages: HashSet<Written>,
    /// What else inventories say, by how it is written.
    rests: HashMap<Vec<u8>, Arc<Inventory>>,
    /// How many packages there are before those are forgotten that nobody has any more.
    limit: usize,
}

/// A package, equal to others that are written the same: versions that are equal may differ in that.
#[derive(Debug)]
struct Written(Arc<Member>);

impl Written {
    fn parts(&self) -> [Option<&str>; 6] {
        let Installed {
            name,
            architecture,
            version,
            source,
            origin,
        } = &self.0.installed;
        [
            Some(name),
            Some(architecture),
            Some(version.as_str()),
            Some(&source.name),
            Some(source.version.as_str()),
            origin.as_deref(),
        ]
    }
}

impl PartialEq for Written {
    fn eq(&self, other: &Self) -> bool {
        let family = |member: &Self| member.0.installed.version.family();
        family(self) == family(other) && self.parts() == other.parts() && self.0.said == other.0.said
    }
}

impl Eq for Written {}

impl Hash for Written {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl Pool {
    /// Keeps an inventory.
    pub fn keep(&mut self, inventory: &Inventory) -> Kept {
        self.clean();
        let relations = match &inventory.repositories {
            Repositories::Apt(configuration) => Some(&configuration.relations),
            _ => None,
        };
        let members = inventory.packages.iter().map(|installed| Member {
            installed: installed.clone(),
            said: relations.and_then(|relations| relations.of(installed)).cloned(),
        });
        let mut members: Vec<Arc<Member>> = members.map(|member| self.member(member)).collect();
        members.sort_by(|one, other| key(&one.installed).cmp(&key(&other.installed)));
        let mut rest = Inventory {
            packages: Vec::new(),
            ..inventory.clone()
        };
        if let Repositories::Apt(configuration) = &mut rest.repositories {
            configuration.relations = apt::Relations::default();
        }
        Kept {
            rest: self.rest(rest),
            packages: members.into(),
        }
    }

    fn member(&mut self, member: Member) -> Arc<Member> {
        let member = Written(Arc::new(member));
        if let Some(known) = self.packages.get(&member) {
            return Arc::clone(&known.0);
        }
        let shared = Arc::clone(&member.0);
        self.packages.insert(member);
        shared
    }

    fn rest(&mut self, rest: Inventory) -> Arc<Inventory> {
        // What cannot be written is not shared.
        let Ok(written) = serde_json::to_vec(&rest) else {
            return Arc::new(rest);
        };
        Arc::clone(self.rests.entry(written).or_insert_with(|| Arc::new(rest)))
    }

    /// Forgets what nobody has any more, now and then.
    fn clean(&mut self) {
        if self.packages.len() < self.limit.max(1000) {
            return;
        }
        self.packages.retain(|package| Arc::strong_count(&package.0) > 1);
        self.rests.retain(|_, rest| Arc::strong_count(rest) > 1);
        self.limit = 2 * self.packages.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpkg;
    use crate::inventory::Manager;
    use crate::os_release::OsRelease;

    fn inventory(packages: &[(&str, &str)]) -> Inventory {
        let status: String = packages
            .iter()
            .map(|(name, version)| {
                format!("Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n\n")
            })
            .collect();
        let read = dpkg::read("status", dpkg::Kind::Status, status.as_bytes(), 1 << 20).unwrap();
        Inventory::of(OsRelease::parse(b"ID=debian\n").unwrap(), Manager::Dpkg, read)
    }

    #[test]
    fn what_is_kept_is_what_was_given() {
        let mut pool = Pool::default();
        let one = inventory(&[("b", "1.0"), ("a", "1"), ("c", "2")]);
        // Equal to the other version of `b`, but written in another way.
        let other = inventory(&[("b", "1.0-0"), ("a", "1")]);
        let (kept_one, kept_other) = (pool.keep(&one), pool.keep(&other));
        for (inventory, kept) in [(&one, &kept_one), (&other, &kept_other)] {
            let written = |inventory: &Inventory| serde_json::to_string(inventory).unwrap();
            assert_eq!(written(&kept.inventory()), written(inventory));
            for package in &inventory.packages {
                let found = kept.package(&package.name, &package.architecture).unwrap();
                assert_eq!(found.version.as_str(), package.version.as_str());
            }
        }
        assert!(kept_one.package("a", "arm64").is_none() && kept_one.package("aa", "amd64").is_none());
        assert!(Arc::ptr_eq(kept_one.rest(), kept_other.rest()));
        assert!(Arc::ptr_eq(&kept_one.packages[0], &kept_other.packages[0]));
        assert_eq!(pool.packages.len(), 4);
    }

    #[test]
    fn what_nobody_has_is_forgotten() {
        let mut pool = Pool::default();
        let stays = pool.keep(&inventory(&[("stays", "1")]));
        for number in 0..3000 {
            pool.keep(&inventory(&[("goes", &number.to_string())]));
        }
        assert!(pool.packages.len() <= 1001, "{}", pool.packages.len());
        let again = pool.keep(&inventory(&[("stays", "1")]));
        assert!(Arc::ptr_eq(&stays.packages[0], &again.packages[0]));
    }
}
