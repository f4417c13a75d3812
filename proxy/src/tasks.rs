//! The only place that spawns tasks.
//!
//! Work outlives the client that asked for it; nothing outlives shutdown.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns detached tasks and ends them at shutdown. Clones share the same set of tasks.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` until it ends or the process shuts down, whoever asked for it.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let task = self.tracker.track_future(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
        tokio::spawn(tracing::Instrument::in_current_span(task));
    }

    /// Waits up to `patience` for the tasks that run, then cancels the rest and waits for them to be gone.
    /// Returns whether all had ended by themselves.
    pub async fn shut_down(&self, patience: Duration) -> bool {
        self.tracker.close();
        let finished = tokio::time::timeout(patience, self.tracker.wait()).await.is_ok();
        self.stop.cancel();
        self.tracker.wait().await;
        finished
    }
}
