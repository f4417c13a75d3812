//! The beginning of the URLs of a repository: what a `[[repository]]` is about.
//! Matched by whole path segments, so that `/debian` is not the beginning of `/debian-security`.

use std::fmt;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};

/// `[scheme://]host[:port][/path]`; `*` in host and port stands for any text, a missing scheme for both.
#[derive(Clone)]
pub struct Prefix {
    text: String,
    scheme: Option<String>,
    authority: GlobMatcher,
    segments: Vec<String>,
}

/// Why a text is not the beginning of a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be the beginning of a URL, such as \"deb.example.org/debian\" or \"https://*.example.com\"")]
pub struct PrefixError;

impl Prefix {
    /// What of `url` stands after this beginning, without a leading slash; nothing when it begins otherwise.
    #[must_use]
    pub fn strip<'a>(&self, url: &'a str) -> Option<&'a str> {
        let (scheme, rest) = url.split_once("://")?;
        if self.scheme.as_ref().is_some_and(|own| *own != scheme) {
            return None;
        }
        let (authority, mut path) = rest.split_once('/').unwrap_or((rest, ""));
        if !self.authority.is_match(authority.to_ascii_lowercase()) {
            return None;
        }
        for segment in &self.segments {
            let (first, others) = path.split_once('/').unwrap_or((path, ""));
            if first != segment {
                return None;
            }
            path = others;
        }
        Some(path)
    }

    /// Whether a password that is sent to a URL with this beginning is seen by nobody on the way.
    pub(crate) fn is_private(&self) -> bool {
        let host = self.text.trim_start_matches("http://");
        let is_loopback = ["127.0.0.1", "localhost", "[::1]"].iter().any(|local| {
            let rest = host.strip_prefix(local);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
        });
        self.scheme.as_deref() == Some("https") || is_loopback
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme.to_owned()), rest),
            Some(_) => return Err(PrefixError),
            None => (None, text),
        };
        let mut parts = rest.trim_end_matches('/').split('/');
        let authority = parts.next().unwrap_or_default();
        let segments: Vec<String> = parts.map(ToOwned::to_owned).collect();
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]*".contains(&byte);
        let is_segment = |segment: &String| {
            let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#%*\\".contains(&byte);
            !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(plain)
        };
        if authority.is_empty() || !authority.bytes().all(is_host) || !segments.iter().all(is_segment) {
            return Err(PrefixError);
        }
        // Brackets are an IPv6 address here, never a class of characters.
        let pattern = authority.to_ascii_lowercase().replace('[', "\\[").replace(']', "\\]");
        let authority = GlobBuilder::new(&pattern).backslash_escape(true).build();
        Ok(Self {
            text: text.to_owned(),
            scheme,
            authority: authority.map_err(|_| PrefixError)?.compile_matcher(),
            segments,
        })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Prefix {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[cfg(test)]
mod tests {
    use super::Prefix;

    #[test]
    fn what_begins_with_what() {
        let table = [
            (
                "deb.example.org/debian",
                "http://deb.example.org/debian/dists",
                Some("dists"),
            ),
            ("deb.example.org/debian", "https://deb.example.org/debian", Some("")),
            (
                "deb.example.org/debian",
                "http://deb.example.org/debian-security/x",
                None,
            ),
            ("https://deb.example.org", "http://deb.example.org/debian", None),
            (
                "*.ubuntu.com/ubuntu/",
                "http://archive.ubuntu.com/ubuntu/x/y",
                Some("x/y"),
            ),
            ("*.ubuntu.com", "http://ubuntu.com/x", None),
            ("http://127.0.0.1:*", "http://127.0.0.1:4711/a", Some("a")),
            ("http://127.0.0.1:*", "http://127.0.0.1.evil.example/a", None),
            ("[::1]:80", "http://[::1]:80/a", Some("a")),
            ("*", "http://any.example/a", Some("a")),
            ("DEB.example", "http://deb.Example/a", Some("a")),
        ];
        for (prefix, url, expected) in table {
            assert_eq!(prefix.parse::<Prefix>().unwrap().strip(url), expected, "{prefix} {url}");
        }
    }

    #[test]
    fn what_is_no_beginning() {
        for text in [
            "", "http://", "ftp://a", "a b", "a/../b", "a//b", "user@a", "a/x?y", "{a,b}",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
