//! SPDX 2.3 as JSON (spdx.github.io/spdx-spec/v2.3): the image and the packages that it contains.
//! Types of our own: crate `spdx-rs` has not been released since 2023, and a small part is all we need.

use serde::Serialize;

use crate::document::{Component, Of, Unique, View, purl};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: String,
    document_namespace: String,
    creation_info: Creation,
    packages: Vec<Package>,
    relationships: Vec<Relationship>,
}

#[derive(Serialize)]
struct Creation {
    created: String,
    creators: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    #[serde(rename = "SPDXID")]
    id: String,
    name: String,
    version_info: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<String>,
    download_location: &'static str,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_info: Option<String>,
    license_concluded: &'static str,
    license_declared: &'static str,
    copyright_text: &'static str,
    external_refs: Vec<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_package_purpose: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    relationship_type: &'static str,
    related_spdx_element: String,
}

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";
const NO_ASSERTION: &str = "NOASSERTION";

/// A document must say when it was made; one that was made at no known time says this.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

pub(super) fn document(view: &View<'_>) -> Document {
    let mut ids = Unique::default();
    let packages: Vec<Package> = view
        .components()
        .iter()
        .map(|component| package(component, &mut ids))
        .collect();
    let contained = packages.iter().map(|package| Relationship {
        spdx_element_id: IMAGE.to_owned(),
        relationship_type: "CONTAINS",
        related_spdx_element: package.id.clone(),
    });
    let described = Relationship {
        spdx_element_id: DOCUMENT.to_owned(),
        relationship_type: "DESCRIBES",
        related_spdx_element: IMAGE.to_owned(),
    };
    Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: DOCUMENT,
        name: view.subject.name.to_owned(),
        document_namespace: namespace(view),
        creation_info: Creation {
            created: view.created.unwrap_or(NO_TIME).to_owned(),
            creators: vec![format!("Tool: patchport-{}", view.tool_version)],
        },
        relationships: [described].into_iter().chain(contained).collect(),
        packages: [image(view)].into_iter().chain(packages).collect(),
    }
}

/// A URI that no other document has: another image, tool or time is another document.
fn namespace(view: &View<'_>) -> String {
    let word = |text: &str| identifier(text);
    let made = word(view.created.unwrap_or("undated"));
    let (hex, version) = (word(view.subject.hex()), word(view.tool_version));
    format!("https://patchport.dev/spdx/{hex}/{version}/{made}")
}

fn image(view: &View<'_>) -> Package {
    let hex = view.subject.hex();
    let is_sha256 = view.subject.digest.starts_with("sha256:") && hex.len() == 64;
    let checksum = is_sha256.then(|| Checksum {
        algorithm: "SHA256",
        checksum_value: hex.to_owned(),
    });
    Package {
        id: IMAGE.to_owned(),
        version_info: view.subject.digest.to_owned(),
        checksums: checksum.into_iter().collect(),
        source_info: Some(format!("an image for {}", view.subject.platform)),
        primary_package_purpose: Some("CONTAINER"),
        ..named(view.subject.name, purl::image(&view.subject))
    }
}

fn package(component: &Component<'_>, ids: &mut Unique) -> Package {
    let (kind, supplier, found) = match &component.of {
        Of::System(package) => (package.version.family().as_str(), package.origin.as_deref(), None),
        Of::Language(files) => {
            let kind = files.first().map_or("package", |package| package.ecosystem.as_str());
            let paths: Vec<&str> = files.iter().map(|package| package.path.as_str()).collect();
            (kind, None, Some(format!("found in /{}", paths.join(", /"))))
        }
    };
    let id = format!("SPDXRef-{kind}-{}-{}", component.name, component.version);
    Package {
        id: ids.name(identifier(&id)),
        version_info: component.version.to_owned(),
        supplier: supplier.map(|supplier| format!("Organization: {supplier}")),
        source_info: found,
        ..named(component.name, component.purl.clone())
    }
}

fn named(name: &str, purl: String) -> Package {
    Package {
        id: String::new(),
        name: name.to_owned(),
        version_info: String::new(),
        supplier: None,
        download_location: NO_ASSERTION,
        files_analyzed: false,
        checksums: Vec::new(),
        source_info: None,
        license_concluded: NO_ASSERTION,
        license_declared: NO_ASSERTION,
        copyright_text: NO_ASSERTION,
        external_refs: vec![Reference {
            reference_category: "PACKAGE-MANAGER",
            reference_type: "purl",
            reference_locator: purl,
        }],
        primary_package_purpose: None,
    }
}

/// Letters, digits, dots and dashes are what an identifier may have.
fn identifier(text: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-');
    text.chars().map(|char| if plain(char) { char } else { '-' }).collect()
}
