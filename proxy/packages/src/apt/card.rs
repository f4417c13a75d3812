//! What repositories say about one installed version of a package, whatever else is installed: made once for all images
//! that have it.

use std::cell::OnceCell;
use std::rc::Rc;

use super::Entry;
use super::candidate::{Known, Policy};
use super::outdated::Package;
use super::relation::{NameId, Relation, groups, list};
use super::relations::Said;
use crate::dpkg::MultiArch;
use crate::inventory::Installed;
use crate::version::Version;

/// More versions of one package than images have; further ones are looked at each time.
const MAX_CARDS: usize = 1_000;

/// Where a package is in memory, and what it says.
pub(super) type Place = (*const Installed, Option<*const Said>);

/// What the candidate of a package says that is not installed, if there is one.
pub(super) type Fresh<'a> = Option<Rc<Facts<'a>>>;

/// One installed version of a package.
pub(super) struct Card<'a> {
    pub(super) name: &'a str,
    pub(super) id: NameId,
    /// The architecture as it is installed.
    installed_for: &'a str,
    installed: &'a Version,
    said: Option<&'a Said>,
    /// The architecture that it counts to.
    pub(super) architecture: &'a str,
    /// Its versions, the newest first.
    pub(super) versions: Vec<Known<'a>>,
    /// Its candidate, by number, when it is newer.
    pub(super) candidate: Option<usize>,
    new: Option<Rc<Facts<'a>>>,
    old: OnceCell<Rc<Facts<'a>>>,
}

/// What a package of one version says to the others.
pub(super) struct Facts<'a> {
    pub(super) version: Version,
    pub(super) multi_arch: MultiArch,
    /// `Pre-Depends` and `Depends`.
    pub(super) depends: Vec<Vec<Relation<'a>>>,
    /// `Breaks` and `Conflicts`.
    pub(super) excludes: Vec<Relation<'a>>,
    pub(super) provides: Vec<Relation<'a>>,
}

impl<'a> Policy<'a> {
    /// What is said about an installed package.
    pub(super) fn card(&self, package: Package<'a>) -> Rc<Card<'a>> {
        let place = (
            std::ptr::from_ref(package.installed),
            package.said.map(std::ptr::from_ref),
        );
        if let Some(card) = self.places.borrow().get(&place) {
            return Rc::clone(card);
        }
        let card = self.named_card(package);
        self.places.borrow_mut().insert(place, Rc::clone(&card));
        card
    }

    fn named_card(&self, package: Package<'a>) -> Rc<Card<'a>> {
        let Package { installed, said } = package;
        let mut cards = self.cards.borrow_mut();
        let known = cards.entry(&installed.name).or_default();
        let same_said = |known: Option<&Said>| match (known, said) {
            (Some(known), Some(said)) => std::ptr::eq(known, said) || known == said,
            (known, said) => known.is_none() && said.is_none(),
        };
        let same = |card: &&Rc<Card<'a>>| {
            card.installed.as_str() == installed.version.as_str()
                && card.installed_for == installed.architecture
                && same_said(card.said)
        };
        if let Some(card) = known.iter().find(same) {
            return Rc::clone(card);
        }
        let card = Rc::new(Card::new(self, package));
        if known.len() < MAX_CARDS {
            known.push(Rc::clone(&card));
        }
        card
    }

    /// What the candidate of a package says that is not installed.
    pub(super) fn fresh(&self, name: &'a str, architecture: &'a str) -> Fresh<'a> {
        if let Some(known) = self.fresh.borrow().get(&(name, architecture)) {
            return known.clone();
        }
        let versions = self.versions(name, architecture, None);
        let candidate = self.candidate(name, architecture, &versions);
        let facts = candidate.and_then(|number| {
            let candidate = versions.get(number)?;
            Some(Rc::new(Facts::of(
                self,
                &self.best_offer(candidate)?.1,
                &candidate.version,
            )))
        });
        self.fresh.borrow_mut().insert((name, architecture), facts.clone());
        facts
    }
}

impl<'a> Card<'a> {
    fn new(policy: &Policy<'a>, Package { installed, said }: Package<'a>) -> Self {
        let architecture = policy.home(&installed.architecture);
        let versions = policy.versions(&installed.name, architecture, Some(&installed.version));
        let candidate = policy.candidate(&installed.name, architecture, &versions);
        let is_newer = |known: &Known<'_>| known.version > installed.version;
        let candidate = candidate.filter(|number| versions.get(*number).is_some_and(is_newer));
        let new = candidate.and_then(|number| {
            let known = versions.get(number)?;
            Some(Rc::new(Facts::of(policy, &policy.best_offer(known)?.1, &known.version)))
        });
        Self {
            name: &installed.name,
            id: policy.id(&installed.name),
            installed_for: &installed.architecture,
            installed: &installed.version,
            said,
            architecture,
            versions,
            candidate,
            new,
            old: OnceCell::new(),
        }
    }

    /// What the candidate says.
    pub(super) fn new_facts(&self) -> Option<Rc<Facts<'a>>> {
        self.new.clone()
    }

    /// What the installed package says. Where its status is not known, an index may have the same version; of another
    /// version only what it provides counts, which rarely changes.
    pub(super) fn old_facts(&self, policy: &Policy<'a>) -> Rc<Facts<'a>> {
        let facts = self.old.get_or_init(|| {
            if let Some(said) = self.said {
                return Rc::new(Facts::said(policy, said, self.installed));
            }
            let same = self.versions.iter().find(|known| known.installed);
            if let Some((_, entry)) = same.and_then(|known| known.offers.first()) {
                return Rc::new(Facts::of(policy, entry, self.installed));
            }
            let near = self.versions.iter().rev().find_map(|known| known.offers.first());
            let multi_arch = near.map_or(MultiArch::No, |(_, entry)| entry.multi_arch);
            let provides = near.map_or("", |(_, entry)| entry.provides);
            let texts = ["", "", "", "", provides];
            Rc::new(Facts::new(policy, self.installed, multi_arch, texts))
        });
        Rc::clone(facts)
    }
}

impl<'a> Facts<'a> {
    /// What a package of an index says.
    pub(super) fn of(policy: &Policy<'a>, entry: &Entry<'a>, version: &Version) -> Self {
        let texts = [
            entry.pre_depends,
            entry.depends,
            entry.breaks,
            entry.conflicts,
            entry.provides,
        ];
        Self::new(policy, version, entry.multi_arch, texts)
    }

    /// What an installed package says.
    fn said(policy: &Policy<'a>, said: &'a Said, version: &Version) -> Self {
        let texts = [
            &said.pre_depends,
            &said.depends,
            &said.breaks,
            &said.conflicts,
            &said.provides,
        ];
        Self::new(policy, version, said.multi_arch, texts.map(String::as_str))
    }

    fn new(
        policy: &Policy<'a>,
        version: &Version,
        multi_arch: MultiArch,
        [pre_depends, depends, breaks, conflicts, provides]: [&'a str; 5],
    ) -> Self {
        let depends = [groups(pre_depends), groups(depends)].concat().into_iter();
        Self {
            version: version.clone(),
            multi_arch,
            depends: depends.map(|group| numbered(policy, group)).collect(),
            excludes: numbered(policy, [list(breaks), list(conflicts)].concat()),
            provides: numbered(policy, list(provides)),
        }
    }
}

/// Relations with the numbers of their names.
fn numbered<'a>(policy: &Policy<'a>, mut relations: Vec<Relation<'a>>) -> Vec<Relation<'a>> {
    for relation in &mut relations {
        relation.id = policy.id(relation.name);
    }
    relations
}
