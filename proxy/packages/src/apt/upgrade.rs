//! Which upgrades fit together: each package is in its old or its new version, and whoever would break something stays
//! (`pkgProblemResolver::ResolveByKeep`), until nothing is broken that was not before.
//! Packages only ever stay or come in once, so this ends.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::candidate::Policy;
use super::card::{Card, Facts};
use super::relation::{NameId, Relation};

mod order;
mod problem;
mod search;

use problem::{Problem, provides};
use search::Sorted;

/// The most packages that come in new, so that hostile indexes cannot keep us busy.
const MAX_NEW: usize = 500;

/// The most relations that are looked at, for the same reason; a usual image takes a hundredth of it.
const MAX_WORK: u64 = 10_000_000;

/// How deep new packages may need further ones.
const MAX_DEPTH: usize = 64;

/// Which version of a package is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// None.
    Absent,
    /// The installed one.
    Old,
    /// The candidate.
    New,
}

/// When something is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// As all packages were installed.
    Before,
    /// As things are.
    Now,
}

/// A package with its versions.
struct Slot<'a> {
    name: &'a str,
    id: NameId,
    architecture: &'a str,
    old: Option<Rc<Facts<'a>>>,
    new: Option<Rc<Facts<'a>>>,
    state: State,
    /// Why it stays, when it had a candidate.
    kept: Option<String>,
    /// Whether new packages were sought for it already.
    tried: bool,
}

impl<'a> Slot<'a> {
    fn state(&self, when: When) -> State {
        match when {
            When::Now => self.state,
            When::Before if self.old.is_some() => State::Old,
            When::Before => State::Absent,
        }
    }

    fn facts(&self, when: When) -> Option<&Rc<Facts<'a>>> {
        match self.state(when) {
            State::Absent => None,
            State::Old => self.old.as_ref(),
            State::New => self.new.as_ref(),
        }
    }

    fn now(&self) -> Option<&Rc<Facts<'a>>> {
        self.facts(When::Now)
    }
}

/// What one package would do.
pub(super) struct Wish<'a> {
    pub(super) card: Rc<Card<'a>>,
    /// Whether the package may change.
    pub(super) free: bool,
}

/// All packages, each in one of its versions.
pub(super) struct World<'w, 'a> {
    policy: &'w Policy<'a>,
    slots: Vec<Slot<'a>>,
    /// Slots by the name of their package, and with what they provide in a state.
    named: Sorted<usize>,
    providers: Sorted<(usize, State)>,
    /// Names of packages that changed, and what they provide: nothing else can break a package that did not.
    touched: Vec<bool>,
    /// What was broken before, of packages that were asked for it.
    before: RefCell<HashMap<usize, HashSet<String>>>,
    new_allowed: bool,
    /// How often a new package was brought in.
    new_count: usize,
    /// How many relations were looked at.
    work: Cell<u64>,
}

impl<'w, 'a> World<'w, 'a> {
    /// All packages as they are, with what they would be.
    pub(super) fn new(policy: &'w Policy<'a>, wishes: &[Wish<'a>], new_allowed: bool) -> Self {
        let mut world = Self {
            policy,
            slots: Vec::with_capacity(wishes.len()),
            named: Sorted::default(),
            providers: Sorted::default(),
            touched: vec![false; policy.names()],
            before: RefCell::default(),
            new_allowed,
            new_count: 0,
            work: Cell::new(0),
        };
        for Wish { card, free } in wishes {
            let new = card.new_facts().filter(|_| *free);
            world.add(card.name, card.id, card.architecture, Some(card.old_facts(policy)), new);
        }
        world.named.sort();
        world.providers.sort();
        for slot in world.slots.iter_mut().filter(|slot| slot.new.is_some()) {
            slot.state = State::New;
        }
        world
    }

    /// Lets packages stay until nothing is broken; then why each of the wishes stays, nothing for those that do not.
    pub(super) fn settle(self, wishes: usize) -> Vec<Option<String>> {
        let slots = self.settled().into_iter().take(wishes);
        slots.map(|slot| slot.kept).collect()
    }

    /// The same, with the packages that come in new: their names and architectures.
    pub(super) fn settle_with_new(self, wishes: usize) -> (Vec<Option<String>>, Vec<(&'a str, &'a str)>) {
        let mut slots = self.settled();
        let new = slots
            .iter()
            .filter(|slot| slot.old.is_none() && slot.state == State::New);
        let new = new.map(|slot| (slot.name, slot.architecture)).collect();
        slots.truncate(wishes);
        (slots.into_iter().map(|slot| slot.kept).collect(), new)
    }

    fn settled(mut self) -> Vec<Slot<'a>> {
        if self.new_allowed {
            for slot in 0..self.slots.len() {
                if self.is_new(slot) && self.new_problem(slot).is_some() {
                    self.bring_in(slot);
                }
            }
        }
        if !(0..self.slots.len()).all(|slot| self.new_problem(slot).is_none()) {
            let order = self.order();
            while self.step(&order) {}
        }
        if self.is_exhausted() {
            for slot in 0..self.slots.len() {
                self.keep(slot, "what packages need and exclude is too entangled here".to_owned());
            }
        }
        self.slots
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

    /// Adds a slot; `named` and `providers` are to be sorted before they are asked.
    fn add(
        &mut self,
        name: &'a str,
        id: NameId,
        architecture: &'a str,
        old: Option<Rc<Facts<'a>>>,
        new: Option<Rc<Facts<'a>>>,
    ) -> usize {
        let number = self.slots.len();
        self.named.push(id, number);
        for (state, facts) in [(State::Old, &old), (State::New, &new)] {
            for provided in facts.iter().flat_map(|facts| &facts.provides) {
                self.providers.push(provided.id, (number, state));
                if new.is_some() {
                    self.touch(provided.id);
                }
            }
        }
        if new.is_some() {
            self.touch(id);
        }
        let state = if old.is_some() { State::Old } else { State::Absent };
        self.slots.push(Slot {
            name,
            id,
            architecture,
            old,
            new,
            state,
            kept: None,
            tried: false,
        });
        number
    }

    fn touch(&mut self, id: NameId) {
        if self.touched.len() <= id {
            self.touched.resize(id + 1, false);
        }
        if let Some(touched) = self.touched.get_mut(id) {
            *touched = true;
        }
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
        let facts = self.slots.get(slot).and_then(Slot::now).cloned();
        for group in facts.iter().flat_map(|facts| &facts.depends) {
            if self.is_satisfied(slot, group, When::Now) {
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
        let architecture = self.slots.get(slot).map_or("", |slot| slot.architecture);
        for name in self.policy.offering(relation.name).iter().copied() {
            if self.new_count >= MAX_NEW || self.is_exhausted() {
                return false;
            }
            let Some(new) = self.absent(name, architecture, relation) else {
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
    fn absent(&mut self, name: &'a str, architecture: &'a str, relation: &Relation<'a>) -> Option<usize> {
        let id = self.policy.id(name);
        let known = self.named.of(id).find_map(|number| {
            let slot = self.slots.get(number)?;
            (slot.architecture == architecture).then_some((number, slot.state))
        });
        let number = if let Some((number, state)) = known {
            (state == State::Absent).then_some(number)?
        } else {
            let facts = self.policy.fresh(name, architecture)?;
            let number = self.add(name, id, architecture, None, Some(facts));
            self.named.sort();
            self.providers.sort();
            number
        };
        let facts = self.slots.get(number)?.new.as_ref()?;
        let is_meant = (relation.name == name && relation.takes(&facts.version)) || provides(facts, relation);
        is_meant.then_some(number)
    }
}
