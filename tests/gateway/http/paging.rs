//! Lists in pages: order, cursors, page sizes and limits in time, on every database.

use serde_json::{Value, json};

use super::{items, register, send_report, store_blob, values};
use crate::support::{Daemon, Database, Device, Receiver, change, on_every_database, wait_until};

on_every_database! {
    vehicles_are_paged_in_byte_order_of_their_ids,
    reports_are_paged_newest_first_even_within_a_millisecond,
    commands_are_paged_newest_first,
    blobs_are_paged_newest_first_and_downloaded_unchanged,
    webhook_messages_are_paged_newest_first,
    pages_neither_repeat_nor_skip_items_while_others_change,
}

/// All items of a list, page by page. Every page but the last must be full.
#[track_caller]
fn walk(daemon: &Daemon, path: &str, limit: usize) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = daemon.json(&format!("{path}limit={limit}{cursor}"));
        let items = page["items"].as_array().unwrap();
        all.extend(items.iter().cloned());
        let Some(next) = page["nextCursor"].as_str() else {
            assert!(items.len() <= limit);
            assert!(!items.is_empty() || all.is_empty(), "an empty last page");
            return all;
        };
        assert_eq!(items.len(), limit, "a page that is not the last is full");
        cursor = format!("&cursor={next}");
    }
}

/// Expects the same items with every page size. `path` ends where another parameter may follow.
#[track_caller]
fn pages_of_all_sizes(daemon: &Daemon, path: &str, expected: &[Value]) {
    for limit in 1..=expected.len() + 1 {
        assert_eq!(walk(daemon, path, limit), expected, "{path} by {limit}");
    }
}

/// Checks `from` and `to` at and between the times of all items; `time` is the name of their time.
#[track_caller]
fn limits_in_time(daemon: &Daemon, path: &str, time: &str, all: &[Value]) {
    let at = |entry: &Value| entry[time].as_str().unwrap().to_owned();
    let keep = |condition: &dyn Fn(&str) -> bool| -> Vec<Value> {
        let kept = all.iter().filter(|entry| condition(&at(entry)));
        kept.cloned().collect()
    };
    let (first, last) = ("0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z");
    for (query, expected) in [
        (format!("from={first}&to={last}"), all),
        (format!("from={last}"), &[]),
        (format!("to={first}"), &[]),
    ] {
        let found = walk(daemon, &format!("{path}{query}&"), 1000);
        assert_eq!(found, expected, "{query}");
    }
    for moment in all.iter().map(at) {
        // Times have milliseconds, so this is between two.
        let between = moment.replace('Z', "5Z");
        for (query, expected) in [
            (format!("from={moment}"), keep(&|at| at >= &*moment)),
            (format!("to={moment}"), keep(&|at| at < &*moment)),
            (format!("from={between}"), keep(&|at| at > &*moment)),
            (format!("to={between}"), keep(&|at| at <= &*moment)),
            (format!("from={moment}&to={moment}"), Vec::new()),
            (
                format!("from={moment}&to={between}"),
                keep(&|at| at == moment),
            ),
        ] {
            for limit in [2, 1000] {
                let found = walk(daemon, &format!("{path}{query}&"), limit);
                assert_eq!(found, expected, "{query} by {limit}");
            }
        }
    }
}

fn vehicles_are_paged_in_byte_order_of_their_ids(database: &Database) {
    let daemon = Daemon::on(database).start();
    // In an order that no collation has.
    let ids = [
        "-", ".a", "0", "10", "2", ":", "A", "B", "Z", "_", "a", "aA", "aa", "b",
    ];
    for id in ids.iter().rev() {
        register(&daemon, id);
    }
    let _online: Vec<Device> = ["B", "a", "aa"].map(|id| daemon.log_in(id)).into();
    let all = items(&daemon, "/vehicles?");
    assert_eq!(values(&all, "deviceId"), ids);
    pages_of_all_sizes(&daemon, "/vehicles?", &all);
    for (online, expected) in [(true, 3), (false, ids.len() - 3)] {
        let some: Vec<Value> = all
            .iter()
            .filter(|vehicle| vehicle["online"] == online)
            .cloned()
            .collect();
        assert_eq!(some.len(), expected);
        pages_of_all_sizes(&daemon, &format!("/vehicles?online={online}&"), &some);
    }
    assert_eq!(daemon.vehicle("A")["deviceId"], "A");
    assert_eq!(daemon.get("/vehicles/z").status(), 404);
}

