//! One simulated device, and the ends of its connections.

use std::{fmt, io, sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::{sync::mpsc, time::Instant};

use super::{screen::Screen, tally::Tally, vehicle::SimulatedVehicle};
use crate::{domain::DeviceId, protocol::Dialect};

/// A device across its connections.
pub(super) struct SimulatedDevice {
    pub(super) id: DeviceId,
    pub(super) dialect: Dialect,
    pub(super) vehicle: SimulatedVehicle,
    /// Time between two heartbeats; `None` for none.
    pub(super) heartbeat: Option<Duration>,
    /// Whether its first heartbeat and report come at a random time within their interval, so that those of a fleet are
    /// spread.
    pub(super) staggered: bool,
    pub(super) rng: Rng,
    pub(super) tally: Arc<Tally>,
    /// The screen that shows its sentences; none in a fleet.
    pub(super) screen: Option<Arc<Screen>>,
    /// Whether it was ever logged in.
    pub(super) known: bool,
    /// The time up to which the vehicle was moved.
    pub(super) moved: Instant,
}

/// The lines typed for a device; `None` if there are no more.
pub(super) type TypedLines = Option<mpsc::Receiver<String>>;

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum ConnectionEnd {
    /// The device said goodbye: this was its last connection.
    Goodbye,
    /// The gateway said goodbye.
    DisconnectedByGateway,
    /// The gateway closed the connection.
    Closed,
    /// The connection broke, or its write timed out.
    Lost(io::Error),
    /// The gateway took too long to answer.
    NoAnswer,
    /// The gateway refused the login.
    LoginRefused,
}

impl fmt::Display for ConnectionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Goodbye => f.write_str("said goodbye"),
            Self::DisconnectedByGateway => f.write_str("the gateway said goodbye"),
            Self::Closed => f.write_str("the gateway closed the connection"),
            Self::Lost(error) => write!(f, "the connection is lost: {error}"),
            Self::NoAnswer => f.write_str("the gateway did not answer in time"),
            Self::LoginRefused => f.write_str("the gateway refused the login"),
        }
    }
}

impl SimulatedDevice {
    /// Moves the vehicle up to now.
    pub(super) fn catch_up(&mut self) {
        let now = Instant::now();
        self.vehicle.advance(now - self.moved);
        self.moved = now;
    }

    /// The time of the first heartbeat or report, with the interval `every`; `None` if there is no interval.
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

/// The next typed line. Pending for ever once there are no more.
pub(super) async fn next_line(lines: &mut TypedLines) -> String {
    if let Some(open) = lines {
        if let Some(line) = open.recv().await {
            return line;
        }
        *lines = None;
    }
    std::future::pending().await
}
