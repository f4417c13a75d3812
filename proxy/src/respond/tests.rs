//! Every failure and its response, and the headers of what is served.
//!
//! The table names each variant once; the match that it tests is exhaustive.

use std::sync::Arc;
use std::time::Duration;

use patchport_oci::{Manifest, media_type};

use super::*;
use crate::catalog::CatalogError;
use crate::flight::Interrupted;
use crate::patch::EngineError;
use crate::policy::Denial;
use crate::store::StoreError;

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn digest() -> Digest {
    Digest::of(b"x")
}

/// One upstream error of each kind.
fn upstream_errors() -> Vec<(&'static str, UpstreamError, u16, ErrorCode)> {
    let (upstream, subject): (Arc<str>, String) = ("up.example".into(), "team/app:v1".into());
    let broken = Arc::new(Manifest::parse("no", "").unwrap_err());
    let reason = String::from("r");
    macro_rules! error {
        ($kind:ident $(, $field:ident: $value:expr)*) => {
            UpstreamError::$kind { upstream: Arc::clone(&upstream), subject: subject.clone() $(, $field: $value)* }
        };
    }
    vec![
        ("not found", error!(NotFound), 404, ErrorCode::ManifestUnknown),
        ("refused", error!(Refused, status: 401), 404, ErrorCode::NameUnknown),
        (
            "rate",
            error!(RateLimited, retry_after: None),
            429,
            ErrorCode::TooManyRequests,
        ),
        ("faulty", error!(Faulty, status: 500), 502, ErrorCode::Unavailable),
        (
            "unreachable",
            error!(Unreachable, reason: reason.clone()),
            502,
            ErrorCode::Unavailable,
        ),
        (
            "lied",
            error!(Lied, reason: reason.clone()),
            502,
            ErrorCode::Unavailable,
        ),
        (
            "untrusted",
            error!(Untrusted, reason: reason),
            502,
            ErrorCode::Unavailable,
        ),
        (
            "manifest",
            error!(Manifest, source: broken),
            502,
            ErrorCode::ManifestInvalid,
        ),
    ]
}

fn damaged() -> CatalogError {
    CatalogError::Damaged {
        subject: "secret-of-ours".into(),
        reason: "r".into(),
    }
}

fn store_failure() -> BlobError {
    BlobError::Store {
        digest: digest(),
        source: Arc::new(StoreError::InUse("secret-of-ours".into())),
    }
}

