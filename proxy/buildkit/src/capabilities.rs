//! Whether a BuildKit can do what patches need, found out before anything is built: its exporter and its operations.
//! They are listed over a solve of nothing; nothing is run and nothing is kept.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1 as wire;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_client::LlbBridgeClient;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{self, PingRequest, PongResponse, Ref, ReturnRequest};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::address::Address;
use crate::llb;

/// A label of every worker that keeps images in containerd's manner. The one inside Docker does so only when Docker does, and
/// has the exporter only then.
const IMAGE_STORE: &str = "org.mobyproject.buildkit.worker.snapshotter";

/// How long the solve may take to end.
const LINGER: Duration = Duration::from_secs(1);

/// What a BuildKit lacks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The call that tells its version, and all that came with it in v0.11.
    Version,
    /// The exporter.
    Exporter,
    /// These operations of a build, by BuildKit's names for them.
    Operations(Vec<&'static str>),
}

/// How to come by a BuildKit that lacks nothing, and that `auto` finds.
pub(crate) const ADVICE: &str = "run one in a container: docker run --detach --name buildkitd --privileged moby/buildkit (its address is docker-container://buildkitd)";

impl Lack {
    /// What to do about it.
    pub(crate) fn cure(&self, address: &Address) -> &'static str {
        match (self, address) {
            (Self::Exporter, Address::Docker(_)) => {
                "turn on Docker's containerd image store (in daemon.json: {\"features\": {\"containerd-snapshotter\": true}}, \
                 then restart Docker; it needs Docker 24 or newer)"
            }
            (_, Address::Docker(_)) => "use Docker 24 or newer, with its containerd image store turned on",
            _ => "use BuildKit v0.11 or newer",
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => f.write_str("it is older than v0.11"),
            Self::Exporter => f.write_str("it lacks the exporter `oci`"),
            Self::Operations(names) => write!(f, "it lacks {}", names.join(", ")),
        }
    }
}

/// Looks for what is missing; nothing when it has all.
pub(crate) async fn lack(mut control: ControlClient<Channel>, channel: Channel) -> Result<Option<Lack>, Status> {
    let request = wire::SolveRequest {
        r#ref: uuid::Uuid::new_v4().simple().to_string(),
        cache: Some(wire::CacheOptions::default()),
        internal: true,
        ..wire::SolveRequest::default()
    };
    let build = request.r#ref.clone();
    let mut bridge = LlbBridgeClient::new(channel).max_decoding_message_size(crate::MESSAGE_LIMIT);
    let mut solving = pin!(control.solve(request));
    let pong = tokio::select! {
        pong = bridge.ping(over(&build, PingRequest {})?) => pong?.into_inner(),
        ended = &mut solving => {
            return Err(ended.err().unwrap_or_else(|| Status::internal("a solve of nothing ended by itself")));
        }
    };
    // The solve waits for a result, and an empty one ends it as a success. Where that does not work it ends with this function,
    // and BuildKit logs that it was cancelled.
    if bridge.r#return(over(&build, nothing())?).await.is_ok() {
        let _ = timeout(LINGER, solving).await;
    }
    Ok(missing(&pong))
}

/// A request to the gateway of a build.
fn over<T>(build: &str, message: T) -> Result<Request<T>, Status> {
    let build = build.parse();
    let build = build.map_err(|_| Status::internal("the name of the solve is no header value"))?;
    let mut request = Request::new(message);
    request.metadata_mut().insert("buildkit-controlapi-buildid", build);
    Ok(request)
}

fn nothing() -> ReturnRequest {
    let empty = frontend::result::Result::Ref(Ref::default());
    ReturnRequest {
        result: Some(frontend::Result {
            result: Some(empty),
            ..frontend::Result::default()
        }),
        error: None,
    }
}

fn missing(pong: &PongResponse) -> Option<Lack> {
    if !pong
        .workers
        .iter()
        .any(|worker| worker.labels.contains_key(IMAGE_STORE))
    {
        return Some(Lack::Exporter);
    }
    let has = |name: &str| pong.llb_caps.iter().any(|cap| cap.id == name && cap.enabled);
    let missing: Vec<_> = llb::CAPABILITIES.iter().copied().filter(|name| !has(name)).collect();
    (!missing.is_empty()).then_some(Lack::Operations(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_or_unknown_is_missing() {
        let cap = |name: &str, enabled| wire::apicaps::ApiCap {
            id: name.to_owned(),
            enabled,
            ..Default::default()
        };
        let all = || llb::CAPABILITIES.iter().map(|name| cap(name, true));
        let pong = |caps: &mut dyn Iterator<Item = wire::apicaps::ApiCap>, label: &str| PongResponse {
            llb_caps: caps.collect(),
            workers: vec![wire::types::WorkerRecord {
                labels: [(label.to_owned(), "overlayfs".to_owned())].into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        assert_eq!(missing(&pong(&mut all(), IMAGE_STORE)), None);
        assert_eq!(missing(&pong(&mut all(), "other")), Some(Lack::Exporter));
        let mut off = all().skip(1).chain([cap(llb::CAPABILITIES[0], false)]);
        let lack = Lack::Operations(vec![llb::CAPABILITIES[0]]);
        assert_eq!(missing(&pong(&mut off, IMAGE_STORE)), Some(lack));
        let mut unknown = all().filter(|cap| cap.id != "source.ocilayout");
        let lack = missing(&pong(&mut unknown, IMAGE_STORE)).unwrap();
        assert_eq!(lack.to_string(), "it lacks source.ocilayout");
        assert!(lack.cure(&Address::Docker(None)).contains("Docker 24"));
        assert!(!lack.cure(&Address::Unix("/x".into())).contains("Docker"));
        assert!(
            Lack::Exporter
                .cure(&Address::Docker(None))
                .contains("containerd-snapshotter")
        );
    }
}
