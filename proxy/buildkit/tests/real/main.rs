//! The client against a real `buildkitd`, which every test starts for itself: what is promised of a solve, what a fault
//! looks like and how quickly, and that the next solve works again.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests end with their tasks, and read one variable in one place"
)]

mod connecting;
mod containers;
mod daemon;
mod faults;
mod image;
mod policies;
mod solving;
mod store;

use std::sync::Arc;
use std::time::Duration;

use patchport_buildkit::llb::{Exec, State};
use patchport_buildkit::{Client, Compression, Exporter, Progress, Secrets, Solve, SolveError, Solved};

use image::Image;
use store::Memory;

/// A whole set-up: a daemon, a client, a store with a base image.
struct Bench {
    daemon: daemon::Buildkitd,
    client: Client,
    store: Arc<Memory>,
    base: Image,
}

impl Bench {
    async fn new() -> Self {
        let mut daemon = daemon::Buildkitd::new();
        daemon.start();
        let client = Client::new(daemon.endpoint());
        daemon.answers(&client).await;
        let store = Arc::new(Memory::default());
        let base = Image::base(&store);
        Self {
            daemon,
            client,
            store,
            base,
        }
    }

    fn state(&self) -> State {
        self.base.state("example.org/base")
    }

    fn sh(&self, script: &str) -> Exec {
        self.state().exec(["/bin/sh", "-ec", script]).env("PATH", "/bin")
    }

    fn plan(&self, state: &State) -> Solve {
        Solve {
            definition: state.definition(),
            exporter: Exporter::new(Compression::Uncompressed).config(&self.base.config),
            content: Arc::clone(&self.store) as _,
            secrets: Secrets::default(),
            source_policy: None,
            timeout: Duration::from_secs(60),
        }
    }

    async fn solve(&self, state: &State) -> (Result<Solved, SolveError>, Vec<Progress>) {
        let mut events = Vec::new();
        let result = self.client.solve(&self.plan(state), |event| events.push(event)).await;
        (result, events)
    }
}
