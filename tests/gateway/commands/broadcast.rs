//! `POST /service/broadcast` on one instance.

use serde_json::json;

use crate::support::{Daemon, Database, Dialect, RUN, Vehicle, on_every_database};

on_every_database! {
    a_broadcast_asks_all_connected_vehicles_and_counts_outcomes,
}

fn a_broadcast_asks_all_connected_vehicles_and_counts_outcomes(database: &Database) {
    let daemon = Daemon::on(database).start();
    drop(Vehicle::log_in(&daemon, "gone", Dialect::Text));
    daemon.offline("gone");
    let mut vehicles: Vec<Vehicle> = ["done", "refused", "silent", "leaving"]
        .into_iter()
        .zip(Dialect::BOTH.into_iter().cycle())
        .map(|(id, dialect)| Vehicle::log_in(&daemon, id, dialect))
        .collect();
    let body = json!({ "message": RUN, "timeoutSeconds": 2 });
    let asked = daemon.ask("broadcast", &body);
    for vehicle in &mut vehicles {
        vehicle.hears(RUN);
    }
    let meanwhile = daemon.operate("broadcast", &body);
    assert_eq!(meanwhile.told(), (429, "broadcast-under-way"));
    vehicles[0].answers("DONE!");
    vehicles[1].answers("I CAN'T, SORRY.");
    vehicles.pop();
    let answer = asked.answer();
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
