//! In which order what is broken is mended (`pkgProblemResolver::MakeScores`): what others need comes first, for when it stays
//! they may be well again.

use std::cmp::Reverse;

use super::{Slot, World};
use crate::apt::relation::NameId;

/// Scores by the number of a name.
struct Scores(Vec<i64>);

impl Scores {
    fn of(&self, id: NameId) -> i64 {
        self.0.get(id).copied().unwrap_or_default()
    }

    fn add(&mut self, id: NameId, score: i64) {
        if self.0.len() <= id {
            self.0.resize(id + 1, 0);
        }
        if let Some(sum) = self.0.get_mut(id) {
            *sum += score;
        }
    }
}

impl World<'_, '_> {
    /// All packages, those with the highest score first. apt counts priorities and recommendations, too, which nobody keeps here.
    pub(super) fn order(&self) -> Vec<usize> {
        let mut scores = Scores(Vec::new());
        for facts in self.slots.iter().filter_map(Slot::now) {
            for relation in facts.depends.iter().flatten() {
                scores.add(relation.id, 1);
            }
            for relation in &facts.excludes {
                scores.add(relation.id, -1);
            }
        }
        // One step of inheritance: who is needed by what is needed.
        let own = Scores(scores.0.clone());
        for slot in &self.slots {
            let inherited = own.of(slot.id);
            let needed = slot.now().map_or(&[][..], |facts| &facts.depends).iter().flatten();
            for relation in needed.filter(|_| inherited > 0) {
                scores.add(relation.id, inherited);
            }
        }
        let score = |slot: &Slot<'_>| {
            let provided = slot.now().map_or(&[][..], |facts| &facts.provides).iter();
            let ids = provided.map(|provided| provided.id).filter(|id| *id != slot.id);
            ids.chain([slot.id]).map(|id| scores.of(id)).sum::<i64>()
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
