//! Answers are matched with the commands that they belong to.

use std::collections::{BTreeMap, VecDeque};

use proptest::{prelude::*, sample::Index};
use strum::VariantArray;

use super::*;

const LIMIT: usize = 4;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// Reserves a slot, which is granted at once, and writes the command.
fn write(slots: &mut ReplySlots<u128>, kind: AnswerKind, number: u128) {
    assert_eq!(
        slots.reserve(kind, id(number), number, LIMIT),
        Ok(Admission::Granted(number))
    );
    assert!(slots.dispatch(id(number)));
    assert!(slots.begin_write(id(number)));
}

#[test]
fn one_command_of_each_kind_is_outstanding() {
    let slots = &mut ReplySlots::default();
    write(slots, AnswerKind::Done, 1);
    write(slots, AnswerKind::Fine, 2);
    let second = slots.reserve(AnswerKind::Done, id(3), 3, LIMIT);
    assert_eq!(second, Ok(Admission::Queued));
    let (matched, next) = slots.answer(AnswerKind::Done).unwrap();
    assert_eq!((matched.id, matched.late, next), (id(1), false, Some(3)));
}

#[test]
fn after_a_timeout_the_slot_is_taken_until_the_late_answer_or_release() {
    for answered in [true, false] {
        let slots = &mut ReplySlots::default();
        write(slots, AnswerKind::Done, 1);
        assert_eq!(slots.abandon(id(1)), (Abandoned::Written, None));
        let entered = slots.reserve(AnswerKind::Done, id(2), 2, LIMIT);
        assert_eq!(entered, Ok(Admission::Queued));
        let next = if answered {
            let (matched, next) = slots.answer(AnswerKind::Done).unwrap();
            assert_eq!((matched.id, matched.late), (id(1), true));
            next
        } else {
            slots.release(id(1))
        };
        assert_eq!(next, Some(2));
        assert_eq!(slots.release(id(1)), None);
    }
}

#[test]
fn an_answer_before_the_write_matches_nothing() {
    let slots = &mut ReplySlots::default();
    slots.reserve(AnswerKind::Done, id(1), (), LIMIT).unwrap();
    assert_eq!(slots.answer(AnswerKind::Done), None);
    assert!(slots.dispatch(id(1)));
    assert_eq!(slots.answer(AnswerKind::Done), None);
    assert!(slots.begin_write(id(1)));
    assert!(slots.answer(AnswerKind::Done).is_some());
    assert_eq!(slots.answer(AnswerKind::Done), None);
}

#[test]
fn a_command_abandoned_before_its_write_is_never_written() {
    let slots = &mut ReplySlots::default();
    slots.reserve(AnswerKind::Done, id(1), 1, LIMIT).unwrap();
    slots.reserve(AnswerKind::Done, id(2), 2, LIMIT).unwrap();
    assert!(slots.dispatch(id(1)));
    assert_eq!(slots.abandon(id(1)), (Abandoned::Unwritten, Some(2)));
    assert!(!slots.begin_write(id(1)));
}

#[test]
fn nothing_is_written_after_a_goodbye_but_earlier_commands_are_answered() {
    let slots = &mut ReplySlots::default();
    write(slots, AnswerKind::Done, 1);
    slots.reserve(AnswerKind::Fine, id(2), 2, LIMIT).unwrap();
    assert!(slots.dispatch(id(2)));
    write(slots, AnswerKind::SeeYa, 3);
    assert!(!slots.begin_write(id(2)));
    assert_eq!(
        slots.reserve(AnswerKind::Done, id(4), 4, LIMIT),
        Err(SlotError::SessionClosed)
    );
    assert!(slots.answer(AnswerKind::Done).is_some());
    assert!(slots.answer(AnswerKind::SeeYa).is_some());
}

#[test]
fn the_queue_is_bounded() {
    let slots = &mut ReplySlots::default();
    for number in 0..=LIMIT as u128 {
        slots
            .reserve(AnswerKind::Done, id(number), (), LIMIT)
            .unwrap();
    }
    let beyond = slots.reserve(AnswerKind::Done, id(99), (), LIMIT);
    assert_eq!(beyond, Err(SlotError::QueueFull));
    assert!(slots.reserve(AnswerKind::Fine, id(100), (), LIMIT).is_ok());
}

#[test]
fn a_command_is_queued_at_most_once() {
    let slots = &mut ReplySlots::default();
    for number in [1, 2] {
        slots
            .reserve(AnswerKind::Done, id(number), number, LIMIT)
            .unwrap();
    }
    for number in [1, 2] {
        let again = slots.reserve(AnswerKind::Done, id(number), number, LIMIT);
        assert_eq!(again, Err(SlotError::Duplicate));
    }
    assert!(slots.dispatch(id(1)) && slots.begin_write(id(1)));
    assert_eq!(slots.answer(AnswerKind::Done).unwrap().1, Some(2));
}

#[derive(Debug, Clone, Copy)]
enum SlotEvent {
    Reserve(AnswerKind),
    Dispatch(Index),
    Write(Index),
    /// The vehicle answers the oldest outstanding command of this kind.
    Answer(AnswerKind),
    /// The vehicle sends an unsolicited answer.
    Unsolicited(AnswerKind),
    Abandon(Index),
    Cancel(Index),
    /// The late answer is no longer expected, and the vehicle will not send it.
    Release(Index),
    Disconnect,
}

