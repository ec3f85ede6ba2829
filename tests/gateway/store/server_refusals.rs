//! A database server that answers and refuses: it has no free connection, or does not let the user in.

use serde_json::Value;

use super::CANNOT_COMMIT;
use crate::support::{
    Daemon, Database, HeldConnections, REPORT, THANKS, change, on_every_server, wait_until,
};

on_every_server! {
    a_start_waits_for_a_free_connection_and_says_what_the_server_says,
    reads_without_a_free_connection_say_what_the_server_says,
    a_user_who_is_shut_out_while_running_is_the_reason,
}

const CANNOT_READ: &str = "the database cannot be read; what needs it fails until it can";
/// The lines of an outage with its first reason and with another, for reads and for writes.
const READS: [&str; 2] = [CANNOT_READ, "the database still cannot be read"];
const WRITES: [&str; 2] = [CANNOT_COMMIT, "the database still cannot commit"];

fn is_full(text: &str) -> bool {
    // The user's limit of PostgreSQL; the server's of MariaDB, and the user's.
    text.contains("too many connections for role \"fleet\"")
        || (text.contains("1040") && text.contains("Too many connections"))
        || text.contains("exceeded the 'max_user_connections' resource")
}

fn is_shut_out(text: &str) -> bool {
    text.contains("role \"fleet\" is not permitted to log in")
        || text.contains("Access denied for user 'gateway'@'localhost'")
}

/// Why the gateway is not ready.
fn reason_of_unreadiness(daemon: &Daemon) -> Option<String> {
    let response = daemon.get("/ready");
    let is_unready = response.status() == 503;
    let body: Value = response.json().unwrap();
    assert_eq!(body["reason"].is_string(), is_unready, "{body}");
    body["reason"].as_str().map(str::to_owned)
}

/// Waits until the gateway is not ready for such a reason.
#[track_caller]
fn wait_until_unready(daemon: &Daemon, is_expected: fn(&str) -> bool) {
    wait_until("the reason is at /ready", || {
        let reason = reason_of_unreadiness(daemon)?;
        is_expected(&reason).then_some(())
    });
}

#[track_caller]
fn wait_until_ready(daemon: &Daemon) {
    wait_until("the gateway is ready", || {
        (daemon.get("/ready").status() == 200).then_some(())
    });
}

/// Waits for such an error in a log line with one of these messages.
#[track_caller]
fn wait_for_error(daemon: &Daemon, messages: [&str; 2], is_expected: fn(&str) -> bool) {
    let is_wanted = |line: &Value| {
        let message = line["message"].as_str().unwrap_or_default();
        let error = line["error"].as_str().unwrap_or_default();
        messages.contains(&message) && line["level"] != "DEBUG" && is_expected(error)
    };
    wait_until("the reason is in the log", || {
        daemon.log().iter().any(is_wanted).then_some(())
    });
}

#[track_caller]
fn assert_reads_are_unavailable(daemon: &Daemon, path: &str) {
    let response = daemon.get(path);
    assert_eq!(response.status(), 503);
    let problem: Value = response.json().unwrap();
    let kind = problem["type"].as_str().unwrap();
    assert!(kind.ends_with(":store-unavailable"), "{problem}");
}

fn a_start_waits_for_a_free_connection_and_says_what_the_server_says(database: &Database) {
    let builder = Daemon::on(database).set("database.wait=2s");
    let url = database
        .server()
        .url_of_limited_user(builder.database_url());
    let held = HeldConnections::take_all(&url);
    let (status, output) = builder.duplicate().on_url(&url).run_to_failure();
    assert!(!status.success());
    let [waiting, reason] = output.lines().collect::<Vec<_>>()[..] else {
        panic!("{output}");
    };
    assert!(waiting.contains("waiting for it"), "{output}");
    assert!(is_full(&waiting.replace("\\\"", "\"")), "{output}");
    assert!(is_full(reason), "{output}");
    drop(held);
    builder.on_url(&url).start();
}

