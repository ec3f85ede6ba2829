//! Acknowledged data: reports and debug blobs of devices, and reports over HTTP. Each is stored as exactly one row,
//! which is committed before the acknowledgement and stays until the vehicle is deleted.

use std::collections::BTreeMap;

use super::Finding;
use crate::history::{
    checker::{
        tolerances::READ_DELAY,
        vehicle_history::{StoredChange, VehicleHistory},
    },
    record::{DeviceEvent, HttpResult, Marker, Moment, StoredKind, VehicleAction},
};

/// Data that a device or a client sent.
struct SentData {
    kind: StoredKind,
    at: Moment,
    acknowledged: Option<Moment>,
}

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut stored: BTreeMap<Marker, Vec<&StoredChange<'_>>> = BTreeMap::new();
    for entry in &vehicle.stored_changes {
        match entry.marker {
            Some(marker) => stored.entry(marker).or_default().push(entry),
            None => findings.push(Finding::new(
                entry.at,
                format!(
                    "{} {} has values that no device sent",
                    name(entry.kind),
                    entry.id
                ),
            )),
        }
    }
    let sent = sent_data(vehicle);
    for (marker, sent) in &sent {
        let stored = stored.get(marker).map_or(&[][..], Vec::as_slice);
        findings.extend(wrong_acknowledgement(vehicle, *marker, sent, stored));
    }
    for (marker, stored) in &stored {
        let kind = stored[0].kind;
        let what = name(kind);
        match sent.get(marker) {
            None => findings.push(Finding::new(
                None,
                format!("{what} {marker} was stored and never sent"),
            )),
            Some(sent) if stored.len() > 1 || sent.kind != kind => findings.push(Finding::new(
                sent.at,
                format!("{what} {marker} is stored {} times", stored.len()),
            )),
            Some(_) => {}
        }
    }
    findings.extend(lost_rows(vehicle));
    findings
}

fn name(kind: StoredKind) -> &'static str {
    match kind {
        StoredKind::Report => "report",
        StoredKind::Blob => "blob",
    }
}

/// Everything that was sent for this vehicle.
fn sent_data(vehicle: &VehicleHistory<'_>) -> BTreeMap<Marker, SentData> {
    let mut all = BTreeMap::new();
    for observation in vehicle.observations {
        let (marker, kind) = match observation.event {
            DeviceEvent::SentReport(marker)
            | DeviceEvent::SentReply {
                marker: Some(marker),
                ..
            } => (marker, StoredKind::Report),
            DeviceEvent::SentBlob(marker) => (marker, StoredKind::Blob),
            DeviceEvent::Acknowledged(marker) => {
                if let Some(SentData { acknowledged, .. }) = all.get_mut(&marker) {
                    *acknowledged = Some(observation.at);
                }
                continue;
            }
            _ => continue,
        };
        let sent = SentData {
            kind,
            at: observation.at,
            acknowledged: None,
        };
        all.insert(marker, sent);
    }
    for request in vehicle.requests() {
        if let VehicleAction::Report(marker) = request.action {
            let is_done = matches!(request.result, HttpResult::Response { status: 200, .. });
            let sent = SentData {
                kind: StoredKind::Report,
                at: request.from,
                acknowledged: is_done.then_some(request.until),
            };
            all.insert(marker, sent);
        }
    }
    all
}

/// Violations by an acknowledgement, if there was one.
fn wrong_acknowledgement(
    vehicle: &VehicleHistory<'_>,
    marker: Marker,
    sent: &SentData,
    stored: &[&StoredChange<'_>],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(acknowledged) = sent.acknowledged else {
        return findings;
    };
    let what = name(sent.kind);
    let when = sent.at - READ_DELAY..=acknowledged + READ_DELAY;
    // A batch that stores a report and then deletes the vehicle writes no row.
    let is_deleted = stored.is_empty()
        && vehicle
            .deletions()
            .any(|deletion| when.contains(&deletion.at));
    if stored.len() != 1 && !is_deleted {
        let times = stored.len();
        findings.push(Finding::new(
            acknowledged,
            format!("{what} {marker} was acknowledged and is stored {times} times"),
        ));
    }
    if stored
        .first()
        .is_some_and(|entry| entry.committed_after > acknowledged)
    {
        findings.push(Finding::new(
            acknowledged,
            format!("{what} {marker} was acknowledged before it was committed"),
        ));
    }
    findings
}

