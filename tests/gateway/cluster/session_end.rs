//! The end of sessions: logins elsewhere, half-open connections, lost notices, paused and killed instances.

use std::time::{Duration, Instant};

use serde_json::json;
use socket2::SockRef;

use super::{DECLARED_DEAD, audited, audited_with, incarnation, offline_count, stored_session};
use crate::support::{
    Cluster, Database, Device, GRACE, LEASE, PATIENCE, REPORT, RUN, THANKS, on_every_server,
    wait_until,
};

on_every_server! {
    a_login_elsewhere_replaces_a_half_open_connection,
    a_late_close_on_a_paused_instance_changes_nothing,
    a_late_close_after_a_lost_notice_changes_nothing,
    after_a_lost_notice_a_command_closes_the_old_connection,
    after_a_lost_notice_the_old_connection_closes_within_some_leases,
    a_paused_instance_loses_its_vehicles_and_gets_a_new_incarnation,
    vehicles_of_a_killed_instance_have_a_grace_period,
    deleting_a_vehicle_closes_its_session_on_another_instance,
    a_command_of_a_deleted_vehicle_is_not_resent_after_its_purge,
    killing_the_owner_ends_a_command_for_its_caller_elsewhere,
}

fn a_login_elsewhere_replaces_a_half_open_connection(database: &Database) {
    let cluster = audited(database, 3);
    let mut old = cluster.log_in_at(0, "truck");
    let mut new = cluster.log_in_at(1, "truck");
    // The gateway closes it: the device did not.
    old.expect_closed();
    let line = cluster.instance(0).logged_disconnect("truck");
    assert_eq!(line["reason"], "superseded");
    drop(old);
    wait_until("the first instance has closed it", || {
        (cluster.instance(0).connection_count() == 0).then_some(())
    });
    for through in 0..3 {
        let pending = cluster
            .instance(through)
            .start_command("truck/turnOn", &json!({}));
        new.expect(RUN);
        new.say("DONE!");
        assert_eq!(pending.response().outcome(), (200, "done"));
    }
    assert_eq!(
        stored_session(&cluster, "truck"),
        ("2".to_owned(), incarnation(&cluster, 1))
    );
    assert_eq!(offline_count(&cluster, "truck"), 0);
}

/// A lease longer than a test: no instance is declared dead, and none reconciles its sessions with the database.
const LONG_LEASE: &str = "presence.lease=5m";

/// The late end of a connection that was half open.
#[derive(Debug, Clone, Copy)]
enum LateEnd {
    Closed,
    Reset,
}

impl LateEnd {
    const BOTH: [Self; 2] = [Self::Closed, Self::Reset];

    fn id(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
        }
    }

    fn end(self, device: Device) {
        if matches!(self, Self::Reset) {
            let socket = SockRef::from(device.stream());
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(device);
    }
}

/// The audit entries of a vehicle's sessions.
fn audit_entries(cluster: &Cluster, device_id: &str) -> Vec<String> {
    let sql = format!("SELECT seq FROM audit WHERE kind = 'session' AND device_id = '{device_id}'");
    cluster.query(&sql)
}

/// Sends a command through instance `through` and expects that the vehicle gets it and does it.
#[track_caller]
fn expect_command_done(cluster: &Cluster, through: usize, id: &str, device: &mut Device) {
    let pending = cluster
        .instance(through)
        .start_command(&format!("{id}/turnOn"), &json!({}));
    device.expect(RUN);
    device.say("DONE!");
    assert_eq!(pending.response().outcome(), (200, "done"));
}

/// Expects that the first instance closes its connection of this vehicle, and that the session on the second one stays.
fn expect_session_unchanged(cluster: &Cluster, id: &str, entries_before: &[String]) {
    let line = cluster.instance(0).logged_disconnect(id);
    assert_eq!(line["epoch"], 1);
    // Writes of the first instance are ordered: once this later session has ended, earlier writes are done.
    drop(cluster.log_in_at(0, &format!("after-{id}")));
    cluster
        .instance(0)
        .wait_until_offline(&format!("after-{id}"));
    assert_eq!(audit_entries(cluster, id), entries_before, "{id}");
    assert_eq!(
        stored_session(cluster, id),
        ("2".to_owned(), incarnation(cluster, 1))
    );
    assert_eq!(cluster.instance(2).vehicle(id)["online"], true);
    assert_eq!(offline_count(cluster, id), 0);
}

