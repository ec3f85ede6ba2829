//! What a batch does to webhooks, beside what it writes.

use std::collections::HashMap;

use uuid::Uuid;

use super::message::ClaimedMessage;
use crate::domain::DisabledReason;

/// What the rest of the gateway has to do for webhooks after the commit.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct WebhookEffects {
    /// Queues may be due that were not due before.
    pub(in crate::store) due: bool,
    /// Endpoints that were disabled because of their answers.
    pub(in crate::store) disabled: Vec<(Uuid, DisabledReason)>,
    /// Endpoints that have fallen behind.
    pub(in crate::store) behind: Vec<Uuid>,
    /// The set of endpoints has changed.
    pub(in crate::store) endpoints_changed: bool,
}

/// The webhook part of a batch under way.
#[derive(Debug, Default)]
pub(in crate::store) struct WebhookBatch {
    /// To publish after the commit.
    pub(in crate::store) effects: WebhookEffects,
    /// The next message of each queue that goes on sending, claimed in the transaction that settled its attempt; by the
    /// id of the message that was attempted.
    pub(in crate::store) next: HashMap<Uuid, ClaimedMessage>,
}

impl WebhookBatch {
    /// Notes that endpoints were changed, which may make queues due.
    pub(in crate::store) fn endpoints_changed(&mut self) {
        self.effects.endpoints_changed = true;
        self.effects.due = true;
    }
}
