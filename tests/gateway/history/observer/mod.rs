//! The database watches itself: triggers note every change of a session, of an instance and of a command, and every
//! report, debug blob and message to the endpoint, with the transaction that made it.
//!
//! Each batch of a gateway begins with its own row of `instances`; a trigger on it keeps the instance and the
//! number of its commit in a variable of that connection, where the other triggers find it.

pub(crate) mod commit_clock;

use std::collections::BTreeMap;

use sea_orm::{
    ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, QueryResult, Statement,
};

use crate::history::observer::commit_clock::Commits;
use crate::history::payload::{TITLE, marker_of_dump, marker_of_state, marker_of_title};
use crate::history::record::{
    Audit, Change, Clock, CommandRow, History, Kind, Marker, MessageRow, Moment, Session,
    StoredRow, VehicleRow, Writer,
};

const TABLE: &str = "CREATE TABLE audit (
    seq BIGINT NOT NULL PRIMARY KEY AUTO_INCREMENT, at BIGINT NOT NULL,
    writer VARCHAR(64), batch BIGINT, kind VARCHAR(8) NOT NULL,
    id VARCHAR(64) NOT NULL, device_id VARCHAR(64), epoch BIGINT, instance_id VARCHAR(64),
    online BOOLEAN, offline_due BIGINT, remote_addr VARCHAR(64), state VARCHAR(32),
    deleted_at BIGINT, forget_through BIGINT, message VARCHAR(64), created_at BIGINT, expires_at BIGINT,
    sent_at BIGINT, finished_at BIGINT, reply VARCHAR(128), late_reply VARCHAR(128), size BIGINT,
    latitude DOUBLE PRECISION, longitude DOUBLE PRECISION, battery SMALLINT, running BOOLEAN)";

/// What a trigger notes: of which table, the kind of entry, its columns, and what must have changed.
const NOTES: [(&str, &str, &str, &str, &[&str]); 6] = [
    (
        "vehicles",
        "session",
        "id, device_id, epoch, instance_id, online, offline_due, remote_addr, state, deleted_at, forget_through",
        "NEW.device_id, NEW.device_id, NEW.session_epoch, NEW.instance_id, NEW.online, NEW.offline_due, \
         NEW.remote_addr, NEW.disconnect_reason, NEW.deleted_at, NEW.forget_through",
        &[
            "online",
            "session_epoch",
            "instance_id",
            "offline_due",
            "deleted_at",
            "forget_through",
        ],
    ),
    (
        "instances",
        "instance",
        "id, message, state",
        "NEW.id, NEW.name, NEW.state",
        &["state"],
    ),
    (
        "reports",
        "report",
        "id, device_id, epoch, latitude, longitude, battery, running",
        "NEW.id, NEW.device_id, (SELECT session_epoch FROM vehicles WHERE device_id = NEW.device_id), \
         NEW.latitude, NEW.longitude, NEW.battery, NEW.running",
        &["id"],
    ),
    (
        "debug_blobs",
        "blob",
        "id, device_id, epoch, size, message",
        "NEW.id, NEW.device_id, (SELECT session_epoch FROM vehicles WHERE device_id = NEW.device_id), \
         OCTET_LENGTH(NEW.content), {title}",
        &["id"],
    ),
    (
        "commands",
        "command",
        "id, device_id, message, state, created_at, expires_at, sent_at, finished_at, reply, late_reply, epoch",
        "NEW.id, NEW.device_id, NEW.message, NEW.state, NEW.created_at, NEW.expires_at, NEW.sent_at, \
         NEW.finished_at, NEW.reply, NEW.late_reply, \
         (SELECT session_epoch FROM vehicles WHERE device_id = NEW.device_id)",
        &["state", "late_reply"],
    ),
    (
        "webhook_messages",
        "message",
        "id, device_id, epoch, state",
        "NEW.id, NEW.device_id, NEW.sequence, NEW.kind",
        &["sequence"],
    ),
];

