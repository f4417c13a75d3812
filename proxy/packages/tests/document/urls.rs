//! Package URLs, as other tools write and read them.

use patchport_packages::document::Format;
use patchport_packages::inventory::{Installed, Manager};
use patchport_packages::language::Ecosystem;
use patchport_packages::{Family, OsRelease};

use crate::kit::{Image, document, installed, language};

#[test]
fn package_urls() {
    let urls = |id: &str, manager: Manager, package: Installed| {
        let mut image = Image::new();
        image.inventory.os = OsRelease::parse(id.as_bytes()).unwrap();
        (image.inventory.manager, image.inventory.packages) = (manager, vec![package]);
        document(&image.view(), Format::Json)["packages"][0]["purl"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let table = [
        (
            "ID=alpine\nVERSION_ID=3.23.0",
            Manager::Apk,
            installed(Family::Apk, "libcrypto3", "x86_64", "3.5.4-r0", ("openssl", "3.5.4-r0")),
            "pkg:apk/alpine/libcrypto3@3.5.4-r0?arch=x86_64&distro=alpine-3.23.0&upstream=openssl",
        ),
        (
            "ID=fedora\nVERSION_ID=43",
            Manager::Rpm,
            installed(
                Family::Rpm,
                "Box2D",
                "x86_64",
                "1:2.4.1-3.fc43",
                ("Box2D", "1:2.4.1-3.fc43"),
            ),
            "pkg:rpm/fedora/Box2D@2.4.1-3.fc43?arch=x86_64&distro=fedora-43&epoch=1",
        ),
        (
            "ID=rhel\nVERSION_ID=9",
            Manager::Rpm,
            installed(Family::Rpm, "libssl", "x86_64", "3.0-1", ("openssl", "3.0-1")),
            "pkg:rpm/rhel/libssl@3.0-1?arch=x86_64&distro=rhel-9&upstream=openssl-3.0-1.src.rpm",
        ),
        (
            "ID=arch",
            Manager::Pacman,
            installed(Family::Pacman, "gcc-libs", "x86_64", "1:15.1-2", ("gcc", "1:15.1-2")),
            "pkg:alpm/arch/gcc-libs@1:15.1-2?arch=x86_64&distro=arch&upstream=gcc",
        ),
        (
            "ID=ubuntu\nVERSION_ID=24.04",
            Manager::Dpkg,
            installed(
                Family::Deb,
                "libstdc++6",
                "arm64",
                "14-1~24.04",
                ("gcc-14", "14-1~24.04"),
            ),
            "pkg:deb/ubuntu/libstdc%2B%2B6@14-1~24.04?arch=arm64&distro=ubuntu-24.04&upstream=gcc-14",
        ),
    ];
    for (os, manager, package, expected) in table {
        assert_eq!(urls(os, manager, package), expected);
    }
}

#[test]
fn package_urls_of_languages() {
    let languages = [
        (
            Ecosystem::Pypi,
            "Zope_Foo.bar",
            "1.0+local",
            "pkg:pypi/zope-foo-bar@1.0%2Blocal",
        ),
        (Ecosystem::Npm, "left-pad", "1.3.0", "pkg:npm/left-pad@1.3.0"),
        (
            Ecosystem::Golang,
            "github.com/Azure/go",
            "v1.2.3",
            "pkg:golang/github.com/Azure/go@v1.2.3",
        ),
        (Ecosystem::Golang, "stdlib", "1.24", "pkg:golang/stdlib@1.24"),
        (
            Ecosystem::Nuget,
            "Newtonsoft.Json",
            "13.0.1",
            "pkg:nuget/Newtonsoft.Json@13.0.1",
        ),
        (Ecosystem::Pypi, "a?b#c&d", "1%2", "pkg:pypi/a%3Fb%23c%26d@1%252"),
    ];
    for (ecosystem, name, version, expected) in languages {
        let mut image = Image::new();
        image.languages = vec![language(ecosystem, name, version, "x")];
        let report = document(&image.view(), Format::Json);
        assert_eq!(report["languages"][0]["purl"], expected);
    }
}
