//! The plain-text dialect.

use std::time::Duration;

use serde_json::json;

use crate::support::{Daemon, hello, wait_until};

const BAD: &str = "SERVER COULD NOT PROCESS THE RECEIVED MESSAGE.";
const REPORT: &str = "REPORT. I'M HERE 43.62152 11.4638716, RUNNING AND CHARGED AT 47%.";

#[test]
fn a_login_is_greeted_and_the_vehicle_is_online() {
    let daemon = Daemon::start();
    let _device = daemon.log_in("truck-1");
    let vehicle = daemon.vehicle("truck-1");
    assert_eq!(vehicle["online"], true);
    assert_eq!(vehicle["instanceId"], daemon.id.as_str());
    assert_eq!(vehicle["latitude"], json!(null));
    assert_eq!(vehicle["battery"], json!(null));
    assert_eq!(vehicle["running"], json!(null));
}

#[test]
fn a_heartbeat_is_answered_and_noted() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    assert_eq!(daemon.vehicle("truck")["lastHeartbeat"], json!(null));
    device.say("PING.");
    device.expect("PONG.");
    assert!(daemon.vehicle("truck")["lastHeartbeat"].is_string());
    assert!(daemon.json("/vehicles/truck/status")["lastHeartbeat"].is_string());
}

#[test]
fn heartbeats_reach_the_database_with_the_flush_and_at_the_end_of_the_session() {
    let daemon = Daemon::builder().set("store.heartbeat_flush=100ms").start();
    let mut device = daemon.log_in("truck");
    device.say("PING.");
    device.expect("PONG.");
    wait_until("the flush", || {
        let beat = daemon.query("SELECT last_heartbeat FROM vehicles WHERE last_heartbeat > 0");
        (beat.len() == 1).then_some(())
    });

    let slow = Daemon::builder().set("store.heartbeat_flush=10m").start();
    let mut device = slow.log_in("truck");
    device.say("PING.GOTTA GO.");
    device.expect("PONG.");
    device.expect("SEE YA!");
    slow.disconnected("truck");
    wait_until("the end of the session", || {
        let beat = slow.query("SELECT last_heartbeat FROM vehicles WHERE last_heartbeat > 0");
        (beat.len() == 1).then_some(())
    });
}

#[test]
fn a_report_is_thanked_and_is_the_vehicles_state_and_history() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say(REPORT);
    device.expect("OK, THANKS!");
    let vehicle = daemon.vehicle("truck");
    assert_eq!(vehicle["latitude"], 43.62152);
    assert_eq!(vehicle["longitude"], 11.463_871_6);
    assert_eq!(vehicle["battery"], 47);
    assert_eq!(vehicle["running"], true);
    let history = daemon.json("/vehicles/truck/reports");
    assert_eq!(history["items"].as_array().unwrap().len(), 1);
    assert_eq!(history["items"][0]["latitude"], 43.62152);
    assert_eq!(history["items"][0]["receivedAt"], vehicle["reportedAt"]);
}

#[test]
fn a_debug_blob_of_any_bytes_is_kept_as_it_came() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    let dump: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    device.say("WTF! 70000\r\n");
    device.send(&dump);
    device.expect("DAAAMN! ISSUE REPORTED ON JIRA");
    let blobs = daemon.json("/vehicles/truck/debug-blobs");
    assert_eq!(blobs["items"][0]["size"], 70_000);
    let id = &blobs["items"][0]["blobId"];
    let content = daemon.get(&format!("/vehicles/truck/debug-blobs/{id}"));
    assert_eq!(content.bytes().unwrap(), dump);
}

#[test]
fn an_empty_debug_blob_is_valid() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say("WTF! 0\n");
    device.expect("DAAAMN! ISSUE REPORTED ON JIRA");
    assert_eq!(
        daemon.json("/vehicles/truck/debug-blobs")["items"][0]["size"],
        0
    );
}

#[test]
fn a_goodbye_is_answered_the_connection_closed_and_the_vehicle_offline() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say("GOTTA GO.");
    device.expect("SEE YA!");
    device.expect_closed();
    let vehicle = daemon.offline("truck");
    assert_eq!(vehicle["disconnectReason"], "goodbye");
    assert_eq!(vehicle["instanceId"], json!(null));
}

