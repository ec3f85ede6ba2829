use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::{AttemptOutcome, EventKind, FailureCause, MessageState, STATE_EVENTS};

const ORDERED: QueueOptions = QueueOptions {
    ordered: true,
    coalesce: false,
    subscribed: STATE_EVENTS,
};
const COALESCING: QueueOptions = QueueOptions {
    coalesce: true,
    ..ORDERED
};
const CLAIM_TIME: Duration = Duration::from_secs(20);
const RETRY_DELAY: Duration = Duration::from_mins(5);

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn id(number: i64) -> Uuid {
    Uuid::from_u128(u128::try_from(number).unwrap())
}

fn kinds(kind: EventKind) -> EventKinds {
    kind.into()
}

/// A queue with so many messages, with the ids 1, 2, 3 and so on, pushed at 0.
fn queue_of(messages: i64) -> DeliveryQueue {
    let mut queue = DeliveryQueue::default();
    for _ in 0..messages {
        queue.push(true, at(0));
    }
    queue
}

fn update(state: MessageState, due: Timestamp, waits_for_endpoint: bool) -> MessageUpdate {
    MessageUpdate {
        state,
        due,
        counts: true,
        waits_for_endpoint,
    }
}

#[test]
fn messages_are_numbered_and_the_first_one_makes_the_queue_due() {
    let mut queue = DeliveryQueue::default();
    assert!(!queue.was_used());
    for sequence in 1..=3 {
        let event = kinds(EventKind::Online);
        let enqueued = queue.enqueue(event, false, ORDERED, id(sequence), at(sequence));
        assert_eq!((enqueued.id, enqueued.sequence), (id(sequence), sequence));
    }
    assert_eq!((queue.pending, queue.due), (3, Some(at(1))));
    assert!(queue.was_used() && queue.contains(3) && !queue.contains(4));
}

#[test]
fn state_changes_are_merged_until_another_event_or_a_claim() {
    let mut queue = DeliveryQueue::default();
    let enqueue = |queue: &mut DeliveryQueue, kind, number| {
        let is_state_change = (kinds(kind) & STATE_EVENTS) == kinds(kind);
        queue.enqueue(
            kinds(kind),
            is_state_change,
            COALESCING,
            id(number),
            at(number),
        )
    };
    let first = enqueue(&mut queue, EventKind::Position, 1);
    let merged = enqueue(&mut queue, EventKind::Battery, 2);
    assert_eq!((merged.id, merged.sequence), (first.id, 1));
    assert_eq!(
        merged.kinds,
        kinds(EventKind::Position) | kinds(EventKind::Battery)
    );
    assert_eq!(queue.pending, 1);
    // Another kind of event closes the message.
    assert_eq!(enqueue(&mut queue, EventKind::Offline, 3).sequence, 2);
    assert_eq!(enqueue(&mut queue, EventKind::Running, 4).sequence, 3);
    // So does a claim, but only of the open message.
    queue.claim(id(9), id(1), at(50));
    assert_eq!(enqueue(&mut queue, EventKind::Battery, 5).sequence, 3);
    queue.claim(id(9), id(4), at(50));
    let next = enqueue(&mut queue, EventKind::Battery, 6);
    assert_eq!((next.id, next.sequence), (id(6), 4));
    assert_eq!(next.kinds, kinds(EventKind::Battery));
}

#[test]
fn a_merged_message_reports_no_change_that_is_not_subscribed_any_more() {
    let mut queue = DeliveryQueue::default();
    queue.enqueue(kinds(EventKind::Position), true, COALESCING, id(1), at(1));
    let only_battery = QueueOptions {
        subscribed: kinds(EventKind::Battery),
        ..COALESCING
    };
    let merged = queue.enqueue(kinds(EventKind::Battery), true, only_battery, id(2), at(2));
    assert_eq!(
        (merged.id, merged.kinds),
        (id(1), kinds(EventKind::Battery))
    );
}

#[test]
fn without_coalescing_every_change_is_a_message() {
    let mut queue = DeliveryQueue::default();
    for number in 1..=2 {
        let enqueued = queue.enqueue(kinds(EventKind::Battery), true, ORDERED, id(number), at(1));
        assert_eq!(enqueued.id, id(number));
    }
    assert_eq!(queue.open_message, None);
}

#[test]
fn a_new_message_waits_for_a_failed_one_only_where_the_order_matters() {
    for (ordered, due) in [(true, at(500)), (false, at(7))] {
        let mut queue = queue_of(1);
        queue.due = Some(at(500));
        queue.push(ordered, at(7));
        assert_eq!(queue.due, Some(due), "ordered: {ordered}");
        // A claim is waited for in any case.
        queue.claim(id(9), id(1), at(900));
        queue.push(ordered, at(8));
        assert_eq!(queue.due, Some(at(900)));
    }
}

