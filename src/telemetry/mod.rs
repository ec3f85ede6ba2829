//! Logging: one line for each event, on standard error, and the lines of panics.
//!
//! Lines are written by a thread of their own (`log_writer`), so that a log that nobody reads, or a full disk, costs
//! log lines and nothing else.

mod log_writer;

use std::{
    io::{self, IsTerminal},
    panic::PanicHookInfo,
    sync::OnceLock,
    time::Duration,
};

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt::MakeWriter};

use crate::config::{LogFormat, LogSettings};
use log_writer::LogWriter;

/// How long the end of the process waits for the lines that are not written yet.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The log writer. Created, with its thread, at the first log line.
static WRITER: OnceLock<LogWriter> = OnceLock::new();

/// Installs the process-wide subscriber that writes log records to standard error, and a panic hook that logs.
///
/// # Errors
///
/// `settings.filter` is not valid.
pub fn init(settings: &LogSettings) -> Result<(), ParseError> {
    // The Redis client logs every attempt to connect and, at `trace`, every byte that it sends, the password included;
    // `fanout` logs what operators need. The pools of database connections log each connection that they replace.
    let quiet = "fred=off,sqlx_core::pool=off,sqlx::pool=off,";
    let filter = EnvFilter::builder().parse(format!("{quiet}{}", settings.filter))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It would report a line that cannot be formatted or written by a macro that panics.
        .log_internal_errors(false)
        .with_writer(Lines);
    match settings.format {
        // Colours only on a terminal.
        LogFormat::Human => lines
            .with_target(false)
            .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .init(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .init(),
    }
    // The default hook writes to standard error itself, and so waits for its reader.
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Waits until the lines so far are written, for at most one second: their reader may hang.
pub fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(FLUSH_TIMEOUT);
    }
}

/// The number of log lines that were lost since the start, because standard error could not be written to or its reader
/// was too slow.
#[must_use]
pub fn lost_lines() -> u64 {
    WRITER.get().map_or(0, LogWriter::lost_lines)
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    let thread = std::thread::current();
    tracing::error!(
        panic = message,
        location = panic.location().map(tracing::field::display),
        thread = thread.name(),
        "panic: this is a bug in the gateway"
    );
}

/// Gives the subscriber the [`WRITER`].
#[derive(Debug)]
struct Lines;

impl MakeWriter<'_> for Lines {
    type Writer = &'static LogWriter;

    fn make_writer(&self) -> Self::Writer {
        WRITER.get_or_init(|| LogWriter::start(io::stderr(), report_lost_lines))
    }
}

fn report_lost_lines(lost: u64) {
    tracing::warn!(
        lost,
        "log lines lost: standard error could not be written to, or was read too slowly"
    );
}
