//! `[http]`: the REST API.

use std::{net::SocketAddr, time::Duration};

use serde::Serialize;

use crate::config::{
    reader::SettingsReader,
    units::{HOUR, KIB, MIB, MILLIS_100, as_duration, as_size},
};

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpSettings {
    /// The address of the listener; port 0 is any free port.
    pub listen: SocketAddr,
    /// The longest time that a client may take to send the head of a request.
    #[serde(serialize_with = "as_duration")]
    pub header_timeout: Duration,
    /// The most connections at once, at least 1.
    pub max_connections: usize,
    /// The largest request body, in bytes.
    #[serde(serialize_with = "as_size")]
    pub max_body: usize,
    /// The longest time for a whole request, in which commands have 60 s more.
    #[serde(serialize_with = "as_duration")]
    pub request_timeout: Duration,
}

impl HttpSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        Self {
            listen: reader.socket_address("http.listen"),
            header_timeout: reader.duration("http.header_timeout", MILLIS_100..=HOUR / 12),
            max_connections: reader.count("http.max_connections", 1..=1_000_000),
            max_body: reader.bytes("http.max_body", KIB..=16 * MIB),
            request_timeout: reader.duration("http.request_timeout", MILLIS_100..=HOUR / 6),
        }
    }
}
