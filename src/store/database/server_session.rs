//! The settings of a session on a server. The gateway relies on them, so each session sets them, whatever the defaults
//! of the server, its users or its `init_connect` are, and reads them back: a proxy in between may not pass them on.

use std::time::Duration;

use sea_orm::{
    SqlxError,
    sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection, Row, raw_sql},
};

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionUse {
    /// Reading, and the preparation at the start.
    Reading,
    /// Writing batches, by an instance with this lease.
    Writing(Duration),
}

/// The SQL mode of the `MySQL` family: without the strict mode a text that is too long would be cut, stored and
/// acknowledged.
const SQL_MODE: &str = "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION";

/// A connection to a server.
pub(super) trait ServerSession: Connection + Sized {
    /// Sets what the gateway relies on, and checks that the session keeps it.
    fn set_up(&mut self, purpose: SessionUse)
    -> impl Future<Output = Result<(), SqlxError>> + Send;

    /// The one number that a statement without values returns, if it returns a row.
    fn number(
        &mut self,
        sql: String,
    ) -> impl Future<Output = Result<Option<i64>, SqlxError>> + Send;
}

impl ServerSession for MySqlConnection {
    async fn set_up(&mut self, purpose: SessionUse) -> Result<(), SqlxError> {
        self.execute(AssertSqlSafe(mysql_settings(purpose))).await?;
        let kept = "SHOW SESSION VARIABLES WHERE Variable_name IN \
             ('autocommit', 'sql_mode', 'time_zone', 'wsrep_sync_wait')";
        let mut may_be_galera = false;
        for row in raw_sql(kept).fetch_all(&mut *self).await? {
            let (name, value): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let expected = match name.as_str() {
                "autocommit" => "ON",
                "sql_mode" => SQL_MODE,
                "time_zone" => "+00:00",
                _ => {
                    may_be_galera = true;
                    continue;
                }
            };
            if value != expected {
                return Err(not_kept(&name, expected, &value));
            }
        }
        if may_be_galera {
            // A node of a cluster may not have applied yet what another one has acknowledged: reads (1), and the first
            // change of a batch (2), wait until it has.
            self.execute("SET SESSION wsrep_sync_wait = 3").await?;
        }
        Ok(())
    }

    async fn number(&mut self, sql: String) -> Result<Option<i64>, SqlxError> {
        let row = raw_sql(AssertSqlSafe(sql)).fetch_optional(self).await?;
        row.map(|row| row.try_get(0)).transpose()
    }
}

impl ServerSession for PgConnection {
    async fn set_up(&mut self, purpose: SessionUse) -> Result<(), SqlxError> {
        self.execute(AssertSqlSafe(postgres_settings(purpose)))
            .await?;
        let kept = raw_sql("SHOW default_transaction_isolation");
        let isolation: String = kept.fetch_one(&mut *self).await?.try_get(0)?;
        let expected = "read committed";
        if isolation == expected {
            Ok(())
        } else {
            Err(not_kept(
                "default_transaction_isolation",
                expected,
                &isolation,
            ))
        }
    }

    async fn number(&mut self, sql: String) -> Result<Option<i64>, SqlxError> {
        let row = raw_sql(AssertSqlSafe(sql)).fetch_optional(self).await?;
        row.map(|row| row.try_get(0)).transpose()
    }
}

/// The settings of a session on the `MySQL` family.
///
/// At READ COMMITTED, a batch reads what other instances committed before it locked a row. No transaction waits for a
/// lock, or is idle while it holds one, for longer than [`hold`]: an instance that hangs in the middle of a batch must
/// not block the others until they count as dead themselves.
///
/// By default the server keeps a lost connection, and its locks, for eight hours. (`MySQL` knows only `wait_timeout`;
/// it reads what follows `/*M!` as a comment, and `MariaDB` does not.)
fn mysql_settings(purpose: SessionUse) -> String {
    let settings = format!(
        "SET SESSION sql_mode = '{SQL_MODE}'; SET SESSION autocommit = 1; \
         SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
    );
    if let SessionUse::Writing(lease) = purpose {
        let seconds = hold(lease).as_secs();
        // Between two batches the connection is idle for a quarter of the lease.
        let idle = (lease / 2).as_secs().max(2);
        return format!(
            "{settings}; SET SESSION innodb_lock_wait_timeout = {seconds} /*M!, SESSION idle_transaction_timeout = {seconds} */; \
             SET SESSION wait_timeout = {idle}"
        );
    }
    settings
}

/// The settings of a session on `PostgreSQL`, for the reasons at [`mysql_settings`]. With `synchronous_commit`, what
/// was acknowledged survives a crash of the server, whatever its default is.
fn postgres_settings(purpose: SessionUse) -> String {
    let settings = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED";
    if let SessionUse::Writing(lease) = purpose {
        let seconds = hold(lease).as_secs();
        return format!(
            "{settings}; SET lock_timeout = '{seconds}s'; \
             SET idle_in_transaction_session_timeout = '{seconds}s'; \
             SET statement_timeout = '10s'; \
             SET synchronous_commit = on"
        );
    }
    settings.to_owned()
}

/// How long a transaction may wait for a lock, or be idle while it holds one: a quarter of the lease, in whole seconds
/// from 1 to 5.
fn hold(lease: Duration) -> Duration {
    Duration::from_secs((lease / 4).as_secs().clamp(1, 5))
}

fn not_kept(name: &str, expected: &str, value: &str) -> SqlxError {
    SqlxError::Configuration(
        format!(
            "the database session does not keep its settings: {name} is {value:?} after it was set to {expected:?}; \
             a proxy in between must pass on SET and give each client a session of its own"
        )
        .into(),
    )
}
