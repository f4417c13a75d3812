//! Credentials towards one upstream: Basic, or a bearer token from its realm
//! ([token authentication](https://distribution.github.io/distribution/spec/auth/token/)).
//!
//! A token realm gets our password only when it is the upstream's own host or one that the operator named.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, Uri};
use moka::Expiry;
use moka::future::Cache;
use serde::Deserialize;

use crate::net::origin::Origin;

/// The largest answer of a token service, in bytes.
pub(super) const MAX_TOKEN_ANSWER: usize = 64 * 1024;
/// What the specification says a token lives when the answer does not.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// What we know about authenticating to one upstream.
pub(super) struct Credentials {
    /// The value of a Basic `Authorization` header.
    basic: Option<HeaderValue>,
    /// Hosts besides the upstream's own that may receive it.
    realms: Vec<String>,
    /// `Authorization` values by repository.
    tokens: Cache<String, (HeaderValue, Duration)>,
}

/// What a 401 asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Our user name and password.
    Basic,
    /// A token from `realm`.
    Bearer {
        /// URL of the token service.
        realm: String,
        /// The service to ask a token for.
        service: Option<String>,
        /// The scope that upstream wants.
        scope: Option<String>,
    },
}

impl Credentials {
    /// Credentials for an upstream; `user` is a name and a password.
    pub(super) fn new(user: Option<(&str, &str)>, realms: Vec<String>) -> Self {
        let basic = user.and_then(|(name, password)| {
            let text = format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")));
            sensitive(&text)
        });
        let tokens = Cache::builder()
            .max_capacity(10_000)
            .expire_after(TokenLifetime)
            .build();
        Self { basic, realms, tokens }
    }

    /// The header to send at first: a token that we hold for the repository.
    pub(super) async fn held(&self, repository: &str) -> Option<HeaderValue> {
        self.tokens.get(repository).await.map(|(value, _)| value)
    }

    /// The Basic header, when a user is configured.
    pub(super) fn basic(&self) -> Option<HeaderValue> {
        self.basic.clone()
    }

    /// Keeps what worked for a repository.
    pub(super) async fn keep(&self, repository: &str, value: HeaderValue, lifetime: Duration) {
        self.tokens.insert(repository.to_owned(), (value, lifetime)).await;
    }

    /// Forgets what was refused.
    pub(super) async fn forget(&self, repository: &str) {
        self.tokens.invalidate(repository).await;
    }

    /// The header for a token service, if it may have one.
    ///
    /// # Errors
    /// When a user is configured and the realm is not one of its hosts.
    pub(super) fn for_realm(&self, upstream: &Origin, realm: &Origin) -> Result<Option<HeaderValue>, String> {
        let Some(basic) = &self.basic else { return Ok(None) };
        let own = realm.host == upstream.host && (realm.tls || !upstream.tls);
        if own || (self.realms.contains(&realm.host) && (realm.tls || !upstream.tls)) {
            return Ok(Some(basic.clone()));
        }
        let host = &realm.host;
        Err(format!(
            "its token realm is {host}, which may not have the credentials; if it is right, add \"{host}\" to token_realms of this upstream"
        ))
    }
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Reads the challenges of a 401; a bearer challenge wins over Basic.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = None;
    for header in headers.get_all(WWW_AUTHENTICATE) {
        for challenge in http_auth::parse_challenges(header.to_str().ok()?).ok()? {
            let param = |wanted: &str| {
                let mut params = challenge.params.iter();
                params
                    .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                    .map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let (service, scope) = (param("service"), param("scope"));
                return Some(Challenge::Bearer {
                    realm: param("realm")?,
                    service,
                    scope,
                });
            }
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

/// The URL that asks `realm` for a token to pull `repository`.
pub(super) fn token_url(realm: &str, service: Option<&str>, scope: Option<&str>, repository: &str) -> Option<Uri> {
    let own_scope = format!("repository:{repository}:pull");
    let mut url = url::Url::parse(realm).ok()?;
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("scope", scope.unwrap_or(&own_scope));
        if let Some(service) = service {
            query.append_pair("service", service);
        }
    }
    url.as_str().parse().ok()
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// Reads a token service's answer into a header and how long to keep it.
pub(super) fn token(body: &[u8]) -> Option<(HeaderValue, Duration)> {
    let answer: TokenAnswer = serde_json::from_slice(body).ok()?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token)?;
    let lifetime = answer.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs);
    // Let go of it a little before upstream does.
    let lifetime = lifetime
        .saturating_sub(Duration::from_secs(10))
        .min(Duration::from_secs(3600));
    Some((sensitive(&format!("Bearer {token}"))?, lifetime))
}

struct TokenLifetime;

impl Expiry<String, (HeaderValue, Duration)> for TokenLifetime {
    fn expire_after_create(&self, _: &String, value: &(HeaderValue, Duration), _: Instant) -> Option<Duration> {
        Some(value.1)
    }

    fn expire_after_update(
        &self,
        _: &String,
        value: &(HeaderValue, Duration),
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(value.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_str(text).unwrap());
        challenge(&headers)
    }

    #[test]
    fn challenges() {
        let hub = r#"Bearer realm="https://auth.example/token",service="r",scope="repository:a/b:pull""#;
        assert_eq!(
            parsed(hub),
            Some(Challenge::Bearer {
                realm: "https://auth.example/token".into(),
                service: Some("r".into()),
                scope: Some("repository:a/b:pull".into()),
            })
        );
        assert_eq!(parsed(r#"Basic realm="x""#), Some(Challenge::Basic));
        assert_eq!(parsed("Bearer"), None);
        assert_eq!(parsed("%%%"), None);
    }

    #[test]
    fn a_token_is_asked_for_with_an_escaped_scope() {
        let url = token_url("https://auth.example/token?a=b", Some("r s"), None, "a/b").unwrap();
        assert_eq!(
            url.to_string(),
            "https://auth.example/token?a=b&scope=repository%3Aa%2Fb%3Apull&service=r+s"
        );
        assert_eq!(token_url("not a url", None, None, "a"), None);
    }

    #[test]
    fn a_foreign_realm_gets_no_password() {
        let origin = |url: &str| Origin::of(&url.parse().unwrap()).unwrap();
        let upstream = origin("https://registry.example");
        let credentials = Credentials::new(Some(("u", "p")), vec!["auth.example".into()]);
        for (realm, given) in [
            ("https://registry.example/token", true),
            ("https://registry.example:8443/token", true),
            ("https://auth.example/token", true),
            ("http://auth.example/token", false),
            ("https://auth.example.evil/token", false),
            ("https://10.1.1.1/token", false),
        ] {
            assert_eq!(
                credentials.for_realm(&upstream, &origin(realm)).is_ok(),
                given,
                "{realm}"
            );
        }
        let anonymous = Credentials::new(None, vec![]);
        assert_eq!(
            anonymous.for_realm(&upstream, &origin("https://elsewhere.example")),
            Ok(None)
        );
    }

    #[test]
    fn secrets_do_not_print() {
        let credentials = Credentials::new(Some(("u", "canary")), vec![]);
        assert!(!format!("{:?}", credentials.basic()).contains(&BASE64_STANDARD.encode("u:canary")));
        assert!(!format!("{:?}", token(br#"{"token":"canary"}"#)).contains("canary"));
    }
}