#[test]
fn settling_decides_what_is_due_next() {
    let (delivered, failed) = (MessageState::Delivered, MessageState::Failed);
    let pending = MessageState::Pending;
    let now = at(10);
    // Messages, update, ordered; pending, due, waits for the endpoint, next may be sent.
    let table = [
        (
            2,
            update(delivered, now, false),
            true,
            1,
            Some(now),
            false,
            true,
        ),
        (
            1,
            update(delivered, now, false),
            true,
            0,
            None,
            false,
            false,
        ),
        (
            2,
            update(failed, now, false),
            true,
            1,
            Some(now),
            false,
            true,
        ),
        (
            2,
            update(pending, at(99), false),
            true,
            2,
            Some(at(99)),
            false,
            false,
        ),
        (
            2,
            update(pending, at(99), true),
            true,
            2,
            Some(at(99)),
            true,
            false,
        ),
        (
            2,
            update(pending, at(99), true),
            false,
            2,
            Some(now),
            true,
            false,
        ),
    ];
    for (messages, update, ordered, left, due, waits, goes_on) in table {
        let mut queue = queue_of(messages);
        queue.claim(id(9), id(1), at(500));
        let next = queue.settle(Some(1), &update, ordered, now);
        let settled = (queue.pending, queue.due, queue.waits_for_endpoint, next);
        assert_eq!(settled, (left, due, waits, goes_on), "{update:?}");
        assert_eq!(queue.claim, None);
    }
}

#[test]
fn a_message_purged_in_flight_is_not_counted_out_twice() {
    let mut queue = queue_of(2);
    queue.claim(id(9), id(1), at(500));
    queue.remove(id(1));
    assert_eq!((queue.pending, queue.due), (1, Some(at(500))));
    assert!(queue.settle(
        None,
        &update(MessageState::Delivered, at(10), false),
        true,
        at(10)
    ));
    assert_eq!((queue.pending, queue.due), (1, Some(at(10))));
}

#[test]
fn deleting_a_vehicle_drops_its_messages_but_not_the_claim() {
    let mut queue = queue_of(3);
    queue.drop_all();
    assert_eq!((queue.pending, queue.due), (0, None));
    assert!(!queue.contains(3));
    let mut queue = queue_of(3);
    queue.claim(id(9), id(1), at(500));
    queue.drop_all();
    assert_eq!((queue.claim, queue.due), (Some(id(9)), Some(at(500))));
    // The vehicle is back: its first message waits for the one in flight, which fails and is not sent again.
    assert_eq!(queue.push(true, at(20)), 4);
    let retried = update(MessageState::Pending, at(9_000), true);
    assert!(queue.settle(Some(1), &retried, true, at(30)));
    assert_eq!((queue.pending, queue.due), (1, Some(at(30))));
    assert!(!queue.waits_for_endpoint);
}

#[test]
fn an_operator_retries_a_final_message_but_does_not_break_a_claim() {
    let mut queue = queue_of(1);
    queue.claim(id(9), id(1), at(500));
    queue.retry(false, at(10));
    assert_eq!((queue.pending, queue.due), (1, Some(at(500))));
    queue.settle(
        Some(1),
        &update(MessageState::Failed, at(20), false),
        true,
        at(20),
    );
    queue.retry(true, at(30));
    assert_eq!((queue.pending, queue.due), (1, Some(at(30))));
}

#[test]
fn a_queue_whose_count_is_wrong_is_corrected() {
    let mut queue = queue_of(2);
    queue.correct(Some(at(70)));
    assert_eq!((queue.pending, queue.due), (2, Some(at(70))));
    queue.claim = Some(id(9));
    queue.correct(None);
    assert_eq!((queue.pending, queue.due, queue.claim), (0, None, None));
}

/// What may happen to a queue.
#[derive(Debug, Clone)]
enum QueueStep {
    Push,
    Advance(u16),
    Claim,
    Settle(AttemptOutcome),
    Purge(usize),
    Retry(usize),
    DeleteVehicle,
}

fn steps() -> impl Strategy<Value = Vec<QueueStep>> {
    let failed = AttemptOutcome::Failed {
        cause: FailureCause::Endpoint,
        retry_after: None,
    };
    let step = prop_oneof![
        4 => Just(QueueStep::Push),
        2 => (0..40_000_u16).prop_map(QueueStep::Advance),
        4 => Just(QueueStep::Claim),
        3 => Just(QueueStep::Settle(AttemptOutcome::Delivered)),
        2 => Just(QueueStep::Settle(failed)),
        1 => (0..8_usize).prop_map(QueueStep::Purge),
        1 => (0..8_usize).prop_map(QueueStep::Retry),
        1 => Just(QueueStep::DeleteVehicle),
    ];
    prop::collection::vec(step, 1..80)
}

