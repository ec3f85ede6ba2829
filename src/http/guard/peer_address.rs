//! The address that a request comes from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::{extract::ConnectInfo, http::Extensions};

/// The address that a request comes from; an IPv4 address that an IPv6 socket shows is one. Requests without a connection
/// are those of tests.
pub(super) fn peer_address(extensions: &Extensions) -> IpAddr {
    let address = extensions.get::<ConnectInfo<SocketAddr>>();
    let address = address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |it| it.0.ip());
    address.to_canonical()
}
