//! The rules of commands, without a database.

use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;
use crate::{
    domain::{Battery, Degrees, Running, VehicleState},
    store::{
        SessionWrite, StoreError, Written,
        intent::{IdempotencyKey, Intent, Reply},
    },
};

const HERE: Uuid = Uuid::from_u128(1);
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

fn apply<T>(fold: &mut Fold, intent: impl FnOnce(Reply<T>) -> Intent) -> T {
    let (reply, mut outcome): (_, oneshot::Receiver<Result<T, StoreError>>) = Reply::channel();
    let mut intent = intent(reply);
    fold.apply(&mut intent);
    intent.complete();
    outcome.try_recv().unwrap().unwrap()
}

fn log_in(fold: &mut Fold, millis: i64) -> crate::store::Login {
    apply(fold, |reply| Intent::Login {
        device_id: truck(),
        remote: "127.0.0.1:1".parse().unwrap(),
        at: at(millis),
        reply,
    })
}

fn write(fold: &mut Fold, epoch: i64, millis: i64, write: SessionWrite) -> Written {
    let session = session(epoch);
    apply(fold, |reply| Intent::Session {
        session,
        at: at(millis),
        write,
        reply,
    })
}

fn session(epoch: i64) -> SessionKey {
    SessionKey {
        device_id: truck(),
        epoch,
    }
}

fn end(fold: &mut Fold, epoch: i64, millis: i64, reason: DisconnectReason) {
    let end = SessionWrite::End {
        reason,
        last_heartbeat: None,
        grace: None,
    };
    write(fold, epoch, millis, end);
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
        may_exist_since: None,
    }
}

fn submit(fold: &mut Fold, new: NewCommand) -> Submitted {
    let command = Box::new(new);
    apply(fold, |reply| Intent::Submit { command, reply })
}

fn queue(fold: &mut Fold, number: u128, action: Action, millis: i64, until: i64) {
    let new = NewCommand {
        queue_until: Some(at(until)),
        ..new(number, action, millis)
    };
    submit(fold, new);
}

fn claim(fold: &mut Fold, number: u128, epoch: i64, millis: i64) -> Claimed {
    apply(fold, |reply| Intent::Claim {
        id: id(number),
        session: session(epoch),
        at: at(millis),
        reply,
    })
}

fn finish(
    fold: &mut Fold,
    number: u128,
    ending: CommandTransition,
    millis: i64,
) -> Option<Command> {
    apply(fold, |reply| Intent::Finish {
        device_id: truck(),
        id: id(number),
        ending,
        at: at(millis),
        reply,
    })
}

fn answer(number: u128, answer: Answer, late: bool) -> SessionWrite {
    SessionWrite::Answer {
        id: id(number),
        late,
        answer,
    }
}

fn state(fold: &mut Fold, number: u128) -> CommandState {
    command(fold, number).state
}

fn command(fold: &mut Fold, number: u128) -> &Command {
    &fold.commands.find(&truck(), id(number)).unwrap().command
}

fn empty() -> Fold {
    Fold::new(
        HERE,
        at(0),
        HashMap::new(),
        Commands::default(),
        crate::domain::EventKinds::empty(),
    )
}

/// A vehicle that was here and is offline.
fn offline() -> Fold {
    let mut fold = empty();
    log_in(&mut fold, 1);
    end(&mut fold, 1, 2, DisconnectReason::Goodbye);
    fold
}

#[test]
fn a_command_is_claimed_once_by_the_session_that_holds_the_vehicle_and_before_its_time_is_over() {
    let fold = &mut empty();
    log_in(fold, 1);
    submit(fold, new(1, Action::Run, 2));
    assert_eq!(claim(fold, 1, 7, 3), Claimed::Moved);
    assert!(matches!(claim(fold, 1, 1, 3), Claimed::Claimed(_)));
    assert!(matches!(claim(fold, 1, 1, 4), Claimed::Ended(_)));
    submit(fold, new(2, Action::Run, 5));
    assert!(matches!(claim(fold, 2, 1, 15), Claimed::Ended(_)));
    assert_eq!(state(fold, 2), CommandState::Expired);
    assert_eq!(claim(fold, 9, 1, 6), Claimed::Gone);
}

