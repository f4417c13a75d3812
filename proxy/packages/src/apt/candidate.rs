//! apt's policy, apt_preferences(5): which version of a package it would have.
//! Priorities come from pins of the package, then pins of releases, then what the release says of itself.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::card::{Card, Fresh, Place};
use super::preferences::{NEVER, Pin, Pinned, Property, matches};
use super::relation::NameId;
use super::{Configuration, Entry, Repository};
use crate::version::Version;

/// The priority of a default release.
const DEFAULT_RELEASE: i16 = 990;

/// What apt decides with.
pub(super) struct Policy<'a> {
    configuration: &'a Configuration,
    repositories: &'a [Repository<'a>],
    /// Of each repository.
    priorities: Vec<i16>,
    /// Of what is installed, for being installed.
    installed: i16,
    native: &'a str,
    /// Names by number, so that they are compared as one.
    ids: RefCell<HashMap<&'a str, NameId>>,
    /// What was said about single packages, by name: many images have the same.
    pub(super) cards: RefCell<HashMap<&'a str, Vec<Rc<Card<'a>>>>>,
    /// The same by where the package is in memory, and what it says: those of images that are kept together are there once.
    pub(super) places: RefCell<HashMap<Place, Rc<Card<'a>>>>,
    /// The same about candidates of packages that are not installed, by name and architecture.
    pub(super) fresh: RefCell<HashMap<(&'a str, &'a str), Fresh<'a>>>,
    /// Packages that offer something of a name.
    offering: RefCell<HashMap<&'a str, Rc<[&'a str]>>>,
}

/// Packages that are tried for what they provide.
const MAX_PROVIDERS: usize = 50;

/// One version of a package that apt knows.
pub(super) struct Known<'a> {
    pub(super) version: Version,
    pub(super) installed: bool,
    /// Who offers it, by number of the repository, in apt's order.
    pub(super) offers: Vec<(usize, Entry<'a>)>,
}

/// What offers a version: a repository, or that it is installed.
#[derive(Clone, Copy)]
enum Origin<'a> {
    Repository(&'a Repository<'a>),
    Installed,
}

impl<'a> Policy<'a> {
    pub(super) fn new(configuration: &'a Configuration, repositories: &'a [Repository<'a>], native: &'a str) -> Self {
        let mut policy = Self {
            configuration,
            repositories,
            priorities: Vec::new(),
            installed: 100,
            native,
            ids: RefCell::default(),
            cards: RefCell::default(),
            places: RefCell::default(),
            fresh: RefCell::default(),
            offering: RefCell::default(),
        };
        let of = |repository| policy.by_release(Origin::Repository(repository));
        let priorities = repositories
            .iter()
            .map(|repository| of(repository).unwrap_or_else(|| usual(repository)));
        policy.priorities = priorities.collect();
        policy.installed = policy.by_release(Origin::Installed).unwrap_or(100);
        policy
    }

    /// The versions of a package of an architecture, the newest first. Packages for all architectures belong to the native
    /// one.
    pub(super) fn versions(&self, name: &str, architecture: &str, installed: Option<&Version>) -> Vec<Known<'a>> {
        let mut known: Vec<Known<'a>> = Vec::new();
        let version = installed.cloned();
        known.extend(version.map(|version| Known {
            version,
            installed: true,
            offers: Vec::new(),
        }));
        for (number, repository) in self.repositories.iter().enumerate() {
            for entry in repository.index.versions(name) {
                let fits = self.home(entry.architecture) == architecture;
                let Some(version) = entry.parsed().filter(|_| fits) else {
                    continue;
                };
                if let Some(same) = known.iter_mut().find(|known| known.version == version) {
                    same.offers.push((number, entry));
                } else {
                    known.push(Known {
                        version,
                        installed: false,
                        offers: vec![(number, entry)],
                    });
                }
            }
        }
        known.sort_by(|one, other| other.version.cmp(&one.version));
        known
    }

    /// The packages that are called so, or provide that.
    pub(super) fn offering(&self, name: &'a str) -> Rc<[&'a str]> {
        let mut known = self.offering.borrow_mut();
        let found = known.entry(name).or_insert_with(|| {
            let mut found = vec![name];
            let indexes = self.repositories.iter().map(|repository| repository.index);
            for provider in indexes.flat_map(|index| index.providing(name)) {
                if found.len() > MAX_PROVIDERS {
                    break;
                }
                if !found.contains(&provider) {
                    found.push(provider);
                }
            }
            found.into()
        });
        Rc::clone(found)
    }

    /// The number of a name, given when it is asked for first.
    pub(super) fn id(&self, name: &'a str) -> NameId {
        let mut ids = self.ids.borrow_mut();
        let next = ids.len();
        *ids.entry(name).or_insert(next)
    }

    /// How many names have numbers.
    pub(super) fn names(&self) -> usize {
        self.ids.borrow().len()
    }

