//! The `patchport` program: arguments, configuration, logs, run, exit code.
//!
//! Exit codes: 0, 64 for usage and configuration (`EX_USAGE`), 2 for what `scan --fail-on` names, 130 for what was
//! interrupted, 1 for the rest.

#![expect(
    clippy::disallowed_methods,
    reason = "the environment is handed to the configuration from here"
)]

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use patchport::cli::patch::arguments::{Arguments, platform};
use patchport::respond::chain;
use patchport::sources::Sources;
use patchport::{app, cli, limits, patch, telemetry};
use patchport_config::{Config, Selection};
use patchport_oci::Platform;
use patchport_packages::document::Format;

const DEFAULT_FILE: &str = "/etc/patchport/patchport.toml";
const USAGE: u8 = 64;
/// `scan --fail-on` found something.
const FOUND: u8 = 2;
/// SIGINT, as shells say it.
const INTERRUPTED: u8 = 130;
/// How wide text is when no terminal says it.
const WIDTH: u16 = 120;

/// An OCI registry mirror that patches images as they are pulled.
#[derive(Parser)]
#[command(name = "patchport", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the mirror until SIGTERM.
    Serve(Source),
    /// Check the configuration and print it as it takes effect, secrets hidden.
    Check(Source),
    /// Show what is installed in an image, and what of it is outdated or vulnerable.
    Scan(Scan),
    /// Show what a pull of an image would come to: the rule, the findings, the plan, what is served.
    Explain {
        #[command(flatten)]
        source: Source,
        /// The image's reference.
        image: String,
    },
    /// Patch an image, and write, load or push the result.
    #[command(after_help = cli::patch::arguments::AFTER)]
    Patch(Box<Arguments>),
    /// Print the version.
    Version,
}