fn event() -> impl Strategy<Value = SlotEvent> {
    let kind = || proptest::sample::select(AnswerKind::VARIANTS);
    prop_oneof![
        4 => kind().prop_map(SlotEvent::Reserve),
        4 => any::<Index>().prop_map(SlotEvent::Dispatch),
        4 => any::<Index>().prop_map(SlotEvent::Write),
        4 => kind().prop_map(SlotEvent::Answer),
        1 => kind().prop_map(SlotEvent::Unsolicited),
        2 => any::<Index>().prop_map(SlotEvent::Abandon),
        1 => any::<Index>().prop_map(SlotEvent::Cancel),
        1 => any::<Index>().prop_map(SlotEvent::Release),
        1 => Just(SlotEvent::Disconnect),
    ]
}

/// A model of the session beside the slots under test.
#[derive(Default)]
struct SessionModel {
    slots: ReplySlots<u128>,
    kinds: BTreeMap<u128, AnswerKind>,
    /// Queued commands by kind, in order of reservation.
    queued: BTreeMap<AnswerKind, VecDeque<u128>>,
    /// Commands that the vehicle received and has not answered, by kind, in order.
    outstanding: BTreeMap<AnswerKind, VecDeque<u128>>,
    abandoned: Vec<u128>,
    written: Vec<u128>,
}

impl SessionModel {
    fn pick(&self, index: Index) -> u128 {
        // The newest ones: older commands have ended.
        let recent = self.kinds.len().min(6);
        (self.kinds.len() - 1 - index.index(recent)) as u128
    }

    fn grant(&mut self, next: Option<u128>) {
        if let Some(number) = next {
            let queue = self.queued.get_mut(&self.kinds[&number]).unwrap();
            assert_eq!(
                queue.pop_front(),
                Some(number),
                "slots are granted in order"
            );
        }
    }

    fn apply(&mut self, event: SlotEvent) {
        match event {
            SlotEvent::Reserve(kind) => {
                let number = self.kinds.len() as u128;
                self.kinds.insert(number, kind);
                match self.slots.reserve(kind, id(number), number, LIMIT) {
                    Ok(Admission::Queued) => {
                        self.queued.entry(kind).or_default().push_back(number);
                    }
                    Ok(Admission::Granted(_)) => {
                        assert!(self.queued.entry(kind).or_default().is_empty());
                    }
                    Err(_) => {}
                }
            }
            _ if self.kinds.is_empty() => {}
            SlotEvent::Dispatch(index) => {
                self.slots.dispatch(id(self.pick(index)));
            }
            SlotEvent::Write(index) => {
                let number = self.pick(index);
                if self.slots.begin_write(id(number)) {
                    assert!(!self.written.contains(&number), "written once");
                    assert!(
                        !self.abandoned.contains(&number),
                        "abandoned commands are not written"
                    );
                    self.written.push(number);
                    let outstanding = self.outstanding.entry(self.kinds[&number]).or_default();
                    assert!(
                        outstanding.is_empty(),
                        "one outstanding command of each kind"
                    );
                    outstanding.push_back(number);
                }
            }
            SlotEvent::Answer(kind) => {
                let Some(number) = self.outstanding.entry(kind).or_default().pop_front() else {
                    return;
                };
                let (matched, next) = self
                    .slots
                    .answer(kind)
                    .expect("an outstanding command matches");
                assert_eq!(matched.id, id(number), "the answer belongs to this command");
                assert_eq!(matched.late, self.abandoned.contains(&number));
                self.grant(next);
            }
            SlotEvent::Unsolicited(kind) => {
                if self.outstanding.entry(kind).or_default().is_empty() {
                    assert_eq!(self.slots.answer(kind), None);
                }
            }
            SlotEvent::Abandon(index) => {
                let number = self.pick(index);
                let (abandoned_as, next) = self.slots.abandon(id(number));
                let with_vehicle = self
                    .outstanding
                    .values()
                    .flatten()
                    .any(|&outstanding| outstanding == number);
                assert_eq!(abandoned_as == Abandoned::Written, with_vehicle);
                if abandoned_as != Abandoned::Settled {
                    self.abandoned.push(number);
                }
                self.grant(next);
            }
            SlotEvent::Cancel(index) => {
                let number = self.pick(index);
                for queue in self.queued.values_mut() {
                    queue.retain(|&queued| queued != number);
                }
                let next = self.slots.cancel(id(number));
                self.grant(next);
            }
            SlotEvent::Release(index) => {
                let number = self.pick(index);
                if self.abandoned.contains(&number) {
                    for outstanding in self.outstanding.values_mut() {
                        outstanding.retain(|&outstanding| outstanding != number);
                    }
                }
                let next = self.slots.release(id(number));
                self.grant(next);
            }
            SlotEvent::Disconnect => {
                self.slots.close();
                assert_eq!(self.slots.answer(AnswerKind::Done), None);
                // The vehicle reconnects and has forgotten the old session.
                *self = Self::default();
            }
        }
    }
}

proptest! {
    #[test]
    fn an_answer_is_never_matched_with_another_command(
        events in proptest::collection::vec(event(), 1..200)
    ) {
        let mut model = SessionModel::default();
        for event in events {
            model.apply(event);
        }
    }
}
