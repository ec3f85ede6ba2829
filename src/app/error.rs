//! The errors that end the start of a gateway.

use std::{fmt, io, net::SocketAddr};

use crate::{
    fanout::FanoutError,
    store::{OpenError, StoreError},
    tls::TlsErrors,
    webhooks::WebhookClientError,
};

/// A port could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {key} = {address}: {source}")]
pub struct ListenError {
    /// The settings key.
    pub key: &'static str,
    /// The value of `key`.
    pub address: SocketAddr,
    /// The error of the operating system.
    pub source: io::Error,
}

/// The ports that could not be opened; at least one. Displayed on one line.
#[derive(Debug)]
pub struct ListenErrors(pub Vec<ListenError>);

impl fmt::Display for ListenErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index > 0 { "; " } else { "" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ListenErrors {}

/// Why the gateway could not start. Each message is one line that an operator can act on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The sessions that the previous run left could not be ended.
    #[error("cannot end the sessions of the previous run: {0}")]
    Recover(StoreError),
    /// The endpoints of the settings could not be stored.
    #[error("cannot store the endpoints of webhooks.endpoints: {0}")]
    Endpoints(StoreError),
    /// The client that delivers webhooks could not be built.
    #[error(transparent)]
    Webhooks(#[from] WebhookClientError),
    /// The Redis settings cannot be used.
    #[error(transparent)]
    Fanout(#[from] FanoutError),
    /// One or both ports could not be opened.
    #[error(transparent)]
    Listen(ListenErrors),
    /// Files of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsErrors),
    /// The signal handlers could not be installed.
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
    /// The operating system allows fewer open files than the settings need.
    #[error(
        "device.max_connections = {wanted} and http.max_connections = {http} need {needed} open files, but this process may open {allowed}; lower them or raise the limit (ulimit -n)"
    )]
    OpenFiles {
        /// `device.max_connections`.
        wanted: usize,
        /// `http.max_connections`.
        http: usize,
        /// Open files that the connections of both ports and the rest of the process need.
        needed: u64,
        /// The hard limit of open files.
        allowed: u64,
    },
}
