//! In which order what is broken is mended (`pkgProblemResolver::MakeScores`): what others need comes first, for when it stays
//! they may be well again.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::{Slot, World};

impl World<'_> {
    /// All packages, those with the highest score first. apt counts priorities and recommendations, too, which nobody keeps here.
    pub(super) fn order(&self) -> Vec<usize> {
        let mut scores: HashMap<&str, i64> = HashMap::new();
        for facts in self.slots.iter().filter_map(Slot::now) {
            for relation in facts.depends.iter().flatten() {
                *scores.entry(relation.name).or_default() += 1;
            }
            for relation in &facts.excludes {
                *scores.entry(relation.name).or_default() -= 1;
            }
        }
        // One step of inheritance: who is needed by what is needed.
        let own = scores.clone();
        for slot in &self.slots {
            let inherited = own.get(slot.name).copied().filter(|score| *score > 0);
            let needed = slot.now().map_or(&[][..], |facts| &facts.depends).iter().flatten();
            for relation in needed.filter(|_| inherited.is_some()) {
                *scores.entry(relation.name).or_default() += inherited.unwrap_or_default();
            }
        }
        let score = |slot: &Slot<'_>| {
            let provided = slot
                .now()
                .map_or(&[][..], |facts| &facts.provides)
                .iter()
                .map(|provided| provided.name);
            let names = provided.filter(|name| *name != slot.name).chain([slot.name]);
            names.filter_map(|name| scores.get(name)).sum::<i64>()
        };
        let mut order: Vec<(Reverse<i64>, usize)> = self
            .slots
            .iter()
            .enumerate()
            .map(|(number, slot)| (Reverse(score(slot)), number))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, number)| number).collect()
    }
}
