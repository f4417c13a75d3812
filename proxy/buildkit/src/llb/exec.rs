//! The exec operation: a command in a root file system, with mounts that leave nothing behind in it.
//! Mounts are kept by destination and variables by name, so the order of the calls does not reach the wire.

use std::collections::{BTreeMap, BTreeSet};

use bollard_buildkit_proto::pb;

use super::{Platform, State};

/// What BuildKit writes for a mount that has none.
const NO_INPUT: i64 = -1;
const NO_OUTPUT: i64 = -1;

/// What the command may reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// What the worker gives by default; needs no entitlement.
    #[default]
    Unset,
    /// Nothing but its own loopback.
    None,
}

/// How execs that run at once share one cache mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// All of them write to it at once.
    Shared,
    /// One at a time, the others wait.
    Locked,
    /// Each gets its own.
    Private,
}

/// An exec that is being described; [`Exec::run`] gives the root file system that it leaves.
#[derive(Clone, Debug)]
#[must_use]
pub struct Exec {
    root: State,
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    cwd: String,
    user: String,
    network: Network,
    limits: BTreeMap<&'static str, i64>,
    name: Option<String>,
    platform: Option<Platform>,
    mounts: BTreeMap<String, Mount>,
}

#[derive(Clone, Debug)]
enum Mount {
    Cache {
        id: String,
        sharing: Sharing,
    },
    Tmpfs {
        size: Option<u64>,
    },
    Bind {
        state: State,
        selector: String,
    },
    /// What the command leaves there is what [`Exec::run`] gives.
    Output {
        state: State,
    },
    Secret {
        id: String,
    },
}

impl Exec {
    pub(super) fn new(root: State, argv: Vec<String>) -> Self {
        Self {
            root,
            argv,
            env: BTreeMap::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            network: Network::default(),
            limits: BTreeMap::new(),
            name: None,
            platform: None,
            mounts: BTreeMap::new(),
        }
    }

    /// Sets a variable; the last value of a name stands. Nothing is taken over from the image's own configuration.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// The working directory; `/` unless told.
    pub fn cwd(mut self, cwd: impl Into<String>) -> Self {
        self.cwd = cwd.into();
        self
    }

    /// The user, as name or `uid[:gid]`; root unless told, whatever the image says.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = user.into();
        self
    }

    /// What the command may reach.
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// A limit of setrlimit(2) by its name in small letters, such as `fsize`, both soft and hard.
    pub fn limit(mut self, name: &'static str, most: i64) -> Self {
        self.limits.insert(name, most);
        self
    }

    /// The name that progress and errors show; the command line unless told. It is no part of the cache key.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The platform to run on; the worker's own unless told.
    pub fn platform(mut self, platform: &Platform) -> Self {
        self.platform = Some(platform.clone());
        self
    }

    /// Mounts BuildKit's own lasting directory `id` at `dest`. Whatever else was to be mounted there gives way.
    pub fn cache(mut self, dest: impl Into<String>, id: impl Into<String>, sharing: Sharing) -> Self {
        self.mounts.insert(dest.into(), Mount::Cache { id: id.into(), sharing });
        self
    }

    /// Mounts an empty file system in memory at `dest`, of `size` bytes at most (no limit of its own if `None`).
    pub fn tmpfs(mut self, dest: impl Into<String>, size: Option<u64>) -> Self {
        self.mounts.insert(dest.into(), Mount::Tmpfs { size });
        self
    }

    /// Mounts another state read-only at `dest`.
    pub fn bind(self, dest: impl Into<String>, state: &State) -> Self {
        self.bind_path(dest, state, "")
    }

    /// Mounts the path `selector` of another state read-only at `dest`.
    pub fn bind_path(mut self, dest: impl Into<String>, state: &State, selector: impl Into<String>) -> Self {
        let mount = Mount::Bind {
            state: state.clone(),
            selector: selector.into(),
        };
        self.mounts.insert(dest.into(), mount);
        self
    }

    /// Mounts the solve's secret `id` as a file at `dest` that only root reads. Its content is no part of the graph.
    pub fn secret(mut self, dest: impl Into<String>, id: impl Into<String>) -> Self {
        self.mounts.insert(dest.into(), Mount::Secret { id: id.into() });
        self
    }

    /// Mounts another state at `dest`, to be changed there: [`Exec::run`] gives what the command makes of it, and the root file system
    /// is read-only and is not kept. There is one such mount; the last call stands.
    pub fn output(mut self, dest: impl Into<String>, state: &State) -> Self {
        self.mounts.retain(|_, mount| !matches!(mount, Mount::Output { .. }));
        self.mounts.insert(dest.into(), Mount::Output { state: state.clone() });
        self
    }

    /// The file system after the command: the root, or the one that is mounted to be changed.
    pub fn run(self) -> State {
        let mut inputs = vec![self.root.clone()];
        let mut caps = BTreeSet::from(["exec.meta.base", "exec.mount.bind"]);
        let is_elsewhere = self.mounts.values().any(|mount| matches!(mount, Mount::Output { .. }));
        let mut mounts = vec![pb::Mount {
            dest: "/".to_owned(),
            output: if is_elsewhere { NO_OUTPUT } else { 0 },
            readonly: is_elsewhere,
            ..pb::Mount::default()
        }];
        for (dest, mount) in &self.mounts {
            mounts.push(mount.to_wire(dest, &mut inputs, &mut caps));
        }
        if self.network != Network::Unset {
            caps.insert("exec.meta.network");
        }
        if !self.limits.is_empty() {
            caps.insert("exec.meta.ulimit");
        }
        if self.platform.is_some() {
            caps.insert("platform");
        }
        let op = pb::Op {
            inputs: inputs.iter().map(State::as_input).collect(),
            platform: self.platform.as_ref().map(Into::into),
            op: Some(pb::op::Op::Exec(self.to_wire(mounts))),
            ..pb::Op::default()
        };
        let name = self.name.unwrap_or_else(|| self.argv.join(" "));
        State::node(&op, &caps.into_iter().collect::<Vec<_>>(), &name, inputs)
    }

    fn to_wire(&self, mounts: Vec<pb::Mount>) -> pb::ExecOp {
        let meta = pb::Meta {
            args: self.argv.clone(),
            env: self.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            cwd: self.cwd.clone(),
            user: self.user.clone(),
            ulimit: self.limits.iter().map(|(name, most)| ulimit(name, *most)).collect(),
            ..pb::Meta::default()
        };
        let network = match self.network {
            Network::Unset => pb::NetMode::Unset,
            Network::None => pb::NetMode::None,
        };
        pb::ExecOp {
            meta: Some(meta),
            mounts,
            network: network.into(),
            ..pb::ExecOp::default()
        }
    }
}

