//! A copy of a database that is started elsewhere.

use serde_json::json;

use super::{create_endpoint, start_daemon, wait_for_messages};
use crate::support::{Daemon, Database, Receiver, on_every_database};

on_every_database! {
    a_gateway_with_webhooks_off_sends_none_and_stores_them,
}

const USED_BY_ANOTHER: &str = "the database was last used by another instance";

fn stop(mut daemon: Daemon) -> Daemon {
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    daemon
}

fn a_gateway_with_webhooks_off_sends_none_and_stores_them(database: &Database) {
    let receiver = Receiver::start(|_| 200);
    let daemon = start_daemon(database, &["webhooks.enabled=false"]);
    daemon.logged_containing("webhooks are not sent");
    let path = create_endpoint(&daemon, &receiver, &json!({"events": ["online"]}));
    daemon.log_in("truck");
    wait_for_messages(&daemon, &path, "pending", 1);
    let daemon = stop(daemon);
    assert_eq!(receiver.count(), 0);

    let daemon = daemon
        .restart_builder()
        .set("webhooks.enabled=true")
        .start();
    receiver.wait_for_delivered(1);
    wait_for_messages(&daemon, &path, "delivered", 1);
}

/// Whether the log has a line about a database of another instance.
fn says_whose_it_was(daemon: &Daemon) -> bool {
    daemon.log().iter().any(|line| {
        let message = line["message"].as_str();
        message.is_some_and(|message| message.contains(USED_BY_ANOTHER))
    })
}

#[test]
fn a_copied_file_says_whose_it_was_before_it_sends() {
    let receiver = Receiver::start(|_| 200);
    let daemon = start_daemon(&Database::File, &["instance.id=production"]);
    create_endpoint(&daemon, &receiver, &json!({"events": ["online"]}));
    assert!(!says_whose_it_was(&daemon));
    // The same instance again.
    let daemon = stop(daemon).restart_builder().start();
    assert!(!says_whose_it_was(&daemon));

    // A start that sends nothing has not used it.
    let copy = |daemon: Daemon, setting: &str| {
        let copy = stop(daemon).restart_builder().set("instance.id=trial");
        copy.set(setting).start()
    };
    let daemon = copy(daemon, "webhooks.enabled=false");
    assert!(!says_whose_it_was(&daemon));
    let daemon = copy(daemon, "webhooks.enabled=true");
    assert!(says_whose_it_was(&daemon));
    let told = daemon.logged_containing(USED_BY_ANOTHER);
    assert_eq!(told["last_instance"], "production");
    assert_eq!(told["receivers"], 1);
    let daemon = copy(daemon, "webhooks.enabled=true");
    assert!(!says_whose_it_was(&daemon));
}
