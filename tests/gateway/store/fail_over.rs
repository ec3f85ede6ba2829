//! The database fails over to another server, behind a balancer that leads new connections there.

use crate::support::{
    Daemon, Database, DatabaseProxy, Device, GREETING, REPORT, THANKS, change, hello, query,
    report, wait_until,
};

/// A gateway that reaches a primary through a proxy, and the primary's standby.
struct FailOver {
    primary: Database,
    standby: crate::support::Server,
    proxy: DatabaseProxy,
    daemon: Daemon,
    /// The URL of the database on the standby.
    url: String,
}

impl FailOver {
    fn start(primary: Database) -> Self {
        let standby = primary.server().start_standby();
        let builder = Daemon::on(&primary);
        let url = primary
            .server()
            .url_of_ordinary_user(builder.database_url());
        let (builder, proxy) = builder.on_url(&url).through_proxy(DatabaseProxy::to);
        let daemon = builder
            .set("presence.lease=4s")
            .set("store.commit_timeout=60s")
            .start();
        let url = standby.url_like(&daemon.database_url());
        Self {
            primary,
            standby,
            proxy,
            daemon,
            url,
        }
    }

    /// Waits for two leases, in each of which sessions are compared with rows once. An idle instance commits eight
    /// times in a lease.
    #[track_caller]
    fn wait_for_reconciliation(&self) {
        let renewals = || {
            let select = "SELECT renewals FROM instances WHERE state = 'live'";
            query(&self.url, select)[0].parse::<u64>().unwrap()
        };
        let before = renewals();
        wait_until("two leases have passed", || {
            (renewals() > before + 16).then_some(())
        });
    }

    #[track_caller]
    fn catch_up(&self) {
        self.standby.catch_up(self.primary.server());
    }
}

#[track_caller]
fn report_and_expect_thanks(device: &mut Device, battery: usize) {
    device.say(&report(battery));
    device.expect(THANKS);
}

#[test]
fn reads_and_sessions_follow_a_switchover_of_mariadb() {
    reads_and_sessions_follow_a_switchover(Database::mariadb_primary());
}

#[test]
fn reads_and_sessions_follow_a_switchover_of_postgres() {
    reads_and_sessions_follow_a_switchover(Database::postgres());
}

fn reads_and_sessions_follow_a_switchover(primary: Database) {
    let fail_over = FailOver::start(primary);
    let daemon = &fail_over.daemon;
    let mut truck = daemon.log_in("truck");
    report_and_expect_thanks(&mut truck, 10);
    // A connection that reads stays at the old primary, which answers.
    assert_eq!(daemon.vehicle("truck")["battery"], 10);
    fail_over.primary.server().refuse_writes();
    fail_over.catch_up();
    fail_over.standby.promote();
    fail_over.proxy.redirect(&fail_over.url);

    report_and_expect_thanks(&mut truck, 11);
    assert_eq!(daemon.vehicle("truck")["battery"], 11);
    let mut van = daemon.log_in("van");
    assert_eq!(daemon.vehicle("van")["online"], true);
    fail_over.wait_for_reconciliation();
    truck.ping();
    van.ping();
}

#[test]
fn a_batch_whose_renewal_changes_nothing_is_not_acknowledged() {
    // As on a server that gets an earlier batch of the instance between two statements of this one.
    let database = Database::postgres();
    let daemon = Daemon::on(&database)
        .set("store.commit_timeout=60s")
        .start();
    let mut truck = daemon.log_in("truck");
    let url = daemon.database_url();
    change(
        &url,
        "CREATE RULE nothing AS ON UPDATE TO instances DO INSTEAD NOTHING",
    );
    truck.say(&report(10));
    daemon.logged_containing("the database cannot commit");
    change(&url, "DROP RULE nothing ON instances");
    truck.expect(THANKS);
    assert_eq!(daemon.query("SELECT count(*) FROM reports"), ["1"]);
}

#[test]
fn batches_that_a_fail_over_of_mariadb_has_lost_are_reported_and_their_sessions_closed() {
    lost_batches_are_reported_and_their_sessions_closed(Database::mariadb_primary());
}

#[test]
fn batches_that_a_fail_over_of_postgres_has_lost_are_reported_and_their_sessions_closed() {
    lost_batches_are_reported_and_their_sessions_closed(Database::postgres());
}

fn lost_batches_are_reported_and_their_sessions_closed(primary: Database) {
    let fail_over = FailOver::start(primary);
    let daemon = &fail_over.daemon;
    let mut truck = daemon.log_in("truck");
    report_and_expect_thanks(&mut truck, 10);
    fail_over.catch_up();
    fail_over.standby.detach();
    for battery in 11..14 {
        report_and_expect_thanks(&mut truck, battery);
    }
    let mut van = daemon.log_in("van");
    fail_over.primary.server().kill();
    fail_over.standby.promote();
    fail_over.proxy.redirect(&fail_over.url);

    let lost = daemon.logged_containing("the database has lost batches that it had acknowledged");
    assert_eq!(lost["level"], "ERROR");
    let batches = lost["batches"].as_u64().unwrap();
    assert!(batches >= 4, "{lost}");
    let metrics = daemon.get("/metrics").text().unwrap();
    let metric = format!("vehicle_gateway_database_lost_batches_total {batches}");
    assert!(metrics.contains(&metric), "{metrics}");
    // The login of this one is lost, the other one's is not.
    van.expect_closed();
    assert_eq!(daemon.logged_disconnect("van")["reason"], "superseded");
    truck.say(REPORT);
    truck.expect(THANKS);
    let mut van = daemon.connect();
    van.say(&hello("van"));
    van.expect(GREETING);
    assert_eq!(daemon.vehicle("van")["online"], true);
}
