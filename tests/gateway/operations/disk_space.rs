//! The free space of the disk with the database file: the warning before it is full, and its metric.

use std::{fs::File, path::Path};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Builder, Daemon, Database, wait_until};

const NEARLY_FULL: &str = "the disk is nearly full";
const HAS_ROOM: &str = "the disk has room again";
const UNREADABLE: &str = "the free space of the disk cannot be read";

fn free(path: &Path) -> u64 {
    let disk = rustix::fs::statvfs(path).unwrap();
    disk.f_bavail * disk.f_frsize
}

/// The value of the metric, if it is there, in the text format and in `OpenMetrics`.
fn metric(daemon: &Daemon) -> [Option<u64>; 2] {
    ["text/plain", "application/openmetrics-text"].map(|format| {
        let request = reqwest::blocking::Client::new().get(daemon.url("/metrics"));
        let text = request.header("accept", format).send().unwrap().text();
        let text = text.unwrap();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix("vehicle_gateway_disk_free_bytes "));
        value.map(|value| value.parse().unwrap())
    })
}

/// A daemon whose database is in this folder.
fn on_file_in(folder: &Path) -> Builder {
    let file = folder.join("vehicles.db");
    Daemon::builder().set(&format!("database.url=sqlite://{}", file.display()))
}

fn lines(daemon: &Daemon, part: &str) -> Vec<Value> {
    let log = daemon.log().into_iter();
    log.filter(|line| line["message"].as_str().is_some_and(|it| it.contains(part)))
        .collect()
}

// A file system in memory, which is not as large as disks are and which few others write to.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_is_warned_about_until_it_has_room() {
    let folder = TempDir::new_in("/dev/shm").unwrap();
    let before = free(folder.path());
    let most = (before / 4).min(128 << 20);
    let warn_below = before - most / 4 * 3;
    let daemon = on_file_in(folder.path())
        .set(&format!("store.disk_warning={warn_below}"))
        .start();
    let values = wait_until("the space is read", || {
        let [text, open_metrics] = metric(&daemon);
        Some([text?, open_metrics?])
    });
    assert!(values.iter().all(|value| *value > warn_below), "{values:?}");

    let file = File::create(folder.path().join("other")).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, most).unwrap();
    let warning = daemon.logged_containing(NEARLY_FULL);
    assert_eq!(warning["level"], "WARN");
    assert!(
        warning["message"]
            .to_string()
            .contains("store.disk_warning")
    );
    let path = folder.path().join("vehicles.db");
    assert_eq!(warning["path"], path.display().to_string());
    assert_eq!(warning["warn_below"], warn_below);
    let left = warning["free_bytes"].as_u64().unwrap();
    assert!(left < warn_below, "{left}");
    let values = metric(&daemon).map(Option::unwrap);
    assert!(values.iter().all(|value| *value < warn_below), "{values:?}");

    file.set_len(0).unwrap();
    let room = daemon.logged_containing(HAS_ROOM);
    assert_eq!(room["level"], "INFO");
    assert_eq!(lines(&daemon, NEARLY_FULL).len(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_nearly_full_at_the_start_is_warned_about_unless_that_is_off() {
    let folder = TempDir::new_in("/dev/shm").unwrap();
    let more = free(folder.path()) + (1 << 30);
    let daemon = on_file_in(folder.path())
        .set(&format!("store.disk_warning={more}"))
        .start();
    daemon.logged_containing(NEARLY_FULL);
    drop(daemon);
    let daemon = on_file_in(folder.path())
        .set("store.disk_warning=0")
        .start();
    wait_until("the space is read", || metric(&daemon)[0]);
    assert_eq!(lines(&daemon, NEARLY_FULL), [Value::Null; 0]);
}

#[test]
fn a_disk_that_cannot_be_read_is_warned_about_once_and_has_no_metric() {
    let folder = TempDir::new().unwrap();
    let daemon = on_file_in(folder.path()).start();
    wait_until("the space is read", || metric(&daemon)[0]);
    let (file, elsewhere) = (
        folder.path().join("vehicles.db"),
        folder.path().join("moved.db"),
    );
    std::fs::rename(&file, &elsewhere).unwrap();
    let warning = daemon.logged_containing(UNREADABLE);
    assert_eq!(warning["level"], "WARN");
    assert!(warning["error"].as_str().unwrap().contains("No such file"));
    assert_eq!(metric(&daemon), [None; 2]);
    std::fs::rename(&elsewhere, &file).unwrap();
    daemon.logged("the free space of the disk can be read again");
    assert_eq!(lines(&daemon, UNREADABLE).len(), 1);
}

#[test]
fn the_disk_of_a_server_is_not_ours() {
    let database = Database::postgres();
    let daemon = Daemon::on(&database)
        .set("store.disk_warning=1024 GiB")
        .start();
    daemon.log_in("truck").ping();
    assert_eq!(metric(&daemon), [None; 2]);
    assert_eq!(lines(&daemon, NEARLY_FULL), [Value::Null; 0]);
}
