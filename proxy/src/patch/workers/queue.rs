//! Who is patched next, and by which worker. A patch that a pull waits for goes before one that nobody waits for; among equals the
//! first comes first. No limit is ever exceeded, and what nobody can run does not wait.
//!
//! A patch goes where most of its base image has been before, else to the worker with the least to do.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use patchport_oci::{Digest, Platform};
use tokio::sync::oneshot;

use super::health::Health;
use super::warmth::Warmth;
use crate::flight::Urgency;

/// How many patches run at the same time.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Over all workers.
    pub total: usize,
    /// On each worker.
    pub worker: usize,
    /// Of images from an upstream, by its name; where there is none, as many as there is room for.
    pub upstreams: HashMap<Arc<str>, usize>,
}

/// A patch that is to run.
#[derive(Clone, Default)]
pub(super) struct Request {
    /// The platform to run it on.
    pub(super) platform: Platform,
    /// Whether an emulator will do.
    pub(super) emulation: bool,
    /// The upstream of the image.
    pub(super) upstream: Arc<str>,
    /// The layers of its base image, with their sizes.
    pub(super) layers: Vec<(Digest, u64)>,
    /// Whether somebody waits for it.
    pub(super) urgency: Urgency,
    /// The workers that it was lost on.
    pub(super) lost: Vec<usize>,
}

/// No worker that is up runs it.
#[derive(Debug)]
pub(super) struct Nobody;

type Answer = Result<Seat, Nobody>;

/// The queue. Clones share it.
#[derive(Clone)]
pub(super) struct Queue(Arc<Mutex<State>>);

struct State {
    limits: Limits,
    posts: Vec<Post>,
    /// None of these could be given a worker as things stand.
    waiting: BTreeMap<Turn, Waiting>,
    arrivals: u64,
    running: usize,
    upstreams: HashMap<Arc<str>, usize>,
}

/// What comes first: whether nobody waits for it, and when it came.
type Turn = (bool, u64);

/// A worker, as the queue sees it.
#[derive(Default)]
struct Post {
    health: Health,
    running: usize,
    served: u64,
    warmth: Warmth,
}

struct Waiting {
    request: Request,
    answer: oneshot::Sender<Answer>,
}

/// What has waited long enough: it has a worker now, or none any more.
struct Grant {
    waiting: Waiting,
    worker: Option<usize>,
}

enum Choice {
    Worker(usize),
    Wait,
    Nobody,
}

/// A place on a worker; free again when dropped.
pub(super) struct Seat {
    queue: Queue,
    upstream: Arc<str>,
    /// The worker's number.
    pub(super) worker: usize,
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seat({})", self.worker)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let grants = self.queue.lock().leave(self.worker, &self.upstream);
        self.queue.grant(grants);
    }
}

impl Queue {
    /// A queue before so many workers, of which nothing is known yet.
    pub(super) fn new(workers: usize, limits: Limits) -> Self {
        Self(Arc::new(Mutex::new(State {
            limits,
            posts: (0..workers).map(|_| Post::default()).collect(),
            waiting: BTreeMap::new(),
            arrivals: 0,
            running: 0,
            upstreams: HashMap::new(),
        })))
    }

    /// Waits for a place. Dropping the future gives the turn up.
    ///
    /// # Errors
    /// [`Nobody`], also when the last worker that could run it is lost meanwhile.
    pub(super) async fn seat(&self, request: Request) -> Answer {
        let urgency = request.urgency.clone();
        let (answer, mut granted) = oneshot::channel();
        let (number, grant) = self.lock().arrive(Waiting { request, answer });
        self.grant(grant);
        tokio::select! {
            biased;
            answer = &mut granted => return answer.unwrap_or(Err(Nobody)),
            () = urgency.raised() => {}
        }
        let grant = self.lock().promote(number);
        self.grant(grant);
        granted.await.unwrap_or(Err(Nobody))
    }

    /// Notes how a worker is, and gives out what that changes. How it was before.
    pub(super) fn set_health(&self, worker: usize, health: Health) -> Health {
        let mut state = self.lock();
        let before = state
            .posts
            .get_mut(worker)
            .map(|post| std::mem::replace(&mut post.health, health));
        // What only this worker could run need not wait any longer when it is down.
        let grants = state.grants(true);
        drop(state);
        self.grant(grants);
        before.unwrap_or_default()
    }

