//! `POST /service/broadcast` on one instance.

use serde_json::json;

use crate::support::{Daemon, Database, Dialect, RUN, Vehicle, on_every_database};

on_every_database! {
    a_broadcast_asks_all_connected_vehicles_and_counts_outcomes,
}

fn a_broadcast_asks_all_connected_vehicles_and_counts_outcomes(database: &Database) {
    let daemon = Daemon::on(database).start();
    drop(Vehicle::log_in(&daemon, "gone", Dialect::Text));
    daemon.wait_until_offline("gone");
    let mut vehicles: Vec<Vehicle> = ["done", "refused", "silent", "leaving"]
        .into_iter()
        .zip(Dialect::BOTH.into_iter().cycle())
        .map(|(id, dialect)| Vehicle::log_in(&daemon, id, dialect))
        .collect();
    let body = json!({ "message": RUN, "timeoutSeconds": 2 });
    let pending = daemon.start_command("broadcast", &body);
    for vehicle in &mut vehicles {
        vehicle.expect_command(RUN);
    }
    let meanwhile = daemon.send_command("broadcast", &body);
    assert_eq!(meanwhile.outcome(), (429, "broadcast-under-way"));
    vehicles[0].reply("DONE!");
    vehicles[1].reply("I CAN'T, SORRY.");
    vehicles.pop();
    let answer = pending.response();
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body,
        json!({
            "addressed": 4, "done": 1, "refused": 1, "silent": 1, "disconnected": 1, "unsent": 0,
            "unreachableInstances": 0,
        })
    );
    let log = daemon.json("/vehicles/done/commands");
    assert_eq!(log["items"][0]["origin"], "broadcast");
}
