//! Several workers behind one patcher: where patches run, what becomes of them when a worker is lost, and who goes first.
//!
//! The workers are engines to order; the pool, its queue and the job table are the real ones.

use std::collections::HashMap;
use std::sync::Mutex;

use patchport_config::{Emulation, Platforms as Chosen};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::patch::workers::{Limits, Pool};
use crate::plan::Choices;

/// How long a patch may take.
const LIMIT: Duration = Duration::from_secs(600);

fn lost() -> EngineError {
    EngineError::Unreachable {
        reason: "the fake breaks".into(),
    }
}

fn upgraded() -> Outcome {
    Outcome::Tar(upgrade())
}

fn worker(architectures: &[&str], outcome: Outcome) -> Arc<FakeEngine> {
    Arc::new(FakeEngine::new(architectures, outcome))
}

fn pool(workers: &[&Arc<FakeEngine>], jobs: usize) -> Arc<Pool> {
    let limits = Limits {
        total: 16,
        worker: jobs,
        upstreams: HashMap::new(),
    };
    let named = workers.iter().enumerate().map(|(number, engine)| {
        let engine = Arc::clone(engine) as Arc<dyn Engine>;
        (format!("w{number}"), engine)
    });
    Arc::new(Pool::new(named, limits, LIMIT))
}

/// A bench, and a patcher over its parts that patches with these workers.
async fn over(pool: &Arc<Pool>, settings: Settings) -> (Bench, Arc<Patcher>) {
    let bench = Bench::new(Outcome::Nothing).await;
    let scratch = bench.scratch.path();
    let patcher = patcher(
        &bench.catalog,
        &bench.blobs,
        pool,
        &bench.scanner,
        &bench.tasks,
        scratch,
        settings,
    );
    (bench, patcher)
}

/// An image of its own.
fn image(bench: &Bench, name: &str) -> Manifest {
    bench.push(&debian().config("Entrypoint", serde_json::json!([name])).build())
}

async fn patched(bench: &Bench, patcher: &Arc<Patcher>, original: &Manifest) -> Result<Manifest, PatchError> {
    patcher.patched(&bench.place, original, &TERMS, patience()).await
}

#[tokio::test]
async fn a_patch_whose_worker_is_lost_is_made_by_another_and_the_lost_one_is_left_alone() {
    let (first, second) = (
        worker(&["amd64"], Outcome::Fail(lost())),
        worker(&["amd64"], upgraded()),
    );
    let pool = pool(&[&first, &second], 2);
    let (bench, patcher) = over(&pool, Settings::default()).await;
    let original = image(&bench, "one");
    let served = patched(&bench, &patcher, &original).await.unwrap();
    assert_ne!(served.digest, original.digest);
    assert_eq!((first.runs(), second.runs()), (1, 1));
    let other = image(&bench, "two");
    assert_ne!(patched(&bench, &patcher, &other).await.unwrap().digest, other.digest);
    assert_eq!((first.runs(), second.runs()), (1, 2), "it is down until it answers");
}

#[tokio::test]
async fn an_upgrade_that_failed_by_itself_is_not_tried_elsewhere_and_says_where() {
    let failed = || {
        Outcome::Fail(EngineError::Upgrade {
            reason: "dpkg says no".into(),
        })
    };
    let (first, second) = (worker(&["amd64"], failed()), worker(&["amd64"], failed()));
    let (bench, patcher) = over(&pool(&[&first, &second], 2), Settings::default()).await;
    let original = image(&bench, "one");
    let error = patched(&bench, &patcher, &original).await.unwrap_err().to_string();
    assert_eq!(first.runs() + second.runs(), 1);
    assert!(error.contains("worker w0: dpkg says no (build log "), "{error}");
}

