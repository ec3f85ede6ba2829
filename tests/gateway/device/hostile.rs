//! Hostile and faulty peers: floods, slow readers, too many connections, too much memory.

use std::{
    io::{ErrorKind, Write},
    thread,
    time::Duration,
};

use socket2::SockRef;

use crate::support::{Daemon, Device, Lock, hello, wait_until};

#[test]
fn health_checks_that_connect_and_leave_do_no_harm() {
    let daemon = Daemon::start();
    for _ in 0..200 {
        drop(daemon.connect());
        let reset = daemon.connect();
        SockRef::from(reset.stream())
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
    daemon.log_in("truck");
    wait_until("the connections are gone", || {
        (daemon.connection_count() <= 1).then_some(())
    });
}

#[test]
fn beyond_the_cap_connections_are_closed_silently_and_others_stay() {
    let daemon = Daemon::builder().set("device.max_connections=3").start();
    let mut held: Vec<_> = (0..3)
        .map(|index| daemon.log_in(&format!("truck-{index}")))
        .collect();
    daemon.connect().expect_closed();
    daemon.logged("device refused: device.max_connections is reached");
    for device in &mut held {
        device.ping();
    }
    held.pop();
    wait_until("there is room again", || daemon.try_log_in("late"));
}

#[test]
fn a_slow_reader_is_closed_without_delaying_others() {
    let daemon = Daemon::builder().set("device.write_timeout=300ms").start();
    let mut flooding = Device::connect_with_small_buffer(daemon.device);
    flooding.say(&hello("flooding"));
    flooding.expect("HI, NICE TO MEET YOU!");
    let mut polite = daemon.log_in("polite");
    flooding
        .stream()
        .set_write_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    // Short sentences with long replies. A partial write garbles one sentence only.
    let flood = "x\nPING.\n".repeat(8_000);
    wait_until("the flood stops", || {
        polite.ping();
        match flooding.stream().write(flood.as_bytes()) {
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let gone = daemon.vehicle("flooding")["online"] == false;
                gone.then_some(())
            }
            Err(_reset) => Some(()),
        }
    });
    assert_eq!(
        daemon.logged_disconnect("flooding")["reason"],
        "slow-reader"
    );
}

#[test]
fn concurrent_blobs_beyond_the_memory_budget_are_all_stored() {
    const BLOBS: usize = 40;
    const SIZE: usize = 100_000;
    let daemon = Daemon::builder()
        .set("device.max_blob=128 KiB")
        .set("device.buffer_budget=1 MiB")
        .start();
    let mut devices: Vec<_> = (0..BLOBS)
        .map(|index| daemon.log_in(&format!("truck-{index}")))
        .collect();
    // All blobs have begun, none is complete: together they exceed the budget.
    for device in &mut devices {
        device.say(&format!("WTF! {SIZE}\n"));
        device.send_what_fits(&vec![b'x'; SIZE / 2]);
    }
    thread::scope(|scope| {
        for device in &mut devices {
            scope.spawn(move || {
                device.send(&vec![b'y'; SIZE - SIZE / 2]);
                device.expect("DAAAMN! ISSUE REPORTED ON JIRA");
            });
        }
    });
    let stored = daemon.query("SELECT count(*) FROM debug_blobs WHERE size = 100000");
    assert_eq!(stored, [BLOBS.to_string()]);
}

#[test]
fn a_device_that_trickles_a_blob_under_memory_pressure_is_closed() {
    let daemon = Daemon::builder()
        .set("device.max_blob=128 KiB")
        .set("device.buffer_budget=1 MiB")
        .set("device.blob_timeout=500ms")
        .start();
    let mut greedy: Vec<_> = (0..20)
        .map(|index| daemon.log_in(&format!("greedy-{index}")))
        .collect();
    for device in &mut greedy {
        device.say("WTF! 130000\n");
        device.send_what_fits(&vec![b'x'; 100_000]);
    }
    daemon.logged_with("reason", "over-capacity");
    // Sentences need no budget, and soon there is budget for blobs again.
    let mut polite = daemon.log_in("polite");
    polite.say("REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 3%.WTF! 5\nhello");
    polite.expect("OK, THANKS!");
    polite.expect("DAAAMN! ISSUE REPORTED ON JIRA");
    wait_until("a large blob is stored", || {
        let mut device = daemon.log_in("large");
        device.say("WTF! 130000\n");
        (device.try_send(&vec![b'x'; 130_000]) && device.line().is_some()).then_some(())
    });
}

#[test]
fn device_text_is_escaped_in_the_log() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.send(b"\x1b[2J\"forged\" \xff\r\nPING.");
    device.expect("SERVER COULD NOT PROCESS THE RECEIVED MESSAGE.");
    let line = daemon.logged("bad sentence; further ones of this connection are logged at debug");
    let excerpt = line["excerpt"].as_str().unwrap();
    assert!(excerpt.starts_with(r#""\u{1b}[2J\"forged\""#), "{excerpt}");
    assert!(!excerpt.contains('\u{1b}'));
}

// Only Linux can change a limit of a running process.
#[cfg(target_os = "linux")]
#[test]
fn accepting_resumes_after_running_out_of_open_files() {
    let daemon = Daemon::builder()
        .set("device.max_connections=20")
        .set("http.max_connections=10")
        .start();
    daemon.log_in("truck");
    daemon.wait_until_offline("truck");
    daemon.limit_open_files(daemon.open_files() + 10);
    let held: Vec<_> = (0..40).map(|_| daemon.connect()).collect();
    daemon.logged("cannot accept devices; trying again");
    drop(held);
    wait_until("logins work again", || daemon.try_log_in("truck"));
}

#[test]
fn a_login_whose_device_is_gone_leaves_the_vehicle_offline() {
    let daemon = Daemon::start();
    daemon.log_in("truck");
    daemon.wait_until_offline("truck");
    let lock = Lock::take(&daemon.database());
    let mut device = daemon.connect();
    device.say(&hello("truck"));
    daemon.logged("the database cannot commit; nothing is acknowledged until it does");
    drop(device);
    drop(lock);
    wait_until("the login and its end are stored", || {
        let row = daemon.query("SELECT session_epoch || ' ' || online FROM vehicles");
        (row == ["2 0"]).then_some(())
    });
}

#[test]
fn closed_connections_free_their_slots_during_a_database_outage() {
    let daemon = Daemon::builder().set("device.max_connections=3").start();
    let devices: Vec<_> = (0..3)
        .map(|index| daemon.log_in(&format!("truck-{index}")))
        .collect();
    let lock = Lock::take(&daemon.database());
    drop(devices);
    wait_until("the connections are gone", || {
        (daemon.connection_count() == 0).then_some(())
    });
    drop(lock);
    for index in 0..3 {
        daemon.wait_until_offline(&format!("truck-{index}"));
    }
}
