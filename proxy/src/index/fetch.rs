//! Files of package repositories over HTTP: where the operator's table says, with a size limit and deadlines.
//!
//! The URLs come from images, so from strangers: this machine and its link are reached only where the table says so, redirects
//! are held to the same rules, and what a URL carries of a user or a query is never shown.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use patchport_config::{Credentials, Repository, Tolerance};
use reqwest::header::{ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION};
use reqwest::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::respond::chain;
use crate::sources::Sources;

mod address;
mod client;
mod error;

use address::{origin, parse, shown};
use client::{builder, client};
pub use error::FetchError;
use error::unreachable;

const MAX_REDIRECTS: usize = 5;
/// How long a server may take to begin its answer, and to send the next byte.
const STALL: Duration = Duration::from_secs(10);
/// How long one file may take in all.
const WHOLE: Duration = Duration::from_secs(120);

/// Fetches files of package repositories.
pub struct Fetcher {
    entries: Vec<Entry>,
    /// For repositories that the table does not name.
    unlisted: reqwest::Client,
    judge: Judge,
}

/// An entry of the operator's table, and how to reach what it is about.
struct Entry {
    settings: Arc<Repository>,
    client: reqwest::Client,
}

/// Which files may be fetched at all, and how what the operator has instead is reached.
#[derive(Clone, Debug)]
struct Judge {
    sources: Sources,
    client: reqwest::Client,
}

/// A place where a repository may be found.
#[derive(Clone, Debug)]
pub struct Base {
    /// Its URL, ending in a slash.
    url: Url,
    client: reqwest::Client,
    /// What the operator says of it.
    settings: Option<Arc<Repository>>,
    credentials: Option<Credentials>,
    judge: Judge,
}

/// What a server said of a file, to ask later whether it has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    etag: Option<String>,
    modified: Option<String>,
}

/// A server's answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The file.
    File(Bytes, Validators),
    /// It has not changed.
    Unchanged,
}

impl Fetcher {
    /// A fetcher that obeys the operator's table and source policy.
    ///
    /// # Errors
    /// When a certificate or proxy cannot be used.
    pub fn new(table: Vec<Repository>, sources: Sources) -> anyhow::Result<Self> {
        let entries = table.into_iter().map(|settings| {
            let client = client(&settings).map_err(|error| {
                let prefix = settings.prefixes.first().map(ToString::to_string).unwrap_or_default();
                error.context(format!("cannot use the [[repository]] for {prefix}"))
            })?;
            let settings = Arc::new(settings);
            Ok(Entry { settings, client })
        });
        Ok(Self {
            entries: entries.collect::<anyhow::Result<_>>()?,
            unlisted: builder(None, false)?.build()?,
            judge: Judge {
                sources,
                client: builder(None, true)?.build()?,
            },
        })
    }

    /// Where the repository at `url` may be found, in the order to try: its mirror or itself, then the archives.
    ///
    /// # Errors
    /// When `url` is none, or leads to this machine without the operator's word.
    pub fn bases(&self, url: &str) -> Result<Vec<Base>, FetchError> {
        if let Some(listed) = self.listed(url)? {
            return Ok(listed);
        }
        let parsed = parse(url)?;
        let origin = origin(&parsed)?;
        if origin.is_local() {
            return Err(FetchError::Untrusted {
                url: shown(&parsed),
                reason: format!("{} is an address of this machine or its link", origin.host),
            });
        }
        Ok(vec![Base {
            url: parsed,
            client: self.unlisted.clone(),
            settings: None,
            credentials: None,
            judge: self.judge.clone(),
        }])
    }

    /// The same for a repository that the table names; nothing for any other.
    ///
    /// # Errors
    /// When `url` is none.
    pub fn listed(&self, url: &str) -> Result<Option<Vec<Base>>, FetchError> {
        let parsed = parse(url)?;
        let bare = shown(&parsed);
        for entry in &self.entries {
            let settings = &entry.settings;
            let Some(rest) = settings.prefixes.iter().find_map(|prefix| prefix.strip(&bare)) else {
                continue;
            };
            let base = |url: &str, credentials: Option<&Credentials>| {
                Ok::<_, FetchError>(Base {
                    url: parse(url)?,
                    client: entry.client.clone(),
                    settings: Some(Arc::clone(settings)),
                    credentials: credentials.cloned(),
                    judge: self.judge.clone(),
                })
            };
            let below = |root: &patchport_config::Url| format!("{root}/{rest}");
            let first = settings.mirror.as_ref().map_or_else(|| parsed.to_string(), below);
            let mut bases = vec![base(&first, settings.credentials.as_ref())?];
            for archive in &settings.archives {
                bases.push(base(&below(archive), None)?);
            }
            return Ok(Some(bases));
        }
        Ok(None)
    }

