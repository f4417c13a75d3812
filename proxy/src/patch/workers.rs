//! Workers as one engine: a patch runs on the worker that suits it best, and on another when that one is lost on the way.
//!
//! A worker that fails at an upgrade has done its work: the same upgrade would fail elsewhere. One that cannot be reached, or that
//! is gone in the middle, is left alone until it answers again, and its patches go to others within their time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use patchport_config as config;
use patchport_oci::manifest::Content;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::health::Health;
use self::queue::{Nobody, Queue, Request, Seat};
use super::buildkit::{BuildKit, SetupError, Watch};
use super::{Base, Engine, EngineError, Environment, Order, Platforms, RawLayer};
use crate::blobs::Blobs;
use crate::plan::Plan;
use crate::sources::Sources;

mod health;
mod queue;
mod warmth;

pub use queue::Limits;

/// How long it is believed that a worker is up.
const UP_TTL: Duration = Duration::from_secs(60);
/// How long it is believed that a worker is down, when there is no other.
const DOWN_TTL: Duration = Duration::from_secs(1);
/// How often workers are asked how they are.
const INTERVAL: Duration = Duration::from_secs(15);
/// After so many looks without an answer what runs on a worker is given up: a worker that is merely busy answers in between.
const PATIENCE: u32 = 2;

/// The workers.
pub struct Pool {
    workers: Vec<Worker>,
    queue: Queue,
    /// How long a patch may take, on however many workers.
    limit: Duration,
}

/// One of them.
struct Worker {
    name: String,
    engine: Arc<dyn Engine>,
    /// When it was last asked how it is.
    asked: Mutex<Option<Instant>>,
    /// How many looks in a row it has not answered.
    silent: watch::Sender<u32>,
}

impl Worker {
    /// Waits until it has not answered for too long.
    async fn given_up(&self) {
        // The sender lives as long as we do.
        let _ = self.silent.subscribe().wait_for(|count| *count >= PATIENCE).await;
    }
}

impl Pool {
    /// Workers with their names, before which patches queue.
    pub fn new(workers: impl IntoIterator<Item = (String, Arc<dyn Engine>)>, limits: Limits, limit: Duration) -> Self {
        let workers: Vec<Worker> = workers
            .into_iter()
            .map(|(name, engine)| Worker {
                name,
                engine,
                asked: Mutex::default(),
                silent: watch::Sender::new(0),
            })
            .collect();
        Self {
            queue: Queue::new(workers.len(), limits),
            workers,
            limit,
        }
    }

    /// A BuildKit at each address, within the operator's limits; a `buildkitd` of our own would live in `state`. Connects when it
    /// is needed.
    ///
    /// # Errors
    /// [`SetupError`] when an address or the certificates are not usable.
    pub fn configured(
        config: &config::Config,
        sources: &Sources,
        state: &Path,
        environment: &Environment,
        blobs: &Arc<Blobs>,
        scratch: &Path,
        watch: Option<&Watch>,
    ) -> Result<Self, SetupError> {
        let (settings, limit) = (&config.buildkit, config.patch.timeout);
        let workers = settings.address.iter().map(|address| {
            let engine = BuildKit::new(settings, address, limit, state, environment.clone(), blobs, scratch)?;
            let engine = engine.judged(sources.clone());
            let engine = match watch {
                Some(watch) => engine.watched(Arc::clone(watch)),
                None => engine,
            };
            Ok((address.clone(), Arc::new(engine) as Arc<dyn Engine>))
        });
        let upstreams = config.upstreams.iter();
        let limits = Limits {
            total: config.patch.concurrency as usize,
            worker: settings.jobs as usize,
            upstreams: upstreams
                .filter_map(|upstream| Some((upstream.name.as_str().into(), upstream.jobs? as usize)))
                .collect(),
        };
        let workers = workers.collect::<Result<Vec<_>, SetupError>>()?;
        Ok(Self::new(workers, limits, limit))
    }

