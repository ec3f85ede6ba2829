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
fn a_heartbeat_is_answered_and_shown() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    assert_eq!(daemon.vehicle("truck")["lastHeartbeat"], json!(null));
    device.say("PING.");
    device.expect("PONG.");
    assert!(daemon.vehicle("truck")["lastHeartbeat"].is_string());
    assert!(daemon.json("/vehicles/truck/status")["lastHeartbeat"].is_string());
}

#[test]
fn heartbeats_are_stored_at_the_flush_and_at_the_session_end() {
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
    slow.logged_disconnect("truck");
    wait_until("the end of the session", || {
        let beat = slow.query("SELECT last_heartbeat FROM vehicles WHERE last_heartbeat > 0");
        (beat.len() == 1).then_some(())
    });
}

#[test]
fn a_report_is_acknowledged_and_stored_as_state_and_history() {
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
fn a_debug_blob_of_any_bytes_is_stored_unchanged() {
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
fn a_goodbye_is_answered_and_ends_the_session() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say("GOTTA GO.");
    device.expect("SEE YA!");
    device.expect_closed();
    let vehicle = daemon.wait_until_offline("truck");
    assert_eq!(vehicle["disconnectReason"], "goodbye");
    assert_eq!(vehicle["instanceId"], json!(null));
}

#[test]
fn an_interval_named_by_the_vehicle_leaves_the_desired_one() {
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
fn an_unsolicited_fine_is_a_report() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say("FINE. I'M HERE -1 2.5, RESTING AND CHARGED AT 5%.");
    device.expect("OK, THANKS!");
    assert_eq!(daemon.vehicle("truck")["latitude"], -1.0);
}

#[test]
fn unsolicited_answers_get_no_reply_and_are_not_bad() {
    let daemon = Daemon::builder().set("device.max_bad_sentences=2").start();
    let mut device = daemon.log_in("truck");
    device.say("DONE!I CAN'T, SORRY.SURE, I WILL!SEE YA!PING.");
    device.expect("PONG.");
}

#[test]
fn before_the_login_only_hello_and_goodbye_are_accepted() {
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
fn a_second_hello_is_greeted_unless_it_names_another_vehicle() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say("HELLO, I'M truck!HELLO, I'M other!PING.");
    device.expect("HI, NICE TO MEET YOU!");
    device.expect(BAD);
    device.expect("PONG.");
    assert_eq!(daemon.query("SELECT session_epoch FROM vehicles"), ["1"]);
}

#[test]
fn twenty_bad_sentences_in_a_row_close_the_connection() {
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
        daemon.logged_disconnect("truck")["reason"],
        "too-many-bad-sentences"
    );
}

#[test]
fn a_report_with_a_value_out_of_range_is_bad_and_not_stored() {
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
fn a_report_with_a_non_number_is_bad_and_the_session_stays() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say("REPORT. I'M HERE north east, RESTING AND CHARGED AT x%.\n");
    device.expect(BAD);
    device.say(REPORT);
    device.expect("OK, THANKS!");
}

#[test]
fn the_bytes_of_a_blob_above_the_cap_are_never_sentences() {
    let daemon = Daemon::builder().set("device.max_blob=4 KiB").start();
    let mut device = daemon.log_in("truck");
    device.say("WTF! 5000\n");
    device.say(&REPORT.repeat(70));
    device.expect(BAD);
    device.expect_closed();
    assert_eq!(daemon.logged_disconnect("truck")["reason"], "too-large");
    assert_eq!(daemon.json("/vehicles/truck/reports")["items"], json!([]));
}

#[test]
fn a_half_closed_connection_still_gets_all_replies() {
    let daemon = Daemon::start();
    let mut device = daemon.connect();
    device.say(&format!("{}\n{REPORT}PING.\nPIN", hello("truck")));
    device.half_close();
    for answer in ["HI, NICE TO MEET YOU!", "OK, THANKS!", "PONG."] {
        device.expect(answer);
    }
    device.expect_closed();
    assert_eq!(
        daemon.wait_until_offline("truck")["disconnectReason"],
        "connection-closed"
    );
}

#[test]
fn a_sentence_may_end_with_lf_crlf_or_nothing() {
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
fn replies_keep_the_order_of_their_sentences() {
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
fn several_spaces_count_as_one() {
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
fn parsing_resumes_behind_the_newline_after_garbage() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say("PANG. PING. HELLO\nPING.");
    device.expect(BAD);
    device.expect("PONG.");
}

#[test]
fn parsing_resumes_after_garbage_and_a_quiet_moment() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say("PANG.");
    device.expect(BAD);
    device.expect_silence(Duration::from_millis(400));
    device.say("PING.");
    device.expect("PONG.");
}

#[test]
fn a_sentence_above_the_cap_is_bad_and_the_connection_stays() {
    let daemon = Daemon::builder().set("device.max_sentence=256 B").start();
    let mut device = daemon.log_in("truck");
    device.say(&format!("HELLO,{}I'M truck!\nPING.", " ".repeat(300)));
    device.expect(BAD);
    device.expect("PONG.");
}

#[test]
fn a_device_that_starts_with_text_is_not_greeted() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.expect_silence(Duration::from_millis(400));
    device.say("PING.");
    device.expect("PONG.");
}

#[test]
fn a_slow_first_sentence_in_text_is_not_greeted() {
    let daemon = Daemon::builder().set("device.greeting_delay=50ms").start();
    let mut device = daemon.connect();
    device.say("HELLO, I");
    device.expect_silence(Duration::from_millis(300));
    device.say("'M truck!");
    device.expect("HI, NICE TO MEET YOU!");
}

#[test]
fn sentences_that_end_with_nul_are_all_understood() {
    let daemon = Daemon::start();
    let mut device = daemon.connect();
    device.send(b"HELLO, I'M truck!\0PING.\0\0PING.\0GOTTA GO.\0");
    device.expect("HI, NICE TO MEET YOU!");
    device.expect("PONG.");
    device.expect("PONG.");
    device.expect("SEE YA!");
}
