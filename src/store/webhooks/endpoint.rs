//! Webhook endpoints: where messages go, and their rows (`webhook_endpoints`).

use std::{collections::BTreeSet, fmt};

use sea_orm::{ActiveValue::Set, UpdateMany, sea_query::Expr};
use uuid::Uuid;

use crate::{
    domain::{DeviceId, DisabledReason, Event, EventKinds, STATE_EVENTS, Timestamp},
    state::{Backlog, CircuitBreaker, QueueOptions},
    store::{StoreError, entities::webhook_endpoint},
};

/// The text of a secret. Its `Debug` output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// An endpoint that receives messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Its id.
    pub id: Uuid,
    /// Where messages go.
    pub url: String,
    /// The kinds of events that it subscribes to.
    pub events: EventKinds,
    /// The vehicles that it subscribes to; `None` is all.
    pub devices: Option<BTreeSet<DeviceId>>,
    /// The secret that signs messages.
    pub secret: SecretText,
    /// The secret before the last rotation, which signs messages as well until this time.
    pub previous_secret: Option<(SecretText, Timestamp)>,
    /// Whether a message waits until the one before it, about the same vehicle, is delivered or given up.
    pub ordered: bool,
    /// Whether state changes of a vehicle that were not sent yet become one message.
    pub coalesce: bool,
    /// Whether it is defined in the settings, and changed only there.
    pub configured: bool,
    /// Since when and why it is disabled.
    pub disabled: Option<(Timestamp, DisabledReason)>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Its circuit breaker.
    pub breaker: CircuitBreaker,
    /// Why the last failed attempt failed.
    pub last_error: Option<String>,
    /// Whether all changes are stored for it.
    pub backlog: Backlog,
    /// Number of messages that expired because too many were pending.
    pub expired: u64,
}

/// An endpoint and what is pending for it.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointState {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Number of messages that are neither delivered nor given up.
    pub pending: u64,
    /// When the oldest of them was created.
    pub oldest_pending: Option<Timestamp>,
}

/// An endpoint to create.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEndpoint {
    /// Its id.
    pub id: Uuid,
    /// See [`Endpoint::url`].
    pub url: String,
    /// See [`Endpoint::events`].
    pub events: EventKinds,
    /// See [`Endpoint::devices`].
    pub devices: Option<BTreeSet<DeviceId>>,
    /// See [`Endpoint::secret`].
    pub secret: SecretText,
    /// See [`Endpoint::ordered`].
    pub ordered: bool,
    /// See [`Endpoint::coalesce`].
    pub coalesce: bool,
}

/// A change of an endpoint; what is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EndpointPatch {
    /// See [`Endpoint::url`].
    pub url: Option<String>,
    /// See [`Endpoint::events`].
    pub events: Option<EventKinds>,
    /// See [`Endpoint::devices`]; `Some(None)` is all vehicles.
    pub devices: Option<Option<BTreeSet<DeviceId>>>,
    /// See [`Endpoint::ordered`].
    pub ordered: Option<bool>,
    /// See [`Endpoint::coalesce`].
    pub coalesce: Option<bool>,
    /// Whether it receives messages.
    pub enabled: Option<bool>,
}

impl Endpoint {
    /// The part of an event's kinds that the endpoint subscribes to, or `None` if that is nothing.
    pub(super) fn subscribed(&self, event: &Event) -> Option<EventKinds> {
        let is_for_all = event.only_for.is_none_or(|id| id == self.id);
        let kinds = event.change.kinds() & self.stored_events();
        let devices = self.devices.as_ref();
        let is_about = devices.is_none_or(|ids| ids.contains(&event.vehicle.device_id));
        (is_for_all && is_about && !kinds.is_empty()).then_some(kinds)
    }

    /// The kinds of events that become messages: all that it subscribes to, or only the rare ones while it is behind.
    pub(super) fn stored_events(&self) -> EventKinds {
        if self.backlog.is_behind() {
            self.events - STATE_EVENTS
        } else {
            self.events
        }
    }

    /// The options of its delivery queues.
    pub(super) fn queue_options(&self) -> QueueOptions {
        QueueOptions {
            ordered: self.ordered,
            coalesce: self.coalesce,
            subscribed: self.events,
        }
    }
}

fn corrupt(column: &'static str) -> StoreError {
    StoreError::Corrupt {
        table: "webhook_endpoints",
        column,
    }
}

impl TryFrom<webhook_endpoint::Model> for Endpoint {
    type Error = StoreError;

