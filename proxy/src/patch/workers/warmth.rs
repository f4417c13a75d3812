//! Which base layers a worker has had: it need not fetch and unpack them again.
//!
//! A guess, for workers tidy up by themselves; wrong guesses cost time only. Bounded, the oldest are forgotten.

use std::collections::HashMap;

use patchport_oci::Digest;

/// More layers than a worker's disk holds.
const MAX_LAYERS: usize = 8192;

/// The layers, and when each was last asked for.
#[derive(Default)]
pub(super) struct Warmth {
    layers: HashMap<Digest, u64>,
    clock: u64,
}

impl Warmth {
    /// These layers are there from now on.
    pub(super) fn add(&mut self, layers: &[(Digest, u64)]) {
        self.clock += 1;
        for (layer, _) in layers {
            self.layers.insert(layer.clone(), self.clock);
        }
        if self.layers.len() > MAX_LAYERS {
            let mut times: Vec<u64> = self.layers.values().copied().collect();
            let (_, middle, _) = times.select_nth_unstable(MAX_LAYERS / 2);
            let middle = *middle;
            self.layers.retain(|_, time| *time > middle);
        }
    }

    /// How many bytes of these layers, as they are sent, are probably there. Layers stand on those below them: what comes after
    /// a missing one counts as missing.
    pub(super) fn bytes(&self, layers: &[(Digest, u64)]) -> u64 {
        let there = layers.iter().take_while(|(layer, _)| self.layers.contains_key(layer));
        there.map(|(_, size)| size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(names: &[&str]) -> Vec<(Digest, u64)> {
        names
            .iter()
            .map(|name| (Digest::of(name.as_bytes()), name.len() as u64))
            .collect()
    }

    #[test]
    fn what_stands_on_known_layers_is_warm_by_their_size() {
        let mut warmth = Warmth::default();
        warmth.add(&layers(&["base", "middle"]));
        for (names, bytes) in [
            (&["base", "middle", "top"][..], 10),
            (&["base", "other", "middle"], 4),
            (&["other", "base"], 0),
            (&[], 0),
        ] {
            assert_eq!(warmth.bytes(&layers(names)), bytes, "{names:?}");
        }
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut warmth = Warmth::default();
        let names: Vec<String> = (0..3 * MAX_LAYERS).map(|number| number.to_string()).collect();
        for name in &names {
            warmth.add(&layers(&[name]));
            assert!(warmth.layers.len() <= MAX_LAYERS);
        }
        assert_eq!(warmth.bytes(&layers(&["0"])), 0);
        let last = names.last().unwrap();
        assert_eq!(warmth.bytes(&layers(&[last])), last.len() as u64);
    }
}
