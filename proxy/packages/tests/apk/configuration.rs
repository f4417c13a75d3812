//! What an image tells apk: repositories as `apk version --indexes` shows them, `world`, tags and keys.

use patchport_packages::apk::{self, Configuration, Format};
use patchport_packages::layer::{self, Compression, Limits, Wanted};

use crate::kit::{self, Root};

/// The text of `etc/apk/repositories`, where `DIR` stands for the root; the folders that it names; and what is noted.
const REPOSITORIES: &[(&str, &[&str], &str)] = &[
    ("", &[], ""),
    ("# DIR/one\nDIR/one\n\n#\nDIR/two/\n", &["one", "two"], ""),
    ("@edge DIR/one\nDIR/two", &["one", "two"], ""),
    ("@edge\tDIR/one  \nv2 DIR/two\n", &["one", "two"], ""),
    ("v2 DIR one two\n", &["one", "two"], ""),
    ("set mirror=DIR\nv2 ${mirror} one\n${mirror}/two\n", &["one", "two"], ""),
    (
        "set mirror=DIR\nset -default mirror=/none\nset list=one two\nv2 @edge ${mirror} ${list}\n",
        &["one", "two"],
        "",
    ),
    (
        "ndx DIR/one/${APK_ARCH}/APKINDEX.tar.gz\nDIR/two/x86_64/APKINDEX.tar.gz\n",
        &["one", "two"],
        "",
    ),
    (
        "DIR/one\nv4 DIR/two\n",
        &["one"],
        "etc/apk/repositories:2: a keyword that is not known: apk reads no further",
    ),
    (
        "DIR/one\n DIR/two\n",
        &["one"],
        "etc/apk/repositories:2: a blank at the beginning of a line: apk reads no further",
    ),
    (
        "DIR/one\n${no}/two\nDIR/two",
        &["one"],
        "etc/apk/repositories:2: a variable that was not set: apk reads no further",
    ),
    (
        "DIR/one\nv2 two\n",
        &["one"],
        "etc/apk/repositories:2: no address of a repository: apk reads no further",
    ),
    (
        "set APK_ARCH=x\nDIR/one\n",
        &[],
        "etc/apk/repositories:1: a variable that cannot be set: apk reads no further",
    ),
];

#[test]
fn repositories_are_those_that_apk_uses() {
    for (text, expected, note) in REPOSITORIES {
        let root = Root::new(&[], "");
        for folder in ["one", "two"] {
            root.offer(folder, &[("a", "1.0-r0", "")]);
        }
        let place = root.path().to_str().unwrap();
        root.write("etc/apk/repositories", text.replace("DIR", place).as_bytes());
        let configuration = Configuration::read(&root.files()).unwrap();
        let suffix = "/x86_64/APKINDEX.tar.gz";
        let urls = configuration
            .repositories
            .iter()
            .map(|repository| repository.index_url("x86_64"));
        let ours: Vec<String> = urls.map(|url| url.strip_suffix(suffix).unwrap().to_owned()).collect();
        let expected: Vec<String> = expected.iter().map(|folder| format!("{place}/{folder}")).collect();
        assert_eq!(
            (&ours, configuration.notes.concat()),
            (&expected, (*note).to_owned()),
            "{text}"
        );
        let said = root.apk_with_warnings(&["version", "--indexes"]);
        let theirs: Vec<&str> = said
            .lines()
            .filter_map(|line| line.split_once('[')?.1.strip_suffix(']'))
            .map(|url| url.strip_suffix(suffix).unwrap_or(url))
            .collect();
        assert_eq!(theirs, expected, "{text}");
    }
}

#[test]
fn files_of_etc_take_the_place_of_those_of_lib() {
    let root = Root::new(&[], "");
    root.write("etc/apk/repositories", b"https://example.org/main\n");
    root.write(
        "etc/apk/repositories.d/b.list",
        b"@edge https://user:pw@example.org/edge\n",
    );
    root.write("etc/apk/repositories.d/.a.list", b"https://example.org/hidden\n");
    root.write("etc/apk/repositories.d/a.txt", b"https://example.org/text\n");
    root.write("lib/apk/repositories.d/a.list", b"v3 https://example.org/v3 x y\n");
    root.write("lib/apk/repositories.d/b.list", b"https://example.org/other\n");
    root.write("lib/apk/keys/other.rsa.pub", b"other");
    root.write("lib/apk/keys/test@example.org-1.rsa.pub", b"hidden by that of etc");
    let files = root.files();
    let configuration = Configuration::read(&files).unwrap();
    let shown: Vec<String> = configuration.repositories.iter().map(ToString::to_string).collect();
    let expected = [
        "https://example.org/main",
        "@edge https://*@example.org/edge",
        "https://example.org/v3/x",
        "https://example.org/v3/y",
    ];
    assert_eq!(shown, expected);
    let last = &configuration.repositories[3];
    assert_eq!(
        (last.format, last.index_url("x86")),
        (Format::V3, "https://example.org/v3/y/x86/Packages.adb".to_owned())
    );
    let keys = apk::keys(&files).unwrap();
    let names: Vec<_> = keys
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.len() > 100))
        .collect();
    assert_eq!(names, [("test@example.org-1.rsa.pub", true), ("other.rsa.pub", false)]);
}

