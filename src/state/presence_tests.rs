//! The rules of presence.

use std::{borrow::Borrow, collections::HashMap, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    domain::{Battery, Degrees, EventKind, EventKinds, Running},
    state::{CommandSet, Eviction, VehicleEntry},
};

fn here() -> IncarnationId {
    incarnation(1)
}

fn peer() -> IncarnationId {
    incarnation(2)
}

fn incarnation(number: u128) -> IncarnationId {
    Uuid::from_u128(number).into()
}

fn id(name: &str) -> DeviceId {
    DeviceId::parse(name).unwrap()
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn driving(battery: u64) -> VehicleState {
    VehicleState {
        latitude: Degrees::from_f64(1.0).unwrap(),
        longitude: Degrees::from_f64(2.0).unwrap(),
        running: Running::Running,
        battery: Battery::new(battery).unwrap(),
    }
}

fn log_in(state: &mut BatchState, name: &str, millis: i64) -> i64 {
    let remote = "127.0.0.1:1".parse().unwrap();
    state.log_in(&id(name), remote, at(millis)).epoch
}

fn write(
    state: &mut BatchState,
    name: &str,
    epoch: i64,
    millis: i64,
    write: impl Borrow<SessionWrite>,
) -> Written {
    let session = SessionKey {
        device_id: id(name),
        epoch,
    };
    state.write_session(&session, at(millis), write.borrow())
}

fn end(reason: DisconnectReason) -> SessionWrite {
    SessionWrite::End {
        reason,
        last_heartbeat: None,
        grace: None,
    }
}

fn delete(state: &mut BatchState, name: &str, millis: i64) -> Option<i64> {
    state.delete(&id(name), at(millis))
}

fn record<'a>(state: &'a BatchState, name: &str) -> &'a VehicleRecord {
    state.vehicles[&id(name)].record.as_ref().unwrap()
}

fn vehicle<'a>(state: &'a BatchState, name: &str) -> &'a Vehicle {
    &record(state, name).vehicle
}

/// Whether the vehicle `truck` is online, and when its grace is over.
fn presence(state: &BatchState) -> (bool, Option<Timestamp>) {
    let record = record(state, "truck");
    (record.vehicle.online, record.offline_due)
}

fn empty() -> BatchState {
    with(HashMap::new())
}

fn with(vehicles: HashMap<DeviceId, VehicleEntry>) -> BatchState {
    let commands = CommandSet::default();
    BatchState::new(here(), at(0), vehicles, commands, EventKinds::empty())
}

#[test]
fn logins_in_one_batch_get_consecutive_epochs_and_the_last_holds_it() {
    let state = &mut empty();
    assert_eq!(
        [1, 2, 3].map(|millis| log_in(state, "truck", millis)),
        [1, 2, 3]
    );
    let report = || SessionWrite::Report(driving(5));
    assert_eq!(write(state, "truck", 2, 4, report()), Written::Stale);
    assert_eq!(write(state, "truck", 3, 5, report()), Written::Stored);
    assert_eq!(state.reports.len(), 1);
    let vehicle = vehicle(state, "truck");
    let reason = DisconnectReason::Superseded;
    assert_eq!(vehicle.disconnect_reason, Some(reason));
    assert_eq!(vehicle.disconnected_at, Some(at(3)));
    assert_eq!(vehicle.connected_at, Some(at(3)));
}

#[test]
fn a_report_before_the_superseding_login_of_its_batch_counts() {
    let state = &mut empty();
    let epoch = log_in(state, "truck", 1);
    let written = write(state, "truck", epoch, 2, SessionWrite::Report(driving(5)));
    log_in(state, "truck", 3);
    assert_eq!(written, Written::Stored);
    assert_eq!(state.reports.len(), 1);
}

#[test]
fn a_late_end_of_an_old_session_leaves_the_new_one_online() {
    let state = &mut empty();
    let old = log_in(state, "truck", 1);
    log_in(state, "truck", 2);
    let ended = write(
        state,
        "truck",
        old,
        3,
        end(DisconnectReason::ConnectionClosed),
    );
    assert_eq!(ended, Written::Stale);
    assert!(vehicle(state, "truck").online);
}

