//! The text of every error that a value can cause: origin, key, what is wrong, what is allowed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use patchport_config::{Config, Error};

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

/// A file, and the whole error.
const VALUES: &[(&str, &str)] = &[
    (
        "cache = 5",
        "FILE: cache: invalid type: integer `5`, expected a [cache] table (found 5)",
    ),
    (
        "[cach]",
        "FILE: cach: unknown key, expected one of `store`, `log`, `server`, `admin`, `cache`, `buildkit`, `patch`, `scan`, `sign`, `listener`, `upstream`, `rule`, `repository`, `helper`",
    ),
    (
        "[cache]\nttl = 1",
        "FILE: cache.ttl: unknown key, expected one of `tag_ttl`, `upstream_timeout`, `stall_timeout`",
    ),
    (
        "[sign]\nkey = \"a\"\nprogram = [\"b\"]",
        "FILE: sign.program: is given together with key, keep one of them",
    ),
    (
        "[sign]\nprogram = [\"\"]\ntimeout = \"0s\"",
        "FILE: sign.timeout: must be more than zero\nFILE: sign.program: begins with an empty name, give a program and its arguments",
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
        "FILE: buildkit.address: \"ftp://x\" is not allowed, use auto, unix://PATH, tcp://HOST:PORT, docker://, docker-container://NAME, podman-container://NAME, nerdctl-container://NAME or kubepod://POD",
    ),
    (
        "[buildkit]\naddress = []",
        "FILE: buildkit.address: must be 1 to 64 addresses",
    ),
    (
        "[buildkit]\naddress = [\"tcp://a:1\", \"auto\", \"tcp://a:1\"]",
        "FILE: buildkit.address[1]: \"auto\" looks for one BuildKit, it is allowed alone only\nFILE: buildkit.address[2]: \"tcp://a:1\" is there already",
    ),
    (
        "[buildkit]\njobs = 0",
        "FILE: buildkit.jobs: must be a whole number from 1 to 1024 (found 0)",
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

/// Lines of an `[[upstream]]`, and the error without its origin.
const UPSTREAMS: &[(&str, &str)] = &[
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
        "upstream[0].user: unknown key, expected one of `name`, `url`, `username`, `password`, `password_file`, `ca`, `token_realms`, `docker_library`, `jobs`",
    ),
];

/// Lines of a `[[rule]]`, and the error without its origin.
const RULES: &[(&str, &str)] = &[
    (
        "match = \"docker.io/**\"\naction = \"pass\"",
        "rule[0].match: must match everything (\"**\"), it is the last rule",
    ),
    (
        "match = []\naction = \"pass\"",
        "rule[0].match: is empty, give at least one pattern, \"**\" matches everything\nFILE: rule[0].match: must match everything (\"**\"), it is the last rule",
    ),
    (
        "match = 5\naction = \"pass\"",
        "rule[0].match: must be a string or a list of strings (found 5)",
    ),
    (
        "match = [\"**\", \"a**\"]\naction = \"pass\"",
        "rule[0].match[1]: pattern \"a**\" uses ** next to other characters, ** must stand alone between slashes",
    ),
    (
        "match = \"**\"\naction = \"skip\"",
        "rule[0].action: \"skip\" is not allowed, use one of: pass, patch, deny (found \"skip\")",
    ),
    ("match = \"**\"", "rule[0].action: is missing"),
    (
        "match = \"**\"\naction = \"patch\"\non_failure = \"deny\"",
        "rule[0].on_timeout: is missing, action \"patch\" needs one of: serve-last-patched, serve-original, deny",
    ),
    (
        "match = \"**\"\naction = \"pass\"\nwait = \"1s\"",
        "rule[0].wait: is allowed with action \"patch\" only, this one is \"pass\"",
    ),
    (
        "match = \"**\"\naction = \"pass\"\npatch = \"security\"",
        "rule[0].patch: is allowed with action \"patch\" only, this one is \"pass\"",
    ),
    (
        "match = \"**\"\naction = \"patch\"\npatch = \"all\"\non_timeout = \"deny\"\non_failure = \"deny\"",
        "rule[0].patch: \"all\" is not allowed, use \"outdated\", \"security\", or \"fixable:\" and one of negligible, low, medium, high, critical (found \"all\")",
    ),
    (
        "match = \"**\"\naction = \"patch\"\nplatforms = [\"linux/amd46\"]\non_timeout = \"deny\"\non_failure = \"deny\"",
        "rule[0].platforms: \"linux/amd46\" is not allowed, use some of: linux/amd64, linux/arm64, linux/386, linux/arm, linux/ppc64le, linux/s390x, linux/riscv64, linux/loong64, linux/mips64le, linux/mipsle, linux/mips64, linux/mips, linux/ppc64, linux/amd64/v1, linux/amd64/v2, linux/amd64/v3, linux/amd64/v4, linux/arm/v5, linux/arm/v6, linux/arm/v7, linux/arm/v8, linux/arm64/v8, linux/arm64/v9",
    ),
    (
        "match = \"**\"\naction = \"patch\"\nplatforms = []\non_timeout = \"deny\"\non_failure = \"deny\"",
        "rule[0].platforms: is empty, leave it out for all platforms",
    ),
    (
        "match = \"**\"\naction = \"patch\"\nemulation = \"maybe\"\non_timeout = \"deny\"\non_failure = \"deny\"",
        "rule[0].emulation: \"maybe\" is not allowed, use one of: never, allow (found \"maybe\")",
    ),
    (
        "match = \"**\"\naction = \"patch\"\nend_of_life = \"deny\"\non_timeout = \"deny\"\non_failure = \"deny\"",
        "rule[0].end_of_life: \"deny\" is not allowed, use one of: patch, fail (found \"deny\")",
    ),
    (
        "match = \"**\"\naction = \"pass\"\nemulation = \"allow\"",
        "rule[0].emulation: is allowed with action \"patch\" only, this one is \"pass\"",
    ),
    (
        "match = \"**\"\naction = \"deny\"\non_failure = \"deny\"",
        "rule[0].on_failure: is allowed with action \"patch\" only, this one is \"deny\"",
    ),
    (
        "match = \"**\"\naction = \"patch\"\nwait = \"26s\"\non_timeout = \"deny\"\non_failure = \"deny\"",
        "rule[0].wait: must be more than zero and at most 25s, clients give up after 30s",
    ),
    (
        "match = \"**\"\naction = \"patch\"\nwait = \"soon\"\non_timeout = \"deny\"\non_failure = \"deny\"",
        "rule[0].wait: must be a duration with a unit, such as \"500ms\", \"20s\", \"5m\" or \"1h 30m\" (found \"soon\")",
    ),
    (
        "match = \"**\"\naction = \"pass\"\n[[rule]]\nname = \"b\"\nmatch = \"**\"\naction = \"deny\"",
        "rule[0].match: matches everything, so the rules after it are never reached",
    ),
    (
        "match = \"a\"\naction = \"pass\"\n[[rule]]\nname = \"a\"\nmatch = \"**\"\naction = \"deny\"",
        "rule[1].name: \"a\" is already the name of another [[rule]]",
    ),
];

/// The lines of a `[[repository]]`, and the error without the file.
const REPOSITORIES: &[(&str, &str)] = &[
    (
        "match = []",
        "repository[0].match: is empty, give at least one beginning of a URL",
    ),
    (
        "match = \"ftp://a\"",
        "repository[0].match[0]: must be the beginning of a URL, such as \"deb.example.org/debian\" or \"https://*.example.com\"",
    ),
    (
        "match = \"a\"\nmirror = \"a\"",
        "repository[0].mirror: must be an absolute URL, such as \"https://registry.example.com\"",
    ),
    (
        "match = \"a.example\"\nusername = \"u\"\npassword = \"hunter2\"",
        "repository[0].match: must be https:// when there is a username, plain http would show the password",
    ),
    (
        "match = \"a.example\"\nunsigned = \"maybe\"",
        "repository[0].unsigned: \"maybe\" is not allowed, use one of: refuse, allow (found \"maybe\")",
    ),
];

#[test]
fn a_wrong_repository_is_told() {
    for (lines, expected) in REPOSITORIES {
        let text = refusal(&format!("[[repository]]\n{lines}\n"), &[]);
        assert_eq!(text, format!("FILE: {expected}"));
        assert!(!text.contains("hunter2"), "{text}");
    }
}

/// The lines of a `[[scan.distribution]]`, and the error without the file.
const DISTRIBUTIONS: &[(&str, &str)] = &[
    (
        "id = \"\"\nsources = \"deb https://deb.example.org/debian $codename main\"",
        "scan.distribution[0].id: is empty, give the ID of the distribution's os-release",
    ),
    (
        "id = \"debian\"\nsources = \"deb-src https://deb.example.org/debian $codename main\"",
        "scan.distribution[0].sources: names no repository, write lines such as \"deb https://deb.example.org/debian $codename main\"",
    ),
    (
        "id = \"debian\"\ncodename = \"[\"\nsources = \"URIs: https://deb.example.org/debian\"",
        "scan.distribution[0].codename: error parsing glob '[': unclosed character class; missing ']'",
    ),
];

#[test]
fn a_wrong_distribution_is_told() {
    for (lines, expected) in DISTRIBUTIONS {
        let text = refusal(&format!("[[scan.distribution]]\n{lines}\n"), &[]);
        assert_eq!(text, format!("FILE: {expected}"));
    }
}

#[test]
fn a_distribution_is_chosen_by_its_release() {
    let text = "[[scan.distribution]]\nid = \"debian\"\ncodename = \"book*\"\nsources = \"deb https://deb.example.org/debian $codename main\"\nkeys = [\"/k.asc\"]\n";
    let config = load(text, &[]).unwrap();
    let [entry] = &config.scan.distribution[..] else {
        unreachable!("one entry")
    };
    assert!(
        entry.matches("debian", "bookworm")
            && !entry.matches("debian", "trixie")
            && !entry.matches("ubuntu", "bookworm")
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), config.render()).unwrap();
    assert_eq!(Config::load(Some(file.path()), []).unwrap(), config);
}

