//! The base URL of an upstream registry, parsed once.
//! It never holds credentials or a query, so it may be logged as it is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

/// The longest URL that is taken, in bytes.
const MAX_LENGTH: usize = 2048;

/// `http://` or `https://`, a host, an optional port and path; no user, no query, no trailing slash.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    uri: Uri,
    text: String,
}

/// Why a text is not the base URL of an upstream. Shows nothing of it: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not of the form `scheme://host...`.
    #[error("must be an absolute URL, such as \"https://registry.example.com\"")]
    Malformed,
    /// Another scheme.
    #[error("must begin with http:// or https://")]
    Scheme,
    /// `user:password@host`.
    #[error("must not contain a user or password, use the keys username and password_file")]
    UserInfo,
    /// `?query` or `#fragment`.
    #[error("must not contain a query or fragment")]
    Query,
}

impl Url {
    /// The whole URL without a trailing slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host, IPv6 addresses in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// The port that was written, if any.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.uri.port_u16()
    }

    /// The path without a trailing slash: empty, or beginning with a slash.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path().trim_end_matches('/')
    }

    /// Whether the scheme is `https`.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&http::uri::Scheme::HTTPS)
    }

    /// Whether the host is this machine by its very name: `localhost`, 127.0.0.0/8 or `[::1]`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.host().trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.contains(['?', '#']) {
            return Err(UrlError::Query);
        }
        if text.len() > MAX_LENGTH {
            return Err(UrlError::Malformed);
        }
        let text = text.trim_end_matches('/');
        let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            Some(_) => return Err(UrlError::Scheme),
            None => return Err(UrlError::Malformed),
        }
        let authority = uri.authority().ok_or(UrlError::Malformed)?.as_str();
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        // A port that `http` cannot read is kept as text there: refuse it here.
        let port_lost = authority.len() > uri.host().map_or(0, str::len) && uri.port_u16().is_none_or(|port| port == 0);
        if uri.host().is_none_or(str::is_empty) || port_lost {
            return Err(UrlError::Malformed);
        }
        Ok(Self {
            text: text.to_owned(),
            uri,
        })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Url, UrlError};

    #[test]
    fn takes_apart_what_it_accepts() {
        // text, as_str, host, port, path, https, loopback
        let table = [
            ("https://quay.io", "https://quay.io", "quay.io", None, "", true, false),
            (
                "https://h.example/a/b/",
                "https://h.example/a/b",
                "h.example",
                None,
                "/a/b",
                true,
                false,
            ),
            (
                "http://127.0.0.1:5000/",
                "http://127.0.0.1:5000",
                "127.0.0.1",
                Some(5000),
                "",
                false,
                true,
            ),
            ("http://[::1]:80", "http://[::1]:80", "[::1]", Some(80), "", false, true),
            (
                "http://localhost",
                "http://localhost",
                "localhost",
                None,
                "",
                false,
                true,
            ),
        ];
        for (text, whole, host, port, path, https, loopback) in table {
            let url: Url = text.parse().unwrap();
            let seen = (
                url.as_str(),
                url.host(),
                url.port(),
                url.path(),
                url.is_https(),
                url.is_loopback(),
            );
            assert_eq!(seen, (whole, host, port, path, https, loopback), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        let table = [
            ("", UrlError::Malformed),
            ("quay.io", UrlError::Malformed),
            ("/path", UrlError::Malformed),
            ("https://", UrlError::Malformed),
            ("https://h:99999", UrlError::Malformed),
            ("https://h:0", UrlError::Malformed),
            ("https://h:", UrlError::Malformed),
            ("ftp://quay.io", UrlError::Scheme),
            ("https://me:pw@quay.io", UrlError::UserInfo),
            ("https://quay.io/?a=b", UrlError::Query),
            ("https://quay.io/#x", UrlError::Query),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<Url>().unwrap_err(), error, "{text}");
        }
    }
}
