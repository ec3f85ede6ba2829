//! Answers go to whom they belong to.

use std::collections::{BTreeMap, VecDeque};

use proptest::{prelude::*, sample::Index};
use strum::VariantArray;

use super::*;

const LIMIT: usize = 4;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// Enters, has its turn at once and is written.
fn write(lanes: &mut Lanes<u128>, kind: AnswerKind, number: u128) {
    assert_eq!(
        lanes.enter(kind, id(number), number, LIMIT),
        Ok(Entered::Turn(number))
    );
    assert!(lanes.dispatch(id(number)));
    assert!(lanes.begin_write(id(number)));
}

#[test]
fn one_command_of_a_kind_is_with_the_vehicle_and_kinds_do_not_wait_for_each_other() {
    let lanes = &mut Lanes::default();
    write(lanes, AnswerKind::Done, 1);
    write(lanes, AnswerKind::Fine, 2);
    let second = lanes.enter(AnswerKind::Done, id(3), 3, LIMIT);
    assert_eq!(second, Ok(Entered::Waiting));
    let (credit, next) = lanes.answer(AnswerKind::Done).unwrap();
    assert_eq!((credit.id, credit.late, next), (id(1), false, Some(3)));
}

#[test]
fn after_a_time_out_the_next_one_waits_for_the_late_answer_or_the_end_of_the_hold() {
    for answered in [true, false] {
        let lanes = &mut Lanes::default();
        write(lanes, AnswerKind::Done, 1);
        assert_eq!(lanes.give_up(id(1)), (GaveUp::Written, None));
        let entered = lanes.enter(AnswerKind::Done, id(2), 2, LIMIT);
        assert_eq!(entered, Ok(Entered::Waiting));
        let next = if answered {
            let (credit, next) = lanes.answer(AnswerKind::Done).unwrap();
            assert_eq!((credit.id, credit.late), (id(1), true));
            next
        } else {
            lanes.release(id(1))
        };
        assert_eq!(next, Some(2));
        assert_eq!(lanes.release(id(1)), None);
    }
}

#[test]
fn an_answer_before_the_command_is_written_answers_nothing() {
    let lanes = &mut Lanes::default();
    lanes.enter(AnswerKind::Done, id(1), (), LIMIT).unwrap();
    assert_eq!(lanes.answer(AnswerKind::Done), None);
    assert!(lanes.dispatch(id(1)));
    assert_eq!(lanes.answer(AnswerKind::Done), None);
    assert!(lanes.begin_write(id(1)));
    assert!(lanes.answer(AnswerKind::Done).is_some());
    assert_eq!(lanes.answer(AnswerKind::Done), None);
}

#[test]
fn what_is_given_up_before_it_is_written_never_is() {
    let lanes = &mut Lanes::default();
    lanes.enter(AnswerKind::Done, id(1), 1, LIMIT).unwrap();
    lanes.enter(AnswerKind::Done, id(2), 2, LIMIT).unwrap();
    assert!(lanes.dispatch(id(1)));
    assert_eq!(lanes.give_up(id(1)), (GaveUp::Unwritten, Some(2)));
    assert!(!lanes.begin_write(id(1)));
}

#[test]
fn nothing_is_written_behind_a_goodbye_and_what_was_before_it_may_still_be_answered() {
    let lanes = &mut Lanes::default();
    write(lanes, AnswerKind::Done, 1);
    lanes.enter(AnswerKind::Fine, id(2), 2, LIMIT).unwrap();
    assert!(lanes.dispatch(id(2)));
    write(lanes, AnswerKind::SeeYa, 3);
    assert!(!lanes.begin_write(id(2)));
    assert_eq!(
        lanes.enter(AnswerKind::Done, id(4), 4, LIMIT),
        Err(Refused::Closed)
    );
    assert!(lanes.answer(AnswerKind::Done).is_some());
    assert!(lanes.answer(AnswerKind::SeeYa).is_some());
}

#[test]
fn as_many_wait_as_may_and_no_more() {
    let lanes = &mut Lanes::default();
    for number in 0..=LIMIT as u128 {
        lanes
            .enter(AnswerKind::Done, id(number), (), LIMIT)
            .unwrap();
    }
    let beyond = lanes.enter(AnswerKind::Done, id(99), (), LIMIT);
    assert_eq!(beyond, Err(Refused::Full));
    assert!(lanes.enter(AnswerKind::Fine, id(100), (), LIMIT).is_ok());
}

#[test]
fn a_command_is_in_line_once_however_often_it_is_asked_for() {
    let lanes = &mut Lanes::default();
    for number in [1, 2] {
        lanes
            .enter(AnswerKind::Done, id(number), number, LIMIT)
            .unwrap();
    }
    for number in [1, 2] {
        let again = lanes.enter(AnswerKind::Done, id(number), number, LIMIT);
        assert_eq!(again, Err(Refused::There));
    }
    assert!(lanes.dispatch(id(1)) && lanes.begin_write(id(1)));
    assert_eq!(lanes.answer(AnswerKind::Done).unwrap().1, Some(2));
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Enter(AnswerKind),
    Dispatch(Index),
    Write(Index),
    /// The vehicle answers what it was asked first of this kind.
    Answer(AnswerKind),
    /// The vehicle answers something that it was not asked.
    Unasked(AnswerKind),
    GiveUp(Index),
    Leave(Index),
    /// 30 s after it was given up: the vehicle will not answer any more.
    Release(Index),
    Disconnect,
}