    /// The architecture that a package counts to.
    pub(super) fn home(&self, architecture: &'a str) -> &'a str {
        if architecture == "all" {
            self.native
        } else {
            architecture
        }
    }

    /// Which of the versions of a package apt would have (`pkgPolicy::GetCandidateVer`), by number.
    pub(super) fn candidate(&self, name: &str, architecture: &str, versions: &[Known<'a>]) -> Option<usize> {
        let installed = versions.iter().position(|known| known.installed);
        let mut best: Option<(i16, usize)> = None;
        for (number, known) in versions.iter().enumerate() {
            let priority = self.priority(name, architecture, known);
            let downgrade = installed.is_some_and(|installed| number > installed);
            if priority <= best.map_or(0, |(priority, _)| priority) || (downgrade && priority < 1000) {
                continue;
            }
            best = Some((priority, number));
        }
        best.map(|(_, number)| number)
    }

    /// The offer with the highest priority; of equal ones the first.
    pub(super) fn best_offer<'b>(&self, known: &'b Known<'a>) -> Option<&'b (usize, Entry<'a>)> {
        let mut best = None;
        for offer in &known.offers {
            let priority = self.priorities.get(offer.0).copied().unwrap_or(NEVER);
            if best.is_none_or(|(highest, _)| priority > highest) {
                best = Some((priority, offer));
            }
        }
        best.map(|(_, offer)| offer)
    }

    fn priority(&self, name: &str, architecture: &str, known: &Known<'a>) -> i16 {
        let offers = known
            .offers
            .iter()
            .filter_map(|(number, _)| self.priorities.get(*number).copied());
        let highest = offers
            .chain(known.installed.then_some(self.installed))
            .max()
            .unwrap_or(0);
        let pin = self
            .configuration
            .pins
            .iter()
            .find(|pin| self.pins(pin, name, architecture, known));
        match pin {
            // Where everything that offers a version is never to be used, no pin changes that.
            Some(pin) if pin.priority == NEVER || highest != NEVER => pin.priority,
            _ => highest,
        }
    }

    /// Whether a pin of single packages means this version.
    fn pins(&self, pin: &Pin, name: &str, architecture: &str, known: &Known<'a>) -> bool {
        let source = known.offers.first().map_or(name, |(_, entry)| entry.source);
        let named = |pattern: &String| {
            let (pattern, name) = match pattern.strip_prefix("src:") {
                Some(pattern) => (pattern, source),
                None => (pattern.as_str(), name),
            };
            let (pattern, of) = pattern
                .rsplit_once(':')
                .map_or((pattern, self.native), |(pattern, of)| (pattern, of));
            let of = if ["native", "all"].contains(&of) {
                self.native
            } else {
                of
            };
            (of == "any" || of == architecture) && matches(pattern, name)
        };
        if !pin.packages.iter().any(named) {
            return false;
        }
        if let Pinned::Version(glob) = &pin.of {
            return matches(glob, known.version.as_str());
        }
        let offers = known
            .offers
            .iter()
            .filter_map(|(number, _)| self.repositories.get(*number));
        let mut origins = offers
            .map(Origin::Repository)
            .chain(known.installed.then_some(Origin::Installed));
        origins.any(|origin| means(&pin.of, origin))
    }

    /// The priority by the default release and pins of all packages; the first counts.
    fn by_release(&self, origin: Origin<'_>) -> Option<i16> {
        let default = self.configuration.default_release.as_deref();
        let default = default
            .and_then(|text| super::preferences::release(text).ok())
            .map(Pinned::Release);
        if default.is_some_and(|default| means(&default, origin)) {
            return Some(DEFAULT_RELEASE);
        }
        let mut general = self.configuration.pins.iter().filter(|pin| pin.packages.is_empty());
        general.find(|pin| means(&pin.of, origin)).map(|pin| pin.priority)
    }
}

fn usual(repository: &Repository<'_>) -> i16 {
    let release = repository.release;
    match (release.not_automatic, release.but_automatic_upgrades) {
        (_, true) => 100,
        (true, false) => 1,
        (false, false) => 500,
    }
}

/// Whether a pin means what comes from there.
fn means(of: &Pinned, origin: Origin<'_>) -> bool {
    match of {
        Pinned::Version(_) => false,
        Pinned::Host(glob) => match origin {
            Origin::Repository(repository) => matches(glob, repository.target.host()),
            Origin::Installed => false,
        },
        Pinned::Release(properties) => {
            let all = properties.iter().all(|(property, glob)| has(origin, *property, glob));
            all && !properties.is_empty()
        }
    }
}

fn has(origin: Origin<'_>, property: Property, glob: &str) -> bool {
    let Origin::Repository(repository) = origin else {
        // What is installed is an archive of its own.
        return match property {
            Property::Archive => matches(glob, "now"),
            Property::Any => glob == "*" || matches(glob, "now"),
            _ => false,
        };
    };
    let (release, target) = (repository.release, repository.target);
    let is = |value: Option<&str>| value.is_some_and(|value| matches(glob, value));
    match property {
        Property::Archive => is(release.suite.as_deref()),
        Property::Codename => is(release.codename.as_deref()),
        Property::Origin => is(release.origin.as_deref()),
        Property::Label => is(release.label.as_deref()),
        Property::Version => is(release.version.as_deref()),
        Property::Component => is(target.component.as_deref()),
        Property::Architecture => is(Some(&target.architecture)),
        Property::Any if glob == "*" => true,
        Property::Any if glob.starts_with(|c: char| c.is_ascii_digit()) => is(release.version.as_deref()),
        Property::Any => is(release.suite.as_deref()) || is(release.codename.as_deref()),
    }
}
