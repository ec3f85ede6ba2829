//! A database server that is killed, stalls, or is cut off from the gateway.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::CANNOT_COMMIT;
use crate::support::{
    Daemon, Database, DatabaseProxy, Device, Lock, REPORT, THANKS, change, hello, on_every_server,
    query, wait_until,
};

const OUTCOME_UNKNOWN: &str = "whether the last batch is stored is not known yet";
const STORE_AT_DEBUG: &str = "log.filter=info,vehicle_gateway::store=debug";

on_every_server! {
    an_unreachable_server_delays_acknowledgements,
    a_stalled_server_delays_acknowledgements_and_loses_nothing,
    acknowledged_reports_are_stored_once_when_the_server_is_killed,
    a_delayed_commit_stores_nothing_twice,
    a_batch_that_a_lookup_does_not_show_yet_is_stored_once,
    a_new_connection_gets_its_session_settings,
    a_hanging_handshake_times_out,
    dead_connections_are_replaced,
    a_stalled_server_does_not_delay_a_shutdown,
    a_signal_ends_a_start_that_waits_for_the_database,
}

fn an_unreachable_server_delays_acknowledgements(database: &Database) {
    let daemon = Daemon::on(database).set("store.commit_timeout=60s").start();
    let mut device = daemon.log_in("truck");
    database.server().kill();
    device.say(REPORT);
    daemon.logged(CANNOT_COMMIT);
    assert_eq!(daemon.get("/ready").status(), 503);
    assert_eq!(daemon.get("/health").status(), 200);
    database.server().restart();
    device.expect(THANKS);
    daemon.logged("the database commits again");
    wait_until("the gateway is ready", || {
        (daemon.get("/ready").status() == 200).then_some(())
    });
    assert_eq!(daemon.query("SELECT count(*) FROM reports"), ["1"]);
    let pending = daemon.start_command("truck/turnOn", &json!({}));
    device.expect("HEY YOU, RUN!");
    device.say("DONE!");
    assert_eq!(pending.response().status, 200);
}

fn a_stalled_server_delays_acknowledgements_and_loses_nothing(database: &Database) {
    let daemon = Daemon::on(database).set("store.commit_timeout=60s").start();
    let mut devices: Vec<Device> = (0..20)
        .map(|n| daemon.log_in(&format!("truck-{n}")))
        .collect();
    database.server().stall();
    for device in &mut devices {
        device.say(REPORT);
    }
    // The stall outlasts the gateway's limit for one statement.
    daemon.logged(CANNOT_COMMIT);
    database.server().resume();
    for device in &mut devices {
        device.expect(THANKS);
    }
    assert_eq!(daemon.query("SELECT count(*) FROM reports"), ["20"]);
}

