//! Messages of endpoints, as callers of the store see, claim and settle them.

use std::{sync::Arc, time::Duration};

use sea_orm::DbErr;
use uuid::Uuid;

use super::{
    endpoint::Endpoint,
    queues::{QueueKey, parse_device},
};
use crate::{
    domain::{AttemptOutcome, DeviceId, MessageState, Timestamp},
    store::{StoreError, entities::webhook_message},
};

/// A message and how its delivery went so far.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMessage {
    /// Its id, which is the same at every attempt.
    pub id: Uuid,
    /// The vehicle that it concerns; `None` if it is a test message.
    pub device_id: Option<DeviceId>,
    /// Its number among those of its endpoint and vehicle.
    pub sequence: i64,
    /// Its type, such as `vehicle.online`.
    pub message_type: String,
    /// Its state.
    pub state: MessageState,
    /// Its body; empty in lists.
    pub body: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it may be sent next, while it is pending.
    pub due: Timestamp,
    /// Number of attempts.
    pub attempts: u32,
    /// When it was sent last.
    pub attempted_at: Option<Timestamp>,
    /// When it was delivered or given up.
    pub finished_at: Option<Timestamp>,
    /// The last attempt.
    pub last_attempt: AttemptRecord,
}

/// Record of an attempt, as it is kept with its message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Status code of the response.
    pub status: Option<u16>,
    /// Time until the head of the response, or the failure.
    pub duration: Option<Duration>,
    /// Beginning of the response's body.
    pub response: Option<String>,
    /// Why the attempt failed.
    pub error: Option<String>,
}

/// Identifies a message under a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedKey {
    /// The queue that is claimed.
    pub queue: QueueKey,
    /// The message.
    pub id: Uuid,
    /// The id of the claim. The attempt can be settled only while the queue still has this claim.
    pub claim: Uuid,
}

/// A message that the caller has claimed in order to send it.
#[derive(Debug, Clone)]
pub struct ClaimedMessage {
    /// The message and its claim.
    pub key: ClaimedKey,
    /// Where it goes.
    pub endpoint: Arc<Endpoint>,
    /// Its body.
    pub body: String,
    /// Number of attempts so far.
    pub attempts: u32,
    /// Whether it is sent before its due time because its endpoint has recovered. Then a failure does not count as one
    /// of its attempts.
    pub is_early: bool,
}

/// How many more messages may be in flight to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimLimit {
    /// The endpoint.
    pub endpoint_id: Uuid,
    /// The number of queues to claim at most.
    pub queues: u64,
}

/// How long an endpoint may fail without a success.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailureLimits {
    /// Before it is disabled.
    pub disable_after: Duration,
    /// Before it falls behind: changes of state are not stored for it until it works again.
    pub coalesce_after: Duration,
}

/// An attempt that has ended, and what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedAttempt {
    /// The message and its claim.
    pub key: ClaimedKey,
    /// The endpoint as it was when the message was sent.
    pub endpoint: Arc<Endpoint>,
    /// See [`ClaimedMessage::is_early`].
    pub is_early: bool,
    /// The outcome.
    pub outcome: AttemptOutcome,
    /// The delay until the next attempt if this one failed; `None` if it was the last.
    pub retry_in: Option<Duration>,
    /// What is stored about the attempt.
    pub record: AttemptRecord,
    /// For how long to claim the next message of the queue; `None` to claim none.
    pub claim_next: Option<Duration>,
    /// What follows if the endpoint fails for long.
    pub limits: FailureLimits,
}

/// Which messages of an endpoint to list, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessagePage {
    /// Only messages in this state.
    pub state: MessageState,
    /// Only messages older than this one.
    pub before: Option<Uuid>,
    /// At most this many messages.
    pub limit: u64,
}

/// One step of retrying failed messages, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryStep {
    /// Only messages that failed at this time or later.
    pub since: Timestamp,
    /// Only messages that failed before this time, when the first step began: one that fails again meanwhile is not
    /// retried twice.
    pub until: Timestamp,
    /// Only messages newer than this one.
    pub after: Option<Uuid>,
}

/// Result of a [`RetryStep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryProgress {
    /// Number of messages that will be sent again.
    pub messages: u64,
    /// The last message of the step, if there may be more: [`RetryStep::after`] of the next step.
    pub last: Option<Uuid>,
}

fn corrupt(column: &'static str) -> StoreError {
    StoreError::Corrupt {
        table: "webhook_messages",
        column,
    }
}

/// Reads a column `id`.
pub(super) fn message_id(text: &str) -> Result<Uuid, DbErr> {
    text.parse()
        .map_err(|_| DbErr::Type("webhook_messages.id has an invalid value".to_owned()))
}

impl TryFrom<webhook_message::Model> for StoredMessage {
    type Error = StoreError;

    fn try_from(row: webhook_message::Model) -> Result<Self, StoreError> {
        let status = row.status.map(u16::try_from).transpose();
        let duration = row.took_ms.map(u64::try_from).transpose();
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("id"))?,
            device_id: parse_device(&row.device_id).map_err(|_| corrupt("device_id"))?,
            sequence: row.sequence,
            message_type: row.kind,
            state: MessageState::from_repr(row.state).ok_or_else(|| corrupt("state"))?,
            body: row.body,
            created_at: Timestamp::from_millis(row.created_at),
            due: Timestamp::from_millis(row.due),
            attempts: u32::try_from(row.attempts).map_err(|_| corrupt("attempts"))?,
            attempted_at: row.attempted_at.map(Timestamp::from_millis),
            finished_at: row.finished_at.map(Timestamp::from_millis),
            last_attempt: AttemptRecord {
                status: status.map_err(|_| corrupt("status"))?,
                duration: duration
                    .map_err(|_| corrupt("took_ms"))?
                    .map(Duration::from_millis),
                response: row.answer,
                error: row.error,
            },
        })
    }
}
