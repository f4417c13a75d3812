//! The one call of BuildKit's gateway whose answer the client needs: which operations there are.

use std::convert::Infallible;
use std::task::{Context, Poll};

use bollard_buildkit_proto::moby::buildkit::v1::apicaps::ApiCap;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{PingRequest, PongResponse};
use bollard_buildkit_proto::moby::buildkit::v1::types::WorkerRecord;
use futures_util::future::BoxFuture;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// What v0.32.2 says of the operations that the client uses.
const ALL: [&str; 13] = [
    "constraints",
    "exec.meta.base",
    "exec.meta.network",
    "exec.meta.ulimit",
    "exec.mount.bind",
    "exec.mount.cache",
    "exec.mount.cache.sharing",
    "exec.mount.selector",
    "exec.mount.tmpfs",
    "exec.mount.tmpfs.size",
    "meta.description",
    "platform",
    "source.ocilayout",
];

/// A gateway that has all operations but these.
#[derive(Clone)]
pub(crate) struct Bridge {
    /// Whether there is a solve to build over; BuildKit waits for one.
    pub(crate) open: bool,
    /// Whether its worker keeps images in containerd's manner.
    pub(crate) store: bool,
    pub(crate) lacking: &'static [&'static str],
}

impl NamedService for Bridge {
    const NAME: &'static str = "moby.buildkit.v1.frontend.LLBBridge";
}

impl UnaryService<PingRequest> for Bridge {
    type Response = PongResponse;
    type Future = BoxFuture<'static, Result<Response<PongResponse>, Status>>;

    fn call(&mut self, _: Request<PingRequest>) -> Self::Future {
        if !self.open {
            return Box::pin(std::future::pending());
        }
        let offered = ALL.into_iter().filter(|name| !self.lacking.contains(name));
        let cap = |name: &str| ApiCap {
            id: name.to_owned(),
            enabled: true,
            ..ApiCap::default()
        };
        let label = ("org.mobyproject.buildkit.worker.snapshotter", "overlayfs");
        let labels = self.store.then(|| (label.0.to_owned(), label.1.to_owned()));
        let pong = PongResponse {
            llb_caps: offered.map(cap).collect(),
            workers: vec![WorkerRecord {
                labels: labels.into_iter().collect(),
                ..WorkerRecord::default()
            }],
            ..PongResponse::default()
        };
        Box::pin(std::future::ready(Ok(Response::new(pong))))
    }
}

impl Service<http::Request<Body>> for Bridge {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let bridge = self.clone();
        Box::pin(async move {
            if !request.uri().path().ends_with("/Ping") {
                return Ok(Status::unimplemented("not called for its answer").into_http());
            }
            let codec = ProstCodec::<PongResponse, PingRequest>::default();
            Ok(Grpc::new(codec).unary(bridge, request).await)
        })
    }
}
