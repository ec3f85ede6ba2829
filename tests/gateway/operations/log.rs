//! The log's reader closes, hangs or is out of space: only log lines are lost.

use serde_json::json;

use crate::support::{Builder, Daemon, Lock, LogReader, REPORT, REST, RUN, THANKS, wait_until};

/// Each bad sentence is a log line of some hundred bytes; the good one keeps the connection open.
const TEN_BAD_SENTENCES_AND_PING: &str =
    "no\nsentence\nbegins\nlike\nany\nof\nthese\nten\nbad\nlines\nPING.\n";

/// Has a vehicle log in and report, commands it, and locks the database for a while.
#[track_caller]
fn everything_works(daemon: &Daemon) {
    let mut device = daemon.log_in("truck");
    let turn_on = daemon.start_command("truck/turnOn", &json!({}));
    device.expect(RUN);
    device.say("DONE!");
    assert_eq!(turn_on.response().outcome(), (200, "done"));
    device.say(REPORT);
    device.expect(THANKS);
    let lock = Lock::take(&daemon.database());
    device.say(REPORT);
    wait_until_ready(daemon, 503);
    drop(lock);
    device.expect(THANKS);
    wait_until_ready(daemon, 200);
    let turn_off = daemon.start_command("truck/turnOff", &json!({}));
    device.expect(REST);
    device.say("DONE!");
    assert_eq!(turn_off.response().outcome(), (200, "done"));
}

#[track_caller]
fn wait_until_ready(daemon: &Daemon, status: u16) {
    wait_until("readiness changes", || {
        (daemon.get("/ready").status() == status).then_some(())
    });
}

/// Causes log lines until some are lost.
#[track_caller]
fn talk_until_lines_are_lost(daemon: &Daemon) {
    let mut device = daemon.log_in("talker");
    wait_until("lines are lost", || {
        for _ in 0..50 {
            device.send(TEN_BAD_SENTENCES_AND_PING.as_bytes());
            for _ in 0..11 {
                device.line().unwrap();
            }
        }
        (lost_lines(daemon) > 0).then_some(())
    });
}

#[track_caller]
fn stops_cleanly(mut daemon: Daemon) {
    daemon.signal("TERM");
    assert!(daemon.wait().success());
}

fn lost_lines(daemon: &Daemon) -> u64 {
    let metrics = daemon.get("/metrics").text().unwrap();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("vehicle_gateway_log_lines_lost_total "));
    line.unwrap().parse().unwrap()
}

fn builder() -> Builder {
    Daemon::builder().set("shutdown.grace=2s")
}

#[test]
fn a_closed_log_costs_only_log_lines() {
    let daemon = builder().log_reader(LogReader::Closes).start();
    everything_works(&daemon);
    assert!(lost_lines(&daemon) > 0);
    stops_cleanly(daemon);
}

#[test]
fn a_log_that_was_never_open_costs_only_log_lines() {
    let daemon = builder().start_with_closed_log();
    everything_works(&daemon);
    assert!(lost_lines(&daemon) > 0);
    stops_cleanly(daemon);
}

#[test]
fn a_hanging_log_reader_costs_only_log_lines() {
    let daemon = builder()
        .log_reader(LogReader::Pauses)
        .set("log.filter=debug")
        .start();
    talk_until_lines_are_lost(&daemon);
    everything_works(&daemon);
    stops_cleanly(daemon);
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_on_a_full_disk_costs_only_log_lines() {
    let daemon = builder().start_with_log_in("/dev/full");
    everything_works(&daemon);
    assert!(lost_lines(&daemon) > 0);
    stops_cleanly(daemon);
}

#[test]
fn lost_lines_are_reported_once_the_log_works_again() {
    let daemon = builder()
        .log_reader(LogReader::Pauses)
        .set("log.filter=debug")
        .start();
    talk_until_lines_are_lost(&daemon);
    daemon.resume_log();
    let line = daemon.logged_containing("log lines lost");
    assert!(line["lost"].as_u64().unwrap() > 0);
    assert_eq!(line["level"], json!("WARN"));
}
