//! What the tests of the stages share: an upstream in memory, a decorator that makes it go wrong, an engine, images.
//!
//! A fake keeps the promises of its seam until a test tells it not to, and every wait ends by a signal, never by time.

use std::sync::Arc;
use std::time::Duration;

use patchport_config::{Emulation, EndOfLife, Fallback, Platforms, Selection, Terms};
use patchport_oci::{Digest, Tag};
use patchport_packages::inventory::{Changes, Held, Upgrade};
use patchport_packages::{Family, Version};
use tokio::sync::watch;

use crate::patch::PatchLayer;
use crate::route::{Place, Site};
use crate::upstream::Upstream;

mod engine;
mod faulty;
pub(crate) mod images;
mod memory;
mod scanner;

pub(crate) use engine::{FakeEngine, Outcome};
pub(crate) use faulty::{Fault, Faulty};
pub(crate) use memory::{Call, Calls, Memory, described};
pub(crate) use scanner::FakeScanner;

/// The name of the one upstream that most tests have.
pub(crate) const HOST: &str = "registry.example";

/// A repository of [`HOST`].
pub(crate) fn place(repository: &str, upstream: Arc<dyn Upstream>) -> Place {
    Place {
        site: Arc::new(site(HOST, upstream)),
        repository: repository.parse().unwrap(),
    }
}

/// An upstream without special rules for names.
pub(crate) fn site(name: &str, upstream: Arc<dyn Upstream>) -> Site {
    Site {
        name: name.into(),
        upstream,
        docker_library: false,
    }
}

/// What most tests ask of a patch.
pub(crate) const TERMS: Terms = Terms {
    wait: Duration::from_secs(20),
    on_timeout: Fallback::ServeLastPatched,
    on_failure: Fallback::ServeOriginal,
    patch: Selection::Outdated,
    major_upgrades: false,
    platforms: Platforms::ALL,
    emulation: Emulation::Never,
    end_of_life: EndOfLife::Patch,
};

/// A tag.
pub(crate) fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// The layer that upgraded one package, with `held` packages left alone.
pub(crate) fn patch_layer(held: &[&str]) -> PatchLayer {
    let upgraded = Upgrade {
        name: "libc6".into(),
        architecture: "amd64".into(),
        from: Version::parse(Family::Deb, "2.36-9").unwrap(),
        to: Version::parse(Family::Deb, "2.36-9+deb12u4").unwrap(),
    };
    let held = held.iter().map(|name| Held {
        name: (*name).into(),
        architecture: "amd64".into(),
    });
    PatchLayer {
        media_type: patchport_oci::media_type::OCI_LAYER_GZIP.into(),
        digest: Digest::of(b"layer"),
        size: 5,
        diff_id: Digest::of(b"tar"),
        epoch: 1_704_067_200,
        changes: Changes {
            upgraded: vec![upgraded],
            held: held.collect(),
            ..Changes::default()
        },
        now: vec![],
        packages: vec![],
        engine: "fake 1".into(),
        helper: None,
    }
}

/// Something that a fake waits for, and that tells when it waits. Closed at first.
#[derive(Clone)]
pub(crate) struct Gate {
    open: watch::Sender<bool>,
    arrived: watch::Sender<usize>,
}

impl Gate {
    /// A closed gate.
    pub(crate) fn new() -> Self {
        Self {
            open: watch::Sender::new(false),
            arrived: watch::Sender::new(0),
        }
    }

    /// Lets everything through from now on.
    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until somebody stands before the gate, or has passed it.
    pub(crate) async fn reached(&self) {
        self.arrived.subscribe().wait_for(|count| *count > 0).await.unwrap();
    }

    /// Waits until the gate is open.
    pub(crate) async fn pass(&self) {
        self.arrived.send_modify(|count| *count += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

/// A clock that moves by [`tokio::time::advance`] only, until this is dropped.
pub(crate) struct Frozen(#[expect(dead_code, reason = "dropping it ends the wait below")] std::sync::mpsc::Sender<()>);

/// Freezes tokio's clock. A clock that is merely paused jumps to the next timer whenever all tasks wait, also when they
/// wait for the thread of SQLite; it does not while a blocking task runs.
pub(crate) fn freeze() -> Frozen {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    tokio::time::pause();
    drop(tokio::task::spawn_blocking(move || receiver.recv()));
    Frozen(sender)
}
