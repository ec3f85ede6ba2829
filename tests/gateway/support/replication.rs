//! Replication between two database servers: a standby, and what happens in a switchover or a fail-over.

use tempfile::TempDir;

use super::{
    database_server::{Kind, Server, as_server_user},
    wait_until,
};

impl Server {
    /// Starts a standby of this server, which replicates it asynchronously.
    pub(crate) fn start_standby(&self) -> Self {
        match self.kind {
            Kind::MariaDb => {
                let options = "[mariadbd]\nserver-id=2\nread-only=1\n";
                let standby = Self::start_with(self.kind, options);
                standby.change(&format!(
                    "CHANGE MASTER TO master_host = '127.0.0.1', master_port = {}, \
                     master_user = 'root', master_use_gtid = slave_pos",
                    self.port
                ));
                standby.change("START SLAVE");
                standby
            }
            Kind::Postgres => {
                let folder = TempDir::new().unwrap();
                self.kind.give(folder.path());
                let copied = as_server_user("pg_basebackup")
                    .args([
                        "--host=127.0.0.1",
                        "--username=gateway",
                        "--write-recovery-conf",
                    ])
                    .args(["--wal-method=stream", "--checkpoint=fast", "--no-sync"])
                    .arg(format!("--port={}", self.port))
                    .arg(format!("--pgdata={}", folder.path().join("data").display()))
                    .output()
                    .unwrap();
                assert!(
                    copied.status.success(),
                    "{}",
                    String::from_utf8_lossy(&copied.stderr)
                );
                Self::start_in(self.kind, folder)
            }
        }
    }

    /// Waits until this standby has what `primary` has committed so far.
    #[track_caller]
    pub(crate) fn catch_up(&self, primary: &Self) {
        let (position, reached) = match self.kind {
            Kind::MariaDb => {
                let position = primary.query("SELECT @@gtid_binlog_pos").remove(0);
                let reached = format!("SELECT MASTER_GTID_WAIT('{position}', 1) = 0");
                (position, reached)
            }
            Kind::Postgres => {
                let position = primary.query("SELECT pg_current_wal_lsn()").remove(0);
                let reached = format!("SELECT (pg_last_wal_replay_lsn() >= '{position}')::integer");
                (position, reached)
            }
        };
        wait_until(&format!("the standby has reached {position}"), || {
            (self.query(&reached) == ["1"]).then_some(())
        });
    }

    /// Ends the replication of a standby: what the primary commits from now on is lost when it fails.
    pub(crate) fn detach(&self) {
        match self.kind {
            Kind::MariaDb => self.change("STOP SLAVE"),
            Kind::Postgres => {
                self.change("ALTER SYSTEM SET primary_conninfo = ''");
                self.change("SELECT pg_reload_conf()");
                wait_until("the standby receives nothing more", || {
                    let receivers = "SELECT count(*) FROM pg_stat_wal_receiver";
                    (self.query(receivers) == ["0"]).then_some(())
                });
            }
        }
    }

    /// Makes a standby the primary.
    pub(crate) fn promote(&self) {
        match self.kind {
            Kind::MariaDb => {
                self.change("STOP SLAVE");
                self.change("RESET SLAVE ALL");
                self.change("SET GLOBAL read_only = 0");
            }
            Kind::Postgres => self.change("SELECT pg_promote()"),
        }
    }

    /// Lets a primary refuse writes and keep its connections.
    pub(crate) fn refuse_writes(&self) {
        match self.kind {
            Kind::MariaDb => self.change("SET GLOBAL read_only = 1"),
            Kind::Postgres => {
                self.change("ALTER SYSTEM SET default_transaction_read_only = on");
                self.change("SELECT pg_reload_conf()");
            }
        }
    }
}
