//! What a solve does when something goes wrong: the right kind, quickly, and the next solve works.

use std::time::{Duration, Instant};

use patchport_buildkit::{Progress, SolveError, SolveErrorKind};

use crate::Bench;

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_command_tells_its_code_its_name_and_its_last_words() {
    let bench = Bench::new().await;
    let state = bench
        .sh("echo out; echo last words >&2; exit 42")
        .name("the patch")
        .run();
    let error = bench.solve(&state).await.0.unwrap_err();
    let SolveError::ExecFailed { exit_code, vertex, log } = &error else {
        panic!("{error:?}")
    };
    assert_eq!((*exit_code, vertex.as_str()), (42, "the patch"));
    assert!(log.contains("last words"), "{log:?}");
    bench.solve(&bench.sh("echo fine > /fine").run()).await.0.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_solve_ends_at_its_limit_and_the_next_one_works() {
    let bench = Bench::new().await;
    let mut plan = bench.plan(&bench.sh("sleep 30").name("the long one").run());
    plan.timeout = Duration::from_secs(3);
    let begun = Instant::now();
    let error = bench.client.solve(&plan, |_| ()).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let SolveError::TimedOut { running, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(running, &["the long one"]);
    bench.solve(&bench.sh("echo fine > /fine").run()).await.0.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_buildkitd_is_noticed_at_once_and_found_again() {
    let mut bench = Bench::new().await;
    let plan = bench.plan(&bench.sh("echo ready; sleep 10").run());
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let mut ready = Some(ready);
    let client = bench.client.clone();
    let solving = tokio::spawn(async move {
        let watch = |event| {
            if matches!(&event, Progress::Log(line) if line.text.contains("ready")) {
                ready.take().map(|ready| ready.send(()));
            }
        };
        client.solve(&plan, watch).await
    });
    is_ready.await.unwrap();
    let begun = Instant::now();
    bench.daemon.kill();
    let error = solving.await.unwrap().unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(error.kind(), SolveErrorKind::Unreachable, "{error:?}");

    let gone = bench.solve(&bench.state()).await.0.unwrap_err();
    assert!(matches!(gone, SolveError::Unreachable(_)), "{gone:?}");

    bench.daemon.start();
    bench.daemon.answers(&bench.client).await;
    bench.solve(&bench.sh("echo fine > /fine").run()).await.0.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_whose_read_broke_off_can_be_solved_later() {
    let bench = Bench::new().await;
    let state = bench.sh("echo fine > /fine").run();
    bench.store.break_after(&bench.base.layer, 3 << 20);
    let error = bench.solve(&state).await.0.unwrap_err();
    assert_eq!(error.kind(), SolveErrorKind::Other, "{error:?}");
    bench.store.mend();
    bench.solve(&state).await.0.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_is_not_there_is_told() {
    let bench = Bench::new().await;
    let missing = crate::image::platform();
    let digest = crate::store::digest(b"missing");
    let state = patchport_buildkit::llb::State::oci_layout("base", "example.org/missing", &digest, &missing);
    let error = bench.solve(&state).await.0.unwrap_err();
    let SolveError::Failed { message, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(message.contains(&digest), "{message}");
}
