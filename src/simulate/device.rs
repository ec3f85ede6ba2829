//! One device, and why its connections end.

use std::{fmt, io, sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::{sync::mpsc, time::Instant};

use super::{screen::Screen, tally::Tally, vehicle::Vehicle};
use crate::{domain::DeviceId, protocol::Dialect};

/// A device across its connections.
pub(super) struct Device {
    pub(super) id: DeviceId,
    pub(super) dialect: Dialect,
    pub(super) vehicle: Vehicle,
    /// Time between two heartbeats; `None` for none.
    pub(super) heartbeat: Option<Duration>,
    /// Whether its first heartbeat and report come at a random time within their interval, so
    /// that those of a fleet do not come at once.
    pub(super) staggered: bool,
    pub(super) rng: Rng,
    pub(super) tally: Arc<Tally>,
    /// Where the talk is shown; a fleet shows none.
    pub(super) screen: Option<Arc<Screen>>,
    /// Whether it was ever greeted.
    pub(super) known: bool,
    /// Up to when the vehicle has moved.
    pub(super) moved: Instant,
}

/// Lines typed for a device; `None` once there are no more, or never were any.
pub(super) type Lines = Option<mpsc::Receiver<String>>;

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The device said goodbye: this was its last connection.
    Goodbye,
    /// The gateway said goodbye.
    ToldToGo,
    /// The gateway closed.
    Closed,
    /// The connection broke, or took nothing any more.
    Broken(io::Error),
    /// The gateway took too long to answer.
    NoAnswer,
    /// The gateway answered the login otherwise than by a greeting.
    Refused,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Goodbye => f.write_str("said goodbye"),
            Self::ToldToGo => f.write_str("the gateway said goodbye"),
            Self::Closed => f.write_str("the gateway closed the connection"),
            Self::Broken(error) => write!(f, "the connection is lost: {error}"),
            Self::NoAnswer => f.write_str("the gateway did not answer in time"),
            Self::Refused => f.write_str("the gateway refused the login"),
        }
    }
}

impl Device {
    /// Lets the vehicle move up to now.
    pub(super) fn move_on(&mut self) {
        let now = Instant::now();
        self.vehicle.advance(now - self.moved);
        self.moved = now;
    }

    /// When the first of what comes `every` so often is due.
    pub(super) fn first(&mut self, every: Option<Duration>) -> Option<Instant> {
        let every = every?;
        let wait = if self.staggered {
            every.mul_f64(self.rng.f64())
        } else {
            every
        };
        Some(Instant::now() + wait)
    }

    pub(super) fn note(&self, text: &dyn fmt::Display) {
        if let Some(screen) = &self.screen {
            screen.note(text);
        }
    }
}

/// The next typed line; never, once there are no more.
pub(super) async fn next_line(lines: &mut Lines) -> String {
    if let Some(open) = lines {
        if let Some(line) = open.recv().await {
            return line;
        }
        *lines = None;
    }
    std::future::pending().await
}
