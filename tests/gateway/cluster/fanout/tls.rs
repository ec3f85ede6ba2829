//! Redis by TLS, and whom a gateway believes then.

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
    daemon.logged("Redis is reached");
    let mut device = daemon.log_in("truck");
    // By a connection of their own, which has no encryption.
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
    let line = daemon.logged_containing("Redis is away");
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains("UnknownIssuer"), "{reason}");
    assert_eq!(redis.subscriber_count("VehicleServers"), 0);
}
