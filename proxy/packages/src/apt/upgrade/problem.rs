//! What is broken in a set of packages: something needed is missing, or two exclude each other.

use std::fmt;

use super::{Facts, MAX_WORK, Slot, State, When, World};
use crate::apt::relation::{NameId, Relation};
use crate::dpkg::MultiArch;

/// What is wrong with a package.
#[derive(Clone, Debug)]
pub(super) enum Problem<'a> {
    /// Nothing there satisfies what it depends on.
    Needs(Vec<Relation<'a>>),
    /// It breaks or conflicts with another.
    Excludes(Relation<'a>, usize),
    /// The same package of another architecture has another version.
    Apart(usize),
}

impl fmt::Display for Problem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Needs(group) => {
                let group: Vec<&str> = group.iter().map(|relation| relation.text).collect();
                write!(f, "depends on {}", group.join(" | "))
            }
            Self::Excludes(relation, _) => write!(f, "excludes {}", relation.text),
            Self::Apart(_) => f.write_str("has another version in another architecture"),
        }
    }
}

impl<'a> World<'_, 'a> {
    /// The first problem of a package that was not there before.
    pub(super) fn new_problem(&self, number: usize) -> Option<Problem<'a>> {
        let is_new = |problem: &Problem<'a>| {
            let mut before = self.before.borrow_mut();
            let before = before.entry(number).or_insert_with(|| {
                let problems = self.problems(number, When::Before);
                problems.map(|problem| problem.to_string()).collect()
            });
            !before.contains(&problem.to_string())
        };
        self.problems(number, When::Now).find(is_new)
    }

    /// Whether more was looked at than any image takes: nothing counts as broken from then on, and nothing may change.
    pub(super) fn is_exhausted(&self) -> bool {
        self.work.get() > MAX_WORK
    }

    /// What is wrong with a package. Of one that is as it was, only what may be so since others have changed.
    fn problems(&self, number: usize, when: When) -> impl Iterator<Item = Problem<'a>> {
        self.work.set(self.work.get() + 1);
        let found = self.slots.get(number).filter(|_| !self.is_exhausted());
        let found = found.and_then(|slot| Some((slot, &**slot.facts(when)?)));
        found
            .into_iter()
            .flat_map(move |(slot, facts)| self.problems_of(slot, facts, when))
    }

    fn problems_of<'s>(
        &'s self,
        slot: &'s Slot<'a>,
        facts: &'s Facts<'a>,
        when: When,
    ) -> impl Iterator<Item = Problem<'a>> + use<'s, 'a> {
        let is_old = when == When::Now && slot.state == State::Old;
        let may_change = move |relation: &Relation<'a>| !is_old || self.is_touched(relation.id);
        let groups = facts.depends.iter().filter(move |group| group.iter().any(may_change));
        let missing = groups.filter(move |group| !self.is_met(slot, group, when));
        let missing = missing.cloned().map(Problem::Needs);
        let excludes = facts.excludes.iter().filter(move |relation| may_change(relation));
        let met = excludes.filter_map(move |relation| {
            let mut met = self.meant(slot, relation, true, when);
            let met = met.find(|met| self.slots.get(*met).is_some_and(|met| met.name != slot.name))?;
            Some(Problem::Excludes(relation.clone(), met))
        });
        let same = (facts.multi_arch == MultiArch::Same).then(|| self.named.of(slot.id));
        let apart = same.into_iter().flatten().find(move |other| {
            let other = self.slots.get(*other).and_then(|slot| slot.facts(when));
            other.is_some_and(|other| other.multi_arch == MultiArch::Same && other.version != facts.version)
        });
        missing.chain(met).chain(apart.map(Problem::Apart))
    }

    /// Whether a package of this name has changed, or one that provides it.
    fn is_touched(&self, id: NameId) -> bool {
        self.touched.get(id).copied().unwrap_or(false)
    }

    /// Whether one of the alternatives is there.
    pub(super) fn is_satisfied(&self, slot: usize, group: &[Relation<'a>], when: When) -> bool {
        self.slots.get(slot).is_some_and(|slot| self.is_met(slot, group, when))
    }

    fn is_met(&self, slot: &Slot<'a>, group: &[Relation<'a>], when: When) -> bool {
        group
            .iter()
            .any(|relation| self.meant(slot, relation, false, when).next().is_some())
    }

    /// Whether another package excludes this one.
    pub(super) fn is_excluded(&self, number: usize) -> bool {
        let Some((slot, facts)) = self.slots.get(number).and_then(|slot| Some((slot, slot.now()?))) else {
            return false;
        };
        let is_called = |id: NameId| slot.id == id || facts.provides.iter().any(|provided| provided.id == id);
        self.slots.iter().any(|other| {
            let facts = other.now();
            let mut excludes = facts.into_iter().flat_map(|facts| &facts.excludes);
            excludes.any(|relation| {
                let mut met = self.meant(other, relation, true, When::Now);
                is_called(relation.id)
                    && met.find(|met| self.slots.get(*met).is_some_and(|met| met.name != other.name)) == Some(number)
            })
        })
    }

    /// Who is to stay, so that a package which is as it was is no longer broken.
    pub(super) fn culprits(&self, problem: &Problem<'a>) -> Vec<usize> {
        match problem {
            Problem::Excludes(_, met) | Problem::Apart(met) => vec![*met],
            // Whose old version would do.
            Problem::Needs(group) => {
                let old = |number: usize| self.slots.get(number).and_then(|slot| slot.old.as_ref());
                let culprits = group.iter().flat_map(|relation| {
                    let direct = self.named.of(relation.id);
                    let direct = direct.filter(|number| old(*number).is_some_and(|old| relation.takes(&old.version)));
                    let provided = self.providers.of(relation.id).filter(|(number, state)| {
                        *state == State::Old && old(*number).is_some_and(|old| provides(old, relation))
                    });
                    direct.chain(provided.map(|(number, _)| number))
                });
                culprits.collect()
            }
        }
    }

    /// The packages that are there and that a relation of a package means.
    fn meant<'s>(
        &'s self,
        of: &'s Slot<'a>,
        relation: &'s Relation<'a>,
        excluded: bool,
        when: When,
    ) -> impl Iterator<Item = usize> + use<'s, 'a> {
        self.work.set(self.work.get() + 1);
        let named = self.named.of(relation.id).filter(move |number| {
            let met = self.slots.get(*number);
            let met = met.and_then(|slot| Some((slot, slot.facts(when)?)));
            met.is_some_and(|(slot, facts)| {
                relation.takes(&facts.version) && self.fits(of, relation, slot, facts, excluded)
            })
        });
        let providers = self.providers.of(relation.id).filter(move |(number, state)| {
            self.work.set(self.work.get() + 1);
            let slot = self.slots.get(*number).filter(|slot| slot.state(when) == *state);
            let met = slot.and_then(|slot| Some((slot, slot.facts(when)?)));
            met.is_some_and(|(slot, facts)| provides(facts, relation) && self.fits(of, relation, slot, facts, excluded))
        });
        named.chain(providers.map(|(number, _)| number))
    }

    /// Whether a relation of a package means the architecture of another: exclusions mean all, dependencies the own one
    /// unless the other package serves others.
    fn fits(&self, of: &Slot<'_>, relation: &Relation<'_>, met: &Slot<'_>, facts: &Facts<'_>, excluded: bool) -> bool {
        let same = of.architecture == met.architecture;
        match relation.architecture {
            None => excluded || same || facts.multi_arch == MultiArch::Foreign,
            Some("any") => excluded || same || matches!(facts.multi_arch, MultiArch::Allowed | MultiArch::Foreign),
            Some("native") => self.policy.home("all") == met.architecture,
            Some(architecture) => architecture == met.architecture,
        }
    }
}

/// Whether a package provides what a relation means.
pub(super) fn provides(facts: &Facts<'_>, relation: &Relation<'_>) -> bool {
    let mut provided = facts.provides.iter().filter(|provided| provided.id == relation.id);
    provided.any(|provided| relation.takes_provided(provided.provided()))
}
