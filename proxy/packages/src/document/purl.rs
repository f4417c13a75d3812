//! Package URLs (package-url.github.io, ECMA-427): one name of a package that other tools understand.
//! Written here, not by a library: those that there are leave characters as they are that the standard encodes.

use std::fmt::Write as _;

use crate::document::Subject;
use crate::inventory::{Installed, Manager};
use crate::language::{Ecosystem, Package};
use crate::os_release::OsRelease;
use crate::version::{Family, Version};

/// The URL of an installed package, such as `pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12&upstream=glibc`.
pub(crate) fn installed(os: &OsRelease, manager: Manager, package: &Installed) -> String {
    let mut url = named(os, manager, package);
    url.qualifier("upstream", &upstream(manager.family(), package));
    url.text
}

/// The same without what is no part of its identity: statements match by what stands in the URL, and not all tools write that.
pub(crate) fn identity(os: &OsRelease, manager: Manager, package: &Installed) -> String {
    named(os, manager, package).text
}

fn named(os: &OsRelease, manager: Manager, package: &Installed) -> Url {
    let family = manager.family();
    let kind = match family {
        Family::Deb => "deb",
        Family::Apk => "apk",
        Family::Rpm => "rpm",
        Family::Pacman => "alpm",
    };
    let version = plain(family, &package.version);
    let mut url = Url::new(kind, &os.id.to_lowercase(), &name_of(family, &package.name), version);
    url.qualifier("arch", &package.architecture);
    let distro = match &os.version_id {
        Some(version) => format!("{}-{version}", os.id),
        None => os.id.clone(),
    };
    url.qualifier("distro", &distro);
    if family == Family::Rpm && package.version.epoch() > 0 {
        url.qualifier("epoch", &package.version.epoch().to_string());
    }
    url
}

/// The URL of a language's package, such as `pkg:npm/%40babel/core@7.0.0`.
pub(crate) fn language(package: &Package) -> String {
    let name = match package.ecosystem {
        Ecosystem::Pypi => pypi_name(&package.name),
        Ecosystem::Npm => package.name.to_lowercase(),
        // The standard's lower case would make another module of it, and nobody who looks for advisories does that.
        Ecosystem::Golang | Ecosystem::Nuget => package.name.clone(),
    };
    let (namespace, name) = match package.ecosystem {
        Ecosystem::Npm | Ecosystem::Golang => name.rsplit_once('/').unwrap_or(("", &name)),
        Ecosystem::Pypi | Ecosystem::Nuget => ("", name.as_str()),
    };
    Url::new(package.ecosystem.as_str(), namespace, name, &package.version).text
}

/// The name by the rule of Python's index ("Names and normalization"): lower case, and one dash for dots, dashes and
/// underscores in a row.
fn pypi_name(name: &str) -> String {
    let lower = name.to_lowercase();
    let words = lower.split(['-', '_', '.']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// The URL of an image by its digest alone, such as `pkg:oci/debian@sha256:...`: it may be pulled by several names.
pub(crate) fn image_identity(subject: &Subject<'_>) -> String {
    let (repository, _) = subject.repository_and_tag();
    let name = repository.rsplit('/').next().unwrap_or_default().to_lowercase();
    Url::new("oci", "", &name, subject.digest).text
}

/// The URL of an image, such as `pkg:oci/debian@sha256:...?arch=amd64&repository_url=docker.io%2Flibrary%2Fdebian`.
pub(crate) fn image(subject: &Subject<'_>) -> String {
    let (repository, tag) = subject.repository_and_tag();
    let name = repository.rsplit('/').next().unwrap_or_default().to_lowercase();
    let mut url = Url::new("oci", "", &name, subject.digest);
    let mut parts = subject.platform.split('/').skip(1);
    url.qualifier("arch", parts.next().unwrap_or_default());
    if repository.contains('/') {
        url.qualifier("repository_url", repository);
    }
    url.qualifier("tag", tag.unwrap_or_default());
    url.text
}

/// rpm's epoch is a qualifier, the others' is part of the version.
fn plain(family: Family, version: &Version) -> &str {
    let text = version.as_str();
    match text.split_once(':') {
        Some((_, rest)) if family == Family::Rpm => rest,
        _ => text,
    }
}

/// Names of deb, apk and alpm are lower case.
fn name_of(family: Family, name: &str) -> String {
    match family {
        Family::Rpm => name.to_owned(),
        Family::Deb | Family::Apk | Family::Pacman => name.to_lowercase(),
    }
}

/// The source package where it is another, in the words of the tools that look for it: its name, with the version where that
/// is another, too; of rpm the name of the source's file.
fn upstream(family: Family, package: &Installed) -> String {
    let source = &package.source;
    let same_version = source.version.as_str() == package.version.as_str();
    match (source.name == package.name, same_version) {
        (true, true) => String::new(),
        _ if family == Family::Rpm => format!("{}-{}.src.rpm", source.name, plain(family, &source.version)),
        (_, true) => source.name.clone(),
        (_, false) => format!("{}@{}", source.name, source.version),
    }
}

/// A URL that is being written. Qualifiers come in the order of their names.
struct Url {
    text: String,
    separator: char,
}

impl Url {
    fn new(kind: &str, namespace: &str, name: &str, version: &str) -> Self {
        let mut text = format!("pkg:{kind}");
        for segment in namespace.split('/').filter(|segment| !segment.is_empty()) {
            text.push('/');
            encode(&mut text, segment, "");
        }
        text.push('/');
        encode(&mut text, name, "");
        if !version.is_empty() {
            text.push('@');
            encode(&mut text, version, "");
        }
        Self { text, separator: '?' }
    }

    fn qualifier(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        self.text.push(self.separator);
        self.text.push_str(key);
        self.text.push('=');
        encode(&mut self.text, value, "");
        self.separator = '&';
    }
}

/// A text as part of a URL; what is `plain` here is not encoded.
pub(crate) fn encoded(part: &str, plain: &str) -> String {
    let mut text = String::new();
    encode(&mut text, part, plain);
    text
}

/// Everything is encoded but letters, digits, `.-_~:` and what else is `plain` here.
fn encode(text: &mut String, part: &str, plain: &str) {
    for byte in part.bytes() {
        let char = char::from(byte);
        if char.is_ascii_alphanumeric() || ".-_~:".contains(char) || plain.contains(char) {
            text.push(char);
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
}
