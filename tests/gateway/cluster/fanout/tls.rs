//! Redis over TLS: which certificates the gateway accepts.

use crate::support::{Daemon, Database, Redis};

const COMMAND: &str = r#"{"type":"command","message":"HEY YOU, RUN!","clientId":"truck"}"#;

#[test]
fn a_certificate_of_a_system_authority_is_accepted() {
    let (redis, authority) = Redis::with_tls();
    let database = Database::mariadb();
    let daemon = Daemon::on(&database)
        .set(&format!("redis.url={}", redis.encrypted_url()))
        .after_shell(&format!("export SSL_CERT_FILE={}", authority.display()))
        .start();
    daemon.logged("Redis is connected");
    let mut device = daemon.log_in("truck");
    // The test publishes over the port without TLS.
    assert_eq!(redis.publish("VehicleServers", COMMAND), 1);
    device.expect("HEY YOU, RUN!");
}

#[test]
fn a_certificate_of_an_unknown_authority_is_rejected() {
    let (redis, _authority) = Redis::with_tls();
    let database = Database::mariadb();
    let daemon = Daemon::on(&database)
        .set(&format!("redis.url={}", redis.encrypted_url()))
        .start();
    let line = daemon.logged_containing("Redis is unavailable");
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains("UnknownIssuer"), "{reason}");
    assert_eq!(redis.subscriber_count("VehicleServers"), 0);
}
