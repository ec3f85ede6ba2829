//! The device port: accepting connections, and talking to one device on each.
//!
//! `listener` accepts; `connection` moves bytes; `deadlines` watches the clock; `talk` decides what a sentence
//! calls for; `replies` puts answers in order; `closing` ends a connection; `budget` bounds the memory for large
//! input. Before all that, `proxy` asks a balancer for the device's address, and `refusals` counts who may not
//! connect. SQL and HTTP are unknown here.

mod budget;
mod closing;
mod connection;
mod deadlines;
mod listener;
mod proxy;
mod refusals;
mod replies;
mod talk;

use std::time::Duration;

use ipnet::IpNet;

use crate::protocol::Limits;

pub use budget::Budget;
pub use listener::serve;

/// How the device port treats its peers.
#[derive(Debug, Clone)]
pub struct DeviceOptions {
    /// Caps on sentences and blobs.
    pub limits: Limits,
    /// The balancers that tell a device's address by the PROXY protocol, and nobody else may connect; none:
    /// devices connect themselves.
    pub proxy_sources: Option<Vec<IpNet>>,
    /// Connections that are held at once; further ones are closed at once.
    pub max_connections: usize,
    /// Bad sentences in a row after which the connection is closed.
    pub max_bad_sentences: u32,
    /// Replies that may wait for commits before the next sentence of a device is handled.
    pub pipeline: usize,
    /// How long the gateway listens before it says the `connected` object into silence.
    pub greeting_delay: Duration,
    /// How long a connection may stay without a login.
    pub login_timeout: Duration,
    /// How long a vehicle may stay without saying anything that is understood.
    pub silence_timeout: Duration,
    /// How long a device may take to accept what is written to it.
    pub write_timeout: Duration,
    /// How long a blob may take to arrive while others wait for the memory that it holds.
    pub blob_timeout: Duration,
    /// How long the store tries to commit.
    pub commit_timeout: Duration,
    /// How long a device that an operator disconnects may take to answer the goodbye.
    pub goodbye_timeout: Duration,
    /// The same for a device that is told goodbye because the gateway stops.
    pub shutdown_goodbye_timeout: Duration,
    /// How long a vehicle may take, when the gateway stops, to answer what it was asked before it is told goodbye.
    pub answer_patience: Duration,
    /// How long it may take, when the gateway stops, until the last device is told.
    pub release_time: Duration,
    /// The memory that large input of all devices together may take.
    pub budget: Budget,
}