    /// How a worker is.
    pub(super) fn health(&self, worker: usize) -> Health {
        let state = self.lock();
        state
            .posts
            .get(worker)
            .map(|post| post.health.clone())
            .unwrap_or_default()
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Hands out places. Not under the lock: a seat that nobody takes locks it again.
    fn grant(&self, grants: impl IntoIterator<Item = Grant>) {
        for Grant { waiting, worker } in grants {
            let upstream = Arc::clone(&waiting.request.upstream);
            let seat = worker.map(|worker| Seat {
                queue: self.clone(),
                upstream,
                worker,
            });
            let _ = waiting.answer.send(seat.ok_or(Nobody));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives a newcomer a worker, or lets it wait: those that wait already could not be given one.
    fn arrive(&mut self, waiting: Waiting) -> (u64, Option<Grant>) {
        self.arrivals += 1;
        let number = self.arrivals;
        let calm = !waiting.request.urgency.is_raised();
        self.waiting.insert((calm, number), waiting);
        (number, self.try_grant((calm, number)))
    }

    /// Moves what somebody waits for now before what nobody waits for.
    fn promote(&mut self, number: u64) -> Option<Grant> {
        let waiting = self.waiting.remove(&(true, number))?;
        self.waiting.insert((false, number), waiting);
        self.try_grant((false, number))
    }

    /// Takes out of the queue what can be given a worker, in order; and with `all`, what has none any more.
    fn grants(&mut self, all: bool) -> Vec<Grant> {
        let (mut granted, mut last) = (Vec::new(), Bound::Unbounded);
        while let Some((turn, waiting)) = self.waiting.range((last, Bound::Unbounded)).next() {
            if !all && self.is_full() {
                break;
            }
            let turn = *turn;
            last = Bound::Excluded(turn);
            if waiting.answer.is_closed() {
                self.waiting.remove(&turn);
            } else {
                granted.extend(self.try_grant(turn));
            }
        }
        granted
    }

    fn try_grant(&mut self, turn: Turn) -> Option<Grant> {
        let worker = match self.choose(&self.waiting.get(&turn)?.request, !turn.0) {
            Choice::Wait => return None,
            Choice::Nobody => None,
            Choice::Worker(worker) => Some(worker),
        };
        let waiting = self.waiting.remove(&turn)?;
        if let Some(worker) = worker {
            self.enter(worker, &waiting.request);
        }
        Some(Grant { waiting, worker })
    }

    /// Whether nothing more could run, whatever it is.
    fn is_full(&self) -> bool {
        let has_room = |post: &Post| post.health.is_up() && post.running < self.limits.worker;
        self.running >= self.limits.total || !self.posts.iter().any(has_room)
    }

    fn choose(&self, request: &Request, urgent: bool) -> Choice {
        let able = |emulated: bool| {
            let posts = self.posts.iter().enumerate();
            let able = posts.filter(move |(number, post)| {
                !request.lost.contains(number) && post.health.runs(&request.platform, emulated)
            });
            able.collect::<Vec<_>>()
        };
        let mut workers = able(false);
        if workers.is_empty() && request.emulation {
            workers = able(true);
        }
        if workers.is_empty() {
            return Choice::Nobody;
        }
        let of_upstream = self.upstreams.get(&request.upstream).copied().unwrap_or_default();
        let upstream_is_full = self
            .limits
            .upstreams
            .get(&request.upstream)
            .is_some_and(|limit| of_upstream >= *limit);
        if upstream_is_full || self.running >= room(self.limits.total, urgent) {
            return Choice::Wait;
        }
        let free = workers
            .into_iter()
            .filter(|(_, post)| post.running < room(self.limits.worker, urgent));
        let best = free.max_by_key(|(number, post)| {
            let warm = post.warmth.bytes(&request.layers);
            (warm, Reverse(post.running), Reverse(post.served), Reverse(*number))
        });
        best.map_or(Choice::Wait, |(number, _)| Choice::Worker(number))
    }

    fn enter(&mut self, worker: usize, request: &Request) {
        self.running += 1;
        *self.upstreams.entry(Arc::clone(&request.upstream)).or_default() += 1;
        if let Some(post) = self.posts.get_mut(worker) {
            post.running += 1;
            post.served += 1;
            // From now on it fetches what it lacks.
            post.warmth.add(&request.layers);
        }
    }

    fn leave(&mut self, worker: usize, upstream: &Arc<str>) -> Vec<Grant> {
        self.running = self.running.saturating_sub(1);
        if let Some(count) = self.upstreams.get_mut(upstream) {
            *count = count.saturating_sub(1);
        }
        self.upstreams.retain(|_, count| *count > 0);
        if let Some(post) = self.posts.get_mut(worker) {
            post.running = post.running.saturating_sub(1);
        }
        self.grants(false)
    }
}

/// How much of a limit may be used: what nobody waits for leaves one place free, where there is more than one.
fn room(limit: usize, urgent: bool) -> usize {
    if urgent { limit } else { limit.saturating_sub(1).max(1) }
}

#[cfg(test)]
mod tests;
