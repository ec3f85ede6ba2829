//! Webhooks: endpoints, deliveries, signatures.

mod admin;
mod backlog;
mod behind;
mod copies;
mod crashes;
mod delivery;
mod failing_endpoints;
mod signatures;
mod sink_script;
mod ssrf;

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use crate::support::{Daemon, Database, Received, Receiver, wait_until};

/// Settings that allow endpoints at test receivers over REST.
const ALLOW_TEST_RECEIVERS: [&str; 2] = ["webhooks.allow_http=true", "webhooks.allow_private=true"];

const POSITION: &[&str] = &["position"];

/// The nth report of a vehicle that always moves.
fn position_report(nth: usize) -> String {
    format!(
        "REPORT. I'M HERE 1 {}.{:03}, RUNNING AND CHARGED AT 50%.\n",
        nth / 1000,
        nth % 1000
    )
}

/// A daemon that allows endpoints at test receivers, with further settings.
fn start_daemon(database: &Database, settings: &[&str]) -> Daemon {
    let mut builder = Daemon::on(database);
    for setting in ALLOW_TEST_RECEIVERS.iter().chain(settings) {
        builder = builder.set(setting);
    }
    builder.start()
}

/// Creates an endpoint for this receiver over REST, with further fields; returns its path.
#[track_caller]
fn create_endpoint(daemon: &Daemon, receiver: &Receiver, more: &Value) -> String {
    let mut body = json!({ "url": receiver.url(), "secret": Receiver::SECRET });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    let made = daemon.post("/webhooks", &body);
    assert_eq!(made.status(), 201);
    made.headers()["location"].to_str().unwrap().to_owned()
}

/// Waits until an endpoint has this many messages of this status; returns them, newest first.
#[track_caller]
fn wait_for_messages(daemon: &Daemon, path: &str, status: &str, count: usize) -> Vec<Value> {
    let path = format!("{path}/messages?status={status}");
    wait_until("this many messages have this status", || {
        let messages = daemon.json(&path)["items"].as_array().unwrap().clone();
        (messages.len() == count).then_some(messages)
    })
}

/// Waits until every stored report of these vehicles is delivered, and checks the guarantees: each change at least
/// once, under one id, first attempts in order, and nothing else.
#[track_caller]
fn expect_every_move_delivered(
    receiver: &Receiver,
    query: impl Fn(&str) -> Vec<String>,
    vehicles: &[String],
) {
    let stored: HashMap<&str, Vec<f64>> = vehicles
        .iter()
        .map(|id| {
            let sql = format!("SELECT longitude FROM reports WHERE device_id = '{id}' ORDER BY id");
            let longitudes = query(&sql);
            let longitudes = longitudes.iter().map(|text| text.parse().unwrap());
            (id.as_str(), longitudes.collect())
        })
        .collect();
    let changes: usize = stored.values().map(Vec::len).sum();
    assert!(changes > 0);
    receiver.wait_for("every change is delivered", |received| {
        let delivered = received.iter().filter(|message| message.is_delivered());
        let ids: BTreeSet<&str> = delivered.map(|message| &*message.id).collect();
        ids.len() >= changes
    });
    let mut told: HashMap<String, Vec<Received>> = HashMap::new();
    for message in receiver.received() {
        let of_vehicle = told.entry(message.device_id().to_owned()).or_default();
        let place = usize::try_from(message.sequence()).unwrap() - 1;
        if let Some(first) = of_vehicle.get(place) {
            assert_eq!((&first.id, &first.raw), (&message.id, &message.raw));
            // A retry, or a delivery that was not recorded.
            if !first.is_delivered() {
                assert_eq!(
                    place + 1,
                    of_vehicle.len(),
                    "a later message came before it"
                );
                of_vehicle[place] = message;
            }
            continue;
        }
        assert_eq!(place, of_vehicle.len(), "a message was left out");
        if let Some(last) = of_vehicle.last() {
            assert!(
                last.is_delivered(),
                "the message before it was not delivered"
            );
        }
        of_vehicle.push(message);
    }
    assert_eq!(told.len(), stored.len());
    for (id, longitudes) in stored {
        let of_vehicle = told[id].iter();
        let positions = of_vehicle.map(|it| it.body["data"]["vehicle"]["longitude"].as_f64());
        assert!(positions.eq(longitudes.into_iter().map(Some)), "{id}");
    }
}
