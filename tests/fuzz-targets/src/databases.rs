//! Databases and files of text that say what is installed.

use patchport_packages::{OsRelease, dpkg, os_release as limits, pacman as arch};

use crate::assert_storable;

/// dpkg's `status`, and a fragment of it: what was read, written again, is read as the same.
pub(crate) fn dpkg(input: &[u8]) {
    for kind in [dpkg::Kind::Status, dpkg::Kind::Fragment] {
        let Ok(packages) = dpkg::read("status", kind, input, dpkg::DEFAULT_LIMIT) else {
            continue;
        };
        let written: String = packages.iter().map(stanza).collect();
        let again = dpkg::read("status", kind, written.as_bytes(), dpkg::DEFAULT_LIMIT);
        assert_eq!(packages, again.expect("what was read, written again"));
        assert_storable(&packages);
        if let Some(limit) = (input.len() as u64).checked_sub(1) {
            let short = dpkg::read("status", kind, input, limit);
            assert!(short.is_err(), "a limit is kept");
        }
    }
}

fn stanza(package: &dpkg::Package) -> String {
    let word = |value: serde_json::Result<serde_json::Value>| {
        let value = value.expect("a word");
        value.as_str().expect("a word").to_owned()
    };
    let status = package.status;
    let words = [serde_json::to_value(status.want), serde_json::to_value(status.flag)];
    let [want, flag] = words.map(word);
    let state = word(serde_json::to_value(status.state));
    let multi_arch = word(serde_json::to_value(package.multi_arch));
    let essential = if package.essential { "yes" } else { "no" };
    format!(
        "Package: {}\nVersion: {}\nArchitecture: {}\nSource: {} ({})\nStatus: {want} {flag} {state}\nMulti-Arch: {multi_arch}\n\
         Essential: {essential}\n\n",
        package.name, package.version, package.architecture, package.source.name, package.source.version,
    )
}

/// pacman's `desc`.
pub(crate) fn pacman(input: &[u8]) {
    let Ok(package) = arch::parse_desc("desc", input) else {
        return;
    };
    let written = format!(
        "%NAME%\n{}\n\n%VERSION%\n{}\n\n%ARCH%\n{}\n\n%BASE%\n{}\n",
        package.name, package.version, package.architecture, package.base
    );
    let again = arch::parse_desc("desc", written.as_bytes()).expect("what was read, written again");
    let without_groups = arch::Package {
        groups: vec![],
        ..package
    };
    assert_eq!(format!("{without_groups:?}"), format!("{again:?}"));
}

/// A database of a repository: each package can be found, and a limit is kept.
pub(crate) fn pacman_index(input: &[u8]) {
    const LIMIT: u64 = 1 << 22;
    let Ok(index) = arch::Index::read("kit.db", input, LIMIT) else {
        return;
    };
    // The least that stands in a tar for a package.
    assert!(index.len() as u64 * 1024 <= LIMIT);
    assert_eq!(
        index,
        arch::Index::read("kit.db", input, LIMIT).expect("it could be read before")
    );
}

/// `os-release`: its words need no quotes, so what was read can be written again.
pub(crate) fn os_release(input: &[u8]) {
    let Ok(os) = OsRelease::parse(input) else { return };
    assert!(input.len() <= limits::MAX_SIZE);
    assert_storable(&os);
    let line = |key: &str, value: &Option<String>| match value {
        Some(value) => format!("{key}='{value}'\n"),
        None => String::new(),
    };
    let words = [
        format!("ID={}\nID_LIKE=\"{}\"\n", os.id, os.id_like.join(" ")),
        line("VERSION_ID", &os.version_id),
        line("VERSION_CODENAME", &os.version_codename),
    ];
    let again = OsRelease::parse(words.concat().as_bytes()).expect("what was read, written again");
    let (name, pretty_name) = (os.name.clone(), os.pretty_name.clone());
    assert_eq!(
        os,
        OsRelease {
            name,
            pretty_name,
            ..again
        }
    );
}
