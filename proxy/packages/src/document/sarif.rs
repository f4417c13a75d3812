//! SARIF 2.1.0 (OASIS): a rule for each advisory, a result for each package that it is about.
//! Types of our own: what crate `serde-sarif` has is all of SARIF, made from its schema, and we need six objects of it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::document::{View, advice, advisory_url, purl};
use crate::findings::{Finding, Kind, Severity};

#[derive(Serialize)]
pub(super) struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: Vec<Run>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    results: Vec<Found>,
    column_kind: &'static str,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
struct Driver {
    name: &'static str,
    version: String,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: String,
    short_description: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    help_uri: Option<String>,
    default_configuration: Configuration,
    properties: RuleProperties,
}

#[derive(Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Serialize)]
struct RuleProperties {
    tags: Vec<&'static str>,
    /// What code-scanning services order by.
    #[serde(rename = "security-severity", skip_serializing_if = "Option::is_none")]
    severity: Option<&'static str>,
}

#[derive(Serialize)]
struct Text {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    rule_id: String,
    rule_index: usize,
    level: &'static str,
    message: Text,
    locations: Vec<Location>,
    partial_fingerprints: Fingerprint,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: Physical,
    logical_locations: Vec<Logical>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Physical {
    artifact_location: Artifact,
    region: Region,
}

#[derive(Serialize)]
struct Artifact {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Logical {
    name: String,
    fully_qualified_name: String,
    kind: &'static str,
}

#[derive(Serialize)]
struct Fingerprint {
    #[serde(rename = "package/v1")]
    package: String,
}

/// The rule for what no advisory is about: a newer version is there.
const OUTDATED: &str = "outdated-package";

pub(super) fn document(view: &View<'_>) -> Log {
    let findings = view.findings.map(|found| found.findings.as_slice()).unwrap_or_default();
    let mut by_rule: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        for advisory in &finding.advisories {
            by_rule.entry(advisory).or_default().push(finding);
        }
        if finding.advisories.is_empty() {
            by_rule.entry(OUTDATED).or_default().push(finding);
        }
    }
    let rules = by_rule.iter().map(|(id, findings)| rule(id, findings)).collect();
    let results = by_rule
        .iter()
        .enumerate()
        .flat_map(|(index, (id, findings))| findings.iter().map(move |finding| result(view, (index, id), finding)));
    Log {
        schema: "https://json.schemastore.org/sarif-2.1.0.json",
        version: "2.1.0",
        runs: vec![Run {
            results: results.collect(),
            tool: Tool {
                driver: Driver {
                    name: "patchport",
                    version: view.tool_version.to_owned(),
                    rules,
                },
            },
            column_kind: "utf16CodeUnits",
        }],
    }
}

fn rule(id: &str, findings: &[&Finding]) -> Rule {
    let worst = findings.iter().max_by_key(|finding| (finding.severity, finding.kind));
    let (severity, kind) = worst.map_or_else(Default::default, |finding| (finding.severity, finding.kind));
    let mut names: Vec<&str> = findings.iter().map(|finding| finding.package.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let text = match id {
        OUTDATED => "A newer version of an installed package is there".to_owned(),
        _ => format!("{id} in {}", some(&names)),
    };
    let is_security = kind == Kind::Security;
    Rule {
        id: id.to_owned(),
        short_description: Text { text },
        help_uri: advisory_url(id),
        default_configuration: Configuration {
            level: level(severity, kind),
        },
        properties: RuleProperties {
            tags: if is_security {
                vec!["security", "vulnerability"]
            } else {
                Vec::new()
            },
            severity: score(severity).filter(|_| is_security),
        },
    }
}

/// The first few of many names.
fn some(names: &[&str]) -> String {
    const MOST: usize = 5;
    match names.get(..MOST) {
        Some(first) if names.len() > MOST => format!("{} and {} more", first.join(", "), names.len() - MOST),
        _ => names.join(", "),
    }
}

fn result(view: &View<'_>, (index, id): (usize, &str), finding: &Finding) -> Found {
    let package = format!("{}:{}", finding.package, finding.architecture);
    let image = view.subject.repository_and_tag().0;
    Found {
        rule_id: id.to_owned(),
        rule_index: index,
        level: level(finding.severity, finding.kind),
        message: Text { text: advice(finding) },
        locations: vec![Location {
            physical_location: Physical {
                artifact_location: Artifact {
                    uri: purl::encoded(image, "/"),
                },
                region: Region { start_line: 1 },
            },
            logical_locations: vec![Logical {
                name: finding.package.clone(),
                fully_qualified_name: format!("{}@{}::{package}", view.subject.name, view.subject.digest),
                kind: "package",
            }],
        }],
        partial_fingerprints: Fingerprint {
            package: format!("{id}:{image}:{package}"),
        },
    }
}

fn level(severity: Severity, kind: Kind) -> &'static str {
    match (severity, kind) {
        (Severity::Critical | Severity::High, _) => "error",
        (Severity::Medium, _) | (Severity::Unknown, Kind::Security) => "warning",
        (Severity::Low | Severity::Negligible | Severity::Unknown, _) => "note",
    }
}

/// A number in the middle of what CVSS calls by that word.
fn score(severity: Severity) -> Option<&'static str> {
    match severity {
        Severity::Unknown => None,
        Severity::Negligible => Some("0.0"),
        Severity::Low => Some("2.0"),
        Severity::Medium => Some("5.5"),
        Severity::High => Some("8.0"),
        Severity::Critical => Some("9.5"),
    }
}
