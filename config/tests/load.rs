//! What loading gives and refuses: layers, lists, passwords, and the text of every error.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use patchport_config::{Action, Config, Error, Fallback};

fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("patchport.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(
        Some(&path),
        env.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

/// The error's text with the directory of the file taken out.
fn refusal(text: &str, env: &[(&str, &str)]) -> String {
    let error = load(text, env).unwrap_err().to_string();
    let lines = error.lines().map(|line| {
        line.split_once("/patchport.toml")
            .map_or(line.to_owned(), |(before, rest)| {
                format!(
                    "{}FILE{rest}",
                    before
                        .rsplit_once(' ')
                        .map_or(String::new(), |(words, _)| format!("{words} "))
                )
            })
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_environment_wins_over_the_file_over_the_defaults() {
    let file = "[cache]\ntag_ttl = \"1m\"\nstall_timeout = \"7s\"\n[server]\nmax_connections = 5\n";
    let env = [
        ("PATCHPORT__CACHE__TAG_TTL", "2m"),
        ("PATCHPORT__LOG__FORMAT", "json"),
        ("PATCHPORT__PATCH__CONCURRENCY", "7"),
        ("PATCHPORT__LISTENER__0__ADDRESS", "0.0.0.0:0"),
        ("PATCHPORT__UPSTREAM__0__USERNAME", "robot"),
        ("PATCHPORT__UPSTREAM__0__PASSWORD", "hunter2"),
        ("PATCHPORT__RULE__0__MATCH__1", "quay.io/**"),
        ("PATCHPORT_CONFIG", "ignored"),
        ("PATCHPORT_PORT", "tcp://10.0.0.1:5000"),
    ];
    let config = load(file, &env).unwrap();
    assert_eq!(config.cache.tag_ttl, Duration::from_secs(120));
    assert_eq!(config.cache.stall_timeout, Duration::from_secs(7));
    assert_eq!(config.cache.upstream_timeout, Duration::from_secs(10));
    assert_eq!(
        (config.server.max_connections, config.patch.concurrency),
        (5, 7)
    );
    assert_eq!(config.listeners[0].address.to_string(), "0.0.0.0:0");
    assert_eq!(
        config.listeners[0].default_upstream.as_deref(),
        Some("docker.io")
    );
    assert_eq!(
        config.upstreams[0]
            .credentials
            .as_ref()
            .unwrap()
            .password
            .expose(),
        "hunter2"
    );
    assert_eq!(config.rules[0].patterns.len(), 2);
    assert_eq!(config.log.format.as_str(), "json");
    assert!(!config.render().contains("hunter2") && !format!("{config:?}").contains("hunter2"));
    assert!(config.render().contains("password = \"<hidden>\""));
}

#[test]
fn lists_of_the_file_replace_the_default_ones() {
    let config = load(
        r#"
        [[listener]]
        address = "127.0.0.1:0"
        tls_cert = "a"
        tls_key = "b"
        [[upstream]]
        name = "docker.io"
        [[upstream]]
        name = "localhost:5000"
        url = "http://localhost:5000/mirror/"
        username = "u"
        password = "p"
        docker_library = false
        [[rule]]
        name = "a"
        match = "docker.io/**:latest"
        action = "deny"
        reason = "no"
        [[rule]]
        name = "b"
        match = ["quay.io/**"]
        action = "patch"
        on_timeout = "deny"
        on_failure = "serve-last-patched"
        [[rule]]
        name = "c"
        match = "**"
        action = "pass"
        "#,
        &[],
    )
    .unwrap();
    let listener = &config.listeners[0];
    assert!(
        config.listeners.len() == 1
            && listener.default_upstream.is_none()
            && listener.tls.is_some()
    );
    let [docker, local] = &config.upstreams[..] else {
        unreachable!("{:?}", config.upstreams)
    };
    assert!(docker.docker_library && docker.url.as_str() == "https://registry-1.docker.io");
    assert_eq!(
        (local.url.as_str(), local.url.path()),
        ("http://localhost:5000/mirror", "/mirror")
    );
    let actions: Vec<&Action> = config.rules.iter().map(|rule| &rule.action).collect();
    let [Action::Deny, Action::Patch(terms), Action::Pass] = actions[..] else {
        unreachable!("{actions:?}")
    };
    assert_eq!(
        (terms.wait.as_secs(), terms.on_timeout, terms.on_failure),
        (20, Fallback::Deny, Fallback::ServeLastPatched)
    );
    assert!(config.rules[0].matches("docker.io/library/debian", "latest"));
    assert!(!config.rules[0].matches("docker.io/library/debian", "12"));
}

#[test]
fn a_password_file_is_read_trimmed_and_limited() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    let file = format!(
        "[[upstream]]\nname = \"quay.io\"\nusername = \"u\"\npassword_file = {:?}\n",
        path.to_str().unwrap()
    );
    let file = format!("{file}[[listener]]\naddress = \"127.0.0.1:0\"\n");
    std::fs::write(&path, " hunter2\n").unwrap();
    let config = load(&file, &[]).unwrap();
    let credentials = config.upstreams[0].credentials.as_ref().unwrap();
    assert_eq!(
        (
            credentials.password.expose(),
            credentials.password_file.as_ref()
        ),
        ("hunter2", Some(&path))
    );
    assert!(!config.render().contains("hunter2"));
    for (content, expected) in [
        (vec![b'a'; 65537], "is larger than 65536 bytes"),
        (vec![0xff], "is not UTF-8"),
        (b" \n".to_vec(), "is empty"),
    ] {
        std::fs::write(&path, content).unwrap();
        assert!(refusal(&file, &[]).contains(expected), "{expected}");
    }
    std::fs::remove_file(&path).unwrap();
    let text = refusal(&file, &[]);
    assert!(
        text.starts_with("FILE: upstream[0].password_file: cannot read "),
        "{text}"
    );
}

#[test]
fn files_that_cannot_be_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.toml");
    assert!(matches!(
        Config::load(Some(&path), []),
        Err(Error::Unreadable { .. })
    ));
    assert!(matches!(
        Config::load(Some(dir.path()), []),
        Err(Error::Unreadable { .. })
    ));
    std::fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
    assert!(matches!(
        Config::load(Some(&path), []),
        Err(Error::TooLarge {
            limit: 1_048_576,
            ..
        })
    ));
    std::fs::write(&path, [b'#', 0xff]).unwrap();
    assert!(matches!(
        Config::load(Some(&path), []),
        Err(Error::NotText { .. })
    ));
}

#[test]
fn one_wrong_value_is_told_with_origin_key_and_what_is_allowed() {
    // file, then the whole error text
    let table = [
        (
            "cache = 5",
            "FILE: cache: invalid type: integer `5`, expected a [cache] table (found 5)",
        ),
        (
            "[cach]",
            "FILE: cach: unknown key, expected one of `store`, `log`, `server`, `admin`, `cache`, `buildkit`, `patch`, `listener`, `upstream`, `rule`",
        ),
        (
            "[cache]\nttl = 1",
            "FILE: cache.ttl: unknown key, expected one of `tag_ttl`, `upstream_timeout`, `stall_timeout`",
        ),
        (
            "[store]\ndirectory = \"/\"",
            "FILE: store.directory: unknown key, expected `dir`",
        ),
        (
            "[cache]\ntag_ttl = 5",
            "FILE: cache.tag_ttl: must be a duration with a unit, such as \"500ms\", \"20s\", \"5m\" or \"1h 30m\" (found 5)",
        ),
        (
            "[cache]\ntag_ttl = \"0s\"",
            "FILE: cache.tag_ttl: must be more than zero",
        ),
        (
            "[log]\nformat = \"xml\"",
            "FILE: log.format: \"xml\" is not allowed, use one of: text, json (found \"xml\")",
        ),
        (
            "[server]\nmax_connections = 0",
            "FILE: server.max_connections: must be a whole number from 1 to 1048576 (found 0)",
        ),
        (
            "[server]\nmax_connections = 2.5",
            "FILE: server.max_connections: must be a whole number from 1 to 1048576 (found 2.5)",
        ),
        (
            "[patch]\nconcurrency = -1",
            "FILE: patch.concurrency: must be a whole number from 1 to 1024 (found -1)",
        ),
        (
            "[patch]\ncache_scope = \"all\"",
            "FILE: patch.cache_scope: \"all\" is not allowed, use one of: repository, distribution (found \"all\")",
        ),
        (
            "[admin]\naddress = \"localhost:1\"",
            "FILE: admin.address: must be an IP address and a port, such as \"127.0.0.1:5000\" or \"[::]:5000\" (found \"localhost:1\")",
        ),
        (
            "[admin]\naddress = \"127.0.0.1:5000\"",
            "FILE: listener[0].address: 127.0.0.1:5000 is already the address of [admin] or another [[listener]]",
        ),
        (
            "[buildkit]\naddress = \"ftp://x\"",
            "FILE: buildkit.address: \"ftp://x\" is not allowed, use auto, unix://PATH, tcp://HOST:PORT or docker-container://NAME",
        ),
        (
            "[buildkit]\naddress = \"tcp://h:1\"\ncert = \"c\"",
            "FILE: buildkit.key: is missing, cert and key go together",
        ),
        (
            "[buildkit]\nca = \"c\"",
            "FILE: buildkit.ca: is allowed with a tcp:// address only",
        ),
        (
            "[[listener]]\naddress = \"127.0.0.1:1\"\ntls_cert = \"c\"",
            "FILE: listener[0].tls_key: is missing, tls_cert and tls_key go together",
        ),
        (
            "[[listener]]\naddress = \"127.0.0.1:1\"\ndefault_upstream = \"x.io\"\n[[upstream]]\nname = \"quay.io\"",
            "FILE: listener[0].default_upstream: \"x.io\" is no [[upstream]], use one of: quay.io",
        ),
        (
            "[[listener]]\ndefault_upstream = \"docker.io\"",
            "FILE: listener[0].address: is missing",
        ),
        (
            "listener = []",
            "FILE: listener: is empty, give at least one [[listener]]",
        ),
        (
            "a = ",
            "FILE:1:5: not valid TOML: string values must be quoted, expected literal string",
        ),
        (
            "[upstream]\npassword = \"hunter2",
            "FILE:2:20: not valid TOML: invalid basic string, expected `\"`",
        ),
    ];
    for (file, expected) in table {
        assert_eq!(refusal(file, &[]), expected);
    }
}

#[test]
fn a_wrong_upstream_is_told() {
    // lines of an [[upstream]] besides the listener, then what the error says
    let table = [
        (
            "name = \"Quay.io\"\nurl = \"https://quay.io\"",
            "upstream[0].name: \"Quay.io\" is not a lower-case host or host:port, such as \"registry.example.com\" or \"localhost:5000\"",
        ),
        (
            "name = \"x.io\"",
            "upstream[0].url: is missing, it may be left out for docker.io, quay.io, ghcr.io, registry.k8s.io, gcr.io, mcr.microsoft.com, public.ecr.aws only",
        ),
        (
            "name = \"x.io\"\nurl = \"x.io\"",
            "upstream[0].url: must be an absolute URL, such as \"https://registry.example.com\"",
        ),
        (
            "name = \"x.io\"\nurl = \"https://me:hunter2@x.io\"",
            "upstream[0].url: must not contain a user or password, use the keys username and password_file",
        ),
        (
            "name = \"x.io\"\nurl = \"https://x.io?a\"",
            "upstream[0].url: must not contain a query or fragment",
        ),
        (
            "name = \"x.io\"\nurl = \"http://x.io\"\nusername = \"u\"\npassword = \"p\"",
            "upstream[0].url: must be https:// when there is a username, plain http would show the password",
        ),
        (
            "name = \"quay.io\"\nusername = \"u\"",
            "upstream[0].username: is given without password or password_file",
        ),
        (
            "name = \"quay.io\"\npassword = \"p\"",
            "upstream[0].username: is missing, a password needs one",
        ),
        (
            "name = \"quay.io\"\nusername = \"u\"\npassword = \"p\"\npassword_file = \"f\"",
            "upstream[0].password: is given together with password_file, keep one of them",
        ),
        (
            "name = \"quay.io\"\nusername = \"u\"\npassword = 12345",
            "upstream[0].password: must be a string in quotes",
        ),
        (
            "name = \"quay.io\"\ntoken_realms = [\"https://a\"]",
            "upstream[0].token_realms[0]: \"https://a\" is not a lower-case host or host:port, such as \"registry.example.com\" or \"localhost:5000\"",
        ),
        (
            "name = \"quay.io\"\ndocker_library = 1",
            "upstream[0].docker_library: must be true or false (found 1)",
        ),
        (
            "name = \"quay.io\"\n[[upstream]]\nname = \"quay.io\"",
            "upstream[1].name: \"quay.io\" is already the name of another [[upstream]]",
        ),
        (
            "name = \"quay.io\"\nuser = \"u\"",
            "upstream[0].user: unknown key, expected one of `name`, `url`, `username`, `password`, `password_file`, `ca`, `token_realms`, `docker_library`",
        ),
    ];
    for (lines, expected) in table {
        let file = format!("[[listener]]\naddress = \"127.0.0.1:1\"\n[[upstream]]\n{lines}\n");
        assert_eq!(refusal(&file, &[]), format!("FILE: {expected}"));
    }
}

#[test]
fn a_wrong_rule_is_told() {
    let patch = "on_timeout = \"deny\"\non_failure = \"deny\"";
    // lines of the last [[rule]], then what the error says
    let table = [
        ("match = \"docker.io/**\"\naction = \"pass\"".to_owned(), "rule[0].match: must match everything (\"**\"), it is the last rule"),
        ("match = []\naction = \"pass\"".to_owned(), "rule[0].match: is empty, give at least one pattern, \"**\" matches everything\nFILE: rule[0].match: must match everything (\"**\"), it is the last rule"),
        ("match = 5\naction = \"pass\"".to_owned(), "rule[0].match: must be a string or a list of strings (found 5)"),
        ("match = [\"**\", \"a**\"]\naction = \"pass\"".to_owned(), "rule[0].match[1]: pattern \"a**\" uses ** next to other characters, ** must stand alone between slashes"),
        ("match = \"**\"\naction = \"skip\"".to_owned(), "rule[0].action: \"skip\" is not allowed, use one of: pass, patch, deny (found \"skip\")"),
        ("match = \"**\"".to_owned(), "rule[0].action: is missing"),
        ("match = \"**\"\naction = \"patch\"\non_failure = \"deny\"".to_owned(), "rule[0].on_timeout: is missing, action \"patch\" needs one of: serve-last-patched, serve-original, deny"),
        ("match = \"**\"\naction = \"pass\"\nwait = \"1s\"".to_owned(), "rule[0].wait: is allowed with action \"patch\" only, this one is \"pass\""),
        ("match = \"**\"\naction = \"deny\"\non_failure = \"deny\"".to_owned(), "rule[0].on_failure: is allowed with action \"patch\" only, this one is \"deny\""),
        (format!("match = \"**\"\naction = \"patch\"\nwait = \"26s\"\n{patch}"), "rule[0].wait: must be more than zero and at most 25s, clients give up after 30s"),
        (format!("match = \"**\"\naction = \"patch\"\nwait = \"soon\"\n{patch}"), "rule[0].wait: must be a duration with a unit, such as \"500ms\", \"20s\", \"5m\" or \"1h 30m\" (found \"soon\")"),
        ("match = \"**\"\naction = \"pass\"\n[[rule]]\nname = \"b\"\nmatch = \"**\"\naction = \"deny\"".to_owned(), "rule[0].match: matches everything, so the rules after it are never reached"),
        ("match = \"a\"\naction = \"pass\"\n[[rule]]\nname = \"a\"\nmatch = \"**\"\naction = \"deny\"".to_owned(), "rule[1].name: \"a\" is already the name of another [[rule]]"),
    ];
    for (lines, expected) in table {
        assert_eq!(
            refusal(&format!("[[rule]]\nname = \"a\"\n{lines}\n"), &[]),
            format!("FILE: {expected}")
        );
    }
}

#[test]
fn a_wrong_variable_is_told_by_its_name() {
    let table = [
        (
            "PATCHPORT__CACHE__TAG_TTL",
            "5",
            "environment variable PATCHPORT__CACHE__TAG_TTL: cache.tag_ttl: must be a duration with a unit, such as \"500ms\", \"20s\", \"5m\" or \"1h 30m\" (found \"5\")",
        ),
        (
            "PATCHPORT__CACHE__TTL",
            "5s",
            "environment variable PATCHPORT__CACHE__TTL: cache.ttl: unknown key, expected one of `tag_ttl`, `upstream_timeout`, `stall_timeout`",
        ),
        (
            "PATCHPORT__CACHE",
            "5s",
            "environment variable PATCHPORT__CACHE: names no key, write PATCHPORT__SECTION__KEY",
        ),
        (
            "PATCHPORT__RULE__0__WAIT",
            "1h",
            "environment variable PATCHPORT__RULE__0__WAIT: rule[0].wait: must be more than zero and at most 25s, clients give up after 30s",
        ),
        (
            "PATCHPORT__UPSTREAM__0__PASSWORD",
            "hunter2",
            "environment variable PATCHPORT__UPSTREAM__0__PASSWORD: upstream[0].username: is missing, a password needs one",
        ),
    ];
    for (name, value, expected) in table {
        let text = refusal("", &[(name, value)]);
        assert!(!text.contains("hunter2"));
        // A missing key has no variable: it is told with the file.
        let expected = if value == "hunter2" {
            "FILE: upstream[0].username: is missing, a password needs one"
        } else {
            expected
        };
        assert_eq!(text, expected);
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let file = "[cache]\ntag_ttl = \"0s\"\n[patch]\ntimeout = \"0s\"\n[buildkit]\naddress = \"x\"\n[admin]\naddress = \"127.0.0.1:5000\"\n";
    let Error::Refused(problems) = load(file, &[]).unwrap_err() else {
        unreachable!("not Refused")
    };
    let keys: Vec<&str> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "cache.tag_ttl",
            "patch.timeout",
            "buildkit.address",
            "listener[0].address"
        ]
    );
}