/// A variable, its value, and the whole error.
const VARIABLES: &[(&str, &str, &str)] = &[
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
        "FILE: upstream[0].username: is missing, a password needs one",
    ),
];

#[test]
fn one_wrong_value_is_told_with_origin_key_and_what_is_allowed() {
    for (file, expected) in VALUES {
        assert_eq!(refusal(file, &[]), *expected);
    }
}

#[test]
fn a_wrong_upstream_is_told() {
    for (lines, expected) in UPSTREAMS {
        let file = format!("[[listener]]\naddress = \"127.0.0.1:1\"\n[[upstream]]\n{lines}\n");
        assert_eq!(refusal(&file, &[]), format!("FILE: {expected}"));
    }
}

#[test]
fn a_wrong_rule_is_told() {
    for (lines, expected) in RULES {
        assert_eq!(
            refusal(&format!("[[rule]]\nname = \"a\"\n{lines}\n"), &[]),
            format!("FILE: {expected}")
        );
    }
}

#[test]
fn a_wrong_variable_is_told_by_its_name() {
    for (name, value, expected) in VARIABLES {
        let text = refusal("", &[(name, value)]);
        assert_eq!(text, *expected);
        assert!(!text.contains("hunter2"), "{text}");
    }
}

/// The lines of a `[[helper]]`, and the error without the file.
const HELPERS: &[(&str, &str)] = &[
    (
        "id = \"\"\nversion = \"[\"\nimage = \"quay.io/centos/centos:stream$major\"",
        "helper[0].id: is empty, give the ID of the distribution's os-release\nFILE: helper[0].version: error parsing glob '[': unclosed character class; missing ']'",
    ),
    (
        "id = \"rhel\"\nimage = \"redhat/ubi9:latest\"",
        "helper[0].image: must begin with the name of an [[upstream]]: a lower-case host or host:port, such as \"registry.example.com\" or \"localhost:5000\"",
    ),
    (
        "id = \"rhel\"\nimage = \"docker.io/redhat/ubi9\"",
        "helper[0].image: has neither a tag nor a digest, write such as \"docker.io/library/almalinux:$major\"",
    ),
];

#[test]
fn a_wrong_helper_is_told() {
    for (lines, expected) in HELPERS {
        let text = refusal(&format!("[[helper]]\n{lines}\n"), &[]);
        assert_eq!(text, format!("FILE: {expected}"));
    }
}
