//! Triggers that write every change of a session, an instance and a command, and every new report, debug blob and
//! webhook message, to the table `audit`, together with the batch that made it.
//!
//! Each batch of a gateway first updates its own row of `instances`. The trigger on that table keeps the incarnation
//! and the number of the batch in a variable of the connection, where the other triggers find it.

use sea_orm::DbBackend;

use super::Observer;
use crate::history::payload::BLOB_HEADER;

const AUDIT_TABLE: &str = "CREATE TABLE audit (
    seq BIGINT NOT NULL PRIMARY KEY AUTO_INCREMENT, at BIGINT NOT NULL,
    writer VARCHAR(64), batch BIGINT, kind VARCHAR(8) NOT NULL,
    id VARCHAR(64) NOT NULL, device_id VARCHAR(64), epoch BIGINT, instance_id VARCHAR(64),
    online BOOLEAN, offline_due BIGINT, remote_addr VARCHAR(64), state VARCHAR(32),
    deleted_at BIGINT, forget_through BIGINT, message VARCHAR(64), created_at BIGINT, expires_at BIGINT,
    sent_at BIGINT, finished_at BIGINT, reply VARCHAR(128), late_reply VARCHAR(128), size BIGINT,
    latitude DOUBLE PRECISION, longitude DOUBLE PRECISION, battery SMALLINT, running BOOLEAN)";

/// What the trigger of a table writes.
struct AuditedTable {
    table: &'static str,
    /// The `kind` of its audit entries.
    kind: &'static str,
    /// The columns of `audit` that it fills, and with what. `{blob_header}` is the SQL for the header of a blob.
    columns: &'static str,
    values: &'static str,
    /// An update is audited when one of these columns changes.
    watched: &'static [&'static str],
}

const AUDITED_TABLES: [AuditedTable; 6] = [
    AuditedTable {
        table: "vehicles",
        kind: "session",
        columns: "id, device_id, epoch, instance_id, online, offline_due, remote_addr, state, deleted_at, forget_through",
        values: "NEW.device_id, NEW.device_id, NEW.session_epoch, NEW.instance_id, NEW.online, NEW.offline_due, \
                 NEW.remote_addr, NEW.disconnect_reason, NEW.deleted_at, NEW.forget_through",
        watched: &[
            "online",
            "session_epoch",
            "instance_id",
            "offline_due",
            "deleted_at",
            "forget_through",
        ],
    },
    AuditedTable {
        table: "instances",
        kind: "instance",
        columns: "id, message, state",
        values: "NEW.id, NEW.name, NEW.state",
        watched: &["state"],
    },
    AuditedTable {
        table: "reports",
        kind: "report",
        columns: "id, device_id, epoch, latitude, longitude, battery, running",
        values: "NEW.id, NEW.device_id, (SELECT session_epoch FROM vehicles WHERE device_id = NEW.device_id), \
                 NEW.latitude, NEW.longitude, NEW.battery, NEW.running",
        watched: &["id"],
    },
    AuditedTable {
        table: "debug_blobs",
        kind: "blob",
        columns: "id, device_id, epoch, size, message",
        values: "NEW.id, NEW.device_id, (SELECT session_epoch FROM vehicles WHERE device_id = NEW.device_id), \
                 OCTET_LENGTH(NEW.content), {blob_header}",
        watched: &["id"],
    },
    AuditedTable {
        table: "commands",
        kind: "command",
        columns: "id, device_id, message, state, created_at, expires_at, sent_at, finished_at, reply, late_reply, epoch",
        values: "NEW.id, NEW.device_id, NEW.message, NEW.state, NEW.created_at, NEW.expires_at, NEW.sent_at, \
                 NEW.finished_at, NEW.reply, NEW.late_reply, \
                 (SELECT session_epoch FROM vehicles WHERE device_id = NEW.device_id)",
        watched: &["state", "late_reply"],
    },
    AuditedTable {
        table: "webhook_messages",
        kind: "message",
        columns: "id, device_id, epoch, state",
        values: "NEW.id, NEW.device_id, NEW.sequence, NEW.kind",
        watched: &["sequence"],
    },
];

