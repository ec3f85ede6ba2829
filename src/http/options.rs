//! Limits of the HTTP port and its requests.

use std::time::Duration;

/// The longest time that a request may give a vehicle to answer.
pub(crate) const MAX_COMMAND_TIMEOUT: Duration =
    Duration::from_secs(MAX_COMMAND_TIMEOUT_SECONDS as u64);
/// [`MAX_COMMAND_TIMEOUT`] in seconds.
pub(crate) const MAX_COMMAND_TIMEOUT_SECONDS: u16 = 60;

/// Limits of the HTTP port and its requests.
#[derive(Debug, Clone, Copy)]
pub struct HttpOptions {
    /// The longest time for a request's headers, and for a connection to be idle between two requests.
    pub header_timeout: Duration,
    /// The largest number of open connections; beyond it a few more are for health checks.
    pub max_connections: usize,
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// The longest time from a request's headers to its response, and the longest time in which a client may receive
    /// nothing of the response.
    pub request_timeout: Duration,
    /// The time that a vehicle gets to answer a command, unless the request says otherwise.
    pub command_timeout: Duration,
}

impl HttpOptions {
    /// The longest time for a request's body: half of the request's, so that a slow client (408) is distinguished
    /// from a slow gateway (503).
    pub(crate) fn body_timeout(&self) -> Duration {
        self.request_timeout / 2
    }

    /// The longest time for the check of the database: half of the request's, so that readiness is reported before
    /// the request times out.
    pub(crate) fn readiness_timeout(&self) -> Duration {
        self.request_timeout / 2
    }

    /// The longest time for a request that waits for a vehicle's answer.
    pub(crate) fn request_and_answer_timeout(&self) -> Duration {
        self.request_timeout + MAX_COMMAND_TIMEOUT
    }
}