#[tokio::test]
async fn when_all_workers_are_lost_each_is_named() {
    let (first, second) = (
        worker(&["amd64"], Outcome::Fail(lost())),
        worker(&["amd64"], Outcome::Fail(lost())),
    );
    let pool = pool(&[&first, &second], 2);
    let (bench, patcher) = over(&pool, Settings::default()).await;
    let original = image(&bench, "one");
    let error = patched(&bench, &patcher, &original).await.unwrap_err();
    assert!(
        matches!(error, PatchError::Engine(EngineError::Unreachable { .. })),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(
        text.contains("worker w0: the fake breaks") && text.contains("worker w1: the fake breaks"),
        "{text}"
    );
    // They are asked again when the next pull needs one.
    first.set(|_| upgraded());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_ne!(
        patched(&bench, &patcher, &original).await.unwrap().digest,
        original.digest
    );
}

#[tokio::test]
async fn workers_that_were_never_there_are_named_too() {
    let (first, second) = (worker(&[], upgraded()), worker(&[], upgraded()));
    first.answer(Err(lost()));
    second.answer(Err(lost()));
    let pool = pool(&[&first, &second], 2);
    let error = pool.platforms().await.unwrap_err().to_string();
    assert_eq!(
        error,
        "BuildKit cannot be used: worker w0: the fake breaks; worker w1: the fake breaks"
    );
}

#[tokio::test]
async fn a_worker_that_gives_no_answer_any_more_loses_what_it_runs() {
    let _clock = crate::testing::freeze();
    let gate = Gate::new();
    let hangs = Outcome::After(gate.clone(), Box::new(upgraded()));
    let (first, second) = (worker(&["amd64"], hangs), worker(&["amd64"], upgraded()));
    let pool = pool(&[&first, &second], 2);
    let (bench, patcher) = over(&pool, Settings::default()).await;
    let original = image(&bench, "one");
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let falls_silent = async {
        gate.reached().await;
        first.answer(Err(lost()));
        for _ in 0..1000 {
            if second.runs() > 0 {
                break;
            }
            tokio::time::advance(Duration::from_secs(5)).await;
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (served, (), ()) = tokio::join!(
        patched(&bench, &patcher, &original),
        falls_silent,
        Arc::clone(&pool).watch(stopped)
    );
    assert_ne!(served.unwrap().digest, original.digest);
    assert_eq!((first.runs(), second.runs()), (1, 1));
}

#[tokio::test]
async fn the_time_limit_holds_over_all_workers() {
    let _clock = crate::testing::freeze();
    let (gate, never) = (Gate::new(), Gate::new());
    let late = Outcome::After(gate.clone(), Box::new(Outcome::Fail(lost())));
    let (first, second) = (
        worker(&["amd64"], late),
        worker(&["amd64"], Outcome::After(never.clone(), Box::new(upgraded()))),
    );
    let (bench, patcher) = over(&pool(&[&first, &second], 2), Settings::default()).await;
    let original = image(&bench, "one");
    let job = patcher.start(
        &bench.place,
        &original,
        Choices::new(&TERMS, &Settings::default()),
        &(
            "registry.example/team/app".into(),
            original.digest.clone(),
            "outdated".into(),
        ),
    );
    let time_runs = async {
        gate.reached().await;
        tokio::time::advance(LIMIT - Duration::from_secs(10)).await;
        gate.open();
        never.reached().await;
        tokio::time::advance(Duration::from_secs(11)).await;
    };
    let (ended, ()) = tokio::join!(job.result(), time_runs);
    let error = ended.unwrap().unwrap_err();
    assert!(
        matches!(error, PatchError::Engine(EngineError::TimedOut { limit }) if limit == LIMIT),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_pull_that_waits_goes_before_what_was_queued_for_nobody() {
    let gate = Gate::new();
    let order = Arc::new(Mutex::new(Vec::new()));
    let engine = worker(&["amd64"], Outcome::Nothing);
    let (runs, first) = (Arc::clone(&order), gate.clone());
    engine.set(move |plan| {
        runs.lock().unwrap().push(plan.image.clone());
        Outcome::After(first.clone(), Box::new(upgraded()))
    });
    let pool = pool(&[&engine], 1);
    let (bench, patcher) = over(&pool, Settings::default()).await;
    let images: Vec<Manifest> = ["running", "calm", "promoted", "pull"]
        .iter()
        .map(|name| image(&bench, name))
        .collect();
    let choices = Choices::new(&TERMS, &Settings::default());
    let start = |image: &Manifest| {
        let key = (bench.place.to_string(), image.digest.clone(), choices.to_string());
        patcher.start(&bench.place, image, choices, &key)
    };
    let running = start(&images[0]);
    gate.reached().await;
    let mut jobs = vec![running, start(&images[1]), start(&images[2])];
    queued(&pool, 2).await;
    jobs[2].urgency().raise();
    let pull = start(&images[3]);
    pull.urgency().raise();
    jobs.push(pull);
    queued(&pool, 3).await;
    gate.open();
    for job in jobs {
        job.result().await.unwrap().unwrap();
    }
    let expected: Vec<Digest> = [0, 2, 3, 1].map(|number: usize| images[number].digest.clone()).to_vec();
    assert_eq!(*order.lock().unwrap(), expected);
}

/// Waits until so many patches wait for a place.
async fn queued(pool: &Pool, count: usize) {
    while pool.waiting() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An index for these architectures, and what is served for each: its original or a patched image.
async fn kept(
    bench: &Bench,
    patcher: &Arc<Patcher>,
    index: &Manifest,
    terms: &Terms,
) -> Result<Vec<(String, bool)>, PatchError> {
    let served = patcher.patched(&bench.place, index, terms, patience()).await?;
    let children = |manifest: &Manifest| -> Vec<(String, Value)> {
        let json: Value = serde_json::from_slice(&manifest.bytes).unwrap();
        let children = json["manifests"].as_array().unwrap().iter();
        children
            .map(|child| {
                (
                    child["platform"]["architecture"].as_str().unwrap().to_owned(),
                    child["digest"].clone(),
                )
            })
            .collect()
    };
    let before = children(index);
    Ok(children(&served)
        .into_iter()
        .map(|child| (child.0.clone(), before.contains(&child)))
        .collect())
}

fn both(bench: &Bench) -> Manifest {
    let images = ["amd64", "arm64"].map(|name| debian().architecture(name).build());
    bench
        .memory
        .push_index("team/app", Some("v1"), &Index::of(&images, false))
}

fn entries(amd64: bool, arm64: bool) -> Vec<(String, bool)> {
    vec![("amd64".into(), amd64), ("arm64".into(), arm64)]
}

#[tokio::test]
async fn each_platform_of_an_index_is_patched_by_a_worker_that_runs_it() {
    let (first, second) = (worker(&["amd64"], upgraded()), worker(&["arm64"], upgraded()));
    let (bench, patcher) = over(&pool(&[&first, &second], 1), Settings::default()).await;
    let index = both(&bench);
    assert_eq!(
        kept(&bench, &patcher, &index, &TERMS).await.unwrap(),
        entries(false, false)
    );
    assert_eq!((first.runs(), second.runs()), (1, 1));
}

#[tokio::test]
async fn a_platform_whose_worker_is_away_is_patched_when_it_is_back() {
    let (first, second) = (
        worker(&["amd64"], upgraded()),
        worker(&["arm64"], Outcome::Fail(lost())),
    );
    let settings = Settings {
        retry_after: Duration::from_millis(50),
        ..Settings::default()
    };
    let (bench, patcher) = over(&pool(&[&first, &second], 1), settings).await;
    let index = both(&bench);
    assert_eq!(
        kept(&bench, &patcher, &index, &TERMS).await.unwrap(),
        entries(false, true)
    );
    second.set(|_| upgraded());
    let end = Instant::now() + Duration::from_secs(30);
    while kept(&bench, &patcher, &index, &TERMS).await.unwrap() != entries(false, false) {
        assert!(Instant::now() < end, "arm64 is never patched");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(first.runs(), 1, "what was made is not made again");
}

#[tokio::test]
async fn policy_says_which_platforms_are_patched_and_whether_they_are_emulated() {
    let emulates = Arc::new(FakeEngine::new(&["amd64"], upgraded()).emulating(&["arm64"]));
    let (bench, patcher) = over(&pool(&[&emulates], 2), Settings::default()).await;
    let index = both(&bench);
    let terms = |platforms: &[&str], emulation| Terms {
        platforms: Chosen::named(platforms.iter().copied()).unwrap_or(Chosen::ALL),
        emulation,
        ..TERMS
    };
    let (never, allow) = (Emulation::Never, Emulation::Allow);
    for (platforms, emulation, expected) in [
        (&[][..], never, entries(false, true)),
        (&[], allow, entries(false, false)),
        (&["linux/amd64"], allow, entries(false, true)),
        (&["linux/arm64"], allow, entries(true, false)),
        (&["linux/s390x"], allow, entries(true, true)),
    ] {
        let terms = terms(platforms, emulation);
        let found = kept(&bench, &patcher, &index, &terms).await.unwrap();
        assert_eq!(found, expected, "{platforms:?} {emulation}");
    }
    let error = kept(&bench, &patcher, &index, &terms(&["linux/arm64"], never))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "no builder runs linux/arm64; it runs linux/amd64; emulated linux/arm64 (emulation = \"never\")"
    );
    // An image of one platform obeys, too.
    let alone = bench.push(&debian().architecture("amd64").build());
    let only_arm = terms(&["linux/arm64"], never);
    let served = patcher
        .patched(&bench.place, &alone, &only_arm, patience())
        .await
        .unwrap();
    assert_eq!(served.digest, alone.digest);
}
