//! Request URIs and where they lead.
//!
//! One table of what is found, one of what is refused.

use super::*;
use crate::testing::{Memory, site};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn table() -> Table {
    let site = |name| site(name, Arc::new(Memory::default()));
    let hub = Site {
        docker_library: true,
        ..site("docker.io")
    };
    Table::new([hub, site("ghcr.io"), site("localhost:5000")])
}

/// The route as text: kind, place, reference.
fn routed(uri: &str, default: Option<&str>) -> Result<String, RouteError> {
    Ok(match table().route(&uri.parse().unwrap(), default)? {
        Route::Base => "base".into(),
        Route::Tag(place, tag) => format!("tag {place}:{tag}"),
        Route::Manifest(place, digest) => format!("manifest {place}@{}", digest.short()),
        Route::Blob(place, digest) => format!("blob {place}@{}", digest.short()),
        Route::Tags(place, page) => {
            let last = page.last.map(|last| last.to_string());
            format!("tags {place} {:?} {last:?} {:?}", page.limit, page.namespace)
        }
        Route::Referrers(place, digest, wanted) => format!("referrers {place}@{} {wanted:?}", digest.short()),
    })
}

#[test]
fn what_part_of_a_list_of_tags_is_asked_for() {
    for (uri, expected) in [
        (
            "/v2/debian/tags/list?n=2&last=12&ns=docker.io",
            "tags docker.io/library/debian Some(2) Some(\"12\") Some(\"docker.io\")",
        ),
        (
            "/v2/docker.io/a/tags/list?last=",
            "tags docker.io/library/a None None None",
        ),
    ] {
        assert_eq!(routed(uri, None).unwrap(), expected, "{uri}");
    }
}

#[test]
fn where_requests_lead() {
    let hub = Some("docker.io");
    let short = DIGEST.parse::<Digest>().unwrap().short().to_owned();
    for (uri, default, expected) in [
        ("/v2/", None, "base"),
        ("/v2", hub, "base"),
        // ?ns=, as containerd sends it.
        (
            "/v2/library/debian/manifests/12?ns=docker.io",
            None,
            "tag docker.io/library/debian:12",
        ),
        (
            "/v2/debian/manifests/12?ns=docker.io",
            None,
            "tag docker.io/library/debian:12",
        ),
        ("/v2/debian/manifests/12?ns=ghcr.io", hub, "tag ghcr.io/debian:12"),
        (
            "/v2/debian/manifests/12?a=b&ns=docker%2Eio&c",
            None,
            "tag docker.io/library/debian:12",
        ),
        (
            "/v2/app/manifests/1?ns=localhost:5000",
            None,
            "tag localhost:5000/app:1",
        ),
        (
            "/v2/ghcr.io/app/manifests/1?ns=docker.io",
            None,
            "tag docker.io/ghcr.io/app:1",
        ),
        // The first segment.
        ("/v2/ghcr.io/team/app/manifests/1", None, "tag ghcr.io/team/app:1"),
        ("/v2/ghcr.io/app/manifests/1", hub, "tag ghcr.io/app:1"),
        (
            "/v2/docker.io/debian/manifests/12",
            None,
            "tag docker.io/library/debian:12",
        ),
        ("/v2/docker.io/team/app/manifests/1", None, "tag docker.io/team/app:1"),
        ("/v2/localhost:5000/app/manifests/1", None, "tag localhost:5000/app:1"),
        // The default.
        ("/v2/debian/manifests/12", hub, "tag docker.io/library/debian:12"),
        ("/v2/team/app/manifests/1", hub, "tag docker.io/team/app:1"),
        ("/v2/team/app/manifests/1?other=ns", hub, "tag docker.io/team/app:1"),
        ("/v2/debian/manifests/12", Some("ghcr.io"), "tag ghcr.io/debian:12"),
        // By digest.
        (
            &format!("/v2/ghcr.io/a/manifests/{DIGEST}"),
            None,
            &format!("manifest ghcr.io/a@{short}"),
        ),
        (
            &format!("/v2/debian/blobs/{DIGEST}"),
            hub,
            &format!("blob docker.io/library/debian@{short}"),
        ),
    ] {
        let routed = routed(uri, default).unwrap_or_else(|error| panic!("{uri}: {error}"));
        assert_eq!(routed, expected, "{uri}");
    }
}