fn a_late_close_on_a_paused_instance_changes_nothing(database: &Database) {
    let cluster = audited_with(database, 3, &[LONG_LEASE]);
    let old = LateEnd::BOTH.map(|end| cluster.log_in_at(0, end.id()));
    cluster.pause(0);
    let mut new = LateEnd::BOTH.map(|end| cluster.log_in_at(1, end.id()));
    for (device, end) in new.iter_mut().zip(LateEnd::BOTH) {
        for through in [1, 2] {
            expect_command_done(&cluster, through, end.id(), device);
        }
    }
    let before = LateEnd::BOTH.map(|end| audit_entries(&cluster, end.id()));
    for (device, end) in old.into_iter().zip(LateEnd::BOTH) {
        end.end(device);
    }
    // Now it learns of the logins and of the closed connections at once.
    cluster.resume(0);
    for ((device, end), before) in new.iter_mut().zip(LateEnd::BOTH).zip(&before) {
        expect_session_unchanged(&cluster, end.id(), before);
        for through in 0..3 {
            expect_command_done(&cluster, through, end.id(), device);
        }
    }
}

fn a_late_close_after_a_lost_notice_changes_nothing(database: &Database) {
    let cluster = audited_with(database, 3, &[LONG_LEASE]);
    let mut old = LateEnd::BOTH.map(|end| cluster.log_in_at(0, end.id()));
    cluster.redis().kill();
    let mut new = LateEnd::BOTH.map(|end| cluster.log_in_at(1, end.id()));
    for ((new, old), end) in new.iter_mut().zip(&mut old).zip(LateEnd::BOTH) {
        expect_command_done(&cluster, 1, end.id(), new);
        // The first instance still holds its connection.
        old.ping();
    }
    let before = LateEnd::BOTH.map(|end| audit_entries(&cluster, end.id()));
    for (device, end) in old.into_iter().zip(LateEnd::BOTH) {
        end.end(device);
    }
    for ((device, end), before) in new.iter_mut().zip(LateEnd::BOTH).zip(&before) {
        expect_session_unchanged(&cluster, end.id(), before);
        expect_command_done(&cluster, 1, end.id(), device);
    }
    cluster.redis().restart();
    for index in 0..3 {
        wait_until("the instance is connected to Redis again", || {
            let ready = cluster.instance(index).json("/ready");
            (ready["checks"]["redis"] == "up").then_some(())
        });
    }
    for (device, end) in new.iter_mut().zip(LateEnd::BOTH) {
        for through in 0..3 {
            expect_command_done(&cluster, through, end.id(), device);
        }
    }
}

fn after_a_lost_notice_a_command_closes_the_old_connection(database: &Database) {
    let cluster = audited_with(database, 2, &[LONG_LEASE]);
    let mut old = cluster.log_in_at(0, "truck");
    cluster.redis().kill();
    let mut new = cluster.log_in_at(1, "truck");
    let ask = || {
        let body = json!({"timeoutSeconds": 3});
        let answer = cluster.instance(0).send_command("truck/turnOn", &body);
        // In both cases the command was not sent and will not be.
        let outcome = [(503, "fan-out-unavailable"), (504, "command-expired")];
        assert!(outcome.contains(&answer.outcome()), "{answer:?}");
        answer.status
    };
    ask();
    old.expect_closed();
    let line = cluster.instance(0).logged_disconnect("truck");
    assert_eq!(line["reason"], "superseded");
    // Now it knows that another instance, which it cannot reach, has the vehicle.
    assert_eq!(ask(), 503);
    expect_command_done(&cluster, 1, "truck", &mut new);
    assert_eq!(
        stored_session(&cluster, "truck"),
        ("2".to_owned(), incarnation(&cluster, 1))
    );
    assert_eq!(offline_count(&cluster, "truck"), 0);
}

fn after_a_lost_notice_the_old_connection_closes_within_some_leases(database: &Database) {
    let cluster = audited(database, 2);
    let mut old = cluster.log_in_at(0, "truck");
    cluster.redis().kill();
    let mut new = cluster.log_in_at(1, "truck");
    old.expect_closed();
    new.say(REPORT);
    new.expect(THANKS);
    assert_eq!(offline_count(&cluster, "truck"), 0);
    assert_eq!(stored_session(&cluster, "truck").0, "2");
}

/// Whether this incarnation is dead or deleted in the database.
fn is_dead(cluster: &Cluster, incarnation: &str) -> bool {
    let sql = format!("SELECT id FROM instances WHERE id = '{incarnation}' AND state = 'live'");
    cluster.query(&sql).is_empty()
}

