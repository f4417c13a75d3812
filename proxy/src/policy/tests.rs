//! Rules on tags, and the gate on digests that follows from them.
//!
//! Tables of named cases.

use patchport_config::Fallback;
use patchport_oci::Digest;
use std::sync::Arc;

use super::*;
use crate::testing::TERMS;
use crate::testing::{Memory, place, tag};

const PATCH: Action = Action::Patch(TERMS);

fn policy(rules: &[(&str, &[&str], Action)]) -> Policy {
    let rule = |(name, patterns, action): &(&str, &[&str], Action)| Rule {
        name: (*name).into(),
        patterns: patterns.iter().map(|text| text.parse().unwrap()).collect(),
        action: *action,
        reason: (*name == "old").then(|| "out of support".to_owned()),
    };
    Policy::new(rules.iter().map(rule).collect())
}

fn app() -> Place {
    place("team/app", Arc::new(Memory::default()))
}

fn decided(decision: Decision) -> String {
    match decision {
        Decision::Pass => "pass".into(),
        Decision::Patch(terms) => format!("patch {:?}", terms.wait),
        Decision::Deny(denial) => format!("deny by {}", denial.rule),
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let (any, app): (&[&str], &[&str]) = (&["**"], &["registry.example/team/app"]);
    for (name, rules, expected) in [
        ("one", vec![("all", any, Action::Pass)], "pass"),
        ("patch", vec![("all", any, PATCH)], "patch 20s"),
        (
            "first of two",
            vec![("app", app, Action::Deny), ("all", any, Action::Pass)],
            "deny by app",
        ),
        (
            "order, not precision",
            vec![("all", any, Action::Pass), ("app", app, Action::Deny)],
            "pass",
        ),
        (
            "another tag",
            vec![("tag", &["**:beta"], Action::Deny), ("all", any, Action::Pass)],
            "pass",
        ),
        (
            "second pattern of a rule",
            vec![("two", &["**:beta", "**:v1"], Action::Deny), ("all", any, Action::Pass)],
            "deny by two",
        ),
        (
            "another upstream",
            vec![("x", &["other.example/**"], Action::Pass)],
            "deny by none",
        ),
        ("no rule", vec![], "deny by none"),
    ] {
        let decision = policy(&rules).decide(&self::app(), &tag("v1"));
        assert_eq!(decided(decision), expected, "{name}");
    }
}

#[test]
fn a_denial_says_what_which_rule_and_why() {
    let denied = policy(&[("old", &["**"], Action::Deny)]).decide(&app(), &tag("v1"));
    let Decision::Deny(denial) = denied else {
        panic!("{denied:?}")
    };
    let text = "registry.example/team/app:v1 is denied by rule `old` of this mirror: out of support";
    assert_eq!(denial.to_string(), text);
    let denied = policy(&[("new", &["**"], Action::Deny)]).decide(&app(), &tag("v1"));
    let Decision::Deny(denial) = denied else {
        panic!("{denied:?}")
    };
    assert!(denial.to_string().ends_with("rule `new` of this mirror"), "{denial}");
}

/// Rules as [`policy`] takes them.
type Rules<'a> = &'a [(&'a str, &'a [&'a str], Action)];

/// The tags that lead to a digest.
fn ways(tags: &[&str]) -> Vec<Tag> {
    tags.iter().map(|text| tag(text)).collect()
}

#[test]
fn a_digest_is_judged_by_the_tags_that_lead_to_it() {
    const ALL: &[&str] = &["**"];
    const BETA: &[&str] = &["**:beta"];
    let strict = |on_timeout, on_failure| {
        Action::Patch(Terms {
            on_timeout,
            on_failure,
            ..TERMS
        })
    };
    let (late, failed) = (
        strict(Fallback::Deny, Fallback::ServeOriginal),
        strict(Fallback::ServeOriginal, Fallback::Deny),
    );
    let open: Rules<'_> = &[("all", ALL, PATCH)];
    let tagged: Rules<'_> = &[("beta", BETA, Action::Deny), ("all", ALL, Action::Pass)];
    let closed: Rules<'_> = &[("app", &["**/app"], Action::Deny), ("all", ALL, Action::Pass)];
    let only: Rules<'_> = &[("v1", &["**:v1"], PATCH), ("rest", ALL, Action::Deny)];
    let shadowed: Rules<'_> = &[("all", ALL, Action::Pass), ("beta", BETA, Action::Deny)];
    let elsewhere: Rules<'_> = &[("x", &["other.example/**"], Action::Deny), ("all", ALL, PATCH)];
    let (never_late, never_failed): (Rules<'_>, Rules<'_>) = (&[("late", ALL, late)], &[("failed", ALL, failed)]);
    let cases: &[(&str, Rules<'_>, &[&str], Option<&str>)] = &[
        ("nothing is denied, unknown digest", open, &[], None),
        ("nothing is denied, an original", open, &["v1"], None),
        ("a tag is denied, unknown digest", tagged, &[], Some("beta")),
        ("a tag is denied, and led here", tagged, &["beta"], Some("beta")),
        (
            "a tag is denied now, and was answered so",
            tagged,
            &["beta"],
            Some("beta"),
        ),
        ("a tag is denied, another led here", tagged, &["v1"], None),
        ("a tag is denied, both led here", tagged, &["beta", "v1"], None),
        ("the repository is denied", closed, &["v1"], Some("app")),
        ("one tag is allowed, it led here", only, &["v1"], None),
        ("one tag is allowed, another led here", only, &["v2"], Some("rest")),
        ("one tag is allowed, unknown digest", only, &[], Some("rest")),
        ("the denial is never reached", shadowed, &[], None),
        ("another upstream is denied", elsewhere, &[], None),
        ("an original, its tag is not served late", never_late, &["v1"], None),
        ("the image served in its place", never_late, &["v1"], None),
        (
            "an original, its tag is not served on failure",
            never_failed,
            &["v1"],
            None,
        ),
        ("the image served in that one's place", never_failed, &["v1"], None),
    ];
    let digest = Digest::of(b"x").to_string();
    for (name, rules, led, refused) in cases {
        let policy = policy(rules);
        let verdict = policy.admits(&app(), &digest, &ways(led));
        let by = verdict.as_ref().err().map(|denial| denial.rule.as_str());
        assert_eq!(by, *refused, "{name}");
        assert!(
            refused.is_none() || policy.is_gated(&app()),
            "{name}: the ways would not be looked up"
        );
        if let Err(denial) = verdict {
            assert_eq!(denial.subject, format!("registry.example/team/app@{digest}"), "{name}");
        }
    }
}

#[test]
fn the_ways_are_needed_only_where_something_may_be_closed() {
    for (name, rules, gated) in [
        ("open", &[("all", &["**"][..], PATCH)][..], false),
        (
            "closed elsewhere",
            &[("x", &["other.example/**"], Action::Deny), ("all", &["**"], PATCH)],
            false,
        ),
        ("closed", &[("all", &["**"], Action::Deny)], true),
        (
            "one tag closed",
            &[("beta", &["**:beta"], Action::Deny), ("all", &["**"], PATCH)],
            true,
        ),
    ] {
        assert_eq!(policy(rules).is_gated(&app()), gated, "{name}");
    }
}

#[test]
fn a_refused_digest_is_told_why_its_repository_is_open() {
    let digest = Digest::of(b"x").to_string();
    let reason = |rules: Rules<'_>| policy(rules).admits(&app(), &digest, &[]).unwrap_err().reason;
    let some = reason(&[("beta", &["**:beta"], Action::Deny), ("all", &["**"], Action::Pass)]);
    assert!(some.is_some_and(|text| text.contains("has led to this digest")));
    assert_eq!(reason(&[("all", &["**"], Action::Deny)]), None, "all of it is denied");
    assert_eq!(
        reason(&[("old", &["**:beta"], Action::Deny)]).as_deref(),
        Some("out of support")
    );
}

#[test]
fn rules_may_call_an_image_of_docker_hub_by_its_short_name() {
    let at = |repository: &str, docker_library| Place {
        site: Arc::new(crate::route::Site {
            docker_library,
            ..crate::testing::site("docker.io", Arc::new(Memory::default()))
        }),
        repository: repository.parse().unwrap(),
    };
    let rules: Rules<'_> = &[
        ("short", &["docker.io/debian"], Action::Deny),
        ("all", &["**"], Action::Pass),
    ];
    for (repository, docker_library, denied) in [
        ("library/debian", true, true),
        ("library/debian", false, false),
        ("debian", false, true),
        ("team/debian", true, false),
    ] {
        let place = at(repository, docker_library);
        let decision = policy(rules).decide(&place, &tag("12"));
        assert_eq!(
            matches!(decision, Decision::Deny(_)),
            denied,
            "{repository} {docker_library}"
        );
        let admitted = policy(rules).admits(&place, "x", &[]);
        assert_eq!(admitted.is_err(), denied, "{repository} {docker_library}: by digest");
    }
}
