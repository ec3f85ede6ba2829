//! The `health` subcommand: asks the gateway on this host for `/health`, as a container's health check does.
//!
//! It is a plain client of the REST API.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use axum::body::Body;
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1,
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The time for connecting, the request and the head of the response. Supervisors commonly wait longer, so that they
/// get the reason.
const DEADLINE: Duration = Duration::from_secs(3);

/// Why the gateway does not count as healthy.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// Port 0 is another port at every start, which only the log shows.
    #[error("http.listen = {0} does not say which port is in use")]
    AnyPort(SocketAddr),
    /// Nothing listens at the address.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address of the gateway.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The peer does not speak HTTP, or closed the connection.
    #[error("no answer from {address}: {source}")]
    Exchange {
        /// The address of the gateway.
        address: SocketAddr,
        /// The error of the HTTP client.
        source: hyper::Error,
    },
    /// The gateway answered with another status than 200.
    #[error("{address} answered {status}")]
    Status {
        /// The address of the gateway.
        address: SocketAddr,
        /// The status of the response.
        status: StatusCode,
    },
    /// The gateway did not answer in time.
    #[error("{address} did not answer within {DEADLINE:?}")]
    Deadline {
        /// The address of the gateway.
        address: SocketAddr,
    },
}

/// Checks that the gateway listening at `http.listen` answers `/health` with 200 within three seconds.
pub async fn check(listen: SocketAddr) -> Result<(), HealthError> {
    if listen.port() == 0 {
        return Err(HealthError::AnyPort(listen));
    }
    let address = connectable(listen);
    let status = tokio::time::timeout(DEADLINE, request_status(address))
        .await
        .map_err(|_elapsed| HealthError::Deadline { address })??;
    if status == StatusCode::OK {
        Ok(())
    } else {
        Err(HealthError::Status { address, status })
    }
}

/// The address to connect to for a listener: the unspecified address is replaced by loopback.
fn connectable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        match listen {
            SocketAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        }
    }
    address
}

async fn request_status(address: SocketAddr) -> Result<StatusCode, HealthError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| HealthError::Connect { address, source })?;
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::from_static("/health");
        if let Ok(host) = HeaderValue::from_str(&address.to_string()) {
            request.headers_mut().insert(header::HOST, host);
        }
        // The connection task moves the bytes; its errors reach the request, too.
        let connection = tokio::spawn(connection);
        let status = sender
            .send_request(request)
            .await
            .map(|response| response.status());
        connection.abort();
        status
    };
    exchange
        .await
        .map_err(|source| HealthError::Exchange { address, source })
}