fn reports_are_paged_newest_first_even_within_a_millisecond(database: &Database) {
    let daemon = Daemon::on(database).start();
    let (mut device, mut other) = (daemon.log_in("truck"), daemon.log_in("Truck"));
    for battery in 1..=8 {
        send_report(&mut device, battery);
        send_report(&mut other, 99);
    }
    // Three in one millisecond, four in the next, one later.
    for (batteries, at) in [("1, 2, 3", 1_000), ("4, 5, 6, 7", 1_001), ("8", 1_500)] {
        change(
            &daemon.database_url(),
            &format!("UPDATE reports SET received_at = {at} WHERE battery IN ({batteries})"),
        );
    }
    let path = "/vehicles/truck/reports?";
    let all = items(&daemon, path);
    let newest_first: Vec<Value> = (1..=8).rev().map(Value::from).collect();
    assert_eq!(values(&all, "battery"), newest_first);
    assert_eq!(all[7]["receivedAt"], "1970-01-01T00:00:01.000Z");
    pages_of_all_sizes(&daemon, path, &all);
    limits_in_time(&daemon, path, "receivedAt", &all);
}

fn commands_are_paged_newest_first(database: &Database) {
    let daemon = Daemon::on(database).start();
    for id in ["truck", "Truck"] {
        register(&daemon, id);
        for what in ["turnOn", "turnOff", "turnOn", "disconnect", "turnOff"] {
            let body = json!({ "queue": true, "ttlSeconds": 60 });
            let answer = daemon.send_command(&format!("{id}/{what}"), &body);
            assert_eq!(answer.outcome(), (202, "queued"));
        }
    }
    let path = "/vehicles/truck/commands?";
    let all = items(&daemon, path);
    let said = ["REST!", "GO.", "RUN!", "REST!", "RUN!"];
    for (command, said) in all.iter().zip(said) {
        assert!(command["message"].as_str().unwrap().ends_with(said));
        assert_eq!(command["deviceId"], "truck");
    }
    let states = ["queued", "queued", "superseded", "superseded", "superseded"];
    assert_eq!(values(&all, "status"), states);
    pages_of_all_sizes(&daemon, path, &all);
    limits_in_time(&daemon, path, "createdAt", &all);
}

fn blobs_are_paged_newest_first_and_downloaded_unchanged(database: &Database) {
    let daemon = Daemon::on(database).start();
    let (mut device, mut other) = (daemon.log_in("truck"), daemon.log_in("Truck"));
    let every_byte: Vec<u8> = (0..=255).collect();
    let contents: [Vec<u8>; 6] = [
        Vec::new(),
        every_byte.clone(),
        b"\0".to_vec(),
        b"\xff\xfe<html>'\\\"\r\n".to_vec(),
        // Larger than the smaller blob types of databases.
        every_byte.repeat(257),
        every_byte.repeat(4096),
    ];
    for content in &contents {
        store_blob(&mut device, content);
        store_blob(&mut other, b"of another");
    }
    let path = "/vehicles/truck/debug-blobs";
    let list = format!("{path}?");
    let all = items(&daemon, &list);
    let sizes: Vec<Value> = contents.iter().rev().map(|c| c.len().into()).collect();
    assert_eq!(values(&all, "size"), sizes);
    for (blob, content) in all.iter().zip(contents.iter().rev()) {
        assert_eq!(blob["deviceId"], "truck");
        let id = &blob["blobId"];
        let answer = daemon.get(&format!("{path}/{id}"));
        assert_eq!(answer.headers()["content-type"], "application/octet-stream");
        assert_eq!(
            answer.headers()["content-length"],
            content.len().to_string()
        );
        let bytes = answer.bytes().unwrap();
        assert!(bytes == content[..], "{} bytes differ", content.len());
        // It is not found under another vehicle.
        let elsewhere = daemon.get(&format!("/vehicles/Truck/debug-blobs/{id}"));
        assert_eq!(elsewhere.status(), 404);
    }
    // Several in one millisecond.
    let middle = &all[2]["blobId"];
    change(
        &daemon.database_url(),
        &format!("UPDATE debug_blobs SET received_at = 1000 WHERE id <= {middle}"),
    );
    let all = items(&daemon, &list);
    assert_eq!(values(&all, "size"), sizes);
    pages_of_all_sizes(&daemon, &list, &all);
    limits_in_time(&daemon, &list, "receivedAt", &all);
}

