//! Reads the audit entries and the final rows of the database into the history.

use std::collections::BTreeMap;

use sea_orm::{QueryResult, TryGetable};

use super::{Observer, commit_clock::CommitTimes};
use crate::history::{
    payload::{marker_of_blob, marker_of_blob_header, marker_of_report},
    record::{
        AuditEntry, BatchId, Change, CommandRow, History, Marker, MessageRow, Moment, RunClock,
        SessionRow, StoredKind, StoredRow, VehicleRow,
    },
};

impl Observer {
    /// Adds everything that the database has to the history.
    pub(crate) async fn read(&self, clock: RunClock, commits: &CommitTimes, history: &mut History) {
        let audit = self.query("SELECT * FROM audit ORDER BY seq").await;
        history.audit = audit
            .iter()
            .map(|row| audit_entry(clock, commits, row))
            .collect();
        history.stored_rows = self.stored_rows().await;
        // The last audit entries stand for the commands that were purged with their vehicles.
        let audited = audit
            .iter()
            .filter(|row| get::<String>(row, "kind") == "command");
        let mut commands: BTreeMap<String, CommandRow> = audited
            .map(|row| (get(row, "id"), command_row(clock, row)))
            .collect();
        let rows = self.query("SELECT * FROM commands").await;
        commands.extend(
            rows.iter()
                .map(|row| (get(row, "id"), command_row(clock, row))),
        );
        history.command_rows = commands.into_values().collect();
        let messages = self
            .query("SELECT id, state, body FROM webhook_messages")
            .await;
        history.message_rows = messages
            .iter()
            .map(|row| MessageRow {
                id: get(row, "id"),
                state: get(row, "state"),
                body: get(row, "body"),
            })
            .collect();
        let vehicles = self
            .query("SELECT v.*, v.session_epoch AS epoch, v.disconnect_reason AS state FROM vehicles v")
            .await;
        history.vehicle_rows = vehicles
            .iter()
            .map(|row| {
                let interval: Option<i16> = get(row, "acknowledged_update_frequency");
                VehicleRow {
                    device_id: get(row, "device_id"),
                    session: session_row(clock, row),
                    marker: report_marker(row),
                    acknowledged_interval: interval.map(i64::from),
                }
            })
            .collect();
    }

    async fn stored_rows(&self) -> Vec<StoredRow> {
        let reports = self.query("SELECT * FROM reports ORDER BY id").await;
        let reports = reports.iter().map(|row| StoredRow {
            kind: StoredKind::Report,
            id: get(row, "id"),
            device_id: get(row, "device_id"),
            marker: report_marker(row),
        });
        let blobs = self.query("SELECT * FROM debug_blobs ORDER BY id").await;
        let blobs = blobs.iter().map(|row| {
            let device_id: String = get(row, "device_id");
            StoredRow {
                kind: StoredKind::Blob,
                id: get(row, "id"),
                marker: marker_of_blob(&device_id, &get::<Vec<u8>>(row, "content")),
                device_id,
            }
        });
        reports.chain(blobs).collect()
    }
}

#[track_caller]
fn get<T: TryGetable>(row: &QueryResult, column: &str) -> T {
    row.try_get("", column)
        .unwrap_or_else(|error| panic!("{column}: {error:?}"))
}

fn moment(clock: RunClock, row: &QueryResult, column: &str) -> Option<Moment> {
    let unix: Option<i64> = get(row, column);
    unix.map(|unix| clock.moment(unix))
}

fn session_row(clock: RunClock, row: &QueryResult) -> SessionRow {
    SessionRow {
        online: get(row, "online"),
        epoch: get(row, "epoch"),
        incarnation: get(row, "instance_id"),
        offline_due: moment(clock, row, "offline_due"),
        remote_addr: get(row, "remote_addr"),
        disconnect_reason: get(row, "state"),
        deleted: moment(clock, row, "deleted_at").is_some(),
        forget_through: moment(clock, row, "forget_through"),
    }
}

fn command_row(clock: RunClock, row: &QueryResult) -> CommandRow {
    CommandRow {
        id: get(row, "id"),
        device_id: get(row, "device_id"),
        sentence: get(row, "message"),
        state: get(row, "state"),
        created_at: clock.moment(get(row, "created_at")),
        expires_at: clock.moment(get(row, "expires_at")),
        sent_at: moment(clock, row, "sent_at"),
        finished_at: moment(clock, row, "finished_at"),
        reply: get(row, "reply"),
        late_reply: get(row, "late_reply"),
    }
}

fn audit_entry(clock: RunClock, commits: &CommitTimes, row: &QueryResult) -> AuditEntry {
    let (incarnation, number): (Option<String>, Option<i64>) =
        (get(row, "writer"), get(row, "batch"));
    AuditEntry {
        at: clock.moment(get(row, "at")),
        committed_after: commits.get(&get(row, "seq")).copied().unwrap_or_default(),
        batch: BatchId {
            incarnation: incarnation.unwrap_or_default(),
            number: number.unwrap_or_default(),
        },
        change: change(clock, row),
    }
}

fn change(clock: RunClock, row: &QueryResult) -> Change {
    let kind: String = get(row, "kind");
    let id: String = get(row, "id");
    let device_id: Option<String> = get(row, "device_id");
    let device_id = device_id.unwrap_or_default();
    let epoch: Option<i64> = get(row, "epoch");
    let epoch = epoch.unwrap_or_default();
    match kind.as_str() {
        "session" => Change::Session {
            device_id,
            session: session_row(clock, row),
        },
        "instance" => Change::Instance {
            id,
            name: get(row, "message"),
            state: get(row, "state"),
        },
        "report" => Change::Stored {
            marker: report_marker(row),
            device_id,
            kind: StoredKind::Report,
            id: id.parse().unwrap(),
            epoch,
        },
        "blob" => {
            let (size, header): (i64, String) = (get(row, "size"), get(row, "message"));
            Change::Stored {
                marker: marker_of_blob_header(&device_id, &header, size),
                device_id,
                kind: StoredKind::Blob,
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
        "command" => Change::Command {
            device_id,
            id,
            sentence: get(row, "message"),
            state: get(row, "state"),
            sent: moment(clock, row, "sent_at").is_some(),
            epoch,
        },
        other => panic!("no trigger writes entries of the kind {other}"),
    }
}

/// The marker of the report whose values this row has.
fn report_marker(row: &QueryResult) -> Option<Marker> {
    let place: (Option<f64>, Option<f64>) = (get(row, "latitude"), get(row, "longitude"));
    let state: (Option<i16>, Option<bool>) = (get(row, "battery"), get(row, "running"));
    marker_of_report(&get::<String>(row, "device_id"), place, state)
}
