//! What is broken in a set of packages: something needed is missing, or two exclude each other.

use std::fmt;

use super::{Facts, MAX_WORK, Slot, State, World};
use crate::apt::relation::Relation;
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

impl<'a> World<'a> {
    /// The first problem of a package that was not there before.
    pub(super) fn new_problem(&self, slot: usize) -> Option<Problem<'a>> {
        let problems = self.problems(slot);
        problems
            .into_iter()
            .find(|problem| !self.before.contains(&(slot, problem.to_string())))
    }

    /// Whether more was looked at than any image takes: nothing counts as broken from then on, and nothing may change.
    pub(super) fn is_exhausted(&self) -> bool {
        self.work.get() > MAX_WORK
    }

    /// What is wrong with a package as things are.
    pub(super) fn problems(&self, number: usize) -> Vec<Problem<'a>> {
        let Some((slot, facts)) = self.slots.get(number).and_then(|slot| Some((slot, slot.now()?))) else {
            return Vec::new();
        };
        if self.is_exhausted() {
            return Vec::new();
        }
        self.work.set(self.work.get() + 1);
        let missing = facts.depends.iter().filter(|group| !self.is_satisfied(number, group));
        let mut problems: Vec<Problem<'a>> = missing.cloned().map(Problem::Needs).collect();
        for relation in &facts.excludes {
            let met = self
                .meant(slot, relation, true)
                .find(|met| self.slots.get(*met).is_some_and(|met| met.name != slot.name));
            problems.extend(met.map(|met| Problem::Excludes(relation.clone(), met)));
        }
        if facts.multi_arch == MultiArch::Same {
            let others = self.named.get(slot.name).into_iter().flatten();
            let apart = |other: &&usize| {
                let other = self.slots.get(**other).and_then(Slot::now);
                other.is_some_and(|other| other.multi_arch == MultiArch::Same && other.version != facts.version)
            };
            problems.extend(others.copied().find(|other| apart(&other)).map(Problem::Apart));
        }
        problems
    }

    /// Whether one of the alternatives is there.
    pub(super) fn is_satisfied(&self, slot: usize, group: &[Relation<'a>]) -> bool {
        let Some(slot) = self.slots.get(slot) else {
            return false;
        };
        group
            .iter()
            .any(|relation| self.meant(slot, relation, false).next().is_some())
    }

    /// Whether another package excludes this one.
    pub(super) fn is_excluded(&self, number: usize) -> bool {
        let Some((slot, facts)) = self.slots.get(number).and_then(|slot| Some((slot, slot.now()?))) else {
            return false;
        };
        let provided = facts.provides.iter().map(|provided| provided.name);
        let mut excluders = std::iter::once(slot.name)
            .chain(provided)
            .filter_map(|name| self.excluders.get(name))
            .flatten();
        excluders.any(|other| {
            let problems = self.problems(*other);
            problems
                .iter()
                .any(|problem| matches!(problem, Problem::Excludes(_, met) if *met == number))
        })
    }

    /// Who is to stay, so that a package which is as it was is no longer broken.
    pub(super) fn culprits(&self, problem: &Problem<'a>) -> Vec<usize> {
        match problem {
            Problem::Excludes(_, met) | Problem::Apart(met) => vec![*met],
            // Whose old version would do.
            Problem::Needs(group) => {
                let culprits = group.iter().flat_map(|relation| {
                    let direct = self.named.get(relation.name).into_iter().flatten().copied();
                    let direct = direct.filter(|number| {
                        let old = self.slots.get(*number).and_then(|slot| slot.old.as_ref());
                        old.is_some_and(|old| relation.takes(&old.version))
                    });
                    let provided = self.providers.get(relation.name).into_iter().flatten();
                    let provided = provided.filter(|(number, state)| {
                        let old = self.slots.get(*number).and_then(|slot| slot.old.as_ref());
                        *state == State::Old && old.is_some_and(|old| provides(old, relation))
                    });
                    direct.chain(provided.map(|(number, _)| *number))
                });
                culprits.collect()
            }
        }
    }

    /// The packages that are there and that a relation of a package means.
    fn meant(&self, of: &Slot<'_>, relation: &Relation<'_>, excluded: bool) -> impl Iterator<Item = usize> {
        let named = self.named.get(relation.name).into_iter().flatten().copied();
        let provided = self.providers.get(relation.name).map_or(0, Vec::len);
        self.work.set(self.work.get() + 1 + provided as u64);
        let named = named.filter(move |number| {
            let met = self.slots.get(*number).and_then(|slot| Some((slot, slot.now()?)));
            met.is_some_and(|(slot, facts)| {
                relation.takes(&facts.version) && self.fits(of, relation, slot, facts, excluded)
            })
        });
        let providers = self.providers.get(relation.name).into_iter().flatten();
        let providers = providers.filter(move |(number, state)| {
            let slot = self.slots.get(*number).filter(|slot| slot.state == *state);
            let met = slot.and_then(|slot| Some((slot, slot.now()?)));
            met.is_some_and(|(slot, facts)| provides(facts, relation) && self.fits(of, relation, slot, facts, excluded))
        });
        named.chain(providers.map(|(number, _)| *number))
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
    let mut provided = facts.provides.iter().filter(|provided| provided.name == relation.name);
    provided.any(|provided| relation.takes_provided(provided.provided()))
}