fn webhook_messages_are_paged_newest_first(database: &Database) {
    const MESSAGES: usize = 7;
    let receivers = [Receiver::start(|_| 200), Receiver::start(|_| 503)];
    let daemon = Daemon::on(database)
        .set("webhooks.allow_http=true")
        .set("webhooks.allow_private=true")
        .start();
    let [served, refused] = receivers.each_ref().map(|receiver| {
        let endpoint = json!({
            "url": receiver.url(), "secret": Receiver::SECRET, "events": ["position"],
        });
        let made = daemon.post("/webhooks", &endpoint);
        assert_eq!(made.status(), 201);
        let path = made.headers()["location"].to_str().unwrap().to_owned();
        format!("{path}/messages?")
    });
    // Two vehicles, each with its own sequence.
    let id_of = |nth| ["truck", "Truck"][nth % 2];
    for nth in 0..MESSAGES {
        let update = json!({
            "deviceId": id_of(nth), "latitude": 1, "longitude": nth, "battery": 50, "running": true,
        });
        let answer = daemon.post("/service/status-update", &update);
        assert_eq!(answer.status(), 200);
    }
    let served = format!("{served}status=delivered&");
    let delivered = wait_until("all are delivered", || {
        let delivered = items(&daemon, &served);
        (delivered.len() == MESSAGES).then_some(delivered)
    });
    pages_of_all_sizes(&daemon, &served, &delivered);
    let pending = items(&daemon, &refused);
    for limit in 1..=MESSAGES + 1 {
        // Attempts change the messages meanwhile, but not their ids.
        let page_by_page = walk(&daemon, &refused, limit);
        assert_eq!(values(&page_by_page, "id"), values(&pending, "id"));
    }
    let devices: Vec<&str> = (0..MESSAGES).rev().map(id_of).collect();
    for list in [delivered, pending] {
        assert_eq!(values(&list, "deviceId"), devices);
        assert_eq!(values(&list, "sequence"), [4, 3, 3, 2, 2, 1, 1]);
    }
}

fn pages_neither_repeat_nor_skip_items_while_others_change(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut device = daemon.log_in("truck");
    for battery in 1..=6 {
        send_report(&mut device, battery);
    }
    let page = daemon.json("/vehicles/truck/reports?limit=3");
    assert_eq!(
        values(page["items"].as_array().unwrap(), "battery"),
        [6, 5, 4]
    );
    send_report(&mut device, 99);
    // The item that the cursor names may be deleted.
    change(
        &daemon.database_url(),
        "DELETE FROM reports WHERE battery = 4",
    );
    let cursor = page["nextCursor"].as_str().unwrap();
    let rest = daemon.json(&format!("/vehicles/truck/reports?limit=3&cursor={cursor}"));
    assert_eq!(
        values(rest["items"].as_array().unwrap(), "battery"),
        [3, 2, 1]
    );
    assert_eq!(rest["nextCursor"], Value::Null);

    for id in ["b", "d", "f"] {
        register(&daemon, id);
    }
    let page = daemon.json("/vehicles?limit=2");
    assert_eq!(
        values(page["items"].as_array().unwrap(), "deviceId"),
        ["b", "d"]
    );
    for id in ["a", "e"] {
        register(&daemon, id);
    }
    assert_eq!(daemon.delete("/vehicles/d").status(), 204);
    let cursor = page["nextCursor"].as_str().unwrap();
    let rest = daemon.json(&format!("/vehicles?limit=9&cursor={cursor}"));
    assert_eq!(
        values(rest["items"].as_array().unwrap(), "deviceId"),
        ["e", "f", "truck"]
    );
}
