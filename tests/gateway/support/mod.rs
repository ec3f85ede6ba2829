//! The real daemon on free ports with a folder of its own, and the peers that talk to it.

mod balancer;
mod cluster;
mod daemon;
mod database;
mod device;
mod line;
mod plans;
mod proxy;
mod receiver;
mod redis;
mod script;
mod sentences;
mod server;
mod simulation;
mod tls;
mod tool;
mod vehicle;
mod wait;

pub(crate) use balancer::Balancer;
pub(crate) use cluster::{Cluster, GRACE, LEASE};
pub(crate) use daemon::Daemon;
pub(crate) use database::{Lock, answers, change, migrate_as_later, query};
pub(crate) use device::{Device, json};
pub(crate) use line::{Line, Said};
pub(crate) use proxy::Proxy;
pub(crate) use receiver::{Reaction, Received, Receiver, setting};
pub(crate) use redis::Redis;
pub(crate) use script::Script;
pub(crate) use sentences::{ASK, FINE, GREETING, REPORT, REST, RUN, THANKS, hello, report};
pub(crate) use server::{Database, free_ports};
pub(crate) use simulation::Simulation;
pub(crate) use tls::provide_tls;
pub(crate) use tool::{expect_success, node, tool};
pub(crate) use vehicle::{Answer, Dialect, Vehicle};
pub(crate) use wait::{PATIENCE, wait_until};

/// Makes tests of these functions, one for each kind of database: what holds on a file holds on a server.
macro_rules! on_every_database {
    ($($test:ident),+ $(,)?) => {
        $(mod $test {
            use crate::support::Database;

            #[test]
            fn on_a_file() {
                super::$test(&Database::File);
            }

            #[test]
            fn on_mariadb() {
                super::$test(&Database::mariadb());
            }

            #[test]
            fn on_postgres() {
                super::$test(&Database::postgres());
            }
        })+
    };
}
pub(crate) use on_every_database;

/// The same for what only servers do.
macro_rules! on_every_server {
    ($($test:ident),+ $(,)?) => {
        $(mod $test {
            use crate::support::Database;

            #[test]
            fn on_mariadb() {
                super::$test(&Database::mariadb());
            }

            #[test]
            fn on_postgres() {
                super::$test(&Database::postgres());
            }
        })+
    };
}
pub(crate) use on_every_server;
