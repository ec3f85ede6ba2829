//! The rules of presence, without a database.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;
use crate::{
    domain::{Battery, Degrees, ReportInterval, Running},
    store::intent::Reply,
};

const HERE: Uuid = Uuid::from_u128(1);
const ELSEWHERE: Uuid = Uuid::from_u128(2);

fn id(name: &str) -> DeviceId {
    DeviceId::parse(name).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn state(battery: u64) -> VehicleState {
    VehicleState {
        latitude: Degrees::from_f64(1.0).unwrap(),
        longitude: Degrees::from_f64(2.0).unwrap(),
        running: Running::Running,
        battery: Battery::new(battery).unwrap(),
    }
}

type Outcome<T> = oneshot::Receiver<Result<T, StoreError>>;

/// Applies an intent as a batch of its own would, and returns its outcome.
fn apply<T>(fold: &mut Fold, intent: impl FnOnce(Reply<T>) -> Intent) -> T {
    let (reply, mut outcome): (_, Outcome<T>) = Reply::channel();
    let mut intent = intent(reply);
    fold.apply(&mut intent);
    intent.complete();
    outcome.try_recv().unwrap().unwrap()
}

fn log_in(fold: &mut Fold, name: &str, millis: i64) -> i64 {
    let login = apply(fold, |reply| Intent::Login {
        device_id: id(name),
        remote: "127.0.0.1:1".parse().unwrap(),
        at: at(millis),
        reply,
    });
    login.epoch
}

fn write(fold: &mut Fold, name: &str, epoch: i64, millis: i64, write: SessionWrite) -> Written {
    let session = SessionKey {
        device_id: id(name),
        epoch,
    };
    apply(fold, |reply| Intent::Session {
        session,
        at: at(millis),
        write,
        reply,
    })
}

fn end(reason: DisconnectReason) -> SessionWrite {
    SessionWrite::End {
        reason,
        last_heartbeat: None,
        grace: None,
    }
}

fn delete(fold: &mut Fold, name: &str, millis: i64) -> Option<i64> {
    apply(fold, |reply| Intent::Delete {
        device_id: id(name),
        at: at(millis),
        reply,
    })
}

fn model<'a>(fold: &'a Fold, name: &str) -> &'a vehicle::Model {
    fold.rows[&id(name)].model.as_ref().unwrap()
}

fn empty() -> Fold {
    Fold::new(
        HERE,
        at(0),
        HashMap::new(),
        Commands::default(),
        EventKinds::empty(),
    )
}

#[test]
fn logins_of_one_vehicle_in_one_batch_get_consecutive_epochs_and_the_last_one_holds_it() {
    let fold = &mut empty();
    assert_eq!(
        [1, 2, 3].map(|millis| log_in(fold, "truck", millis)),
        [1, 2, 3]
    );
    let report = || SessionWrite::Report(state(5));
    assert_eq!(write(fold, "truck", 2, 4, report()), Written::Stale);
    assert_eq!(write(fold, "truck", 3, 5, report()), Written::Stored);
    assert_eq!(fold.reports.len(), 1);
    let row = model(fold, "truck");
    assert_eq!(row.disconnect_reason.as_deref(), Some("superseded"));
    assert_eq!((row.disconnected_at, row.connected_at), (Some(3), Some(3)));
}

#[test]
fn a_report_that_was_first_in_line_counts_though_its_session_is_superseded_in_the_same_batch() {
    let fold = &mut empty();
    let epoch = log_in(fold, "truck", 1);
    let written = write(fold, "truck", epoch, 2, SessionWrite::Report(state(5)));
    log_in(fold, "truck", 3);
    assert_eq!(written, Written::Stored);
    assert_eq!(fold.reports.len(), 1);
}

#[test]
fn a_late_end_of_an_old_session_leaves_the_new_one_online() {
    let fold = &mut empty();
    let old = log_in(fold, "truck", 1);
    log_in(fold, "truck", 2);
    let ended = write(
        fold,
        "truck",
        old,
        3,
        end(DisconnectReason::ConnectionClosed),
    );
    assert_eq!(ended, Written::Stale);
    assert!(model(fold, "truck").online);
}