    /// Asks all workers how they are, again and again until it is told to stop. One alone is asked when it is needed: nothing is
    /// started for a mirror that patches nothing.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        if self.workers.len() < 2 {
            return;
        }
        let watching = async {
            loop {
                join_all((0..self.workers.len()).map(|number| self.ask(number, Duration::ZERO))).await;
                tokio::time::sleep(INTERVAL).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = watching => {}
        }
    }

    /// Asks a worker how it is, unless that was done so lately.
    async fn ask(&self, number: usize, ttl: Duration) {
        let Some(worker) = self.workers.get(number) else {
            return;
        };
        // One that was up a moment ago and takes its time with an answer keeps nobody waiting.
        let mut asked = match worker.asked.try_lock() {
            Ok(asked) => asked,
            Err(_) if self.queue.health(number).is_up() => return,
            Err(_) => worker.asked.lock().await,
        };
        if asked.is_some_and(|asked| asked.elapsed() < ttl) {
            return;
        }
        let answer = worker.engine.platforms().await;
        *asked = Some(Instant::now());
        match answer {
            Ok(platforms) => {
                worker.silent.send_replace(0);
                let text = platforms.to_string();
                let before = self.queue.set_health(number, Health::Up(platforms));
                if !before.is_up() {
                    tracing::info!(worker.name, worker.platforms = text, "worker is up");
                }
            }
            Err(error) => {
                worker.silent.send_modify(|count| *count += 1);
                self.lose(number, &error);
            }
        }
    }

    /// Gives a worker nothing more to do until it answers.
    fn lose(&self, number: usize, error: &EngineError) {
        let reason = error.to_string();
        let before = self
            .queue
            .set_health(number, self.queue.health(number).lost(reason.clone()));
        if let (Some(worker), false) = (self.workers.get(number), matches!(before, Health::Down { .. })) {
            tracing::warn!(worker.name, error = reason, "worker is down");
        }
    }

    /// Sees to it that we know how the workers are, but for the lost ones. Those that are down are waited for only when none is
    /// up that is wanted.
    async fn look(&self, lost: &[usize], is_wanted: impl Fn(&Health) -> bool) {
        let numbers = || (0..self.workers.len()).filter(|number| !lost.contains(number));
        let is_down = |number: &usize| matches!(self.queue.health(*number), Health::Down { .. });
        let others = numbers().filter(|number| !is_down(number));
        join_all(others.map(|number| self.ask(number, UP_TTL))).await;
        if !numbers().any(|number| is_wanted(&self.queue.health(number))) {
            join_all(numbers().filter(is_down).map(|number| self.ask(number, DOWN_TTL))).await;
        }
    }

    /// A place for a patch, on a worker that is up.
    async fn seat(&self, request: &Request) -> Result<Seat, Nobody> {
        let fits = |health: &Health| {
            health.runs(&request.platform, false) || (request.emulation && health.runs(&request.platform, true))
        };
        self.look(&request.lost, fits).await;
        match self.queue.seat(request.clone()).await {
            Ok(seat) => Ok(seat),
            Err(Nobody) => {
                // The last one was lost while we waited: it may be back.
                self.look(&request.lost, fits).await;
                self.queue.seat(request.clone()).await
            }
        }
    }

    /// How many patches wait for a place.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Why nobody is there, for people.
    fn absence(&self, request: &Request, lost: &[String]) -> EngineError {
        let down = (0..self.workers.len()).filter_map(|number| match self.queue.health(number) {
            Health::Down { reason, .. } if !request.lost.contains(&number) => Some(self.said_by(number, &reason)),
            _ => None,
        });
        let reasons: Vec<String> = lost.iter().cloned().chain(down).collect();
        EngineError::Unreachable {
            reason: match reasons.as_slice() {
                [] => format!("no worker runs {}", request.platform),
                reasons => reasons.join("; "),
            },
        }
    }

    /// What a worker says, with its name where there are several.
    fn said_by(&self, number: usize, text: &str) -> String {
        let text = text.strip_prefix("BuildKit cannot be used: ").unwrap_or(text);
        match self.workers.get(number) {
            Some(worker) if self.workers.len() > 1 => format!("worker {}: {text}", worker.name),
            _ => text.to_owned(),
        }
    }

    /// Runs a plan on one worker, for as long as that is there.
    async fn attempt(
        &self,
        number: usize,
        plan: &Plan,
        base: &Base,
        order: &Order,
    ) -> Result<Option<RawLayer>, EngineError> {
        let Some(worker) = self.workers.get(number) else {
            return Err(EngineError::Unreachable {
                reason: "it is gone".into(),
            });
        };
        if self.workers.len() > 1 {
            order.log.note(&format!("on worker {}", worker.name));
        }
        tokio::select! {
            result = worker.engine.run(plan, base, order) => result,
            () = worker.given_up() => Err(EngineError::Unreachable {
                reason: "it gives no answer any more".into(),
            }),
        }
    }
}

#[async_trait]
impl Engine for Pool {
    async fn platforms(&self) -> Result<Platforms, EngineError> {
        self.look(&[], Health::is_up).await;
        let health = (0..self.workers.len()).map(|number| self.queue.health(number));
        let known: Vec<Platforms> = health.filter_map(Health::into_platforms).collect();
        if known.is_empty() {
            let nothing = Request::default();
            return Err(self.absence(&nothing, &[]));
        }
        Ok(known.into_iter().fold(Platforms::default(), Platforms::and))
    }

    async fn run(&self, plan: &Plan, base: &Base, order: &Order) -> Result<Option<RawLayer>, EngineError> {
        let mut request = request(plan, base, order);
        let mut lost = Vec::new();
        let mut deadline = None;
        loop {
            let seat = match deadline {
                None => self.seat(&request).await,
                // What queues again has begun already: its time runs.
                Some(deadline) => match tokio::time::timeout_at(deadline, self.seat(&request)).await {
                    Ok(seat) => seat,
                    Err(_) => return Err(EngineError::TimedOut { limit: self.limit }),
                },
            };
            let Ok(seat) = seat else {
                return Err(self.absence(&request, &lost));
            };
            let until = *deadline.get_or_insert_with(|| Instant::now() + self.limit);
            let attempt = tokio::time::timeout_at(until, self.attempt(seat.worker, plan, base, order));
            match attempt.await {
                Err(_) => return Err(EngineError::TimedOut { limit: self.limit }),
                Ok(Err(error @ EngineError::Unreachable { .. })) => {
                    let reason = self.said_by(seat.worker, &error.to_string());
                    order.log.note(&format!("lost: {reason}"));
                    self.lose(seat.worker, &error);
                    request.lost.push(seat.worker);
                    lost.push(reason);
                }
                Ok(result) => return result.map_err(|error| error.told(|text| self.said_by(seat.worker, text))),
            }
        }
    }

    async fn shut_down(&self) {
        join_all(self.workers.iter().map(|worker| worker.engine.shut_down())).await;
    }
}

fn request(plan: &Plan, base: &Base, order: &Order) -> Request {
    let layers = match &base.manifest.content {
        Content::Image { layers, .. } => &layers[..],
        Content::Index { .. } => &[],
    };
    Request {
        platform: plan.platform.clone(),
        emulation: order.emulation,
        upstream: base.place.upstream().into(),
        layers: layers.iter().map(|layer| (layer.digest.clone(), layer.size)).collect(),
        urgency: order.urgency.clone(),
        lost: Vec::new(),
    }
}