fn ulimit(name: &str, most: i64) -> pb::Ulimit {
    pb::Ulimit {
        name: name.to_owned(),
        soft: most,
        hard: most,
    }
}

impl Mount {
    /// As BuildKit has it; an absent value would mean the first input or output.
    fn to_wire(&self, dest: &str, inputs: &mut Vec<State>, caps: &mut BTreeSet<&'static str>) -> pb::Mount {
        let mut wire = pb::Mount {
            dest: dest.to_owned(),
            input: NO_INPUT,
            output: NO_OUTPUT,
            ..pb::Mount::default()
        };
        match self {
            Self::Cache { id, sharing } => {
                caps.extend(["exec.mount.cache", "exec.mount.cache.sharing"]);
                wire.set_mount_type(pb::MountType::Cache);
                wire.cache_opt = Some(pb::CacheOpt {
                    id: id.clone(),
                    sharing: sharing.to_wire().into(),
                });
            }
            Self::Tmpfs { size } => {
                caps.insert("exec.mount.tmpfs");
                wire.set_mount_type(pb::MountType::Tmpfs);
                if let Some(size) = size {
                    caps.insert("exec.mount.tmpfs.size");
                    wire.tmpfs_opt = Some(pb::TmpfsOpt {
                        size: i64::try_from(*size).unwrap_or(i64::MAX),
                    });
                }
            }
            Self::Secret { id } => {
                caps.insert("exec.mount.secret");
                wire.set_mount_type(pb::MountType::Secret);
                wire.secret_opt = Some(pb::SecretOpt {
                    id: id.clone(),
                    mode: 0o400,
                    ..pb::SecretOpt::default()
                });
            }
            Self::Bind { state, selector } => {
                if !selector.is_empty() {
                    caps.insert("exec.mount.selector");
                }
                wire.input = index_of(state, inputs);
                wire.readonly = true;
                wire.selector.clone_from(selector);
            }
            Self::Output { state } => {
                wire.input = index_of(state, inputs);
                wire.output = 0;
            }
        }
        wire
    }
}

impl Sharing {
    fn to_wire(self) -> pb::CacheSharingOpt {
        match self {
            Self::Shared => pb::CacheSharingOpt::Shared,
            Self::Locked => pb::CacheSharingOpt::Locked,
            Self::Private => pb::CacheSharingOpt::Private,
        }
    }
}

/// The place of `state` among the inputs; it is appended unless it is there.
fn index_of(state: &State, inputs: &mut Vec<State>) -> i64 {
    let index = inputs
        .iter()
        .position(|input| input.digest() == state.digest())
        .unwrap_or_else(|| {
            inputs.push(state.clone());
            inputs.len() - 1
        });
    i64::try_from(index).unwrap_or(i64::MAX)
}
