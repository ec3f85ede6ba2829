//! The PROXY protocol: the header in which a balancer sends the address of the device that it forwards.
//!
//! A task of its own receives the header before `connection` serves the device, so that a connection through a balancer
//! holds no more memory than a direct one. Only the device's address is used; the header's extensions (TLVs) and the
//! balancer's own address are ignored.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use super::LOG_INTERVAL;
use crate::log_throttle::LogThrottle;

/// The longest time that a header may take. Balancers send it at once, and a lost packet is retransmitted after one to
/// three seconds.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// The signature and the largest size of version 1, as the specification has them.
const TEXT_SIGNATURE: &[u8] = b"PROXY ";
const LONGEST_TEXT: usize = 107;
/// The signature of version 2, the size of its fixed part, and the largest accepted size: the specification allows
/// 64 KiB, but balancers send less than 1 KiB even with all the details of a client certificate.
const BINARY_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const BINARY_FIXED: usize = 16;
const LONGEST_BINARY: usize = 4 << 10;
/// The command byte of a connection of the balancer itself, such as a health check.
const LOCAL: u8 = 0x20;
/// Bytes peeked at in one step: more than nearly every header has.
const PEEK_SIZE: usize = 256;

static UNKNOWN_PEERS: LogThrottle = LogThrottle::every(LOG_INTERVAL, |refused| {
    tracing::warn!(refused, "device refused: not in device.proxy_sources");
});

static WITHOUT_HEADER: LogThrottle = LogThrottle::every(LOG_INTERVAL, |refused| {
    tracing::warn!(refused, "device refused: no valid PROXY header");
});

/// The balancers that may connect.
#[derive(Debug)]
pub(super) struct Balancers {
    sources: Vec<IpNet>,
    /// The longest time for a header.
    patience: Duration,
}

impl Balancers {
    pub(super) fn new(sources: Vec<IpNet>, login_timeout: Duration) -> Self {
        Self {
            sources,
            patience: HEADER_TIMEOUT.min(login_timeout),
        }
    }

    /// Whether the peer is a balancer. Logs the refusal of any other peer.
    pub(super) fn admit(&self, remote: SocketAddr) -> bool {
        let ip = canonical(remote).ip();
        if self.sources.iter().any(|source| source.contains(&ip)) {
            return true;
        }
        if let Some(refused) = UNKNOWN_PEERS.admit() {
            tracing::warn!(%remote, refused, "device refused: not in device.proxy_sources");
        } else {
            tracing::debug!(%remote, "device refused: not in device.proxy_sources");
        }
        false
    }

    /// The address of the device behind the balancer at `remote`; `remote` itself if the header names none. None (and a
    /// log line) if the connection must be closed. The bytes after the header stay in the stream.
    pub(super) async fn device_behind(
        &self,
        remote: SocketAddr,
        stream: &mut TcpStream,
    ) -> Option<SocketAddr> {
        let received = timeout(self.patience, receive(stream)).await;
        match received.unwrap_or(Err(HeaderError::Timeout)) {
            Ok(device) => {
                let device = device.unwrap_or(remote);
                tracing::debug!(remote = %device, balancer = %remote, "device connected through a balancer");
                return Some(device);
            }
            // Health checks of balancers connect and close.
            Err(HeaderError::Closed) => {
                tracing::debug!(%remote, reason = %HeaderError::Closed, "connection closed");
            }
            Err(reason) => match WITHOUT_HEADER.admit() {
                Some(refused) => {
                    tracing::warn!(%remote, refused, %reason, "device refused: no valid PROXY header");
                }
                None => {
                    tracing::debug!(%remote, %reason, "device refused: no valid PROXY header");
                }
            },
        }
        None
    }
}

/// An address as people write it: on a dual-stack socket an IPv4 peer has an IPv4-mapped IPv6 address.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        // With the scope of a link-local address.
        IpAddr::V6(_) => address,
    }
}

