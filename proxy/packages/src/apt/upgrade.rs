//! Which upgrades fit together: each package is in its old or its new version, and whoever would break something stays
//! (`pkgProblemResolver::ResolveByKeep`), until nothing is broken that was not before.
//! Packages only ever stay or come in once, so this ends.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use super::Entry;
use super::candidate::{Known, Policy};
use super::relation::{Relation, groups, list};
use super::relations::Relations;
use crate::dpkg::MultiArch;
use crate::inventory::Installed;
use crate::version::Version;

mod order;
mod problem;

use problem::{Problem, provides};

/// The most packages that come in new, so that hostile indexes cannot keep us busy.
const MAX_NEW: usize = 500;

/// The most relations that are looked at, for the same reason; a usual image takes a hundredth of it.
const MAX_WORK: u64 = 10_000_000;

/// How deep new packages may need further ones.
const MAX_DEPTH: usize = 64;

/// What a package of one version says to the others.
struct Facts<'a> {
    version: Version,
    multi_arch: MultiArch,
    /// `Pre-Depends` and `Depends`.
    depends: Vec<Vec<Relation<'a>>>,
    /// `Breaks` and `Conflicts`.
    excludes: Vec<Relation<'a>>,
    provides: Vec<Relation<'a>>,
}

/// Which version of a package is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// None.
    Absent,
    /// The installed one.
    Old,
    /// The candidate.
    New,
}

/// A package with its versions.
struct Slot<'a> {
    name: &'a str,
    architecture: String,
    old: Option<Facts<'a>>,
    new: Option<Facts<'a>>,
    state: State,
    /// Why it stays, when it had a candidate.
    kept: Option<String>,
    /// Whether new packages were sought for it already.
    tried: bool,
}

impl<'a> Slot<'a> {
    fn facts(&self, state: State) -> Option<&Facts<'a>> {
        match state {
            State::Absent => None,
            State::Old => self.old.as_ref(),
            State::New => self.new.as_ref(),
        }
    }

    fn now(&self) -> Option<&Facts<'a>> {
        self.facts(self.state)
    }
}

/// What one package would do.
pub(super) struct Wish<'a> {
    pub(super) installed: &'a Installed,
    /// The architecture that it counts to.
    pub(super) architecture: String,
    /// Its versions.
    pub(super) versions: Vec<Known<'a>>,
    /// Its candidate, by number, when it is newer and the package may change.
    pub(super) candidate: Option<usize>,
}

/// All packages, each in one of its versions.
pub(super) struct World<'a> {
    policy: &'a Policy<'a>,
    slots: Vec<Slot<'a>>,
    /// Slots by the name of their package, and with what they provide in a state.
    named: HashMap<&'a str, Vec<usize>>,
    providers: HashMap<&'a str, Vec<(usize, State)>>,
    /// Slots by what one of their versions excludes.
    excluders: HashMap<&'a str, Vec<usize>>,
    /// What was broken before.
    before: HashSet<(usize, String)>,
    new_allowed: bool,
    /// How often a new package was brought in.
    new_count: usize,
    /// How many relations were looked at.
    work: Cell<u64>,
}