fn event() -> impl Strategy<Value = Event> {
    let kind = || proptest::sample::select(AnswerKind::VARIANTS);
    prop_oneof![
        4 => kind().prop_map(Event::Enter),
        4 => any::<Index>().prop_map(Event::Dispatch),
        4 => any::<Index>().prop_map(Event::Write),
        4 => kind().prop_map(Event::Answer),
        1 => kind().prop_map(Event::Unasked),
        2 => any::<Index>().prop_map(Event::GiveUp),
        1 => any::<Index>().prop_map(Event::Leave),
        1 => any::<Index>().prop_map(Event::Release),
        1 => Just(Event::Disconnect),
    ]
}

/// What is true of the commands, whatever the lanes believe.
#[derive(Default)]
struct World {
    lanes: Lanes<u128>,
    kinds: BTreeMap<u128, AnswerKind>,
    /// By kind, what has yet to have its turn, in the order of entering.
    line: BTreeMap<AnswerKind, VecDeque<u128>>,
    /// By kind, what the vehicle heard and did not answer, in order.
    asked: BTreeMap<AnswerKind, VecDeque<u128>>,
    given_up: Vec<u128>,
    written: Vec<u128>,
}

impl World {
    fn pick(&self, index: Index) -> u128 {
        // Mostly the newest: the older ones have ended.
        let recent = self.kinds.len().min(6);
        (self.kinds.len() - 1 - index.index(recent)) as u128
    }

    fn turn(&mut self, next: Option<u128>) {
        if let Some(number) = next {
            let line = self.line.get_mut(&self.kinds[&number]).unwrap();
            assert_eq!(line.pop_front(), Some(number), "turns come in order");
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Enter(kind) => {
                let number = self.kinds.len() as u128;
                self.kinds.insert(number, kind);
                match self.lanes.enter(kind, id(number), number, LIMIT) {
                    Ok(Entered::Waiting) => {
                        self.line.entry(kind).or_default().push_back(number);
                    }
                    Ok(Entered::Turn(_)) => assert!(self.line.entry(kind).or_default().is_empty()),
                    Err(_) => {}
                }
            }
            _ if self.kinds.is_empty() => {}
            Event::Dispatch(index) => {
                self.lanes.dispatch(id(self.pick(index)));
            }
            Event::Write(index) => {
                let number = self.pick(index);
                if self.lanes.begin_write(id(number)) {
                    assert!(!self.written.contains(&number), "written once");
                    assert!(
                        !self.given_up.contains(&number),
                        "not after it was given up"
                    );
                    self.written.push(number);
                    let asked = self.asked.entry(self.kinds[&number]).or_default();
                    assert!(asked.is_empty(), "one of a kind at a time");
                    asked.push_back(number);
                }
            }
            Event::Answer(kind) => {
                let Some(number) = self.asked.entry(kind).or_default().pop_front() else {
                    return;
                };
                let (credit, next) = self.lanes.answer(kind).expect("it was asked");
                assert_eq!(credit.id, id(number), "credited to the one it answers");
                assert_eq!(credit.late, self.given_up.contains(&number));
                self.turn(next);
            }
            Event::Unasked(kind) => {
                if self.asked.entry(kind).or_default().is_empty() {
                    assert_eq!(self.lanes.answer(kind), None);
                }
            }
            Event::GiveUp(index) => {
                let number = self.pick(index);
                let (gave_up, next) = self.lanes.give_up(id(number));
                let with_vehicle = self.asked.values().flatten().any(|&asked| asked == number);
                assert_eq!(gave_up == GaveUp::Written, with_vehicle);
                if gave_up != GaveUp::Settled {
                    self.given_up.push(number);
                }
                self.turn(next);
            }
            Event::Leave(index) => {
                let number = self.pick(index);
                for line in self.line.values_mut() {
                    line.retain(|&waiting| waiting != number);
                }
                let next = self.lanes.leave(id(number));
                self.turn(next);
            }
            Event::Release(index) => {
                let number = self.pick(index);
                if self.given_up.contains(&number) {
                    for asked in self.asked.values_mut() {
                        asked.retain(|&asked| asked != number);
                    }
                }
                let next = self.lanes.release(id(number));
                self.turn(next);
            }
            Event::Disconnect => {
                self.lanes.close();
                assert_eq!(self.lanes.answer(AnswerKind::Done), None);
                // The vehicle comes back on a new connection and knows nothing of the old one.
                *self = Self::default();
            }
        }
    }
}

proptest! {
    #[test]
    fn an_answer_late_or_not_is_never_credited_to_another_command(
        events in proptest::collection::vec(event(), 1..200)
    ) {
        let mut world = World::default();
        for event in events {
            world.happen(event);
        }
    }
}
