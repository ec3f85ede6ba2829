//! What the daemon writes for its operators: one line an event, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, filter::ParseError};

use crate::config::settings::{LogFormat, LogSettings};

/// Sends the process's log lines to standard error from now on.
pub fn init(settings: &LogSettings) -> Result<(), ParseError> {
    // The migration tool tells at `info` that it has nothing to do. The client of Redis tells of every attempt to
    // connect, and at `trace` what it sends, also the password; `fanout` tells what operators need.
    let quiet = "sea_orm_migration=warn,fred=off,";
    let filter = EnvFilter::builder().parse(format!("{quiet}{}", settings.filter))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match settings.format {
        // Colours only for eyes.
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
