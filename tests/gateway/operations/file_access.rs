//! Who may read the database file.

use std::{
    fs::{Permissions, set_permissions},
    os::unix::fs::PermissionsExt,
};

use crate::support::Daemon;

const FILES: [&str; 4] = [
    "vehicle-gateway.db",
    "vehicle-gateway.db-wal",
    "vehicle-gateway.db-shm",
    "vehicle-gateway.db.lock",
];
const MAY_BE_READ: &str = "every user of this host may read the database";

#[test]
fn new_database_files_are_for_the_gateway_only() {
    let daemon = Daemon::builder().after_shell("umask 022").start();
    daemon.log_in("truck").ping();
    for file in FILES {
        let mode = daemon.folder().join(file).metadata().unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_database_that_every_user_may_read_is_warned_about() {
    let mut daemon = Daemon::start();
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    for (folder, file, is_open) in [
        (0o755, 0o644, true),
        (0o755, 0o640, false),
        (0o700, 0o644, false),
    ] {
        set_permissions(daemon.folder(), Permissions::from_mode(folder)).unwrap();
        set_permissions(daemon.database(), Permissions::from_mode(file)).unwrap();
        let again = daemon.restart_builder().start();
        let log = again.log();
        let warning = log.iter().find(|line| {
            let message = line["message"].as_str();
            message.is_some_and(|message| message.contains(MAY_BE_READ))
        });
        assert_eq!(warning.is_some(), is_open, "{folder:o} {file:o}");
        let Some(warning) = warning else { continue };
        let path = std::fs::canonicalize(daemon.database()).unwrap();
        assert_eq!(warning["path"], path.display().to_string());
        let command = format!("chmod o-rwx {}*", path.display());
        assert!(warning["message"].as_str().unwrap().contains(&command));
        // The command helps.
        let shell = std::process::Command::new("sh")
            .args(["-c", &command])
            .status();
        assert!(shell.unwrap().success());
        let mode = daemon.database().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }
}
