//! `patchport scan IMAGE`: what is installed, what is outdated or vulnerable, as a table or a document.

use std::ffi::OsStr;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use patchport_config::{CacheScope, Compression, Config, Selection};
use patchport_oci::Platform;
use patchport_packages::Findings;
use patchport_packages::document::{Format, Subject as About, View};
use patchport_packages::language::Package;

use super::image::{Part, Workbench};
use crate::plan::{self, Choices, Target};
use crate::scan::Subject;

/// What a person asks for.
pub struct Request {
    /// The image.
    pub image: String,
    /// The platform, when the image is an index; this machine's without.
    pub platform: Option<Platform>,
    /// The form of the answer.
    pub format: Format,
    /// Whether only packages are listed, and no scanner is asked.
    pub packages_only: bool,
    /// What makes the command fail.
    pub fail_on: Option<Selection>,
    /// Whether progress is shown: somebody looks at a terminal.
    pub progress: bool,
}

/// What there is to say.
pub struct Report {
    /// The document.
    pub text: String,
    /// Whether what `fail_on` names was found.
    pub failed: bool,
}

/// Scans an image.
///
/// # Errors
/// When the image cannot be read, or a scanner cannot tell.
pub async fn run(config: Config, path: Option<&OsStr>, request: &Request) -> anyhow::Result<Report> {
    let bench = Workbench::new(config, path).await?;
    let result = scan(&bench, request).await;
    bench.close().await;
    result
}

async fn scan(bench: &Workbench, request: &Request) -> anyhow::Result<Report> {
    let shown = Shown::new(request.progress);
    shown.say(format!("looking for {}", request.image));
    let named = bench.find(&request.image).await?;
    let own = native();
    let platform = request.platform.as_ref().or(named.manifest.is_index().then_some(&own));
    shown.say(format!("reading the layers of {}", request.image));
    let mut parts = bench.parts(&named, platform).await?;
    anyhow::ensure!(
        parts.len() <= 1,
        "{} has more than one image for {}",
        named.name,
        platform.unwrap_or(&own)
    );
    let part = parts.pop().context("the image has no manifest")?;
    let (languages, notes) = bench.languages(&named, &part).await?;
    let Some(subject) = &part.subject else {
        return without_packages(&named.name, &part, request);
    };
    let findings = if request.packages_only {
        None
    } else {
        shown.say("asking the scanners; package indexes are fetched where they are new".into());
        Some(bench.scanners.scan(subject).await?)
    };
    shown.done();
    let failed = request
        .fail_on
        .is_some_and(|selection| fails(subject, findings.as_ref(), selection));
    let text = render(
        &named.name,
        subject,
        &languages,
        findings.as_ref(),
        &notes,
        request.format,
    )?;
    Ok(Report { text, failed })
}

/// The answer for an image without a distribution.
fn without_packages(name: &str, part: &Part, request: &Request) -> anyhow::Result<Report> {
    let text = match request.format {
        Format::Table { .. } => format!(
            "{name}: no packages of a distribution are installed in {}\n",
            part.manifest.digest
        ),
        _ => anyhow::bail!("{name} has no packages of a distribution, so there is no document of it"),
    };
    Ok(Report { text, failed: false })
}

fn render(
    name: &str,
    subject: &Subject,
    languages: &[Package],
    findings: Option<&Findings>,
    notes: &[String],
    format: Format,
) -> anyhow::Result<String> {
    let created = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (digest, platform) = (subject.manifest.digest.to_string(), subject.platform.to_string());
    let view = View {
        subject: About {
            name,
            digest: &digest,
            platform: &platform,
        },
        inventory: &subject.inventory,
        languages,
        findings,
        notes,
        tool_version: env!("CARGO_PKG_VERSION"),
        created: Some(&created),
    };
    Ok(view.render(format)?)
}

/// Whether there is something of what a rule would select.
fn fails(subject: &Subject, findings: Option<&Findings>, selection: Selection) -> bool {
    let choices = Choices {
        compression: Compression::Zstd,
        cache_scope: CacheScope::Repository,
        selection,
        major_upgrades: true,
        platforms: patchport_config::Platforms::ALL,
        emulation: false,
        maintained: false,
        policy: None,
    };
    let target = Target {
        image: &subject.manifest.digest,
        platform: &subject.platform,
        name: "",
        docker: false,
    };
    // What cannot be planned is outdated all the same.
    findings.is_some_and(|findings| {
        plan::plan(&subject.inventory, findings, target, choices).map_or(true, |planned| planned.plan.is_some())
    })
}

/// The platform that programs of this machine run on.
pub fn native() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    };
    Platform::new("linux", architecture, "")
}

/// What is going on, on a terminal.
struct Shown(ProgressBar);

impl Shown {
    fn new(is_terminal: bool) -> Self {
        let bar = if is_terminal {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        if is_terminal {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self(bar)
    }

    fn say(&self, text: String) {
        self.0.set_message(text);
    }

    fn done(&self) {
        self.0.finish_and_clear();
    }
}
