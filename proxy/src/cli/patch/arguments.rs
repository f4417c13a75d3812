//! The arguments of `patchport patch`. Those that Copacetic's command has, too, are called as they are there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::Args;
use patchport_config::{Config, Scanner, Selection};
use patchport_oci::Platform;

use super::bulk;
use super::destination::{FORMS, Output, Target};
use super::engine::Loader;
use super::progress::Mode;

/// Stands below the help.
pub const AFTER: &str = "\
Without --push, --output and --dry-run, the patched image is loaded into Docker, or else into Podman.

Exit codes: 0 when the image was patched, and when there was nothing to patch; 64 for arguments and configuration that cannot
be used; 130 when it was interrupted; 1 for everything else.

Credentials for registries are those of `docker login` and `podman login`, credential helpers included. The configuration's
tables [[upstream]], [[repository]], [buildkit], [scan] and [patch] apply, its rules do not.

Examples:
  patchport patch --dry-run debian:bookworm
  patchport patch debian:bookworm --output oci:out:bookworm-patched
  patchport patch registry.example/app:1 --push --report trivy.json
  patchport patch --config bulk.yaml --push
";

/// What a person asks for.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// The image: a reference, or where it is.
    #[arg(
        help = "A reference, the folder of an OCI layout (oci:FOLDER[:NAME]), or a tar of images (oci-archive:FILE[:NAME], docker-archive:FILE). An image that no registry has is taken from Docker or Podman",
        value_name = "IMAGE",
        conflicts_with = "named"
    )]
    pub image: Option<String>,
    /// The same, as Copacetic's command has it
    #[arg(long = "image", short = 'i', value_name = "IMAGE")]
    pub named: Option<String>,
    /// Patchport's configuration, or a bulk file of Copacetic (PatchConfig) with the images to patch; may be given twice, for both
    #[arg(long, short, value_name = "FILE", action = clap::ArgAction::Append)]
    pub config: Vec<PathBuf>,

    /// Patch what this report of Trivy or Grype finds, or one in Copacetic's own formats; of a folder, the report that is
    /// about the image. A report about another image is refused
    #[arg(long, short, value_name = "FILE|FOLDER", help_heading = "What is patched")]
    pub report: Option<PathBuf>,
    /// Who tells what is outdated: updates, trivy, grype or osv, several with commas; the configuration's without. With --report,
    /// trivy, grype and native say who wrote it, which is found out anyway, and updates or osv are asked besides
    #[arg(
        long,
        short,
        value_name = "SCANNER",
        value_delimiter = ',',
        help_heading = "What is patched"
    )]
    pub scanner: Vec<String>,
    /// Which packages are upgraded: outdated, security, or fixable:SEVERITY
    #[arg(
        long,
        value_name = "SELECTION",
        default_value = "outdated",
        help_heading = "What is patched"
    )]
    pub patch: Selection,
    /// Let upgrades go to another major version or origin
    #[arg(long, help_heading = "What is patched")]
    pub major_upgrades: bool,
    /// The platforms that are patched, such as linux/arm64, several with commas; all that the builder runs without. Others stay
    /// as they are
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',', value_parser = platform, help_heading = "What is patched")]
    pub platform: Vec<Platform>,
    /// Go on when a platform, or an image of a bulk file, cannot be patched: it stays as it is
    #[arg(long, help_heading = "What is patched")]
    pub ignore_errors: bool,
    /// Fail when the image's distribution is no longer maintained, instead of giving it what fixes there are
    #[arg(long, help_heading = "What is patched")]
    pub exit_on_eol: bool,
    /// Only show what would be upgraded, and what is left out and why; needs no BuildKit
    #[arg(long, help_heading = "What is patched")]
    pub dry_run: bool,

    /// What the patched image is called: a tag, or a whole reference
    #[arg(long, short, value_name = "TAG|REFERENCE", help_heading = "Where it goes")]
    pub tag: Option<String>,
    /// Without --tag: what is added to the original's tag, after a dash
    #[arg(
        long,
        value_name = "SUFFIX",
        default_value = "patched",
        help_heading = "Where it goes"
    )]
    pub tag_suffix: String,
    /// Push it to its registry; only what is missing there is sent
    #[arg(long, short, help_heading = "Where it goes")]
    pub push: bool,
    /// Where it is written.
    #[arg(help = "Write it to oci:FOLDER[:TAG], oci-archive:FILE[:NAME], docker-archive:FILE[:NAME], docker-daemon[:NAME] or containers-storage[:NAME]; may be given several times", long, short, value_name = "KIND:PATH", action = clap::ArgAction::Append, help_heading = "Where it goes")]
    pub output: Vec<Target>,
    /// Write down what was fixed and what not, in OpenVEX
    #[arg(long, value_name = "FILE", help_heading = "Where it goes")]
    pub vex: Option<PathBuf>,
    /// The same, as Copacetic's command has it: with --format openvex, a plain file of --output is that of --vex
    #[arg(long, short, value_name = "FORMAT", value_parser = ["openvex"], help_heading = "Where it goes")]
    pub format: Option<String>,
    /// The same as --output oci:FOLDER
    #[arg(long, value_name = "FOLDER", help_heading = "Where it goes")]
    pub oci_dir: Option<PathBuf>,
    /// Load it into this store; the same as --output docker-daemon or containers-storage
    #[arg(long, short, value_name = "STORE", help_heading = "Where it goes")]
    pub loader: Option<Loader>,

    /// BuildKit's address: auto, unix://PATH, tcp://HOST:PORT, docker:// (Docker's own), docker-container://NAME,
    /// podman-container://NAME, nerdctl-container://NAME or kubepod://POD; the configuration's without, which is auto by default
    #[arg(long, short, value_name = "ADDRESS", help_heading = "BuildKit")]
    pub addr: Option<String>,
    /// For tcp://: the authority of BuildKit's certificate
    #[arg(long, value_name = "FILE", requires_all = ["cert", "key"], help_heading = "BuildKit")]
    pub cacert: Option<PathBuf>,
    /// For tcp://: our certificate
    #[arg(long, value_name = "FILE", requires_all = ["cacert", "key"], help_heading = "BuildKit")]
    pub cert: Option<PathBuf>,
    /// For tcp://: its key
    #[arg(long, value_name = "FILE", requires_all = ["cacert", "cert"], help_heading = "BuildKit")]
    pub key: Option<PathBuf>,
    /// How long all of it may take, such as 5m; without, each build is limited by the configuration (10m)
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "BuildKit")]
    pub timeout: Option<Duration>,
    /// How progress is shown, on standard error
    #[arg(long, value_name = "MODE", default_value = "auto", help_heading = "BuildKit")]
    pub progress: Mode,
}

