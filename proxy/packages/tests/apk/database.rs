//! Databases of installed packages: that of a real Alpine, strange ones that apk takes, and malformed ones.

use patchport_packages::apk::{self, DEFAULT_LIMIT, Package};
use patchport_packages::inventory::Installed;
use proptest::prelude::any;
use proptest::{collection, prop_assert, proptest};

use crate::kit::{self, Root};

fn parse(text: &str) -> Result<Vec<Package>, apk::Error> {
    apk::read("installed", text.as_bytes(), DEFAULT_LIMIT)
}

#[test]
fn the_database_of_a_real_alpine_is_read_as_apk_reads_it() {
    let root = kit::alpine();
    let database = std::fs::read(root.join("lib/apk/db/installed")).unwrap();
    let mut packages = apk::read("installed", &*database, DEFAULT_LIMIT).unwrap();
    packages.sort_by(|one, other| one.name.cmp(&other.name));
    let ours: Vec<String> = packages
        .iter()
        .map(|package| {
            let Package {
                name,
                version,
                architecture,
                origin,
                ..
            } = package;
            format!("{name}-{version} {architecture} {{{origin}}}")
        })
        .collect();
    let said = kit::said(&mut kit::apk(["--root", root.to_str().unwrap(), "list", "--installed"]));
    let mut theirs: Vec<&str> = said.lines().map(|line| line.split_once(" (").unwrap().0).collect();
    theirs.sort_unstable_by_key(|line| line.split_once(' ').unwrap().0.rsplitn(3, '-').nth(2).unwrap());
    assert_eq!(ours, theirs);
    assert!(packages.len() > 40, "{} packages", packages.len());
}

/// Records that apk takes, each with a checksum that is put in where it must be; and the packages in them.
const STRANGE: &[(&str, &str, &[&str])] = &[
    ("empty", "", &[]),
    ("empty lines", "\n\n\n", &[]),
    (
        "no empty line at the end",
        "P:a\nV:1-r0\n\nP:b\nV:2\n",
        &["a 1-r0  a", "b 2  b"],
    ),
    (
        "fields in any order",
        "o:src\nA:noarch\nV:1\nP:a\n\n",
        &["a 1 noarch src"],
    ),
    ("a field twice", "P:a\nV:1\nV:2\n\n", &["a 2  a"]),
    (
        "no origin, or an empty one",
        "P:a\nV:1\no:\nA:x86_64\n\n",
        &["a 1 x86_64 a"],
    ),
    ("a tag", "P:a\nV:1\nA:x86_64\ns:edge\n\n", &["a 1 x86_64 a @edge"]),
    (
        "files, directories, modes, and what it replaces",
        "P:a\nV:1\nr:b c<2\nq:1000\nF:etc\nM:0:0:755\nR:a\na:0:0:644:SHA1\nZ:SHA1\n\n",
        &["a 1  a"],
    ),
    (
        "broken files, scripts and attributes",
        "P:a\nV:1\nf:fsxS\n\n",
        &["a 1  a"],
    ),
    ("a line of one byte", "P:a\nV:1\nx\nP:b\nV:1\n\n", &["a 1  a", "b 1  b"]),
    (
        "a group",
        "P:.build-deps\nV:20240101.120000\nA:noarch\nD:a b\n\n",
        &[".build-deps 20240101.120000 noarch .build-deps"],
    ),
];

fn shown(package: &Package) -> String {
    let Package {
        name,
        version,
        architecture,
        origin,
        tag,
        ..
    } = package;
    let tag = tag.as_ref().map_or_else(String::new, |tag| format!(" @{tag}"));
    format!("{name} {version} {architecture} {origin}{tag}")
}

#[test]
fn strange_databases_are_taken_as_apk_takes_them() {
    for (name, text, expected) in STRANGE {
        // apk 3.0.8 crashes where two packages have the same checksum.
        let text = ["a", "b", "."].iter().fold((*text).to_owned(), |text, name| {
            let checksum = kit::checksum(name, "1");
            text.replace(&format!("P:{name}"), &format!("C:{checksum}\nP:{name}"))
        });
        let text = text.replace("SHA1", &kit::checksum("file", "1"));
        let packages = parse(&text).unwrap();
        let ours: Vec<String> = packages.iter().map(shown).collect();
        assert!(
            ours.iter().zip(*expected).all(|(one, other)| one == other),
            "{name}: {ours:?}"
        );
        let root = Root::new(&[], "");
        root.write("lib/apk/db/installed", text.as_bytes());
        let said = root.apk(&["list", "--installed", "--manifest"]);
        let theirs: Vec<&str> = said.lines().collect();
        let expected = expected
            .iter()
            .map(|shown| shown.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" "));
        assert_eq!(theirs, expected.collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn malformed_databases_are_told_with_their_line() {
    let good = "P:a\nV:1\nA:x86_64\n\n";
    let table = [
        ("P:b", "installed:5: the file ends in the middle of this line"),
        ("no field\n", "installed:5: neither a field nor the end of a package"),
        (
            "P:b\nA:x86_64\n\n",
            "installed:5: the package that begins here has no version",
        ),
        (
            "V:1\nA:x86_64\n\n",
            "installed:5: the package that begins here has no name",
        ),
        ("P:b;c\nV:1\n\n", "installed:5: the name has the value \"b;c\""),
        ("P:--root\nV:1\n\n", "installed:5: the name has the value \"--root\""),
        (
            "P:b\nV:1\nA:x 86\n\n",
            "installed:5: the architecture has the value \"x 86\"",
        ),
        (
            "P:b\nV:1\no:$(id)\n\n",
            "installed:5: the origin has the value \"$(id)\"",
        ),
        ("P:b\nV:1-2\n\n", "installed:5: no version that apk takes"),
    ];
    for (bad, expected) in table {
        assert_eq!(parse(&format!("{good}{bad}")).unwrap_err().to_string(), expected);
    }
    let error = apk::read("installed", good.as_bytes(), 10).unwrap_err();
    assert_eq!(error.to_string(), "installed: larger than 10 bytes");
}

#[test]
fn an_installed_package_names_its_source() {
    let packages = parse("P:libssl3\nV:3.5.4-r0\nA:x86_64\no:openssl\n\n").unwrap();
    let installed: Installed = packages[0].clone().into();
    assert_eq!((&*installed.name, &*installed.architecture), ("libssl3", "x86_64"));
    assert_eq!(
        (&*installed.source.name, installed.source.version.as_str()),
        ("openssl", "3.5.4-r0")
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in collection::vec(any::<u8>(), 0..200), text in "([PVAos]:[a-z0-9.]{0,4}\n|\n){0,9}") {
        let _ = apk::read("installed", &*bytes, DEFAULT_LIMIT);
        if let Ok(packages) = parse(&text) {
            prop_assert!(packages.iter().all(|package| !package.name.is_empty()));
        }
    }
}