    /// Where the files of a repository are that has mirrors, in order, by the address of each; `most` of those are looked at.
    pub fn mirrors<'a>(
        &self,
        urls: &'a [String],
        most: usize,
    ) -> impl Iterator<Item = Result<(&'a String, Base), FetchError>> {
        urls.iter().take(most).flat_map(|url| match self.bases(url) {
            Ok(bases) => bases.into_iter().map(|base| Ok((url, base))).collect(),
            Err(error) => vec![Err(error)],
        })
    }

    /// Whether the operator's table names any repository.
    pub fn has_table(&self) -> bool {
        !self.entries.is_empty()
    }
}

impl Base {
    /// Whether the operator believes an index of it without a good signature.
    pub fn allows_unsigned(&self) -> bool {
        self.settings
            .as_ref()
            .is_some_and(|settings| settings.unsigned == Tolerance::Allow)
    }

    /// Whether the operator believes an index of it that has expired.
    pub fn allows_expired(&self) -> bool {
        self.settings
            .as_ref()
            .is_some_and(|settings| settings.expired == Tolerance::Allow)
    }

    /// Files of keys that the operator trusts for it.
    pub fn keys(&self) -> &[std::path::PathBuf] {
        self.settings.as_ref().map_or(&[], |settings| &settings.keys)
    }

    /// Its URL, for somebody who asks in our place. It may carry the user that an image has in it.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// What the operator says of it.
    pub fn settings(&self) -> Option<&Repository> {
        self.settings.as_deref()
    }

    /// What the operator logs in with there.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Its URL, as it may be shown.
    pub fn shown(&self) -> String {
        shown(&self.url)
    }

    /// The URL that a file below it is fetched from, as it may be shown.
    pub fn shown_below(&self, path: &str) -> String {
        let url = self.below(path);
        let to = url.as_ref().ok().and_then(|url| Some(self.judged(url).ok()?.0));
        to.map_or_else(|| format!("{}{path}", self.shown()), |url| shown(&url))
    }

    /// Fetches a file below it of at most `limit` bytes, unless it is as `known` says.
    ///
    /// # Errors
    /// [`FetchError`] names the URL.
    pub async fn fetch(&self, path: &str, limit: usize, known: Option<&Validators>) -> Result<Answer, FetchError> {
        let url = self.below(path)?;
        let whole = tokio::time::timeout(WHOLE, self.read(&url, limit, known)).await;
        whole.unwrap_or_else(|_| Err(unreachable(&url, format!("it was not here within {WHOLE:?}"))))
    }

    /// Whether a file below it may be used, wherever it was fetched from.
    ///
    /// # Errors
    /// [`FetchError`] names the URL.
    pub fn admit(&self, path: &str) -> Result<(), FetchError> {
        self.judged(&self.below(path)?).map(drop)
    }

    /// Begins to fetch a file below it of at most `limit` bytes, which need not fit into memory.
    ///
    /// # Errors
    /// [`FetchError`] names the URL.
    pub async fn open(&self, path: &str, limit: usize) -> Result<Body, FetchError> {
        let url = self.below(path)?;
        match self.answer(&url, None).await? {
            Some(response) => Body::new(url, response, limit),
            None => Err(unreachable(&url, "it has not changed, which was not asked".into())),
        }
    }

    /// The URL of a file below it. A path of an index must stay below: it cannot lead to another server.
    fn below(&self, path: &str) -> Result<Url, FetchError> {
        let url = self.url.join(path).map_err(|_| FetchError::Url {
            url: path.chars().take(200).collect(),
        })?;
        if !url.as_str().starts_with(self.url.as_str()) {
            return Err(FetchError::Untrusted {
                url: shown(&url),
                reason: "it leaves its repository".into(),
            });
        }
        Ok(url)
    }

    /// Where a file is fetched, and with what: where the operator's source policy says.
    fn judged(&self, url: &Url) -> Result<(Url, &reqwest::Client), FetchError> {
        let mut bare = url.clone();
        let _ = bare.set_username("");
        let _ = bare.set_password(None);
        let Some(to) = self.judge.sources.file(bare.as_str())? else {
            return Ok((url.clone(), &self.client));
        };
        let to = Url::parse(&to).map_err(|_| FetchError::Url {
            url: to.chars().take(200).collect(),
        })?;
        let is_home = origin(&to)? == origin(url)?;
        Ok((to, if is_home { &self.client } else { &self.judge.client }))
    }

