//! What rules come to, by BuildKit's own words and by its engine's order; the real engine judges the same in `tests/real`.

use super::*;

fn policy(rules: &str) -> SourcePolicy {
    file::parse(
        "policy.json",
        format!("{{\"version\": 1, \"rules\": [{rules}]}}").as_bytes(),
    )
    .unwrap()
}

fn rule(action: &str, kind: &str, identifier: &str, to: &str) -> String {
    serde_json::json!({
        "action": action,
        "selector": { "identifier": identifier, "match_type": kind },
        "updates": { "identifier": to },
    })
    .to_string()
}

/// What becomes of a source: `denied`, or the name that is used.
fn verdict(policy: &SourcePolicy, name: &str) -> String {
    match policy.judge(&Source::named(name)) {
        Ok(None) => name.to_owned(),
        Ok(Some(converted)) => converted.source.name().to_owned(),
        Err(_) => "denied".to_owned(),
    }
}

const DEBIAN: &str = "docker-image://docker.io/library/debian:12";

/// Rules, and what becomes of [`DEBIAN`] by them.
fn cases() -> Vec<(Vec<String>, &'static str)> {
    let debian = DEBIAN;
    let allow = |kind, identifier| rule("ALLOW", kind, identifier, "");
    let deny = |kind, identifier| rule("DENY", kind, identifier, "");
    let convert = |kind, identifier, to| rule("CONVERT", kind, identifier, to);
    vec![
        (vec![], debian),
        (vec![deny("WILDCARD", "*")], "denied"),
        (
            vec![deny("WILDCARD", "*"), allow("WILDCARD", "docker-image://docker.io/*")],
            debian,
        ),
        (
            vec![allow("EXACT", debian), deny("WILDCARD", "docker-image://*")],
            "denied",
        ),
        (vec![deny("REGEX", "library/deb.an")], "denied"),
        (vec![deny("WILDCARD", "docker-image://*/debian:*")], "denied"),
        // What is converted is judged from the beginning, by all rules.
        (
            vec![
                deny("WILDCARD", "docker-image://mirror.example/*"),
                convert(
                    "WILDCARD",
                    "docker-image://docker.io/library/*:*",
                    "docker-image://mirror.example/${1}:$2",
                ),
            ],
            "denied",
        ),
        (
            vec![convert(
                "WILDCARD",
                "docker-image://docker.io/library/*:*",
                "docker-image://mirror.example/$1:$2-slim",
            )],
            "docker-image://mirror.example/debian:12-slim",
        ),
        (
            vec![convert(
                "REGEX",
                "^docker-image://docker\\.io/(.*)$",
                "docker-image://mirror.example/$1",
            )],
            "docker-image://mirror.example/library/debian:12",
        ),
        (
            vec![convert("EXACT", debian, "docker-image://docker.io/library/$1")],
            "docker-image://docker.io/library/$1",
        ),
        // A denial of before the conversion counts for the source of before only.
        (
            vec![
                deny("EXACT", debian),
                convert("EXACT", debian, "docker-image://a.example/b:1"),
            ],
            "docker-image://a.example/b:1",
        ),
        (vec![convert("EXACT", debian, debian), deny("EXACT", debian)], "denied"),
    ]
}

#[test]
fn the_last_rule_that_matches_wins_and_a_conversion_begins_again() {
    for (rules, expected) in cases() {
        assert_eq!(verdict(&policy(&rules.join(",")), DEBIAN), expected, "{rules:?}");
    }
}

#[test]
fn rules_that_convert_into_each_other_end_in_an_error() {
    let there = rule("CONVERT", "EXACT", "https://a.example/x", "https://b.example/x");
    let back = rule("CONVERT", "EXACT", "https://b.example/x", "https://a.example/x");
    let error = policy(&format!("{there},{back}"))
        .judge(&Source::named("https://a.example/x"))
        .unwrap_err();
    assert!(matches!(error, Denied::Endless { .. }), "{error}");
    let longer = rule("CONVERT", "WILDCARD", "https://*", "https://${1}x");
    assert!(policy(&longer).judge(&Source::named("https://a")).is_err());
}

#[test]
fn constraints_are_about_attributes_and_come_first() {
    let rule = |condition: &str, value: &str| {
        format!(
            r#"{{"action": "DENY", "selector": {{"identifier": "https://a.example/x", "constraints":
               [{{"key": "http.checksum", "value": "{value}", "condition": "{condition}"}}]}}}}"#
        )
    };
    let mut source = Source::named("https://a.example/x");
    source
        .attributes
        .insert("http.checksum".to_owned(), "sha256:1".to_owned());
    let table = [
        ("EQUAL", "sha256:1", true),
        ("EQUAL", "sha256:2", false),
        ("NOTEQUAL", "sha256:2", true),
        ("NOTEQUAL", "sha256:1", false),
        ("MATCHES", "^sha", true),
        ("MATCHES", "^md5", false),
    ];
    for (condition, value, denied) in table {
        assert_eq!(
            policy(&rule(condition, value)).judge(&source).is_err(),
            denied,
            "{condition} {value}"
        );
    }
    // An attribute that is not there is empty.
    assert!(
        policy(&rule("EQUAL", ""))
            .judge(&Source::named("https://a.example/x"))
            .is_err()
    );
}