#[test]
fn a_session_of_another_instance_with_the_same_epoch_holds_nothing() {
    let mut rows = HashMap::new();
    let mut row = vehicle::Model::new(&id("truck"), 1);
    (row.online, row.session_epoch, row.instance_id) = (true, 7, Some(ELSEWHERE.to_string()));
    rows.insert(id("truck"), Row::read(Some(row)));
    let fold = &mut Fold::new(HERE, at(0), rows, Commands::default(), EventKinds::empty());
    let written = write(fold, "truck", 7, 2, SessionWrite::Report(state(5)));
    assert_eq!(written, Written::Stale);
    assert_eq!(fold.rows[&id("truck")].change, Change::None);
}

#[test]
fn an_ended_session_stores_nothing_more() {
    let fold = &mut empty();
    let epoch = log_in(fold, "truck", 1);
    write(fold, "truck", epoch, 2, end(DisconnectReason::Goodbye));
    let row = model(fold, "truck");
    assert_eq!((row.online, row.instance_id.as_deref()), (false, None));
    for late in [
        SessionWrite::Report(state(1)),
        SessionWrite::DebugBlob(Bytes::from_static(b"x")),
        SessionWrite::KeepMePosted(ReportInterval::new(10).unwrap()),
        end(DisconnectReason::Silent),
    ] {
        assert_eq!(write(fold, "truck", epoch, 3, late), Written::Stale);
    }
    let row = model(fold, "truck");
    assert_eq!(row.disconnect_reason.as_deref(), Some("goodbye"));
}

#[test]
fn deletion_keeps_the_epoch_and_forgets_the_rest_also_of_this_batch() {
    let fold = &mut empty();
    let epoch = log_in(fold, "truck", 10);
    write(fold, "truck", epoch, 11, SessionWrite::Report(state(5)));
    write(
        fold,
        "truck",
        epoch,
        11,
        SessionWrite::DebugBlob(Bytes::new()),
    );
    assert_eq!(delete(fold, "truck", 12), Some(1));
    assert_eq!(delete(fold, "truck", 13), None);
    assert!(fold.reports.is_empty() && fold.blobs.is_empty());
    assert_eq!(
        write(fold, "truck", epoch, 13, SessionWrite::Report(state(5))),
        Written::Stale
    );
    let row = model(fold, "truck");
    assert_eq!((row.battery, row.forget_through), (None, Some(12)));
    assert_eq!(log_in(fold, "truck", 12), 2);
}

#[test]
fn a_life_after_deletion_is_stamped_later_than_what_is_forgotten_even_if_the_clock_went_back() {
    let fold = &mut empty();
    log_in(fold, "truck", 1_000);
    delete(fold, "truck", 1_000);
    let epoch = log_in(fold, "truck", 5);
    write(fold, "truck", epoch, 6, SessionWrite::Report(state(5)));
    let through = model(fold, "truck").forget_through.unwrap();
    assert!(
        fold.reports
            .iter()
            .all(|report| report.received_at > through)
    );
}

#[test]
fn registering_a_vehicle_that_exists_changes_nothing() {
    let fold = &mut empty();
    let register = |fold: &mut Fold| {
        apply(fold, |reply| Intent::Register {
            device_id: id("truck"),
            at: at(1),
            reply,
        })
    };
    assert!(register(fold).created);
    log_in(fold, "truck", 2);
    let before = model(fold, "truck").clone();
    assert!(!register(fold).created);
    assert_eq!(*model(fold, "truck"), before);
}

#[test]
fn a_status_update_makes_the_vehicle_and_leaves_online_as_it_is() {
    let fold = &mut empty();
    let update = |fold: &mut Fold| {
        apply(fold, |reply| Intent::StatusUpdate {
            device_id: id("truck"),
            at: at(1),
            state: state(42),
            reply,
        })
    };
    assert!(!update(fold).online);
    log_in(fold, "truck", 2);
    assert!(update(fold).online);
    assert_eq!(fold.reports.len(), 2);
}

#[test]
fn only_the_sessions_a_dead_process_left_are_ended_as_lost() {
    let fold = &mut empty();
    log_in(fold, "online", 1);
    let epoch = log_in(fold, "offline", 1);
    write(fold, "offline", epoch, 2, end(DisconnectReason::Goodbye));
    apply(fold, |reply| Intent::EndLost {
        devices: vec![id("online"), id("offline"), id("unknown")],
        whose: LostSessions::All,
        at: at(3),
        reply,
    });
    let reason = |name| model(fold, name).disconnect_reason.clone().unwrap();
    assert_eq!(
        (reason("online").as_str(), reason("offline").as_str()),
        ("instance-lost", "goodbye")
    );
    assert!(!model(fold, "online").online);
    assert!(fold.rows[&id("unknown")].model.is_none());
}

