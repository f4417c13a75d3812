//! An upstream that goes wrong to order: the nth call of a method, or every call, fails, hangs, or lies.
//!
//! Everything else is the upstream below.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use patchport_oci::{Digest, Manifest, Reference, Repository, Tag};
use serde_json::Value;

use super::memory::pieces;
use super::{Call, Calls, Gate, HOST};
use crate::upstream::{Download, Upstream, UpstreamError};

/// One way to go wrong.
#[derive(Clone)]
pub(crate) enum Fault {
    /// Fails so.
    Fail(UpstreamError),
    /// Answers when the gate opens.
    Hang(Gate),
    /// A tag has this digest, or upstream does not say.
    Digest(Option<Digest>),
    /// A blob has this size, or upstream does not say.
    Size(Option<u64>),
    /// A blob has these bytes.
    Bytes(&'static [u8]),
    /// A blob ends after so many bytes as if that were all.
    Truncate(usize),
    /// A blob breaks off after so many bytes.
    Break(usize),
    /// A blob stops after so many bytes until the gate opens.
    HoldAfter(usize, Gate),
    /// A blob never ends.
    Endless,
}

impl Fault {
    /// The connection fails.
    pub(crate) fn unreachable() -> Self {
        Self::Fail(unreachable())
    }
}

fn unreachable() -> UpstreamError {
    UpstreamError::Unreachable {
        upstream: HOST.into(),
        subject: "it".into(),
        reason: "the fake breaks".into(),
    }
}

struct Placed {
    call: Call,
    /// Which call, from 1; every one without.
    nth: Option<usize>,
    fault: Fault,
}

/// The decorator.
pub(crate) struct Faulty<U> {
    inner: U,
    faults: Mutex<Vec<Placed>>,
    pub(crate) calls: Calls,
}

impl<U> Faulty<U> {
    /// Behaves at first.
    pub(crate) fn new(inner: U) -> Self {
        Self {
            inner,
            faults: Mutex::default(),
            calls: Calls::default(),
        }
    }

    /// Goes wrong on every call of this method.
    pub(crate) fn always(&self, call: Call, fault: Fault) {
        let nth = None;
        self.faults.lock().unwrap().push(Placed { call, nth, fault });
    }

    /// Goes wrong on the nth call of this method, counted from now.
    pub(crate) fn nth(&self, call: Call, nth: usize, fault: Fault) {
        let nth = Some(self.calls.of(call) + nth);
        self.faults.lock().unwrap().push(Placed { call, nth, fault });
    }

    /// Behaves again.
    pub(crate) fn heal(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Counts a call, goes through what comes before its answer, and gives the faults that change the answer.
    async fn enter(&self, call: Call) -> Result<Vec<Fault>, UpstreamError> {
        let number = self.calls.count(call);
        let hits: Vec<Fault> = {
            let faults = self.faults.lock().unwrap();
            let hits = faults.iter().filter(|placed| placed.call == call);
            hits.filter(|placed| placed.nth.is_none_or(|nth| nth == number))
                .map(|placed| placed.fault.clone())
                .collect()
        };
        for fault in &hits {
            match fault {
                Fault::Fail(error) => return Err(error.clone()),
                Fault::Hang(gate) => gate.pass().await,
                _ => {}
            }
        }
        Ok(hits)
    }
}

#[async_trait]
impl<U: Upstream> Upstream for Faulty<U> {
    async fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, UpstreamError> {
        let faults = self.enter(Call::Resolve).await?;
        let told = faults.into_iter().find_map(|fault| match fault {
            Fault::Digest(digest) => Some(digest),
            _ => None,
        });
        match told {
            Some(told) => Ok(told),
            None => self.inner.resolve(repository, tag).await,
        }
    }

    async fn manifest(&self, repository: &Repository, reference: &Reference) -> Result<Manifest, UpstreamError> {
        self.enter(Call::Manifest).await?;
        self.inner.manifest(repository, reference).await
    }

    async fn blob_size(&self, repository: &Repository, digest: &Digest) -> Result<u64, UpstreamError> {
        let faults = self.enter(Call::BlobSize).await?;
        let told = faults.into_iter().find_map(|fault| match fault {
            Fault::Size(size) => size,
            _ => None,
        });
        match told {
            Some(told) => Ok(told),
            None => self.inner.blob_size(repository, digest).await,
        }
    }

    async fn referrers(&self, repository: &Repository, digest: &Digest) -> Result<Option<Vec<Value>>, UpstreamError> {
        self.enter(Call::Referrers).await?;
        self.inner.referrers(repository, digest).await
    }

    async fn blob(&self, repository: &Repository, digest: &Digest) -> Result<Download, UpstreamError> {
        let faults = self.enter(Call::Blob).await?;
        let mut download = self.inner.blob(repository, digest).await?;
        for fault in faults {
            download = spoilt(download, fault).await?;
        }
        Ok(download)
    }
}

async fn spoilt(download: Download, fault: Fault) -> Result<Download, UpstreamError> {
    let Download { size, body } = download;
    let chunks = |bytes: &Bytes| stream::iter(pieces(bytes).map(Ok));
    let body: BoxStream<'static, Result<Bytes, UpstreamError>> = match fault {
        Fault::Size(size) => return Ok(Download { size, body }),
        Fault::Bytes(bytes) => chunks(&Bytes::from_static(bytes)).boxed(),
        Fault::Truncate(count) => chunks(&whole(body).await?.slice(..count)).boxed(),
        Fault::Break(count) => {
            let breaks = stream::iter([Err(unreachable())]);
            chunks(&whole(body).await?.slice(..count)).chain(breaks).boxed()
        }
        Fault::HoldAfter(count, gate) => {
            let bytes = whole(body).await?;
            let hold = stream::once(async move { gate.pass().await }).filter_map(async |()| None);
            let first = chunks(&bytes.slice(..count));
            first.chain(hold).chain(chunks(&bytes.slice(count..))).boxed()
        }
        Fault::Endless => stream::repeat_with(|| Ok(Bytes::from_static(b"more"))).boxed(),
        Fault::Fail(_) | Fault::Hang(_) | Fault::Digest(_) => body,
    };
    Ok(Download { size, body })
}

async fn whole(body: BoxStream<'static, Result<Bytes, UpstreamError>>) -> Result<Bytes, UpstreamError> {
    let chunks: Vec<Bytes> = body.try_collect().await?;
    Ok(chunks.concat().into())
}
