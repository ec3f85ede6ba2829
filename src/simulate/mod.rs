//! The `simulate` subcommand: one simulated vehicle, which shows its sentences and sends typed ones, or a fleet of
//! them.
//!
//! `fleet` starts the devices and shows their progress; `reconnect` keeps a `device` connected; `connection` speaks the
//! protocol on one connection; `vehicle` has the simulated state; `typed` parses typed lines; `tally` counts what
//! happens; `progress` formats the counts so far; `screen` is the output. The module is a client of the device port; of
//! the gateway it uses only the protocol, the domain types and small helpers.

mod connection;
mod device;
mod fleet;
mod progress;
mod reconnect;
mod screen;
mod tally;
mod typed;
mod vehicle;

use std::{
    io::{self, BufRead as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use self::fleet::Fleet;
use crate::signals::Signals;

pub use crate::{domain::DeviceId, protocol::Dialect};

/// The number of open files that the process needs beside its connections.
const OTHER_FILES: u64 = 64;
/// The longest duration, far below where adding it to a time overflows.
const LONGEST: Duration = Duration::from_hours(365 * 24);
/// The most typed lines that wait to be sent.
const TYPED_AHEAD: usize = 16;

/// The options of a simulation.
#[derive(Debug, Clone)]
pub struct Options {
    /// Host and port of the device port.
    pub connect: String,
    /// The id of the only device. By default ids are UUIDs derived from the seed.
    pub id: Option<DeviceId>,
    /// The number of devices, at least 1. One shows its sentences and takes typed lines; more are a fleet.
    pub devices: u32,
    /// The dialect that they speak.
    pub dialect: Dialect,
    /// Time between two heartbeats of a device; zero for none.
    pub heartbeat: Duration,
    /// Time between two reports of a device, until the gateway sets another; zero for none. By default none for one
    /// device and a minute for a fleet.
    pub report_every: Option<Duration>,
    /// The number of devices that connect in each second until all have started, at least 1.
    pub ramp: u32,
    /// The duration of the simulation; `None` until a signal.
    pub length: Option<Duration>,
    /// The same seed gives the same fleet: ids, positions, jitter. Random by default.
    pub seed: Option<u64>,
}

/// Why a simulation could not start, or was in vain.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// One id for several devices.
    #[error("--id names one vehicle, and --devices asks for {0}: leave one of them out")]
    OneIdForMany(u32),
    /// The signal handlers could not be installed.
    #[error("cannot install signal handlers: {0}")]
    Signals(io::Error),
    /// The operating system allows fewer open files than there are devices.
    #[error(
        "--devices {devices} needs {needed} open files, but this process may open {allowed}; ask for fewer or raise the limit (ulimit -n)"
    )]
    OpenFiles {
        /// The requested number.
        devices: u32,
        /// The open files that they need.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// No device was logged in until the end.
    #[error("no vehicle has logged in at {0}")]
    NobodyLoggedIn(String),
}

/// Parses a duration of the command line: `90s`, `1m 30s`, or a number of seconds.
///
/// # Errors
///
/// The text is no duration, or it is longer than a year.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => humantime::parse_duration(text)
            .map_err(|error| format!("{error}; write 60, 90s or 1m 30s"))?,
    };
    if duration > LONGEST {
        return Err("a year is the longest".to_owned());
    }
    Ok(duration)
}

/// Runs a simulation until a signal, a typed goodbye or the end of `options.length`. Then every device says goodbye and
/// the summary is shown. A second signal ends it at once.
///
/// # Errors
///
/// The simulation cannot start, or no device was ever logged in.
pub async fn run(options: Options) -> Result<ExitCode, SimulationError> {
    if options.id.is_some() && options.devices > 1 {
        return Err(SimulationError::OneIdForMany(options.devices));
    }
    let mut signals = Signals::new().map_err(SimulationError::Signals)?;
    raise_open_files(options.devices)?;
    let stop = CancellationToken::new();
    let screen = Arc::new(screen::standard_output(stop.clone()));
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    let lines = if options.devices == 1 {
        screen.note(&typed::HELP);
        Some(typed_lines())
    } else {
        let Options {
            devices,
            connect,
            ramp,
            ..
        } = &options;
        screen.note(&format_args!(
            "{devices} devices connect to {connect}, {ramp} a second; --seed {seed} gives the same fleet again"
        ));
        None
    };
    let mut fleet = Fleet::start(&options, seed, screen, lines, &stop);
    let ended = tokio::select! {
        () = fleet.finish() => true,
        _ = signals.next() => false,
        () = after(options.length) => false,
    };
    if !ended {
        stop.cancel();
        tokio::select! {
            () = fleet.finish() => {}
            _ = signals.next() => return Ok(ExitCode::FAILURE),
        }
    }
    fleet.show_summary();
    if fleet.has_logged_in() {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(SimulationError::NobodyLoggedIn(options.connect))
    }
}

async fn after(length: Option<Duration>) {
    match length {
        Some(length) => sleep(length).await,
        None => std::future::pending().await,
    }
}

/// Standard input, line by line. Read by a thread, because a blocking read cannot be cancelled; it ends with the
/// process.
fn typed_lines() -> mpsc::Receiver<String> {
    let (typed, lines) = mpsc::channel(TYPED_AHEAD);
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if typed.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Raises the soft limit of open files to the hard limit, and checks that it suffices.
fn raise_open_files(devices: u32) -> Result<(), SimulationError> {
    let needed = u64::from(devices) + OTHER_FILES;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(allowed) if allowed < needed => Err(SimulationError::OpenFiles {
            devices,
            needed,
            allowed,
        }),
        // Where the limit is unknown, connections fail with an error of their own.
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_have_units() {
        for (text, millis) in [
            ("60", 60_000),
            ("1500ms", 1500),
            ("1m 30s", 90_000),
            ("0", 0),
        ] {
            assert_eq!(parse_duration(text).unwrap().as_millis(), millis, "{text}");
        }
        for bad in ["soon", "", "-1", "18446744073709551615"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