/// A vehicle whose session another instance holds.
fn held_elsewhere(name: &str, epoch: i64) -> Fold {
    let mut row = vehicle::Model::new(&id(name), 1);
    (row.online, row.session_epoch) = (true, epoch);
    row.instance_id = Some(ELSEWHERE.to_string());
    let rows = HashMap::from([(id(name), Row::read(Some(row)))]);
    Fold::new(HERE, at(0), rows, Commands::default(), EventKinds::empty())
}

fn end_of_life(fold: &mut Fold, life: Uuid, millis: i64) {
    apply(fold, |reply| Intent::EndLost {
        devices: vec![id("truck")],
        whose: LostSessions::OfIncarnation(life, Some(Duration::from_millis(10))),
        at: at(millis),
        reply,
    });
}

fn end_grace(fold: &mut Fold, millis: i64) {
    apply(fold, |reply| Intent::EndGrace {
        devices: vec![id("truck")],
        at: at(millis),
        reply,
    });
}

#[test]
fn a_login_takes_a_vehicle_from_another_instance_which_is_to_be_told() {
    let fold = &mut held_elsewhere("truck", 7);
    assert_eq!(log_in(fold, "truck", 2), 8);
    assert_eq!(log_in(fold, "truck", 3), 9);
    let eviction = |reason| Eviction {
        owner: ELSEWHERE,
        device_id: id("truck"),
        through_epoch: 7,
        reason,
    };
    assert_eq!(fold.evictions, [eviction(DisconnectReason::Superseded)]);

    let fold = &mut held_elsewhere("truck", 7);
    delete(fold, "truck", 2);
    assert_eq!(fold.evictions, [eviction(DisconnectReason::Deleted)]);
}

#[test]
fn a_session_that_its_instance_ended_leaves_the_vehicle_online_until_its_grace_is_over() {
    let fold = &mut empty();
    let epoch = log_in(fold, "truck", 1);
    let shutdown = SessionWrite::End {
        reason: DisconnectReason::Shutdown,
        last_heartbeat: None,
        grace: Some(Duration::from_millis(10)),
    };
    fold.now = at(5);
    write(fold, "truck", epoch, 3, shutdown);
    let row = model(fold, "truck");
    assert_eq!((row.online, row.offline_due), (true, Some(15)));
    assert_eq!(row.instance_id, None);
    end_grace(fold, 14);
    assert!(model(fold, "truck").online);
    end_grace(fold, 15);
    let row = model(fold, "truck");
    assert_eq!((row.online, row.offline_due), (false, None));
    assert_eq!(row.disconnect_reason.as_deref(), Some("shutdown"));
}

#[test]
fn a_vehicle_that_is_back_in_time_has_no_grace_to_end() {
    let fold = &mut held_elsewhere("truck", 7);
    fold.now = at(5);
    end_of_life(fold, ELSEWHERE, 5);
    assert_eq!(model(fold, "truck").offline_due, Some(15));
    assert_eq!(log_in(fold, "truck", 9), 8);
    assert!(fold.evictions.is_empty());
    end_grace(fold, 20);
    let row = model(fold, "truck");
    assert_eq!((row.online, row.offline_due), (true, None));
}

#[test]
fn the_end_of_a_life_ends_no_session_of_another_one() {
    let fold = &mut held_elsewhere("truck", 7);
    end_of_life(fold, Uuid::from_u128(3), 5);
    assert_eq!(model(fold, "truck").offline_due, None);
    assert_eq!(fold.rows[&id("truck")].change, Change::None);
    fold.now = at(6);
    end_of_life(fold, ELSEWHERE, 6);
    fold.now = at(7);
    end_of_life(fold, ELSEWHERE, 7);
    assert_eq!(model(fold, "truck").offline_due, Some(16));
}

#[test]
fn a_heartbeat_never_goes_back_and_does_not_touch_updated_at() {
    let fold = &mut empty();
    let epoch = log_in(fold, "truck", 1);
    let session = SessionKey {
        device_id: id("truck"),
        epoch,
    };
    for millis in [50, 40] {
        let beats = vec![(session.clone(), at(millis))];
        apply(fold, |reply| Intent::Heartbeats { beats, reply });
    }
    let row = model(fold, "truck");
    assert_eq!((row.last_heartbeat, row.updated_at), (Some(50), 1));
}