    async fn read(&self, url: &Url, limit: usize, known: Option<&Validators>) -> Result<Answer, FetchError> {
        let Some(response) = self.answer(url, known).await? else {
            return Ok(Answer::Unchanged);
        };
        let header = |name| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let validators = Validators {
            etag: header(ETAG),
            modified: header(LAST_MODIFIED),
        };
        let mut body = Body::new(url.clone(), response, limit)?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = body.next().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(Answer::File(bytes.freeze(), validators))
    }

    /// The answer that has the file; nothing when it is as `known` says.
    async fn answer(&self, url: &Url, known: Option<&Validators>) -> Result<Option<Response>, FetchError> {
        let response = self.followed(url, known).await?;
        match response.status() {
            StatusCode::OK => Ok(Some(response)),
            StatusCode::NOT_MODIFIED if known.is_some() => Ok(None),
            status @ (StatusCode::NOT_FOUND | StatusCode::GONE) => Err(FetchError::Missing {
                url: shown(url),
                status: status.as_u16(),
            }),
            status => Err(FetchError::Status {
                url: shown(url),
                status: status.as_u16(),
            }),
        }
    }

    /// Sends the request and follows redirects, without credentials as soon as the origin changes.
    async fn followed(&self, url: &Url, known: Option<&Validators>) -> Result<Response, FetchError> {
        let home = origin(url)?;
        let (mut next, client) = self.judged(url)?;
        for _ in 0..=MAX_REDIRECTS {
            let mut request = client.get(next.clone()).headers(conditions(known));
            if let Some(user) = self
                .credentials
                .as_ref()
                .filter(|_| origin(&next).is_ok_and(|own| own == home))
            {
                request = request.basic_auth(&user.username, Some(user.password.expose()));
            }
            let sent = tokio::time::timeout(STALL, request.send()).await;
            let late = || unreachable(url, format!("no answer within {STALL:?}"));
            let response = sent.map_err(|_| late())?;
            // reqwest puts the URL into its errors, and that may carry a password.
            let response = response.map_err(|error| unreachable(url, chain(&error.without_url())))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let location = location.and_then(|location| next.join(location).ok());
            next = location.ok_or_else(|| unreachable(url, "it redirects without a usable Location".into()))?;
            let target = origin(&next)?;
            if let Some(reason) = (target != home).then(|| home.refuses(&target)).flatten() {
                return Err(FetchError::Untrusted {
                    url: shown(url),
                    reason: format!("redirect: {reason}"),
                });
            }
        }
        Err(unreachable(
            url,
            format!("it redirects more than {MAX_REDIRECTS} times"),
        ))
    }
}

/// The bytes of a file as they come, up to a limit.
pub struct Body {
    url: Url,
    response: Response,
    limit: usize,
    read: usize,
}

impl Body {
    fn new(url: Url, response: Response, limit: usize) -> Result<Self, FetchError> {
        let body = Self {
            url,
            response,
            limit,
            read: 0,
        };
        let announced = body.response.content_length();
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(body.too_large());
        }
        Ok(body)
    }

    /// The next bytes; nothing at the end.
    ///
    /// # Errors
    /// [`FetchError`] when the server stops talking, or sends more than the limit.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        let chunk = tokio::time::timeout(STALL, self.response.chunk()).await;
        let chunk = chunk.map_err(|_| unreachable(&self.url, format!("no byte for {STALL:?}")))?;
        let chunk = chunk.map_err(|error| unreachable(&self.url, chain(&error.without_url())))?;
        self.read = self.read.saturating_add(chunk.as_ref().map_or(0, Bytes::len));
        if self.read > self.limit {
            return Err(self.too_large());
        }
        Ok(chunk)
    }

    fn too_large(&self) -> FetchError {
        FetchError::TooLarge {
            url: shown(&self.url),
            limit: self.limit,
        }
    }
}

fn conditions(known: Option<&Validators>) -> HeaderMap {
    let pairs = known.map(|known| [(IF_NONE_MATCH, &known.etag), (IF_MODIFIED_SINCE, &known.modified)]);
    let given = pairs.into_iter().flatten();
    let valid = |value: &Option<String>| HeaderValue::from_str(value.as_ref()?).ok();
    given.filter_map(|(name, value)| Some((name, valid(value)?))).collect()
}

#[cfg(test)]
mod tests;
