//! Whole requests over an upstream in memory: what is served, to whom, and what closes a way to it.
//!
//! Everything below the handler is real but upstream and engine.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, StatusCode};
use http_body_util::BodyExt as _;
use patchport_config::{Action, Patch, Rule};
use patchport_kit::{Image, Index};
use tokio::time::advance;

use super::*;
use crate::blobs::Blobs;
use crate::depot::Depot;
use crate::index::Indexes;
use crate::patch::{EngineError, Parts};
use crate::scan::Scanners;
use crate::sources::Sources;
use crate::store::memory::MemoryStore;
use crate::tasks::Tasks;
use crate::testing::images::{debian, upgrade};
use crate::testing::{Call, FakeEngine, FakeScanner, Fault, Faulty, Gate, HOST, Memory, Outcome, TERMS, freeze, site};

mod access;
mod referrers;

const SECOND: Duration = Duration::from_secs(1);

pub(super) struct Bench {
    pub(super) memory: Arc<Memory>,
    pub(super) upstream: Arc<Faulty<Arc<Memory>>>,
    pub(super) engine: Arc<FakeEngine>,
    pub(super) scanner: Arc<FakeScanner>,
    pub(super) handler: Arc<Handler>,
    _scratch: tempfile::TempDir,
}

/// A response, read to its end.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// `None` for a body that broke off.
    pub(super) body: Option<Bytes>,
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> &str {
        let name: HeaderName = name.parse().unwrap();
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn digest(&self) -> &str {
        assert_eq!(self.status, 200, "{:?}", self.body);
        self.header("docker-content-digest")
    }
}

/// `wait` is 20 s, as by default.
pub(super) fn patching(on_timeout: Fallback, on_failure: Fallback) -> Action {
    Action::Patch(Terms {
        on_timeout,
        on_failure,
        ..TERMS
    })
}

pub(super) const PATCH: Action = Action::Patch(TERMS);

impl Bench {
    pub(super) async fn new(rules: &[(&str, &str, Action)], outcome: Outcome) -> Self {
        let memory = Arc::new(Memory::default());
        let upstream = Arc::new(Faulty::new(Arc::clone(&memory)));
        let engine = Arc::new(FakeEngine::new(&["amd64"], outcome));
        let scanner = Arc::new(FakeScanner::default());
        let (tasks, scratch) = (Tasks::new(), tempfile::tempdir().unwrap());
        let catalog = Catalog::in_memory().await.unwrap();
        let blobs = Arc::new(Blobs::new(Arc::new(MemoryStore::default()), tasks.clone()));
        let library = Arc::new(Library::new(catalog.clone(), Arc::clone(&blobs)));
        // Upstream is asked each time: the tests move tags and take upstream down.
        let resolver = Arc::new(Resolver::new(catalog.clone(), Duration::ZERO, tasks.clone()));
        let indexes = Indexes::new(vec![], Sources::default(), scratch.path().join("indexes"), &tasks).unwrap();
        let depot = Depot::new(
            Arc::clone(indexes.fetcher()),
            Arc::clone(&blobs),
            catalog.clone(),
            tasks.clone(),
        );
        let parts = Parts {
            helpers: crate::patch::Helpers::new(vec![], Table::new([])),
            depot,
            indexes,
            sources: Sources::default(),
            catalog: catalog.clone(),
            resolver: Arc::clone(&resolver),
            blobs,
            library: Arc::clone(&library),
            scanners: Scanners::new(vec![Arc::clone(&scanner) as _], SECOND * 60),
            engine: Arc::clone(&engine) as Arc<dyn crate::patch::Engine>,
            builds: crate::patch::builds::Builds::new(scratch.path().join("builds")),
            signer: None,
            scratch: scratch.path().to_owned(),
        };
        let rule = |(name, pattern, action): &(&str, &str, Action)| Rule {
            name: (*name).into(),
            patterns: vec![pattern.parse().unwrap()],
            action: *action,
            reason: None,
        };
        let handler = Arc::new(Handler {
            table: Table::new([site(HOST, Arc::clone(&upstream) as _)]),
            policy: Policy::new(rules.iter().map(rule).collect()),
            resolver,
            referrers: Referrers::new(catalog.clone(), tasks.clone()),
            patcher: Patcher::new(parts, Patch::default(), tasks),
            answers: Answers::default(),
            library,
            catalog,
            published: Cache::new(100),
        });
        Self {
            memory,
            upstream,
            engine,
            scanner,
            handler,
            _scratch: scratch,
        }
    }

    /// A bench that patches everything.
    pub(super) async fn patching(outcome: Outcome) -> Self {
        Self::new(&[("all", "**", PATCH)], outcome).await
    }

