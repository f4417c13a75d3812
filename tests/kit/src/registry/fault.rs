//! The ways in which the fake registry goes wrong, to order. A fault applies to requests whose
//! `METHOD path` contains the text it was given with; several may apply to one request.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

/// One misbehaviour.
#[derive(Clone)]
pub enum Fault {
    /// Answers this status with an OCI error body, and these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// Answers 307 to the same path at this base URL, with a query that looks like a signature.
    Redirect(String),
    /// Sends this instead of the content, under the same headers.
    Body(Bytes),
    /// Names this in `Docker-Content-Digest`.
    DigestHeader(String),
    /// Sends no `Docker-Content-Digest`.
    NoDigestHeader,
    /// Sends this content type.
    ContentType(&'static str),
    /// Claims this length; more bytes are cut off, fewer break the connection.
    ContentLength(u64),
    /// Ignores `Range`: 200 and everything.
    IgnoreRange,
    /// Breaks the connection after so many bytes of the body.
    StopAfter(usize),
    /// Sends so many bytes of the body, then waits for the gate.
    HoldAfter(usize, Gate),
    /// Sends nothing at all, not even a status, until the gate opens.
    Hold(Gate),
    /// Sends nothing for so long.
    Delay(Duration),
    /// A chunked body that never ends.
    Endless,
}

impl Fault {
    /// A status without special headers.
    pub fn status(code: u16) -> Self {
        Self::Status(code, Vec::new())
    }
}

/// What a held answer waits for. Closed at first; a gate that never opens is a stall.
#[derive(Clone)]
pub struct Gate {
    open: watch::Sender<bool>,
    arrivals: watch::Sender<usize>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            open: watch::Sender::new(false),
            arrivals: watch::Sender::new(0),
        }
    }
}

impl Gate {
    /// Lets everything through from now on.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until `count` answers stand before the gate or have passed it; panics after 30 s.
    pub async fn reached(&self, count: usize) {
        let mut arrivals = self.arrivals.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(30), arrivals.wait_for(|seen| *seen >= count)).await;
        assert!(
            waited.is_ok(),
            "{} of {count} requests reached the gate in 30 s",
            *self.arrivals.borrow()
        );
    }

    pub(crate) async fn pass(&self) {
        self.arrivals.send_modify(|seen| *seen += 1);
        let mut open = self.open.subscribe();
        // The sender is part of `self`, so it cannot be gone.
        let _ = open.wait_for(|open| *open).await;
    }
}

/// A fault, where it applies, and how often still.
pub(super) struct Placed {
    pub(super) on: String,
    pub(super) fault: Fault,
    pub(super) left: usize,
}