#[test]
fn where_lists_of_referrers_lead() {
    let hub = Some("docker.io");
    let short = DIGEST.parse::<Digest>().unwrap().short().to_owned();
    // Of one type or all; a plus sign is one, encoded or not.
    for (uri, default, expected) in [
        (
            &format!("/v2/ghcr.io/a/referrers/{DIGEST}"),
            None,
            &format!("referrers ghcr.io/a@{short} None"),
        ),
        (
            &format!("/v2/a/referrers/{DIGEST}?artifactType=a/b%2Bjson&ns=ghcr.io"),
            None,
            &format!("referrers ghcr.io/a@{short} Some(\"a/b+json\")"),
        ),
        (
            &format!("/v2/a/referrers/{DIGEST}?artifactType=a/b+json"),
            hub,
            &format!("referrers docker.io/library/a@{short} Some(\"a/b+json\")"),
        ),
    ] {
        assert_eq!(routed(uri, default).unwrap(), *expected, "{uri}");
    }
}

#[test]
fn what_leads_nowhere() {
    let hub = Some("docker.io");
    let longest = format!("/v2/{}/manifests/1", "a".repeat(255));
    for (uri, default, expected) in [
        ("/v2/a/manifests/1?ns=evil.example", hub, "UnknownHost"),
        ("/v2/a/manifests/1?ns=", hub, "UnknownHost"),
        ("/v2/a/manifests/1?ns=DOCKER.IO", hub, "UnknownHost"),
        ("/v2/evil.example/a/manifests/1", hub, "UnknownHost"),
        ("/v2/evil.example/a/manifests/1", None, "UnknownHost"),
        ("/v2/evil:80/a/manifests/1", hub, "UnknownHost"),
        ("/v2/localhost/a/manifests/1", hub, "UnknownHost"),
        ("/v2/a/manifests/1?ns=docker.io&ns=docker.io", hub, "AmbiguousHost"),
        ("/v2/a/manifests/1?ns=docker.io&ns=evil.example", None, "AmbiguousHost"),
        ("/v2/team/app/manifests/1", None, "NoUpstream"),
        ("/v2/UPPER/manifests/1", None, "Name"),
        ("/v2/a/../b/manifests/1", hub, "Name"),
        ("/v2/ghcr.io//manifests/1", None, "Name"),
        ("/v2/a/%2e%2e/manifests/1", hub, "Name"),
        // Too long with `library/` in front, which is what would be asked upstream.
        (&longest, hub, "Name"),
        ("/v2/a/tags/other", hub, "Path"),
        ("/v2/a/tags/list?n=some", hub, "Page"),
        ("/v2/a/tags/list?n=-1", hub, "Page"),
        ("/v2/a/tags/list?last=a/b", hub, "Page"),
        ("/v2/a/manifests/a@b", hub, "Path"),
        ("/v2/a/blobs/latest", hub, "Path"),
    ] {
        let kind = match routed(uri, default) {
            Ok(routed) => panic!("{uri} led to {routed}"),
            Err(RouteError::Path(_)) => "Path",
            Err(RouteError::Name(_)) => "Name",
            Err(RouteError::UnknownHost { .. }) => "UnknownHost",
            Err(RouteError::NoUpstream { .. }) => "NoUpstream",
            Err(RouteError::AmbiguousHost) => "AmbiguousHost",
            Err(RouteError::Page { .. }) => "Page",
        };
        assert_eq!(kind, expected, "{uri}");
    }
}

#[test]
fn a_refusal_names_the_upstreams_that_there_are() {
    let unknown = routed("/v2/evil.example/a/manifests/1", None).unwrap_err().to_string();
    let known = "docker.io, ghcr.io, localhost:5000";
    assert_eq!(
        unknown,
        format!("`evil.example` is not among the upstreams of this mirror: {known}")
    );
    let none = routed("/v2/a/manifests/1", None).unwrap_err().to_string();
    assert!(
        none.contains("such as /v2/docker.io/...") && none.ends_with(known),
        "{none}"
    );
    let long = format!("/v2/a/manifests/1?ns={}", "x".repeat(4000));
    assert!(
        routed(&long, None).unwrap_err().to_string().len() < 300,
        "a long name is repeated whole"
    );
}
