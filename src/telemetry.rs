//! Logging: one line for each event, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, filter::ParseError};

use crate::config::{LogFormat, LogSettings};

/// Installs the process-wide subscriber that writes log records to standard error.
///
/// # Errors
///
/// `settings.filter` is not valid.
pub fn init(settings: &LogSettings) -> Result<(), ParseError> {
    // The Redis client logs every attempt to connect and, at `trace`, every byte that it sends, the password included;
    // `fanout` logs what operators need.
    let quiet = "fred=off,";
    let filter = EnvFilter::builder().parse(format!("{quiet}{}", settings.filter))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match settings.format {
        // Colours only on a terminal.
        LogFormat::Human => lines
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .init(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .init(),
    }
    Ok(())
}