#[derive(Args)]
struct Scan {
    #[command(flatten)]
    source: Source,
    /// A reference (on a running mirror, too), the folder of an OCI layout, or a tar of images.
    image: String,
    /// The platform, such as linux/arm64, of an image for several; this machine's without.
    #[arg(long, value_parser = platform)]
    platform: Option<Platform>,
    /// What is printed: table, json, cyclonedx, spdx or sarif.
    #[arg(long, short, default_value = "table")]
    format: Format,
    /// Only list packages; ask no scanner and no repository.
    #[arg(long)]
    packages_only: bool,
    /// Exit with 2 when there is something to upgrade: outdated, security, or fixable:SEVERITY.
    #[arg(long, value_name = "SELECTION")]
    fail_on: Option<Selection>,
    /// Write it to a file.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Args, Clone)]
struct Source {
    /// The configuration file; without it, /etc/patchport/patchport.toml where there is one, else the defaults.
    #[arg(long, short, env = "PATCHPORT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Source {
    fn load(self) -> Result<Config, patchport_config::Error> {
        let default = PathBuf::from(DEFAULT_FILE);
        let file = self.config.or_else(|| default.exists().then_some(default));
        Config::load(file.as_deref(), std::env::vars())
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match cli.command {
        Command::Version => print(concat!("patchport ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Check(source) => match source.load() {
            Ok(config) => match (telemetry::filter(&config.log), sources(&config)) {
                (Ok(_), Ok(_)) => print(&config.render()),
                (Err(error), _) => complain(&error.to_string(), USAGE),
                (_, Err(error)) => complain(&error, USAGE),
            },
            Err(error) => complain(&error.to_string(), USAGE),
        },
        Command::Scan(scan) => look(&scan.source.clone(), async |config| run_scan(config, scan).await),
        Command::Explain { source, image } => look(&source, async |config| {
            let text = cli::explain::run(config, std::env::var_os("PATH").as_deref(), &image).await?;
            Ok((text, None, 0))
        }),
        Command::Patch(arguments) => patch_images(&arguments),
        Command::Serve(source) => match source.load() {
            Ok(config) => serve(config),
            Err(error) => complain(&error.to_string(), USAGE),
        },
    }
}

/// The source policy that a configuration names.
fn sources(config: &Config) -> Result<Sources, String> {
    let read = Sources::read(config.buildkit.source_policy.as_deref());
    read.map_err(|error| format!("buildkit.source_policy: {}", chain(&error)))
}

fn serve(config: Config) -> ExitCode {
    let sources = match sources(&config) {
        Ok(sources) => sources,
        Err(error) => return complain(&error, USAGE),
    };
    if let Err(error) = telemetry::start(&config.log) {
        return complain(&error.to_string(), USAGE);
    }
    limits::raise_open_files(config.server.max_connections);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}"), 1),
    };
    match runtime.block_on(app::run(config, sources, environment())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{error:#}"), 1),
    }
}

fn environment() -> patch::Environment {
    patch::Environment {
        buildkit_host: std::env::var("BUILDKIT_HOST").ok(),
        path: std::env::var_os("PATH"),
        docker_host: std::env::var("DOCKER_HOST").ok(),
        docker_certificates: std::env::var_os("DOCKER_TLS_VERIFY")
            .filter(|set| !set.is_empty())
            .and_then(|_| std::env::var_os("DOCKER_CERT_PATH"))
            .map(PathBuf::from),
    }
}

fn patch_images(arguments: &Arguments) -> ExitCode {
    let checked = arguments
        .files()
        .and_then(|files| arguments.one(files.1.is_some()).map(|_| files));
    let (own, bulk) = match checked {
        Ok(files) => files,
        Err(error) => return complain(&format!("{error:#}"), USAGE),
    };
    let own = own.or_else(|| std::env::var_os("PATCHPORT_CONFIG").map(PathBuf::from));
    let mut config = match (Source { config: own }).load() {
        Ok(config) => config,
        Err(error) => return complain(&error.to_string(), USAGE),
    };
    // Where BuildKit's own clients look for one.
    if let Some(file) = std::env::var_os("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY").filter(|file| !file.is_empty()) {
        config.buildkit.source_policy = Some(file.into());
    }
    if let Err(error) = sources(&config) {
        return complain(&error, USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}"), 1),
    };
    let width = columns().unwrap_or(WIDTH);
    let running = cli::patch::run(config, environment(), arguments, bulk.as_deref(), width);
    match runtime.block_on(running) {
        Ok(report) => match print(&report.text) {
            done if report.failures.is_empty() => done,
            _ => complain(&report.failures.join("\n"), 1),
        },
        Err(error) if error.is::<cli::patch::Interrupted>() => complain("interrupted", INTERRUPTED),
        Err(error) if error.is::<cli::patch::Misused>() => complain(&format!("{error:#}"), USAGE),
        Err(error) => complain(&format!("{error:#}"), 1),
    }
}

/// What a command that looks at an image has to say, where to, and its exit code.
type Said = anyhow::Result<(String, Option<PathBuf>, u8)>;

/// Runs a command that looks at an image.
fn look(source: &Source, run: impl AsyncFnOnce(Config) -> Said) -> ExitCode {
    let config = match source.clone().load() {
        Ok(config) => config,
        Err(error) => return complain(&error.to_string(), USAGE),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}"), 1),
    };
    match runtime.block_on(run(config)) {
        Ok((text, None, code)) => match print(&text) {
            done if code == 0 => done,
            _ => ExitCode::from(code),
        },
        Ok((text, Some(file), code)) => match std::fs::write(&file, text) {
            Ok(()) => ExitCode::from(code),
            Err(error) => complain(&format!("cannot write {}: {error}", file.display()), 1),
        },
        Err(error) => complain(&format!("{error:#}"), 1),
    }
}

async fn run_scan(config: Config, scan: Scan) -> Said {
    let format = match scan.format {
        Format::Table { width } => Format::Table {
            width: columns().unwrap_or(width),
        },
        other => other,
    };
    let request = cli::scan::Request {
        image: scan.image,
        platform: scan.platform,
        format,
        packages_only: scan.packages_only,
        fail_on: scan.fail_on,
        progress: std::io::stderr().is_terminal(),
    };
    let report = cli::scan::run(config, std::env::var_os("PATH").as_deref(), &request).await?;
    Ok((report.text, scan.output, if report.failed { FOUND } else { 0 }))
}

/// How wide the terminal is, when there is one.
fn columns() -> Option<u16> {
    std::io::stdout()
        .is_terminal()
        .then(|| console::Term::stdout().size().1)
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "patchport: {text}");
    ExitCode::from(code)
}