    pub(super) async fn send(&self, request: http::request::Builder) -> Reply {
        let request = request.body(()).unwrap();
        let response = match self.handler.answer(&request, Some(HOST)).await {
            Ok(response) => response,
            Err(failure) => respond::failure(&failure, &respond::judge(&failure)),
        };
        let (parts, body) = response.into_parts();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.ok().map(http_body_util::Collected::to_bytes),
        }
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(format!("/v2/{path}"))).await
    }

    pub(super) async fn head(&self, path: &str) -> Reply {
        self.send(Request::head(format!("/v2/{path}"))).await
    }

    async fn tag(&self) -> Reply {
        self.get("team/app/manifests/v1").await
    }

    /// Pulls a manifest, its children and its blobs, as a client does; gives what could not be had.
    pub(super) async fn pull(&self, repository: &str, reference: &str) -> Vec<String> {
        let mut broken = Vec::new();
        let mut wanted = vec![format!("{repository}/manifests/{reference}")];
        while let Some(path) = wanted.pop() {
            let reply = self.get(&path).await;
            let Some(body) = reply.body.filter(|_| reply.status == 200) else {
                broken.push(path);
                continue;
            };
            let digest = reply.headers["docker-content-digest"].to_str().unwrap();
            assert_eq!(Digest::of(&body).to_string(), digest, "{path}");
            assert!(
                !path.contains("sha256:") || path.ends_with(digest),
                "{path} gave {digest}"
            );
            if let Ok(manifest) = Manifest::parse(body, reply.headers["content-type"].to_str().unwrap()) {
                let kind = if manifest.is_index() { "manifests" } else { "blobs" };
                wanted.extend(
                    manifest
                        .references()
                        .map(|child| format!("{repository}/{kind}/{}", child.digest)),
                );
            }
        }
        broken
    }
}

fn failing() -> Outcome {
    Outcome::Fail(EngineError::Upgrade { reason: "r".into() })
}

#[tokio::test]
async fn a_patched_tag_can_be_pulled_whole_and_its_original_by_digest() {
    let index = Index::of(&[debian().build(), debian().architecture("s390x").build()], true);
    for (name, is_index) in [("image", false), ("index", true)] {
        let bench = Bench::patching(Outcome::Tar(upgrade())).await;
        let original = if is_index {
            bench.memory.push_index("team/app", Some("v1"), &index).digest
        } else {
            bench.memory.push("team/app", Some("v1"), &debian().build()).digest
        };
        let served = bench.tag().await;
        assert_ne!(served.digest(), original.to_string(), "{name}");
        assert_eq!(bench.pull("team/app", "v1").await, Vec::<String>::new(), "{name}");
        assert_eq!(
            bench.pull("team/app", &original.to_string()).await,
            Vec::<String>::new(),
            "{name}"
        );
        // Also when the tag has moved on, and when upstream is down.
        bench.memory.push("team/app", Some("v1"), &Image::tiny("other"));
        for call in [Call::Resolve, Call::Manifest, Call::BlobSize, Call::Blob] {
            bench.upstream.always(call, Fault::unreachable());
        }
        let broken = bench.pull("team/app", served.digest()).await;
        assert_eq!(broken, Vec::<String>::new(), "{name}");
        assert_eq!(served.header("warning"), "", "{name}");
    }
}

#[tokio::test]
async fn head_and_get_agree_though_the_patch_becomes_ready_in_between() {
    let _clock = freeze();
    let gate = Gate::new();
    let bench = Bench::patching(Outcome::After(gate.clone(), Box::new(Outcome::Tar(upgrade())))).await;
    let original = bench
        .memory
        .push("team/app", Some("v1"), &debian().build())
        .digest
        .to_string();
    let late = async {
        gate.reached().await;
        advance(SECOND * 21).await;
    };
    let (head, ()) = tokio::join!(bench.head("team/app/manifests/v1"), late);
    assert_eq!(head.digest(), original);
    assert!(head.header("warning").contains("not ready yet"), "{:?}", head.headers);
    gate.open();
    // A busy tag: somebody asks every second.
    let mut digests = Vec::new();
    for _ in 0..20 {
        let reply = bench.tag().await;
        assert_eq!(reply.header("warning").is_empty(), reply.digest() != original);
        digests.push(reply.digest() == original);
        advance(SECOND).await;
    }
    assert!(digests[0], "the client's GET names what its HEAD named");
    let originals = digests.iter().take_while(|is_original| **is_original).count();
    // Found after at most 5 s, and shown 10 s after that.
    assert!(
        (5..=15).contains(&originals),
        "the original was served for {originals} s"
    );
    assert!(
        digests[originals..].iter().all(|is_original| !is_original),
        "{digests:?}"
    );
    assert_eq!(bench.engine.runs(), 1);
}

