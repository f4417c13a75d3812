//! The queue without any engine: who comes next, where to, and what the limits leave free.

use std::collections::VecDeque;
use std::pin::Pin;

use futures_util::FutureExt as _;

use super::*;
use crate::patch::Platforms;

fn platform(architecture: &str) -> Platform {
    Platform::new("linux", architecture, "")
}

fn up(native: &[&str], emulated: &[&str]) -> Health {
    let list = |names: &[&str]| names.iter().map(|name| platform(name)).collect();
    Health::Up(Platforms {
        native: list(native),
        emulated: list(emulated),
    })
}

/// A queue before workers that each run amd64.
fn queue(workers: usize, total: usize, worker: usize) -> Queue {
    let limits = Limits {
        total,
        worker,
        ..Limits::default()
    };
    let queue = Queue::new(workers, limits);
    for number in 0..workers {
        queue.set_health(number, up(&["amd64"], &[]));
    }
    queue
}

fn request(urgent: bool) -> Request {
    let urgency = Urgency::default();
    if urgent {
        urgency.raise();
    }
    Request {
        platform: platform("amd64"),
        emulation: false,
        upstream: "registry.example".into(),
        layers: vec![],
        urgency,
        lost: vec![],
    }
}

fn layers(names: &[&str]) -> Vec<(Digest, u64)> {
    names.iter().map(|name| (Digest::of(name.as_bytes()), 10)).collect()
}

type Standing = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Stands in the queue: a future that has been looked at once.
fn stand(queue: &Queue, request: Request) -> Standing {
    let queue = queue.clone();
    let mut standing: Standing = Box::pin(async move { queue.seat(request).await });
    match standing.as_mut().now_or_never() {
        None => standing,
        Some(answer) => Box::pin(std::future::ready(answer)),
    }
}

/// What came of it, if something has.
fn now(standing: &mut Standing) -> Option<Answer> {
    standing.as_mut().now_or_never()
}

/// The seat that there is at once.
fn seated(queue: &Queue, request: Request) -> Seat {
    now(&mut stand(queue, request)).expect("there is room").unwrap()
}

#[tokio::test]
async fn a_pull_that_waits_goes_before_background_work_and_equals_in_their_order() {
    let queue = queue(1, 16, 1);
    let first = seated(&queue, request(false));
    let mut standing: VecDeque<(&str, Standing)> = VecDeque::new();
    for (name, urgent) in [("calm 1", false), ("pull 1", true), ("calm 2", false), ("pull 2", true)] {
        standing.push_back((name, stand(&queue, request(urgent))));
    }
    let (mut order, mut seat) = (Vec::new(), first);
    while !standing.is_empty() {
        drop(seat);
        let next = standing
            .iter_mut()
            .position(|(_, standing)| match now(standing) {
                Some(answer) => {
                    *standing = Box::pin(std::future::ready(answer));
                    true
                }
                None => false,
            })
            .expect("a place is free");
        let (name, mut taken) = standing.remove(next).unwrap();
        order.push(name);
        seat = now(&mut taken).unwrap().unwrap();
        assert!(
            standing.iter_mut().all(|(_, standing)| now(standing).is_none()),
            "one at a time"
        );
    }
    assert_eq!(order, ["pull 1", "pull 2", "calm 1", "calm 2"]);
}

#[tokio::test]
async fn background_work_that_somebody_waits_for_is_promoted() {
    let queue = queue(1, 16, 1);
    let busy = seated(&queue, request(true));
    let (calm, later) = (request(false), request(false));
    let urgency = later.urgency.clone();
    let (mut calm, mut later) = (stand(&queue, calm), stand(&queue, later));
    urgency.raise();
    assert!(now(&mut later).is_none(), "it still waits, in another place");
    drop(busy);
    assert!(now(&mut calm).is_none());
    let seat = now(&mut later).expect("it comes first now").unwrap();
    drop(seat);
    assert!(now(&mut calm).is_some());
}

#[tokio::test]
async fn background_work_leaves_a_place_for_a_pull() {
    let queue = queue(1, 16, 2);
    let _busy = seated(&queue, request(false));
    let calm = request(false);
    let urgency = calm.urgency.clone();
    let mut calm = stand(&queue, calm);
    assert!(now(&mut calm).is_none(), "the last place is kept");
    let pull = seated(&queue, request(true));
    drop(pull);
    urgency.raise();
    assert!(now(&mut calm).is_some(), "somebody waits for it now");
}