#[test]
fn a_command_is_stored_as_claimed_only_if_the_session_still_holds_the_vehicle() {
    let fold = &mut empty();
    log_in(fold, 1);
    log_in(fold, 2);
    for (number, epoch, expected) in [(1, 1, CommandState::Created), (2, 2, CommandState::Sent)] {
        let new = NewCommand {
            claim: Some(epoch),
            ..new(number, Action::Run, 3)
        };
        assert!(
            matches!(submit(fold, new), Submitted::Stored(command, 2) if command.state == expected)
        );
    }
}

#[test]
fn what_is_not_stored_says_why() {
    let fold = &mut empty();
    let unknown = submit(fold, new(1, Action::Run, 1));
    assert_eq!(unknown, Submitted::UnknownVehicle);
    let fold = &mut offline();
    assert_eq!(submit(fold, new(1, Action::Run, 3)), Submitted::Offline);
    let interval = ReportInterval::new(30).unwrap();
    let desired = submit(fold, new(1, Action::KeepMePosted(interval), 3));
    assert_eq!(desired, Submitted::Desired(interval));
    assert_eq!(log_in(fold, 4).desired, Some(interval));
    assert_eq!(fold.commands.changed().count(), 0);
}

#[test]
fn the_end_of_a_session_ends_what_it_claimed_and_nothing_else() {
    for newer_login in [true, false] {
        let fold = &mut empty();
        log_in(fold, 1);
        for number in 1..=3 {
            submit(fold, new(number, Action::Run, 2));
        }
        claim(fold, 1, 1, 3);
        claim(fold, 2, 1, 3);
        write(fold, 1, 4, answer(2, Answer::Done, false));
        if newer_login {
            log_in(fold, 5);
        } else {
            end(fold, 1, 5, DisconnectReason::Silent);
        }
        let states = [1, 2, 3].map(|number| state(fold, number));
        let expected = [
            CommandState::Disconnected,
            CommandState::Done,
            CommandState::Created,
        ];
        assert_eq!(states, expected);
        // A late end of the old session changes nothing.
        end(fold, 1, 6, DisconnectReason::Silent);
        assert_eq!(command(fold, 1).finished_at, Some(at(5)));
    }
}

#[test]
fn a_goodbye_that_is_not_answered_is_told_from_a_connection_that_is_lost() {
    for (reason, expected) in [
        (DisconnectReason::Operator, CommandState::NoAnswer),
        (DisconnectReason::ConnectionLost, CommandState::Disconnected),
    ] {
        let fold = &mut empty();
        log_in(fold, 1);
        submit(fold, new(1, Action::Goodbye, 2));
        claim(fold, 1, 1, 3);
        end(fold, 1, 4, reason);
        assert_eq!(state(fold, 1), expected);
    }
}