impl<'a> World<'a> {
    /// All packages as they are, with what they would be.
    pub(super) fn new(policy: &'a Policy<'a>, wishes: &[Wish<'a>], new_allowed: bool) -> Self {
        let mut world = Self {
            policy,
            slots: Vec::new(),
            named: HashMap::new(),
            providers: HashMap::new(),
            excluders: HashMap::new(),
            before: HashSet::new(),
            new_allowed,
            new_count: 0,
            work: Cell::new(0),
        };
        for wish in wishes {
            let new = wish.candidate.and_then(|number| wish.versions.get(number));
            let new = new.and_then(|known| Some(facts(&policy.best_offer(known)?.1, &known.version)));
            world.add(
                &wish.installed.name,
                wish.architecture.clone(),
                Some(old_facts(policy.relations(), wish)),
                new,
            );
        }
        for slot in 0..world.slots.len() {
            let problems = world.problems(slot);
            world
                .before
                .extend(problems.into_iter().map(|problem| (slot, problem.to_string())));
        }
        for slot in world.slots.iter_mut().filter(|slot| slot.new.is_some()) {
            slot.state = State::New;
        }
        world
    }

    /// Lets packages stay until nothing is broken; then why each of the wishes stays, those that do not.
    pub(super) fn settle(mut self, wishes: usize) -> Vec<Option<String>> {
        if self.new_allowed {
            for slot in 0..self.slots.len() {
                if self.is_new(slot) && self.new_problem(slot).is_some() {
                    self.bring_in(slot);
                }
            }
        }
        let order = self.order();
        while self.step(&order) {}
        if self.is_exhausted() {
            for slot in order {
                self.keep(slot, "what packages need and exclude is too entangled here".to_owned());
            }
        }
        self.slots.into_iter().take(wishes).map(|slot| slot.kept).collect()
    }

    /// Mends what is broken, once for each package; false when nothing is.
    fn step(&mut self, order: &[usize]) -> bool {
        let mut changed = false;
        for slot in order {
            if let Some(problem) = self.new_problem(*slot) {
                changed |= self.mend(*slot, &problem);
            }
        }
        changed
    }

    fn mend(&mut self, slot: usize, problem: &Problem<'a>) -> bool {
        if self.is_new(slot) {
            return self.keep(slot, problem.to_string());
        }
        // It is as it was, so what it met is new: one after the other stays, until that is mended.
        let mut changed = false;
        for other in self.culprits(problem) {
            let name = self.slots.get(slot).map_or("", |slot| slot.name);
            changed |= self.keep(other, format!("the installed {name} does not go with it: {problem}"));
            if changed && self.new_problem(slot).is_none() {
                break;
            }
        }
        changed
    }

    fn is_new(&self, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.state == State::New)
    }

    /// Takes a package back; false when there is nothing to take back.
    fn keep(&mut self, slot: usize, why: String) -> bool {
        let Some(slot) = self.slots.get_mut(slot).filter(|slot| slot.state == State::New) else {
            return false;
        };
        slot.state = if slot.old.is_some() { State::Old } else { State::Absent };
        slot.kept = Some(why);
        true
    }

    fn add(&mut self, name: &'a str, architecture: String, old: Option<Facts<'a>>, new: Option<Facts<'a>>) -> usize {
        let number = self.slots.len();
        self.named.entry(name).or_default().push(number);
        for (state, facts) in [(State::Old, &old), (State::New, &new)] {
            for provided in facts.iter().flat_map(|facts| &facts.provides) {
                self.providers.entry(provided.name).or_default().push((number, state));
            }
            for excluded in facts.iter().flat_map(|facts| &facts.excludes) {
                self.excluders.entry(excluded.name).or_default().push(number);
            }
        }
        let state = if old.is_some() { State::Old } else { State::Absent };
        self.slots.push(Slot {
            name,
            architecture,
            old,
            new,
            state,
            kept: None,
            tried: false,
        });
        number
    }

    /// Brings in new packages that a package needs; true when there was a change.
    fn bring_in(&mut self, slot: usize) -> bool {
        match self.slots.get_mut(slot) {
            Some(slot) if !slot.tried => slot.tried = true,
            _ => return false,
        }
        let before = self.states();
        let done = self.satisfy(slot, 0);
        if !done {
            self.restore(&before);
        }
        done
    }

    fn states(&self) -> Vec<State> {
        self.slots.iter().map(|slot| slot.state).collect()
    }

    /// Puts all packages into the states that they had; what came since is absent again.
    fn restore(&mut self, states: &[State]) {
        for (number, slot) in self.slots.iter_mut().enumerate() {
            slot.state = states.get(number).copied().unwrap_or(State::Absent);
        }
    }

    /// Brings in what a package needs and does not have, and what that needs.
    fn satisfy(&mut self, slot: usize, depth: usize) -> bool {
        let depends = self
            .slots
            .get(slot)
            .and_then(Slot::now)
            .map(|facts| facts.depends.clone());
        for group in depends.unwrap_or_default() {
            if self.is_satisfied(slot, &group) {
                continue;
            }
            if depth >= MAX_DEPTH || !group.iter().any(|relation| self.install(slot, relation, depth)) {
                return false;
            }
        }
        self.new_problem(slot).is_none()
    }