/// A queue, and its messages as the table of messages would hold them.
struct QueueModel {
    ordered: bool,
    queue: DeliveryQueue,
    /// Sequence number, state and due time.
    messages: Vec<(i64, MessageState, Timestamp)>,
    in_flight: Option<ClaimInFlight>,
    now: Timestamp,
    claims: i64,
}

#[derive(Clone, Copy)]
struct ClaimInFlight {
    sequence: i64,
    claim: Uuid,
    until: Timestamp,
}

impl QueueModel {
    /// The messages that are still to be sent, in order.
    fn live(&self) -> impl Iterator<Item = &(i64, MessageState, Timestamp)> {
        let is_live = |message: &&(i64, MessageState, Timestamp)| {
            message.1 == MessageState::Pending && message.0 > self.queue.dropped_through
        };
        self.messages.iter().filter(is_live)
    }

    fn apply(&mut self, step: &QueueStep) {
        match step {
            QueueStep::Push => {
                let sequence = self.queue.push(self.ordered, self.now);
                self.messages
                    .push((sequence, MessageState::Pending, self.now));
            }
            QueueStep::Advance(millis) => {
                self.now = self.now.after(Duration::from_millis(u64::from(*millis)));
            }
            QueueStep::Claim => self.claim(),
            QueueStep::Settle(outcome) => self.settle(outcome),
            QueueStep::Purge(place) => {
                let live = self.live().nth(*place).map(|message| message.0);
                if let Some(sequence) = live {
                    self.queue.remove(id(sequence));
                    self.messages.retain(|message| message.0 != sequence);
                }
            }
            QueueStep::Retry(place) => {
                let (queue, now) = (&mut self.queue, self.now);
                let message = self.messages.get_mut(*place);
                if let Some(message) = message.filter(|message| queue.contains(message.0)) {
                    queue.retry(message.1 != MessageState::Pending, now);
                    (message.1, message.2) = (MessageState::Pending, now);
                }
            }
            QueueStep::DeleteVehicle => self.queue.drop_all(),
        }
    }

    fn claim(&mut self) {
        if self.queue.due.is_none_or(|due| due > self.now) {
            return;
        }
        let now = self.now;
        let next = self.live().find(|message| self.ordered || message.2 <= now);
        let Some(&(sequence, ..)) = next else {
            let later = self.live().map(|message| message.2).min();
            return self.queue.correct(later);
        };
        let claimed = self
            .in_flight
            .filter(|it| self.queue.claim == Some(it.claim));
        assert!(claimed.is_none_or(|it| it.until <= now), "claimed twice");
        self.claims += 1;
        let until = now.after(CLAIM_TIME);
        let claim = id(1_000_000 + self.claims);
        self.queue.claim(claim, id(sequence), until);
        self.in_flight = Some(ClaimInFlight {
            sequence,
            claim,
            until,
        });
    }

    fn settle(&mut self, outcome: &AttemptOutcome) {
        let in_flight = self.in_flight.take();
        let Some(it) = in_flight.filter(|it| self.queue.claim == Some(it.claim)) else {
            return;
        };
        let update = MessageUpdate::after(outcome, Some(RETRY_DELAY), None, self.now);
        let message = self
            .messages
            .iter_mut()
            .find(|message| message.0 == it.sequence && message.1 == MessageState::Pending);
        let sequence = message.as_ref().map(|message| message.0);
        if let Some(message) = message {
            (message.1, message.2) = (update.state, update.due);
        }
        let goes_on = self.queue.settle(sequence, &update, self.ordered, self.now);
        assert!(!goes_on || self.live().next().is_some());
    }
}

proptest! {
    #[test]
    fn any_history_keeps_count_order_and_claims(ordered: bool, steps in steps()) {
        let mut model = QueueModel {
            ordered,
            queue: DeliveryQueue::default(),
            messages: Vec::new(),
            in_flight: None,
            now: at(0),
            claims: 0,
        };
        for step in &steps {
            model.apply(step);
            let queue = &model.queue;
            prop_assert_eq!(usize::try_from(queue.pending).unwrap(), model.live().count(), "{:?}", step);
            let is_due = queue.pending > 0 || queue.claim.is_some();
            prop_assert_eq!(queue.due.is_some(), is_due, "{:?}", step);
            let claimed = model.in_flight.filter(|it| queue.claim == Some(it.claim));
            if let Some(it) = claimed.filter(|it| it.until > model.now) {
                prop_assert_eq!(queue.due, Some(it.until), "a claim lasts until it is settled");
            }
        }
    }
}