/// Audits every write to the database at this URL from now on, in its table `audit`. Its schema must exist.
pub(crate) fn audit_writes(url: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { Observer::connect(url).await.install_triggers().await });
}

impl Observer {
    /// Creates the audit table and its triggers. The gateway's tables must exist.
    pub(crate) async fn install_triggers(&self) {
        let now = if self.backend() == DbBackend::Postgres {
            self.install_on_postgres().await
        } else {
            self.install_on_mariadb().await
        };
        // Instances that began before count as audited.
        self.execute(&format!(
            "INSERT INTO audit (at, kind, id, message, state) \
             SELECT {now}, 'instance', id, name, state FROM instances"
        ))
        .await;
    }

    /// Returns the SQL for the current time in milliseconds.
    async fn install_on_mariadb(&self) -> &'static str {
        const NOW: &str = "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS INTEGER)";
        self.execute(&format!(
            "{AUDIT_TABLE} ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
        ))
        .await;
        for audited in AUDITED_TABLES {
            let (table, kind, columns) = (audited.table, audited.kind, audited.columns);
            let header = format!("CONVERT(LEFT(NEW.content, {BLOB_HEADER}) USING utf8mb4)");
            let values = audited.values.replace("{blob_header}", &header);
            let insert = format!(
                "INSERT INTO audit (at, writer, batch, kind, {columns}) \
                 VALUES ({NOW}, @writer, @batch, '{kind}', {values})"
            );
            let remember_batch = if table == "instances" {
                "IF NEW.state = 'live' THEN SET @writer = NEW.id, @batch = NEW.renewals; END IF;"
            } else {
                ""
            };
            let unchanged: Vec<String> = audited
                .watched
                .iter()
                .map(|column| format!("NEW.{column} <=> OLD.{column}"))
                .collect();
            let unchanged = unchanged.join(" AND ");
            self.execute(&format!(
                "CREATE TRIGGER audit_{table}_i AFTER INSERT ON {table} FOR EACH ROW \
                 BEGIN {remember_batch} {insert}; END"
            ))
            .await;
            self.execute(&format!(
                "CREATE TRIGGER audit_{table}_u AFTER UPDATE ON {table} FOR EACH ROW \
                 BEGIN {remember_batch} IF NOT ({unchanged}) THEN {insert}; END IF; END"
            ))
            .await;
        }
        NOW
    }

    /// Returns the SQL for the current time in milliseconds.
    async fn install_on_postgres(&self) -> &'static str {
        const NOW: &str = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
        let audit_table = AUDIT_TABLE.replace(
            "PRIMARY KEY AUTO_INCREMENT",
            "GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        );
        self.execute(&audit_table).await;
        for audited in AUDITED_TABLES {
            let (table, kind, columns) = (audited.table, audited.kind, audited.columns);
            let header =
                format!("convert_from(substring(NEW.content FROM 1 FOR {BLOB_HEADER}), 'UTF8')");
            let values = audited.values.replace("{blob_header}", &header);
            let remember_batch = if table == "instances" {
                "IF NEW.state = 'live' THEN PERFORM set_config('audit.writer', NEW.id, true), \
                 set_config('audit.batch', NEW.renewals::text, true); END IF;"
            } else {
                ""
            };
            let unchanged: Vec<String> = audited
                .watched
                .iter()
                .map(|column| format!("NEW.{column} IS NOT DISTINCT FROM OLD.{column}"))
                .collect();
            let unchanged = unchanged.join(" AND ");
            self.execute(&format!(
                "CREATE FUNCTION audit_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ \
                 BEGIN {remember_batch} IF TG_OP = 'INSERT' OR NOT ({unchanged}) THEN \
                 INSERT INTO audit (at, writer, batch, kind, {columns}) VALUES ({NOW}, \
                 current_setting('audit.writer', true), \
                 CAST(NULLIF(current_setting('audit.batch', true), '') AS BIGINT), '{kind}', {values}); \
                 END IF; RETURN NULL; END $$"
            ))
            .await;
            self.execute(&format!(
                "CREATE TRIGGER audit AFTER INSERT OR UPDATE ON {table} \
                 FOR EACH ROW EXECUTE FUNCTION audit_{table}()"
            ))
            .await;
        }
        NOW
    }
}
