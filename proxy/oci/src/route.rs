//! Paths of the registry API, matched by whole segments, from the end, never by pattern.
//!
//! Names in a route are still unparsed text: the first segment may turn out to be an upstream.

use crate::digest::{Digest, InvalidDigest};
use crate::name::{InvalidName, Reference};

/// What a path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/v2/`: does this speak the API?
    Base,
    /// `/v2/<name>/manifests/<reference>`.
    Manifest {
        /// Repository, perhaps with an upstream in front.
        name: &'a str,
        /// Tag or digest.
        reference: Reference,
    },
    /// `/v2/<name>/blobs/<digest>`.
    Blob {
        /// Repository, perhaps with an upstream in front.
        name: &'a str,
        /// The blob.
        digest: Digest,
    },
    /// `/v2/<name>/referrers/<digest>`
    /// ([listing referrers](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers)).
    Referrers {
        /// Repository, perhaps with an upstream in front.
        name: &'a str,
        /// What is referred to.
        digest: Digest,
    },
    /// `/v2/<name>/tags/list`
    /// ([listing tags](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags)).
    Tags {
        /// Repository, perhaps with an upstream in front.
        name: &'a str,
    },
}

/// Why a path is no route.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RouteError {
    /// The path is not part of the pull API.
    #[error("`{0}` is not served here: this mirror serves /v2/, manifests, blobs, referrers and tags/list")]
    NotServed(String),
    /// The reference is malformed.
    #[error(transparent)]
    Reference(InvalidName),
    /// The digest is malformed.
    #[error(transparent)]
    Digest(InvalidDigest),
}

impl<'a> Route<'a> {
    /// Reads the raw (still percent-encoded) path of a request. `%3A` is understood in a digest, for some clients send
    /// it; any other escape is left as it is, and no name can hold it.
    ///
    /// # Errors
    /// [`RouteError`] says which part of the path is wrong.
    pub fn parse(path: &'a str) -> Result<Self, RouteError> {
        let not_served = || RouteError::NotServed(path.chars().take(200).collect());
        let rest = path.strip_prefix("/v2").ok_or_else(not_served)?;
        if rest.is_empty() || rest == "/" {
            return Ok(Self::Base);
        }
        let rest = rest.strip_prefix('/').ok_or_else(not_served)?;
        let (front, last) = rest.rsplit_once('/').ok_or_else(not_served)?;
        let (name, kind) = front.rsplit_once('/').ok_or_else(not_served)?;
        let last = last.replacen("%3A", ":", 1).replacen("%3a", ":", 1);
        match kind {
            "manifests" => Ok(Self::Manifest {
                name,
                reference: last.parse().map_err(RouteError::Reference)?,
            }),
            "blobs" => Ok(Self::Blob {
                name,
                digest: last.parse().map_err(RouteError::Digest)?,
            }),
            "referrers" => Ok(Self::Referrers {
                name,
                digest: last.parse().map_err(RouteError::Digest)?,
            }),
            "tags" if last == "list" => Ok(Self::Tags { name }),
            _ => Err(not_served()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest(name: &str, reference: &str) -> Route<'static> {
        Route::Manifest {
            name: name.to_owned().leak(),
            reference: reference.parse().unwrap(),
        }
    }

    #[test]
    fn paths_of_the_api() {
        for (path, route) in [
            ("/v2", Route::Base),
            ("/v2/", Route::Base),
            ("/v2/a/manifests/latest", manifest("a", "latest")),
            ("/v2/a/b/manifests/manifests/v1", manifest("a/b/manifests", "v1")),
            // The segment before the last decides, however often the word occurs before it.
            ("/v2/FOO/v2/x/manifests/latest", manifest("FOO/v2/x", "latest")),
            ("/v2/a/blobs/manifests/t", manifest("a/blobs", "t")),
        ] {
            assert_eq!(Route::parse(path), Ok(route), "{path}");
        }
        for path in [
            format!("/v2/a/blobs/{DIGEST}"),
            format!("/v2/a/blobs/{}", DIGEST.replace(':', "%3A")),
        ] {
            assert_eq!(
                Route::parse(&path),
                Ok(Route::Blob {
                    name: "a",
                    digest: DIGEST.parse().unwrap()
                })
            );
        }
        assert_eq!(
            Route::parse(&format!("/v2/a/b/referrers/{DIGEST}")),
            Ok(Route::Referrers {
                name: "a/b",
                digest: DIGEST.parse().unwrap()
            })
        );
        assert_eq!(Route::parse("/v2/a/tags/tags/list"), Ok(Route::Tags { name: "a/tags" }));
    }

    #[test]
    fn other_paths_are_refused() {
        for path in [
            "",
            "/",
            "/v1/",
            "/v2x/a/manifests/b",
            "/v2/a",
            "/v2/a/b",
            "/v2/_catalog",
            "/v2/a/uploads/b",
            "/v2/a/tags/other",
            "/v2/tags/list",
        ] {
            assert!(matches!(Route::parse(path), Err(RouteError::NotServed(_))), "{path}");
        }
        for path in [
            "/v2/a/manifests/",
            "/v2/a/manifests/..",
            "/v2/a/manifests/sha256:x",
            "/v2/a/manifests/b%2fc",
        ] {
            assert!(matches!(Route::parse(path), Err(RouteError::Reference(_))), "{path}");
        }
        for path in [
            "/v2/a/blobs/",
            "/v2/a/blobs/latest",
            "/v2/a/blobs/sha256:..%2f..%2fetc",
            "/v2/a/referrers/latest",
        ] {
            assert!(matches!(Route::parse(path), Err(RouteError::Digest(_))), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_path_panics(path in "\\PC{0,120}") {
            let _ = Route::parse(&path);
        }
    }
}
