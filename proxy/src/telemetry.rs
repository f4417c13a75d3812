//! Logs: to standard error, as text for people or JSON for machines.
//!
//! Identifiers are fields of their own; secrets are never fields.

use patchport_config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// The log level is not one.
#[derive(Debug, thiserror::Error)]
#[error("log.level `{level}` is not a filter such as `info` or `patchport=debug,info`: {reason}")]
pub struct FilterError {
    level: String,
    reason: String,
}

/// The filter that the level asks for.
///
/// # Errors
/// When the level is no filter.
pub fn filter(log: &Log) -> Result<EnvFilter, FilterError> {
    EnvFilter::try_new(&log.level).map_err(|error| FilterError {
        level: log.level.clone(),
        reason: error.to_string(),
    })
}

/// Starts logging for the whole process.
///
/// # Errors
/// When the level is no filter.
pub fn start(log: &Log) -> Result<(), FilterError> {
    let filter = filter(log)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| FilterError {
        level: log.level.clone(),
        reason: error.to_string(),
    })
}
