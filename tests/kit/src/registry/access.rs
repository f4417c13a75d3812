//! Who may read from the fake registry: nobody is asked, Basic, or a bearer token from an endpoint named by a
//! realm. Says what challenge a request without access gets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The token that a right request to the token endpoint gets.
pub(super) const TOKEN: &str = "kit-bearer-token-canary";

/// What the registry asks of its clients.
#[derive(Clone, Default)]
pub enum Access {
    /// Nothing.
    #[default]
    Open,
    /// This user name and password in `Authorization: Basic`.
    Basic(String, String),
    /// A token from this realm, or from the registry's own `/token` without one; the token endpoint wants
    /// the user name and password, if there are any.
    Bearer {
        /// URL of the token endpoint; `None` is the registry's own.
        realm: Option<String>,
        /// User name and password that the token endpoint wants.
        user: Option<(String, String)>,
    },
}

impl Access {
    /// Whether a data request with this `Authorization` may pass.
    pub(super) fn allows(&self, authorization: Option<&str>) -> bool {
        match self {
            Self::Open => true,
            Self::Basic(user, password) => authorization == Some(&basic(user, password)),
            Self::Bearer { .. } => authorization == Some(&format!("Bearer {TOKEN}")),
        }
    }

    /// Whether the token endpoint answers a request with this `Authorization`.
    pub(super) fn grants(&self, authorization: Option<&str>) -> bool {
        match self {
            Self::Bearer {
                user: Some((user, password)),
                ..
            } => authorization == Some(&basic(user, password)),
            Self::Open | Self::Basic(..) | Self::Bearer { user: None, .. } => true,
        }
    }

    /// The `WWW-Authenticate` header of a refusal.
    pub(super) fn challenge(&self, own_url: &str, repository: &str) -> String {
        match self {
            Self::Open | Self::Basic(..) => "Basic realm=\"kit\"".to_owned(),
            Self::Bearer { realm, .. } => {
                let realm = realm.clone().unwrap_or_else(|| format!("{own_url}/token"));
                format!("Bearer realm=\"{realm}\",service=\"kit\",scope=\"repository:{repository}:pull\"")
            }
        }
    }
}

/// The value of an `Authorization` header with these credentials.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
}
