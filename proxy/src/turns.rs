//! Turns for work that needs room: so many at a time, and what somebody waits for goes first. What nobody waits for leaves room.
//!
//! A turn that somebody begins to wait for while it is queued moves ahead. Dropping a queued turn gives it up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::flight::{Interrupted, Urgency};

/// The queue. Clones share it.
#[derive(Clone)]
pub struct Turns(Arc<Mutex<State>>);

struct State {
    /// How many turns run at the same time while what is next is not waited for, and while it is.
    limits: (usize, usize),
    running: usize,
    waiting: BTreeMap<Place, oneshot::Sender<Turn>>,
    arrivals: u64,
}

/// What comes first: whether nobody waits for it, and when it came.
type Place = (bool, u64);

/// A turn; over when dropped.
pub struct Turn(Turns);

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Turn")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
        self.0.give();
    }
}

impl Turns {
    /// At most `most` turns at a time, of which what nobody waits for begins while fewer than `calm` run; both at least one.
    pub fn new(calm: usize, most: usize) -> Self {
        let calm = calm.max(1);
        Self(Arc::new(Mutex::new(State {
            limits: (calm, most.max(calm)),
            running: 0,
            waiting: BTreeMap::new(),
            arrivals: 0,
        })))
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Interrupted`] when there will be none.
    pub async fn take(&self, urgency: &Urgency) -> Result<Turn, Interrupted> {
        let (sender, mut turn) = oneshot::channel();
        let arrival = {
            let mut state = self.lock();
            state.arrivals += 1;
            let arrival = state.arrivals;
            state.waiting.insert((!urgency.is_raised(), arrival), sender);
            arrival
        };
        self.give();
        tokio::select! {
            biased;
            turn = &mut turn => return turn.map_err(|_| Interrupted),
            () = urgency.raised() => {}
        }
        {
            let mut state = self.lock();
            if let Some(sender) = state.waiting.remove(&(true, arrival)) {
                state.waiting.insert((false, arrival), sender);
            }
        }
        self.give();
        turn.await.map_err(|_| Interrupted)
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Hands out what there is room for. Not under the lock: a turn that nobody takes locks it again.
    fn give(&self) {
        loop {
            let next = self.lock().next();
            let Some(sender) = next else { return };
            let _ = sender.send(Turn(self.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Who is next, if there is room.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        self.waiting.retain(|_, sender| !sender.is_closed());
        let (calm, most) = self.limits;
        let first = self.waiting.first_entry()?;
        let limit = if first.key().0 { calm } else { most };
        if self.running >= limit {
            return None;
        }
        self.running += 1;
        Some(first.remove())
    }
}

#[cfg(test)]
mod tests;
