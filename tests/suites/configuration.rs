//! `patchport check`, `version` and the start of `serve`: what is wrong is said with file, key and what is allowed,
//! and the exit code is 64; secrets are hidden; the environment wins over the file.

use std::process::Command;
use std::time::Duration;

use patchport_kit::mirror::{Setup, binary, check};
use patchport_kit::process::outcome;
use patchport_kit::{Mirror, Registry};

use crate::scene::setup;

const RULE: &str = "[[rule]]\nname = \"everything\"\nmatch = [\"**\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_refused_with_key_and_reason() {
    let patch = |more: &str| format!("{RULE}action = \"patch\"\n{more}");
    let cases: Vec<(&str, String, &[&str])> = vec![
        ("an unknown key", "[cache]\ntag_tll = \"5m\"\n".to_owned(), &["tag_tll", "tag_ttl"]),
        ("an unknown section", "[cash]\n".to_owned(), &["cash", "cache"]),
        ("no TOML", "[cache\n".to_owned(), &["patchport.toml"]),
        ("a number for a duration", "[cache]\ntag_ttl = 5\n".to_owned(), &["tag_ttl"]),
        ("a duration without unit", "[cache]\ntag_ttl = \"5\"\n".to_owned(), &["tag_ttl"]),
        ("an address without port", "[[listener]]\naddress = \"127.0.0.1\"\n".to_owned(), &["address"]),
        ("an unknown default upstream", "[[listener]]\naddress = \"127.0.0.1:0\"\ndefault_upstream = \"no.test\"\n".to_owned(), &["default_upstream", "no.test"]),
        ("a TLS certificate without key", "[[listener]]\naddress = \"127.0.0.1:0\"\ntls_cert = \"/x\"\n".to_owned(), &["tls_key"]),
        ("an unknown action", format!("{RULE}action = \"patsch\"\n"), &["action", "patsch", "pass", "patch", "deny"]),
        ("a wait that no client has", patch("wait = \"26s\"\non_timeout = \"deny\"\non_failure = \"deny\"\n"), &["wait", "25"]),
        ("no on_timeout", patch("on_failure = \"deny\"\n"), &["on_timeout"]),
        ("no on_failure", patch("on_timeout = \"deny\"\n"), &["on_failure"]),
        ("an unknown on_failure", patch("on_timeout = \"deny\"\non_failure = \"panic\"\n"), &["on_failure", "panic", "serve-original"]),
        ("no rule for the rest", "[[rule]]\nname = \"some\"\nmatch = [\"docker.io/**\"]\naction = \"pass\"\n".to_owned(), &["rule", "**"]),
        ("an upstream that is no URL", "[[upstream]]\nname = \"a.test\"\nurl = \"a b\"\n".to_owned(), &["url"]),
        ("a user without password", "[[upstream]]\nname = \"a.test\"\nurl = \"https://a.test\"\nusername = \"u\"\n".to_owned(), &["password"]),
        ("two passwords", "[[upstream]]\nname = \"a.test\"\nurl = \"https://a.test\"\nusername = \"u\"\npassword = \"kit-canary\"\npassword_file = \"/x\"\n".to_owned(), &["password", "password_file"]),
        ("an odd BuildKit address", "[buildkit]\naddress = \"smoke://signals\"\n".to_owned(), &["address", "unix://"]),
    ];
    for (name, toml, said) in cases {
        let checked = check(&toml, &[]).await;
        assert_eq!(checked.code, Some(64), "{name}: {}", checked.output);
        for word in said {
            assert!(
                checked.output.contains(word),
                "{name}: no `{word}` in: {}",
                checked.output
            );
        }
        assert!(
            !checked.output.contains("kit-canary"),
            "{name}: a secret in: {}",
            checked.output
        );
        assert!(!checked.output.contains("panicked"), "{name}: {}", checked.output);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_configuration_is_printed_with_its_secrets_hidden() {
    let upstream = "username = \"me\"\npassword = \"kit-password-canary\"";
    let checked = Mirror::setup()
        .upstream_with("a.test", "https://a.test", upstream)
        .set("cache", "tag_ttl = \"7m\"")
        .check()
        .await;
    assert!(checked.success, "{}", checked.output);
    assert!(
        checked.output.contains("7m") && checked.output.contains("a.test"),
        "{}",
        checked.output
    );
    assert!(!checked.output.contains("kit-password-canary"), "{}", checked.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_wins_over_the_file_and_is_checked_like_it() {
    let good = Mirror::setup()
        .set("cache", "tag_ttl = \"7m\"")
        .environment("PATCHPORT__CACHE__TAG_TTL", "9m")
        .check()
        .await;
    assert!(
        good.success && good.output.contains("9m") && !good.output.contains("7m"),
        "{}",
        good.output
    );
    let bad = Mirror::setup()
        .environment("PATCHPORT__CACHE__TAG_TTL", "soon")
        .check()
        .await;
    assert_eq!(bad.code, Some(64), "{}", bad.output);
    assert!(
        bad.output.contains("PATCHPORT__CACHE__TAG_TTL") || bad.output.contains("tag_ttl"),
        "{}",
        bad.output
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_exits_as_promised() {
    let cases: [(&[&str], i32); 5] = [
        (&["version"], 0),
        (&["--help"], 0),
        (&["fly"], 64),
        (&["serve", "--config", "/nonexistent/patchport.toml"], 64),
        (&["check", "--config", "/nonexistent/patchport.toml"], 64),
    ];
    for (arguments, code) in cases {
        let mut command = Command::new(binary());
        command.args(arguments).env_remove("PATCHPORT_CONFIG");
        let ended = outcome(command).await;
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.output);
        assert!(!ended.output.contains("panicked"), "{arguments:?}: {}", ended.output);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let registry = Registry::start().await;
    let mirror = setup(&registry).start().await;
    let directory = tempfile::tempdir().unwrap();
    let toml = format!(
        "[[listener]]\naddress = \"{}\"\n[admin]\naddress = \"127.0.0.1:0\"\n[store]\ndir = \"{}\"\n",
        mirror.host(),
        directory.path().join("data").display()
    );
    let file = directory.path().join("patchport.toml");
    std::fs::write(&file, toml).unwrap();
    let mut command = Command::new(binary());
    command.args(["serve", "--config"]).arg(&file);
    let ended = tokio::time::timeout(Duration::from_secs(20), outcome(command))
        .await
        .expect("a taken port ends the start");
    assert_eq!(ended.code, Some(1), "{}", ended.output);
    assert!(ended.output.contains(mirror.host()), "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_can_be_json() {
    let registry = Registry::start().await;
    let setup: Setup = setup(&registry).set("log", "format = \"json\"");
    let mirror = setup.start().await;
    mirror.client().get("/v2/team/app/manifests/v1").await;
    for line in mirror.log().lines() {
        serde_json::from_str::<serde_json::Value>(&line).unwrap_or_else(|error| panic!("{error} in the line {line}"));
    }
}
