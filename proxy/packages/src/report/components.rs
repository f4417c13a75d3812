//! An inventory as a list of components, for a scanner to look at in place of an image.
//! With it a scanner needs neither layers nor a registry: what was read once from an image is enough, for every release of
//! the scanner's data, in a tenth of a second.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use crate::inventory::{Installed, Inventory};
use crate::version::{Family, Version};

/// A CycloneDX 1.5 document of an inventory, for `trivy sbom`. It has Trivy's own properties, for source packages, and
/// Trivy's words for distributions. Its report names no image: parse it with [`Required::Distribution`].
///
/// [`Required::Distribution`]: super::Required::Distribution
#[must_use]
pub fn components(inventory: &Inventory) -> Vec<u8> {
    let os = family(&inventory.os.id);
    let release = inventory.os.version_id.as_deref().unwrap_or_default();
    let mut list = vec![json!({"bom-ref": "os", "type": "operating-system", "name": os, "version": release})];
    let mut all = Vec::new();
    for package in &inventory.packages {
        let purl = purl(package, os, release);
        list.push(json!({
            "bom-ref": purl,
            "type": "library",
            "name": package.name,
            "version": package.version.as_str(),
            "purl": purl,
            "properties": properties(package, os),
        }));
        all.push(purl);
    }
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"bom-ref": "image", "type": "container", "name": "image"}},
        "components": list,
        "dependencies": [{"ref": "image", "dependsOn": ["os"]}, {"ref": "os", "dependsOn": all}],
    });
    document.to_string().into_bytes()
}

/// Trivy's word for a distribution, by `os-release`'s `ID`.
fn family(id: &str) -> &str {
    match id {
        "almalinux" => "alma",
        "amzn" => "amazon",
        "mariner" => "cbl-mariner",
        "ol" => "oracle",
        "rhel" => "redhat",
        "sl-micro" => "slem",
        other => other,
    }
}

/// The package's URL; the epoch is a qualifier in it, not a part of the version.
fn purl(package: &Installed, os: &str, release: &str) -> String {
    let version = &package.version;
    let kind = match version.family() {
        Family::Deb => "deb",
        Family::Apk => "apk",
        Family::Rpm => "rpm",
        Family::Pacman => "alpm",
    };
    let mut url = format!(
        "pkg:{kind}/{os}/{}@{}",
        escaped(&package.name),
        escaped(without_epoch(version))
    );
    // Writing to a string cannot fail.
    let _ = write!(
        url,
        "?arch={}&distro={}",
        escaped(&package.architecture),
        escaped(&format!("{os}-{release}"))
    );
    if version.epoch() > 0 {
        let _ = write!(url, "&epoch={}", version.epoch());
    }
    url
}

fn without_epoch(version: &Version) -> &str {
    let text = version.as_str();
    match version.family() {
        Family::Apk => text,
        Family::Deb | Family::Rpm | Family::Pacman => text.split_once(':').map_or(text, |(_, rest)| rest),
    }
}

#[derive(Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

/// What Trivy wants to know of the source package, since advisories are about that one.
fn properties(package: &Installed, os: &str) -> Vec<Property> {
    let source = &package.source;
    // Alpine's versions are one text for Trivy.
    let (version, release) = match source.version.family() {
        Family::Apk => (source.version.as_str(), None),
        Family::Deb | Family::Rpm | Family::Pacman => (source.version.upstream(), source.version.release()),
    };
    let epoch = source.version.epoch();
    let values = [
        ("aquasecurity:trivy:PkgType", Some(os.to_owned())),
        ("aquasecurity:trivy:SrcName", Some(source.name.clone())),
        ("aquasecurity:trivy:SrcVersion", Some(version.to_owned())),
        ("aquasecurity:trivy:SrcRelease", release.map(str::to_owned)),
        ("aquasecurity:trivy:SrcEpoch", (epoch > 0).then(|| epoch.to_string())),
    ];
    let known = values.into_iter();
    known
        .filter_map(|(name, value)| Some(Property { name, value: value? }))
        .collect()
}

/// A text with all but the URL's unreserved characters escaped.
fn escaped(text: &str) -> String {
    let mut url = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}
