//! Values by the number of a name: built once, then asked often, so a sorted list instead of a map.

use crate::apt::relation::NameId;

/// Values by number; several may have the same.
pub(super) struct Sorted<T>(Vec<(NameId, T)>);

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + Ord> Sorted<T> {
    /// Adds a value, that is found after the next [`sort`](Self::sort).
    pub(super) fn push(&mut self, id: NameId, value: T) {
        self.0.push((id, value));
    }

    pub(super) fn sort(&mut self) {
        self.0.sort_unstable();
    }

    /// The values of a name, in their order.
    pub(super) fn of(&self, id: NameId) -> impl Iterator<Item = T> {
        let from = self.0.partition_point(|(known, _)| *known < id);
        let rest = self.0.get(from..).unwrap_or_default().iter();
        rest.take_while(move |(known, _)| *known == id).map(|(_, value)| *value)
    }
}
