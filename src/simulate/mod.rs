//! The device in the box: one simulated vehicle to watch and type for, or a fleet of them.
//!
//! `fleet` starts the devices and tells how it goes; `life` connects a `device` again and again;
//! `connection` talks on one of them; `vehicle` is what it talks about; `terminal` understands what is typed;
//! `tally` counts, `screen` shows, `backoff` waits. Nothing here knows the gateway from inside: it
//! speaks the protocol and sees what any vehicle sees.

mod backoff;
mod connection;
mod device;
mod fleet;
mod life;
mod screen;
mod tally;
mod terminal;
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

/// Files the process has open beside its connections.
const OTHER_FILES: u64 = 64;
/// The longest duration: far below where adding it to a time overflows.
const LONGEST: Duration = Duration::from_hours(365 * 24);
/// Lines that may wait to be said.
const TYPED_AHEAD: usize = 16;

/// What is to be simulated.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the gateway listens for devices: host and port.
    pub connect: String,
    /// The id of the only device; otherwise ids are UUIDs that derive from the seed.
    pub id: Option<DeviceId>,
    /// How many devices, at least 1. One shows its talk and takes typed lines; more are a fleet.
    pub devices: u32,
    /// How they speak.
    pub dialect: Dialect,
    /// Time between two heartbeats of a device; zero for none.
    pub heartbeat: Duration,
    /// Time between two reports of a device, until it is told another; zero for none. By default
    /// none for one device and a minute for a fleet.
    pub report_every: Option<Duration>,
    /// Devices that connect in a second while the fleet begins, at least 1.
    pub ramp: u32,
    /// After how long to stop; `None` for when told to.
    pub length: Option<Duration>,
    /// The same seed is the same fleet: ids, places, jitter. By default a random one.
    pub seed: Option<u64>,
}

/// Why a simulation could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// One id for several devices.
    #[error("--id names one vehicle, and --devices asks for {0}: leave one of them out")]
    OneIdForMany(u32),
    /// Signals could not be watched.
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
    /// The operating system allows fewer open files than there are devices.
    #[error(
        "--devices {devices} needs {needed} open files, but this process may open {allowed}; ask for fewer or raise the limit (ulimit -n)"
    )]
    OpenFiles {
        /// As asked for.
        devices: u32,
        /// Files for those and the rest.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
}

/// A duration as the command line has it: `90s`, `1m 30s`, or a number of seconds.
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

/// Simulates until a signal, a typed goodbye or the end of `options.length`; then every device says
/// goodbye and the account is given. A second signal ends it at once.
pub async fn run(options: Options) -> Result<ExitCode, StartError> {
    if options.id.is_some() && options.devices > 1 {
        return Err(StartError::OneIdForMany(options.devices));
    }
    let mut signals = Signals::new().map_err(StartError::Signals)?;
    raise_open_files(options.devices)?;
    let stop = CancellationToken::new();
    let screen = Arc::new(screen::standard_output(stop.clone()));
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    let lines = if options.devices == 1 {
        screen.note(&terminal::HELP);
        Some(typed_lines())
    } else {
        let Options {
            devices,
            connect,
            ramp,
            ..
        } = &options;
        screen.note(&format_args!(
            "{devices} devices for {connect}, {ramp} a second; --seed {seed} is the same fleet again"
        ));
        None
    };
    let mut fleet = Fleet::start(&options, seed, screen, lines, &stop);
    let ended = tokio::select! {
        () = fleet.finish() => true,
        _ = signals.next() => false,
        () = time_is_up(options.length) => false,
    };
    if !ended {
        stop.cancel();
        tokio::select! {
            () = fleet.finish() => {}
            _ = signals.next() => return Ok(ExitCode::FAILURE),
        }
    }
    fleet.summarise();
    Ok(ExitCode::SUCCESS)
}

async fn time_is_up(length: Option<Duration>) {
    match length {
        Some(length) => sleep(length).await,
        None => std::future::pending().await,
    }
}

/// Standard input, line by line. A thread of its own, because reading a terminal cannot be given
/// up; it ends with the process.
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

/// Raises the soft limit of open files to the hard one, and checks that it suffices.
fn raise_open_files(devices: u32) -> Result<(), StartError> {
    let needed = u64::from(devices) + OTHER_FILES;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(allowed) if allowed < needed => Err(StartError::OpenFiles {
            devices,
            needed,
            allowed,
        }),
        // Where the limit cannot be asked for, connections will tell.
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_of_seconds_or_has_units() {
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