#[test]
fn an_answer_has_its_effect_late_or_not_and_ends_the_command_only_in_time() {
    let fold = &mut empty();
    log_in(fold, 1);
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
        submit(fold, new(number, action, 2));
        claim(fold, number, 1, 3);
        write(fold, 1, 4, answer(number, said, false));
        assert_eq!(command(fold, number).reply, Some(said.to_string()));
    }
    assert_eq!(state(fold, 4), CommandState::Refused);
    let model = fold.rows[&truck()].model.as_ref().unwrap();
    assert_eq!((model.running, model.battery), (Some(false), Some(3)));
    assert_eq!(model.acknowledged_update_frequency, Some(60));
    assert_eq!(fold.reports.len(), 1);

    submit(fold, new(5, Action::Run, 5));
    claim(fold, 5, 1, 6);
    finish(fold, 5, CommandTransition::NoAnswer, 7);
    write(fold, 1, 8, answer(5, Answer::Done, true));
    let late = command(fold, 5).clone();
    assert_eq!(late.state, CommandState::NoAnswer);
    assert_eq!(
        (late.reply, late.late_reply.as_deref()),
        (None, Some("DONE!"))
    );
    let model = fold.rows[&truck()].model.as_ref().unwrap();
    assert_eq!(model.running, Some(true));
    // The session is over: what it says counts no more, for the vehicle either.
    end(fold, 1, 9, DisconnectReason::Silent);
    let stale = write(fold, 1, 10, answer(5, fine, true));
    assert_eq!((stale, fold.reports.len()), (Written::Stale, 1));
}

#[test]
fn a_late_answer_ends_a_command_that_could_not_be_ended_when_it_was_given_up() {
    let fold = &mut empty();
    log_in(fold, 1);
    submit(fold, new(1, Action::Run, 2));
    claim(fold, 1, 1, 3);
    write(fold, 1, 4, answer(1, Answer::Done, true));
    assert_eq!(state(fold, 1), CommandState::NoAnswer);
    assert_eq!(command(fold, 1).late_reply.as_deref(), Some("DONE!"));
}

#[test]
fn keep_me_posted_says_what_is_desired_when_it_is_claimed() {
    let fold = &mut empty();
    log_in(fold, 1);
    submit(fold, new(1, every(10), 2));
    submit(fold, new(2, every(20), 3));
    let login = NewCommand {
        origin: CommandOrigin::Login,
        ..new(3, every(10), 4)
    };
    submit(fold, login);
    for number in [1, 2, 3] {
        claim(fold, number, 1, 5);
        assert_eq!(command(fold, number).action, every(20));
    }
    let claimed_at_once = NewCommand {
        origin: CommandOrigin::Login,
        claim: Some(1),
        ..new(4, every(10), 6)
    };
    submit(fold, claimed_at_once);
    assert_eq!(command(fold, 4).action, every(20));
}

#[test]
fn a_login_takes_what_is_queued_in_order_and_ends_what_is_too_late() {
    let fold = &mut offline();
    queue(fold, 1, Action::AskState, 3, 10);
    queue(fold, 2, Action::Goodbye, 3, 5);
    queue(fold, 3, Action::Run, 3, 10);
    let login = log_in(fold, 5);
    assert_eq!(
        login.queued,
        [(id(1), Action::AskState), (id(3), Action::Run)]
    );
    assert_eq!(state(fold, 2), CommandState::Expired);
    // Not claimed: the next login has them again.
    end(fold, login.epoch, 6, DisconnectReason::Silent);
    assert_eq!(log_in(fold, 7).queued.len(), 2);
    assert_eq!(log_in(fold, 10).queued, []);
}