impl Arguments {
    /// Of the files that `--config` names: Patchport's configuration, and the bulk file.
    ///
    /// # Errors
    /// When there are two of a kind.
    pub fn files(&self) -> anyhow::Result<(Option<PathBuf>, Option<PathBuf>)> {
        let (bulks, own): (Vec<_>, Vec<_>) = self.config.iter().cloned().partition(|file| bulk::is_bulk(file));
        ensure!(own.len() <= 1, "--config names two configurations of Patchport");
        ensure!(bulks.len() <= 1, "--config names two bulk files");
        Ok((own.into_iter().next(), bulks.into_iter().next()))
    }

    /// The image that is named; nothing when a bulk file names them.
    ///
    /// # Errors
    /// When it is named twice, or not at all.
    pub fn one(&self, has_bulk: bool) -> anyhow::Result<Option<&str>> {
        let named = self.image.as_deref().or(self.named.as_deref());
        match named {
            Some(_) if has_bulk => bail!("a bulk file names its images; give no other"),
            None if !has_bulk => bail!("name an image, or a bulk file with --config"),
            _ if has_bulk && self.vex_file().is_some() => {
                bail!("a bulk file has many images; --vex has no meaning there")
            }
            _ if has_bulk && self.tag.is_some() => bail!("a bulk file names its targets; --tag has no meaning there"),
            named => Ok(named),
        }
    }