/// What may happen to one vehicle, with the epoch that the peer believes in.
#[derive(Debug, Clone)]
enum Happening {
    Login,
    Report(i64),
    End(i64),
    Delete,
    Lost,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => Just(Happening::Login),
        4 => (0..8_i64).prop_map(Happening::Report),
        2 => (0..8_i64).prop_map(Happening::End),
        1 => Just(Happening::Delete),
        1 => Just(Happening::Lost),
    ]
}

proptest! {
    #[test]
    fn epochs_only_rise_one_session_holds_and_only_it_writes(
        happenings in prop::collection::vec((happening(), 0..1_000_i64), 0..60)
    ) {
        let fold = &mut empty();
        // The model: the last epoch, and which epoch holds the vehicle.
        let (mut last, mut holder) = (0, None);
        for (happening, millis) in happenings {
            match happening {
                Happening::Login => {
                    last += 1;
                    holder = Some(last);
                    prop_assert_eq!(log_in(fold, "truck", millis), last);
                }
                Happening::Report(epoch) => {
                    let before = fold.reports.len();
                    let written = write(fold, "truck", epoch, millis, SessionWrite::Report(state(1)));
                    prop_assert_eq!(written == Written::Stored, holder == Some(epoch));
                    prop_assert_eq!(fold.reports.len() - before, usize::from(holder == Some(epoch)));
                }
                Happening::End(epoch) => {
                    let written = write(fold, "truck", epoch, millis, end(DisconnectReason::Silent));
                    prop_assert_eq!(written == Written::Stored, holder == Some(epoch));
                    holder = holder.filter(|holder| *holder != epoch);
                }
                Happening::Delete => {
                    let living = fold.rows.get(&id("truck")).and_then(|row| row.model.as_ref());
                    let living = living.is_some_and(|model| model.deleted_at.is_none());
                    prop_assert_eq!(delete(fold, "truck", millis), living.then_some(last));
                    prop_assert!(fold.reports.is_empty());
                    holder = None;
                }
                Happening::Lost => {
                    let devices = vec![id("truck")];
                    apply(fold, |reply| {
                        let whose = LostSessions::All;
                        Intent::EndLost { devices, whose, at: at(millis), reply }
                    });
                    holder = None;
                }
            }
            if let Some(row) = fold.rows.get(&id("truck")).and_then(|row| row.model.as_ref()) {
                prop_assert_eq!(row.online, holder.is_some());
                prop_assert_eq!(row.instance_id.is_some(), holder.is_some());
                prop_assert_eq!(row.session_epoch, last);
            }
            let stamps: Vec<i64> = fold.reports.iter().map(|report| report.received_at).collect();
            prop_assert!(stamps.is_sorted());
        }
    }
}

/// What is told of going on- and offline, true for online.
fn told(fold: &Fold) -> Vec<bool> {
    let events = fold.events.iter().flatten();
    events
        .filter_map(|event| match event.change {
            VehicleChange::Online => Some(true),
            VehicleChange::Offline(_) => Some(false),
            _ => None,
        })
        .collect()
}

#[test]
fn deleting_a_vehicle_tells_that_it_is_offline_if_anybody_was_told_that_it_is_online() {
    let batch = |vehicles: &Fold| {
        let rows = vehicles.rows.iter();
        let rows = rows.map(|(id, row)| (id.clone(), Row::read(row.model.clone())));
        let all = EventKind::Online | EventKind::Offline;
        Fold::new(HERE, at(0), rows.collect(), Commands::default(), all)
    };
    let none = &mut empty();
    // It came in the batch that deletes it: nobody has heard of it.
    let new = &mut batch(none);
    log_in(new, "truck", 1);
    delete(new, "truck", 2);
    assert_eq!(told(new), [] as [bool; 0]);
    let online = &mut batch(none);
    let epoch = log_in(online, "truck", 1);
    assert_eq!(told(online), [true]);
    // It was online before the batch, whatever came in it before its end.
    let deleted = &mut batch(online);
    delete(deleted, "truck", 2);
    assert_eq!(told(deleted), [false]);
    let left = &mut batch(online);
    write(left, "truck", epoch, 2, end(DisconnectReason::Goodbye));
    delete(left, "truck", 3);
    assert_eq!(told(left), [false]);
    let back = &mut batch(online);
    write(back, "truck", epoch, 2, end(DisconnectReason::Goodbye));
    log_in(back, "truck", 3);
    delete(back, "truck", 4);
    assert_eq!(told(back), [false]);
}