/// Reports as fast as it is acknowledged, until the connection ends or `enough` reports are acknowledged.
fn report_until_it_breaks(
    mut device: Device,
    id: &str,
    acknowledged: &AtomicUsize,
    enough: usize,
) -> usize {
    device.say(&hello(id));
    let mut acknowledgements = 0;
    if device.line().is_none() {
        return 0;
    }
    while acknowledged.load(Ordering::Relaxed) < enough && device.try_say(REPORT) {
        match device.line().as_deref() {
            Some(THANKS) => acknowledgements += 1,
            _ => break,
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    acknowledgements
}

fn acknowledged_reports_are_stored_once_when_the_server_is_killed(database: &Database) {
    const DEVICES: usize = 8;
    const ROUNDS: usize = 5;
    let daemon = Daemon::on(database).set("store.commit_timeout=60s").start();
    let acknowledged = AtomicUsize::new(0);
    let enough = 300 * (ROUNDS + 1);
    let counts: Vec<usize> = thread::scope(|scope| {
        let devices: Vec<_> = (0..DEVICES)
            .map(|index| {
                let (device, acknowledged) = (daemon.connect(), &acknowledged);
                let id = format!("truck-{index}");
                scope.spawn(move || report_until_it_breaks(device, &id, acknowledged, enough))
            })
            .collect();
        for round in 1..=ROUNDS {
            wait_until("more reports are acknowledged", || {
                (acknowledged.load(Ordering::Relaxed) >= 300 * round).then_some(())
            });
            database.server().kill();
            database.server().restart();
        }
        devices
            .into_iter()
            .map(|device| device.join().unwrap())
            .collect()
    });
    // Each device waits for the acknowledgement before it reports again, and no connection was closed, so the numbers
    // match.
    for (index, acknowledgements) in counts.into_iter().enumerate() {
        let stored = daemon.query(&format!(
            "SELECT count(*) FROM reports WHERE device_id = 'truck-{index}'"
        ));
        assert_eq!(stored, [acknowledgements.to_string()], "truck-{index}");
    }
}

fn a_delayed_commit_stores_nothing_twice(database: &Database) {
    let builder = Daemon::on(database).set("store.commit_timeout=60s");
    let (builder, proxy) = builder.through_proxy(DatabaseProxy::to);
    let daemon = builder.set(STORE_AT_DEBUG).start();
    let mut device = daemon.log_in("truck");
    proxy.hold("COMMIT");
    device.say(REPORT);
    proxy.wait_until_held(1);
    daemon.logged(OUTCOME_UNKNOWN);
    proxy.release();
    device.expect(THANKS);
    assert_eq!(daemon.query("SELECT count(*) FROM reports"), ["1"]);
}

mod a_commit_that_waits_for_a_standby_is_not_stored_twice {
    use super::*;

    #[test]
    fn on_postgres() {
        let database = Database::postgres();
        let daemon = Daemon::on(&database)
            .set("store.commit_timeout=60s")
            .set(STORE_AT_DEBUG)
            .start();
        let mut device = daemon.log_in("truck");
        let url = daemon.database_url();
        change(
            &url,
            "ALTER SYSTEM SET synchronous_standby_names = 'nobody'",
        );
        change(&url, "SELECT pg_reload_conf()");
        wait_until("the server waits for a standby", || {
            let setting =
                "SELECT setting FROM pg_settings WHERE name = 'synchronous_standby_names'";
            (query(&url, setting) == ["nobody"]).then_some(())
        });
        device.say(REPORT);
        daemon.logged(OUTCOME_UNKNOWN);
        change(&url, "ALTER SYSTEM RESET synchronous_standby_names");
        change(&url, "SELECT pg_reload_conf()");
        device.expect(THANKS);
        assert_eq!(daemon.query("SELECT count(*) FROM reports"), ["1"]);
    }
}

fn a_batch_that_a_lookup_does_not_show_yet_is_stored_once(database: &Database) {
    let builder = Daemon::on(database);
    let url = builder.database_url().to_owned();
    let (builder, proxy) = builder.through_proxy(DatabaseProxy::to);
    let daemon = builder.set("store.commit_timeout=60s").start();
    let mut device = daemon.log_in("truck");
    // As on a server that has not applied the last batch yet when it is asked for its number.
    if url.starts_with("postgres") {
        proxy.replace(r#""instances"."batch""#, r#"batch-1 AS "batch" "#);
    } else {
        proxy.replace("`instances`.`batch`", "batch-1 AS `batch` ");
    }
    proxy.hold("reports");
    device.say(REPORT);
    proxy.wait_until_held(1);
    proxy.release_until("COMMIT");
    proxy.wait_until_held(2);
    // The COMMIT is not answered.
    proxy.lose_replies();
    proxy.release();
    let reports = || query(&url, "SELECT count(*) FROM reports");
    wait_until("the report is stored", || {
        (reports() == ["1"]).then_some(())
    });
    proxy.close_connections();
    device.expect(THANKS);
    device.say(REPORT);
    device.expect(THANKS);
    assert_eq!(reports(), ["2"]);
}

fn a_new_connection_gets_its_session_settings(database: &Database) {
    // The server closes idle connections, as firewalls do; the pool notices and reconnects.
    let daemon = Daemon::on(database)
        .set("store.commit_timeout=60s")
        .set("log.filter=debug")
        .start();
    let mut device = daemon.log_in("truck");
    let is_postgres = daemon.database_url().starts_with("postgres");
    let end_all = if is_postgres {
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    } else {
        "BEGIN NOT ATOMIC FOR c IN (SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND user = 'root') DO KILL c.id; END FOR; END"
    };
    change(&daemon.database_url(), end_all);
    device.say(REPORT);
    device.expect(THANKS);
    // The new connection has the gateway's lock timeout, a quarter of the lease, and not the default of fifty seconds.
    let lock = Lock::of_rows(&daemon.database_url(), "instances");
    let since = Instant::now();
    device.say(REPORT);
    wait_until("the wait for the lock has timed out", || {
        let log = daemon.log();
        let errors = log.iter().filter_map(|line| line["error"].as_str());
        errors
            .into_iter()
            .any(|error| error.to_lowercase().contains("lock"))
            .then_some(())
    });
    assert!(since.elapsed() < Duration::from_secs(7));
    drop(lock);
    device.expect(THANKS);
}

fn a_hanging_handshake_times_out(database: &Database) {
    let (builder, proxy) = Daemon::on(database).through_proxy(DatabaseProxy::to);
    let daemon = builder.start();
    let mut device = daemon.log_in("truck");
    // Only the session that writes sets time-outs.
    proxy.hold("timeout = ");
    proxy.sever();
    device.say(REPORT);
    proxy.wait_until_held(1);
    // The chunk that is held now is lost.
    proxy.sever();
    proxy.hold("nothing that is said");
    daemon.logged("the database commits again");
    let log = daemon.log();
    let mut errors = log.iter().filter_map(|line| line["error"].as_str());
    assert!(
        errors.any(|error| error.ends_with("no connection within 5s")),
        "{log:?}"
    );
    daemon.log_in("truck");
}

fn dead_connections_are_replaced(database: &Database) {
    let (builder, proxy) = Daemon::on(database).through_proxy(DatabaseProxy::to);
    let daemon = builder.set("http.request_timeout=2s").start();
    let mut device = daemon.log_in("truck");
    proxy.hold("vehicles");
    let pending: Vec<_> = (0..8)
        .map(|_| {
            let url = daemon.url("/vehicles");
            thread::spawn(move || reqwest::blocking::get(url).unwrap().status().as_u16())
        })
        .collect();
    proxy.wait_until_held(4);
    proxy.sever();
    proxy.hold("nothing that is said");
    for pending in pending {
        pending.join().unwrap();
    }
    device.try_say(REPORT);
    wait_until("reads succeed", || {
        (daemon.get("/vehicles").status() == 200).then_some(())
    });
    wait_until("the gateway is ready", || {
        (daemon.get("/ready").status() == 200).then_some(())
    });
}

fn a_stalled_server_does_not_delay_a_shutdown(database: &Database) {
    let mut daemon = Daemon::on(database).set("shutdown.grace=3s").start();
    let mut devices: Vec<Device> = (0..4)
        .map(|n| daemon.log_in(&format!("truck-{n}")))
        .collect();
    database.server().stall();
    for device in &mut devices {
        device.say(REPORT);
    }
    let since = Instant::now();
    daemon.signal("TERM");
    assert!(!daemon.wait().success());
    assert!(
        since.elapsed() < Duration::from_secs(6),
        "{:?}",
        since.elapsed()
    );
}

fn a_signal_ends_a_start_that_waits_for_the_database(database: &Database) {
    let mut lock = "GET_LOCK(";
    let (builder, proxy) = Daemon::on(database).through_proxy(|url| {
        if url.starts_with("postgres") {
            lock = "advisory_lock(";
        }
        DatabaseProxy::to(url)
    });
    proxy.hold(lock);
    let since = Instant::now();
    let (_status, output) = builder
        .after_shell("( (sleep 3; kill -TERM $$; sleep 12; kill -KILL $$) >/dev/null 2>&1 & )")
        .run_to_failure();
    assert!(since.elapsed() < Duration::from_secs(8), "{output}");
}
