//! Where BuildKit is, parsed once: `auto`, a Unix socket, TCP, or a Docker container.
//! Anything else is refused with the list of what is accepted.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

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
    /// `docker-container://NAME`: `buildctl dial-stdio` in a running container of the local Docker.
    DockerContainer(String),
}

/// Why a string is no address.
#[derive(Debug, thiserror::Error)]
#[error(
    "BuildKit address {address:?}: {reason}; accepted are auto, unix:///absolute/path, tcp://HOST:PORT and docker-container://NAME"
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
            Self::DockerContainer(name) => write!(f, "docker-container://{name}"),
        }
    }
}

fn parse(address: &str) -> Result<Address, &'static str> {
    if address == "auto" {
        return Ok(Address::Auto);
    }
    let (scheme, rest) = address.split_once("://").ok_or("it has no scheme")?;
    match scheme {
        "unix" => parse_unix(rest),
        "tcp" => parse_tcp(rest),
        "docker-container" => parse_container(rest),
        _ => Err("its scheme is not known"),
    }
}

fn parse_unix(path: &str) -> Result<Address, &'static str> {
    if !path.starts_with('/') {
        return Err("the path of the socket is not absolute");
    }
    if path.ends_with('/') || path.contains('\0') {
        return Err("the path does not name a socket");
    }
    Ok(Address::Unix(PathBuf::from(path)))
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

/// Docker's rule for names; it also keeps a name from being read as an option of the command line.
fn parse_container(name: &str) -> Result<Address, &'static str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(fits) || name.len() > 255 {
        return Err("the name of the container is not one");
    }
    Ok(Address::DockerContainer(name.to_owned()))
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
        let table = [
            ("auto", Address::Auto),
            ("unix:///run/b.sock", Address::Unix("/run/b.sock".into())),
            ("tcp://buildkit.example:1234", tcp("buildkit.example", 1234)),
            ("tcp://127.0.0.1:1", tcp("127.0.0.1", 1)),
            ("tcp://[::1]:65535", tcp("::1", 65535)),
            (
                "docker-container://buildx_buildkit_default0",
                Address::DockerContainer("buildx_buildkit_default0".into()),
            ),
        ];
        for (text, address) in table {
            assert_eq!(text.parse::<Address>().unwrap(), address, "{text}");
            assert_eq!(address.to_string(), text);
        }
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