#[test]
fn a_session_of_a_peer_with_the_same_epoch_holds_nothing() {
    let state = &mut held_by_peer("truck", 7);
    let written = write(state, "truck", 7, 2, SessionWrite::Report(driving(5)));
    assert_eq!(written, Written::Stale);
    assert_eq!(state.vehicles[&id("truck")].changed, ChangedColumns::None);
}

#[test]
fn an_ended_session_stores_nothing_more() {
    let state = &mut empty();
    let epoch = log_in(state, "truck", 1);
    write(state, "truck", epoch, 2, end(DisconnectReason::Goodbye));
    let ended = vehicle(state, "truck");
    assert_eq!((ended.online, ended.instance_id), (false, None));
    for late in [
        SessionWrite::Report(driving(1)),
        SessionWrite::DebugBlob(Bytes::from_static(b"x")),
        SessionWrite::KeepMePosted(ReportInterval::new(10).unwrap()),
        end(DisconnectReason::Silent),
    ] {
        assert_eq!(write(state, "truck", epoch, 3, late), Written::Stale);
    }
    let reason = vehicle(state, "truck").disconnect_reason;
    assert_eq!(reason, Some(DisconnectReason::Goodbye));
}

#[test]
fn a_deletion_keeps_the_epoch_and_drops_the_history_of_its_batch() {
    let state = &mut empty();
    let epoch = log_in(state, "truck", 10);
    write(state, "truck", epoch, 11, SessionWrite::Report(driving(5)));
    write(
        state,
        "truck",
        epoch,
        11,
        SessionWrite::DebugBlob(Bytes::new()),
    );
    assert_eq!(delete(state, "truck", 12), Some(1));
    assert_eq!(delete(state, "truck", 13), None);
    assert!(state.reports.is_empty() && state.blobs.is_empty());
    assert_eq!(
        write(state, "truck", epoch, 13, SessionWrite::Report(driving(5))),
        Written::Stale
    );
    let row = record(state, "truck");
    assert_eq!(row.vehicle.battery, None);
    assert_eq!(row.forget_through, Some(at(12)));
    assert_eq!(log_in(state, "truck", 12), 2);
}

#[test]
fn a_vehicle_made_again_is_stamped_after_the_deletion() {
    let state = &mut empty();
    log_in(state, "truck", 1_000);
    delete(state, "truck", 1_000);
    let epoch = log_in(state, "truck", 5);
    write(state, "truck", epoch, 6, SessionWrite::Report(driving(5)));
    let through = record(state, "truck").forget_through.unwrap();
    assert!(
        state
            .reports
            .iter()
            .all(|report| report.received_at > through)
    );
}

#[test]
fn registering_a_vehicle_that_exists_changes_nothing() {
    let state = &mut empty();
    let register = |state: &mut BatchState| state.register(&id("truck"), at(1));
    assert!(register(state).created);
    log_in(state, "truck", 2);
    let before = record(state, "truck").clone();
    assert!(!register(state).created);
    assert_eq!(*record(state, "truck"), before);
}

#[test]
fn a_status_update_makes_the_vehicle_and_leaves_online_as_it_is() {
    let state = &mut empty();
    let update = |state: &mut BatchState| state.update_status(&id("truck"), at(1), &driving(42));
    assert!(!update(state).online);
    log_in(state, "truck", 2);
    assert!(update(state).online);
    assert_eq!(state.reports.len(), 2);
}

#[test]
fn only_open_sessions_are_ended_as_lost() {
    let state = &mut empty();
    log_in(state, "online", 1);
    let epoch = log_in(state, "offline", 1);
    write(state, "offline", epoch, 2, end(DisconnectReason::Goodbye));
    for name in ["online", "offline", "unknown"] {
        state.end_lost_session(&id(name), &LostSessions::All, at(3));
    }
    let reason = |name| vehicle(state, name).disconnect_reason.unwrap();
    assert_eq!(reason("online"), DisconnectReason::InstanceLost);
    assert_eq!(reason("offline"), DisconnectReason::Goodbye);
    assert!(!vehicle(state, "online").online);
    assert!(state.vehicles[&id("unknown")].record.is_none());
}