/// The failures that are not upstream's.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn failures() -> Vec<(&'static str, Failure, u16, ErrorCode, Blame)> {
    use patchport_oci::route::RouteError as Path;
    let path = |path: &str| Failure::Route(patchport_oci::Route::parse(path).unwrap_err().into());
    let host = || ("h".to_owned(), "known".to_owned());
    let unknown = RouteError::UnknownHost {
        host: host().0,
        known: host().1,
    };
    let none = RouteError::NoUpstream {
        example: host().0,
        known: host().1,
    };
    let name: RouteError = "UPPER".parse::<patchport_oci::Repository>().unwrap_err().into();
    let (subject, upstream) = ("team/app:v1".to_owned(), "up.example".to_owned());
    let denial = Denial {
        subject: subject.clone(),
        rule: "r".into(),
        reason: None,
    };
    let unpatched = |error| Failure::Unpatched {
        subject: subject.clone(),
        error,
    };
    let late = ResolveError::Late {
        upstream: upstream.clone(),
        subject: subject.clone(),
    };
    let lied = BlobError::Lied {
        upstream: upstream.clone(),
        digest: digest(),
        reason: "r".into(),
    };
    let blob_late = Failure::BlobLate {
        upstream,
        digest: digest(),
    };
    let range = ByteRange::parse("bytes=10-", 10).unwrap_err();
    let upgrade = EngineError::Upgrade { reason: "r".into() };
    let not_served = Failure::Route(Path::NotServed("/".into()).into());
    let internal = ErrorCode::Unknown;
    vec![
        ("method", Failure::Method, 405, ErrorCode::Unsupported, Blame::Client),
        (
            "tags",
            Failure::Tags(UpstreamError::NotFound {
                upstream: "up.example".into(),
                subject: "tags of team/app".into(),
            }),
            404,
            ErrorCode::NameUnknown,
            Blame::Upstream,
        ),
        (
            "page",
            RouteError::Page {
                name: "n",
                value: "x".into(),
                wanted: "number of tags",
            }
            .into(),
            400,
            ErrorCode::PaginationInvalid,
            Blame::Client,
        ),
        ("path", not_served, 404, ErrorCode::Unsupported, Blame::Client),
        (
            "reference",
            path("/v2/a/manifests/@"),
            400,
            ErrorCode::ManifestInvalid,
            Blame::Client,
        ),
        (
            "digest",
            path("/v2/a/blobs/x"),
            400,
            ErrorCode::DigestInvalid,
            Blame::Client,
        ),
        ("name", name.into(), 400, ErrorCode::NameInvalid, Blame::Client),
        (
            "two hosts",
            RouteError::AmbiguousHost.into(),
            400,
            ErrorCode::NameInvalid,
            Blame::Client,
        ),
        (
            "unknown host",
            unknown.into(),
            404,
            ErrorCode::NameUnknown,
            Blame::Client,
        ),
        ("no host", none.into(), 404, ErrorCode::NameUnknown, Blame::Client),
        ("range", range.into(), 416, ErrorCode::SizeInvalid, Blame::Client),
        ("denied", denial.into(), 403, ErrorCode::Denied, Blame::Policy),
        (
            "patch late",
            unpatched(PatchError::Late),
            403,
            ErrorCode::Denied,
            Blame::Policy,
        ),
        (
            "patch failed",
            unpatched(upgrade.into()),
            403,
            ErrorCode::Denied,
            Blame::Policy,
        ),
        ("tag late", late.into(), 504, ErrorCode::Unavailable, Blame::Upstream),
        (
            "tag cut off",
            ResolveError::from(Interrupted).into(),
            503,
            ErrorCode::Unavailable,
            Blame::Us,
        ),
        (
            "tag and catalog",
            ResolveError::from(damaged()).into(),
            500,
            internal,
            Blame::Us,
        ),
        ("blob lied", lied.into(), 502, ErrorCode::Unavailable, Blame::Upstream),
        ("blob late", blob_late, 504, ErrorCode::Unavailable, Blame::Upstream),
        (
            "blob cut off",
            BlobError::from(Interrupted).into(),
            503,
            ErrorCode::Unavailable,
            Blame::Us,
        ),
        ("blob and store", store_failure().into(), 500, internal, Blame::Us),
        ("catalog", damaged().into(), 500, internal, Blame::Us),
    ]
}

#[tokio::test]
async fn every_failure_has_a_status_a_code_and_somebody_to_blame() {
    let mut cases = failures();
    for (name, error, status, code) in upstream_errors() {
        let missing = if code == ErrorCode::ManifestUnknown {
            ErrorCode::BlobUnknown
        } else {
            code
        };
        let blob = BlobError::from(error.clone()).into();
        cases.push((name, ResolveError::from(error).into(), status, code, Blame::Upstream));
        cases.push((name, blob, status, missing, Blame::Upstream));
    }
    for (name, failure, status, code, blame) in cases {
        let verdict = judge(&failure);
        assert_eq!(
            (verdict.status.as_u16(), verdict.code, verdict.blame),
            (status, code, blame),
            "{name}"
        );
        let level = match blame {
            Blame::Client | Blame::Policy => Level::INFO,
            Blame::Upstream | Blame::Builder => Level::WARN,
            Blame::Us => Level::ERROR,
        };
        assert_eq!(verdict.level, level, "{name}");
        let response = super::failure(&failure, &verdict);
        assert_eq!(response.status().as_u16(), status, "{name}");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json", "{name}");
        let body: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(body["errors"][0]["code"], code.as_str(), "{name}");
        let message = body["errors"][0]["message"].as_str().unwrap();
        if blame == Blame::Us {
            assert_eq!(
                message, "this mirror met an internal fault; its log tells more",
                "{name}"
            );
        } else {
            assert_eq!(message, chain(&failure), "{name}");
        }
    }
}