    fn try_from(row: webhook_endpoint::Model) -> Result<Self, StoreError> {
        let devices = row
            .devices
            .map(|devices| serde_json::from_str::<Vec<String>>(&devices))
            .transpose()
            .map_err(|_| corrupt("devices"))?
            .map(|devices| devices.iter().map(|id| DeviceId::parse(id)).collect())
            .transpose()
            .map_err(|_| corrupt("devices"))?;
        let disabled = row
            .disabled_at
            .map(|at| -> Result<_, StoreError> {
                let reason = row.disabled_reason.as_deref().unwrap_or_default();
                let reason = reason.parse().map_err(|_| corrupt("disabled_reason"))?;
                Ok((Timestamp::from_millis(at), reason))
            })
            .transpose()?;
        let previous = row.previous_secret.map(SecretText);
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("id"))?,
            url: row.url,
            events: u8::try_from(row.events)
                .map(EventKinds::from_u8_truncated)
                .map_err(|_| corrupt("events"))?,
            devices,
            secret: SecretText(row.secret),
            previous_secret: previous.zip(row.previous_until.map(Timestamp::from_millis)),
            ordered: row.ordered,
            coalesce: row.coalesce,
            configured: row.configured,
            disabled,
            created_at: Timestamp::from_millis(row.created_at),
            updated_at: Timestamp::from_millis(row.updated_at),
            breaker: breaker_from_columns(row.failures, row.failing_since, row.paused_until),
            last_error: row.last_error,
            backlog: backlog_from_columns(row.behind_since, row.catch_up_at),
            expired: u64::try_from(row.expired).unwrap_or(0),
        })
    }
}

impl NewEndpoint {
    /// The row to insert.
    pub(super) fn row(&self, configured: bool, now: Timestamp) -> webhook_endpoint::ActiveModel {
        webhook_endpoint::ActiveModel {
            id: Set(self.id.to_string()),
            url: Set(self.url.clone()),
            events: Set(i16::from(self.events.as_u8())),
            devices: Set(self.devices.as_ref().map(devices_column)),
            secret: Set(self.secret.0.clone()),
            previous_secret: Set(None),
            previous_until: Set(None),
            ordered: Set(self.ordered),
            coalesce: Set(self.coalesce),
            configured: Set(configured),
            disabled_at: Set(None),
            disabled_reason: Set(None),
            created_at: Set(now.as_millis()),
            updated_at: Set(now.as_millis()),
            failures: Set(0),
            failing_since: Set(None),
            paused_until: Set(None),
            last_error: Set(None),
            expired: Set(0),
            behind_since: Set(None),
            catch_up_at: Set(None),
            deleted_at: Set(None),
        }
    }
}

/// Reads the three columns of a breaker.
pub(super) fn breaker_from_columns(
    failures: i32,
    failing_since: Option<i64>,
    paused_until: Option<i64>,
) -> CircuitBreaker {
    CircuitBreaker {
        failures: u32::try_from(failures).unwrap_or(0),
        failing_since: failing_since.map(Timestamp::from_millis),
        paused_until: paused_until.map(Timestamp::from_millis),
    }
}

/// Reads the two columns of a backlog.
pub(super) fn backlog_from_columns(behind_since: Option<i64>, catch_up_at: Option<i64>) -> Backlog {
    Backlog {
        behind_since: behind_since.map(Timestamp::from_millis),
        catch_up_at: catch_up_at.map(Timestamp::from_millis),
    }
}

/// Adds the two columns of a backlog to an UPDATE.
pub(super) fn set_backlog(
    update: UpdateMany<webhook_endpoint::Entity>,
    backlog: Backlog,
) -> UpdateMany<webhook_endpoint::Entity> {
    use webhook_endpoint::Column as C;
    let millis = |time: Option<Timestamp>| Expr::value(time.map(Timestamp::as_millis));
    update
        .col_expr(C::BehindSince, millis(backlog.behind_since))
        .col_expr(C::CatchUpAt, millis(backlog.catch_up_at))
}

/// Adds the three columns of a breaker to an UPDATE.
pub(super) fn set_breaker(
    update: UpdateMany<webhook_endpoint::Entity>,
    breaker: &CircuitBreaker,
) -> UpdateMany<webhook_endpoint::Entity> {
    use webhook_endpoint::Column as C;
    let millis = |time: Option<Timestamp>| Expr::value(time.map(Timestamp::as_millis));
    let failures = i32::try_from(breaker.failures).unwrap_or(i32::MAX);
    update
        .col_expr(C::Failures, Expr::value(failures))
        .col_expr(C::FailingSince, millis(breaker.failing_since))
        .col_expr(C::PausedUntil, millis(breaker.paused_until))
}

/// Device ids as the column `devices` holds them: a JSON array.
pub(super) fn devices_column<'a>(ids: impl IntoIterator<Item = &'a DeviceId>) -> String {
    let ids: Vec<&str> = ids.into_iter().map(DeviceId::as_str).collect();
    serde_json::Value::from(ids).to_string()
}
