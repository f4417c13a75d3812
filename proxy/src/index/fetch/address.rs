//! URLs of package repositories: as folders, as origins, and as they may be shown.

use url::Url;

use super::FetchError;
use crate::net::origin::Origin;

/// A URL as a folder, whose files are below it.
pub(super) fn parse(text: &str) -> Result<Url, FetchError> {
    let malformed = || FetchError::Url {
        url: text
            .split('@')
            .next_back()
            .unwrap_or_default()
            .chars()
            .take(200)
            .collect(),
    };
    let mut url = Url::parse(text).map_err(|_| malformed())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(malformed());
    }
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// Where a URL leads.
pub(super) fn origin(url: &Url) -> Result<Origin, FetchError> {
    let mut bare = url.clone();
    // What a URL says of a user is not part of where it leads.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    let uri = bare.as_str().parse().ok();
    uri.as_ref()
        .and_then(Origin::of)
        .ok_or_else(|| FetchError::Url { url: shown(url) })
}

/// A URL without user, password, query and fragment.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}
