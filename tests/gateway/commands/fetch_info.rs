//! `GET /service/{deviceId}/fetch-info`: the vehicle is pending for its state.

use serde_json::json;

use crate::support::{ASK, Daemon, Database, Dialect, FINE, Vehicle, on_every_database};

on_every_database! {
    fetch_info_asks_the_vehicle_and_stores_its_answer,
}

fn fetch_info_asks_the_vehicle_and_stores_its_answer(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        let answer = std::thread::scope(|scope| {
            let pending = scope.spawn(|| daemon.json("/service/truck/fetch-info"));
            vehicle.expect_command(ASK);
            vehicle.reply(FINE);
            pending.join().unwrap()
        });
        vehicle.expect_nothing_more();
        assert_eq!(answer["status"], "CONNECTED");
        assert_eq!(
            [&answer["latitude"], &answer["battery"]],
            [&json!(43.5), &json!(47)]
        );
        let reports = daemon.json("/vehicles/truck/reports");
        assert_eq!(reports["items"].as_array().unwrap().len(), 1);
        drop(vehicle);
        daemon.wait_until_offline("truck");
        let known = daemon.json("/service/truck/fetch-info");
        assert_eq!(
            [&known["status"], &known["battery"]],
            [&json!("DISCONNECTED"), &json!(47)]
        );
        assert_eq!(daemon.get("/service/nobody/fetch-info").status(), 404);
    }
}

#[test]
fn fetch_info_without_an_answer_times_out() {
    let daemon = Daemon::start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let answer = daemon.get("/service/truck/fetch-info?timeoutSeconds=1");
    assert_eq!(answer.status(), 504);
    vehicle.expect_command(ASK);
}
