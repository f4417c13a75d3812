//! Rules: the first that matches decides, a denial says which rule and why, and a gate that is closed is closed on
//! every route.

use patchport_kit::client::{Response, pull};
use patchport_kit::mirror::{PASS_ALL, Setup};
use patchport_kit::{Image, Index, Mirror, Registry};

use crate::promise::promise;
use crate::scene::{assert_clear_error, image, setup};

#[track_caller]
fn assert_denied(name: &str, answer: &Response, rule: &str, reason: &str) {
    assert_clear_error(name, answer, &[403]);
    assert_eq!(answer.error_code(), "DENIED", "{name}");
    let text = answer.text();
    assert!(
        text.contains(rule) && text.contains(reason),
        "{name}: the body names rule and reason: {text}"
    );
}

fn ruled(registry: &Registry, rules: &[&str]) -> Setup {
    rules
        .iter()
        .fold(setup(registry), |setup, rule| setup.rule(rule))
        .rule(PASS_ALL)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_rule_that_matches_decides() {
    promise("A denial is 403 and says which rule and why.");
    let registry = Registry::start().await;
    for (repository, tag) in [
        ("team/app", "v1"),
        ("team/app", "dev"),
        ("team/deep/app", "v1"),
        ("other/app", "v1"),
    ] {
        registry.push(repository, Some(tag), &Image::tiny(&format!("{repository}{tag}")));
    }
    let rules = [
        "name = \"keep-v1\"\nmatch = \"up.test/team/app:v1\"\naction = \"pass\"",
        "name = \"no-team\"\nmatch = [\"up.test/team/*\"]\naction = \"deny\"\nreason = \"team is closed\"",
    ];
    let mirror = ruled(&registry, &rules).start().await;
    let cases = [
        ("team/app", "v1", true),
        ("team/app", "dev", false),
        ("team/deep/app", "v1", true),
        ("other/app", "v1", true),
    ];
    for (repository, tag, served) in cases {
        let answer = mirror.client().get(&format!("/v2/{repository}/manifests/{tag}")).await;
        if served {
            assert_eq!(answer.status, 200, "{repository}:{tag}");
        } else {
            assert_denied(&format!("{repository}:{tag}"), &answer, "no-team", "team is closed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stars_cross_slashes_and_ns_names_the_host() {
    let registry = Registry::start().await;
    registry.push("team/deep/app", Some("v1"), &Image::tiny("x"));
    let mirror = ruled(
        &registry,
        &["name = \"closed\"\nmatch = [\"up.test/team/**\"]\naction = \"deny\"\nreason = \"r1\""],
    )
    .start()
    .await;
    for path in [
        "/v2/team/deep/app/manifests/v1",
        "/v2/up.test/team/deep/app/manifests/v1",
        "/v2/team/deep/app/manifests/v1?ns=up.test",
    ] {
        assert_denied(path, &mirror.client().get(path).await, "closed", "r1");
        assert_eq!(mirror.client().head(path).await.status, 403, "HEAD {path}");
    }
    assert!(registry.requests().is_empty(), "what is denied is not asked for");
}

/// Pulls everything that an index leads to, by every route, and gives what each answer was.
async fn every_route(mirror: &Mirror, repository: &str, index: &Index) -> Vec<(String, Response)> {
    let mut paths = vec![format!("manifests/{}", index.digest())];
    for image in &index.images {
        paths.push(format!("manifests/{}", image.digest()));
        paths.extend(image.blob_digests().into_iter().map(|digest| format!("blobs/{digest}")));
    }
    let mut answers = Vec::new();
    for path in paths {
        let answer = mirror.client().get(&format!("/v2/{repository}/{path}")).await;
        answers.push((path, answer));
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_repository_is_closed_on_every_route_even_after_it_was_pulled() {
    promise("What policy denies is denied on every route: tag, manifest digest, blob.");
    let registry = Registry::start().await;
    let index = Index::of(&[image(800)], false);
    registry.push_index("team/app", Some("v1"), &index);
    let rule = "name = \"closed\"\nmatch = [\"up.test/team/app\"]\naction = \"deny\"\nreason = \"out of support\"";
    let mirror = ruled(&registry, &[rule]).start().await;
    assert_denied(
        "the tag",
        &mirror.client().get("/v2/team/app/manifests/v1").await,
        "closed",
        "out of support",
    );
    for (path, answer) in every_route(&mirror, "team/app", &index).await {
        assert_denied(&path, &answer, "closed", "out of support");
    }
    assert!(registry.requests().is_empty() && mirror.stored_files().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_tag_cannot_be_had_by_its_digests_until_an_allowed_tag_leads_to_them() {
    let registry = Registry::start().await;
    let closed = Index::of(&[image(801)], false);
    registry.push_index("team/app", Some("dev"), &closed);
    registry.push("team/app", Some("v1"), &image(802));
    let rule = "name = \"no-dev\"\nmatch = [\"up.test/team/app:dev\"]\naction = \"deny\"\nreason = \"use a release\"";
    let mirror = ruled(&registry, &[rule]).start().await;
    pull(&mirror.client(), "team/app", "v1").await;
    assert_denied(
        "the tag",
        &mirror.client().get("/v2/team/app/manifests/dev").await,
        "no-dev",
        "use a release",
    );
    for (path, answer) in every_route(&mirror, "team/app", &closed).await {
        assert_denied(&path, &answer, "no-dev", "");
    }
    // The same content under an allowed tag opens the way to it.
    registry.push_index("team/app", Some("v2"), &closed);
    pull(&mirror.client(), "team/app", "v2").await;
    for (path, answer) in every_route(&mirror, "team/app", &closed).await {
        assert_eq!(answer.status, 200, "{path}");
    }
    assert_eq!(
        mirror.client().get("/v2/team/app/manifests/dev").await.status,
        403,
        "the tag itself stays closed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_to_a_digest_is_remembered_over_a_restart() {
    let registry = Registry::start().await;
    let image = image(803);
    registry.push("team/app", Some("v1"), &image);
    let rule = "name = \"no-dev\"\nmatch = [\"up.test/team/app:dev\"]\naction = \"deny\"";
    let mut mirror = ruled(&registry, &[rule]).start().await;
    pull(&mirror.client(), "team/app", "v1").await;
    mirror.kill9();
    mirror.restart().await;
    assert_eq!(
        pull(&mirror.client(), "team/app", &image.digest()).await.digest(),
        image.digest()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_repository_is_not_touched_by_a_gate() {
    let registry = Registry::start().await;
    let image = image(804);
    registry.push("team/app", Some("v1"), &image);
    registry.push("team/open", Some("v1"), &image);
    let rule = "name = \"closed\"\nmatch = [\"up.test/team/app\"]\naction = \"deny\"";
    let mirror = ruled(&registry, &[rule]).start().await;
    assert_eq!(
        pull(&mirror.client(), "team/open", &image.digest()).await.digest(),
        image.digest()
    );
    assert_eq!(
        mirror
            .client()
            .get(&format!("/v2/team/app/blobs/{}", image.config_digest()))
            .await
            .status,
        403
    );
}
