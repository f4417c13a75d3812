//! OpenVEX 0.2: which advisories a patch fixes, and which it does not and why.
//!
//! `fixed` is said only for what the result's package database shows; a statement is about one advisory.

use std::collections::{BTreeMap, BTreeSet};

use patchport_oci::Digest;
use patchport_packages::document::{advisory_url, image_url, package_url};
use patchport_packages::findings::{Finding, Kind, Status};
use patchport_packages::inventory::Installed;
use patchport_packages::{Findings, Inventory, Version};
use serde_json::{Value, json};

use crate::plan::LeftOut;

/// The type of a statement with such a document in it, and the document's own context.
pub const TYPE: &str = "https://openvex.dev/ns/v0.2.0";

/// What a document is about.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// The image's name, such as `docker.io/library/debian`.
    pub name: &'a str,
    /// The digest of the result's manifest: `sha256:` and 64 digits.
    pub digest: &'a str,
    /// The packages before.
    pub before: &'a Inventory,
    /// The packages of the result, as its package database has them.
    pub after: &'a Inventory,
    /// What was found before.
    pub findings: &'a Findings,
    /// What of that was left as it is, and why.
    pub left_out: &'a [LeftOut],
    /// When the result was made (RFC 3339).
    pub created: &'a str,
}

/// What is said of an advisory in some packages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Fixed,
    UnderInvestigation,
    Affected,
}

/// The packages of one statement, and what there is to say about each.
#[derive(Default)]
struct Claim {
    packages: BTreeSet<String>,
    texts: BTreeSet<String>,
}

/// The document; nothing when no advisory is known, for a document without statements is none.
pub fn openvex(product: &Product<'_>) -> Option<Value> {
    let mut statements = Vec::new();
    for (advisory, found) in by_advisory(product.findings) {
        let mut claims: BTreeMap<Said, Claim> = BTreeMap::new();
        for ((name, architecture), found) in found {
            let Some((said, text, packages)) = judge(product, name, architecture, &found) else {
                continue;
            };
            let claim = claims.entry(said).or_default();
            claim
                .packages
                .extend(packages.into_iter().map(|package| package_url(product.after, package)));
            claim.texts.insert(text);
        }
        statements.extend(
            claims
                .into_iter()
                .map(|(said, claim)| statement(product, advisory, said, claim)),
        );
    }
    if statements.is_empty() {
        return None;
    }
    let mut document = json!({
        "@context": TYPE,
        "@id": "",
        "author": "Patchport",
        "timestamp": product.created,
        "version": 1,
        "tooling": concat!("patchport ", env!("CARGO_PKG_VERSION")),
        "statements": statements,
    });
    let id = Digest::of(document.to_string().as_bytes());
    document["@id"] = format!("https://patchport.dev/vex/{}", id.hex()).into();
    Some(document)
}

type ByPackage<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a Finding>>;

/// The findings by advisory, then by package. What is no matter of security is none of a vulnerability.
fn by_advisory(findings: &Findings) -> BTreeMap<&str, ByPackage<'_>> {
    let mut advisories: BTreeMap<&str, ByPackage<'_>> = BTreeMap::new();
    for finding in findings
        .findings
        .iter()
        .filter(|finding| finding.kind != Kind::Ordinary)
    {
        for advisory in &finding.advisories {
            let packages = advisories.entry(advisory).or_default();
            let key = (finding.package.as_str(), finding.architecture.as_str());
            packages.entry(key).or_default().push(finding);
        }
    }
    advisories
}

/// What is to be said of one advisory in one package; nothing when the package is not in the result.
fn judge<'a>(
    product: &Product<'a>,
    name: &str,
    architecture: &str,
    found: &[&Finding],
) -> Option<(Said, String, Vec<&'a Installed>)> {
    let installed = |inventory: &'a Inventory| -> Vec<&'a Installed> {
        let same = |package: &&Installed| package.name == name && package.architecture == architecture;
        inventory.packages.iter().filter(same).collect()
    };
    let (before, after) = (installed(product.before), installed(product.after));
    let now = after.first()?;
    let needed: Option<&Version> = found.iter().filter_map(|finding| finding.fixed.as_ref()).max();
    let left = product
        .left_out
        .iter()
        .find(|left| left.name == name && left.architecture == architecture);
    let changed = versions(&before) != versions(&after);
    let (said, text) = match needed {
        Some(needed) if after.iter().all(|package| package.version >= *needed) => {
            (Said::Fixed, format!("{name} {} has the fix of {needed}", now.version))
        }
        // A fix is there, in nobody knows which version, and the package is another now.
        None if changed && found.iter().any(|finding| finding.status == Status::Fixable) => {
            let text = format!(
                "{name} is {} now; that this version has the fix is not known",
                now.version
            );
            (Said::UnderInvestigation, text)
        }
        _ => (Said::Affected, advice(now, needed, found, left)),
    };
    Some((said, text, after))
}

fn versions<'a>(packages: &[&'a Installed]) -> Vec<&'a str> {
    packages.iter().map(|package| package.version.as_str()).collect()
}

/// What to do about a package that is not fixed, and why it was not done.
fn advice(now: &Installed, needed: Option<&Version>, found: &[&Finding], left: Option<&LeftOut>) -> String {
    let Installed { name, version, .. } = now;
    let action = match needed {
        Some(needed) => format!("upgrade {name} from {version} to {needed} or later"),
        None if found.iter().any(|finding| finding.status == Status::EndOfLife) => {
            format!("move to a release that is maintained: {name} {version} gets no fix")
        }
        None if found.iter().any(|finding| finding.status == Status::Fixable) => {
            format!("upgrade {name} from {version}")
        }
        None => format!("there is no fix for {name} {version} yet"),
    };
    match left {
        Some(left) => format!("{action} (left as it is: {})", left.reason),
        None => action,
    }
}

fn statement(product: &Product<'_>, advisory: &str, said: Said, claim: Claim) -> Value {
    let image = image_url(product.name, product.digest);
    let mut vulnerability = json!({ "name": advisory });
    if let Some(url) = advisory_url(advisory) {
        vulnerability["@id"] = url.into();
    }
    let packages = claim.packages.into_iter().map(|package| json!({ "@id": package }));
    let text = claim.texts.into_iter().collect::<Vec<_>>().join("; ");
    let mut statement = json!({
        "vulnerability": vulnerability,
        "products": [{
            "@id": image,
            "identifiers": { "purl": image },
            "hashes": { "sha-256": product.digest.trim_start_matches("sha256:") },
            "subcomponents": packages.collect::<Vec<_>>(),
        }],
    });
    let (status, member) = match said {
        Said::Fixed => ("fixed", "status_notes"),
        Said::UnderInvestigation => ("under_investigation", "status_notes"),
        Said::Affected => ("affected", "action_statement"),
    };
    statement["status"] = status.into();
    statement[member] = text.into();
    statement
}
