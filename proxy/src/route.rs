//! Request to route: which upstream, which repository, what of it.
//!
//! The upstream comes from `?ns=`, else from the first path segment, else from the listener's default; all three are
//! looked up in one closed table and are never dialled by themselves.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::Uri;
use patchport_oci::name::InvalidName;
use patchport_oci::route::RouteError as PathError;
use patchport_oci::{Digest, Reference, Repository, Tag};

use crate::upstream::Upstream;

/// One row of the table of upstreams.
pub struct Site {
    /// The name that references use, such as `docker.io`.
    pub name: Arc<str>,
    /// The registry.
    pub upstream: Arc<dyn Upstream>,
    /// Whether `debian` means `library/debian` here.
    pub docker_library: bool,
}

/// The closed table of upstreams.
#[derive(Clone)]
pub struct Table(HashMap<Arc<str>, Arc<Site>>);

/// A repository of an upstream.
#[derive(Clone)]
pub struct Place {
    /// Whose it is.
    pub site: Arc<Site>,
    /// Its name there.
    pub repository: Repository,
}

/// What a request asks for.
pub enum Route {
    /// `/v2/`.
    Base,
    /// A manifest by tag.
    Tag(Place, Tag),
    /// A manifest by digest.
    Manifest(Place, Digest),
    /// A blob.
    Blob(Place, Digest),
    /// What refers to a manifest, perhaps of one artifact type only.
    Referrers(Place, Digest, Option<String>),
    /// The tags of a repository, or some of them.
    Tags(Place, Page),
}

/// A part of a list of tags
/// ([listing tags](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The path that was asked for: the next page has the same.
    pub path: String,
    /// The `ns` that was asked with.
    pub namespace: Option<String>,
    /// How many tags are wanted at most.
    pub limit: Option<usize>,
    /// The tag before the first.
    pub last: Option<Tag>,
}

/// Why a request leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The path is not part of the API, or its reference is malformed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The repository name is malformed.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The upstream is not in the table.
    #[error("`{host}` is not among the upstreams of this mirror: {known}")]
    UnknownHost {
        /// What was asked for.
        host: String,
        /// The table.
        known: String,
    },
    /// Neither the request nor the listener names an upstream.
    #[error(
        "the request names no upstream; put one in front of the repository, such as /v2/{example}/...; this mirror has: {known}"
    )]
    NoUpstream {
        /// A name from the table.
        example: String,
        /// The table.
        known: String,
    },
    /// The query names more than one.
    #[error("the request names more than one upstream with `ns`")]
    AmbiguousHost,
    /// The part of a list that the query asks for is none.
    #[error("`{name}={value}` of the request is no {wanted}")]
    Page {
        /// The parameter.
        name: &'static str,
        /// What it is.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
}

impl Table {
    /// A table of these sites.
    pub fn new(sites: impl IntoIterator<Item = Site>) -> Self {
        Self(
            sites
                .into_iter()
                .map(|site| (Arc::clone(&site.name), Arc::new(site)))
                .collect(),
        )
    }

    /// A repository of an upstream by their names, as they were recorded; nothing when the table no longer has the upstream.
    pub fn recorded(&self, upstream: &str, repository: &str) -> Option<Place> {
        Some(Place {
            site: Arc::clone(self.0.get(upstream)?),
            repository: repository.parse().ok()?,
        })
    }

    /// A repository by its full name, such as `docker.io/library/debian`.
    ///
    /// # Errors
    /// [`RouteError`] when its upstream is not in the table, or it is malformed.
    pub fn named(&self, name: &str) -> Result<Place, RouteError> {
        let (host, rest) = name.split_once('/').unwrap_or((name, ""));
        Self::in_site(self.site(host)?, rest)
    }

