//! A BuildKit client: an LLB graph goes in, an image's new blobs come out, and no registry stands between. It opens a
//! session of its own per solve, serves the base image from [`Content`] and receives the result through it.
//! It never reads the environment and knows nothing of images beyond bytes, digests and sizes.

mod address;
mod auto;
mod capabilities;
mod client;
mod connect;
mod container;
mod daemon;
mod docker;
pub mod llb;
mod progress;
mod session;
mod solve;
pub mod source_policy;
mod stream;
mod tls;

pub use address::{Address, ParseError as AddressError};
pub use auto::AutoOptions;
pub use client::{Client, Error as ClientError, Info, Worker};
pub use connect::{Endpoint, Error as ConnectError};
pub use container::{Container, Runner};
pub use daemon::Error as DaemonError;
pub use docker::DockerOptions;
pub use progress::{LogLine, Progress};
pub use session::content::{ByteStream, Content, Error as ContentError, Ingest};
pub use session::secrets::{MAX_SECRET, Secrets};
pub use solve::error::{Error as SolveError, Kind as SolveErrorKind};
pub use solve::exporter::{Compression, Exporter};
pub use solve::{Solve, Solved};
pub use source_policy::SourcePolicy;
pub use tls::{Error as TlsError, Tls};

/// The largest gRPC message in either direction, in bytes: above BuildKit's own limit of 16 MiB, because a status
/// reply or a definition may be larger than tonic's default of 4 MiB.
const MESSAGE_LIMIT: usize = 32 << 20;
