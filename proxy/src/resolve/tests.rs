//! Tags and digests against an upstream that moves, hangs, fails and lies.
//!
//! The clock stands still but where a test moves it, so a request waits for ever or not at all.

use futures_util::future::join_all;
use patchport_kit::Image;
use patchport_oci::manifest::ManifestError;
use tokio::time::advance;

use super::*;
use crate::testing::{Call, Fault, Faulty, Gate, HOST, Memory, freeze, place, tag};

const HOUR: Duration = Duration::from_secs(3600);

struct Bench {
    memory: Arc<Memory>,
    upstream: Arc<Faulty<Arc<Memory>>>,
    catalog: Catalog,
    resolver: Arc<Resolver>,
    place: Place,
}

impl Bench {
    /// A repository with a tag `v1`, and a resolver that asks again after `ttl`.
    async fn new(ttl: Duration) -> Self {
        let memory = Arc::new(Memory::default());
        memory.push("team/app", Some("v1"), &Image::tiny("old"));
        let upstream = Arc::new(Faulty::new(Arc::clone(&memory)));
        let catalog = Catalog::in_memory().await.unwrap();
        Self {
            resolver: Arc::new(Resolver::new(catalog.clone(), ttl, Tasks::new())),
            place: place("team/app", Arc::clone(&upstream) as Arc<dyn crate::upstream::Upstream>),
            memory,
            upstream,
            catalog,
        }
    }

    async fn tag(&self) -> Resolution {
        self.resolver.tag(&self.place, &tag("v1")).await
    }

    /// Points the tag at another image.
    fn moved(&self) -> Digest {
        self.memory.push("team/app", Some("v1"), &Image::tiny("new")).digest
    }

    fn calls(&self) -> (usize, usize) {
        (
            self.memory.calls.of(Call::Resolve),
            self.memory.calls.of(Call::Manifest),
        )
    }

    /// A resolver over the same catalog that remembers nothing, as after a restart.
    fn restarted(&self, ttl: Duration) -> Arc<Resolver> {
        Arc::new(Resolver::new(self.catalog.clone(), ttl, Tasks::new()))
    }
}

