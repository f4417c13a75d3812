//! What the tests of patch jobs stand on: a patcher over an upstream and a store in memory, with an engine to order.
//!
//! What is served is judged by the kit, as a client would.

use std::sync::Arc;
use std::time::Duration;

use patchport_config::Patch as Settings;
use patchport_kit::Image;
use patchport_kit::image::Pulled;
use tokio::time::Instant;

use super::super::*;
use crate::index::Indexes;
use crate::route::Place;
use crate::sources::Sources;
use crate::store::memory::MemoryStore;
use crate::tasks::Tasks;
use crate::testing::{FakeEngine, FakeScanner, Faulty, Memory, Outcome, TERMS, place};
use crate::upstream::Upstream;

pub(super) struct Bench {
    pub(super) memory: Arc<Memory>,
    pub(super) upstream: Arc<Faulty<Arc<Memory>>>,
    pub(super) catalog: Catalog,
    pub(super) blobs: Arc<Blobs>,
    pub(super) engine: Arc<FakeEngine>,
    pub(super) scanner: Arc<FakeScanner>,
    pub(super) patcher: Arc<Patcher>,
    pub(super) tasks: Tasks,
    pub(super) place: Place,
    pub(super) scratch: tempfile::TempDir,
}

/// Nothing in these tests takes so long.
pub(super) fn patience() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

impl Bench {
    /// A repository, and an engine for amd64 and 386 of which every run ends so.
    pub(super) async fn new(outcome: Outcome) -> Self {
        Self::with(outcome, Settings::default()).await
    }

    pub(super) async fn with(outcome: Outcome, settings: Settings) -> Self {
        let memory = Arc::new(Memory::default());
        let upstream = Arc::new(Faulty::new(Arc::clone(&memory)));
        let tasks = Tasks::new();
        let engine = Arc::new(FakeEngine::new(&["amd64", "386"], outcome));
        let catalog = Catalog::in_memory().await.unwrap();
        let blobs = Arc::new(Blobs::new(Arc::new(MemoryStore::default()), tasks.clone()));
        let scratch = tempfile::tempdir().unwrap();
        let scanner = Arc::new(FakeScanner::default());
        let patcher = patcher(&catalog, &blobs, &engine, &scanner, &tasks, scratch.path(), settings);
        Self {
            place: place("team/app", Arc::clone(&upstream) as Arc<dyn Upstream>),
            memory,
            upstream,
            catalog,
            blobs,
            engine,
            scanner,
            patcher,
            tasks,
            scratch,
        }
    }

    /// Another process over the same catalog and store.
    pub(super) fn restarted(&self, engine: &Arc<FakeEngine>) -> Arc<Patcher> {
        let scratch = self.scratch.path();
        patcher(
            &self.catalog,
            &self.blobs,
            engine,
            &self.scanner,
            &self.tasks,
            scratch,
            Settings::default(),
        )
    }

    /// The same, with somebody who signs.
    pub(super) fn restarted_with(&self, signer: Signer) -> Arc<Patcher> {
        let scratch = self.scratch.path();
        let parts = parts(
            &self.catalog,
            &self.blobs,
            &self.engine,
            &self.scanner,
            &self.tasks,
            scratch,
        );
        let parts = Parts {
            signer: Some(signer),
            ..parts
        };
        Patcher::new(parts, Settings::default(), self.tasks.clone())
    }

    pub(super) fn push(&self, image: &Image) -> Manifest {
        self.memory.push("team/app", Some("v1"), image)
    }

    pub(super) async fn patched(&self, original: &Manifest) -> Result<Manifest, PatchError> {
        self.patcher.patched(&self.place, original, &TERMS, patience()).await
    }

    /// What is decided for an image.
    pub(super) async fn decision(&self, original: &Manifest) -> Option<crate::catalog::Decision> {
        let decision = self.catalog.decision(&self.place, &original.digest, "outdated").await;
        decision.unwrap()
    }

    /// What a client pulls of a patched image.
    pub(super) async fn pulled(&self, manifest: &Manifest) -> Pulled {
        let mut blobs = Vec::new();
        for descriptor in manifest.references() {
            blobs.push(self.blob(&descriptor.digest).await);
        }
        let config = blobs.remove(0);
        Pulled {
            media_type: manifest.media_type.to_owned(),
            manifest: manifest.bytes.clone(),
            config,
            layers: blobs,
        }
    }

    async fn blob(&self, digest: &Digest) -> bytes::Bytes {
        let content = self.blobs.stored(digest).await.unwrap();
        let content = content.unwrap_or_else(|| panic!("{digest} is not in the store"));
        let chunks: Vec<bytes::Bytes> = futures_util::TryStreamExt::try_collect(content.stream(None))
            .await
            .unwrap();
        chunks.concat().into()
    }

    /// Waits until all jobs have ended.
    pub(super) async fn settled(&self) {
        assert!(self.tasks.shut_down(Duration::from_secs(60)).await);
    }
}

/// A patcher over these.
pub(super) fn patcher(
    catalog: &Catalog,
    blobs: &Arc<Blobs>,
    engine: &Arc<impl Engine + 'static>,
    scanner: &Arc<FakeScanner>,
    tasks: &Tasks,
    scratch: &std::path::Path,
    settings: Settings,
) -> Arc<Patcher> {
    let parts = parts(catalog, blobs, engine, scanner, tasks, scratch);
    Patcher::new(parts, settings, tasks.clone())
}

fn parts(
    catalog: &Catalog,
    blobs: &Arc<Blobs>,
    engine: &Arc<impl Engine + 'static>,
    scanner: &Arc<FakeScanner>,
    tasks: &Tasks,
    scratch: &std::path::Path,
) -> Parts {
    let indexes = Indexes::new(vec![], Sources::default(), scratch.join("indexes"), tasks).unwrap();
    let depot = Depot::new(
        Arc::clone(indexes.fetcher()),
        Arc::clone(blobs),
        catalog.clone(),
        tasks.clone(),
    );
    Parts {
        helpers: Helpers::new(vec![], crate::route::Table::new([])),
        depot,
        indexes,
        sources: Sources::default(),
        catalog: catalog.clone(),
        resolver: Arc::new(Resolver::new(catalog.clone(), Duration::from_secs(3600), tasks.clone())),
        library: Arc::new(Library::new(catalog.clone(), Arc::clone(blobs))),
        blobs: Arc::clone(blobs),
        scanners: Scanners::new(vec![Arc::clone(scanner) as _], Duration::from_secs(60)),
        engine: Arc::clone(engine) as Arc<dyn Engine>,
        builds: builds::Builds::new(scratch.join("builds")),
        signer: None,
        scratch: scratch.to_owned(),
    }
}
