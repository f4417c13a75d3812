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

type Running<K, V> = HashMap<K, watch::Receiver<Option<V>>>;

/// The run ended without a result: it panicked, or the process is shutting down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the work was interrupted, for this mirror is shutting down or met an internal fault")]
pub struct Interrupted;

/// A handle on a run.
pub struct Flight<V>(watch::Receiver<Option<V>>);

impl<V: Clone> Flight<V> {
    /// Waits for the result. Dropping the future leaves the run alone.
    ///
    /// # Errors
    /// [`Interrupted`] when the run ended without one.
    pub async fn result(mut self) -> Result<V, Interrupted> {
        let value = self.0.wait_for(Option::is_some).await.map_err(|_| Interrupted)?;
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
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = running.get(&key) {
            return Flight(flight.clone());
        }
        let (sender, receiver) = watch::channel(None);
        running.insert(key.clone(), receiver.clone());
        drop(running);
        let landing = Landing {
            running: Arc::clone(&self.running),
            key,
        };
        let run = run();
        self.tasks.spawn(async move {
            let landing = landing;
            let value = run.await;
            drop(landing);
            sender.send_replace(Some(value));
        });
        Flight(receiver)
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
    async fn a_run_that_is_shut_down_says_so() {
        let tasks = Tasks::new();
        let flights: Flights<&str, u8> = Flights::new(tasks.clone());
        let flight = flights.join("k", std::future::pending::<u8>);
        assert!(!tasks.shut_down(Duration::from_secs(1)).await);
        assert!(flight.result().await.is_err());
    }
}
