//! `/vehicles/{deviceId}` and `/service/status-update`: what a report creates, and what a deletion leaves.

use serde_json::{Value, json};

use super::{items, register, send_report, store_blob, values};
use crate::support::{Daemon, Database, on_every_database, wait_until};

on_every_database! {
    a_status_update_creates_the_vehicle_and_a_report,
    a_deleted_vehicle_is_gone_with_its_history_and_starts_empty,
}

fn a_status_update_creates_the_vehicle_and_a_report(database: &Database) {
    let daemon = Daemon::on(database).start();
    for (battery, latitude, longitude, running) in [
        (0, -90.0, 180.0, false),
        (100, 43.621_520_001, -0.000_000_001, true),
    ] {
        let update = json!({
            "deviceId": "truck", "latitude": latitude, "longitude": longitude, "battery": battery, "running": running,
        });
        let answer = daemon.post("/service/status-update", &update);
        assert_eq!(answer.status(), 200);
        let vehicle: Value = answer.json().unwrap();
        assert_eq!(vehicle, daemon.vehicle("truck"));
        let status = daemon.json("/vehicles/truck/status");
        let newest = items(&daemon, "/vehicles/truck/reports?")[0].clone();
        for key in ["latitude", "longitude", "battery", "running"] {
            for place in [&vehicle, &status, &newest] {
                assert_eq!(place[key], update[key], "{key}");
            }
        }
        assert_eq!(newest["receivedAt"], vehicle["reportedAt"]);
        assert_eq!(vehicle["online"], false);
    }
    assert_eq!(items(&daemon, "/vehicles/truck/reports?").len(), 2);
}

fn a_deleted_vehicle_is_gone_with_its_history_and_starts_empty(database: &Database) {
    let daemon = Daemon::on(database).set("retention.interval=1s").start();
    let mut device = daemon.log_in("truck");
    for battery in 1..=4 {
        send_report(&mut device, battery);
    }
    store_blob(&mut device, b"crash");
    let pending = daemon.start_command("truck/turnOn", &json!({}));
    device.expect("HEY YOU, RUN!");
    device.say("DONE!");
    assert_eq!(pending.response().status, 200);
    let lists = ["reports", "debug-blobs", "commands"];
    let page = daemon.json("/vehicles/truck/reports?limit=2");
    let old_cursor = page["nextCursor"].as_str().unwrap();
    let blob = items(&daemon, "/vehicles/truck/debug-blobs?")[0]["blobId"].clone();

    assert_eq!(daemon.delete("/vehicles/truck").status(), 204);
    device.expect_closed();
    for gone in ["", "/status", "/reports", "/debug-blobs", "/commands"] {
        let path = format!("/vehicles/truck{gone}");
        assert_eq!(daemon.get(&path).status(), 404, "{gone}");
    }
    let download = format!("/vehicles/truck/debug-blobs/{blob}");
    assert_eq!(daemon.get(&download).status(), 404);
    assert_eq!(daemon.delete("/vehicles/truck").status(), 404);
    assert_eq!(items(&daemon, "/vehicles?"), [Value::Null; 0]);

    register(&daemon, "truck");
    let vehicle = daemon.vehicle("truck");
    for key in [
        "latitude",
        "battery",
        "running",
        "reportedAt",
        "connectedAt",
    ] {
        assert_eq!(vehicle[key], Value::Null, "{key}");
    }
    for list in lists {
        let path = format!("/vehicles/truck/{list}?");
        assert_eq!(items(&daemon, &path), [Value::Null; 0], "{list}");
    }
    let mut device = daemon.log_in("truck");
    send_report(&mut device, 50);
    assert_eq!(
        values(&items(&daemon, "/vehicles/truck/reports?"), "battery"),
        [50]
    );
    let path = format!("/vehicles/truck/reports?cursor={old_cursor}&");
    assert_eq!(items(&daemon, &path), [Value::Null; 0]);
    assert_eq!(daemon.get(&download).status(), 404);
    // The old rows are purged, the new ones stay.
    wait_until("the old rows are purged", || {
        let rows = daemon.query("SELECT battery FROM reports");
        (rows == ["50"]).then_some(())
    });
    // Epochs continue, so that an old session cannot be mistaken for a new one.
    assert_eq!(daemon.query("SELECT session_epoch FROM vehicles"), ["2"]);
}