#[test]
fn world_and_tags_are_read_and_kept() {
    let installed = [("a", "1.0-r0", "s:edge\n"), ("b", "1.0-r0", "")];
    let root = Root::new(&installed, "a@edge=1.0-r0 b\n!c>2\nso:libx.so.1\n/bin/sh\nd~3.1\n");
    let configuration = Configuration::read(&root.files()).unwrap();
    let shown: Vec<String> = configuration.world.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["a@edge=1.0-r0", "b", "!c>2", "so:libx.so.1", "/bin/sh", "d~3.1"]
    );
    assert_eq!(
        configuration.tags.into_iter().collect::<Vec<_>>(),
        [("a".to_owned(), "edge".to_owned())]
    );
    assert_eq!(configuration.architectures, ["x86_64"]);
    let configuration = Configuration::read(&root.files()).unwrap();
    let json = serde_json::to_string(&configuration).unwrap();
    assert_eq!(serde_json::from_str::<Configuration>(&json).unwrap(), configuration);
}

#[test]
fn packages_that_world_pins_are_held() {
    let installed = [
        ("a", "1.0-r0", ""),
        ("b", "1.0-r0", ""),
        ("c", "1-r0", ""),
        ("d", "1-r0", ""),
        ("e", "1-r0", ""),
    ];
    let root = Root::new(&installed, "a=1.0-r0 b~1 c><Q1abc !d=1-r0 e<=1-r0");
    let configuration = Configuration::read(&root.files()).unwrap();
    let database = std::fs::read(root.path().join(apk::DATABASES[0])).unwrap();
    let packages = apk::read("installed", &*database, apk::DEFAULT_LIMIT).unwrap();
    let packages: Vec<_> = packages.into_iter().map(Into::into).collect();
    let held = configuration.held(&packages).into_iter().map(|held| held.name);
    assert_eq!(held.collect::<Vec<_>>(), ["a", "c"]);
}

#[test]
fn a_world_that_apk_refuses_is_told_with_its_line() {
    let table = [
        ("a\nb=1-2", "etc/apk/world:2: no version that apk takes"),
        ("a\n=1", "etc/apk/world:2: a package to install has the value \"=1\""),
        ("a@", "etc/apk/world:1: a package to install has the value \"a@\""),
        ("a>", "etc/apk/world:1: no version that apk takes"),
    ];
    for (world, expected) in table {
        let error = Configuration::read(&Root::new(&[], world).files()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn the_settings_of_a_real_alpine_are_read_from_its_layer() {
    let tar = std::fs::File::open(kit::alpine().join("../root.tar")).unwrap();
    let wanted = Wanted::new(apk::FILES, apk::DIRECTORIES);
    let layer = layer::read(tar, Compression::Detect, &wanted, &Limits::default()).unwrap();
    let files = layer::merge([&layer]);
    let configuration = Configuration::read(&files).unwrap();
    let urls = configuration
        .repositories
        .iter()
        .map(|repository| repository.index_url(&configuration.architectures[0]));
    let urls: Vec<String> = urls.collect();
    assert!(
        urls.len() == 2 && urls[0].ends_with("/alpine/v3.23/main/x86_64/APKINDEX.tar.gz"),
        "{urls:?}"
    );
    assert!(
        configuration
            .world
            .iter()
            .any(|constraint| constraint.name == "alpine-baselayout")
    );
    assert!(configuration.notes.is_empty() && configuration.tags.is_empty());
    assert_eq!(apk::keys(&files).unwrap().len(), 3);
}

#[test]
fn an_image_without_apk_has_an_empty_configuration() {
    let empty = tar::Builder::new(Vec::new()).into_inner().unwrap();
    let wanted = Wanted::new(apk::FILES, apk::DIRECTORIES);
    let layer = layer::read(&*empty, Compression::None, &wanted, &Limits::default()).unwrap();
    assert_eq!(
        Configuration::read(&layer::merge([&layer])).unwrap(),
        Configuration::default()
    );
}
