//! The health check that BuildKit makes of a session, and what we learn from it: that BuildKit is still there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::health_server;
use bollard_buildkit_proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use tokio::time::{Instant, sleep_until};
use tonic::{Request, Response, Status};

/// The path of the one method that BuildKit calls.
pub(crate) const CHECK: &str = "/grpc.health.v1.Health/Check";

/// When BuildKit last called us.
#[derive(Clone)]
pub(crate) struct Pulse(Arc<Mutex<Instant>>);

impl Default for Pulse {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Pulse {
    pub(crate) fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns once there was no beat for `limit`.
    pub(crate) async fn silent_for(&self, limit: Duration) {
        loop {
            let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner) + limit;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

pub(crate) struct Health(Pulse);

impl Health {
    pub(crate) fn new(pulse: Pulse) -> Self {
        Self(pulse)
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.0.beat();
        Ok(Response::new(HealthCheckResponse {
            status: ServingStatus::Serving.into(),
        }))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("only Check is served"))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("only Check is served"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_beat() {
        let pulse = Pulse::default();
        let start = Instant::now();
        let silent = async {
            pulse.silent_for(Duration::from_secs(60)).await;
            start.elapsed()
        };
        let beat = async {
            sleep_until(start + Duration::from_secs(30)).await;
            pulse.beat();
        };
        let (elapsed, ()) = tokio::join!(silent, beat);
        assert_eq!(elapsed.as_secs(), 90);
    }
}