/// Why there is no valid header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum HeaderError {
    #[error("the connection was closed before the header")]
    Closed,
    #[error("the connection does not begin with a header")]
    NoHeader,
    #[error("the header is malformed")]
    Malformed,
    #[error("the header is longer than 4 KiB")]
    TooLong,
    #[error("the header was not complete in time")]
    Timeout,
    #[error("the connection was closed within the header")]
    Truncated,
}

/// Reads the header from the stream. Returns the device's address, or none if the header has none, such as that of a
/// connection of the balancer itself.
async fn receive(stream: &mut TcpStream) -> Result<Option<SocketAddr>, HeaderError> {
    let mut bytes = Vec::new();
    loop {
        let read = bytes.len();
        let ended = |_: io::Error| {
            if read == 0 {
                HeaderError::Closed
            } else {
                HeaderError::Truncated
            }
        };
        bytes.resize(read + PEEK_SIZE, 0);
        // Peeked at before it is read, so that the bytes after the header stay in the stream.
        let peeked = stream.peek(&mut bytes[read..]).await.map_err(ended)?;
        if peeked == 0 {
            return Err(ended(io::ErrorKind::UnexpectedEof.into()));
        }
        bytes.truncate(read + peeked);
        let header = parse(&bytes)?;
        let end = header.map_or(bytes.len(), |header| header.length);
        let reading = stream.read_exact(&mut bytes[read..end]).await;
        // Some health checks reset the connection right after their header, which may happen between peek and read.
        reading.map_err(|_| match header {
            Some(_) => HeaderError::Closed,
            None => HeaderError::Truncated,
        })?;
        if let Some(header) = header {
            return Ok(header.device);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ParsedHeader {
    length: usize,
    /// None for a connection of the balancer itself, and for one without an address and port.
    device: Option<SocketAddr>,
}

/// The header that `bytes` begin with, or none if it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<ParsedHeader>, HeaderError> {
    if may_begin_with(bytes, BINARY_SIGNATURE) {
        parse_binary(bytes)
    } else if may_begin_with(bytes, TEXT_SIGNATURE) {
        parse_text(bytes)
    } else {
        Err(HeaderError::NoHeader)
    }
}

/// Whether `bytes` begin with `signature`, or are its beginning.
fn may_begin_with(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(one, other)| one == other)
}

fn parse_text(bytes: &[u8]) -> Result<Option<ParsedHeader>, HeaderError> {
    // With more bytes the parser would look for the end of the line in what the device sent.
    let line = &bytes[..bytes.len().min(LONGEST_TEXT)];
    match ProxyHeader::parse(line, config()) {
        Ok(parsed) => Ok(Some(parsed.into())),
        Err(Error::BufferTooShort) => Ok(None),
        Err(_) => Err(HeaderError::Malformed),
    }
}

fn parse_binary(bytes: &[u8]) -> Result<Option<ParsedHeader>, HeaderError> {
    let Some(&[.., command, _family, high, low]) = bytes.first_chunk::<BINARY_FIXED>() else {
        return Ok(None);
    };
    let length = BINARY_FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_BINARY {
        return Err(HeaderError::TooLong);
    }
    if bytes.len() < length {
        return Ok(None);
    }
    // Not parsed further: the specification says that the addresses of this command are ignored, and the parser would
    // refuse some.
    if command == LOCAL {
        return Ok(Some(ParsedHeader {
            length,
            device: None,
        }));
    }
    // The header is complete here, so "too short" means that it has no room for its addresses.
    let parsed = ProxyHeader::parse(&bytes[..length], config());
    parsed.map_or(Err(HeaderError::Malformed), |parsed| {
        Ok(Some(parsed.into()))
    })
}

fn config() -> ParseConfig {
    ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    }
}

impl From<(ProxyHeader<'_>, usize)> for ParsedHeader {
    fn from((header, length): (ProxyHeader<'_>, usize)) -> Self {
        let address = header.proxied_address();
        let device = address
            .filter(|address| address.protocol == Protocol::Stream)
            .map(|address| canonical(address.source));
        Self { length, device }
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
