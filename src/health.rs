//! The question that a container's health check asks: does the gateway on this host answer?
//!
//! It knows the process from outside only, as any client of the API does.

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

/// The whole of connecting, asking and the head of the answer. Less than supervisors commonly wait themselves, so that
/// they hear why.
const DEADLINE: Duration = Duration::from_secs(3);

/// Why the gateway does not count as healthy.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// Port 0 is another one at every start, and only the log tells which.
    #[error("http.listen = {0} does not tell which port was taken")]
    AnyPort(SocketAddr),
    /// Nobody listens there.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where the gateway was expected.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// Whoever listens there does not speak HTTP, or hung up.
    #[error("no answer from {address}: {source}")]
    Exchange {
        /// Where the gateway was asked.
        address: SocketAddr,
        /// What went wrong.
        source: hyper::Error,
    },
    /// It answered that it is not well.
    #[error("{address} answered {status}")]
    Status {
        /// Where the gateway was asked.
        address: SocketAddr,
        /// What it answered.
        status: StatusCode,
    },
    /// It hangs.
    #[error("{address} did not answer within {DEADLINE:?}")]
    Deadline {
        /// Where the gateway was asked.
        address: SocketAddr,
    },
}

/// Asks the gateway that listens as `http.listen` says for `/health`; well is 200 within three seconds.
pub async fn check(listen: SocketAddr) -> Result<(), HealthError> {
    if listen.port() == 0 {
        return Err(HealthError::AnyPort(listen));
    }
    let address = reachable(listen);
    let status = tokio::time::timeout(DEADLINE, ask(address))
        .await
        .map_err(|_elapsed| HealthError::Deadline { address })??;
    if status == StatusCode::OK {
        Ok(())
    } else {
        Err(HealthError::Status { address, status })
    }
}

/// Where this host reaches what listens there: all addresses of the host are none to connect to.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        match listen {
            SocketAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        }
    }
    address
}

async fn ask(address: SocketAddr) -> Result<StatusCode, HealthError> {
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
        // It moves the bytes; what goes wrong with it is heard through the answer.
        let connection = tokio::spawn(connection);
        let status = sender
            .send_request(request)
            .await
            .map(|answer| answer.status());
        connection.abort();
        status
    };
    exchange
        .await
        .map_err(|source| HealthError::Exchange { address, source })
}
