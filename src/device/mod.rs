//! The device port: accepts connections and holds one conversation on each.
//!
//! The path of a sentence: `listener` accepts a connection (behind a balancer, `proxy` reads the device's address from
//! the PROXY header first; on the encrypted port it shakes hands). `connection` is its task: `input` reads bytes into the protocol's decoder, `conversation`
//! decides how to react to a sentence, `crate::sessions` and `crate::commands` store what the sentence says, and
//! `replies` writes the replies in order.
//!
//! Around that: `login` waits for a login to be stored, `goodbye` handles what other modules request of the connection
//! (write a command, close), `timers` has all deadlines, `closing` ends a connection and its session, `outage_log` has
//! the log lines of an outage, `budget` bounds the memory for large input.
//! The module knows neither SQL nor HTTP.

mod budget;
mod closing;
mod connection;
mod conversation;
mod goodbye;
mod input;
mod listener;
mod login;
mod outage_log;
mod proxy;
mod replies;
mod timers;

use std::time::Duration;

use ipnet::IpNet;

use crate::protocol::Limits;

/// The interval between two log lines about connections that are refused or end together: such a peer reconnects at
/// once, so only the number since the last line is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) use budget::Budget;
pub(crate) use listener::{DevicePorts, serve};

/// Bounds and deadlines of the device port.
#[derive(Debug, Clone)]
pub(crate) struct DeviceOptions {
    /// Caps on sentences and blobs.
    pub(crate) limits: Limits,
    /// The balancers that send a device's address by the PROXY protocol; only they may connect. None: devices connect
    /// directly.
    pub(crate) proxy_sources: Option<Vec<IpNet>>,
    /// The most connections at once; further ones are closed at once.
    pub(crate) max_connections: usize,
    /// Bad sentences in a row after which the connection is closed.
    pub(crate) max_bad_sentences: u32,
    /// The most replies of one device that wait for commits before its next sentence is handled.
    pub(crate) pipeline: usize,
    /// How long the gateway waits for the first byte before it sends the `connected` object.
    pub(crate) greeting_delay: Duration,
    /// The longest time that a connection may stay without a login.
    pub(crate) login_timeout: Duration,
    /// The longest time without a valid sentence or a byte of a blob from a vehicle that is logged in.
    pub(crate) silence_timeout: Duration,
    /// The longest time that a device may take to accept written bytes.
    pub(crate) write_timeout: Duration,
    /// The longest time that a blob may take to arrive while other devices wait for the memory it holds.
    pub(crate) blob_timeout: Duration,
    /// The longest time that the store tries to commit a write request; a connection waits a little longer for the
    /// result.
    pub(crate) commit_timeout: Duration,
    /// How long a device that an operator disconnects may take to answer the goodbye.
    pub(crate) goodbye_timeout: Duration,
    /// How long a device may take to answer the goodbye of a shutdown.
    pub(crate) shutdown_goodbye_timeout: Duration,
    /// At a shutdown, how long a vehicle may take to answer pending commands before the goodbye is sent.
    pub(crate) answer_patience: Duration,
    /// At a shutdown, the time over which the connections are asked to close.
    pub(crate) release_time: Duration,
    /// The memory for large input of all devices together.
    pub(crate) budget: Budget,
}
