//! A start on a database server that is not there yet, or that refuses.

use std::time::Instant;

use crate::support::{Daemon, Database, DatabaseProxy, PATIENCE, on_every_server};

on_every_server! {
    a_start_waits_for_a_database_and_says_so_once,
    a_start_does_not_wait_for_a_database_that_refuses,
}

fn a_start_waits_for_a_database_and_says_so_once(database: &Database) {
    let (builder, _proxy) = Daemon::on(database).through_proxy(|url| {
        let proxy = DatabaseProxy::to(url);
        proxy.close_next(3);
        proxy
    });
    let daemon = builder.start();
    let waiting = |line: &&serde_json::Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.contains("waiting for it")
    };
    assert_eq!(daemon.log().iter().filter(waiting).count(), 1);
    daemon.log_in("truck").ping();
}

fn a_start_does_not_wait_for_a_database_that_refuses(database: &Database) {
    let url = database.new_url().unwrap();
    let (server, _database) = url.rsplit_once('/').unwrap();
    let began = Instant::now();
    let (status, output) = Daemon::builder()
        .on_url(&format!("{server}/of_nobody"))
        .set("database.wait=1h")
        .run_to_failure();
    assert!(!status.success());
    assert!(output.contains("of_nobody"), "{output}");
    assert!(!output.contains("waiting for it"), "{output}");
    assert!(began.elapsed() < PATIENCE);
}