/// Lets this database note from now on, in the table `audit`, what is written to it.
pub(crate) fn watch(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { Observer::connect(url).await.install().await });
}

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

    async fn run(&self, sql: &str) {
        let done = self.connection.execute_unprepared(sql).await;
        done.unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    /// Begins to note. The tables must be there.
    pub(crate) async fn install(&self) {
        if self.connection.get_database_backend() == DbBackend::Postgres {
            self.install_on_postgres().await;
        } else {
            self.install_on_mariadb().await;
        }
    }

    async fn install_on_mariadb(&self) {
        const NOW: &str = "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS INTEGER)";
        self.run(&format!(
            "{TABLE} ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        ))
        .await;
        for (table, kind, columns, values, watched) in NOTES {
            let title = format!("CONVERT(LEFT(NEW.content, {TITLE}) USING utf8mb4)");
            let values = values.replace("{title}", &title);
            let note = format!(
                "INSERT INTO audit (at, writer, batch, kind, {columns}) \
                 VALUES ({NOW}, @writer, @batch, '{kind}', {values})"
            );
            // What an instance writes of itself tells who writes on this connection.
            let me = if table == "instances" {
                "IF NEW.state = 'live' THEN SET @writer = NEW.id, @batch = NEW.renewals; END IF;"
            } else {
                ""
            };
            let same: Vec<String> = watched
                .iter()
                .map(|column| format!("NEW.{column} <=> OLD.{column}"))
                .collect();
            let same = same.join(" AND ");
            self.run(&format!(
                "CREATE TRIGGER audit_{table}_i AFTER INSERT ON {table} FOR EACH ROW BEGIN {me} {note}; END"
            ))
            .await;
            self.run(&format!(
                "CREATE TRIGGER audit_{table}_u AFTER UPDATE ON {table} FOR EACH ROW BEGIN {me} \
                 IF NOT ({same}) THEN {note}; END IF; END"
            ))
            .await;
        }
        // What was there before counts as noted.
        self.run(&format!(
            "INSERT INTO audit (at, kind, id, message, state) \
             SELECT {NOW}, 'instance', id, name, state FROM instances"
        ))
        .await;
    }

    async fn install_on_postgres(&self) {
        const NOW: &str = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
        let table = TABLE.replace(
            "PRIMARY KEY AUTO_INCREMENT",
            "GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        );
        self.run(&table).await;
        for (table, kind, columns, values, watched) in NOTES {
            let title = format!("convert_from(substring(NEW.content FROM 1 FOR {TITLE}), 'UTF8')");
            let values = values.replace("{title}", &title);
            let me = if table == "instances" {
                "IF NEW.state = 'live' THEN PERFORM set_config('audit.writer', NEW.id, true), \
                 set_config('audit.batch', NEW.renewals::text, true); END IF;"
            } else {
                ""
            };
            let same: Vec<String> = watched
                .iter()
                .map(|column| format!("NEW.{column} IS NOT DISTINCT FROM OLD.{column}"))
                .collect();
            let same = same.join(" AND ");
            self.run(&format!(
                "CREATE FUNCTION audit_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {me} \
                 IF TG_OP = 'INSERT' OR NOT ({same}) THEN \
                 INSERT INTO audit (at, writer, batch, kind, {columns}) VALUES ({NOW}, \
                 current_setting('audit.writer', true), \
                 CAST(NULLIF(current_setting('audit.batch', true), '') AS BIGINT), '{kind}', {values}); \
                 END IF; RETURN NULL; END $$"
            ))
            .await;
            self.run(&format!(
                "CREATE TRIGGER audit AFTER INSERT OR UPDATE ON {table} \
                 FOR EACH ROW EXECUTE FUNCTION audit_{table}()"
            ))
            .await;
        }
        self.run(&format!(
            "INSERT INTO audit (at, kind, id, message, state) \
             SELECT {NOW}, 'instance', id, name, state FROM instances"
        ))
        .await;
    }

    async fn try_rows(&self, sql: &str) -> Result<Vec<QueryResult>, DbErr> {
        let backend = self.connection.get_database_backend();
        let statement = Statement::from_string(backend, sql);
        self.connection.query_all_raw(statement).await
    }

    async fn rows(&self, sql: &str) -> Vec<QueryResult> {
        let rows = self.try_rows(sql).await;
        rows.unwrap_or_else(|error| panic!("{error}: {sql}"))
    }

    /// The numbers of what is committed by now beyond this one.
    pub(crate) async fn entries_after(&self, number: i64) -> Result<Vec<i64>, DbErr> {
        let sql = format!("SELECT seq FROM audit WHERE seq > {number}");
        let rows = self.try_rows(&sql).await?;
        rows.iter().map(|row| row.try_get("", "seq")).collect()
    }

    /// Whether nothing is left to be done: so many vehicles are online with somebody, and neither a command nor a
    /// message is under way.
    pub(crate) async fn is_quiet(&self, vehicles: usize) -> bool {
        let known = self.rows("SELECT device_id FROM vehicles").await.len();
        let sql = "SELECT device_id FROM vehicles WHERE NOT online OR instance_id IS NULL OR offline_due IS NOT NULL \
             UNION ALL SELECT device_id FROM vehicles v WHERE NOT EXISTS \
             (SELECT 1 FROM instances i WHERE i.id = v.instance_id AND i.state = 'live') \
             UNION ALL SELECT device_id FROM webhook_lanes WHERE pending > 0 \
             UNION ALL SELECT device_id FROM commands WHERE state IN ('created', 'sent')";
        known == vehicles && self.rows(sql).await.is_empty()
    }

    /// Adds what the database has to the history.
    pub(crate) async fn read(&self, clock: Clock, commits: &Commits, history: &mut History) {
        let audit = self.rows("SELECT * FROM audit ORDER BY seq").await;
        history.audit = audit
            .iter()
            .map(|row| audit_entry(clock, commits, row))
            .collect();
        for (kind, table) in [(Kind::Report, "reports"), (Kind::Blob, "debug_blobs")] {
            let rows = self
                .rows(&format!("SELECT * FROM {table} ORDER BY id"))
                .await;
            history.stored.extend(rows.iter().map(|row| StoredRow {
                kind,
                id: get(row, "id"),
                device_id: get(row, "device_id"),
                marker: match kind {
                    Kind::Report => marker(row),
                    Kind::Blob => marker_of_dump(
                        &get::<String>(row, "device_id"),
                        &get::<Vec<u8>>(row, "content"),
                    ),
                },
            }));
        }
        // Those of deleted vehicles may be purged.
        let last_seen = audit
            .iter()
            .filter(|row| get::<String>(row, "kind") == "command");
        let mut commands: BTreeMap<String, CommandRow> = last_seen
            .map(|row| (get(row, "id"), command(clock, row)))
            .collect();
        let rows = self.rows("SELECT * FROM commands").await;
        commands.extend(rows.iter().map(|row| (get(row, "id"), command(clock, row))));
        history.commands = commands.into_values().collect();
        let messages = self
            .rows("SELECT id, state, body FROM webhook_messages")
            .await;
        history.messages = messages
            .iter()
            .map(|row| MessageRow {
                id: get(row, "id"),
                state: get(row, "state"),
                body: get(row, "body"),
            })
            .collect();
        let vehicles = self
            .rows("SELECT v.*, v.session_epoch AS epoch, v.disconnect_reason AS state FROM vehicles v")
            .await;
        history.vehicles = vehicles
            .iter()
            .map(|row| {
                let acknowledged: Option<i16> = get(row, "acknowledged_update_frequency");
                VehicleRow {
                    device_id: get(row, "device_id"),
                    session: session(clock, row),
                    marker: marker(row),
                    acknowledged: acknowledged.map(i64::from),
                }
            })
            .collect();
    }
}

#[track_caller]
fn get<T: sea_orm::TryGetable>(row: &QueryResult, column: &str) -> T {
    row.try_get("", column)
        .unwrap_or_else(|error| panic!("{column}: {error:?}"))
}

fn moment(clock: Clock, row: &QueryResult, column: &str) -> Option<Moment> {
    let millis: Option<i64> = get(row, column);
    millis.map(|millis| clock.at(millis))
}

fn session(clock: Clock, row: &QueryResult) -> Session {
    Session {
        online: get(row, "online"),
        epoch: get(row, "epoch"),
        instance: get(row, "instance_id"),
        offline_due: moment(clock, row, "offline_due"),
        remote: get(row, "remote_addr"),
        reason: get(row, "state"),
        deleted: moment(clock, row, "deleted_at").is_some(),
        forget: moment(clock, row, "forget_through"),
    }
}

fn command(clock: Clock, row: &QueryResult) -> CommandRow {
    CommandRow {
        id: get(row, "id"),
        device_id: get(row, "device_id"),
        sentence: get(row, "message"),
        state: get(row, "state"),
        created_at: clock.at(get(row, "created_at")),
        expires_at: clock.at(get(row, "expires_at")),
        sent_at: moment(clock, row, "sent_at"),
        finished_at: moment(clock, row, "finished_at"),
        reply: get(row, "reply"),
        late_reply: get(row, "late_reply"),
    }
}

fn audit_entry(clock: Clock, commits: &Commits, row: &QueryResult) -> Audit {
    let kind: String = get(row, "kind");
    let id: String = get(row, "id");
    let device_id: Option<String> = get(row, "device_id");
    let device_id = device_id.unwrap_or_default();
    let epoch: Option<i64> = get(row, "epoch");
    let epoch = epoch.unwrap_or_default();
    let change = match kind.as_str() {
        "session" => Change::Session {
            device_id,
            session: session(clock, row),
        },
        "instance" => Change::Instance {
            id,
            name: get(row, "message"),
            state: get(row, "state"),
        },
        "report" => Change::Stored {
            marker: marker(row),
            device_id,
            kind: Kind::Report,
            id: id.parse().unwrap(),
            epoch,
        },
        "blob" => {
            let (size, title): (i64, String) = (get(row, "size"), get(row, "message"));
            Change::Stored {
                marker: marker_of_title(&device_id, &title, size),
                device_id,
                kind: Kind::Blob,
                id: id.parse().unwrap(),
                epoch,
            }
        }
        "message" => Change::Message {
            device_id,
            id,
            sequence: epoch,
            kind: get(row, "state"),
        },
        _ => Change::Command {
            device_id,
            id,
            sentence: get(row, "message"),
            state: get(row, "state"),
            sent: moment(clock, row, "sent_at").is_some(),
            epoch,
        },
    };
    let (instance, batch): (Option<String>, Option<i64>) = (get(row, "writer"), get(row, "batch"));
    Audit {
        at: clock.at(get(row, "at")),
        committed_after: commits.get(&get(row, "seq")).copied().unwrap_or_default(),
        writer: Writer {
            instance: instance.unwrap_or_default(),
            batch: batch.unwrap_or_default(),
        },
        change,
    }
}

/// The number for which the values of this row stand; `None` if there are none, or if they do not fit together.
fn marker(row: &QueryResult) -> Option<Marker> {
    let place: (Option<f64>, Option<f64>) = (get(row, "latitude"), get(row, "longitude"));
    let state: (Option<i16>, Option<bool>) = (get(row, "battery"), get(row, "running"));
    marker_of_state(&get::<String>(row, "device_id"), place, state)
}
