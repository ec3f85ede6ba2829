//! The rules of commands.

use std::{borrow::Borrow, collections::HashMap};

use proptest::prelude::*;

use super::*;
use crate::{
    domain::{
        Battery, Degrees, DisconnectReason, EventKinds, ReportInterval, Vehicle, VehicleState,
    },
    state::{CommandSet, IdempotencyKey, Login, SessionWrite, Written},
};

const DAY: i64 = 24 * 60 * 60 * 1000;

fn truck() -> DeviceId {
    DeviceId::parse("truck").unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn every(seconds: u64) -> Action {
    Action::KeepMePosted(ReportInterval::new(seconds).unwrap())
}

fn log_in(state: &mut BatchState, millis: i64) -> Login {
    state.log_in(&truck(), "127.0.0.1:1".parse().unwrap(), at(millis))
}

fn write(state: &mut BatchState, epoch: i64, millis: i64, write: &SessionWrite) -> Written {
    state.write_session(&session(epoch), at(millis), write)
}

fn session(epoch: i64) -> SessionKey {
    SessionKey {
        device_id: truck(),
        epoch,
    }
}

fn end(state: &mut BatchState, epoch: i64, millis: i64, reason: DisconnectReason) {
    let end = SessionWrite::End {
        reason,
        last_heartbeat: None,
        grace: None,
    };
    write(state, epoch, millis, &end);
}

fn new(number: u128, action: Action, millis: i64) -> NewCommand {
    NewCommand {
        id: id(number),
        device_id: truck(),
        action,
        origin: CommandOrigin::Api,
        at: at(millis),
        expires_at: at(millis + 10),
        claim: None,
        queue_until: None,
        key: None,
        repeat_only: false,
        vehicle_since: None,
    }
}

fn submit(state: &mut BatchState, new: impl Borrow<NewCommand>) -> Submitted {
    state.submit(new.borrow())
}

fn queue(state: &mut BatchState, number: u128, action: Action, millis: i64, until: i64) {
    let new = NewCommand {
        queue_until: Some(at(until)),
        ..new(number, action, millis)
    };
    submit(state, new);
}

fn claim(state: &mut BatchState, number: u128, epoch: i64, millis: i64) -> Claimed {
    state.claim(id(number), &session(epoch), at(millis))
}

fn change(
    state: &mut BatchState,
    number: u128,
    transition: CommandTransition,
    millis: i64,
) -> Option<Command> {
    state.transition(&truck(), id(number), transition, at(millis))
}

fn answer(number: u128, answer: Answer, late: bool) -> SessionWrite {
    SessionWrite::Answer {
        id: id(number),
        late,
        answer,
    }
}

fn state_of(state: &mut BatchState, number: u128) -> CommandState {
    command(state, number).state
}

fn command(state: &mut BatchState, number: u128) -> &Command {
    let entry = state.commands.find(&truck(), id(number));
    &entry.unwrap().command
}

fn vehicle(state: &BatchState) -> &Vehicle {
    let record = state.vehicles[&truck()].record.as_ref();
    &record.unwrap().vehicle
}

fn empty() -> BatchState {
    BatchState::new(
        Uuid::from_u128(1).into(),
        at(0),
        HashMap::new(),
        CommandSet::default(),
        EventKinds::empty(),
    )
}

/// A vehicle that has logged in, said goodbye and is offline.
fn offline() -> BatchState {
    let mut state = empty();
    log_in(&mut state, 1);
    end(&mut state, 1, 2, DisconnectReason::Goodbye);
    state
}

#[test]
fn a_command_is_claimed_once_in_time_by_the_holding_session() {
    let state = &mut empty();
    log_in(state, 1);
    submit(state, new(1, Action::Run, 2));
    assert_eq!(claim(state, 1, 7, 3), Claimed::Moved);
    assert!(matches!(claim(state, 1, 1, 3), Claimed::Claimed(_)));
    assert!(matches!(claim(state, 1, 1, 4), Claimed::Ended(_)));
    submit(state, new(2, Action::Run, 5));
    assert!(matches!(claim(state, 2, 1, 15), Claimed::Ended(_)));
    assert_eq!(state_of(state, 2), CommandState::Expired);
    assert_eq!(claim(state, 9, 1, 6), Claimed::Gone);
}

#[test]
fn a_command_is_stored_as_sent_only_for_the_holding_session() {
    let state = &mut empty();
    log_in(state, 1);
    log_in(state, 2);
    for (number, epoch, expected) in [(1, 1, CommandState::Created), (2, 2, CommandState::Sent)] {
        let new = NewCommand {
            claim: Some(epoch),
            ..new(number, Action::Run, 3)
        };
        assert!(
            matches!(submit(state, new), Submitted::Stored(command, 2) if command.state == expected)
        );
    }
}

#[test]
fn a_submission_that_is_not_stored_names_the_reason() {
    let state = &mut empty();
    let unknown = submit(state, new(1, Action::Run, 1));
    assert_eq!(unknown, Submitted::UnknownVehicle);
    let state = &mut offline();
    assert_eq!(submit(state, new(1, Action::Run, 3)), Submitted::Offline);
    let interval = ReportInterval::new(30).unwrap();
    let desired = submit(state, new(1, Action::KeepMePosted(interval), 3));
    assert_eq!(desired, Submitted::Desired(interval));
    assert_eq!(log_in(state, 4).desired, Some(interval));
    assert_eq!(state.commands.changed().count(), 0);
}

#[test]
fn the_end_of_a_session_ends_only_the_commands_it_claimed() {
    for newer_login in [true, false] {
        let state = &mut empty();
        log_in(state, 1);
        for number in 1..=3 {
            submit(state, new(number, Action::Run, 2));
        }
        claim(state, 1, 1, 3);
        claim(state, 2, 1, 3);
        write(state, 1, 4, &answer(2, Answer::Done, false));
        if newer_login {
            log_in(state, 5);
        } else {
            end(state, 1, 5, DisconnectReason::Silent);
        }
        let states = [1, 2, 3].map(|number| state_of(state, number));
        let expected = [
            CommandState::Disconnected,
            CommandState::Done,
            CommandState::Created,
        ];
        assert_eq!(states, expected);
        // A late end of the old session changes nothing.
        end(state, 1, 6, DisconnectReason::Silent);
        assert_eq!(command(state, 1).finished_at, Some(at(5)));
    }
}

#[test]
fn an_unanswered_goodbye_differs_from_a_lost_connection() {
    for (reason, expected) in [
        (DisconnectReason::Operator, CommandState::NoAnswer),
        (DisconnectReason::ConnectionLost, CommandState::Disconnected),
    ] {
        let state = &mut empty();
        log_in(state, 1);
        submit(state, new(1, Action::Goodbye, 2));
        claim(state, 1, 1, 3);
        end(state, 1, 4, reason);
        assert_eq!(state_of(state, 1), expected);
    }
}

#[test]
fn a_late_answer_has_its_effect_but_does_not_end_the_command() {
    let state = &mut empty();
    log_in(state, 1);
    let fine = Answer::Fine(VehicleState {
        latitude: Degrees::from_f64(1.0).unwrap(),
        longitude: Degrees::from_f64(2.0).unwrap(),
        running: Running::Resting,
        battery: Battery::new(3).unwrap(),
    });
    for (number, action, said) in [
        (1, Action::Run, Answer::Done),
        (2, Action::AskState, fine),
        (3, every(60), Answer::Sure),
        (4, Action::Run, Answer::Cannot),
    ] {
        submit(state, new(number, action, 2));
        claim(state, number, 1, 3);
        write(state, 1, 4, &answer(number, said, false));
        assert_eq!(command(state, number).reply, Some(said.to_string()));
    }
    assert_eq!(state_of(state, 4), CommandState::Refused);
    let after = vehicle(state);
    assert_eq!(after.running, Some(Running::Resting));
    assert_eq!(after.battery, Some(Battery::new(3).unwrap()));
    let interval = ReportInterval::new(60).unwrap();
    assert_eq!(after.acknowledged_update_frequency, Some(interval));
    assert_eq!(state.reports.len(), 1);

    submit(state, new(5, Action::Run, 5));
    claim(state, 5, 1, 6);
    change(state, 5, CommandTransition::NoAnswer, 7);
    write(state, 1, 8, &answer(5, Answer::Done, true));
    let late = command(state, 5).clone();
    assert_eq!(late.state, CommandState::NoAnswer);
    assert_eq!(
        (late.reply, late.late_reply.as_deref()),
        (None, Some("DONE!"))
    );
    assert_eq!(vehicle(state).running, Some(Running::Running));
    // The session is over: its answers do not count any more, for the vehicle either.
    end(state, 1, 9, DisconnectReason::Silent);
    let late = write(state, 1, 10, &answer(5, fine, true));
    assert_eq!((late, state.reports.len()), (Written::Stale, 1));
}

#[test]
fn a_late_answer_ends_a_command_that_is_still_sent() {
    let state = &mut empty();
    log_in(state, 1);
    submit(state, new(1, Action::Run, 2));
    claim(state, 1, 1, 3);
    write(state, 1, 4, &answer(1, Answer::Done, true));
    assert_eq!(state_of(state, 1), CommandState::NoAnswer);
    assert_eq!(command(state, 1).late_reply.as_deref(), Some("DONE!"));
}

#[test]
fn keep_me_posted_takes_the_desired_interval_when_claimed() {
    let state = &mut empty();
    log_in(state, 1);
    submit(state, new(1, every(10), 2));
    submit(state, new(2, every(20), 3));
    let login = NewCommand {
        origin: CommandOrigin::Login,
        ..new(3, every(10), 4)
    };
    submit(state, login);
    for number in [1, 2, 3] {
        claim(state, number, 1, 5);
        assert_eq!(command(state, number).action, every(20));
    }
    let claimed_at_once = NewCommand {
        origin: CommandOrigin::Login,
        claim: Some(1),
        ..new(4, every(10), 6)
    };
    submit(state, claimed_at_once);
    assert_eq!(command(state, 4).action, every(20));
}

#[test]
fn a_login_takes_queued_commands_in_order_and_expires_late_ones() {
    let state = &mut offline();
    queue(state, 1, Action::AskState, 3, 10);
    queue(state, 2, Action::Goodbye, 3, 5);
    queue(state, 3, Action::Run, 3, 10);
    let login = log_in(state, 5);
    assert_eq!(
        login.queued,
        [(id(1), Action::AskState), (id(3), Action::Run)]
    );
    assert_eq!(state_of(state, 2), CommandState::Expired);
    // Not claimed: the next login has them again.
    end(state, login.epoch, 6, DisconnectReason::Silent);
    assert_eq!(log_in(state, 7).queued.len(), 2);
    assert_eq!(log_in(state, 10).queued, []);
}

#[test]
fn a_newer_command_of_a_kind_supersedes_a_queued_one() {
    let state = &mut offline();
    queue(state, 1, Action::Run, 3, 100);
    queue(state, 2, Action::AskState, 3, 100);
    queue(state, 3, Action::Rest, 4, 100);
    assert_eq!(state_of(state, 1), CommandState::Superseded);
    log_in(state, 5);
    submit(state, new(4, Action::Run, 6));
    let states = [2, 3, 4].map(|number| state_of(state, number));
    assert_eq!(
        states,
        [
            CommandState::Queued,
            CommandState::Superseded,
            CommandState::Created
        ]
    );
}

#[test]
fn a_command_queued_late_is_ranked_by_its_age() {
    let state = &mut empty();
    log_in(state, 1);
    for number in [1, 3] {
        submit(state, new(number, Action::Run, 2));
    }
    end(state, 1, 3, DisconnectReason::Silent);
    queue(state, 2, Action::Rest, 4, 100);
    let older = change(state, 1, CommandTransition::Queue(at(100)), 5).unwrap();
    assert_eq!(older.state, CommandState::Superseded);
    let newer = change(state, 3, CommandTransition::Queue(at(100)), 6).unwrap();
    assert_eq!(newer.state, CommandState::Queued);
    assert_eq!(state_of(state, 2), CommandState::Superseded);
}

#[test]
fn a_command_is_not_given_up_while_its_vehicle_is_online() {
    for transition in [CommandTransition::Cancel, CommandTransition::Queue(at(100))] {
        let state = &mut empty();
        log_in(state, 1);
        submit(state, new(1, Action::Run, 2));
        assert_eq!(
            change(state, 1, transition, 3).unwrap().state,
            CommandState::Created
        );
        end(state, 1, 4, DisconnectReason::Silent);
        assert_ne!(
            change(state, 1, transition, 5).unwrap().state,
            CommandState::Created
        );
    }
}

#[test]
fn a_deletion_ends_the_commands_and_frees_the_keys() {
    let state = &mut empty();
    log_in(state, 1);
    let key = Some(IdempotencyKey {
        key: "k".to_owned(),
        request: "r".to_owned(),
    });
    submit(
        state,
        NewCommand {
            key: key.clone(),
            ..new(1, Action::Run, 2)
        },
    );
    claim(state, 1, 1, 3);
    submit(state, new(2, Action::Run, 3));
    state.delete(&truck(), at(4));
    let states = [1, 2].map(|number| state_of(state, number));
    assert_eq!(
        states,
        [CommandState::Disconnected, CommandState::Cancelled]
    );
    log_in(state, 5);
    let again = submit(
        state,
        NewCommand {
            key,
            ..new(3, Action::Run, 6)
        },
    );
    assert!(matches!(again, Submitted::Stored(..)));
}

#[test]
fn an_idempotency_key_stands_for_its_request_for_a_day() {
    let state = &mut empty();
    log_in(state, 1);
    let with = |number, request: &str, millis| NewCommand {
        key: Some(IdempotencyKey {
            key: "k".to_owned(),
            request: request.to_owned(),
        }),
        ..new(number, Action::Run, millis)
    };
    let without_room = |number, request| NewCommand {
        repeat_only: true,
        ..with(number, request, 3)
    };
    assert_eq!(submit(state, without_room(1, "r")), Submitted::NoRoom);
    submit(state, with(1, "r", 2));
    assert!(matches!(
        submit(state, without_room(2, "r")),
        Submitted::Repeated(_)
    ));
    let repeated = submit(state, with(2, "r", DAY + 1));
    assert!(matches!(repeated, Submitted::Repeated(first) if first.id == id(1)));
    assert_eq!(
        submit(state, with(3, "other", DAY + 1)),
        Submitted::KeyReused
    );
    assert!(matches!(
        submit(state, with(4, "other", DAY + 2)),
        Submitted::Stored(..)
    ));
    assert_eq!(submit(state, with(5, "r", DAY + 3)), Submitted::KeyReused);
}

#[test]
fn a_keyed_command_that_a_peer_could_not_send_is_sent_once() {
    let state = &mut empty();
    log_in(state, 1);
    let new = |number, millis| NewCommand {
        key: Some(IdempotencyKey {
            key: "k".to_owned(),
            request: "r".to_owned(),
        }),
        expires_at: at(20),
        vehicle_since: Some(at(2)),
        ..new(number, Action::Run, millis)
    };
    submit(state, new(1, 2));
    let again = NewCommand {
        claim: Some(1),
        ..new(1, 3)
    };
    let sent = submit(state, &again);
    assert!(matches!(sent, Submitted::Stored(sent, 1) if sent.state == CommandState::Sent));
    // Only once, and another request with the key gets the same command.
    for repeat in [again, new(2, 4)] {
        assert!(matches!(submit(state, repeat), Submitted::Repeated(first) if first.id == id(1)));
    }
}

#[test]
fn a_command_that_may_exist_is_not_stored_for_a_newer_vehicle() {
    let state = &mut empty();
    log_in(state, 5);
    let asked_at = |millis| NewCommand {
        expires_at: at(20),
        vehicle_since: Some(at(millis)),
        ..new(1, Action::Run, 7)
    };
    assert_eq!(submit(state, asked_at(4)), Submitted::UnknownVehicle);
    assert!(matches!(submit(state, asked_at(5)), Submitted::Stored(..)));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    LogIn,
    End(DisconnectReason),
    Delete,
    Submit {
        action: Action,
        claimed: bool,
        queued: bool,
    },
    Claim {
        number: u128,
        old_session: bool,
    },
    Change(u128, CommandTransition),
    Answer {
        number: u128,
        answer: Answer,
        late: bool,
    },
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let number = || 0..12_u128;
    let action = proptest::sample::select(vec![
        Action::AskState,
        every(10),
        every(20),
        Action::Run,
        Action::Rest,
        Action::Goodbye,
    ]);
    let transition = proptest::sample::select(vec![
        CommandTransition::Expire,
        CommandTransition::Cancel,
        CommandTransition::Supersede,
        CommandTransition::Queue(at(60)),
        CommandTransition::Unwritten,
        CommandTransition::NoAnswer,
    ]);
    let answers = vec![Answer::Done, Answer::Cannot, Answer::Sure, Answer::SeeYa];
    prop_oneof![
        3 => Just(Step::LogIn),
        2 => proptest::sample::select(vec![DisconnectReason::Operator, DisconnectReason::Silent])
            .prop_map(Step::End),
        1 => Just(Step::Delete),
        8 => (action, any::<bool>(), any::<bool>())
            .prop_map(|(action, claimed, queued)| Step::Submit { action, claimed, queued }),
        6 => (number(), proptest::bool::weighted(0.2))
            .prop_map(|(number, old_session)| Step::Claim { number, old_session }),
        4 => (number(), transition).prop_map(|(number, to)| Step::Change(number, to)),
        4 => (number(), proptest::sample::select(answers), any::<bool>())
            .prop_map(|(number, answer, late)| Step::Answer { number, answer, late }),
        2 => (0..20_i64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn a_command_is_sent_at_most_once_in_time_and_its_end_is_final(
        steps in proptest::collection::vec(step(), 1..80)
    ) {
        let state = &mut empty();
        let (mut now, mut newest, mut made) = (1, 0, 0_u128);
        let mut before: HashMap<Uuid, Command> = HashMap::new();
        for step in steps {
            now += 1;
            match step {
                Step::LogIn => newest = log_in(state, now).epoch,
                Step::End(reason) => end(state, newest, now, reason),
                Step::Delete => {
                    state.delete(&truck(), at(now));
                }
                Step::Submit { action, claimed, queued } => {
                    let command = NewCommand {
                        claim: claimed.then_some(newest),
                        queue_until: queued.then_some(at(now + 20)),
                        ..new(made, action, now)
                    };
                    submit(state, command);
                    made += 1;
                }
                Step::Claim { number, old_session } => {
                    let epoch = newest - i64::from(old_session);
                    claim(state, made.saturating_sub(number), epoch, now);
                }
                Step::Change(number, to) => {
                    change(state, made.saturating_sub(number), to, now);
                }
                Step::Answer { number, answer: said, late } => {
                    let write_it = answer(made.saturating_sub(number), said, late);
                    write(state, newest, now, &write_it);
                }
                Step::Wait(millis) => now += millis,
            }
            let online = state.vehicles.get(&truck());
            let online = online.is_some_and(VehicleEntry::is_online);
            let mut queued = Vec::new();
            for entry in state.commands.of(&truck()) {
                let command = &entry.command;
                let state = command.state;
                prop_assert_eq!(state.is_final(), command.finished_at.is_some());
                prop_assert!(state != CommandState::Sent || online, "sent without a session");
                prop_assert!(command.sent_at.is_none_or(|sent| sent < command.expires_at));
                if state == CommandState::Queued {
                    let kind = command.action.answer_kind();
                    prop_assert!(!queued.contains(&kind), "two wait for the same answer");
                    queued.push(kind);
                }
                if let Some(was) = before.insert(command.id, command.clone()) {
                    prop_assert!(!was.state.is_final() || was.state == state, "{was:?} → {command:?}");
                    prop_assert!(was.sent_at.is_none() || was.sent_at == command.sent_at);
                    prop_assert!(was.state != CommandState::Sent || !state.is_unsent());
                }
            }
        }
    }
}
