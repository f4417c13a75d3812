//! An image as files of layers, and everything that is read from them: packages, repositories, languages.

use patchport_packages::inventory::{Installed, Manager, Repositories, Source};
use patchport_packages::{Family, Inventory, OsRelease, Version, apk, apt, language, rpm};

use crate::assert_storable;
use crate::bundle::files;
use crate::documents::assert_documents;

/// An image that a bundle describes.
pub(crate) fn image(input: &[u8]) {
    let files = files(input);
    let (languages, notes) = language::read(&files);
    assert!(languages.is_sorted());
    let inventory = Inventory::read(&files);
    if let Ok(inventory) = &inventory {
        assert_storable(inventory);
        assert_documents(inventory, &languages, None, &notes);
    }
    // Also where there is nothing that would lead there.
    if let Ok(configuration) = apt::Configuration::read(&files) {
        assert_apt(&configuration);
        for source in &configuration.sources {
            let _ = apt::keys(&files, source);
        }
    }
    if let Ok(configuration) = apk::Configuration::read(&files) {
        assert_storable(&configuration);
        for repository in &configuration.repositories {
            let (_, _) = (repository.index_url("x86_64"), repository.to_string());
        }
    }
    let _ = apk::keys(&files);
    let [_, _, fedora, _] = samples();
    if let Ok(configuration) = rpm::Configuration::read(&files, &fedora.os, Some("40"), "x86_64") {
        assert_storable(&configuration);
        let _ = (configuration.held(&fedora.packages), configuration.enabled().count());
    }
}

fn assert_apt(configuration: &apt::Configuration) {
    assert_storable(configuration);
    for target in apt::targets(configuration, "amd64") {
        assert!(target.uri.ends_with('/') && target.release().ends_with('/'));
        assert!(configuration.sources.get(target.source).is_some());
        let _ = target.packages();
    }
}

/// One small image of each family.
pub(crate) fn samples() -> [Inventory; 4] {
    [
        ("debian", "12", Manager::Dpkg, Family::Deb, "amd64", "7.88.1-10"),
        ("alpine", "3.20.1", Manager::Apk, Family::Apk, "x86_64", "7.88.1-r1"),
        ("fedora", "40", Manager::Rpm, Family::Rpm, "x86_64", "7.88.1-1.fc40"),
        ("arch", "", Manager::Pacman, Family::Pacman, "x86_64", "7.88.1-1"),
    ]
    .map(|(id, release, manager, family, architecture, version)| {
        let os = format!("ID={id}\nVERSION_ID={release}\n");
        let version = Version::parse(family, version).expect("a version");
        let package = |name: &str| Installed {
            name: name.to_owned(),
            architecture: architecture.to_owned(),
            version: version.clone(),
            source: Source {
                name: "curl".to_owned(),
                version: version.clone(),
            },
            origin: None,
        };
        Inventory {
            os: OsRelease::parse(os.as_bytes()).expect("an os-release"),
            manager,
            packages: vec![package("curl"), package("libcurl4")],
            held: Vec::new(),
            repositories: Repositories::default(),
            tools: Vec::new(),
        }
    })
}
