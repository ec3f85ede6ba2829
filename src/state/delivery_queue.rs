//! Delivery queue: what one endpoint still has to receive about one vehicle.
//!
//! The queue gives messages their sequence numbers and says from when on its next message may be sent. An instance
//! claims a queue, not a message, and sends its messages one after the other: so messages about a vehicle arrive in
//! order, however many instances send. A claim that is not released ends by itself, and another instance sends the
//! message again under the same id.

use uuid::Uuid;

use super::retry::MessageUpdate;
use crate::domain::{EventKinds, Timestamp};

/// State of a delivery queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeliveryQueue {
    /// Sequence number of the newest message, 0 if there was none.
    pub(crate) last_sequence: i64,
    /// Messages up to this sequence number were dropped when their vehicle was deleted.
    pub(crate) dropped_through: i64,
    /// Number of messages that are neither delivered nor given up nor dropped.
    pub(crate) pending: i64,
    /// From when on the next message may be sent; while the queue is claimed, when the claim ends. `None` if nothing is
    /// pending.
    pub(crate) due: Option<Timestamp>,
    /// Whether the queue waits for its endpoint to recover, not for the time of a message.
    pub(crate) waits_for_endpoint: bool,
    /// The claim of the instance that is sending.
    pub(crate) claim: Option<Uuid>,
    /// The newest message, while a further state change may still be merged into it.
    pub(crate) open_message: Option<OpenMessage>,
}

/// A message that was not sent yet and into which further state changes are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenMessage {
    pub(crate) id: Uuid,
    /// The changes that it reports.
    pub(crate) changed: EventKinds,
}

/// The message that reports an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Enqueued {
    /// Its id: a new one, or that of the open message.
    pub(crate) id: Uuid,
    /// Its sequence number.
    pub(crate) sequence: i64,
    /// The changes that it reports now.
    pub(crate) kinds: EventKinds,
}

/// Delivery options of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueOptions {
    /// Whether a message waits until the one before it is delivered or given up.
    pub(crate) ordered: bool,
    /// Whether state changes that were not sent yet become one message.
    pub(crate) coalesce: bool,
    /// The kinds of events that the endpoint subscribes to.
    pub(crate) subscribed: EventKinds,
}

impl DeliveryQueue {
    /// Whether messages can be in the queue: it had one at some time.
    pub(crate) fn was_used(&self) -> bool {
        self.last_sequence > 0
    }

    /// Whether the message with this sequence number is one of the queue's and was not dropped.
    pub(crate) fn contains(&self, sequence: i64) -> bool {
        self.dropped_through < sequence && sequence <= self.last_sequence
    }

    /// Adds an event of these kinds: to the open message if the event is a state change and the endpoint coalesces
    /// them, else as a new message with the id `new_id`.
    pub(crate) fn enqueue(
        &mut self,
        kinds: EventKinds,
        is_state_change: bool,
        options: QueueOptions,
        new_id: Uuid,
        now: Timestamp,
    ) -> Enqueued {
        let merges = options.coalesce && is_state_change;
        // Whatever comes after the open message closes it, for messages are sent in order.
        let open = self.open_message.take().filter(|_| merges);
        let (id, kinds) = if let Some(open) = open {
            (open.id, kinds | (open.changed & options.subscribed))
        } else {
            self.push(options.ordered, now);
            (new_id, kinds)
        };
        if merges {
            self.open_message = Some(OpenMessage { id, changed: kinds });
        }
        Enqueued {
            id,
            sequence: self.last_sequence,
            kinds,
        }
    }

    /// Adds a message and returns its sequence number.
    pub(crate) fn push(&mut self, ordered: bool, now: Timestamp) -> i64 {
        self.last_sequence += 1;
        self.pending += 1;
        let waits = self.due.is_some() && (self.claim.is_some() || ordered);
        if !waits {
            self.due = Some(self.due.map_or(now, |due| due.min(now)));
        }
        self.last_sequence
    }

    /// Makes the next message due now, whatever it waits for. A claimed queue is left alone: its message is being sent.
    pub(crate) fn make_due(&mut self, now: Timestamp) {
        if self.claim.is_none() {
            self.due = Some(now);
        }
    }

    /// Makes the queue due now because an operator wants one of its messages sent again. `was_final`: that message was
    /// delivered or given up before, and counts as pending from now on.
    pub(crate) fn retry(&mut self, was_final: bool, now: Timestamp) {
        self.pending += i64::from(was_final);
        self.make_due(now);
    }

    /// Removes a pending message that was purged. It may be in flight: the claim stays, so that later messages do not
    /// overtake it.
    pub(crate) fn remove(&mut self, id: Uuid) {
        self.pending = (self.pending - 1).max(0);
        if self.pending == 0 && self.claim.is_none() {
            self.due = None;
        }
        if self.open_message.is_some_and(|open| open.id == id) {
            self.open_message = None;
        }
    }

    /// Drops everything that is pending, because the vehicle was deleted. A message may be in flight: the claim stays,
    /// so that later messages do not overtake it. Sequence numbers go on.
    pub(crate) fn drop_all(&mut self) {
        *self = Self {
            last_sequence: self.last_sequence,
            dropped_through: self.last_sequence,
            due: self.due.filter(|_| self.claim.is_some()),
            claim: self.claim,
            ..Self::default()
        };
    }

    /// Claims the queue until `until` in order to send a message, which takes in no further changes from now on.
    pub(crate) fn claim(&mut self, claim: Uuid, message: Uuid, until: Timestamp) {
        if self.open_message.is_some_and(|open| open.id == message) {
            self.open_message = None;
        }
        self.waits_for_endpoint = false;
        self.claim = Some(claim);
        self.due = Some(until);
    }

    /// Corrects a queue that was due although no message can be sent before `next`; `None`: it has no pending message.
    pub(crate) fn correct(&mut self, next: Option<Timestamp>) {
        self.waits_for_endpoint = false;
        self.due = next;
        if next.is_none() {
            (self.claim, self.pending) = (None, 0);
        }
    }

    /// Releases the claim after an attempt, and returns whether the next message may be sent at once, if there is one.
    /// `sequence` is the sequence number of the message that was sent, or `None` if it was purged meanwhile and is not
    /// pending any more.
    pub(crate) fn settle(
        &mut self,
        sequence: Option<i64>,
        update: &MessageUpdate,
        ordered: bool,
        now: Timestamp,
    ) -> bool {
        // The vehicle was deleted during the attempt: the message was counted out then, and is not sent again.
        let was_dropped = sequence.is_some_and(|sequence| sequence <= self.dropped_through);
        if sequence.is_some() && update.is_final() && !was_dropped {
            self.pending -= 1;
        }
        self.waits_for_endpoint = update.waits_for_endpoint && !was_dropped;
        let is_over = update.is_final() || was_dropped;
        // In an ordered queue, all later messages wait for the one that failed.
        let next = if ordered && !is_over { update.due } else { now };
        self.claim = None;
        self.due = (self.pending > 0).then_some(next);
        is_over && self.pending > 0
    }
}

#[cfg(test)]
#[path = "delivery_queue_tests.rs"]
mod tests;
