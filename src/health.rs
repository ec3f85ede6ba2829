//! The `health` subcommand: asks the gateway on this host for `/health`, as a container's health check does.
//!
//! It is a plain client of the REST API.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::body::Body;
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1,
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::tls;

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
    /// The peer does not speak TLS.
    #[error("no TLS with {address}: {source}")]
    Tls {
        /// The address of the gateway.
        address: SocketAddr,
        /// The error of the handshake.
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

/// Checks that the gateway listening at `http.listen` answers `/health` with 200 within three seconds. `is_encrypted` says
/// whether it speaks HTTPS; then its certificate is not looked at: it belongs to a name by which others call the gateway.
pub async fn check(listen: SocketAddr, is_encrypted: bool) -> Result<(), HealthError> {
    if listen.port() == 0 {
        return Err(HealthError::AnyPort(listen));
    }
    let address = connectable(listen);
    let status = tokio::time::timeout(DEADLINE, request_status(address, is_encrypted))
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

async fn request_status(
    address: SocketAddr,
    is_encrypted: bool,
) -> Result<StatusCode, HealthError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| HealthError::Connect { address, source })?;
    let status = if is_encrypted {
        let stream = encrypt(stream, address.ip())
            .await
            .map_err(|source| HealthError::Tls { address, source })?;
        exchange(stream, address).await
    } else {
        exchange(stream, address).await
    };
    status.map_err(|source| HealthError::Exchange { address, source })
}

async fn encrypt(stream: TcpStream, ip: IpAddr) -> io::Result<TlsStream<TcpStream>> {
    let config = tls::unverified_client().map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::from(ip), stream).await
}

async fn exchange<S>(stream: S, address: SocketAddr) -> Result<StatusCode, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
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
}
