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
    assert_eq!((config.server.max_connections, config.patch.concurrency), (5, 7));
    assert_eq!(config.listeners[0].address.to_string(), "0.0.0.0:0");
    assert_eq!(config.listeners[0].default_upstream.as_deref(), Some("docker.io"));
    assert_eq!(
        config.upstreams[0].credentials.as_ref().unwrap().password.expose(),
        "hunter2"
    );
    assert_eq!(config.rules[0].patterns.len(), 2);
    assert_eq!(config.log.format.as_str(), "json");
    assert!(!config.render().contains("hunter2") && !format!("{config:?}").contains("hunter2"));
    assert!(config.render().contains("password = \"<hidden>\""));
}

#[test]
fn workers_are_one_address_or_a_list_and_platforms_are_read() {
    for (written, expected) in [
        ("\"tcp://a:1\"", vec!["tcp://a:1"]),
        ("[\"tcp://a:1\", \"unix:///b\"]", vec!["tcp://a:1", "unix:///b"]),
    ] {
        let rule = "name = \"a\"\nmatch = \"**\"\naction = \"patch\"\non_timeout = \"deny\"\non_failure = \"deny\"\n\
                    platforms = [\"linux/arm64\", \"linux/amd64\"]\nemulation = \"allow\"\n";
        let file = format!(
            "[buildkit]\naddress = {written}\njobs = 3\n[[upstream]]\nname = \"quay.io\"\njobs = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n[[rule]]\n{rule}"
        );
        let config = load(&file, &[]).unwrap();
        assert_eq!(
            (config.buildkit.address.clone(), config.buildkit.jobs),
            (expected.iter().map(ToString::to_string).collect(), 3)
        );
        assert_eq!(config.upstreams[0].jobs, Some(1));
        let Action::Patch(terms) = config.rules[0].action else {
            unreachable!()
        };
        assert_eq!(
            (terms.platforms.to_string().as_str(), terms.emulation.as_str()),
            ("linux/amd64,linux/arm64", "allow")
        );
        let again = load(&config.render(), &[]).unwrap();
        assert_eq!(again, config, "what is rendered is read back");
    }
    let config = load("", &[("PATCHPORT__BUILDKIT__ADDRESS", "tcp://a:1")]).unwrap();
    assert_eq!(config.buildkit.address, ["tcp://a:1"]);
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
    assert!(config.listeners.len() == 1 && listener.default_upstream.is_none() && listener.tls.is_some());
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
        (credentials.password.expose(), credentials.password_file.as_ref()),
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
    assert!(matches!(Config::load(Some(&path), []), Err(Error::Unreadable { .. })));
    assert!(matches!(
        Config::load(Some(dir.path()), []),
        Err(Error::Unreadable { .. })
    ));
    std::fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
    assert!(matches!(
        Config::load(Some(&path), []),
        Err(Error::TooLarge { limit: 1_048_576, .. })
    ));
    std::fs::write(&path, [b'#', 0xff]).unwrap();
    assert!(matches!(Config::load(Some(&path), []), Err(Error::NotText { .. })));
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let file = "[cache]\ntag_ttl = \"0s\"\n[patch]\ntimeout = \"0s\"\n[buildkit]\naddress = \"x\"\n[admin]\naddress = \"127.0.0.1:5000\"\n";
    let Error::Refused(problems) = load(file, &[]).unwrap_err() else {
        unreachable!("not Refused")
    };
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
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