fn a_paused_instance_loses_its_vehicles_and_gets_a_new_incarnation(database: &Database) {
    let cluster = audited(database, 3);
    let old_incarnation = incarnation(&cluster, 0);
    let mut stay: Vec<Device> = (0..3)
        .map(|n| cluster.log_in_at(0, &format!("stays-{n}")))
        .collect();
    let mut left: Vec<Device> = (0..3)
        .map(|n| cluster.log_in_at(0, &format!("moves-{n}")))
        .collect();
    cluster.pause(0);
    let mut moved: Vec<Device> = (0..3)
        .map(|n| cluster.log_in_at(1, &format!("moves-{n}")))
        .collect();
    for device in left.iter_mut().chain(&mut stay) {
        device.say(REPORT);
    }
    wait_until("the paused instance is declared dead", || {
        is_dead(&cluster, &old_incarnation).then_some(())
    });
    cluster.resume(0);
    // Neither stored nor acknowledged: these sessions had ended before the reports arrived.
    for device in left.iter_mut().chain(&mut stay) {
        device.expect_closed();
    }
    cluster.instance(0).logged_containing(DECLARED_DEAD);
    assert_eq!(cluster.query("SELECT id FROM reports"), [""; 0]);
    wait_until("the resumed instance is ready", || {
        (cluster.instance(0).get("/ready").status() == 200).then_some(())
    });
    assert_ne!(incarnation(&cluster, 0), old_incarnation);
    for (n, device) in moved.iter_mut().enumerate() {
        device.say(REPORT);
        device.expect(THANKS);
        assert_eq!(offline_count(&cluster, &format!("moves-{n}")), 0);
    }
    let mut device = cluster.log_in_at(0, "new");
    device.say(REPORT);
    device.expect(THANKS);
    assert_eq!(stored_session(&cluster, "new").1, incarnation(&cluster, 0));
    for n in 0..3 {
        let id = format!("stays-{n}");
        cluster.instance(0).wait_until_offline(&id);
        assert_eq!(offline_count(&cluster, &id), 1);
    }
}

fn vehicles_of_a_killed_instance_have_a_grace_period(database: &Database) {
    let mut cluster = audited(database, 3);
    let ids: Vec<String> = (0..6).map(|n| format!("truck-{n}")).collect();
    let devices: Vec<Device> = ids.iter().map(|id| cluster.log_in_at(0, id)).collect();
    let (back, gone) = ids.split_at(3);
    let since = Instant::now();
    cluster.kill(0);
    drop(devices);
    let _back: Vec<Device> = back.iter().map(|id| cluster.log_in(id)).collect();
    for id in gone {
        let vehicle = cluster.instance(1).wait_until_offline(id);
        assert_eq!(vehicle["disconnectReason"], "instance-lost");
    }
    let took = since.elapsed();
    assert!(took < LEASE + GRACE + Duration::from_secs(2), "{took:?}");
    assert!(took > GRACE, "{took:?}: shorter than the grace");
    cluster.start_instance(0);
    for id in gone {
        assert_eq!(offline_count(&cluster, id), 1, "{id}");
    }
    for id in back {
        assert_eq!(offline_count(&cluster, id), 0, "{id}");
        assert_eq!(stored_session(&cluster, id).0, "2");
    }
}

fn deleting_a_vehicle_closes_its_session_on_another_instance(database: &Database) {
    let cluster = Cluster::start(database, 2);
    let mut device = cluster.log_in_at(0, "truck");
    assert_eq!(cluster.instance(1).delete("/vehicles/truck").status(), 204);
    device.expect_closed();
    assert_eq!(
        cluster.instance(0).logged_disconnect("truck")["reason"],
        "deleted"
    );
    assert_eq!(cluster.instance(0).get("/vehicles/truck").status(), 404);
    cluster.log_in_at(0, "truck");
    assert_eq!(
        stored_session(&cluster, "truck").0,
        "2",
        "the epoch continues after a deletion"
    );
}

fn killing_the_owner_ends_a_command_for_its_caller_elsewhere(database: &Database) {
    let mut cluster = audited(database, 2);
    let mut device = cluster.log_in_at(0, "truck");
    let deadline = PATIENCE.as_secs();
    let body = json!({"timeoutSeconds": deadline});
    let pending = cluster.instance(1).start_command("truck/turnOn", &body);
    device.expect(RUN);
    let since = Instant::now();
    cluster.kill(0);
    let answer = pending.response();
    assert_eq!(answer.outcome(), (409, "vehicle-disconnected"));
    assert!(since.elapsed() < Duration::from_secs(deadline));
    cluster
        .instance(1)
        .wait_for_command_states("truck", &["disconnected"]);
}

fn a_command_of_a_deleted_vehicle_is_not_resent_after_its_purge(database: &Database) {
    let mut cluster = Cluster::start(database, 3);
    let mut device = cluster.log_in_at(0, "truck");
    let body = json!({"timeoutSeconds": 20});
    let pending = cluster.instance(1).start_command("truck/turnOn", &body);
    device.expect(RUN);
    // The requesting instance does not observe the following steps.
    cluster.pause(1);
    cluster.kill(0);
    assert_eq!(cluster.instance(2).delete("/vehicles/truck").status(), 204);
    let mut device = cluster.log_in_at(2, "truck");
    // An instance purges the records of deleted vehicles when it starts.
    cluster.start_instance(0);
    wait_until("its record is purged", || {
        let records = cluster.query("SELECT id FROM commands");
        records.is_empty().then_some(())
    });
    cluster.resume(1);
    assert_eq!(pending.response().outcome(), (404, "unknown-vehicle"));
    device.ping();
}
