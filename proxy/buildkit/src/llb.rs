//! BuildKit's low-level build graph. A [`State`] is an immutable node: cloning it costs a reference count, and a
//! change makes a new one. The same graph always gives the same bytes, whatever the order in which it was put together.

mod exec;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use bollard_buildkit_proto::pb;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

pub use exec::{Exec, Network, Sharing};

/// The description key that `Control.Status` shows as a vertex's name.
const CUSTOM_NAME: &str = "llb.customname";

/// Every capability that a definition may ask for. BuildKit refuses a definition that asks for one that it lacks.
pub(crate) const CAPABILITIES: [&str; 13] = [
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

/// What an image runs on, in the words of the OCI image specification (`amd64`, not `x86_64`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    /// The operating system, `linux`.
    pub os: String,
    /// The processor, `amd64` or `arm64`.
    pub architecture: String,
    /// The processor's variant, `v8`; empty when there is none.
    pub variant: String,
}

impl Platform {
    /// A platform without a variant.
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Self {
        Self {
            os: os.into(),
            architecture: architecture.into(),
            variant: String::new(),
        }
    }

    /// The same platform with that variant.
    #[must_use]
    pub fn with_variant(mut self, variant: impl Into<String>) -> Self {
        self.variant = variant.into();
        self
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.variant)
        }
    }
}

impl From<&Platform> for pb::Platform {
    fn from(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            ..Self::default()
        }
    }
}

impl From<pb::Platform> for Platform {
    fn from(platform: pb::Platform) -> Self {
        Self {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant,
        }
    }
}

/// A file system: what a source yields or what an exec leaves in its root.
#[derive(Clone)]
pub struct State(Arc<Node>);

/// One operation, already in its wire form: its digest is its identity, so it never changes afterwards.
struct Node {
    bytes: Vec<u8>,
    digest: String,
    metadata: pb::OpMetadata,
    inputs: Vec<State>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.metadata.description.get(CUSTOM_NAME).map_or("", String::as_str);
        f.debug_struct("State")
            .field("digest", &self.0.digest)
            .field("name", &name)
            .finish_non_exhaustive()
    }
}

impl State {
    /// An image that the session's content serves, by the digest of its manifest or index.
    ///
    /// `name` labels the source for BuildKit's cache (`docker.io/library/debian`): a manifest that it knows under the
    /// same name is not read again. A name without a `/` gets one in front of it, because BuildKit would take the part
    /// before the digest for a host and port. `store` is any name; the session answers for all of them.
    ///
    /// The source names no session id (attribute `oci.session`): BuildKit then asks a session of the job itself, and
    /// the definition stays the same from one solve to the next.
    pub fn oci_layout(store: &str, name: &str, digest: &str, platform: &Platform) -> Self {
        let prefix = if name.contains('/') { "" } else { "patchport.invalid/" };
        let source = pb::SourceOp {
            identifier: format!("oci-layout://{prefix}{name}@{digest}"),
            attrs: BTreeMap::from([("oci.store".to_owned(), store.to_owned())]),
        };
        let op = pb::Op {
            op: Some(pb::op::Op::Source(source)),
            platform: Some(platform.into()),
            ..pb::Op::default()
        };
        Self::node(
            &op,
            &["source.ocilayout", "platform"],
            &format!("load {name}"),
            Vec::new(),
        )
    }

    /// Starts an exec with this state as its root file system; see [`Exec`].
    pub fn exec<I, S>(&self, argv: I) -> Exec
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Exec::new(self.clone(), argv.into_iter().map(Into::into).collect())
    }

    /// The digest by which BuildKit knows this operation, `sha256:...`.
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// The whole graph behind this state, ready for a solve.
    pub fn definition(&self) -> Definition {
        let mut wire = pb::Definition::default();
        self.append(&mut wire, &mut HashSet::new());
        let last = pb::Op {
            inputs: vec![self.as_input()],
            ..pb::Op::default()
        };
        let (bytes, digest) = encode(&last);
        wire.def.push(bytes);
        wire.metadata
            .insert(digest, metadata(&["constraints", "platform"], None));
        Definition(wire)
    }

    fn node(op: &pb::Op, caps: &[&str], name: &str, inputs: Vec<Self>) -> Self {
        let (bytes, digest) = encode(op);
        Self(Arc::new(Node {
            bytes,
            digest,
            metadata: metadata(caps, Some(name)),
            inputs,
        }))
    }

    fn as_input(&self) -> pb::Input {
        pb::Input {
            digest: self.0.digest.clone(),
            index: 0,
        }
    }

    /// Post-order, so that inputs stand before what uses them; every operation once.
    fn append(&self, wire: &mut pb::Definition, seen: &mut HashSet<String>) {
        if !seen.insert(self.0.digest.clone()) {
            return;
        }
        for input in &self.0.inputs {
            input.append(wire, seen);
        }
        wire.def.push(self.0.bytes.clone());
        wire.metadata.insert(self.0.digest.clone(), self.0.metadata.clone());
    }
}

/// A graph in BuildKit's wire form: operations with inputs first, and what is to be known about each of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition(pb::Definition);

impl Definition {
    /// The protobuf bytes (`pb.Definition`).
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }

    /// The sha256 of the bytes as `sha256:...`: two definitions with the same one ask for the same work.
    pub fn digest(&self) -> String {
        digest(&self.to_bytes())
    }

    /// The identifiers of the sources that the session's content serves.
    pub(crate) fn served(&self) -> impl Iterator<Item = String> {
        let ops = self
            .0
            .def
            .iter()
            .filter_map(|bytes| pb::Op::decode(&bytes[..]).ok()?.op);
        ops.filter_map(|op| match op {
            pb::op::Op::Source(source) if source.identifier.starts_with("oci-layout://") => Some(source.identifier),
            _ => None,
        })
    }

    pub(crate) fn to_wire(&self) -> pb::Definition {
        self.0.clone()
    }
}

fn encode(op: &pb::Op) -> (Vec<u8>, String) {
    let bytes = op.encode_to_vec();
    let digest = digest(&bytes);
    (bytes, digest)
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn metadata(caps: &[&str], name: Option<&str>) -> pb::OpMetadata {
    let mut caps: BTreeMap<_, _> = caps.iter().map(|cap| ((*cap).to_owned(), true)).collect();
    let mut description = BTreeMap::new();
    if let Some(name) = name {
        caps.insert("meta.description".to_owned(), true);
        description.insert(CUSTOM_NAME.to_owned(), name.to_owned());
    }
    pb::OpMetadata {
        caps,
        description,
        ..pb::OpMetadata::default()
    }
}

#[cfg(test)]
mod tests;