/// A vehicle whose session a peer holds.
fn held_by_peer(name: &str, epoch: i64) -> BatchState {
    let mut row = VehicleRecord::new(&id(name), at(1));
    (row.vehicle.online, row.session_epoch) = (true, epoch);
    row.vehicle.instance_id = Some(peer());
    with(HashMap::from([(id(name), VehicleEntry::read(Some(row)))]))
}

fn end_sessions_of(state: &mut BatchState, incarnation: IncarnationId, millis: i64) {
    let grace = Some(Duration::from_millis(10));
    let lost = LostSessions::OfIncarnation(incarnation, grace);
    state.end_lost_session(&id("truck"), &lost, at(millis));
}

fn end_grace(state: &mut BatchState, millis: i64) {
    state.end_grace(&id("truck"), at(millis));
}

#[test]
fn a_login_or_deletion_evicts_the_session_of_a_peer() {
    let state = &mut held_by_peer("truck", 7);
    assert_eq!(log_in(state, "truck", 2), 8);
    assert_eq!(log_in(state, "truck", 3), 9);
    let eviction = |reason| Eviction {
        owner: peer(),
        device_id: id("truck"),
        through_epoch: 7,
        reason,
    };
    assert_eq!(state.evictions, [eviction(DisconnectReason::Superseded)]);

    let state = &mut held_by_peer("truck", 7);
    delete(state, "truck", 2);
    assert_eq!(state.evictions, [eviction(DisconnectReason::Deleted)]);
}

#[test]
fn a_session_ended_with_grace_leaves_the_vehicle_online_until_it_is_over() {
    let state = &mut empty();
    let epoch = log_in(state, "truck", 1);
    let shutdown = SessionWrite::End {
        reason: DisconnectReason::Shutdown,
        last_heartbeat: None,
        grace: Some(Duration::from_millis(10)),
    };
    state.now = at(5);
    write(state, "truck", epoch, 3, shutdown);
    assert_eq!(presence(state), (true, Some(at(15))));
    assert_eq!(vehicle(state, "truck").instance_id, None);
    end_grace(state, 14);
    assert!(vehicle(state, "truck").online);
    end_grace(state, 15);
    assert_eq!(presence(state), (false, None));
    let reason = vehicle(state, "truck").disconnect_reason;
    assert_eq!(reason, Some(DisconnectReason::Shutdown));
}

#[test]
fn a_login_in_time_clears_the_grace() {
    let state = &mut held_by_peer("truck", 7);
    state.now = at(5);
    end_sessions_of(state, peer(), 5);
    assert_eq!(presence(state), (true, Some(at(15))));
    assert_eq!(log_in(state, "truck", 9), 8);
    assert!(state.evictions.is_empty());
    end_grace(state, 20);
    assert_eq!(presence(state), (true, None));
}

#[test]
fn a_dead_incarnation_loses_only_its_own_sessions() {
    let state = &mut held_by_peer("truck", 7);
    end_sessions_of(state, incarnation(3), 5);
    assert_eq!(presence(state), (true, None));
    assert_eq!(state.vehicles[&id("truck")].changed, ChangedColumns::None);
    state.now = at(6);
    end_sessions_of(state, peer(), 6);
    state.now = at(7);
    end_sessions_of(state, peer(), 7);
    assert_eq!(presence(state), (true, Some(at(16))));
}

#[test]
fn a_heartbeat_never_goes_back_and_does_not_touch_updated_at() {
    let state = &mut empty();
    let epoch = log_in(state, "truck", 1);
    let session = SessionKey {
        device_id: id("truck"),
        epoch,
    };
    for millis in [50, 40] {
        state.heartbeat(&session, at(millis));
    }
    let vehicle = vehicle(state, "truck");
    assert_eq!(vehicle.last_heartbeat, Some(at(50)));
    assert_eq!(vehicle.updated_at, at(1));
}

/// A step in the history of one vehicle, with the epoch of the session that takes it.
#[derive(Debug, Clone)]
enum Step {
    Login,
    Report(i64),
    End(i64),
    Delete,
    Lost,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Login),
        4 => (0..8_i64).prop_map(Step::Report),
        2 => (0..8_i64).prop_map(Step::End),
        1 => Just(Step::Delete),
        1 => Just(Step::Lost),
    ]
}

