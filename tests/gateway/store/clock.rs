//! The clock of the database is wrong, or is set back.

use serde_json::json;

use crate::support::{
    Daemon, Database, DatabaseProxy, Reaction, Receiver, Redis, THANKS, change, on_every_server,
    query, report, wait_until,
};

on_every_server! {
    a_queued_command_expires_in_time_though_the_clock_is_set_back,
    a_command_reaches_a_vehicle_that_was_created_later_than_now,
    a_retry_that_a_wrong_clock_planned_is_made_when_the_clock_is_right,
    a_grace_that_a_wrong_clock_planned_is_over_when_the_clock_is_right,
    a_clock_that_jumps_ahead_deletes_nothing,
}

/// How far the clock of the database is from the time.
#[derive(Clone, Copy)]
enum Clock {
    Right,
    AnHourBehind,
    AHundredDaysAhead,
}

/// Has the gateway read another time from its database, on new connections.
fn set_clock(proxy: &DatabaseProxy, url: &str, clock: Clock) {
    if url.starts_with("postgres") {
        const TIME: &str = "EXTRACT(EPOCH FROM clock_timestamp()) * 1000";
        proxy.replace(
            TIME,
            match clock {
                Clock::Right => TIME,
                Clock::AnHourBehind => "(EXTRACT(EPOCH FROM now())-3600) * 1000     ",
                Clock::AHundredDaysAhead => "(EXTRACT(EPOCH FROM now())+8640000) * 1000  ",
            },
        );
    } else {
        const TIME: &str = "UNIX_TIMESTAMP(SYSDATE(3)) * 1000";
        proxy.replace(
            TIME,
            match clock {
                Clock::Right => TIME,
                Clock::AnHourBehind => "(UNIX_TIMESTAMP()-3600) * 1000   ",
                Clock::AHundredDaysAhead => "(UNIX_TIMESTAMP()+8640000) * 1000",
            },
        );
    }
    proxy.close_connections();
}

fn a_queued_command_expires_in_time_though_the_clock_is_set_back(database: &Database) {
    let builder = Daemon::on(database);
    let url = builder.database_url().to_owned();
    let (builder, proxy) = builder.through_proxy(DatabaseProxy::to);
    let daemon = builder.start();
    drop(daemon.log_in("truck"));
    daemon.wait_until_offline("truck");
    let turn_on = json!({ "queue": true, "ttlSeconds": 2 });
    assert_eq!(daemon.send_command("truck/turnOn", &turn_on).status, 202);
    set_clock(&proxy, &url, Clock::AnHourBehind);
    daemon.logged("the clock was set");
    let command = wait_until("the command has expired", || {
        let command = query(&url, "SELECT state FROM commands").pop();
        command.filter(|state| state != "queued")
    });
    assert_eq!(command, "expired");
}

fn a_command_reaches_a_vehicle_that_was_created_later_than_now(database: &Database) {
    let redis = Redis::start();
    let builder = Daemon::on(database);
    let url = builder.database_url().to_owned();
    let (builder, proxy) = builder.through_proxy(DatabaseProxy::to);
    let builder = builder.set(&format!("redis.url={}", redis.url()));
    let other = builder.duplicate().set("instance.id=other").start();
    let daemon = builder.set("instance.id=owner").start();
    let mut device = daemon.log_in("truck");
    set_clock(&proxy, &url, Clock::AnHourBehind);
    for daemon in [&daemon, &other] {
        daemon.logged("the clock was set");
    }
    let turn_on = other.start_command("truck/turnOn", &json!({}));
    device.expect("HEY YOU, RUN!");
    device.say("DONE!");
    let response = turn_on.response();
    assert_eq!(response.status, 200, "{response:?}");
}

fn a_retry_that_a_wrong_clock_planned_is_made_when_the_clock_is_right(database: &Database) {
    let receiver = Receiver::start(|nth| Reaction::Answer(if nth == 0 { 404 } else { 200 }));
    let daemon = Daemon::on(database)
        .set("webhooks.allow_http=true")
        .set("webhooks.allow_private=true")
        .set(r#"webhooks.retry_schedule=["0s", "1h"]"#)
        .set(&receiver.setting(&["battery"]))
        .start();
    let url = daemon.database_url();
    let mut device = daemon.log_in("truck");
    device.say(&report(1));
    device.expect(THANKS);
    wait_until("the first attempt has failed", || {
        let attempts = query(&url, "SELECT attempts FROM webhook_messages");
        (attempts == ["1"]).then_some(())
    });
    // As a clock plans it that is a hundred days ahead.
    for table in ["webhook_messages", "webhook_lanes"] {
        change(&url, &format!("UPDATE {table} SET due = due + 8640000000"));
    }
    receiver.wait_for_delivered(1);
}

fn a_grace_that_a_wrong_clock_planned_is_over_when_the_clock_is_right(database: &Database) {
    let builder = Daemon::on(database);
    let url = builder.database_url().to_owned();
    let (builder, proxy) = builder.through_proxy(DatabaseProxy::to);
    set_clock(&proxy, &url, Clock::AHundredDaysAhead);
    let daemon = builder.set("presence.offline_grace=1s").start();
    let device = daemon.log_in("truck");
    // A new process ends the sessions of the earlier one, and their vehicles have a grace.
    let daemon = daemon.kill_and_restart();
    drop(device);
    wait_until("the grace has begun", || {
        let due = query(
            &url,
            "SELECT count(*) FROM vehicles WHERE offline_due IS NOT NULL",
        );
        (due == ["1"]).then_some(())
    });
    set_clock(&proxy, &url, Clock::Right);
    daemon.wait_until_offline("truck");
}

fn a_clock_that_jumps_ahead_deletes_nothing(database: &Database) {
    let builder = Daemon::on(database);
    let url = builder.database_url().to_owned();
    let (builder, proxy) = builder.through_proxy(DatabaseProxy::to);
    let daemon = builder.set("retention.interval=100ms").start();
    let mut device = daemon.log_in("truck");
    device.say(&report(1));
    device.expect(THANKS);
    // Too old by any reading: it shows that rows are deleted at all.
    change(
        &url,
        "INSERT INTO reports (id, device_id, received_at, latitude, longitude, battery, running)
         VALUES (-1, 'truck', 1, 0, 0, 0, false)",
    );
    set_clock(&proxy, &url, Clock::AHundredDaysAhead);
    daemon.logged_containing("rows are deleted by it once");
    change(&url, "UPDATE reports SET received_at = 1 WHERE id = -1");
    wait_until("the old report is deleted", || {
        let left = query(&url, "SELECT count(*) FROM reports WHERE id = -1");
        (left == ["0"]).then_some(())
    });
    assert_eq!(query(&url, "SELECT count(*) FROM reports"), ["1"]);
}
