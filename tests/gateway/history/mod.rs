//! Fault histories: runs in which devices and HTTP clients work while servers fail, and the invariants that each run
//! must keep.
//!
//! `README.md` explains the model, the invariants, and how to repeat a run. The way of a run through the modules:
//!
//! - [`run`] starts a cluster and puts the other parts together. [`environment`] reads the variables that choose a run.
//! - [`workload`] are the devices and clients. They send values with a marker ([`payload`]) that is used once.
//! - [`faults`] plans and injects the faults.
//! - [`observer`] makes the database note every write, with its transaction and a lower bound of its commit time.
//! - [`record`] is what all of them produce: the [`History`](record::History).
//! - [`checker`] compares what was seen with what was written. `checker/invariants` has a file for each invariant, and
//!   `checker/timeline` makes hand-written histories for the tests of the checker.
//! - [`violation_report`] prints a violation with what happened around it.
//!
//! Nothing here knows the gateway's code. The checker knows neither the workload nor the cluster.

mod checker;
mod environment;
mod faults;
mod observer;
mod payload;
mod record;
mod run;
mod violation_report;
mod workload;

use std::time::Duration;

use crate::support::Database;
pub(crate) use environment::seeded_rng;
use environment::{run_seconds, seed, variable};
pub(crate) use observer::audit_writes;
use run::Run;

/// Runs without faults. It shows that the checks do not find violations where there are none.
fn run_without_faults(database: &Database, seconds: u64) {
    let run = Run {
        seed: seed(),
        instances: 1,
        vehicles: 40,
        clients: 6,
        length: Duration::from_secs(run_seconds(seconds)),
        with_faults: false,
    };
    run.execute(database);
}

mod a_run_without_faults_keeps_the_invariants {
    use crate::support::Database;

    #[test]
    fn on_mariadb() {
        super::run_without_faults(&Database::mariadb(), 20);
    }

    #[test]
    fn on_postgres() {
        super::run_without_faults(&Database::postgres(), 10);
    }
}

#[test]
fn long_seeded_run_of_kills_pauses_and_outages_keeps_the_invariants() {
    let run = Run {
        seed: seed(),
        instances: variable("VEHICLE_GATEWAY_CHAOS_INSTANCES").unwrap_or(3),
        vehicles: 60,
        clients: 8,
        length: Duration::from_secs(run_seconds(300)),
        with_faults: true,
    };
    let database = match variable::<String>("VEHICLE_GATEWAY_CHAOS_DATABASE").as_deref() {
        None | Some("mariadb") => Database::mariadb(),
        Some("postgres") => Database::postgres(),
        Some(other) => panic!("VEHICLE_GATEWAY_CHAOS_DATABASE is mariadb or postgres, not {other}"),
    };
    run.execute(&database);
}
