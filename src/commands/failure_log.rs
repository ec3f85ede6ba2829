//! Log lines about commands that fail: an outage, or a client, would cause one for each command and each attempt. Each is
//! written at most once in an interval, with the number of occurrences; the others are logged at debug.

use std::{fmt::Display, time::Duration};

use uuid::Uuid;

use crate::{
    domain::{Action, DeviceId},
    log_throttle::LogThrottle,
    store::StoreError,
};

const INTERVAL: Duration = Duration::from_secs(10);
/// The interval of warnings about published commands: every client that may publish can cause any number of them.
const CHANNEL_INTERVAL: Duration = Duration::from_mins(1);

static INTERVALS: LogThrottle = LogThrottle::every(INTERVAL, |attempts| {
    tracing::warn!(attempts, "desired report interval not sent");
});
static QUEUED: LogThrottle = LogThrottle::every(INTERVAL, |attempts| {
    tracing::warn!(attempts, "queued command not sent");
});
static GIVEN_UP: LogThrottle = LogThrottle::every(INTERVAL, |commands| {
    tracing::error!(commands, "queued command not sent until the next login");
});
static ENDS: LogThrottle = LogThrottle::every(INTERVAL, |commands| {
    tracing::warn!(commands, "end of a queued command not stored yet");
});
static UNWRITTEN: LogThrottle = LogThrottle::every(INTERVAL, |commands| {
    tracing::warn!(
        commands,
        "unwritten command not ended: it stays open until its session ends"
    );
});
static PUBLISHED: LogThrottle = LogThrottle::every(CHANNEL_INTERVAL, |commands| {
    tracing::warn!(commands, "published command not sent");
});
static FAILED: LogThrottle = LogThrottle::every(INTERVAL, |commands| {
    tracing::error!(commands, "command failed in the store");
});
static BROADCASTS: LogThrottle = LogThrottle::every(INTERVAL, |broadcasts| {
    tracing::warn!(
        broadcasts,
        "instances not read: the broadcast goes to those that were alive last"
    );
});

/// Logs an attempt to send the report interval that an operator asked for.
pub(super) fn interval_not_sent(device_id: &DeviceId, error: &StoreError) {
    if let Some(attempts) = INTERVALS.admit() {
        tracing::warn!(%device_id, %error, attempts, "desired report interval not sent");
    } else {
        tracing::debug!(%device_id, %error, "desired report interval not sent");
    }
}

/// Logs an attempt to send a queued command, which is repeated.
pub(super) fn queued_not_sent(device_id: &DeviceId, id: Uuid, error: &StoreError) {
    if let Some(attempts) = QUEUED.admit() {
        tracing::warn!(%device_id, %id, %error, attempts, "queued command not sent");
    } else {
        tracing::debug!(%device_id, %id, %error, "queued command not sent");
    }
}

/// Logs a queued command that is not sent in this session.
pub(super) fn queued_given_up(device_id: &DeviceId, id: Uuid, error: &StoreError) {
    if let Some(commands) = GIVEN_UP.admit() {
        tracing::error!(%device_id, %id, %error, commands, "queued command not sent until the next login");
    } else {
        tracing::debug!(%device_id, %id, %error, "queued command not sent until the next login");
    }
}

/// Logs a queued command that was sent and whose end is not stored.
pub(super) fn end_not_stored(device_id: &DeviceId, id: Uuid, error: &StoreError) {
    if let Some(commands) = ENDS.admit() {
        tracing::warn!(%device_id, %id, %error, commands, "end of a queued command not stored yet");
    } else {
        tracing::debug!(%device_id, %id, %error, "end of a queued command not stored yet");
    }
}

/// Logs a command that was stored too late to be written, and that could not be ended.
pub(super) fn unwritten_not_ended(device_id: &DeviceId, id: Uuid, error: &StoreError) {
    if let Some(commands) = UNWRITTEN.admit() {
        tracing::warn!(%device_id, %id, %error, commands, "unwritten command not ended: it stays open until its session ends");
    } else {
        tracing::debug!(%device_id, %id, %error, "unwritten command not ended: it stays open until its session ends");
    }
}

/// Logs a command of the shared channel that was not sent.
pub(super) fn published_not_sent(device_id: &DeviceId, action: Action, error: &dyn Display) {
    if let Some(commands) = PUBLISHED.admit() {
        tracing::warn!(%device_id, %action, %error, commands, "published command not sent");
    } else {
        tracing::debug!(%device_id, %action, %error, "published command not sent");
    }
}

/// Logs a command that failed for another reason than a database that is away.
pub(super) fn failed_in_store(error: &StoreError) {
    if let Some(commands) = FAILED.admit() {
        tracing::error!(%error, commands, "command failed in the store");
    } else {
        tracing::debug!(%error, "command failed in the store");
    }
}

/// Logs a broadcast whose instances could not be read.
pub(super) fn instances_not_read(error: &StoreError) {
    if let Some(broadcasts) = BROADCASTS.admit() {
        tracing::warn!(%error, broadcasts, "instances not read: the broadcast goes to those that were alive last");
    } else {
        tracing::debug!(%error, "instances not read: the broadcast goes to those that were alive last");
    }
}
