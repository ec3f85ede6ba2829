//! `vehicle-gateway simulate` against the daemon, and against a scripted gateway.

use std::{net::TcpListener, process::Command};

use crate::support::{Daemon, Device, Simulation, wait_until};

const SERVER: &str = "1582521b-27a7-4089-b6be-f70ed9dc800d";

#[test]
fn one_device_logs_in_and_shows_the_conversation() {
    let daemon = Daemon::start();
    let simulation = Simulation::start(
        daemon.device,
        &[
            "--id",
            "truck",
            "--heartbeat",
            "50ms",
            "--report-every",
            "50ms",
        ],
    );
    let hello = simulation.wait_for_line("HELLO, I'M truck!");
    // 06:04:00.123 → HELLO, I'M truck!
    let (time, rest) = hello.split_at(12);
    assert_eq!(rest, " → HELLO, I'M truck!");
    let shape = time.replace(|c: char| c.is_ascii_digit(), "0");
    assert_eq!(shape, "00:00:00.000");
    simulation.wait_for_line(" ← HI, NICE TO MEET YOU!");
    simulation.wait_for_line(" → PING.");
    simulation.wait_for_line(" ← PONG.");
    simulation.wait_for_line(" → REPORT. I'M HERE ");
    simulation.wait_for_line(" ← OK, THANKS!");
    let vehicle = daemon.vehicle("truck");
    assert_eq!(vehicle["online"], true);
    assert!(vehicle["latitude"].is_f64() && vehicle["lastHeartbeat"].is_string());
}

