//! The observer: what it takes to know from the database itself what was written to it, by which transaction, and not
//! before when that was committed.

mod commit_clock;
mod rows;
mod triggers;

use sea_orm::{
    ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, QueryResult, Statement,
};

pub(crate) use commit_clock::CommitClock;
pub(crate) use triggers::audit_writes;

/// A connection to the database of a run.
pub(crate) struct Observer {
    connection: DatabaseConnection,
}

impl Observer {
    pub(crate) async fn connect(url: &str) -> Self {
        let mut options = sea_orm::ConnectOptions::new(url);
        options.max_connections(1).sqlx_logging(false);
        let connection = Database::connect(options).await.unwrap();
        Self { connection }
    }

    fn backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }

    async fn execute(&self, sql: &str) {
        let done = self.connection.execute_unprepared(sql).await;
        done.unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    async fn try_query(&self, sql: &str) -> Result<Vec<QueryResult>, DbErr> {
        let statement = Statement::from_string(self.backend(), sql);
        self.connection.query_all_raw(statement).await
    }

    async fn query(&self, sql: &str) -> Vec<QueryResult> {
        let rows = self.try_query(sql).await;
        rows.unwrap_or_else(|error| panic!("{error}: {sql}"))
    }

    /// Returns the sequence numbers beyond this one of the audit entries that are committed.
    async fn committed_entries_after(&self, number: i64) -> Result<Vec<i64>, DbErr> {
        let sql = format!("SELECT seq FROM audit WHERE seq > {number}");
        let rows = self.try_query(&sql).await?;
        rows.iter().map(|row| row.try_get("", "seq")).collect()
    }

    /// Whether nothing is left to do: this many vehicles exist, each is online with a live incarnation, and neither a
    /// command nor a webhook message is pending.
    pub(crate) async fn is_quiet(&self, vehicles: usize) -> bool {
        let known = self.query("SELECT device_id FROM vehicles").await.len();
        let sql = "SELECT device_id FROM vehicles WHERE NOT online OR instance_id IS NULL OR offline_due IS NOT NULL \
             UNION ALL SELECT device_id FROM vehicles v WHERE NOT EXISTS \
             (SELECT 1 FROM instances i WHERE i.id = v.instance_id AND i.state = 'live') \
             UNION ALL SELECT device_id FROM webhook_lanes WHERE pending > 0 \
             UNION ALL SELECT device_id FROM commands WHERE state IN ('created', 'sent')";
        known == vehicles && self.query(sql).await.is_empty()
    }
}