#[tokio::test]
async fn no_limit_is_exceeded() {
    for (name, workers, total, worker, upstream, expected) in [
        ("worker", 2, 16, 3, None, 6),
        ("total", 2, 4, 3, None, 4),
        ("upstream", 2, 16, 3, Some(2), 2),
    ] {
        let limits = Limits {
            total,
            worker,
            upstreams: upstream
                .map(|limit| ("registry.example".into(), limit))
                .into_iter()
                .collect(),
        };
        let queue = Queue::new(workers, limits);
        for number in 0..workers {
            queue.set_health(number, up(&["amd64"], &[]));
        }
        let mut standing: Vec<Standing> = (0..20).map(|_| stand(&queue, request(true))).collect();
        let mut seats = Vec::new();
        standing.retain_mut(|standing| now(standing).map(|seat| seats.push(seat.unwrap())).is_none());
        assert_eq!(seats.len(), expected, "{name}");
        if name == "upstream" {
            let other = Request {
                upstream: "other.example".into(),
                ..request(true)
            };
            seated(&queue, other);
        }
        seats.pop();
        standing.retain_mut(|standing| now(standing).map(|seat| seats.push(seat.unwrap())).is_none());
        assert_eq!(seats.len(), expected, "{name}: one place was free again");
    }
}

#[tokio::test]
async fn a_patch_goes_where_its_base_is_warm_else_where_there_is_least_to_do() {
    let queue = queue(3, 16, 2);
    let with = |names: &[&str]| Request {
        layers: layers(names),
        ..request(true)
    };
    let first = seated(&queue, with(&["debian", "app"]));
    assert_eq!(first.worker, 0);
    assert_eq!(seated(&queue, with(&["alpine"])).worker, 1, "the idle one");
    assert_eq!(
        seated(&queue, with(&["ubuntu"])).worker,
        2,
        "the one that has served least"
    );
    let warm = seated(&queue, with(&["debian", "other"]));
    assert_eq!(warm.worker, 0, "its base is there, though others are idle");
    assert_eq!(
        seated(&queue, with(&["debian", "third"])).worker,
        1,
        "the warm one is full"
    );
    drop((first, warm));
    assert_eq!(
        seated(&queue, with(&["debian", "app"])).worker,
        0,
        "more of it is there than elsewhere"
    );
}

#[tokio::test]
async fn platforms_are_native_first_and_emulated_only_if_that_will_do() {
    let queue = queue(0, 16, 1);
    drop(queue);
    let queue = Queue::new(
        2,
        Limits {
            total: 16,
            worker: 1,
            ..Limits::default()
        },
    );
    queue.set_health(0, up(&["amd64"], &["arm64", "s390x"]));
    queue.set_health(1, up(&["arm64"], &[]));
    let wants = |architecture: &str, emulation: bool| Request {
        platform: platform(architecture),
        emulation,
        ..request(true)
    };
    let native = seated(&queue, wants("arm64", true));
    assert_eq!(native.worker, 1);
    let mut waits = stand(&queue, wants("arm64", true));
    assert!(
        now(&mut waits).is_none(),
        "a native worker that is busy is better than an emulator"
    );
    assert_eq!(seated(&queue, wants("s390x", true)).worker, 0);
    assert!(matches!(
        now(&mut stand(&queue, wants("s390x", false))),
        Some(Err(Nobody))
    ));
    queue.set_health(1, Health::default().lost("r".into()));
    assert_eq!(now(&mut waits).unwrap().unwrap().worker, 0, "now it is");
}

#[tokio::test]
async fn what_lost_its_last_worker_does_not_wait() {
    let queue = queue(2, 16, 1);
    let _busy = [seated(&queue, request(true)), seated(&queue, request(true))];
    let mut elsewhere = stand(
        &queue,
        Request {
            lost: vec![0],
            ..request(true)
        },
    );
    let mut anywhere = stand(&queue, request(true));
    queue.set_health(1, Health::default().lost("r".into()));
    assert!(matches!(now(&mut elsewhere), Some(Err(Nobody))));
    assert!(now(&mut anywhere).is_none(), "the other is up");
    queue.set_health(0, Health::default().lost("r".into()));
    assert!(matches!(now(&mut anywhere), Some(Err(Nobody))));
}

#[tokio::test]
async fn a_turn_that_is_given_up_costs_no_place() {
    let queue = queue(1, 16, 1);
    let busy = seated(&queue, request(true));
    let gone = stand(&queue, request(true));
    let mut next = stand(&queue, request(true));
    drop(gone);
    drop(busy);
    assert!(now(&mut next).is_some());
    // A place that was given out and never taken is free again.
    drop(next);
    seated(&queue, request(true));
}