fn upstream_error(error: &ResolveError) -> &UpstreamError {
    match error {
        ResolveError::Upstream(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn upstream_is_asked_again_after_the_ttl_and_sends_only_what_we_lack() {
    let old = Digest::of(&Image::tiny("old").manifest);
    for (name, ttl, moves, calls) in [
        ("fresh", HOUR, false, (1, 1)),
        ("fresh, though it moved", HOUR, true, (1, 1)),
        ("due", Duration::ZERO, false, (2, 1)),
        ("due, and moved", Duration::ZERO, true, (2, 2)),
    ] {
        let bench = Bench::new(ttl).await;
        assert_eq!(bench.tag().await.unwrap().digest, old, "{name}");
        let new = if moves { bench.moved() } else { old.clone() };
        let expected = if ttl.is_zero() { &new } else { &old };
        assert_eq!(bench.tag().await.unwrap().digest, *expected, "{name}");
        assert_eq!(bench.calls(), calls, "{name}");
    }
}

#[tokio::test]
async fn an_answer_outlives_a_restart() {
    let bench = Bench::new(HOUR).await;
    let first = bench.tag().await.unwrap();
    let again = bench.restarted(HOUR).tag(&bench.place, &tag("v1")).await.unwrap();
    assert_eq!((again.bytes, again.media_type), (first.bytes, first.media_type));
    assert_eq!(bench.calls(), (1, 1));
}

#[tokio::test]
async fn a_slow_upstream_is_waited_for_for_a_second_and_heard_when_it_answers() {
    let _clock = freeze();
    let bench = Bench::new(Duration::ZERO).await;
    let old = bench.tag().await.unwrap().digest;
    let (gate, new) = (Gate::new(), bench.moved());
    bench.upstream.nth(Call::Resolve, 1, Fault::Hang(gate.clone()));
    let slow = async {
        gate.reached().await;
        advance(Duration::from_millis(1_010)).await;
    };
    let (stale, ()) = tokio::join!(bench.tag(), slow);
    assert_eq!(stale.unwrap().digest, old);
    gate.open();
    // The question goes on without the request; whoever comes after its answer gets the new one.
    let fresh = join_flight(&bench).await;
    assert_eq!(fresh.digest, new);
    assert_eq!(bench.tag().await.unwrap().digest, new);
}

/// Waits for the question that is on its way.
async fn join_flight(bench: &Bench) -> Manifest {
    let never = || std::future::ready(Err(Interrupted.into()));
    match bench
        .resolver
        .flights
        .join(key(&bench.place, "v1"), never)
        .result()
        .await
        .unwrap()
    {
        Ok(manifest) => manifest,
        // It had ended already.
        Err(_) => bench.resolver.known(&bench.place, &tag("v1")).await.unwrap().unwrap().0,
    }
}

#[tokio::test]
async fn without_an_older_answer_a_request_waits_longer_but_not_for_ever() {
    let _clock = freeze();
    let bench = Bench::new(HOUR).await;
    let gate = Gate::new();
    bench.upstream.always(Call::Resolve, Fault::Hang(gate.clone()));
    let slow = async {
        gate.reached().await;
        advance(PATIENCE + Duration::from_millis(10)).await;
    };
    let (late, ()) = tokio::join!(bench.tag(), slow);
    let late = late.unwrap_err();
    assert!(matches!(late, ResolveError::Late { .. }), "{late:?}");
    assert!(late.to_string().contains("registry.example/team/app:v1"), "{late}");
    let other = Digest::of(b"other");
    let gate = Gate::new();
    bench.upstream.always(Call::Manifest, Fault::Hang(gate.clone()));
    let slow = async {
        gate.reached().await;
        advance(PATIENCE + Duration::from_millis(10)).await;
    };
    let (late, ()) = tokio::join!(bench.resolver.digest(&bench.place, &other, false), slow);
    assert!(matches!(late, Err(ResolveError::Late { .. })), "{late:?}");
}

/// Each kind of error, and whether an older answer may stand in for it.
fn errors() -> Vec<(UpstreamError, bool)> {
    let (upstream, subject): (Arc<str>, String) = (HOST.into(), "it".into());
    let invalid: Arc<ManifestError> = Arc::new(Manifest::parse("no", "").unwrap_err());
    macro_rules! error {
        ($kind:ident $(, $field:ident: $value:expr)*) => {
            UpstreamError::$kind { upstream: Arc::clone(&upstream), subject: subject.clone() $(, $field: $value)* }
        };
    }
    vec![
        (error!(Unreachable, reason: "r".into()), true),
        (error!(Faulty, status: 503), true),
        (error!(Faulty, status: 500), true),
        (error!(RateLimited, retry_after: None), true),
        (error!(NotFound), false),
        (error!(Refused, status: 401), false),
        (error!(Lied, reason: "r".into()), false),
        (error!(Untrusted, reason: "r".into()), false),
        (error!(Manifest, source: invalid), false),
    ]
}

#[tokio::test]
async fn an_older_answer_stands_in_for_an_upstream_that_is_down_not_for_one_that_says_no() {
    for (error, stale) in errors() {
        let bench = Bench::new(Duration::ZERO).await;
        bench.upstream.always(Call::Resolve, Fault::Fail(error.clone()));
        let refused = bench.tag().await.unwrap_err();
        assert_eq!(
            upstream_error(&refused).to_string(),
            error.to_string(),
            "nothing is known yet"
        );
        bench.upstream.heal();
        let old = bench.tag().await.unwrap().digest;
        bench.upstream.always(Call::Resolve, Fault::Fail(error.clone()));
        let answer = bench.tag().await;
        assert_eq!(
            answer.as_ref().ok().map(|manifest| &manifest.digest),
            stale.then_some(&old),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_upstream_that_was_just_down_is_not_waited_for_again() {
    let bench = Bench::new(Duration::ZERO).await;
    bench.tag().await.unwrap();
    bench.upstream.always(Call::Resolve, Fault::unreachable());
    let asked = || bench.upstream.calls.of(Call::Resolve);
    bench.tag().await.unwrap();
    let before = asked();
    bench.tag().await.unwrap();
    assert_eq!(asked(), before);
}

#[tokio::test]
async fn a_tag_that_is_gone_does_not_come_back_when_upstream_is_down() {
    for (error, _) in errors()
        .into_iter()
        .filter(|(error, _)| matches!(error, UpstreamError::NotFound { .. } | UpstreamError::Refused { .. }))
    {
        let bench = Bench::new(Duration::ZERO).await;
        let old = bench.tag().await.unwrap().digest;
        bench.upstream.nth(Call::Resolve, 1, Fault::Fail(error.clone()));
        bench.tag().await.unwrap_err();
        bench.upstream.always(Call::Resolve, Fault::unreachable());
        assert!(bench.tag().await.is_err(), "{error}");
        assert!(
            bench.restarted(HOUR).tag(&bench.place, &tag("v1")).await.is_err(),
            "{error}"
        );
        let by_digest = bench.resolver.digest(&bench.place, &old, true).await;
        assert!(by_digest.is_ok(), "its image stays pullable by digest");
    }
}

#[tokio::test]
async fn many_requests_ask_once() {
    let bench = Bench::new(HOUR).await;
    let gate = Gate::new();
    bench.upstream.always(Call::Resolve, Fault::Hang(gate.clone()));
    let opens = async {
        gate.reached().await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(join_all((0..10).map(|_| bench.tag())), opens);
    let old = Digest::of(&Image::tiny("old").manifest);
    assert!(answers.into_iter().all(|answer| answer.unwrap().digest == old));
    assert_eq!(bench.calls(), (1, 1));
}

#[tokio::test]
async fn an_upstream_that_names_no_digest_is_asked_for_the_tag_itself() {
    let bench = Bench::new(Duration::ZERO).await;
    bench.upstream.always(Call::Resolve, Fault::Digest(None));
    bench.tag().await.unwrap();
    let new = bench.moved();
    assert_eq!(bench.tag().await.unwrap().digest, new);
    assert_eq!(bench.calls(), (0, 2));
}

#[tokio::test]
async fn a_digest_that_upstream_does_not_stand_by_leaves_nothing_behind() {
    let bench = Bench::new(HOUR).await;
    let invented = Digest::of(b"invented");
    bench
        .upstream
        .always(Call::Resolve, Fault::Digest(Some(invented.clone())));
    let refused = bench.tag().await.unwrap_err();
    assert!(
        matches!(upstream_error(&refused), UpstreamError::NotFound { .. }),
        "{refused:?}"
    );
    assert_eq!(bench.catalog.tag(&bench.place, &tag("v1")).await.unwrap(), None);
    assert!(bench.catalog.manifest(&invented).await.unwrap().is_none());
    bench.upstream.heal();
    assert!(bench.tag().await.is_ok(), "the lie is not remembered");
}

#[tokio::test]
async fn a_digest_is_served_from_the_cache_only_where_it_may_be_read() {
    let bench = Bench::new(HOUR).await;
    let held = bench.tag().await.unwrap().digest;
    let other = place("team/other", Arc::clone(&bench.place.site.upstream));
    for (name, place, readable, found, asked) in [
        ("may be read", &bench.place, true, true, 0),
        ("is asked for anew", &bench.place, false, true, 1),
        ("belongs to another repository", &other, false, false, 1),
    ] {
        let before = bench.calls().1;
        let answer = bench.resolver.digest(place, &held, readable).await;
        assert_eq!(answer.is_ok(), found, "{name}");
        assert_eq!(bench.calls().1 - before, asked, "{name}");
    }
}
