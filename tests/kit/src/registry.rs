//! A real registry on loopback that keeps its content in memory, records every request, and goes wrong to
//! order. It serves what it was given and judges nothing: lies are the point.

mod access;
mod answer;
mod fault;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

pub use access::{Access, basic};
pub use fault::{Fault, Gate};

use crate::image::{Image, Index, media};
use fault::Placed;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Record {
    /// The method, upper case.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query, empty if there is none.
    pub query: String,
    /// Header names (lower case) and values in order.
    pub headers: Vec<(String, String)>,
}

impl Record {
    fn of<B>(request: &http::Request<B>) -> Self {
        let headers = request.headers().iter();
        Self {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
        }
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

#[derive(Default)]
struct Content {
    blobs: HashMap<(String, String), Bytes>,
    manifests: HashMap<(String, String), (String, Bytes)>,
    faults: Vec<Placed>,
    records: Vec<Record>,
    access: Access,
    no_referrers: bool,
}

struct State {
    address: SocketAddr,
    content: Mutex<Content>,
}

impl State {
    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Keeps the request and takes the faults that apply to it.
    fn record(&self, record: &Record) -> Vec<Fault> {
        let line = record.line();
        let mut content = self.content.lock().unwrap();
        content.records.push(record.clone());
        let hit = content
            .faults
            .iter_mut()
            .filter(|placed| placed.left > 0 && line.contains(&placed.on));
        hit.map(|placed| {
            placed.left -= 1;
            placed.fault.clone()
        })
        .collect()
    }

    fn access(&self) -> Access {
        self.content.lock().unwrap().access.clone()
    }

    fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Bytes)> {
        self.content
            .lock()
            .unwrap()
            .manifests
            .get(&(repository.to_owned(), reference.to_owned()))
            .cloned()
    }

    fn blob(&self, repository: &str, digest: &str) -> Option<Bytes> {
        self.content
            .lock()
            .unwrap()
            .blobs
            .get(&(repository.to_owned(), digest.to_owned()))
            .cloned()
    }

    /// Descriptors of the manifests that name this digest as their subject, in the order of their digests; nothing when this
    /// registry does not list them.
    fn referrers(&self, repository: &str, subject: &str) -> Option<Vec<Value>> {
        let content = self.content.lock().unwrap();
        if content.no_referrers {
            return None;
        }
        let manifests = content.manifests.iter();
        let of_repository = manifests.filter(|((known, reference), _)| known == repository && reference.contains(':'));
        let mut found: Vec<Value> = of_repository
            .filter_map(|((_, digest), (media_type, bytes))| {
                let manifest: Value = serde_json::from_slice(bytes).ok()?;
                (manifest["subject"]["digest"] == subject).then(|| {
                    json!({
                        "mediaType": media_type, "digest": digest, "size": bytes.len(),
                        "artifactType": manifest["artifactType"], "annotations": manifest["annotations"],
                    })
                })
            })
            .collect();
        found.sort_by_key(|descriptor| descriptor["digest"].to_string());
        Some(found)
    }

    fn tags(&self, repository: &str) -> BTreeSet<String> {
        let content = self.content.lock().unwrap();
        let references = content
            .manifests
            .keys()
            .filter(|(known, reference)| known == repository && !reference.contains(':'));
        references.map(|(_, reference)| reference.clone()).collect()
    }
}

/// The registry. Gone, with its connections, when dropped.
pub struct Registry {
    state: Arc<State>,
    serving: Option<AbortHandle>,
}

impl Registry {
    /// Starts an empty registry on a free port of 127.0.0.1. Must be called within a tokio runtime.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has a free port");
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            address,
            content: Mutex::default(),
        });
        let mut registry = Self { state, serving: None };
        registry.serve(listener);
        registry
    }

    fn serve(&mut self, listener: TcpListener) {
        let state = Arc::clone(&self.state);
        let accepting = async move {
            // Dropped with this task, and every open connection with it.
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let state = Arc::clone(&state);
                let service = service_fn(move |request| answer::answer(Arc::clone(&state), request));
                connections
                    .spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                while connections.try_join_next().is_some() {}
            }
        };
        self.serving = Some(tokio::spawn(accepting).abort_handle());
    }

    /// Breaks every connection and refuses new ones, until `up`.
    pub async fn down(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            while !serving.is_finished() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Listens again on the same port.
    pub async fn up(&mut self) {
        let listener = TcpListener::bind(self.state.address)
            .await
            .expect("the registry's own port is still free");
        self.serve(listener);
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.state.address.to_string()
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        self.state.url()
    }

    /// Keeps a blob in a repository; gives its digest.
    pub fn put_blob(&self, repository: &str, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let digest = crate::digest(&bytes);
        self.state
            .content
            .lock()
            .unwrap()
            .blobs
            .insert((repository.to_owned(), digest.clone()), bytes);
        digest
    }

    /// Keeps a manifest under its digest, and under `tag` if there is one; gives its digest.
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> String {
        let bytes = bytes.into();
        let digest = crate::digest(&bytes);
        let mut content = self.state.content.lock().unwrap();
        for reference in tag.into_iter().chain([digest.as_str()]) {
            content.manifests.insert(
                (repository.to_owned(), reference.to_owned()),
                (media_type.to_owned(), bytes.clone()),
            );
        }
        drop(content);
        digest
    }

    /// Keeps an image with all its blobs; gives the manifest's digest.
    pub fn push(&self, repository: &str, tag: Option<&str>, image: &Image) -> String {
        self.put_blob(repository, image.config.clone());
        for layer in &image.layers {
            self.put_blob(repository, layer.bytes.clone());
        }
        self.put_manifest(repository, tag, &image.media_type, image.manifest.clone())
    }

    /// Keeps an index with all its children; gives the index's digest.
    pub fn push_index(&self, repository: &str, tag: Option<&str>, index: &Index) -> String {
        for image in &index.images {
            self.push(repository, None, image);
        }
        self.put_manifest(repository, tag, &index.media_type, index.manifest.clone())
    }

    /// Is a registry without the referrers API from now on.
    pub fn no_referrers(&self) {
        self.state.content.lock().unwrap().no_referrers = true;
    }

    /// Keeps an artifact of one layer about a manifest, under its digest, and under `tag` if there is one; gives its digest.
    pub fn attach(
        &self,
        repository: &str,
        tag: Option<&str>,
        subject: &str,
        artifact_type: &str,
        text: &str,
    ) -> String {
        let empty = self.put_blob(repository, "{}");
        let layer = self.put_blob(repository, text.to_owned());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": artifact_type,
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2 },
            "layers": [{ "mediaType": artifact_type, "digest": layer, "size": text.len() }],
            "subject": { "mediaType": media::OCI_MANIFEST, "digest": subject, "size": 1 },
            "annotations": { "kit": text },
        });
        self.put_manifest(repository, tag, media::OCI_MANIFEST, manifest.to_string())
    }

    /// Forgets a blob or manifest, by digest or tag.
    pub fn remove(&self, repository: &str, reference: &str) {
        let key = (repository.to_owned(), reference.to_owned());
        let mut content = self.state.content.lock().unwrap();
        content.manifests.remove(&key);
        content.blobs.remove(&key);
    }

    /// Asks this of clients from now on.
    pub fn require(&self, access: Access) {
        self.state.content.lock().unwrap().access = access;
    }

    /// Goes wrong on every request whose `METHOD path` contains `on`.
    pub fn fault(&self, on: &str, fault: Fault) {
        self.fault_times(usize::MAX, on, fault);
    }

    /// Goes wrong on the next `times` requests whose `METHOD path` contains `on`.
    pub fn fault_times(&self, times: usize, on: &str, fault: Fault) {
        self.state.content.lock().unwrap().faults.push(Placed {
            on: on.to_owned(),
            fault,
            left: times,
        });
    }

    /// Behaves again.
    pub fn heal(&self) {
        self.state.content.lock().unwrap().faults.clear();
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Record> {
        self.state.content.lock().unwrap().records.clone()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.state.content.lock().unwrap().records.clear();
    }

    /// How many requests had a `METHOD path` that contains `on`.
    pub fn count(&self, on: &str) -> usize {
        self.state
            .content
            .lock()
            .unwrap()
            .records
            .iter()
            .filter(|record| record.line().contains(on))
            .count()
    }

    /// How often each blob was asked for with `GET`, by digest.
    pub fn blob_gets(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for record in self.requests().iter().filter(|record| record.method == "GET") {
            if let Some((_, digest)) = record.path.rsplit_once("/blobs/") {
                *counts.entry(digest.to_owned()).or_insert(0) += 1;
            }
        }
        counts
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }
}

#[cfg(test)]
mod tests;
