//! One live connection to one BuildKit: a byte stream, HTTP/2 over it, and proof that a BuildKit answered that can do what
//! patches need.
//! A connection is never mended: when its stream ends it says so, and the client makes a new one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::InfoRequest;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;

use crate::address::Address;
use crate::auto::AutoOptions;
use crate::capabilities::{self, ADVICE, Lack};
use crate::stream::{self, Dial, Opened};
use crate::tls::Tls;
use crate::{Info, MESSAGE_LIMIT, daemon};

/// How long a socket may take to answer, from the first byte to BuildKit's version.
const SOCKET_DEADLINE: Duration = Duration::from_secs(5);
/// The same for a child process, which Docker has to start first.
const CHILD_DEADLINE: Duration = Duration::from_secs(15);
/// HTTP/2 windows, in bytes: layers pass through one stream of this connection.
const WINDOW: u32 = 4 << 20;

/// Everything needed to reach a BuildKit.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// TLS for `tcp://`; plain TCP without it. Other addresses ignore it.
    pub tls: Option<Tls>,
    /// Where to look when the address is [`Address::Auto`]; its `path` and `docker` are for other addresses, too.
    pub auto: AutoOptions,
}

impl Endpoint {
    pub(crate) fn dial(&self) -> Dial {
        Dial {
            tls: self.tls.clone(),
            docker: self.auto.docker.clone(),
            path: self.auto.path.clone(),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens there, the program is missing, or TLS failed.
    #[error("BuildKit at {address}: no connection")]
    NoConnection {
        /// The place.
        address: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The stream is open, but what is at its other end did not answer as BuildKit does.
    #[error("BuildKit at {address}: no answer{}", Note(.stderr))]
    NoAnswer {
        /// The place.
        address: String,
        /// The end of what the child process wrote to its standard error; empty for sockets.
        stderr: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing came back in time.
    #[error("BuildKit at {address}: no answer within {after:?}{}", Note(.stderr))]
    TimedOut {
        /// The place.
        address: String,
        /// The deadline.
        after: Duration,
        /// The end of what the child process wrote to its standard error; empty for sockets.
        stderr: String,
    },
    /// It answered, and cannot do what patches need.
    #[error("BuildKit at {address} ({version}) cannot make patches: {lack}; {cure}, or {ADVICE}")]
    Unfit {
        /// The place.
        address: String,
        /// Its version, and that of Docker around it, as far as they tell.
        version: String,
        /// What it lacks.
        lack: String,
        /// What to do about it.
        cure: &'static str,
    },
    /// A `buildkitd` of our own could not be had.
    #[error("BuildKit of our own: not running")]
    Daemon(#[source] daemon::Error),
    /// `auto` found none; the text lists every place and why it was no use.
    #[error("no BuildKit found; tried, in this order: {}. If you have none, {ADVICE}", .tried.join("; "))]
    NothingFound {
        /// One entry per place: `place (reason)`.
        tried: Vec<String>,
    },
}

struct Note<'a>(&'a str);

impl fmt::Display for Note<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.0)
        }
    }
}

/// A connection that answered once. Clones share it.
#[derive(Clone)]
pub(crate) struct Connection {
    channel: Channel,
    closed: CancellationToken,
    retired: Arc<AtomicBool>,
    address: String,
    info: Info,
}

/// What came of the first words with a BuildKit.
enum Greeting {
    Fit(Connection),
    Unfit { lack: Lack, version: String },
}

impl Greeting {
    fn unfit(lack: Lack, engine: &str, version: &str) -> Self {
        let known = [engine, version].into_iter().filter(|text| !text.is_empty());
        let known: Vec<&str> = known.collect();
        let version = if known.is_empty() {
            "of a version that it does not tell".to_owned()
        } else {
            known.join(", ")
        };
        Self::Unfit { lack, version }
    }
}

