//! What is between the gateway and the server's sessions: defaults of the server, poolers, addresses.

use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::{
    Daemon, Database, DatabaseProxy, THANKS, change, free_ports, on_every_server, report,
    wait_until,
};

on_every_server! { a_server_is_reached_by_an_ipv6_address }

/// Stores two reports, and reads each.
#[track_caller]
fn stores_and_reads(daemon: &Daemon) {
    let mut device = daemon.log_in("truck");
    for battery in [10, 11] {
        device.say(&report(battery));
        device.expect(THANKS);
        assert_eq!(daemon.vehicle("truck")["battery"], battery);
    }
}

#[test]
fn the_defaults_of_a_server_do_not_matter() {
    let database = Database::mariadb();
    let builder = Daemon::on(&database);
    let url = builder.database_url().to_owned();
    let defaults = "SET GLOBAL autocommit = 0; SET GLOBAL sql_mode = 'ORACLE'; \
         SET GLOBAL tx_isolation = 'SERIALIZABLE'; SET GLOBAL time_zone = '-05:00'";
    change(&url, defaults);
    let daemon = builder.start();
    // The test's own connections need them.
    change(
        &url,
        "SET GLOBAL autocommit = 1; SET GLOBAL sql_mode = DEFAULT",
    );
    stores_and_reads(&daemon);
}

fn a_server_is_reached_by_an_ipv6_address(database: &Database) {
    let (builder, _proxy) =
        Daemon::on(database).through_proxy(|url| DatabaseProxy::between("[::1]", url));
    stores_and_reads(&builder.start());
}

/// A running `PgBouncer`; killed when dropped.
struct Pooler {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Pooler {
    /// Starts it in front of the server of this URL.
    fn start(url: &str, mode: &str) -> Self {
        let (user, address) = url.rsplit_once('@').unwrap();
        let (address, database) = address.split_once('/').unwrap();
        let (_, server_port) = address.split_once(':').unwrap();
        let [port] = free_ports();
        let folder = TempDir::new().unwrap();
        let settings = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n{database} = host=127.0.0.1 port={server_port} user=gateway\n\
             [pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\n\
             auth_type=any\npool_mode={mode}\nuser=postgres\n"
        );
        std::fs::write(&settings, text).unwrap();
        let child = Command::new("pgbouncer")
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("{user}@127.0.0.1:{port}/{database}");
        let pooler = Self {
            child,
            url,
            _folder: folder,
        };
        wait_until("the pooler answers", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        pooler
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_pooler_in_session_mode_works_as_it_comes() {
    let database = Database::postgres();
    let builder = Daemon::on(&database);
    let pooler = Pooler::start(builder.database_url(), "session");
    stores_and_reads(&builder.on_url(&pooler.url).start());
}

#[test]
fn a_pooler_in_transaction_mode_is_refused_with_the_reason() {
    let database = Database::postgres();
    let builder = Daemon::on(&database);
    let pooler = Pooler::start(builder.database_url(), "transaction");
    let (status, log) = builder.on_url(&pooler.url).run_to_failure();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("use its session mode"), "{log}");
}