#[test]
fn a_newer_command_of_a_kind_supersedes_a_queued_one() {
    let fold = &mut offline();
    queue(fold, 1, Action::Run, 3, 100);
    queue(fold, 2, Action::AskState, 3, 100);
    queue(fold, 3, Action::Rest, 4, 100);
    assert_eq!(state(fold, 1), CommandState::Superseded);
    log_in(fold, 5);
    submit(fold, new(4, Action::Run, 6));
    let states = [2, 3, 4].map(|number| state(fold, number));
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
fn a_command_that_comes_to_be_queued_late_takes_its_place_by_its_age() {
    let fold = &mut empty();
    log_in(fold, 1);
    for number in [1, 3] {
        submit(fold, new(number, Action::Run, 2));
    }
    end(fold, 1, 3, DisconnectReason::Silent);
    queue(fold, 2, Action::Rest, 4, 100);
    let older = finish(fold, 1, CommandTransition::Queue(at(100)), 5).unwrap();
    assert_eq!(older.state, CommandState::Superseded);
    let newer = finish(fold, 3, CommandTransition::Queue(at(100)), 6).unwrap();
    assert_eq!(newer.state, CommandState::Queued);
    assert_eq!(state(fold, 2), CommandState::Superseded);
}

#[test]
fn a_vehicle_that_is_back_is_asked_again_instead_of_being_given_up() {
    for ending in [CommandTransition::Cancel, CommandTransition::Queue(at(100))] {
        let fold = &mut empty();
        log_in(fold, 1);
        submit(fold, new(1, Action::Run, 2));
        assert_eq!(
            finish(fold, 1, ending, 3).unwrap().state,
            CommandState::Created
        );
        end(fold, 1, 4, DisconnectReason::Silent);
        assert_ne!(
            finish(fold, 1, ending, 5).unwrap().state,
            CommandState::Created
        );
    }
}

#[test]
fn deleting_a_vehicle_ends_its_commands_and_frees_its_keys() {
    let fold = &mut empty();
    log_in(fold, 1);
    let key = Some(IdempotencyKey {
        key: "k".to_owned(),
        request: "r".to_owned(),
    });
    submit(
        fold,
        NewCommand {
            key: key.clone(),
            ..new(1, Action::Run, 2)
        },
    );
    claim(fold, 1, 1, 3);
    submit(fold, new(2, Action::Run, 3));
    apply(fold, |reply| Intent::Delete {
        device_id: truck(),
        at: at(4),
        reply,
    });
    let states = [1, 2].map(|number| state(fold, number));
    assert_eq!(
        states,
        [CommandState::Disconnected, CommandState::Cancelled]
    );
    log_in(fold, 5);
    let again = submit(
        fold,
        NewCommand {
            key,
            ..new(3, Action::Run, 6)
        },
    );
    assert!(matches!(again, Submitted::Stored(..)));
}

#[test]
fn a_key_stands_for_its_request_for_a_day() {
    let fold = &mut empty();
    log_in(fold, 1);
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
    assert_eq!(submit(fold, without_room(1, "r")), Submitted::NoRoom);
    submit(fold, with(1, "r", 2));
    assert!(matches!(
        submit(fold, without_room(2, "r")),
        Submitted::Repeated(_)
    ));
    let repeated = submit(fold, with(2, "r", DAY + 1));
    assert!(matches!(repeated, Submitted::Repeated(first) if first.id == id(1)));
    assert_eq!(
        submit(fold, with(3, "other", DAY + 1)),
        Submitted::KeyReused
    );
    assert!(matches!(
        submit(fold, with(4, "other", DAY + 2)),
        Submitted::Stored(..)
    ));
    assert_eq!(submit(fold, with(5, "r", DAY + 3)), Submitted::KeyReused);
}

#[test]
fn a_command_with_a_key_that_another_instance_could_not_send_is_sent_from_here() {
    let fold = &mut empty();
    log_in(fold, 1);
    let new = |number, millis| NewCommand {
        key: Some(IdempotencyKey {
            key: "k".to_owned(),
            request: "r".to_owned(),
        }),
        expires_at: at(20),
        may_exist_since: Some(at(2)),
        ..new(number, Action::Run, millis)
    };
    submit(fold, new(1, 2));
    let again = NewCommand {
        claim: Some(1),
        ..new(1, 3)
    };
    let sent = submit(fold, again.clone());
    assert!(matches!(sent, Submitted::Stored(sent, 1) if sent.state == CommandState::Sent));
    // Only once, and whoever else has the key waits for it.
    for repeat in [again, new(2, 4)] {
        assert!(matches!(submit(fold, repeat), Submitted::Repeated(first) if first.id == id(1)));
    }
}

#[test]
fn a_command_that_may_have_been_stored_is_not_begun_for_a_vehicle_that_was_made_since() {
    let fold = &mut empty();
    log_in(fold, 5);
    let asked_at = |millis| NewCommand {
        expires_at: at(20),
        may_exist_since: Some(at(millis)),
        ..new(1, Action::Run, 7)
    };
    assert_eq!(submit(fold, asked_at(4)), Submitted::UnknownVehicle);
    assert!(matches!(submit(fold, asked_at(5)), Submitted::Stored(..)));
}

#[derive(Debug, Clone, Copy)]
enum Event {
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
    Finish(u128, CommandTransition),
    Answer {
        number: u128,
        answer: Answer,
        late: bool,
    },
    Wait(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let number = || 0..12_u128;
    let action = proptest::sample::select(vec![
        Action::AskState,
        every(10),
        every(20),
        Action::Run,
        Action::Rest,
        Action::Goodbye,
    ]);
    let ending = proptest::sample::select(vec![
        CommandTransition::Expire,
        CommandTransition::Cancel,
        CommandTransition::Supersede,
        CommandTransition::Queue(at(60)),
        CommandTransition::Unwritten,
        CommandTransition::NoAnswer,
    ]);
    let answers = vec![Answer::Done, Answer::Cannot, Answer::Sure, Answer::SeeYa];
    prop_oneof![
        3 => Just(Event::LogIn),
        2 => proptest::sample::select(vec![DisconnectReason::Operator, DisconnectReason::Silent])
            .prop_map(Event::End),
        1 => Just(Event::Delete),
        8 => (action, any::<bool>(), any::<bool>())
            .prop_map(|(action, claimed, queued)| Event::Submit { action, claimed, queued }),
        6 => (number(), proptest::bool::weighted(0.2))
            .prop_map(|(number, old_session)| Event::Claim { number, old_session }),
        4 => (number(), ending).prop_map(|(number, ending)| Event::Finish(number, ending)),
        4 => (number(), proptest::sample::select(answers), any::<bool>())
            .prop_map(|(number, answer, late)| Event::Answer { number, answer, late }),
        2 => (0..20_i64).prop_map(Event::Wait),
    ]
}

proptest! {
    #[test]
    fn a_command_is_sent_at_most_once_and_in_time_and_its_end_is_for_good(
        events in proptest::collection::vec(event(), 1..80)
    ) {
        let fold = &mut empty();
        let (mut now, mut newest, mut made) = (1, 0, 0_u128);
        let mut before: HashMap<Uuid, Command> = HashMap::new();
        for event in events {
            now += 1;
            match event {
                Event::LogIn => newest = log_in(fold, now).epoch,
                Event::End(reason) => end(fold, newest, now, reason),
                Event::Delete => {
                    apply(fold, |reply| Intent::Delete { device_id: truck(), at: at(now), reply });
                }
                Event::Submit { action, claimed, queued } => {
                    let command = NewCommand {
                        claim: claimed.then_some(newest),
                        queue_until: queued.then_some(at(now + 20)),
                        ..new(made, action, now)
                    };
                    submit(fold, command);
                    made += 1;
                }
                Event::Claim { number, old_session } => {
                    let epoch = newest - i64::from(old_session);
                    claim(fold, made.saturating_sub(number), epoch, now);
                }
                Event::Finish(number, ending) => {
                    finish(fold, made.saturating_sub(number), ending, now);
                }
                Event::Answer { number, answer: said, late } => {
                    let write_it = answer(made.saturating_sub(number), said, late);
                    write(fold, newest, now, write_it);
                }
                Event::Wait(millis) => now += millis,
            }
            let online = fold.rows.get(&truck()).and_then(|row| row.model.as_ref());
            let online = online.is_some_and(|model| model.online);
            let mut queued = Vec::new();
            for row in fold.commands.of(&truck()) {
                let command = &row.command;
                let state = command.state;
                prop_assert_eq!(state.is_final(), command.finished_at.is_some());
                prop_assert!(state != CommandState::Sent || online, "sent to nobody");
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
