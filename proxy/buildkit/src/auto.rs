//! The address `auto`: every place where a BuildKit may be, in one fixed order, until one answers.
//! The order is: the address the user exported, the well-known sockets, a `buildkitd` of our own, containers of Docker and of
//! Podman, the BuildKit inside Docker.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::address::Address;
use crate::connect::{Connection, Endpoint, Error, chain};
use crate::container::{Container, Runner};
use crate::daemon::Daemon;
use crate::docker::DockerOptions;
use crate::stream::Dial;

/// How long the list of containers may take.
const LIST_DEADLINE: Duration = Duration::from_secs(5);
/// How many containers of each are tried.
const CONTAINERS: usize = 4;

/// What `auto` looks at. The crate reads no environment variable; the caller passes them in.
#[derive(Clone, Debug)]
pub struct AutoOptions {
    /// The value of `BUILDKIT_HOST`, an address other than `auto`. If it does not answer, the search goes on.
    pub buildkit_host: Option<String>,
    /// Sockets to try, in that order; [`AutoOptions::default`] has the well-known ones.
    pub sockets: Vec<PathBuf>,
    /// Where a `buildkitd` of our own keeps its root, socket, configuration and log; made if it is missing.
    pub state_dir: PathBuf,
    /// The value of `PATH`, searched for `buildkitd`, `docker` and `podman`. None is used without it.
    pub path: Option<OsString>,
    /// Where Docker's engine is.
    pub docker: DockerOptions,
}

impl Default for AutoOptions {
    /// The well-known sockets, and nothing else that depends on the machine.
    fn default() -> Self {
        Self {
            buildkit_host: None,
            sockets: well_known_sockets(),
            state_dir: PathBuf::new(),
            path: None,
            docker: DockerOptions::default(),
        }
    }
}

/// Finds a BuildKit. A daemon that is started stays in `daemon`, and so does one that was started before.
pub(crate) async fn find(endpoint: &Endpoint, daemon: &mut Option<Daemon>) -> Result<Connection, Error> {
    let (options, dial) = (&endpoint.auto, endpoint.dial());
    let mut tried = Vec::new();
    if let Some(found) = exported(options, &dial, &mut tried).await {
        return Ok(found);
    }
    for path in &options.sockets {
        if let Some(found) = attempt(&Address::Unix(path.clone()), &dial, &mut tried).await {
            return Ok(found);
        }
    }
    if let Some(found) = own(options, &dial, daemon, &mut tried).await {
        return Ok(found);
    }
    for runner in [Runner::Docker, Runner::Podman] {
        if let Some(found) = container(runner, &dial, &mut tried).await {
            return Ok(found);
        }
    }
    match attempt(&Address::Docker(None), &dial, &mut tried).await {
        Some(found) => Ok(found),
        None => Err(Error::NothingFound { tried }),
    }
}

async fn exported(options: &AutoOptions, dial: &Dial, tried: &mut Vec<String>) -> Option<Connection> {
    let Some(host) = options.buildkit_host.as_deref().filter(|host| !host.is_empty()) else {
        tried.push("BUILDKIT_HOST (not set)".to_owned());
        return None;
    };
    let found = match host.parse::<Address>() {
        Ok(Address::Auto) => {
            tried.push("BUILDKIT_HOST (`auto` is no place)".to_owned());
            None
        }
        Ok(address) => attempt(&address, dial, tried).await,
        Err(error) => {
            tried.push(format!("BUILDKIT_HOST ({error})"));
            None
        }
    };
    if found.is_none() {
        tracing::warn!(
            buildkit.address = host,
            "BUILDKIT_HOST names no working BuildKit; looking elsewhere"
        );
    }
    found
}

async fn attempt(address: &Address, dial: &Dial, tried: &mut Vec<String>) -> Option<Connection> {
    if let Address::Unix(path) = address
        && !path.exists()
    {
        tried.push(format!("{address} (no such socket)"));
        return None;
    }
    match Connection::open(address, dial).await {
        Ok(connection) => Some(connection),
        Err(error) => {
            tried.push(format!("{address} ({})", reason(address, &error)));
            None
        }
    }
}

/// Why it is no use, for a list that names the address already and ends with the advice.
fn reason(address: &Address, error: &Error) -> String {
    if let Error::Unfit {
        version, lack, cure, ..
    } = error
    {
        return format!("{version}: {lack}; {cure}");
    }
    let text = chain(error);
    let named = format!("BuildKit at {address}: ");
    text.strip_prefix(&named).map(str::to_owned).unwrap_or(text)
}

/// The places that BuildKit's packages use: the system's and, for a rootless daemon, the user's.
fn well_known_sockets() -> Vec<PathBuf> {
    let user = runtime_dir().map(|dir| dir.join("buildkit/buildkitd.sock"));
    [PathBuf::from("/run/buildkit/buildkitd.sock")]
        .into_iter()
        .chain(user)
        .collect()
}

/// The user's folder for sockets.
pub(crate) fn runtime_dir() -> Option<PathBuf> {
    // The owner of a process's own directory in /proc is its user; asking the system directly needs unsafe code.
    let user = std::fs::metadata("/proc/self").ok()?.uid();
    Some(PathBuf::from(format!("/run/user/{user}")))
}

async fn own(
    options: &AutoOptions,
    dial: &Dial,
    daemon: &mut Option<Daemon>,
    tried: &mut Vec<String>,
) -> Option<Connection> {
    let Some(program) = dial.search("buildkitd") else {
        tried.push("buildkitd on PATH (no such program)".to_owned());
        return None;
    };
    let daemon = daemon.get_or_insert_with(|| Daemon::new(program, options.state_dir.clone(), dial.clone()));
    match daemon.connect().await {
        Ok(connection) => Some(connection),
        Err(error) => {
            tried.push(format!("{} ({})", daemon.program().display(), chain(&error)));
            None
        }
    }
}

async fn container(runner: Runner, dial: &Dial, tried: &mut Vec<String>) -> Option<Connection> {
    let name = runner.program();
    let Some(program) = dial.search(name) else {
        tried.push(format!("{name} on PATH (no such program)"));
        return None;
    };
    let containers = match containers(&program).await {
        Ok(names) => names.into_iter().filter_map(|name| Container::named(runner, &name)),
        Err(reason) => {
            tried.push(format!("containers of {} ({reason})", program.display()));
            return None;
        }
    };
    let mut containers = containers.take(CONTAINERS).peekable();
    if containers.peek().is_none() {
        tried.push(format!(
            "containers of {} (none named buildkitd or buildx_buildkit_* runs)",
            program.display()
        ));
    }
    for container in containers {
        if let Some(found) = attempt(&Address::Container(container), dial, tried).await {
            return Some(found);
        }
    }
    None
}

/// The names of the containers that run and may hold a BuildKit, by the word of Docker's or Podman's command.
async fn containers(program: &Path) -> Result<Vec<String>, String> {
    let listing = Command::new(program)
        .args(["ps", "--filter", "name=buildkit", "--format", "{{.Names}}"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match timeout(LIST_DEADLINE, listing).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("it cannot be run: {error}")),
        Err(_) => return Err(format!("`ps` gave no answer within {LIST_DEADLINE:?}")),
    };
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "`ps` failed: {}",
            reason.trim().chars().take(512).collect::<String>()
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let fits = |name: &&str| name.starts_with("buildx_buildkit_") || *name == "buildkitd";
    Ok(text.lines().map(str::trim).filter(fits).map(str::to_owned).collect())
}
