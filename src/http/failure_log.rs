//! Log lines about requests that fail: with a database that is slow, damaged or away there would be one for each
//! request. Each is written at most once in an interval, with the number of occurrences; the others are logged at debug.

use std::{error::Error, io, time::Duration};

use axum::http::Method;

use crate::{domain::DeviceId, log_throttle::LogThrottle};

const INTERVAL: Duration = Duration::from_secs(10);

static FAILED: LogThrottle = LogThrottle::every(INTERVAL, |requests| {
    tracing::error!(requests, "request failed");
});
static TIMED_OUT: LogThrottle = LogThrottle::every(INTERVAL, |requests| {
    tracing::warn!(requests, "request timed out");
});
static ENDED_EARLY: LogThrottle = LogThrottle::every(INTERVAL, |downloads| {
    tracing::warn!(downloads, "download of a debug blob ended early");
});
static FAILED_ACCEPTS: LogThrottle = LogThrottle::every(INTERVAL, |times| {
    tracing::warn!(times, "cannot accept HTTP connections");
});

/// Logs a request that failed for a reason which is for the log alone.
pub(super) fn request_failed(error: &dyn Error) {
    if let Some(requests) = FAILED.admit() {
        tracing::error!(%error, requests, "request failed");
    } else {
        tracing::debug!(%error, "request failed");
    }
}

/// Logs a request that took too long.
pub(super) fn request_timed_out(method: &Method, path: &str) {
    if let Some(requests) = TIMED_OUT.admit() {
        tracing::warn!(%method, path, requests, "request timed out");
    } else {
        tracing::debug!(%method, path, "request timed out");
    }
}

/// Logs a download of which the client has got a part only.
pub(super) fn download_ended_early(device_id: &DeviceId, blob_id: i64, error: &dyn Error) {
    if let Some(downloads) = ENDED_EARLY.admit() {
        tracing::warn!(%device_id, blob_id, %error, downloads, "download of a debug blob ended early");
    } else {
        tracing::debug!(%device_id, blob_id, %error, "download of a debug blob ended early");
    }
}

/// Logs that a connection could not be accepted.
pub(super) fn accept_failed(error: &io::Error) {
    if let Some(times) = FAILED_ACCEPTS.admit() {
        tracing::warn!(%error, times, "cannot accept HTTP connections");
    }
}
