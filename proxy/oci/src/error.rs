//! The error body of the distribution specification
//! ([error codes](https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes)).
//!
//! A code and a sentence for a person; clients print the sentence.

use serde::Serialize;

/// The codes that a pull-only registry answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The blob is not known to the repository.
    BlobUnknown,
    /// The digest in the request is malformed.
    DigestInvalid,
    /// The manifest cannot be served because it is not a valid one.
    ManifestInvalid,
    /// The manifest is not known to the repository.
    ManifestUnknown,
    /// The repository name is malformed.
    NameInvalid,
    /// The repository, or its upstream, is not known.
    NameUnknown,
    /// The requested size does not fit.
    SizeInvalid,
    /// The part of a list that was asked for is none.
    PaginationInvalid,
    /// Policy forbids it.
    Denied,
    /// The operation is not supported here.
    Unsupported,
    /// Too many requests.
    TooManyRequests,
    /// Upstream or an own part is not available.
    Unavailable,
    /// An internal fault.
    Unknown,
}

impl ErrorCode {
    /// The code as it stands in the body.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::PaginationInvalid => "PAGINATION_NUMBER_INVALID",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unavailable => "UNAVAILABLE",
            Self::Unknown => "UNKNOWN",
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    errors: [Entry<'a>; 1],
}

#[derive(Serialize)]
struct Entry<'a> {
    code: &'a str,
    message: &'a str,
}

/// The JSON body for one error.
pub fn body(code: ErrorCode, message: &str) -> Vec<u8> {
    let body = Body {
        errors: [Entry {
            code: code.as_str(),
            message,
        }],
    };
    serde_json::to_vec(&body).unwrap_or_else(|_| br#"{"errors":[{"code":"UNKNOWN"}]}"#.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_the_specified_one() {
        let text = String::from_utf8(body(ErrorCode::Denied, "no \"x\"")).unwrap();
        assert_eq!(text, r#"{"errors":[{"code":"DENIED","message":"no \"x\""}]}"#);
    }
}