#[test]
fn a_rule_is_about_a_source_by_any_of_its_names() {
    let names = [
        "docker-image://a.example/b",
        "docker-image://a.example/b:1@sha256:x",
        "docker-image://a.example/b:1",
    ];
    let source = Source {
        names: names.map(str::to_owned).to_vec(),
        ..Source::default()
    };
    let deny = rule("DENY", "WILDCARD", "*", "");
    let allow = rule("ALLOW", "EXACT", "docker-image://a.example/b:1", "");
    assert_eq!(policy(&format!("{deny},{allow}")).judge(&source), Ok(None));
    // What is converted to another name of the same is not converted.
    let pin = rule("CONVERT", "EXACT", names[2], names[1]);
    assert_eq!(policy(&pin).judge(&source), Ok(None));
    let other = rule("CONVERT", "EXACT", names[2], "docker-image://a.example/c:1");
    let converted = policy(&other).judge(&source).unwrap().unwrap();
    assert_eq!(converted.source.names, ["docker-image://a.example/c:1"]);
    assert_eq!(converted.rule, r#"rule 1 (CONVERT "docker-image://a.example/b:1")"#);
}

#[test]
fn a_denial_names_source_policy_and_rule() {
    let error = policy(&rule("DENY", "WILDCARD", "https://*", "")).judge(&Source::named("https://a.example/x"));
    assert_eq!(
        error.unwrap_err().to_string(),
        r#"the source https://a.example/x is denied by the source policy policy.json, rule 1 (DENY "https://*")"#
    );
}

#[test]
fn a_file_that_is_no_policy_is_refused_by_rule_and_field() {
    let with = |rules: &str| format!("{{\"rules\": [{rules}]}}");
    let table = [
        ("nothing".to_owned(), "is no policy: expected"),
        ("{\"version\": 2}".to_owned(), "its version is 2"),
        ("{\"rule\": []}".to_owned(), "unknown field `rule`"),
        (
            with(r#"{"action": "DENY"}"#),
            "rule 1, the whole of it: missing field `selector`",
        ),
        (with("null"), "rule 1, the whole of it"),
        (
            with(
                r#"{"action": "ALLOW", "selector": {"identifier": "a"}}, {"action": "REFUSE", "selector": {"identifier": "a"}}"#,
            ),
            r#"rule 2, action: "REFUSE" is not known, use ALLOW, DENY or CONVERT"#,
        ),
        (
            with(r#"{"action": 7, "selector": {"identifier": "a"}}"#),
            r#"rule 1, action: "7" is not known"#,
        ),
        (
            with(r#"{"action": "DENY", "selector": {"identifier": "a", "match_type": "GLOB"}}"#),
            "rule 1, selector.match_type: \"GLOB\" is not known",
        ),
        (
            with(r#"{"action": "DENY", "selector": {"identifier": "(", "matchType": "REGEX"}}"#),
            "rule 1, selector.identifier: regex parse error",
        ),
        (
            with(r#"{"action": "DENY", "selector": {"identifier": "a**"}}"#),
            "rule 1, selector.identifier: `**`",
        ),
        (
            with(
                r#"{"action": "DENY", "selector": {"identifier": "a", "constraints": [{"key": "k", "condition": "LIKE"}]}}"#,
            ),
            "rule 1, selector.constraints[0].condition: \"LIKE\" is not known",
        ),
        (
            with(r#"{"action": "DENY", "selector": {"identifier": "a", "matchtype": "EXACT"}}"#),
            "unknown field `matchtype`",
        ),
        (
            with(r#"{"action": "CONVERT", "selector": {"identifier": "a"}}"#),
            "rule 1, updates: is missing",
        ),
    ];
    for (text, expected) in table {
        let error = file::parse("policy.json", text.as_bytes()).unwrap_err().to_string();
        assert!(
            error.starts_with("the source policy policy.json") && error.contains(expected),
            "{text}: {error}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_whole_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b' '; (4 << 20) + 1]).unwrap();
    assert!(matches!(
        SourcePolicy::read(file.path()),
        Err(ReadError::TooLarge { .. })
    ));
    assert!(matches!(
        SourcePolicy::read(Path::new("/nonexistent/policy")),
        Err(ReadError::Io { .. })
    ));
}

#[test]
fn what_a_policy_may_restrict_is_told_from_its_rules() {
    let table = [
        (rule("DENY", "WILDCARD", "docker-image://*", ""), false),
        (rule("DENY", "WILDCARD", "*", ""), true),
        (rule("DENY", "WILDCARD", "http*", ""), true),
        (rule("ALLOW", "WILDCARD", "https://*", ""), false),
        (rule("DENY", "EXACT", "https://a.example/x", ""), true),
        (rule("CONVERT", "EXACT", "docker-image://a", "docker-image://b"), false),
        (rule("DENY", "REGEX", "^docker-image://.*", ""), false),
        (rule("DENY", "REGEX", "docker", ""), true),
        (rule("DENY", "REGEX", "^https?://", ""), true),
    ];
    for (rules, expected) in table {
        assert_eq!(policy(&rules).restricts("https://"), expected, "{rules}");
    }
}