#[test]
fn a_vehicle_that_names_its_interval_is_acknowledged_and_the_desired_one_stays() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say("KEEP ME POSTED EVERY 030 SECONDS.");
    device.expect("SURE, I WILL!");
    for out_of_range in ["9", "3601"] {
        device.say(&format!("KEEP ME POSTED EVERY {out_of_range} SECONDS."));
        device.expect(BAD);
    }
    let vehicle = daemon.vehicle("truck");
    assert_eq!(vehicle["acknowledgedUpdateFrequency"], 30);
    assert_eq!(vehicle["updateFrequency"], json!(null));
}

#[test]
fn fine_unasked_is_a_report() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say("FINE. I'M HERE -1 2.5, RESTING AND CHARGED AT 5%.");
    device.expect("OK, THANKS!");
    assert_eq!(daemon.vehicle("truck")["latitude"], -1.0);
}

#[test]
fn answers_to_nothing_get_no_reply_and_are_not_bad() {
    let daemon = Daemon::builder().set("device.max_bad_sentences=2").start();
    let mut device = daemon.log_in("truck");
    device.say("DONE!I CAN'T, SORRY.SURE, I WILL!SEE YA!PING.");
    device.expect("PONG.");
}

#[test]
fn before_the_login_nothing_but_hello_and_goodbye_is_known() {
    let daemon = Daemon::start();
    let mut device = daemon.connect();
    for sentence in ["PING.", REPORT, "DONE!", "KEEP ME POSTED EVERY 10 SECONDS."] {
        device.say(sentence);
        device.expect("I DON'T KNOW YOU!");
    }
    device.say("what\n");
    device.expect(BAD);
    device.say("WTF! 6\nPING.\n");
    device.expect("I DON'T KNOW YOU!");
    device.say(&hello("truck"));
    device.expect("HI, NICE TO MEET YOU!");
    assert_eq!(
        daemon.json("/vehicles/truck/debug-blobs")["items"],
        json!([])
    );
    assert_eq!(daemon.json("/vehicles/truck/reports")["items"], json!([]));
}

#[test]
fn a_goodbye_before_the_login_is_answered_and_nothing_is_stored() {
    let daemon = Daemon::start();
    let mut device = daemon.connect();
    device.say("GOTTA GO.");
    device.expect("SEE YA!");
    device.expect_closed();
    assert_eq!(daemon.json("/vehicles")["items"], json!([]));
}

#[test]
fn a_second_hello_is_greeted_again_unless_it_names_another_vehicle() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say("HELLO, I'M truck!HELLO, I'M other!PING.");
    device.expect("HI, NICE TO MEET YOU!");
    device.expect(BAD);
    device.expect("PONG.");
    assert_eq!(daemon.query("SELECT session_epoch FROM vehicles"), ["1"]);
}

#[test]
fn the_twentieth_bad_sentence_in_a_row_is_answered_and_the_connection_closed() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    for _ in 0..19 {
        device.say("NONSENSE\n");
        device.expect(BAD);
    }
    device.say("PING.");
    device.expect("PONG.");
    for _ in 0..20 {
        device.say("NONSENSE\n");
        device.expect(BAD);
    }
    device.expect_closed();
    assert_eq!(
        daemon.disconnected("truck")["reason"],
        "too-many-bad-sentences"
    );
}

#[test]
fn a_value_out_of_range_is_bad_as_a_whole_and_nothing_of_it_is_stored() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    for report in [
        "REPORT. I'M HERE 999 0, RESTING AND CHARGED AT 5%.",
        "REPORT. I'M HERE 0 180.1, RESTING AND CHARGED AT 5%.",
        "REPORT. I'M HERE 0 0, RESTING AND CHARGED AT 500%.",
    ] {
        device.say(report);
        device.say("PING.");
        device.expect(BAD);
        device.expect("PONG.");
    }
    let vehicle = daemon.vehicle("truck");
    assert_eq!(vehicle["latitude"], json!(null));
    assert_eq!(vehicle["battery"], json!(null));
    assert_eq!(daemon.json("/vehicles/truck/reports")["items"], json!([]));
}

#[test]
fn a_position_or_battery_that_is_no_number_is_bad_and_the_vehicle_stays() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say("REPORT. I'M HERE north east, RESTING AND CHARGED AT x%.\n");
    device.expect(BAD);
    device.say(REPORT);
    device.expect("OK, THANKS!");
}