#[test]
fn some_failures_say_more_in_their_headers() {
    let limited = UpstreamError::RateLimited {
        upstream: "up.example".into(),
        subject: "it".into(),
        retry_after: Some(Duration::from_secs(30)),
    };
    let range = ByteRange::parse("bytes=10-", 10).unwrap_err();
    let late = Failure::Unpatched {
        subject: "it".into(),
        error: PatchError::Late,
    };
    for (name, failure, header, value) in [
        ("method", Failure::Method, ALLOW, "GET, HEAD"),
        ("range", range.into(), CONTENT_RANGE, "bytes */10"),
        (
            "tag limited",
            ResolveError::from(limited.clone()).into(),
            RETRY_AFTER,
            "30",
        ),
        ("blob limited", BlobError::from(limited).into(), RETRY_AFTER, "30"),
        ("patch late", late, RETRY_AFTER, "10"),
    ] {
        let response = super::failure(&failure, &judge(&failure));
        assert_eq!(response.headers().get(header).unwrap(), value, "{name}");
    }
}

fn answer(warning: Option<&str>) -> Answer {
    Answer {
        manifest: Manifest::parse(r#"{"schemaVersion":2,"manifests":[]}"#, media_type::OCI_INDEX).unwrap(),
        warning: warning.map(str::to_owned),
    }
}

#[tokio::test]
async fn a_manifest_has_its_type_length_and_digest() {
    let answer = answer(None);
    let response = manifest(&answer, None);
    let digest = answer.manifest.digest.to_string();
    let headers = response.headers();
    assert_eq!(headers[CONTENT_TYPE], media_type::OCI_INDEX);
    assert_eq!(headers[CONTENT_LENGTH], "34");
    assert_eq!(
        (&headers[CONTENT_DIGEST], &headers[ETAG]),
        (&digest.parse().unwrap(), &format!("\"{digest}\"").parse().unwrap())
    );
    assert!(!headers.contains_key(WARNING));
    assert_eq!(text(response).await.as_bytes(), answer.manifest.bytes);
}

#[tokio::test]
async fn a_manifest_that_the_client_has_is_not_sent_again() {
    let answer = answer(None);
    let etag = format!("\"{}\"", answer.manifest.digest);
    for (name, header, status) in [
        ("the same", etag.clone(), 304),
        ("one of two", format!("\"x\", {etag}"), 304),
        ("another", format!("\"{}\"", digest()), 200),
    ] {
        let response = manifest(&answer, Some(&header.parse().unwrap()));
        assert_eq!(response.status().as_u16(), status, "{name}");
        assert_eq!(response.headers().contains_key(CONTENT_LENGTH), status == 200, "{name}");
        assert_eq!(text(response).await.is_empty(), status == 304, "{name}");
    }
}

#[test]
fn a_warning_is_one_line_of_plain_text() {
    let long = "x".repeat(4000);
    for (name, warning, expected) in [
        ("plain", "not patched: late", "not patched: late"),
        ("quotes", r#"say "no" \ yes"#, "say no  yes"),
        ("lines", "a\r\nSet-Cookie: b\0\u{7f}", "aSet-Cookie: b"),
        ("not ASCII", "caf\u{e9} \u{202e}x", "caf x"),
        ("empty", "", ""),
        ("long", &long, &long[..500]),
    ] {
        let response = manifest(&answer(Some(warning)), None);
        assert_eq!(response.headers()[WARNING], format!("299 - \"{expected}\""), "{name}");
    }
}

#[test]
fn a_chain_of_causes_says_each_thing_once() {
    let catalog = PatchError::from(damaged());
    assert_eq!(chain(&catalog), "the catalog's entry for secret-of-ours is damaged: r");
    let failure = Failure::Blob(store_failure());
    let text = chain(&failure);
    assert!(
        text.starts_with("the blob store failed for sha256:") && text.contains(": secret-of-ours is in use"),
        "{text}"
    );
}