fn reads_without_a_free_connection_say_what_the_server_says(database: &Database) {
    // An idle instance commits four times in a lease: mostly it does not notice that it cannot.
    let builder = Daemon::on(database).set("presence.lease=10m");
    let server = database.server();
    let url = server.url_of_limited_user(builder.database_url());
    let daemon = builder.on_url(&url).start();
    let held = server.refuse_connections(&url);
    wait_until_unready(&daemon, is_full);
    assert_reads_are_unavailable(&daemon, "/vehicles");
    wait_for_error(&daemon, READS, is_full);
    drop(held);
    server.limit_user(10);
    wait_until_ready(&daemon);
    // What is read meanwhile shows that reads no longer fail.
    wait_until("the end is logged", || {
        assert_eq!(daemon.get("/vehicles").status(), 200);
        let log = daemon.log();
        let mut messages = log.iter().map(|line| &line["message"]);
        messages
            .any(|message| message == "the database can be read again")
            .then_some(())
    });
}

fn a_user_who_is_shut_out_while_running_is_the_reason(database: &Database) {
    let builder = Daemon::on(database).set("store.commit_timeout=60s");
    let url = database
        .server()
        .url_of_limited_user(builder.database_url());
    let daemon = builder.on_url(&url).start();
    let mut device = daemon.log_in("truck");
    database.server().let_limited_user_in(false);
    device.say(REPORT);
    wait_for_error(&daemon, WRITES, is_shut_out);
    wait_until_unready(&daemon, is_shut_out);
    assert_reads_are_unavailable(&daemon, "/vehicles");
    wait_for_error(&daemon, READS, is_shut_out);
    database.server().let_limited_user_in(true);
    device.expect(THANKS);
    wait_until_ready(&daemon);
}

mod a_right_that_is_taken_away_makes_reads_unavailable {
    use super::*;

    #[test]
    fn on_postgres() {
        let database = Database::postgres();
        let builder = Daemon::on(&database);
        let url = builder.database_url().to_owned();
        let limited = database.server().url_of_limited_user(&url);
        let daemon = builder.on_url(&limited).start();
        daemon.log_in("truck");
        change(&url, "REVOKE SELECT ON reports FROM fleet");
        assert_reads_are_unavailable(&daemon, "/vehicles/truck/reports");
        let is_denied = |error: &str| error.contains("permission denied for table reports");
        wait_for_error(&daemon, READS, is_denied);
        change(&url, "GRANT SELECT ON reports TO fleet");
        assert_eq!(daemon.get("/vehicles/truck/reports").status(), 200);
    }

    #[test]
    fn on_mariadb() {
        let database = Database::mariadb();
        let builder = Daemon::on(&database);
        let url = builder.database_url().to_owned();
        let limited = database.server().url_of_limited_user(&url);
        let daemon = builder.on_url(&limited).start();
        daemon.log_in("truck");
        // Sessions keep their rights on the database that they use.
        let (_, name) = url.rsplit_once('/').unwrap();
        for host in ["localhost", "127.0.0.1"] {
            change(&url, &format!("REVOKE ALL ON {name}.* FROM gateway@{host}"));
        }
        change(&url, "KILL USER gateway");
        let is_denied = |text: &str| text.contains("Access denied for user 'gateway'");
        wait_until_unready(&daemon, is_denied);
        assert_reads_are_unavailable(&daemon, "/vehicles");
        wait_for_error(&daemon, READS, is_denied);
    }
}

mod a_start_waits_for_a_free_connection_of_its_user {
    use super::*;

    #[test]
    fn on_mariadb() {
        let database = Database::mariadb();
        let builder = Daemon::on(&database).set("database.wait=1s");
        let server = database.server();
        let url = server.url_of_limited_user(builder.database_url());
        let _held = server.refuse_connections(&url);
        let (_status, output) = builder.on_url(&url).run_to_failure();
        assert!(output.contains("waiting for it"), "{output}");
        assert!(output.contains("1226 (42000)"), "{output}");
    }
}
