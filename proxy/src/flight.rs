//! One run per key, however many ask.
//!
//! The run is a detached task: a caller that goes away neither stops nor restarts it (moka's `try_get_with` would do
//! both). Finished results are not kept here; the run puts them where they belong before it ends.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::tasks::Tasks;

/// The runs in progress, by key.
pub struct Flights<K, V> {
    running: Arc<Mutex<Running<K, V>>>,
    tasks: Tasks,
}

type Running<K, V> = HashMap<K, Flight<V>>;

/// The run ended without a result: it panicked, or the process is shutting down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the work was interrupted, for this mirror is shutting down or met an internal fault")]
pub struct Interrupted;

/// Whether somebody waits for a run. Clones share the answer, which turns to yes once and stays so.
#[derive(Clone, Debug)]
pub struct Urgency(Arc<watch::Sender<bool>>);

impl Default for Urgency {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Urgency {
    /// Somebody waits from now on.
    pub fn raise(&self) {
        self.0.send_replace(true);
    }

    /// Whether somebody waits.
    pub fn is_raised(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until somebody waits.
    pub async fn raised(&self) {
        // The sender lives as long as we do.
        let _ = self.0.subscribe().wait_for(|raised| *raised).await;
    }
}

/// A handle on a run.
#[derive(Clone)]
pub struct Flight<V> {
    value: watch::Receiver<Option<V>>,
    urgency: Urgency,
}

impl<V: Clone> Flight<V> {
    /// Whether somebody waits for it; who does should say so.
    pub fn urgency(&self) -> &Urgency {
        &self.urgency
    }

    /// Waits for the result. Dropping the future leaves the run alone.
    ///
    /// # Errors
    /// [`Interrupted`] when the run ended without one.
    pub async fn result(mut self) -> Result<V, Interrupted> {
        let value = self.value.wait_for(Option::is_some).await.map_err(|_| Interrupted)?;
        value.clone().ok_or(Interrupted)
    }
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// No runs yet; they are spawned on `tasks`.
    pub fn new(tasks: Tasks) -> Self {
        Self {
            running: Arc::default(),
            tasks,
        }
    }

    /// Joins the run for `key`, or starts it.
    pub fn join<F>(&self, key: K, run: impl FnOnce() -> F) -> Flight<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        self.launch(key, |_| run())
    }

    /// Joins the run for `key`, or starts it; the run can see whether somebody waits for it.
    pub fn launch<F>(&self, key: K, run: impl FnOnce(Urgency) -> F) -> Flight<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = running.get(&key) {
            return flight.clone();
        }
        let (sender, value) = watch::channel(None);
        let urgency = Urgency::default();
        let flight = Flight { value, urgency };
        running.insert(key.clone(), flight.clone());
        drop(running);
        let landing = Landing {
            running: Arc::clone(&self.running),
            key,
        };
        let run = run(flight.urgency.clone());
        self.tasks.spawn(async move {
            let landing = landing;
            let value = run.await;
            drop(landing);
            sender.send_replace(Some(value));
        });
        flight
    }
}

/// Takes the key off the table, also when the run panics or is cancelled.
struct Landing<K: Eq + Hash, V> {
    running: Arc<Mutex<Running<K, V>>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_callers_share_one_run_and_may_leave() {
        let flights = Flights::new(Tasks::new());
        let runs = Arc::new(AtomicUsize::new(0));
        let start = || {
            let runs = Arc::clone(&runs);
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                runs.fetch_add(1, Ordering::SeqCst) + 1
            }
        };
        drop(flights.join("k", start));
        let (a, b) = (flights.join("k", start), flights.join("k", start));
        assert_eq!((a.result().await.unwrap(), b.result().await.unwrap()), (1, 1));
        assert_eq!(
            flights.join("k", start).result().await.unwrap(),
            2,
            "a finished run is not kept"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_was_started_for_nobody_hears_that_somebody_waits() {
        let flights = Flights::new(Tasks::new());
        let first = flights.launch("k", |urgency| async move {
            urgency.raised().await;
            urgency.is_raised()
        });
        assert!(!first.urgency().is_raised());
        flights.launch("k", |_| async { false }).urgency().raise();
        assert!(first.result().await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_is_shut_down_says_so() {
        let tasks = Tasks::new();
        let flights: Flights<&str, u8> = Flights::new(tasks.clone());
        let flight = flights.join("k", std::future::pending::<u8>);
        assert!(!tasks.shut_down(Duration::from_secs(1)).await);
        assert!(flight.result().await.is_err());
    }
}
