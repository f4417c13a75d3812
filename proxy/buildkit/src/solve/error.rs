//! Why a solve failed, read from BuildKit's status and the details that it attaches.
//! The kinds are the ones that a caller treats differently; the rest keeps BuildKit's own words.

use std::time::Duration;

use bollard_buildkit_proto::google::rpc;
use prost::Message as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::connect;
use crate::progress::Tracker;

/// The longest message of BuildKit that is kept, in bytes.
const MESSAGE_LIMIT: usize = 8 << 10;

/// Why a solve failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There was no connection to begin with.
    #[error(transparent)]
    Unreachable(connect::Error),
    /// The connection ended during the solve: BuildKit died or the network did.
    #[error("BuildKit at {address}: the connection was lost during the solve")]
    ConnectionLost {
        /// The place.
        address: String,
    },
    /// The connection stands, but the session over which BuildKit reads and writes blobs is gone.
    #[error("BuildKit at {address}: the session was lost during the solve")]
    SessionLost {
        /// The place.
        address: String,
        /// How.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A command ended with an exit code that is not 0.
    #[error("`{vertex}` ended with exit code {exit_code}; its output ends: {log}")]
    ExecFailed {
        /// The code; 128 and a signal's number if one killed it.
        exit_code: u32,
        /// The operation's name.
        vertex: String,
        /// The end of what it wrote, some kilobytes at most.
        log: String,
    },
    /// This BuildKit is too old or was built without something that the solve needs.
    #[error("BuildKit at {address} lacks a capability: {message}")]
    MissingCapability {
        /// The place.
        address: String,
        /// BuildKit's words.
        message: String,
    },
    /// The time limit was reached and the solve cancelled.
    #[error("the solve was cancelled at its limit of {after:?}; running then: {running:?}")]
    TimedOut {
        /// The limit.
        after: Duration,
        /// The names of the operations that were running.
        running: Vec<String>,
    },
    /// Anything else, in BuildKit's words.
    #[error("BuildKit at {address}: the solve failed at {}: {message}", .vertex.as_deref().unwrap_or("no operation of its own"))]
    Failed {
        /// The place.
        address: String,
        /// The operation's name, if BuildKit says which.
        vertex: Option<String>,
        /// BuildKit's words.
        message: String,
    },
}

/// An [`Error`] without its particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BuildKit is not there, or not any more: another try may find it.
    Unreachable,
    /// The way back to us was lost: another try may succeed.
    SessionLost,
    /// The command itself failed: another try will probably do the same.
    ExecFailed,
    /// This BuildKit cannot do it at all.
    MissingCapability,
    /// It took too long.
    TimedOut,
    /// Anything else.
    Other,
}

impl Error {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Unreachable(_) | Self::ConnectionLost { .. } => Kind::Unreachable,
            Self::SessionLost { .. } => Kind::SessionLost,
            Self::ExecFailed { .. } => Kind::ExecFailed,
            Self::MissingCapability { .. } => Kind::MissingCapability,
            Self::TimedOut { .. } => Kind::TimedOut,
            Self::Failed { .. } => Kind::Other,
        }
    }
}

/// What BuildKit attaches to an error (`grpc-status-details-bin`, a `google.rpc.Status`) as far as we read it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Details {
    pub(super) exit_code: Option<u32>,
    pub(super) vertex: Option<String>,
}

#[derive(Deserialize)]
struct ExitMessage {
    // Go writes the field's own name and drops a zero.
    #[serde(rename = "Code", default)]
    code: u32,
}

#[derive(Deserialize)]
struct VertexDetail {
    #[serde(alias = "Digest")]
    digest: String,
}

