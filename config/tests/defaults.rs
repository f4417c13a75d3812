//! The annotated file is the default configuration and names every key there is.
//! What `render` prints is read back as the same configuration.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use patchport_config::{Action, Config, Fallback};

fn annotated() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/patchport.toml"))
}

#[test]
fn the_annotated_file_is_the_default() {
    let from_file = Config::load(Some(annotated()), []).unwrap();
    assert_eq!(from_file, Config::default());
    assert_eq!(Config::load(None, []).unwrap(), Config::default());
}

#[test]
fn the_annotated_file_names_every_key() {
    let text = std::fs::read_to_string(annotated()).unwrap();
    for (table, keys) in keys_of_the_schema() {
        let start = text
            .find(&format!("\n{table}\n"))
            // A list without default entries stands there as an example.
            .or_else(|| text.find(&format!("\n#   {table}\n")))
            .ok_or_else(|| format!("{table} is not there"))
            .unwrap();
        let rest = &text[start + 1 + table.len()..];
        let body = rest.find("\n[").map_or(rest, |end| &rest[..end]);
        for key in keys {
            let given = body
                .lines()
                .any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} =")));
            let nested = format!("[[{}.{key}]]", table.trim_matches(['[', ']']));
            assert!(
                given || text.contains(&format!("#   {key} =")) || text.contains(&nested),
                "{table} {key} is not there"
            );
        }
    }
}

/// The keys as the schema itself tells them: a wrong key is refused with the list of the right ones.
fn keys_of_the_schema() -> Vec<(String, Vec<String>)> {
    let tables = [
        "store", "log", "server", "admin", "cache", "buildkit", "patch", "scan", "sign",
    ]
    .map(|name| format!("[{name}]"));
    let lists = ["listener", "upstream", "rule", "repository", "helper"].map(|name| format!("[[{name}]]"));
    let tables: Vec<_> = tables
        .into_iter()
        .chain(lists)
        .map(|table| (table.clone(), allowed_in(&table)))
        .collect();
    assert_eq!(allowed_in("").len(), tables.len(), "a table is missing in this test");
    tables
}

fn allowed_in(table: &str) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{table}\nno_such_key = 1\n")).unwrap();
    let error = Config::load(Some(file.path()), []).unwrap_err().to_string();
    let (_, allowed) = error.split_once("unknown key, expected ").ok_or(&error).unwrap();
    let keys: Vec<String> = allowed.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect();
    assert!(!keys.is_empty(), "{error}");
    keys
}

#[test]
fn the_defaults_are_those_we_promise() {
    let config = Config::default();
    let names: Vec<&str> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    let known = [
        "docker.io",
        "quay.io",
        "ghcr.io",
        "registry.k8s.io",
        "gcr.io",
        "mcr.microsoft.com",
        "public.ecr.aws",
    ];
    assert_eq!(names, known);
    let docker = &config.upstreams[0];
    assert_eq!(docker.url.as_str(), "https://registry-1.docker.io");
    assert_eq!(
        (docker.token_realms.as_slice(), docker.docker_library),
        (&["auth.docker.io".to_owned()][..], true)
    );
    assert!(
        config.upstreams[1..]
            .iter()
            .all(|upstream| !upstream.docker_library && upstream.token_realms.is_empty())
    );
    let helpers = ["rhel 9.4", "opensuse-leap 15.6", "debian 12"].map(|release| {
        let (id, version) = release.split_once(' ').unwrap();
        let found = config.helpers.iter().find(|helper| helper.matches(id, version));
        found.map(|helper| helper.image(version))
    });
    let images = ["docker.io/redhat/ubi9:latest", "docker.io/opensuse/leap:15.6"];
    assert_eq!(helpers, [Some(images[0].to_owned()), Some(images[1].to_owned()), None]);
    let Action::Patch(terms) = config.rules[0].action else {
        unreachable!("{:?}", config.rules)
    };
    assert_eq!(
        (terms.wait.as_secs(), terms.on_timeout),
        (20, Fallback::ServeLastPatched)
    );
    assert_eq!(terms.on_failure, Fallback::ServeOriginal);
    assert!(config.rules.len() == 1 && config.rules[0].matches_everything());
}

#[test]
fn the_rendered_configuration_is_read_back() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), Config::default().render()).unwrap();
    assert_eq!(Config::load(Some(file.path()), []).unwrap(), Config::default());
}