#[tokio::test]
async fn policy_says_what_is_served_without_a_patch() {
    use Fallback::{Deny, ServeLastPatched, ServeOriginal};
    // Whether the tag was patched before it moved, and what is served then.
    for (name, on_failure, before, expected) in [
        ("original", ServeOriginal, false, "original"),
        (
            "original, though there is a patched one",
            ServeOriginal,
            true,
            "original",
        ),
        ("last patched", ServeLastPatched, true, "last"),
        ("last patched, there is none", ServeLastPatched, false, "original"),
        ("deny", Deny, false, "denied"),
        ("deny, though there is a patched one", Deny, true, "denied"),
    ] {
        let other = if on_failure == Deny { ServeOriginal } else { Deny };
        let bench = Bench::new(&[("all", "**", patching(other, on_failure))], Outcome::Tar(upgrade())).await;
        let mut last = String::new();
        if before {
            bench.memory.push("team/app", Some("v1"), &debian().build());
            last = bench.tag().await.digest().to_owned();
        }
        bench.engine.set(|_| failing());
        let moved = debian().config("User", "new".into()).build();
        let original = bench.memory.push("team/app", Some("v1"), &moved).digest.to_string();
        let reply = bench.tag().await;
        let warning = reply.header("warning").to_owned();
        match expected {
            "denied" => {
                assert_eq!(reply.status, 403, "{name}");
                let body = String::from_utf8(reply.body.unwrap().to_vec()).unwrap();
                assert!(
                    body.contains("DENIED") && body.contains("team/app:v1"),
                    "{name}: {body}"
                );
                // That is about the tag: the digest names exactly these bytes, and gives them.
                assert_eq!(
                    bench.get(&format!("team/app/manifests/{original}")).await.status,
                    200,
                    "{name}"
                );
            }
            "last" => {
                assert_eq!(reply.digest(), last, "{name}");
                assert!(warning.contains("older patched image"), "{name}: {warning}");
            }
            _ => {
                assert_eq!(reply.digest(), original, "{name}");
                assert!(
                    warning.starts_with("299 - \"registry.example/team/app:v1 is not patched"),
                    "{name}: {warning}"
                );
            }
        }
    }
}

#[tokio::test]
async fn late_and_failed_are_two_things() {
    let _clock = freeze();
    let gate = Gate::new();
    let never = Outcome::After(gate.clone(), Box::new(Outcome::Nothing));
    let rules = [("all", "**", patching(Fallback::Deny, Fallback::ServeOriginal))];
    let bench = Bench::new(&rules, never).await;
    bench.memory.push("team/app", Some("v1"), &debian().build());
    let late = async {
        gate.reached().await;
        advance(SECOND * 21).await;
    };
    let (reply, ()) = tokio::join!(bench.tag(), late);
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (403, "10"));
}

#[tokio::test]
async fn an_image_that_needs_no_patch_is_served_as_it_is_without_a_warning() {
    let bench = Bench::patching(Outcome::Nothing).await;
    bench.scanner.set(|_| Ok(vec![]));
    let original = bench.memory.push("team/app", Some("v1"), &debian().build());
    for _ in 0..2 {
        let reply = bench.tag().await;
        assert_eq!(
            (reply.digest(), reply.header("warning")),
            (original.digest.to_string().as_str(), "")
        );
        assert_eq!(reply.body.unwrap(), original.bytes);
    }
    assert_eq!(bench.engine.runs(), 0);
}

#[tokio::test]
async fn what_passes_is_served_byte_for_byte() {
    let bench = Bench::new(&[("all", "**", Action::Pass)], failing()).await;
    let original = bench.memory.push("team/app", Some("v1"), &debian().build());
    let reply = bench.tag().await;
    assert_eq!(
        (reply.digest(), reply.body.as_ref().unwrap()),
        (original.digest.to_string().as_str(), &original.bytes)
    );
    assert_eq!(bench.engine.runs(), 0);
    assert_eq!(bench.pull("team/app", "v1").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_moved_tag_is_served_at_once() {
    let bench = Bench::patching(Outcome::Nothing).await;
    bench.memory.push("team/app", Some("v1"), &debian().build());
    let first = bench.tag().await.digest().to_owned();
    let moved = bench.memory.push("team/app", Some("v1"), &Image::tiny("moved")).digest;
    assert_ne!(first, moved.to_string());
    assert_eq!(bench.tag().await.digest(), moved.to_string());
}