    /// Where the image is to go; an empty list when it is only pushed, or nothing is said.
    pub(super) fn outputs(&self) -> Vec<Output> {
        let folder = self.oci_dir.clone().map(|folder| Output::Layout { folder, name: None });
        let loader = self.loader.map(|loader| match loader {
            Loader::Docker => Output::Docker { name: None },
            Loader::Podman => Output::Podman { name: None },
        });
        let named = self.output.iter().filter_map(|target| match target {
            Target::Image(output) => Some(output.clone()),
            Target::File(_) => None,
        });
        named.chain(folder).chain(loader).collect()
    }

    /// Where the VEX goes.
    pub(super) fn vex_file(&self) -> Option<&Path> {
        self.vex.as_deref().or_else(|| self.files_of_output().next())
    }

    fn files_of_output(&self) -> impl Iterator<Item = &Path> {
        self.output.iter().filter_map(|target| match target {
            Target::File(file) => Some(file.as_path()),
            Target::Image(_) => None,
        })
    }

    /// Sees that a file without a kind is meant for the VEX.
    ///
    /// # Errors
    /// When it is not, or when there are several.
    pub(super) fn check_outputs(&self) -> anyhow::Result<()> {
        let files = self.files_of_output().count();
        if let (Some(file), None) = (self.files_of_output().next(), &self.format) {
            bail!(
                "--output {} names no kind; write {FORMS}. A VEX goes to --vex FILE, or to --output FILE with --format openvex",
                file.display()
            );
        }
        ensure!(
            files + usize::from(self.vex.is_some()) <= 1,
            "there is one VEX; --vex and --output name several files for it"
        );
        ensure!(
            self.format.is_none() || self.vex_file().is_some(),
            "--format openvex needs a file: --output FILE"
        );
        Ok(())
    }

    /// The configuration as these arguments change it.
    ///
    /// # Errors
    /// When they ask for a scanner that is not there.
    pub(super) fn apply(&self, config: &mut Config) -> anyhow::Result<()> {
        if let Some(address) = &self.addr {
            config.buildkit = patchport_config::BuildKit {
                address: vec![address.clone()],
                ..Default::default()
            };
        }
        if let (Some(ca), Some(cert), Some(key)) = (&self.cacert, &self.cert, &self.key) {
            ensure!(
                config
                    .buildkit
                    .address
                    .iter()
                    .all(|address| address.starts_with("tcp://")),
                "--cacert, --cert and --key are for a tcp:// address"
            );
            config.buildkit.ca = Some(ca.clone());
            config.buildkit.cert = Some(cert.clone());
            config.buildkit.key = Some(key.clone());
        }
        if let Some(limit) = self.timeout {
            config.patch.timeout = config.patch.timeout.min(limit);
        }
        if let Some(scanners) = self.scanners()? {
            config.scan.scanners = scanners;
        }
        let scan = &config.scan;
        let lacks =
            |scanner, key| format!("the scanner {scanner} needs {key} in the [scan] table of the configuration");
        ensure!(
            !scan.scanners.contains(&Scanner::Grype) || scan.grype_db.is_some(),
            lacks("grype", "grype_db")
        );
        ensure!(
            !scan.scanners.contains(&Scanner::Osv) || scan.osv.is_some(),
            lacks("osv", "osv")
        );
        Ok(())
    }

