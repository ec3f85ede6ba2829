//! Log lines of which an outage of the database would cause one for each vehicle, or for each of its attempts to come
//! back. Each is written at most once in [`LOG_INTERVAL`], with the number of occurrences; the others are logged at
//! debug.

use std::net::SocketAddr;

use super::LOG_INTERVAL;
use crate::{
    domain::{DeviceId, DisconnectReason, SessionKey},
    log_throttle::LogThrottle,
    sessions::StoreError,
};

/// How the beginning of a session was logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoginLine {
    /// With a line of its own.
    Own,
    /// As one of those that a line counts.
    Counted,
}

static LOGINS: LogThrottle = LogThrottle::every(LOG_INTERVAL, |failed| {
    tracing::warn!(failed, "cannot store a login");
});

static DISCONNECTS: LogThrottle = LogThrottle::every(LOG_INTERVAL, |vehicles| {
    tracing::info!(vehicles, "vehicle disconnected");
});

static CONNECTS: LogThrottle = LogThrottle::every(LOG_INTERVAL, |vehicles| {
    tracing::info!(vehicles, "vehicle connected");
});

/// Logs that a login was not stored. While the database cannot commit, every device tries again and again.
pub(super) fn login_not_stored(device_id: &DeviceId, error: &StoreError) {
    if let Some(failed) = LOGINS.admit() {
        tracing::warn!(%device_id, %error, failed, "cannot store a login");
    } else {
        tracing::debug!(%device_id, %error, "cannot store a login");
    }
}

/// Logs a login that was stored late, as are all that have waited for the database.
pub(super) fn connected_late(session: &SessionKey, remote: SocketAddr) {
    let SessionKey { device_id, epoch } = session;
    if let Some(vehicles) = CONNECTS.admit() {
        tracing::info!(%device_id, epoch, %remote, vehicles, "vehicle connected");
    } else {
        tracing::debug!(%device_id, epoch, %remote, "vehicle connected");
    }
}

/// Logs the end of one of the sessions that end together.
pub(super) fn disconnected(session: &SessionKey, remote: SocketAddr, reason: DisconnectReason) {
    let SessionKey { device_id, epoch } = session;
    if let Some(vehicles) = DISCONNECTS.admit() {
        tracing::info!(%device_id, epoch, %remote, %reason, vehicles, "vehicle disconnected");
    } else {
        tracing::debug!(%device_id, epoch, %remote, %reason, "vehicle disconnected");
    }
}