impl Details {
    /// Reads what is there; what is not understood counts as absent.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let mut details = Self::default();
        let Ok(status) = rpc::Status::decode(bytes) else {
            return details;
        };
        for any in &status.details {
            let name = any.type_url.rsplit('/').next().unwrap_or_default();
            match name {
                "gatewayapi.ExitMessage+json" => {
                    details.exit_code = json(&any.value).map(|exit: ExitMessage| exit.code)
                }
                "errdefs.Vertex+json" => details.vertex = json(&any.value).map(|vertex: VertexDetail| vertex.digest),
                _ => {}
            }
        }
        details
    }
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// Sorts a status that BuildKit itself sent.
pub(super) fn classify(address: &str, status: &tonic::Status, tracker: &Tracker) -> Error {
    let details = Details::decode(status.details());
    let mut message = status.message().to_owned();
    message.truncate(message.floor_char_boundary(MESSAGE_LIMIT));
    let address = address.to_owned();
    if let Some(exit_code) = details.exit_code {
        let digest = details.vertex.unwrap_or_default();
        let (vertex, log) = (tracker.name(&digest), tracker.log_tail(&digest).to_owned());
        return Error::ExecFailed { exit_code, vertex, log };
    }
    if message.contains("no active session") {
        return Error::SessionLost {
            address,
            source: message.into(),
        };
    }
    if lacks_capability(status.code(), &message) {
        return Error::MissingCapability { address, message };
    }
    Error::Failed {
        address,
        vertex: details.vertex.map(|digest| tracker.name(&digest)),
        message,
    }
}

/// BuildKit has no code of its own for this; the texts are those of its capability check, source and exporter tables.
fn lacks_capability(code: tonic::Code, message: &str) -> bool {
    let exporter = message.contains("exporter") && message.contains("could not be found");
    code == tonic::Code::Unimplemented
        || exporter
        || message.contains("unknown API capability")
        || message.contains("unknown scheme")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_buildkit_proto::google::protobuf::Any;
    use tonic::{Code, Status};

    fn detail(type_url: &str, value: &str) -> Any {
        Any {
            type_url: type_url.to_owned(),
            value: value.as_bytes().to_vec(),
        }
    }

    fn encode(details: Vec<Any>) -> Vec<u8> {
        rpc::Status {
            code: 2,
            message: "m".into(),
            details,
        }
        .encode_to_vec()
    }

    #[test]
    fn details_are_read_and_nonsense_is_ignored() {
        let exit = "github.com/moby/buildkit/gatewayapi.ExitMessage+json";
        let vertex = "github.com/moby/buildkit/errdefs.Vertex+json";
        let none = Details::default;
        let code = |code| Details {
            exit_code: Some(code),
            vertex: None,
        };
        let table = [
            ("empty", vec![], none()),
            ("not protobuf", b"\xff\xff\xff".to_vec(), none()),
            ("exit code", encode(vec![detail(exit, r#"{"Code":42}"#)]), code(42)),
            ("no code", encode(vec![detail(exit, "{}")]), code(0)),
            ("not JSON", encode(vec![detail(exit, "{")]), none()),
            ("negative", encode(vec![detail(exit, r#"{"Code":-1}"#)]), none()),
            (
                "another type",
                encode(vec![detail("x/stack.Stack+json", r#"{"Code":1}"#)]),
                none(),
            ),
            (
                "both",
                encode(vec![
                    detail(vertex, r#"{"digest":"sha256:d"}"#),
                    detail(exit, r#"{"Code":1}"#),
                ]),
                Details {
                    exit_code: Some(1),
                    vertex: Some("sha256:d".into()),
                },
            ),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(Details::decode(&bytes), expected, "{name}");
        }
    }

    #[test]
    fn statuses_are_sorted_into_kinds() {
        let details = encode(vec![detail("x/gatewayapi.ExitMessage+json", r#"{"Code":3}"#)]);
        let table = [
            (
                Status::with_details(Code::Unknown, "exit", details.into()),
                Kind::ExecFailed,
            ),
            (
                Status::unknown("no active session for abc: context deadline exceeded"),
                Kind::SessionLost,
            ),
            (
                Status::unknown("unknown API capability source.ocilayout"),
                Kind::MissingCapability,
            ),
            (Status::unknown("unknown scheme oci-layout"), Kind::MissingCapability),
            (
                Status::unknown("exporter \"oci\" could not be found"),
                Kind::MissingCapability,
            ),
            (Status::unimplemented("unknown method"), Kind::MissingCapability),
            (Status::not_found("blob could not be found"), Kind::Other),
        ];
        for (status, kind) in table {
            assert_eq!(
                classify("a", &status, &Tracker::default()).kind(),
                kind,
                "{}",
                status.message()
            );
        }
    }
}
