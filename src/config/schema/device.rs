//! `[device]`: the port for vehicles.

use std::{net::SocketAddr, time::Duration};

use ipnet::IpNet;
use serde::{Serialize, Serializer};

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
    /// The port on which vehicles connect over TLS.
    pub tls: DeviceTlsSettings,
}

/// `[device.tls]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceTlsSettings {
    /// The address of the listener; port 0 is any free port. `None` if there is no such port, and then no certificate.
    #[serde(serialize_with = "address_or_empty")]
    pub listen: Option<SocketAddr>,
    /// The path of the file of the certificate.
    pub certificate: String,
    /// The path of the file of its private key.
    pub key: String,
    /// The path of the file of the authorities of vehicles; empty if vehicles are not asked for certificates.
    pub client_ca: String,
    /// The path of the file of the revocation lists of these authorities; empty if there are none.
    pub client_crl: String,
    /// Whether a vehicle has to show a certificate.
    pub require_client_certificate: bool,
}

#[expect(clippy::ref_option, reason = "serde passes it like this")]
fn address_or_empty<S: Serializer>(
    address: &Option<SocketAddr>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match address {
        Some(address) => serializer.collect_str(address),
        None => serializer.serialize_str(""),
    }
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
            tls: DeviceTlsSettings {
                listen: reader.socket_address_or_none("device.tls.listen"),
                certificate: reader.file("device.tls.certificate"),
                key: reader.file("device.tls.key"),
                client_ca: reader.file("device.tls.client_ca"),
                client_crl: reader.file("device.tls.client_crl"),
                require_client_certificate: reader.switch("device.tls.require_client_certificate"),
            },
        }
    }
}

impl DeviceTlsSettings {
    /// Checks the rules between the keys of the section.
    pub(super) fn check_together(&self, reader: &mut SettingsReader<'_>) {
        reader.together(
            "device.tls.listen",
            &["device.tls.certificate"],
            self.listen.is_some() || self.certificate.is_empty(),
            "an IP address and a port as long as device.tls.certificate is set",
        );
        reader.together(
            "device.tls.certificate",
            &["device.tls.listen"],
            self.listen.is_none() || !self.certificate.is_empty(),
            "the path of a file as long as device.tls.listen is set",
        );
        reader.together_or_none(
            ("device.tls.certificate", &self.certificate),
            ("device.tls.key", &self.key),
        );
        for (key, is_set) in [
            ("device.tls.client_crl", !self.client_crl.is_empty()),
            (
                "device.tls.require_client_certificate",
                self.require_client_certificate,
            ),
        ] {
            reader.together(
                "device.tls.client_ca",
                &[key],
                !is_set || !self.client_ca.is_empty(),
                format!("the path of a file as long as {key} is set"),
            );
        }
        reader.together(
            "device.tls.certificate",
            &["device.tls.client_ca"],
            self.client_ca.is_empty() || !self.certificate.is_empty(),
            "the path of a file as long as device.tls.client_ca is set",
        );
    }
}
