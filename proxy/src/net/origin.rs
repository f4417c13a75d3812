//! Who a URL speaks to, and whether we may follow it there.
//!
//! Credentials never leave the origin they were configured for; a redirect never weakens TLS and never reaches into
//! this machine or its link (the classes of CVE-2020-15157 and CVE-2026-33540).

use std::net::IpAddr;

use http::Uri;

/// Scheme, host and port of a URL, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Whether the scheme is `https`.
    pub(crate) tls: bool,
    /// Host name in lower case, or an address without brackets.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
}

impl Origin {
    /// The origin of an absolute `http` or `https` URL without user information; `None` for anything else.
    pub(crate) fn of(url: &Uri) -> Option<Self> {
        let tls = match url.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = url.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Some(Self { tls, host, port })
    }

    /// Whether the host is written as, or known to be, this machine or its link.
    pub(crate) fn is_local(&self) -> bool {
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.host.parse::<IpAddr>().is_ok_and(is_local_address)
    }

    /// Why a request that started at `self` must not go on to `target`; `None` when it may.
    pub(crate) fn refuses(&self, target: &Self) -> Option<String> {
        if self.tls && !target.tls {
            return Some(format!("{} would be asked without TLS", target.host));
        }
        if target.host.parse().is_ok_and(is_link_local) {
            return Some(format!(
                "{} is a link-local address, where metadata services live",
                target.host
            ));
        }
        if target.is_local() && !self.is_local() {
            return Some(format!("{} is an address of this machine or its link", target.host));
        }
        None
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_link_local()),
    }
}

/// Loopback, link-local (cloud metadata services live there), unspecified.
pub(crate) fn is_local_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_broadcast(),
        IpAddr::V6(v6) => {
            v6.to_ipv4_mapped().is_some_and(|v4| is_local_address(v4.into()))
                || v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::of(&url.parse().unwrap()).unwrap()
    }

    #[test]
    fn where_a_request_may_go() {
        let registry = origin("https://registry.example");
        for (url, allowed) in [
            ("https://cdn.example/blob", true),
            ("https://10.0.0.7/blob", true),
            ("http://cdn.example/blob", false),
            ("https://127.0.0.1/blob", false),
            ("https://[::1]/blob", false),
            ("https://[::ffff:127.0.0.1]/blob", false),
            ("https://169.254.169.254/latest", false),
            ("https://localhost/blob", false),
            ("https://0.0.0.0/blob", false),
        ] {
            assert_eq!(registry.refuses(&origin(url)).is_none(), allowed, "{url}");
        }
        let local = origin("http://127.0.0.1:5000");
        assert!(local.refuses(&origin("http://127.0.0.1:6000")).is_none());
        assert!(local.refuses(&origin("http://169.254.169.254/latest")).is_some());
        assert!(local.refuses(&origin("http://[fe80::1]/latest")).is_some());
    }

    #[test]
    fn what_is_no_origin() {
        for url in ["https://user@registry.example/", "ftp://registry.example/", "/v2/"] {
            assert_eq!(Origin::of(&url.parse().unwrap()), None, "{url}");
        }
        assert_eq!(
            origin("https://Registry.Example:443/"),
            origin("https://registry.example")
        );
    }
}