#[test]
fn a_blob_above_the_cap_is_bad_and_its_bytes_are_never_sentences() {
    let daemon = Daemon::builder().set("device.max_blob=4 KiB").start();
    let mut device = daemon.log_in("truck");
    device.say("WTF! 5000\n");
    device.say(&REPORT.repeat(70));
    device.expect(BAD);
    device.expect_closed();
    assert_eq!(daemon.disconnected("truck")["reason"], "too-large");
    assert_eq!(daemon.json("/vehicles/truck/reports")["items"], json!([]));
}

#[test]
fn a_device_that_half_closes_gets_all_its_answers_and_then_the_gateway_closes() {
    let daemon = Daemon::start();
    let mut device = daemon.connect();
    device.say(&format!("{}\n{REPORT}PING.\nPIN", hello("truck")));
    device.half_close();
    for answer in ["HI, NICE TO MEET YOU!", "OK, THANKS!", "PONG."] {
        device.expect(answer);
    }
    device.expect_closed();
    assert_eq!(
        daemon.offline("truck")["disconnectReason"],
        "connection-closed"
    );
}

#[test]
fn a_sentence_ends_with_a_newline_a_carriage_return_and_newline_or_nothing() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    for end in ["", "\n", "\r\n", "  \n\n"] {
        device.say(&format!("PING.{end}"));
        device.expect("PONG.");
    }
}

#[test]
fn a_sentence_may_be_split_anywhere_and_share_a_segment() {
    let daemon = Daemon::start();
    let mut device = daemon.connect();
    let talk = format!("{}\r\n{REPORT}WTF! 4\r\n\0\r\n!PING.\r\n", hello("truck"));
    for byte in talk.bytes() {
        device.send(&[byte]);
    }
    for answer in [
        "HI, NICE TO MEET YOU!",
        "OK, THANKS!",
        "DAAAMN! ISSUE REPORTED ON JIRA",
        "PONG.",
    ] {
        device.expect(answer);
    }
}

#[test]
fn replies_keep_the_order_of_the_sentences_they_answer() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say(&format!("{REPORT}PING.").repeat(200));
    for _ in 0..200 {
        device.expect("OK, THANKS!");
        device.expect("PONG.");
    }
    let page = daemon.json("/vehicles/truck/reports?limit=1000");
    assert_eq!(page["items"].as_array().unwrap().len(), 200);
}

#[test]
fn where_a_sentence_has_one_space_more_are_accepted() {
    let daemon = Daemon::start();
    let mut device = daemon.connect();
    device.say("HELLO,    I'M truck!");
    device.expect("HI, NICE TO MEET YOU!");
    device.say("REPORT.  I'M   HERE  1   2,  RESTING  AND  CHARGED  AT  9%.");
    device.expect("OK, THANKS!");
}

#[test]
fn sentences_are_case_sensitive() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say("ping.\n");
    device.expect(BAD);
}

#[test]
fn after_garbage_a_sentence_is_found_behind_the_next_newline() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say("PANG. PING. HELLO\nPING.");
    device.expect(BAD);
    device.expect("PONG.");
}

#[test]
fn after_garbage_without_a_newline_a_sentence_is_found_after_a_moment_of_quiet() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say("PANG.");
    device.expect(BAD);
    device.expect_silence(Duration::from_millis(400));
    device.say("PING.");
    device.expect("PONG.");
}

#[test]
fn a_sentence_above_the_cap_is_bad_and_the_connection_lives() {
    let daemon = Daemon::builder().set("device.max_sentence=256 B").start();
    let mut device = daemon.log_in("truck");
    device.say(&format!("HELLO,{}I'M truck!\nPING.", " ".repeat(300)));
    device.expect(BAD);
    device.expect("PONG.");
}

#[test]
fn no_greeting_is_said_to_a_device_that_speaks_plain_text_first() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.expect_silence(Duration::from_millis(400));
    device.say("PING.");
    device.expect("PONG.");
}

#[test]
fn a_text_device_that_is_slow_to_finish_its_first_sentence_is_not_greeted_in_json() {
    let daemon = Daemon::builder().set("device.greeting_delay=50ms").start();
    let mut device = daemon.connect();
    device.say("HELLO, I");
    device.expect_silence(Duration::from_millis(300));
    device.say("'M truck!");
    device.expect("HI, NICE TO MEET YOU!");
}