    /// Reads a request's URI, with the listener's `default` upstream.
    ///
    /// # Errors
    /// [`RouteError`] says what is malformed or unknown.
    pub fn route(&self, uri: &Uri, default: Option<&str>) -> Result<Route, RouteError> {
        use patchport_oci::Route as Parsed;
        let namespace = namespace(uri.query().unwrap_or_default())?;
        let place = |name| self.place(name, namespace.as_deref(), default);
        match Parsed::parse(uri.path())? {
            Parsed::Base => Ok(Route::Base),
            Parsed::Manifest {
                name,
                reference: Reference::Tag(tag),
            } => Ok(Route::Tag(place(name)?, tag)),
            Parsed::Manifest {
                name,
                reference: Reference::Digest(digest),
            } => Ok(Route::Manifest(place(name)?, digest)),
            Parsed::Blob { name, digest } => Ok(Route::Blob(place(name)?, digest)),
            Parsed::Referrers { name, digest } => {
                let wanted = artifact_type(uri.query().unwrap_or_default());
                Ok(Route::Referrers(place(name)?, digest, wanted))
            }
            Parsed::Tags { name } => {
                let page = page(uri, namespace.clone())?;
                Ok(Route::Tags(place(name)?, page))
            }
        }
    }

    fn place(&self, name: &str, namespace: Option<&str>, default: Option<&str>) -> Result<Place, RouteError> {
        if let Some(host) = namespace {
            return Self::in_site(self.site(host)?, name);
        }
        if let Some((first, rest)) = name.split_once('/') {
            if let Some(site) = self.0.get(first) {
                return Self::in_site(site, rest);
            }
            // As in references: a first part with a dot or a colon is a host, and this one is not in the table.
            if first.contains(['.', ':']) || first == "localhost" {
                self.site(first)?;
            }
        }
        match default {
            Some(host) => Self::in_site(self.site(host)?, name),
            None => {
                // A name that is malformed in itself is reported as such.
                let _: Repository = name.parse()?;
                let example = self.0.keys().min().map_or_else(String::new, ToString::to_string);
                Err(RouteError::NoUpstream {
                    example,
                    known: self.known(),
                })
            }
        }
    }

    fn site(&self, host: &str) -> Result<&Arc<Site>, RouteError> {
        let unknown = || RouteError::UnknownHost {
            host: host.chars().take(160).collect(),
            known: self.known(),
        };
        self.0.get(host).ok_or_else(unknown)
    }

    fn in_site(site: &Arc<Site>, name: &str) -> Result<Place, RouteError> {
        let mut repository: Repository = name.parse()?;
        if site.docker_library && repository.is_single_component() {
            repository = format!("library/{repository}").parse()?;
        }
        Ok(Place {
            site: Arc::clone(site),
            repository,
        })
    }

    fn known(&self) -> String {
        let mut names: Vec<&str> = self.0.keys().map(AsRef::as_ref).collect();
        names.sort_unstable();
        names.join(", ")
    }
}

/// The value of the one `ns` parameter, when there is one.
fn namespace(query: &str) -> Result<Option<String>, RouteError> {
    let mut values = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "ns");
    match (values.next(), values.next()) {
        (Some(_), Some(_)) => Err(RouteError::AmbiguousHost),
        (Some((_, value)), None) => Ok(Some(value.into_owned())),
        (None, _) => Ok(None),
    }
}

/// The artifact type that a list of referrers is to be of, when one is asked for.
fn artifact_type(query: &str) -> Option<String> {
    let mut values = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "artifactType");
    // A plus sign stands in many media types, and many clients leave it as it is.
    values.next().map(|(_, value)| value.replace(' ', "+"))
}

/// The part of a list of tags that is asked for.
fn page(uri: &Uri, namespace: Option<String>) -> Result<Page, RouteError> {
    let query = uri.query().unwrap_or_default();
    let value = |name: &str| {
        let mut values = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
        values.next().map(|(_, value)| value.into_owned())
    };
    let refuse = |name, value: &str, wanted| RouteError::Page {
        name,
        value: value.chars().take(160).collect(),
        wanted,
    };
    let (limit, last) = (value("n"), value("last").filter(|last| !last.is_empty()));
    let limit = limit.map(|limit| limit.parse().map_err(|_| refuse("n", &limit, "number of tags")));
    let last = last.map(|last| last.parse().map_err(|_| refuse("last", &last, "tag")));
    Ok(Page {
        path: uri.path().to_owned(),
        namespace,
        limit: limit.transpose()?,
        last: last.transpose()?,
    })
}

impl Place {
    /// The upstream's name.
    pub fn upstream(&self) -> &str {
        &self.site.name
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.site.name, self.repository)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