/// Rows that were stored and are gone, although the vehicle was not deleted since.
fn lost_rows(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let is_kept = |entry: &StoredChange<'_>| {
        let mut rows = vehicle.stored_rows.iter();
        rows.any(|row| (row.kind, row.id) == (entry.kind, entry.id) && row.marker == entry.marker)
    };
    let is_deleted = |entry: &StoredChange<'_>| {
        vehicle
            .deletions()
            .any(|deletion| deletion.position >= entry.position)
    };
    let entries = vehicle.stored_changes.iter();
    entries
        .filter(|entry| !is_kept(entry) && !is_deleted(entry))
        .map(|entry| {
            let what = format!("{} {} was stored and is gone", name(entry.kind), entry.id);
            Finding::new(entry.at, what)
        })
        .collect()
}

mod tests {
    use crate::history::{
        checker::{
            Invariant,
            timeline::{Timeline, findings},
        },
        record::{Change, StoredKind, VehicleAction},
    };

    #[test]
    fn one_row_for_an_acknowledged_report_holds() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1);
        timeline
            .send_report(0, 1)
            .store_report(1, 1)
            .acknowledge(0, 1);
        timeline.send_report(0, 2);
        assert_eq!(timeline.violations(), []);
    }

    #[test]
    fn an_acknowledged_report_that_is_lost_or_doubled_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1);
        timeline.send_report(0, 1).acknowledge(0, 1);
        timeline
            .send_report(0, 2)
            .store_report(2, 1)
            .store_report(2, 1)
            .acknowledge(0, 2);
        assert_eq!(
            findings(&timeline, Invariant::AcknowledgedData),
            [
                "report 1 was acknowledged and is stored 0 times",
                "report 2 is stored 2 times",
                "report 2 was acknowledged and is stored 2 times",
            ]
        );
    }

    #[test]
    fn an_acknowledgement_before_the_commit_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1);
        timeline.send_report(0, 1).acknowledge(0, 1);
        timeline.store_report(1, 1);
        assert_eq!(
            findings(&timeline, Invariant::AcknowledgedData),
            ["report 1 was acknowledged before it was committed"]
        );
    }

    #[test]
    fn a_report_that_no_device_sent_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1);
        timeline
            .send_report(0, 1)
            .store_report(1, 1)
            .acknowledge(0, 1);
        timeline.store_report(7, 1);
        assert_eq!(
            findings(&timeline, Invariant::AcknowledgedData),
            ["report 7 was stored and never sent"]
        );
        if let Some(entry) = timeline.history.audit.last_mut()
            && let Change::Stored { marker, .. } = &mut entry.change
        {
            *marker = None;
        }
        timeline.history.stored_rows[1].marker = None;
        assert_eq!(
            findings(&timeline, Invariant::AcknowledgedData),
            ["report 1 has values that no device sent"]
        );
    }

    #[test]
    fn blobs_and_reports_over_http_are_checked_alike() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).send_blob(0, 1);
        timeline
            .store_in_batch(StoredKind::Blob, "A", 1, 1)
            .acknowledge(0, 1);
        timeline
            .store_report(7, 1)
            .respond_to_action(VehicleAction::Report(7), 200, "");
        timeline.respond_to_action(VehicleAction::Report(8), 503, "store-unavailable");
        assert_eq!(findings(&timeline, Invariant::AcknowledgedData), [""; 0]);
        timeline.send_blob(0, 2).acknowledge(0, 2);
        timeline.respond_to_action(VehicleAction::Report(9), 200, "");
        // A blob whose marker is stored as a report.
        timeline.send_blob(0, 3).store_report(3, 1);
        assert_eq!(
            findings(&timeline, Invariant::AcknowledgedData),
            [
                "blob 2 was acknowledged and is stored 0 times",
                "report 9 was acknowledged and is stored 0 times",
                "report 3 is stored 1 times",
            ]
        );
    }

    #[test]
    fn a_lost_row_violates_unless_its_vehicle_was_deleted() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .send_report(0, 1)
            .store_report(1, 1)
            .acknowledge(0, 1);
        timeline.purge();
        assert_eq!(
            findings(&timeline, Invariant::AcknowledgedData),
            ["report 0 was stored and is gone"]
        );
        timeline
            .delete()
            .respond_to_action(VehicleAction::Delete, 204, "");
        // Deleted in the batch in which it would have been stored.
        timeline
            .send_report(0, 2)
            .acknowledge(0, 2)
            .disconnect(0)
            .log_in(1, 2);
        assert_eq!(timeline.violations(), []);
    }
}
