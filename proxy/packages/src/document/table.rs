//! A table for a terminal: what was found about each package and a line that sums it up; or, when nobody has looked, the packages.
//! Nothing in it can steer a terminal: control characters are replaced.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};

use crate::document::View;
use crate::document::report::status;
use crate::findings::{Finding, Findings, Severity, Status};

/// A narrower terminal is taken for one of so many columns.
const NARROWEST: u16 = 40;

/// Columns beyond any terminal's.
const WIDEST: u16 = 500;

pub(super) fn render(view: &View<'_>, width: u16) -> String {
    let width = width.clamp(NARROWEST, WIDEST);
    let subject = &view.subject;
    let os = &view.inventory.os;
    let system = os.pretty_name.as_deref().unwrap_or(&os.id);
    let mut text = clean(&format!("{} ({})\n", subject.name, subject.platform));
    text.push_str(&clean(&format!("{}, {system}\n\n", subject.digest)));
    match view.findings {
        Some(findings) => {
            if !findings.findings.is_empty() {
                text.push_str(&found(findings, width));
                text.push_str("\n\n");
            }
            let _ = writeln!(text, "{}", sum(findings));
        }
        None => {
            text.push_str(&installed(view, width));
            let (system, languages) = (view.inventory.packages.len(), view.languages().len());
            let _ = writeln!(
                text,
                "\n\n{}, {languages} of programming languages",
                count(system, "package")
            );
        }
    }
    let said = view.findings.iter().flat_map(|found| &found.notes);
    for note in view.notes.iter().chain(said) {
        let _ = writeln!(text, "note: {}", clean(note).replace('\n', " "));
    }
    text
}

fn found(findings: &Findings, width: u16) -> String {
    let mut table = table(
        width,
        &["PACKAGE", "INSTALLED", "FIXED", "STATUS", "SEVERITY", "ADVISORIES"],
    );
    for finding in &findings.findings {
        let fixed = finding.fixed.as_ref().map(ToString::to_string);
        table.add_row([
            clean(&finding.package),
            clean(finding.installed.as_str()),
            clean(&fixed.unwrap_or_default()),
            clean(&said(&finding.status)),
            word(finding.severity).to_owned(),
            clean(&finding.advisories.join(" ")),
        ]);
    }
    table.trim_fmt()
}

fn installed(view: &View<'_>, width: u16) -> String {
    let mut table = table(width, &["PACKAGE", "INSTALLED", "KIND"]);
    let system = view.installed().into_iter().map(|package| {
        let kind = format!("{} {}", package.version.family().as_str(), package.architecture);
        [clean(&package.name), clean(package.version.as_str()), clean(&kind)]
    });
    let languages = view.languages().into_keys();
    let languages = languages.map(|(ecosystem, name, version)| [clean(name), clean(version), ecosystem.to_owned()]);
    table.add_rows(system.chain(languages));
    table.trim_fmt()
}

fn table(width: u16, header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width);
    table.set_header(header.iter().copied());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// How many packages can be fixed, and how many findings there are of each severity.
fn sum(findings: &Findings) -> String {
    if findings.findings.is_empty() {
        return "nothing was found".to_owned();
    }
    let packages = |of: &dyn Fn(&Finding) -> bool| {
        let packages = findings.by_package();
        packages
            .values()
            .filter(|found| found.iter().any(|finding| of(finding)))
            .count()
    };
    let all = packages(&|_| true);
    let fixable = packages(&|finding| finding.status == Status::Fixable);
    let by_severity = SEVERITIES.iter().filter_map(|severity| {
        let found = findings.findings.iter().filter(|finding| finding.severity == *severity);
        let count = found.count();
        (count > 0).then(|| format!("{count} {}", word(*severity)))
    });
    let by_severity: Vec<String> = by_severity.collect();
    let all = count(all, "package");
    format!(
        "{all} with findings, {fixable} can be fixed; {}",
        by_severity.join(", ")
    )
}

/// The worst first.
const SEVERITIES: [Severity; 6] = [
    Severity::Critical,
    Severity::High,
    Severity::Medium,
    Severity::Low,
    Severity::Negligible,
    Severity::Unknown,
];

fn said(of: &Status) -> String {
    match of {
        Status::KeptBack(reason) => format!("{}: {reason}", status(of)),
        Status::Fixable | Status::NoFix | Status::EndOfLife => status(of).to_owned(),
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Unknown => "unknown",
        Severity::Negligible => "negligible",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Text without control characters but line feeds, and without those that turn the direction of writing.
fn clean(text: &str) -> String {
    let steers = |char: char| {
        char != '\n' && char.is_control()
            || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|char| {
            if steers(char) {
                char::REPLACEMENT_CHARACTER
            } else {
                char
            }
        })
        .collect()
}
