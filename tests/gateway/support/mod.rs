//! The daemon, the servers that it needs, and the peers that talk to it; each on ports and in folders of its own.

mod async_device;
mod balancer;
mod certificates;
mod cluster;
mod cluster_script;
mod daemon;
mod daemon_log;
mod database_client;
mod database_proxy;
mod database_server;
mod device;
mod free_ports;
#[cfg(target_os = "linux")]
mod galera;
mod log_lines;
mod process;
mod query_plans;
mod receiver;
mod redis;
mod replication;
mod sentences;
mod simulation;
mod tls;
mod tool;
mod vehicle;
mod wait;

pub(crate) use async_device::{AsyncDevice, GatewayMessage};
pub(crate) use balancer::{Balancer, ports};
pub(crate) use certificates::{Authority, Identity, IdentityFiles, write_secret};
pub(crate) use cluster::{Cluster, GRACE, LEASE};
pub(crate) use cluster_script::ClusterScript;
pub(crate) use daemon::{Builder, Daemon};
pub(crate) use daemon_log::LogReader;
pub(crate) use database_client::{
    HeldConnections, Lock, change, is_reachable, migrate_as_later, query, try_query,
};
pub(crate) use database_proxy::DatabaseProxy;
pub(crate) use database_server::{Database, Server};
pub(crate) use device::{Device, json};
pub(crate) use free_ports::{TEST_PORTS, free_ports};
#[cfg(target_os = "linux")]
pub(crate) use galera::GaleraCluster;
pub(crate) use log_lines::{expect_few_lines, sum};
pub(crate) use receiver::{Reaction, Received, Receiver, setting};
pub(crate) use redis::{Redis, RedisOperator};
pub(crate) use sentences::{ASK, FINE, GREETING, REPORT, REST, RUN, THANKS, hello, report};
pub(crate) use simulation::Simulation;
pub(crate) use tls::{TlsStream, connect_tls, encrypt, install_tls_provider};
pub(crate) use tool::{expect_success, node, node_modules, node_tool, tool, tools};
pub(crate) use vehicle::{CommandResponse, Dialect, Vehicle};
pub(crate) use wait::{PATIENCE, wait_until};

/// Makes three tests of each function: on an `SQLite` file, on `MariaDB` and on `PostgreSQL`.
macro_rules! on_every_database {
    ($($test:ident),+ $(,)?) => {
        $(mod $test {
            #[test]
            fn on_a_file() {
                super::$test(&crate::support::Database::File);
            }

            crate::support::tests_on_servers!($test);
        })+
    };
}
pub(crate) use on_every_database;

/// Makes two tests of each function: on `MariaDB` and on `PostgreSQL`.
macro_rules! on_every_server {
    ($($test:ident),+ $(,)?) => {
        $(mod $test {
            crate::support::tests_on_servers!($test);
        })+
    };
}
pub(crate) use on_every_server;

macro_rules! tests_on_servers {
    ($test:ident) => {
        #[test]
        fn on_mariadb() {
            super::$test(&crate::support::Database::mariadb());
        }

        #[test]
        fn on_postgres() {
            super::$test(&crate::support::Database::postgres());
        }
    };
}
pub(crate) use tests_on_servers;
