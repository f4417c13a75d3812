//! An engine without containers: what a plan makes is what the test says.
//!
//! Counts its runs, so that a test sees how many patches were made.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use patchport_oci::Platform;
use tempfile::NamedTempFile;

use super::Gate;
use crate::patch::{Base, Engine, EngineError, Order, Platforms, RawLayer};
use crate::plan::Plan;

/// When the runs of the fake began: after every time that the kit puts into a layer.
const STARTED: u64 = 1_800_000_000;

/// What a run makes.
#[derive(Clone)]
pub(crate) enum Outcome {
    /// A layer.
    Tar(Bytes),
    /// No change.
    Nothing,
    /// A failure.
    Fail(EngineError),
    /// That, as soon as the gate opens.
    After(Gate, Box<Self>),
}

type Outcomes = Box<dyn Fn(&Plan) -> Outcome + Send>;

/// The engine.
pub(crate) struct FakeEngine {
    platforms: Mutex<Result<Platforms, EngineError>>,
    outcome: Mutex<Outcomes>,
    runs: AtomicUsize,
}

impl FakeEngine {
    /// An engine for linux on these architectures, of which every run ends so.
    pub(crate) fn new(architectures: &[&str], outcome: Outcome) -> Self {
        let platforms = architectures.iter().map(|name| Platform::new("linux", name, ""));
        Self {
            platforms: Mutex::new(Ok(Platforms {
                native: platforms.collect(),
                emulated: vec![],
            })),
            outcome: Mutex::new(Box::new(move |_| outcome.clone())),
            runs: AtomicUsize::default(),
        }
    }

    /// Ends the runs that begin from now on so.
    pub(crate) fn set(&self, outcome: impl Fn(&Plan) -> Outcome + Send + 'static) {
        *self.outcome.lock().unwrap() = Box::new(outcome);
    }

    /// Emulates linux on these architectures.
    pub(crate) fn emulating(self, architectures: &[&str]) -> Self {
        if let Ok(platforms) = self.platforms.lock().unwrap().as_mut() {
            let emulated = architectures.iter().map(|name| Platform::new("linux", name, ""));
            platforms.emulated = emulated.collect();
        }
        self
    }

    /// Answers so from now on when it is asked how it is.
    pub(crate) fn answer(&self, platforms: Result<Platforms, EngineError>) {
        *self.platforms.lock().unwrap() = platforms;
    }

    /// How many runs have begun.
    pub(crate) fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Engine for FakeEngine {
    async fn platforms(&self) -> Result<Platforms, EngineError> {
        self.platforms.lock().unwrap().clone()
    }

    async fn run(&self, plan: &Plan, _: &Base, _: &Order) -> Result<Option<RawLayer>, EngineError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let mut outcome = (self.outcome.lock().unwrap())(plan);
        loop {
            match outcome {
                Outcome::Nothing => return Ok(None),
                Outcome::Fail(error) => return Err(error),
                Outcome::After(gate, next) => {
                    gate.pass().await;
                    outcome = *next;
                }
                Outcome::Tar(bytes) => {
                    let mut tar = NamedTempFile::new().unwrap();
                    tar.write_all(&bytes).unwrap();
                    let started = STARTED;
                    return Ok(Some(RawLayer {
                        tar,
                        started,
                        from_packages: false,
                        engine: "fake".to_owned(),
                    }));
                }
            }
        }
    }
}