#[test]
fn in_json_it_waits_for_the_greeting_and_repeats_the_server_id() {
    let daemon = Daemon::start();
    let simulation = Simulation::start(
        daemon.device,
        &["--id", "truck", "--dialect", "json", "--heartbeat", "50ms"],
    );
    let id = &daemon.id;
    simulation.wait_for_line(&format!(
        r#" ← {{"type":"connected","message":"Connected to server","serverId":"{id}"}}"#
    ));
    let ids = format!(r#""clientId":"truck","serverId":"{id}"}}"#);
    simulation.wait_for_line(&format!(
        r#" → {{"type":"message","message":"HELLO, I'M truck!",{ids}"#
    ));
    simulation.wait_for_line(r#" ← {"type":"reply","message":"HI, NICE TO MEET YOU!"}"#);
    simulation.wait_for_line(&format!(r#" → {{"type":"message","message":"PING.",{ids}"#));
    simulation.wait_for_line(r#" ← {"type":"reply","message":"PONG."}"#);
}

#[test]
fn without_an_id_it_generates_a_uuid() {
    let daemon = Daemon::start();
    let simulation = Simulation::start(daemon.device, &[]);
    simulation.wait_for_line("NICE TO MEET YOU");
    let ids = daemon.query("SELECT device_id FROM vehicles");
    assert!(uuid::Uuid::try_parse(&ids[0]).is_ok(), "{ids:?}");
}

#[test]
fn a_typed_error_is_stored_as_a_debug_blob() {
    let daemon = Daemon::start();
    for dialect in ["text", "json"] {
        let mut simulation =
            Simulation::start(daemon.device, &["--id", dialect, "--dialect", dialect]);
        simulation.type_line("ERROR");
        simulation.type_line("ERROR out of coffee");
        for _ in 0..2 {
            simulation.wait_for_line("DAAAMN! ISSUE REPORTED ON JIRA");
        }
        let path = format!("/vehicles/{dialect}/debug-blobs");
        let blobs = daemon.json(&path);
        assert_eq!(blobs["items"].as_array().unwrap().len(), 2);
        let newest = daemon.get(&format!("{path}/{}", blobs["items"][0]["blobId"]));
        assert_eq!(newest.text().unwrap(), "out of coffee");
    }
}

#[test]
fn a_typed_sentence_is_sent_and_an_invalid_line_gets_a_hint() {
    let daemon = Daemon::start();
    let mut simulation = Simulation::start(daemon.device, &["--id", "truck"]);
    simulation.type_line("BANANA");
    simulation.wait_for_line("not sent: no sentence begins like this");
    simulation.type_line("REPORT. I'M HERE 1 -2, RUNNING AND CHARGED AT 3%.");
    simulation.wait_for_line("OK, THANKS!");
    assert_eq!(daemon.vehicle("truck")["battery"], 3);
}

#[test]
fn a_typed_goodbye_exits_cleanly() {
    let daemon = Daemon::start();
    for dialect in ["text", "json"] {
        let mut simulation =
            Simulation::start(daemon.device, &["--id", dialect, "--dialect", dialect]);
        simulation.type_line("GOTTA GO.");
        simulation.wait_for_line("SEE YA!");
        assert_eq!(simulation.summary("logins"), [1]);
        assert_eq!(simulation.summary("goodbyes"), [1, 1]);
        assert!(simulation.wait().success());
        assert_eq!(
            daemon.wait_until_offline(dialect)["disconnectReason"],
            "goodbye"
        );
    }
}

#[test]
fn a_signal_exits_with_a_goodbye() {
    let daemon = Daemon::start();
    for signal in ["TERM", "INT"] {
        let mut simulation = Simulation::start(daemon.device, &["--id", signal]);
        simulation.wait_for_line("NICE TO MEET YOU");
        simulation.signal(signal);
        simulation.wait_for_line("SEE YA!");
        assert!(simulation.wait().success());
        assert_eq!(
            daemon.wait_until_offline(signal)["disconnectReason"],
            "goodbye"
        );
    }
}

#[test]
fn the_summary_of_a_fleet_matches_the_database() {
    for dialect in ["text", "json"] {
        let daemon = Daemon::start();
        let mut fleet = Simulation::start(
            daemon.device,
            &[
                "--devices",
                "200",
                "--for",
                "3s",
                "--report-every",
                "1s",
                "--dialect",
                dialect,
            ],
        );
        assert_eq!(fleet.summary("devices"), [200, 200]);
        assert_eq!(fleet.summary("logins"), [200]);
        let reports = fleet.summary("reports");
        assert_eq!(fleet.summary("goodbyes"), [200, 200]);
        assert_eq!(fleet.summary("bad"), [0, 0]);
        assert!(fleet.wait().success());
        let stored = daemon.query("SELECT count(*) FROM reports");
        assert_eq!(reports, vec![stored[0].parse::<u64>().unwrap(); 2]);
        assert!(reports[0] >= 200, "{reports:?}");
        let goodbyes = "SELECT count(*) FROM vehicles WHERE disconnect_reason = 'goodbye'";
        wait_until("all vehicles are offline", || {
            (daemon.query(goodbyes) == ["200"]).then_some(())
        });
    }
}

#[test]
fn the_same_seed_is_the_same_fleet() {
    let daemon = Daemon::start();
    for _ in 0..2 {
        let mut fleet = Simulation::start(
            daemon.device,
            &[
                "--devices",
                "3",
                "--seed",
                "7",
                "--for",
                "1s",
                "--report-every",
                "0",
            ],
        );
        assert!(fleet.wait().success());
    }
    assert_eq!(daemon.query("SELECT session_epoch FROM vehicles"), ["2"; 3]);
}

#[test]
fn it_reconnects_when_the_daemon_is_back() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    let mut simulation = Simulation::start(address, &["--id", "truck"]);
    drop(port);
    let daemon = Daemon::builder()
        .set(&format!("device.listen={address}"))
        .start();
    simulation.wait_for_line("NICE TO MEET YOU");
    let daemon = daemon.kill_and_restart();
    simulation.wait_for_line("trying again in");
    simulation.wait_for_line("NICE TO MEET YOU");
    assert_eq!(daemon.vehicle("truck")["online"], true);
    simulation.type_line("GOTTA GO.");
    assert_eq!(simulation.summary("logins"), [2]);
    assert!(simulation.wait().success());
}

#[test]
fn a_refused_connection_is_one_line_and_retried() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let mut simulation = Simulation::start(address, &[]);
    for _ in 0..2 {
        let line = simulation.wait_for_line("cannot connect to");
        assert!(line.contains("trying again in"), "{line}");
    }
    simulation.type_line("PING.");
    simulation.wait_for_line("not connected");
    simulation.type_line("GOTTA GO.");
    assert_eq!(simulation.wait().code(), Some(1));
}

/// A simulation and the scripted gateway that has answered its login.
fn script(dialect: &str) -> (Simulation, Device) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let simulation = Simulation::start(address, &["--id", "truck", "--dialect", dialect]);
    let mut gateway = Device::from_stream(listener.accept().unwrap().0);
    if dialect == "json" {
        gateway.say(&format!(
            r#"{{"type":"connected","message":"Connected to server","serverId":"{SERVER}"}}"#
        ));
        gateway.expect_prefix(&json_from_device("message", "HELLO, I'M truck!"));
        gateway.say(r#"{"type":"reply","message":"HI, NICE TO MEET YOU!"}"#);
    } else {
        gateway.expect("HELLO, I'M truck!");
        gateway.say("HI, NICE TO MEET YOU!\n");
    }
    simulation.wait_for_line("NICE TO MEET YOU");
    (simulation, gateway)
}

fn json_from_device(kind: &str, message: &str) -> String {
    format!(r#"{{"type":"{kind}","message":"{message}","clientId":"truck","serverId":"{SERVER}"}}"#)
}

#[test]
fn commands_are_answered_according_to_the_state_in_text() {
    let (mut simulation, mut gateway) = script("text");
    simulation.type_line("REPORT. I'M HERE 1 2, RESTING AND CHARGED AT 50%.");
    gateway.expect("REPORT. I'M HERE 1 2, RESTING AND CHARGED AT 50%.");
    gateway.say("OK, THANKS!\nHEY YOU, REST!\nHEY YOU, RUN!\nHEY YOU, RUN!\n");
    gateway.expect("I CAN'T, SORRY.");
    gateway.expect("DONE!");
    gateway.expect("I CAN'T, SORRY.");
    gateway.say("HOW'S IT GOING?\n");
    let fine = gateway.line().unwrap();
    assert!(
        fine.starts_with("FINE. I'M HERE ") && fine.ends_with(", RUNNING AND CHARGED AT 50%."),
        "{fine}"
    );
    gateway.say("KEEP ME POSTED EVERY 10 SECONDS.\n");
    gateway.expect("SURE, I WILL!");
    gateway.say("GOTTA GO.\n");
    gateway.expect("SEE YA!");
    gateway.expect_closed();
    simulation.wait_for_line("the gateway said goodbye; trying again in");
}

#[test]
fn commands_are_answered_according_to_the_state_in_json() {
    let (mut simulation, mut gateway) = script("json");
    let command = |message: &str| {
        format!(r#"{{"type":"command","message":"{message}","serverId":"{SERVER}"}}"#)
    };
    simulation.type_line("REPORT. I'M HERE 1 2, RESTING AND CHARGED AT 50%.");
    gateway.expect_prefix(&json_from_device(
        "message",
        "REPORT. I'M HERE 1 2, RESTING AND CHARGED AT 50%.",
    ));
    gateway.say(r#"{"type":"reply","message":"OK, THANKS!"}"#);
    for (pending, answered) in [
        (
            "HOW'S IT GOING?",
            "FINE. I'M HERE 1 2, RESTING AND CHARGED AT 50%.",
        ),
        ("HEY YOU, RUN!", "DONE!"),
        ("HEY YOU, RUN!", "I CAN'T, SORRY."),
        ("HEY YOU, REST!", "DONE!"),
        ("KEEP ME POSTED EVERY 0 SECONDS.", "SURE, I WILL!"),
        ("GOTTA GO.", "SEE YA!"),
    ] {
        gateway.say(&command(pending));
        gateway.expect_prefix(&json_from_device("reply", answered));
    }
    gateway.expect_closed();
    simulation.wait_for_line("the gateway said goodbye; trying again in");
}

#[test]
fn a_simulation_without_a_login_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    for devices in ["1", "3"] {
        let mut simulation = Simulation::start(closed, &["--devices", devices, "--for", "1s"]);
        let refused = simulation.summary("refused");
        assert!(refused[0] > 0, "{refused:?}");
        assert_eq!(simulation.wait().code(), Some(1));
    }
    let daemon = Daemon::start();
    let mut simulation = Simulation::start(daemon.device, &["--devices", "3", "--for", "1s"]);
    assert!(simulation.wait().success());
}

#[test]
fn its_help_offers_only_its_own_options() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vehicle-gateway"));
        command.args(arguments).output().unwrap()
    };
    let help = |arguments: &[&str]| String::from_utf8(run(arguments).stdout).unwrap();
    let simulate = help(&["simulate", "--help"]);
    assert!(simulate.contains("--devices"), "{simulate}");
    for other in ["--set", "--config", "Gateway settings"] {
        assert!(!simulate.contains(other), "{simulate}");
        for subcommand in ["serve", "check-config", "health", "migrate"] {
            assert!(
                help(&[subcommand, "--help"]).contains(other),
                "{subcommand}"
            );
        }
    }
    for refused in [
        &["simulate", "--set", "http.listen=127.0.0.1:0"][..],
        &["--set", "http.listen=127.0.0.1:0", "simulate"],
    ] {
        assert!(!run(refused).status.success(), "{refused:?}");
    }
}

#[test]
fn invalid_arguments_are_rejected_before_connecting() {
    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gateway.local_addr().unwrap();
    for arguments in [
        &["--devices", "2", "--id", "truck"][..],
        &["--id", "no spaces"],
        &["--devices", "0"],
        &["--dialect", "morse"],
        &["--for", "ever"],
    ] {
        let mut simulation = Simulation::start(address, arguments);
        assert!(!simulation.wait().success(), "{arguments:?}");
    }
    gateway.set_nonblocking(true).unwrap();
    assert!(gateway.accept().is_err());
}
