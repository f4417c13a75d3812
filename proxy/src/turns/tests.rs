//! Who goes first, and that no limit is exceeded whatever becomes of those who wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;

fn urgent() -> Urgency {
    let urgency = Urgency::default();
    urgency.raise();
    urgency
}

/// Lets everybody who can go on do so.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_in_the_background_run_a_few_at_a_time() {
    let turns = Turns::new(3, 5);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (turns, running, most) = (turns.clone(), Arc::clone(&running), Arc::clone(&most));
        all.spawn(async move {
            let _turn = turns.take(&Urgency::default()).await.unwrap();
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            running.fetch_sub(1, Ordering::SeqCst);
        });
    }
    let done = all.join_all().await.len();
    assert_eq!((done, most.load(Ordering::SeqCst), turns.waiting()), (1000, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn what_somebody_waits_for_goes_before_the_rest_and_finds_room() {
    let turns = Turns::new(1, 2);
    let first = turns.take(&Urgency::default()).await.unwrap();
    let order = Arc::<Mutex<Vec<&str>>>::default();
    let mut all = tokio::task::JoinSet::new();
    let promoted = Urgency::default();
    for (name, urgency) in [
        ("calm", Urgency::default()),
        ("promoted", promoted.clone()),
        ("calmer", Urgency::default()),
    ] {
        let (turns, order) = (turns.clone(), Arc::clone(&order));
        all.spawn(async move {
            let _turn = turns.take(&urgency).await.unwrap();
            order.lock().unwrap().push(name);
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
        settle().await;
    }
    // There is room for it although what nobody waits for has all of its own.
    let pull = turns.take(&urgent()).await.unwrap();
    promoted.raise();
    settle().await;
    assert!(order.lock().unwrap().is_empty(), "no room yet");
    drop(pull);
    settle().await;
    assert_eq!(*order.lock().unwrap(), ["promoted"]);
    drop(first);
    all.join_all().await;
    assert_eq!(*order.lock().unwrap(), ["promoted", "calm", "calmer"]);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_takes_no_room() {
    let turns = Turns::new(1, 1);
    let first = turns.take(&urgent()).await.unwrap();
    let given_up = tokio::time::timeout(Duration::from_secs(1), turns.take(&urgent())).await;
    assert!(given_up.is_err());
    drop(first);
    drop(turns.take(&Urgency::default()).await.unwrap());
    let running = turns.lock().running;
    assert_eq!((running, turns.waiting()), (0, 0));
}
