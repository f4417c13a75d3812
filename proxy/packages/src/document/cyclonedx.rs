//! CycloneDX 1.6 as JSON (ECMA-424): the image, its components, and vulnerabilities when findings are there.
//! Types of our own: crate `cyclonedx-bom` writes up to 1.5 and brings fifty crates, and a small part is all we need.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::document::report::status;
use crate::document::{ByFinding, Component, Of, View, advice, advisory_url, by_advisory, purl};
use crate::findings::{Finding, Findings, Severity};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bom {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    version: u32,
    metadata: Metadata,
    components: Vec<Entry>,
    dependencies: Vec<Dependency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vulnerabilities: Option<Vec<Vulnerability>>,
}

#[derive(Serialize)]
struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    tools: Tools,
    component: Entry,
    properties: Vec<Property>,
}

#[derive(Serialize)]
struct Tools {
    components: Vec<Entry>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "bom-ref", skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    publisher: Option<String>,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
}

#[derive(Serialize)]
struct Evidence {
    occurrences: Vec<Occurrence>,
}

#[derive(Serialize)]
struct Occurrence {
    location: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    #[serde(rename = "ref")]
    reference: String,
    depends_on: Vec<String>,
}

#[derive(Serialize)]
struct Vulnerability {
    #[serde(rename = "bom-ref")]
    reference: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    ratings: Vec<Rating>,
    recommendation: String,
    affects: Vec<Affected>,
    properties: Vec<Property>,
}

#[derive(Serialize)]
struct Source {
    url: String,
}

#[derive(Serialize)]
struct Rating {
    severity: &'static str,
}

#[derive(Serialize)]
struct Affected {
    #[serde(rename = "ref")]
    reference: String,
    versions: Vec<AffectedVersion>,
}

#[derive(Serialize)]
struct AffectedVersion {
    version: String,
    status: &'static str,
}

#[derive(Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

/// The reference of the image's own component.
const IMAGE: &str = "image";

pub(super) fn document(view: &View<'_>) -> Bom {
    let components = view.components();
    let references = components.iter().map(|component| component.reference.clone());
    Bom {
        schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.6",
        version: 1,
        metadata: metadata(view),
        dependencies: vec![Dependency {
            reference: IMAGE.to_owned(),
            depends_on: references.collect(),
        }],
        vulnerabilities: view.findings.map(|findings| vulnerabilities(findings, &components)),
        components: [system(view)].into_iter().chain(components.iter().map(entry)).collect(),
    }
}

fn metadata(view: &View<'_>) -> Metadata {
    let tool = Entry {
        kind: "application",
        name: "patchport".to_owned(),
        version: view.tool_version.to_owned(),
        ..Entry::default()
    };
    let image = Entry {
        reference: Some(IMAGE.to_owned()),
        kind: "container",
        name: view.subject.name.to_owned(),
        version: view.subject.digest.to_owned(),
        purl: Some(purl::image(&view.subject)),
        ..Entry::default()
    };
    let notes = view.notes.iter().map(|note| Property {
        name: "dev.patchport:note",
        value: note.clone(),
    });
    let platform = Property {
        name: "dev.patchport:platform",
        value: view.subject.platform.to_owned(),
    };
    Metadata {
        timestamp: view.created.map(ToOwned::to_owned),
        tools: Tools { components: vec![tool] },
        component: image,
        properties: [platform].into_iter().chain(notes).collect(),
    }
}

/// The operating system itself.
fn system(view: &View<'_>) -> Entry {
    let os = &view.inventory.os;
    Entry {
        reference: Some("operating-system".to_owned()),
        kind: "operating-system",
        name: os.id.clone(),
        version: os.version_id.clone().unwrap_or_default(),
        description: os.pretty_name.clone(),
        ..Entry::default()
    }
}

fn entry(component: &Component<'_>) -> Entry {
    let (publisher, evidence) = match &component.of {
        Of::System(package) => (package.origin.clone(), None),
        Of::Language(files) => {
            let occurrences = files.iter().map(|package| Occurrence {
                location: format!("/{}", package.path),
            });
            let occurrences = occurrences.collect();
            (None, Some(Evidence { occurrences }))
        }
    };
    Entry {
        reference: Some(component.reference.clone()),
        kind: "library",
        publisher,
        name: component.name.to_owned(),
        version: component.version.to_owned(),
        description: None,
        purl: Some(component.purl.clone()),
        evidence,
    }
}

/// One for each advisory. What has none is an ordinary update.
fn vulnerabilities(findings: &Findings, components: &[Component<'_>]) -> Vec<Vulnerability> {
    let components = ByFinding::new(components);
    let vulnerabilities = by_advisory(findings).into_iter().map(|(id, findings)| {
        let severity = findings
            .iter()
            .map(|finding| finding.severity)
            .max()
            .unwrap_or_default();
        let advice: BTreeSet<String> = findings.iter().map(|finding| advice(finding)).collect();
        let statuses: BTreeSet<&str> = findings.iter().map(|finding| status(&finding.status)).collect();
        let properties = statuses.into_iter().map(|status| Property {
            name: "dev.patchport:status",
            value: status.to_owned(),
        });
        Vulnerability {
            reference: format!("vulnerability:{id}"),
            id: id.to_owned(),
            source: advisory_url(id).map(|url| Source { url }),
            ratings: vec![Rating {
                severity: word(severity),
            }],
            recommendation: advice.into_iter().collect::<Vec<_>>().join("; "),
            affects: affected(&findings, &components),
            properties: properties.collect(),
        }
    });
    vulnerabilities.collect()
}

fn affected<'a>(findings: &[&'a Finding], components: &ByFinding<'a>) -> Vec<Affected> {
    let found = findings.iter().filter_map(|finding| components.component(finding));
    let found: BTreeMap<&str, &str> = found
        .map(|component| (component.reference.as_str(), component.version))
        .collect();
    let affected = found.into_iter().map(|(reference, version)| Affected {
        reference: reference.to_owned(),
        versions: vec![AffectedVersion {
            version: version.to_owned(),
            status: "affected",
        }],
    });
    affected.collect()
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Unknown => "unknown",
        Severity::Negligible => "info",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}