    /// Brings in a package that an alternative means, or one that provides it.
    fn install(&mut self, slot: usize, relation: &Relation<'a>, depth: usize) -> bool {
        let architecture = self
            .slots
            .get(slot)
            .map(|slot| slot.architecture.clone())
            .unwrap_or_default();
        for name in self.policy.offering(relation.name) {
            if self.new_count >= MAX_NEW || self.is_exhausted() {
                return false;
            }
            let Some(new) = self.absent(name, &architecture, relation) else {
                continue;
            };
            self.new_count += 1;
            let before = self.states();
            if let Some(slot) = self.slots.get_mut(new) {
                (slot.state, slot.tried) = (State::New, true);
            }
            if !self.is_excluded(new) && self.satisfy(new, depth + 1) {
                return true;
            }
            self.restore(&before);
        }
        false
    }

    /// The slot of a package that is not there and whose candidate a relation means.
    fn absent(&mut self, name: &'a str, architecture: &str, relation: &Relation<'a>) -> Option<usize> {
        let known = self.named.get(name).into_iter().flatten().copied();
        let known = known.filter_map(|number| Some((number, self.slots.get(number)?)));
        let mut known = known.filter(|(_, slot)| slot.architecture == architecture);
        let number = if let Some((number, slot)) = known.next() {
            (slot.state == State::Absent).then_some(number)?
        } else {
            let versions = self.policy.versions(name, architecture, None);
            let candidate = versions.get(self.policy.candidate(name, architecture, &versions)?)?;
            let facts = facts(&self.policy.best_offer(candidate)?.1, &candidate.version);
            let number = self.add(name, architecture.to_owned(), None, Some(facts));
            self.slots.get_mut(number)?.state = State::Absent;
            number
        };
        let facts = self.slots.get(number)?.new.as_ref()?;
        let is_meant = (relation.name == name && relation.takes(&facts.version)) || provides(facts, relation);
        is_meant.then_some(number)
    }
}

/// What a package of an index says.
fn facts<'a>(entry: &Entry<'a>, version: &Version) -> Facts<'a> {
    let texts = [
        entry.pre_depends,
        entry.depends,
        entry.breaks,
        entry.conflicts,
        entry.provides,
    ];
    facts_of(version, entry.multi_arch, texts)
}

fn facts_of<'a>(
    version: &Version,
    multi_arch: MultiArch,
    [pre_depends, depends, breaks, conflicts, provides]: [&'a str; 5],
) -> Facts<'a> {
    Facts {
        version: version.clone(),
        multi_arch,
        depends: [groups(pre_depends), groups(depends)].concat(),
        excludes: [list(breaks), list(conflicts)].concat(),
        provides: list(provides),
    }
}

/// What an installed package says. Where its status is not known, an index may have the same version; of another version
/// only what it provides counts, which rarely changes.
fn old_facts<'a>(relations: &'a Relations, wish: &Wish<'a>) -> Facts<'a> {
    let Installed {
        name,
        architecture,
        version,
        ..
    } = wish.installed;
    if let Some(said) = relations.of(name, architecture, version.as_str()) {
        let texts = [
            &said.pre_depends,
            &said.depends,
            &said.breaks,
            &said.conflicts,
            &said.provides,
        ];
        return facts_of(version, said.multi_arch, texts.map(String::as_str));
    }
    let same = wish
        .versions
        .iter()
        .find(|known| known.installed)
        .and_then(|known| known.offers.first());
    if let Some((_, entry)) = same {
        return facts(entry, version);
    }
    let near = wish.versions.iter().rev().find_map(|known| known.offers.first());
    let multi_arch = near.map_or(MultiArch::No, |(_, entry)| entry.multi_arch);
    facts_of(
        version,
        multi_arch,
        ["", "", "", "", near.map_or("", |(_, entry)| entry.provides)],
    )
}
