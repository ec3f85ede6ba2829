//! What a database server stores unchanged, and what it refuses.

use std::time::{Duration, Instant};

use crate::support::{Daemon, Database, REPORT, THANKS, change, on_every_server};

on_every_server! {
    ids_and_blobs_are_stored_byte_by_byte,
    a_refused_write_is_dropped_alone,
}

fn ids_and_blobs_are_stored_byte_by_byte(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut small = daemon.log_in("truck");
    let mut large = daemon.log_in("TRUCK");
    let blob: Vec<u8> = (0..=u8::MAX).cycle().take(200_000).collect();
    large.say(&format!("WTF! {}\n", blob.len()));
    large.send(&blob);
    large.expect("DAAAMN! ISSUE REPORTED ON JIRA");
    small.say("WTF! 0\n");
    small.expect("DAAAMN! ISSUE REPORTED ON JIRA");
    let ids = daemon.json("/vehicles");
    let ids = ids["items"].as_array().unwrap().iter();
    let ids: Vec<&str> = ids.map(|item| item["deviceId"].as_str().unwrap()).collect();
    assert_eq!(ids, ["TRUCK", "truck"], "sorted byte by byte");
    let kept = daemon.json("/vehicles/TRUCK/debug-blobs");
    let id = kept["items"][0]["blobId"].as_i64().unwrap();
    let bytes = daemon
        .get(&format!("/vehicles/TRUCK/debug-blobs/{id}"))
        .bytes();
    assert_eq!(bytes.unwrap(), blob);
}

fn a_refused_write_is_dropped_alone(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut device = daemon.log_in("truck-with-a-long-name");
    let mut other = daemon.log_in("tr");
    let narrow = if daemon.database_url().starts_with("postgres") {
        "ALTER TABLE debug_blobs ALTER COLUMN device_id TYPE VARCHAR(4)"
    } else {
        "ALTER TABLE debug_blobs MODIFY device_id VARCHAR(4) NOT NULL"
    };
    change(&daemon.database_url(), narrow);
    let since = Instant::now();
    device.say("WTF! 3\n");
    device.send(b"abc");
    daemon.logged("the database refused a write; it is dropped");
    other.say(REPORT);
    other.expect(THANKS);
    assert!(since.elapsed() < Duration::from_secs(5));
}

mod a_blob_beyond_the_packet_limit_of_the_server_is_dropped_alone {
    use super::*;

    #[test]
    fn on_mariadb() {
        let database = Database::mariadb();
        let daemon = Daemon::on(&database).start();
        change(
            &daemon.database_url(),
            "SET GLOBAL max_allowed_packet = 1048576",
        );
        let again = daemon.restart_builder();
        drop(daemon);
        let daemon = again.start();
        let mut device = daemon.log_in("truck");
        let mut other = daemon.log_in("other");
        let since = Instant::now();
        device.say("WTF! 1048576\n");
        device.send(&vec![7; 1_048_576]);
        daemon.logged("the database refused a write; it is dropped");
        other.say(REPORT);
        other.expect(THANKS);
        assert!(since.elapsed() < Duration::from_secs(3));
    }
}