proptest! {
    #[test]
    fn epochs_only_rise_one_session_holds_and_only_it_writes(
        steps in prop::collection::vec((step(), 0..1_000_i64), 0..60)
    ) {
        let state = &mut empty();
        // The model: the last epoch, and which epoch holds the vehicle.
        let (mut last, mut holder) = (0, None);
        for (step, millis) in steps {
            match step {
                Step::Login => {
                    last += 1;
                    holder = Some(last);
                    prop_assert_eq!(log_in(state, "truck", millis), last);
                }
                Step::Report(epoch) => {
                    let before = state.reports.len();
                    let written = write(state, "truck", epoch, millis, SessionWrite::Report(driving(1)));
                    prop_assert_eq!(written == Written::Stored, holder == Some(epoch));
                    prop_assert_eq!(state.reports.len() - before, usize::from(holder == Some(epoch)));
                }
                Step::End(epoch) => {
                    let written = write(state, "truck", epoch, millis, end(DisconnectReason::Silent));
                    prop_assert_eq!(written == Written::Stored, holder == Some(epoch));
                    holder = holder.filter(|holder| *holder != epoch);
                }
                Step::Delete => {
                    let entry = state.vehicles.get(&id("truck"));
                    let exists = entry.is_some_and(|entry| entry.existing().is_some());
                    prop_assert_eq!(delete(state, "truck", millis), exists.then_some(last));
                    prop_assert!(state.reports.is_empty());
                    holder = None;
                }
                Step::Lost => {
                    state.end_lost_session(&id("truck"), &LostSessions::All, at(millis));
                    holder = None;
                }
            }
            let entry = state.vehicles.get(&id("truck"));
            if let Some(record) = entry.and_then(|entry| entry.record.as_ref()) {
                prop_assert_eq!(record.vehicle.online, holder.is_some());
                prop_assert_eq!(record.vehicle.instance_id.is_some(), holder.is_some());
                prop_assert_eq!(record.session_epoch, last);
            }
            let stamps: Vec<Timestamp> = state.reports.iter().map(|report| report.received_at).collect();
            prop_assert!(stamps.is_sorted());
        }
    }
}

/// The events of going online (true) and offline (false).
fn online_events(state: &BatchState) -> Vec<bool> {
    let events = state.events.iter().flatten();
    events
        .filter_map(|event| match event.change {
            VehicleChange::Online => Some(true),
            VehicleChange::Offline(_) => Some(false),
            _ => None,
        })
        .collect()
}

#[test]
fn a_deletion_emits_offline_only_after_an_emitted_online() {
    let batch = |vehicles: &BatchState| {
        let entries = vehicles.vehicles.iter();
        let entries =
            entries.map(|(id, entry)| (id.clone(), VehicleEntry::read(entry.record.clone())));
        let subscribed = EventKind::Online | EventKind::Offline;
        let commands = CommandSet::default();
        BatchState::new(here(), at(0), entries.collect(), commands, subscribed)
    };
    let none = &mut empty();
    // It came online in the batch that deletes it: no endpoint knows.
    let new = &mut batch(none);
    log_in(new, "truck", 1);
    delete(new, "truck", 2);
    assert_eq!(online_events(new), [] as [bool; 0]);
    let online = &mut batch(none);
    let epoch = log_in(online, "truck", 1);
    assert_eq!(online_events(online), [true]);
    // It was online before the batch, whatever came in it before its end.
    let deleted = &mut batch(online);
    delete(deleted, "truck", 2);
    assert_eq!(online_events(deleted), [false]);
    let left = &mut batch(online);
    write(left, "truck", epoch, 2, end(DisconnectReason::Goodbye));
    delete(left, "truck", 3);
    assert_eq!(online_events(left), [false]);
    let back = &mut batch(online);
    write(back, "truck", epoch, 2, end(DisconnectReason::Goodbye));
    log_in(back, "truck", 3);
    delete(back, "truck", 4);
    assert_eq!(online_events(back), [false]);
}
