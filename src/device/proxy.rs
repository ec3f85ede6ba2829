//! The PROXY protocol: the header by which a balancer tells whose connection it passes on. It is received before
//! there is a connection to converse on, so that a conversation neither knows nor pays for it.
//!
//! Of the header only the device's address is used; the rest (TLVs, the balancer's own address) is passed over.

use std::{io, net::SocketAddr, time::Duration};

use ipnet::IpNet;
use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use super::refusals::Refusals;

/// How long a header may take: balancers send it at once, and a packet that was lost comes again after one to three
/// seconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How version 1 begins, and the most it may have, both by its definition.
const TEXT: &[u8] = b"PROXY ";
const LONGEST_TEXT: usize = 107;
/// How version 2 begins, what stands before its addresses, and the most we take: its own bound is 64 KiB, but what
/// balancers send is below 1 KiB also with all they know of a client's certificate.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const BINARY_HEAD: usize = 16;
const LONGEST_BINARY: usize = 4 << 10;
/// The connection is the balancer's own: a health check.
const LOCAL: u8 = 0x20;
/// What is looked at in one step: more than nearly every header has.
const STEP: usize = 256;

/// The balancers, and what is to be said of everybody else.
#[derive(Debug)]
pub(super) struct Balancers {
    sources: Vec<IpNet>,
    patience: Duration,
    strangers: Refusals,
    without_header: Refusals,
}

impl Balancers {
    pub(super) fn new(sources: Vec<IpNet>, login_timeout: Duration) -> Self {
        Self {
            sources,
            patience: PATIENCE.min(login_timeout),
            strangers: Refusals::default(),
            without_header: Refusals::default(),
        }
    }

    /// Whether a peer may say whose connection it passes on. If not, that is logged.
    pub(super) fn admit(&self, remote: SocketAddr) -> bool {
        // On a socket for both, an IPv4 peer has an IPv6 address.
        let ip = remote.ip().to_canonical();
        if self.sources.iter().any(|source| source.contains(&ip)) {
            return true;
        }
        if let Some(refused) = self.strangers.count() {
            tracing::warn!(%remote, refused, "device refused: it is none of device.proxy_sources");
        } else {
            tracing::debug!(%remote, "device refused: it is none of device.proxy_sources");
        }
        false
    }

    /// The address of the device behind `remote`; none if the connection is to be closed, which is logged. What
    /// comes after the header is still in the stream.
    pub(super) async fn device_behind(
        &self,
        remote: SocketAddr,
        stream: &mut TcpStream,
    ) -> Option<SocketAddr> {
        let received = timeout(self.patience, receive(stream)).await;
        match received.unwrap_or(Err(Refused::Late)) {
            Ok(device) => {
                let device = device.unwrap_or(remote);
                tracing::debug!(remote = %device, balancer = %remote, "a balancer's connection");
                return Some(device);
            }
            // What health checks do.
            Err(Refused::Left) => {
                tracing::debug!(%remote, reason = %Refused::Left, "connection closed");
            }
            Err(reason) => match self.without_header.count() {
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

/// Why there is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("it left before it said anything")]
    Left,
    #[error("it begins with something else")]
    SomethingElse,
    #[error("it is malformed")]
    Malformed,
    #[error("it is longer than 4 KiB")]
    TooLong,
    #[error("it was not complete in time")]
    Late,
    #[error("the connection ended within it")]
    CutShort,
}

/// Takes the header from the stream; the device's address unless the connection is the balancer's own.
async fn receive(stream: &mut TcpStream) -> Result<Option<SocketAddr>, Refused> {
    let mut bytes = Vec::new();
    loop {
        let taken = bytes.len();
        let ended = |_: io::Error| {
            if taken == 0 {
                Refused::Left
            } else {
                Refused::CutShort
            }
        };
        bytes.resize(taken + STEP, 0);
        // Looked at first and taken then: what the device says behind the header stays where the conversation
        // will read it.
        let seen = stream.peek(&mut bytes[taken..]).await.map_err(ended)?;
        if seen == 0 {
            return Err(ended(io::ErrorKind::UnexpectedEof.into()));
        }
        bytes.truncate(taken + seen);
        let header = parse(&bytes)?;
        let end = header.map_or(bytes.len(), |header| header.length);
        let taking = stream.read_exact(&mut bytes[taken..end]).await;
        // Some health checks reset the connection right behind their header, and it may be gone between the two.
        taking.map_err(|_| match header {
            Some(_) => Refused::Left,
            None => Refused::CutShort,
        })?;
        if let Some(header) = header {
            return Ok(header.device);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    length: usize,
    /// None if the balancer speaks for itself, or of something that has no address and port.
    device: Option<SocketAddr>,
}

/// The header that `bytes` begin with; none if it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<Header>, Refused> {
    if begin_like(bytes, BINARY) {
        parse_binary(bytes)
    } else if begin_like(bytes, TEXT) {
        parse_text(bytes)
    } else {
        Err(Refused::SomethingElse)
    }
}

/// Whether `bytes` begin with `signature`, as far as they go.
fn begin_like(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(one, other)| one == other)
}

fn parse_text(bytes: &[u8]) -> Result<Option<Header>, Refused> {
    // With more, the parser would look for the end of the line in what the device says.
    let line = &bytes[..bytes.len().min(LONGEST_TEXT)];
    match ProxyHeader::parse(line, config()) {
        Ok(parsed) => Ok(Some(parsed.into())),
        Err(Error::BufferTooShort) => Ok(None),
        Err(_) => Err(Refused::Malformed),
    }
}

fn parse_binary(bytes: &[u8]) -> Result<Option<Header>, Refused> {
    let Some(&[.., command, _family, high, low]) = bytes.first_chunk::<BINARY_HEAD>() else {
        return Ok(None);
    };
    let length = BINARY_HEAD + usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_BINARY {
        return Err(Refused::TooLong);
    }
    if bytes.len() < length {
        return Ok(None);
    }
    // The parser looks at the addresses first and refuses some that the definition says are to be ignored here.
    if command == LOCAL {
        return Ok(Some(Header {
            length,
            device: None,
        }));
    }
    // It is complete: "too short" means that it has no room for its addresses.
    let parsed = ProxyHeader::parse(&bytes[..length], config());
    parsed.map_or(Err(Refused::Malformed), |parsed| Ok(Some(parsed.into())))
}

fn config() -> ParseConfig {
    ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    }
}

impl From<(ProxyHeader<'_>, usize)> for Header {
    fn from((header, length): (ProxyHeader<'_>, usize)) -> Self {
        let address = header.proxied_address();
        let device = address
            .filter(|address| address.protocol == Protocol::Stream)
            .map(|address| address.source);
        Self { length, device }
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
