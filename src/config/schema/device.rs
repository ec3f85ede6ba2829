//! `[device]`: the port for vehicles.

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;
use serde::Serialize;

use crate::config::{
    reader::SettingsReader,
    units::{DAY, GIB, HOUR, KIB, MIB, MILLIS_100, as_duration, as_size, parse_network},
};

/// `[device]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceSettings {
    /// The address of the listener; port 0 is any free port.
    pub listen: SocketAddr,
    /// The longest time that a connection may stay without a login.
    #[serde(serialize_with = "as_duration")]
    pub login_timeout: Duration,
    /// The longest time without a valid sentence or blob byte.
    #[serde(serialize_with = "as_duration")]
    pub silence_timeout: Duration,
    /// The longest time in which the vehicle may accept no byte while some are to be written to it.
    #[serde(serialize_with = "as_duration")]
    pub write_timeout: Duration,
    /// The longest time that a blob may take to arrive while other devices wait for the memory it holds.
    #[serde(serialize_with = "as_duration")]
    pub blob_timeout: Duration,
    /// How long the gateway waits for plain text before it sends the `connected` object; zero sends it at once. Less
    /// than `login_timeout`.
    #[serde(serialize_with = "as_duration")]
    pub greeting_delay: Duration,
    /// The most connections at once; 0 is as many as the open-file limit allows, at most 18,000.
    pub max_connections: usize,
    /// Bad sentences in a row after which the connection is closed, at least 1.
    pub max_bad_sentences: usize,
    /// The longest sentence or JSON object without a blob, in bytes.
    #[serde(serialize_with = "as_size")]
    pub max_sentence: usize,
    /// The largest debug blob, in bytes of the blob itself.
    #[serde(serialize_with = "as_size")]
    pub max_blob: usize,
    /// The most bytes that all devices together may have buffered above 8 KiB each. When it is used up, one device at a
    /// time may exceed it until its blob is complete.
    #[serde(serialize_with = "as_size")]
    pub buffer_budget: usize,
    /// The most sentences of one device that wait for their commit at once, at least 1.
    pub pipeline: usize,
    /// Whether a balancer sends the address of each device.
    pub proxy_protocol: ProxyProtocol,
    /// The networks of the balancers, at least 1. With [`ProxyProtocol::Required`] no other peer may connect.
    pub proxy_sources: Vec<IpNet>,
}

/// Whether device connections begin with a PROXY protocol header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// No header: devices connect directly, or the address of a device may be that of its balancer.
    #[default]
    Off,
    /// A header is required.
    Required,
}

impl DeviceSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        Self {
            listen: reader.socket_address("device.listen"),
            login_timeout: reader.duration("device.login_timeout", MILLIS_100..=HOUR),
            silence_timeout: reader.duration("device.silence_timeout", MILLIS_100..=DAY),
            write_timeout: reader.duration("device.write_timeout", MILLIS_100..=HOUR / 6),
            blob_timeout: reader.duration("device.blob_timeout", MILLIS_100..=HOUR),
            greeting_delay: reader.duration(
                "device.greeting_delay",
                Duration::ZERO..=Duration::from_secs(10),
            ),
            max_connections: reader.count("device.max_connections", 0..=10_000_000),
            max_bad_sentences: reader.count("device.max_bad_sentences", 1..=10_000),
            max_sentence: reader.bytes("device.max_sentence", 256..=64 * KIB),
            max_blob: reader.bytes("device.max_blob", KIB..=16 * MIB),
            buffer_budget: reader.bytes("device.buffer_budget", MIB..=64 * GIB),
            pipeline: reader.count("device.pipeline", 1..=1024),
            proxy_protocol: reader.choice(
                "device.proxy_protocol",
                &[
                    ("off", ProxyProtocol::Off),
                    ("required", ProxyProtocol::Required),
                ],
            ),
            proxy_sources: reader.list(
                "device.proxy_sources",
                "a list of IP addresses and networks, such as [\"10.0.0.0/8\", \"192.0.2.7\"]",
                parse_network,
            ),
        }
    }
}
