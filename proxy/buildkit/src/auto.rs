//! The address `auto`: every place where a BuildKit may be, in one fixed order, until one answers.
//! The order is: the address the user exported, the well-known sockets, a `buildkitd` of our own, Docker.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::address::Address;
use crate::connect::{Connection, Endpoint, Error, chain};
use crate::daemon::Daemon;
use crate::stream::Dial;

/// How long `docker ps` may take.
const DOCKER_DEADLINE: Duration = Duration::from_secs(5);
/// How many containers of Docker are tried.
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
    /// The value of `PATH`, searched for `buildkitd` and `docker`. Neither is used without it.
    pub path: Option<OsString>,
}

impl Default for AutoOptions {
    /// The well-known sockets, and nothing else that depends on the machine.
    fn default() -> Self {
        Self {
            buildkit_host: None,
            sockets: well_known_sockets(),
            state_dir: PathBuf::new(),
            path: None,
        }
    }
}

impl AutoOptions {
    /// The first executable file of that name in the absolute directories of the path.
    pub(crate) fn search(&self, name: &str) -> Option<PathBuf> {
        let runs = |file: &PathBuf| {
            std::fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        };
        let path = self.path.as_deref()?;
        std::env::split_paths(path)
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(name))
            .find(runs)
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
    match docker(options, &dial, &mut tried).await {
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
            tried.push(format!("{address} ({})", chain(&error)));
            None
        }
    }
}

/// The places that BuildKit's packages use: the system's and, for a rootless daemon, the user's.
fn well_known_sockets() -> Vec<PathBuf> {
    let mut sockets = vec![PathBuf::from("/run/buildkit/buildkitd.sock")];
    // The owner of a process's own directory in /proc is its user; asking the system directly needs unsafe code.
    if let Ok(metadata) = std::fs::metadata("/proc/self") {
        sockets.push(PathBuf::from(format!(
            "/run/user/{}/buildkit/buildkitd.sock",
            metadata.uid()
        )));
    }
    sockets
}

async fn own(
    options: &AutoOptions,
    dial: &Dial,
    daemon: &mut Option<Daemon>,
    tried: &mut Vec<String>,
) -> Option<Connection> {
    let Some(program) = options.search("buildkitd") else {
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

async fn docker(options: &AutoOptions, dial: &Dial, tried: &mut Vec<String>) -> Option<Connection> {
    let Some(program) = options.search("docker") else {
        tried.push("docker on PATH (no such program)".to_owned());
        return None;
    };
    let names = match containers(&program).await {
        Ok(names) => names,
        Err(reason) => {
            tried.push(format!("{} ({reason})", program.display()));
            return None;
        }
    };
    if names.is_empty() {
        tried.push(format!(
            "{} (no container named buildx_buildkit_* or buildkitd runs)",
            program.display()
        ));
    }
    for name in names.into_iter().take(CONTAINERS) {
        if let Some(found) = attempt(&Address::DockerContainer(name), dial, tried).await {
            return Some(found);
        }
    }
    None
}

async fn containers(docker: &Path) -> Result<Vec<String>, String> {
    let listing = Command::new(docker)
        .args(["ps", "--filter", "name=buildkit", "--format", "{{.Names}}"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match timeout(DOCKER_DEADLINE, listing).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("cannot be run: {error}")),
        Err(_) => {
            return Err(format!("`docker ps` gave no answer within {DOCKER_DEADLINE:?}"));
        }
    };
    if !output.status.success() {
        let reason: String = String::from_utf8_lossy(&output.stderr)
            .trim()
            .chars()
            .take(512)
            .collect();
        return Err(format!("`docker ps` failed: {reason}"));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let fits = |name: &&str| name.starts_with("buildx_buildkit_") || *name == "buildkitd";
    Ok(text.lines().map(str::trim).filter(fits).map(str::to_owned).collect())
}
