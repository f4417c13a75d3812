//! The `patchport` program: arguments, configuration, logs, run, exit code.
//!
//! Exit codes: 0, 64 for usage and configuration (`EX_USAGE`), 1 for the rest.

#![expect(
    clippy::disallowed_methods,
    reason = "the environment is handed to the configuration from here"
)]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use patchport::{app, limits, patch, telemetry};
use patchport_config::Config;

const DEFAULT_FILE: &str = "/etc/patchport/patchport.toml";
const USAGE: u8 = 64;

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
    /// Print the version.
    Version,
}

#[derive(Args)]
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
            Ok(config) => match telemetry::filter(&config.log) {
                Ok(_) => print(&config.render()),
                Err(error) => complain(&error.to_string(), USAGE),
            },
            Err(error) => complain(&error.to_string(), USAGE),
        },
        Command::Serve(source) => match source.load() {
            Ok(config) => serve(config),
            Err(error) => complain(&error.to_string(), USAGE),
        },
    }
}

fn serve(config: Config) -> ExitCode {
    if let Err(error) = telemetry::start(&config.log) {
        return complain(&error.to_string(), USAGE);
    }
    limits::raise_open_files(config.server.max_connections);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}"), 1),
    };
    let environment = patch::Environment {
        buildkit_host: std::env::var("BUILDKIT_HOST").ok(),
        path: std::env::var_os("PATH"),
    };
    match runtime.block_on(app::run(config, environment)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{error:#}"), 1),
    }
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
