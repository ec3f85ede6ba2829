//! The database watches itself: triggers note every change of a session, of an instance, of a command, and
//! every report, with the transaction that made it.
//!
//! Each batch of a gateway begins with its own row of `instances`; a trigger on it keeps the instance and the
//! number of its commit in a variable of that connection, where the other triggers find it.

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, QueryResult, Statement};

use super::record::{
    Audit, Change, Clock, CommandRow, History, Marker, ReportRow, Session, VehicleRow, Writer,
};

const TABLE: &str = "CREATE TABLE audit (
    seq BIGINT NOT NULL PRIMARY KEY AUTO_INCREMENT, at BIGINT NOT NULL,
    writer VARCHAR(64), batch BIGINT, kind VARCHAR(8) NOT NULL,
    id VARCHAR(64) NOT NULL, device_id VARCHAR(64), epoch BIGINT, instance_id VARCHAR(64),
    online BOOLEAN, offline_due BIGINT, remote_addr VARCHAR(64), state VARCHAR(32),
    message VARCHAR(64), sent_at BIGINT)";

/// What a trigger notes: of which table, the kind of entry, its columns, and what must have changed.
const NOTES: [(&str, &str, &str, &str, &[&str]); 4] = [
    (
        "vehicles",
        "session",
        "id, device_id, epoch, instance_id, online, offline_due, remote_addr, state",
        "NEW.device_id, NEW.device_id, NEW.session_epoch, NEW.instance_id, NEW.online, NEW.offline_due, \
         NEW.remote_addr, NEW.disconnect_reason",
        &["online", "session_epoch", "instance_id", "offline_due"],
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
        "id, device_id, epoch",
        "NEW.id, NEW.device_id, (SELECT session_epoch FROM vehicles WHERE device_id = NEW.device_id)",
        &["id"],
    ),
    (
        "commands",
        "command",
        "id, device_id, message, state, sent_at, epoch",
        "NEW.id, NEW.device_id, NEW.message, NEW.state, NEW.sent_at, \
         (SELECT session_epoch FROM vehicles WHERE device_id = NEW.device_id)",
        &["state"],
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
pub(super) struct Observer {
    connection: DatabaseConnection,
}

impl Observer {
    pub(super) async fn connect(url: &str) -> Self {
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
    pub(super) async fn install(&self) {
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

    async fn rows(&self, sql: &str) -> Vec<QueryResult> {
        let backend = self.connection.get_database_backend();
        let rows = self
            .connection
            .query_all_raw(Statement::from_string(backend, sql))
            .await;
        rows.unwrap_or_else(|error| panic!("{error}: {sql}"))
    }

    /// Whether nothing is left to be done: so many vehicles are online with somebody, and no command is under way.
    pub(super) async fn is_quiet(&self, vehicles: usize) -> bool {
        let known = self.rows("SELECT device_id FROM vehicles").await.len();
        let sql = "SELECT device_id FROM vehicles WHERE NOT online OR instance_id IS NULL OR offline_due IS NOT NULL \
             UNION ALL SELECT device_id FROM vehicles v WHERE NOT EXISTS \
             (SELECT 1 FROM instances i WHERE i.id = v.instance_id AND i.state = 'live') \
             UNION ALL SELECT device_id FROM commands WHERE state IN ('created', 'sent')";
        known == vehicles && self.rows(sql).await.is_empty()
    }

    /// Adds what the database has to the history.
    pub(super) async fn read(&self, clock: Clock, history: &mut History) {
        let audit = self.rows("SELECT * FROM audit ORDER BY seq").await;
        history.audit = audit.iter().map(|row| audit_entry(clock, row)).collect();
        let reports = self.rows("SELECT * FROM reports ORDER BY id").await;
        history.reports = reports
            .iter()
            .map(|row| ReportRow {
                id: get(row, "id"),
                device_id: get(row, "device_id"),
                marker: marker(row),
            })
            .collect();
        let commands = self.rows("SELECT * FROM commands ORDER BY id").await;
        let moment = |row: &QueryResult, column| {
            let millis: Option<i64> = get(row, column);
            millis.map(|millis| clock.at(millis))
        };
        history.commands = commands
            .iter()
            .map(|row| CommandRow {
                id: get(row, "id"),
                device_id: get(row, "device_id"),
                sentence: get(row, "message"),
                state: get(row, "state"),
                created_at: clock.at(get(row, "created_at")),
                expires_at: clock.at(get(row, "expires_at")),
                sent_at: moment(row, "sent_at"),
                finished_at: moment(row, "finished_at"),
                reply: get(row, "reply"),
                late_reply: get(row, "late_reply"),
            })
            .collect();
        let vehicles = self
            .rows("SELECT v.*, v.session_epoch AS epoch, v.disconnect_reason AS state FROM vehicles v")
            .await;
        history.vehicles = vehicles
            .iter()
            .map(|row| VehicleRow {
                device_id: get(row, "device_id"),
                session: session(clock, row),
                marker: marker(row),
            })
            .collect();
    }
}

#[track_caller]
fn get<T: sea_orm::TryGetable>(row: &QueryResult, column: &str) -> T {
    row.try_get("", column)
        .unwrap_or_else(|error| panic!("{column}: {error:?}"))
}

fn session(clock: Clock, row: &QueryResult) -> Session {
    let offline_due: Option<i64> = get(row, "offline_due");
    Session {
        online: get(row, "online"),
        epoch: get(row, "epoch"),
        instance: get(row, "instance_id"),
        offline_due: offline_due.map(|due| clock.at(due)),
        remote: get(row, "remote_addr"),
        reason: get(row, "state"),
    }
}

fn audit_entry(clock: Clock, row: &QueryResult) -> Audit {
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
        "report" => Change::Report {
            device_id,
            id: id.parse().unwrap(),
            epoch,
        },
        _ => {
            let sent_at: Option<i64> = get(row, "sent_at");
            Change::Command {
                device_id,
                id,
                sentence: get(row, "message"),
                state: get(row, "state"),
                sent: sent_at.is_some(),
                epoch,
            }
        }
    };
    let (instance, batch): (Option<String>, Option<i64>) = (get(row, "writer"), get(row, "batch"));
    Audit {
        at: clock.at(get(row, "at")),
        writer: Writer {
            instance: instance.unwrap_or_default(),
            batch: batch.unwrap_or_default(),
        },
        change,
    }
}

/// The values of a report that stand for this number. They are told apart by nine decimals.
pub(super) fn values(vehicle: usize, marker: Marker) -> String {
    format!(
        "I'M HERE {}.{:03} {}.{:09}, {} AND CHARGED AT {}%.",
        vehicle / 1000,
        vehicle % 1000,
        marker % 180,
        marker,
        if marker % 2 == 0 {
            "RUNNING"
        } else {
            "RESTING"
        },
        marker % 101
    )
}

/// The number for which the values of this row stand; `None` if there are none, or if they do not fit together.
fn marker(row: &QueryResult) -> Option<Marker> {
    let (latitude, longitude): (Option<f64>, Option<f64>) =
        (get(row, "latitude"), get(row, "longitude"));
    let (battery, running): (Option<i16>, Option<bool>) =
        (get(row, "battery"), get(row, "running"));
    let vehicle = number_of(&get::<String>(row, "device_id"))?;
    #[expect(clippy::cast_possible_truncation, reason = "they have nine decimals")]
    let billionths = |degrees: f64| (degrees * 1e9).round() as i64;
    let marker = billionths(longitude?).rem_euclid(1_000_000_000);
    let expected = (
        i64::try_from(vehicle).ok()? * 1_000_000,
        marker % 180 * 1_000_000_000 + marker,
        i16::try_from(marker % 101).ok()?,
        marker % 2 == 0,
    );
    let is_whole = (
        billionths(latitude?),
        billionths(longitude?),
        battery?,
        running?,
    ) == expected;
    is_whole.then_some(marker)
}

/// The id of a vehicle by its number.
pub(super) fn id_of(vehicle: usize) -> String {
    format!("truck-{vehicle}")
}

fn number_of(device_id: &str) -> Option<usize> {
    device_id.strip_prefix("truck-")?.parse().ok()
}
