//! `patchport explain IMAGE`: which rule decides, what was found, what is planned, what would be served and why.

use std::ffi::OsStr;
use std::fmt::Write as _;

use patchport_config::{Action, Config, Emulation, EndOfLife, Terms};
use patchport_oci::{Digest, media_type};
use patchport_packages::Findings;

use super::image::{Named, Part, Workbench};
use crate::patch::builds::{Builds, Head};
use crate::plan::{self, Choices, Planned, Target};
use crate::policy::{Decision, Policy};
use crate::respond::chain;

/// How much of a build's log is shown.
const SHOWN_LINES: usize = 20;

/// Explains what a pull of an image would come to.
///
/// # Errors
/// When the image cannot be read.
pub async fn run(config: Config, path: Option<&OsStr>, image: &str) -> anyhow::Result<String> {
    let (policy, settings) = (Policy::new(config.rules.clone()), config.patch.clone());
    let rules = config.rules.clone();
    let builds = Builds::new(config.store.dir.join("builds"));
    let bench = Workbench::new(config, path).await?;
    let mut text = String::new();
    let result = async {
        let named = bench.find(image).await?;
        let _ = writeln!(text, "image      {} {}", named.name, named.manifest.digest);
        let Some(tag) = &named.tag else {
            text.push_str(
                "rule       none: what is named by its digest, or is no tag of a registry, is served as it is\n",
            );
            return Ok(());
        };
        let decision = policy.decide(&named.place, tag);
        let rule = rules
            .iter()
            .find(|rule| rule.matches(&named.place.to_string(), tag.as_str()));
        let name = rule.map_or("none", |rule| &rule.name);
        let _ = writeln!(
            text,
            "rule       {name}: {}",
            rule.map_or_else(String::new, |rule| describe(rule.action))
        );
        match decision {
            Decision::Deny(denial) => {
                let _ = writeln!(text, "served     nothing: {denial}");
            }
            Decision::Pass => text.push_str("served     the original\n"),
            Decision::Patch(terms) => {
                for part in bench.parts(&named, None).await? {
                    let choices = Choices::new(&terms, &settings);
                    let platform = part
                        .platform
                        .as_ref()
                        .or(part.subject.as_ref().map(|subject| &subject.platform));
                    let _ = writeln!(
                        text,
                        "\nplatform   {} {}",
                        platform.map_or_else(|| "unknown".into(), ToString::to_string),
                        part.manifest.digest
                    );
                    if platform.is_some_and(|platform| !choices.select(platform)) {
                        text.push_str("served     the original: the rule's platforms leave it out\n");
                        continue;
                    }
                    explain_part(&bench, &named, &part, terms, choices, &mut text).await;
                    say_build(&builds, &part.manifest.digest, &mut text);
                }
            }
        }
        anyhow::Ok(())
    }
    .await;
    bench.close().await;
    result.map(|()| text)
}

fn describe(action: Action) -> String {
    match action {
        Action::Pass => "pass".into(),
        Action::Deny => "deny".into(),
        Action::Patch(terms) => format!(
            "patch {}, wait {:?}, on_timeout {}, on_failure {}{}{}{}{}",
            terms.patch,
            terms.wait,
            terms.on_timeout,
            terms.on_failure,
            if terms.major_upgrades {
                ", major upgrades allowed"
            } else {
                ""
            },
            if terms.emulation == Emulation::Allow {
                ", emulators allowed"
            } else {
                ""
            },
            if terms.end_of_life == EndOfLife::Fail {
                ", only what is maintained"
            } else {
                ""
            },
            if terms.platforms.is_all() {
                String::new()
            } else {
                format!(", only {}", terms.platforms)
            }
        ),
    }
}

async fn explain_part(
    bench: &Workbench,
    named: &Named,
    part: &Part,
    terms: Terms,
    choices: Choices,
    text: &mut String,
) {
    let Some(subject) = &part.subject else {
        text.push_str("packages   none of a distribution\nserved     the original\n");
        return;
    };
    let inventory = &subject.inventory;
    let os = inventory.os.pretty_name.as_deref().unwrap_or(&inventory.os.id);
    let _ = writeln!(text, "packages   {} of {os}", inventory.packages.len());
    let findings = match bench.scanners.scan(subject).await {
        Ok(findings) => findings,
        Err(error) => {
            let _ = writeln!(
                text,
                "findings   unknown: {}\nserved     on_failure: {}",
                chain(&error),
                terms.on_failure
            );
            return;
        }
    };
    let name = named.place.to_string();
    let target = Target {
        image: &subject.manifest.digest,
        platform: &subject.platform,
        name: &name,
        docker: part.manifest.media_type == media_type::DOCKER_MANIFEST,
    };
    say_findings(&findings, text);
    match plan::plan(inventory, &findings, target, choices) {
        Ok(planned) => say_plan(&planned, text),
        Err(error) => {
            let _ = writeln!(
                text,
                "plan       none: {error}\nserved     on_failure: {}",
                terms.on_failure
            );
        }
    }
}

/// What became of the last build of an image, when it failed: the end of its log, and where all of it is.
fn say_build(builds: &Builds, image: &Digest, text: &mut String) {
    let Some(Head {
        plan, started, result, ..
    }) = builds.of_image(image).filter(Head::failed)
    else {
        return;
    };
    let _ = writeln!(text, "last build {started} {result}");
    let _ = writeln!(text, "build log  {}", builds.path(&plan).display());
    let log = builds.read(&plan).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
        let _ = writeln!(text, "           {line}");
    }
}

fn say_findings(findings: &Findings, text: &mut String) {
    let _ = writeln!(text, "findings   {}", findings.findings.len());
    for note in &findings.notes {
        let _ = writeln!(text, "           {note}");
    }
}

fn say_plan(planned: &Planned, text: &mut String) {
    let upgrades = planned.plan.as_ref().map_or(&[][..], |plan| &plan.upgrades);
    let _ = writeln!(text, "plan       {} upgrades", upgrades.len());
    for upgrade in upgrades {
        let _ = writeln!(text, "           {} {} -> {}", upgrade.name, upgrade.from, upgrade.to);
    }
    for left in &planned.left_out {
        let _ = writeln!(text, "left out   {} {}: {}", left.name, left.installed, left.reason);
    }
    match &planned.plan {
        Some(plan) => {
            let _ = writeln!(text, "served     the patched image of plan {}", &plan.key()[..16]);
        }
        None => text.push_str("served     the original: nothing to patch\n"),
    }
}