    /// The scanners that are asked; nothing when the configuration says it.
    fn scanners(&self) -> anyhow::Result<Option<Vec<Scanner>>> {
        let has_report = self.report.is_some();
        let mut scanners = Vec::new();
        for word in &self.scanner {
            match word.as_str() {
                // Who wrote the report.
                "trivy" | "grype" | "native" if has_report => {}
                "updates" => scanners.push(Scanner::Updates),
                "osv" => scanners.push(Scanner::Osv),
                "trivy" => scanners.push(Scanner::Trivy),
                "grype" => scanners.push(Scanner::Grype),
                "native" | "report" => bail!("--scanner {word} needs --report"),
                other => bail!(
                    "there is no scanner {other:?}; there are updates, trivy, grype and osv. What a plug-in of Copacetic writes is \
                     taken as a report: copa-{other} FILE > report.json"
                ),
            }
        }
        Ok((has_report || !scanners.is_empty()).then_some(scanners))
    }
}

/// A platform as people write it.
///
/// # Errors
/// When it is none, in words for people.
pub fn platform(text: &str) -> Result<Platform, String> {
    let mut parts = text.split('/');
    let (os, architecture) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let variant = parts.next().unwrap_or_default();
    if os.is_empty() || architecture.is_empty() || parts.next().is_some() {
        return Err("write os/architecture or os/architecture/variant, such as linux/arm64".into());
    }
    Ok(Platform::new(os, architecture, variant))
}

/// A length of time: `90s`, `5m`, `1h30m`.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok();
    let parsed = parsed.and_then(|duration| Duration::try_from(duration).ok());
    parsed
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "write a length of time, such as 90s, 5m or 1h30m".into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parsed(line: &str) -> Result<Arguments, String> {
        let words = std::iter::once("patch").chain(line.split_whitespace());
        Line::try_parse_from(words)
            .map(|line| line.arguments)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_lines_of_copacetic_are_understood() {
        let line = "-i docker.io/library/nginx:1.21.6 -r nginx.json -t 1.21.6-fixed -a tcp://127.0.0.1:8888 -s trivy -p \
                    --timeout 10m --ignore-errors --progress plain --platform linux/amd64,linux/arm64 -l podman --oci-dir out \
                    -f openvex -o nginx.vex.json --exit-on-eol";
        let arguments = parsed(line).unwrap();
        assert_eq!(arguments.one(false).unwrap(), Some("docker.io/library/nginx:1.21.6"));
        assert_eq!(arguments.timeout, Some(Duration::from_secs(600)));
        assert_eq!(arguments.platform.len(), 2);
        assert_eq!(arguments.vex_file(), Some(Path::new("nginx.vex.json")));
        assert!(arguments.exit_on_eol && arguments.check_outputs().is_ok());
        let folder = PathBuf::from("out");
        assert_eq!(
            arguments.outputs(),
            [Output::Layout { folder, name: None }, Output::Podman { name: None }]
        );
        let mut config = Config::default();
        arguments.apply(&mut config).unwrap();
        assert_eq!(
            (config.buildkit.address.join(" ").as_str(), config.scan.scanners.len()),
            ("tcp://127.0.0.1:8888", 0)
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, expected) in [
            ("a --timeout soon", "such as 90s"),
            ("a --output zip:out", "oci-archive:FILE"),
            ("a --format csaf", "openvex"),
            ("a -i b", "cannot be used with"),
            ("a --cacert x", "--cert"),
            ("a --platform arm64", "os/architecture"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
        for (line, expected) in [
            ("a --scanner snyk", "copa-snyk"),
            ("a --scanner native", "needs --report"),
            ("a --scanner osv", "[scan]"),
            ("a --addr unix:///x --cacert a --cert b --key c", "tcp://"),
        ] {
            let error = parsed(line)
                .unwrap()
                .apply(&mut Config::default())
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
        for (line, expected) in [
            ("a --output out.json", "--format openvex"),
            ("a -f openvex -o a.json --vex b.json", "one VEX"),
            ("a -f openvex", "needs a file"),
        ] {
            let error = parsed(line).unwrap().check_outputs().unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
        assert!(parsed("").unwrap().one(false).is_err() && parsed("a").unwrap().one(true).is_err());
    }
}
