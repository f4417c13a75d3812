//! Where BuildKit is, parsed once: `auto`, a Unix socket, TCP, inside Docker, or in a container.
//! Anything else is refused with the list of what is accepted.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::container::{Container, Runner};

/// Where BuildKit is. `Display` gives back a string that parses to the same address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Look for one, and start one if there is none; see [`crate::AutoOptions`].
    Auto,
    /// `unix://PATH`, an absolute path.
    Unix(PathBuf),
    /// `tcp://HOST:PORT`. An IPv6 address stands in brackets in the string and without them here.
    Tcp {
        /// Host name or IP address.
        host: String,
        /// Port, not 0.
        port: u16,
    },
    /// `docker://`: the BuildKit inside Docker, at `DOCKER_HOST` or a well-known socket; `docker:///PATH`: at that socket.
    Docker(Option<PathBuf>),
    /// `docker-container://NAME` and its like: `buildctl dial-stdio` in a container that runs.
    Container(Container),
}

/// Why a string is no address.
#[derive(Debug, thiserror::Error)]
#[error(
    "BuildKit address {address:?}: {reason}; accepted are auto, unix:///absolute/path, tcp://HOST:PORT, \
     docker://, docker:///absolute/path, docker-container://NAME, podman-container://NAME, nerdctl-container://NAME and kubepod://POD"
)]
pub struct ParseError {
    /// The string, cut to 256 characters.
    pub address: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl FromStr for Address {
    type Err = ParseError;

    fn from_str(address: &str) -> Result<Self, ParseError> {
        parse(address).map_err(|reason| ParseError {
            address: address.chars().take(256).collect(),
            reason,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Docker(None) => f.write_str("docker://"),
            Self::Docker(Some(path)) => write!(f, "docker://{}", path.display()),
            Self::Container(container) => container.fmt(f),
        }
    }
}

fn parse(address: &str) -> Result<Address, &'static str> {
    if address == "auto" {
        return Ok(Address::Auto);
    }
    let (scheme, rest) = address.split_once("://").ok_or("it has no scheme")?;
    match scheme {
        "unix" => Ok(Address::Unix(parse_socket(rest)?)),
        "tcp" => parse_tcp(rest),
        "docker" if rest.is_empty() => Ok(Address::Docker(None)),
        "docker" => Ok(Address::Docker(Some(parse_socket(rest)?))),
        _ => {
            let runner = Runner::of(scheme).ok_or("its scheme is not known")?;
            Ok(Address::Container(Container::parse(runner, rest)?))
        }
    }
}

fn parse_socket(path: &str) -> Result<PathBuf, &'static str> {
    if !path.starts_with('/') {
        return Err("the path of the socket is not absolute");
    }
    if path.ends_with('/') || path.contains('\0') {
        return Err("the path does not name a socket");
    }
    Ok(PathBuf::from(path))
}

fn parse_tcp(authority: &str) -> Result<Address, &'static str> {
    let (host, port) = authority.rsplit_once(':').ok_or("it has no port")?;
    let port = port
        .parse::<u16>()
        .ok()
        .filter(|port| *port != 0)
        .ok_or("the port is no number from 1 to 65535")?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() => inner,
        Some(_) => return Err("what stands in brackets is no IPv6 address"),
        None if is_host(host) => host,
        None => return Err("the host is no name and no address (IPv6 stands in brackets)"),
    };
    Ok(Address::Tcp {
        host: host.to_owned(),
        port,
    })
}

fn is_host(host: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !host.is_empty() && host.len() <= 253 && host.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_forms_round_trip() {
        let tcp = |host: &str, port| Address::Tcp {
            host: host.to_owned(),
            port,
        };
        let container = |runner, rest: &str| Address::Container(Container::parse(runner, rest).unwrap());
        let table = [
            ("auto", Address::Auto),
            ("unix:///run/b.sock", Address::Unix("/run/b.sock".into())),
            ("tcp://buildkit.example:1234", tcp("buildkit.example", 1234)),
            ("tcp://127.0.0.1:1", tcp("127.0.0.1", 1)),
            ("tcp://[::1]:65535", tcp("::1", 65535)),
            ("docker://", Address::Docker(None)),
            ("docker:///run/d.sock", Address::Docker(Some("/run/d.sock".into()))),
            ("docker-container://b0", container(Runner::Docker, "b0")),
            (
                "docker-container://b0?context=far",
                container(Runner::Docker, "b0?context=far"),
            ),
            ("podman-container://b0", container(Runner::Podman, "b0")),
            (
                "nerdctl-container://b0?namespace=n",
                container(Runner::Nerdctl, "b0?namespace=n"),
            ),
            (
                "kubepod://pod-0?container=c&context=me%40far&namespace=n",
                container(Runner::Kubectl, "pod-0?namespace=n&context=me@far&container=c"),
            ),
        ];
        for (text, address) in table {
            assert_eq!(text.parse::<Address>().unwrap(), address, "{text}");
            assert_eq!(address.to_string(), text);
        }
        let buildkits_own: Address = "kube-pod://pod-0".parse().unwrap();
        assert_eq!(buildkits_own.to_string(), "kubepod://pod-0");
    }

    #[test]
    fn refusals_say_what_is_accepted() {
        let table = [
            ("", "no scheme"),
            ("Auto", "no scheme"),
            ("/run/b.sock", "no scheme"),
            ("ssh://host", "scheme is not known"),
            ("unix://run/b.sock", "not absolute"),
            ("unix://", "not absolute"),
            ("unix:///run/", "does not name a socket"),
            ("tcp://host", "no port"),
            ("tcp://host:0", "1 to 65535"),
            ("tcp://host:65536", "1 to 65535"),
            ("tcp://host:+", "1 to 65535"),
            ("tcp://:1", "no name and no address"),
            ("tcp://::1:1", "no name and no address"),
            ("tcp://[fe80]:1", "no IPv6 address"),
            ("tcp://user@host:1", "no name and no address"),
            ("docker-container://", "is not one"),
            ("docker-container://-it", "is not one"),
            ("docker-container://a/b", "is not one"),
            ("docker://context", "not absolute"),
            ("docker:///run/", "does not name a socket"),
            ("podman-container://a?context=b", "is not known for this scheme"),
            ("kubepod://a?namespace=b&namespace=c", "there twice"),
            ("kubepod://a?namespace=", "a value after"),
        ];
        for (text, reason) in table {
            let message = text.parse::<Address>().unwrap_err().to_string();
            assert!(message.contains(reason), "{text}: {message}");
            assert!(
                message.contains("accepted are auto, unix:///absolute/path, tcp://HOST:PORT"),
                "{message}"
            );
        }
    }
}