impl Connection {
    /// Connects to a concrete address, asks for BuildKit's version, and sees that it can do what patches need.
    pub(crate) async fn open(address: &Address, dial: &Dial) -> Result<Self, Error> {
        let deadline = match address {
            Address::Container(_) => CHILD_DEADLINE,
            Address::Auto | Address::Unix(_) | Address::Tcp { .. } | Address::Docker(_) => SOCKET_DEADLINE,
        };
        let late = |stderr| Error::TimedOut {
            address: address.to_string(),
            after: deadline,
            stderr,
        };
        let started = tokio::time::Instant::now();
        let opened = match timeout(deadline, stream::open(address, dial)).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(source)) => {
                return Err(Error::NoConnection {
                    address: address.to_string(),
                    source: source.into(),
                });
            }
            Err(_) => return Err(late(String::new())),
        };
        let stderr = opened.stderr.clone();
        match timeout(deadline.saturating_sub(started.elapsed()), Self::greet(address, opened)).await {
            Ok(Ok(Greeting::Fit(connection))) => Ok(connection),
            Ok(Ok(Greeting::Unfit { lack, version })) => Err(Error::Unfit {
                address: address.to_string(),
                version,
                cure: lack.cure(address),
                lack: lack.to_string(),
            }),
            Ok(Err(source)) => Err(Error::NoAnswer {
                address: address.to_string(),
                stderr: stderr.text().await,
                source,
            }),
            Err(_) => Err(late(stderr.text().await)),
        }
    }

    async fn greet(address: &Address, opened: Opened) -> Result<Greeting, Box<dyn std::error::Error + Send + Sync>> {
        let mut stream = Some(opened.stream);
        // The stream serves one connection; tonic's own reconnecting gets an error from the second time on.
        let connector = tower::service_fn(move |_: http::Uri| {
            let next = stream.take().map(TokioIo::new);
            async move { next.ok_or_else(|| std::io::Error::other("the connection has ended")) }
        });
        // BuildKit does not look at the authority; the URI is there because HTTP/2 wants one.
        let channel = tonic::transport::Endpoint::from_static("http://buildkit.invalid")
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(2 * WINDOW)
            .connect_with_connector(connector)
            .await?;
        let mut control = control(&channel);
        let version = match control.info(InfoRequest {}).await {
            Ok(reply) => reply.into_inner().buildkit_version.unwrap_or_default(),
            Err(status) if status.code() == Code::Unimplemented => {
                return Ok(Greeting::unfit(Lack::Version, &opened.engine, ""));
            }
            // tonic made that one itself; what it says of its own channel helps nobody.
            Err(status) if std::error::Error::source(&status).is_some() => {
                return Err("the connection ended before the first answer".into());
            }
            Err(status) => return Err(status.into()),
        };
        if let Some(lack) = capabilities::lack(control, channel.clone()).await? {
            return Ok(Greeting::unfit(lack, &opened.engine, &version.version));
        }
        Ok(Greeting::Fit(Self {
            channel,
            closed: opened.closed,
            retired: Arc::default(),
            address: address.to_string(),
            info: Info {
                version: version.version,
                revision: version.revision,
            },
        }))
    }

    /// A client of the control service over this connection.
    pub(crate) fn control(&self) -> ControlClient<Channel> {
        control(&self.channel)
    }

    /// Cancelled once the stream is gone.
    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Whether new calls may use it.
    pub(crate) fn is_usable(&self) -> bool {
        !self.closed.is_cancelled() && !self.retired.load(Ordering::Relaxed)
    }

    /// Whether tonic made that status itself: BuildKit's have no source. Such a connection takes no new calls, even if
    /// its stream is open still, as it is while a BuildKit that shuts down waits for its last builds.
    pub(crate) fn is_broken_by(&self, status: &tonic::Status) -> bool {
        let broken = std::error::Error::source(status).is_some();
        if broken {
            self.retired.store(true, Ordering::Relaxed);
        }
        broken || self.closed.is_cancelled()
    }

    /// The place, for messages.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn info(&self) -> &Info {
        &self.info
    }
}

fn control(channel: &Channel) -> ControlClient<Channel> {
    ControlClient::new(channel.clone())
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT)
}

/// An error and its sources on one line, for lists in which a source has no place of its own.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let part = source.to_string();
        if !text.ends_with(&part) {
            text = format!("{text}: {part}");
        }
        next = source.source();
    }
    text
}
