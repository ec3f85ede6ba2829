//! Fenced writes: the writes of a session commit only while the vehicle's row names its incarnation and its epoch.

use std::collections::BTreeMap;

use super::Finding;
use crate::history::{
    checker::vehicle_history::{SessionChange, StoredChange, VehicleHistory},
    record::{ConnectionNumber, DeviceEvent, Marker, SessionRow},
};

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (before, change) in vehicle.session_transitions() {
        if let Some(what) = wrong_owner(vehicle, &before, change) {
            findings.push(Finding::new(change.at, what));
        }
    }
    let connections = connections_by_marker(vehicle);
    for stored in &vehicle.stored_changes {
        let connection = stored.marker.and_then(|marker| connections.get(&marker));
        let epoch = connection.and_then(|connection| vehicle.epochs.get(connection));
        if let (Some(marker), Some(&epoch)) = (stored.marker, epoch)
            && let Some(what) = wrong_report(vehicle, stored, marker, epoch)
        {
            findings.push(Finding::new(stored.at, what));
        }
    }
    findings
}

/// The connection on which each report, debug blob and reply with values was sent.
fn connections_by_marker(vehicle: &VehicleHistory<'_>) -> BTreeMap<Marker, ConnectionNumber> {
    let observations = vehicle.observations.iter();
    observations
        .filter_map(|observation| match observation.event {
            DeviceEvent::SentReport(marker)
            | DeviceEvent::SentBlob(marker)
            | DeviceEvent::SentReply {
                marker: Some(marker),
                ..
            } => Some((marker, observation.connection)),
            _ => None,
        })
        .collect()
}

/// Finds a change of a session by an incarnation that may not make it.
fn wrong_owner(
    vehicle: &VehicleHistory<'_>,
    before: &SessionRow,
    change: SessionChange<'_>,
) -> Option<String> {
    let (after, writer) = (change.session, change.batch.incarnation.as_str());
    if after.epoch > before.epoch {
        let owner = after.incarnation.as_deref();
        // A login whose connection is gone in the same batch leaves no owner.
        let is_own = owner.is_none_or(|owner| owner == writer);
        return (!is_own).then(|| format!("{writer} wrote a login with the owner {owner:?}"));
    }
    match (before.incarnation.as_deref(), after.incarnation.as_deref()) {
        (one, other) if one == other => None,
        (_, Some(other)) => Some(format!(
            "the session of epoch {} got the owner {other} without a login",
            after.epoch
        )),
        // Any instance may delete a vehicle.
        (Some(_), None) if change.deletes => None,
        (Some(owner), None) => {
            let is_dead = vehicle
                .deaths
                .get(owner)
                .is_some_and(|(position, _)| *position < change.position);
            (owner != writer && !is_dead).then(|| {
                format!(
                    "{writer} ended the session of epoch {}, whose owner {owner} was live",
                    after.epoch
                )
            })
        }
        (None, None) => None,
    }
}

/// Finds out whether a report or debug blob of the session with this epoch was stored by another incarnation, or too
/// late.
fn wrong_report(
    vehicle: &VehicleHistory<'_>,
    stored: &StoredChange<'_>,
    marker: Marker,
    epoch: i64,
) -> Option<String> {
    let owner = vehicle.login(epoch)?.session.incarnation.as_deref()?;
    if stored.batch.incarnation != owner {
        return Some(format!(
            "report {marker} of epoch {epoch} was stored by {} and received by {owner}",
            stored.batch.incarnation
        ));
    }
    // A batch stores a report together with a deletion or a login that came after it.
    let mut deletions = vehicle.deletions();
    let is_deleted = deletions.any(|deletion| {
        // The row may already show the login that created the vehicle again in this batch.
        let is_recreated = deletion.session.incarnation.is_some();
        let last_epoch = deletion.session.epoch - i64::from(is_recreated);
        epoch <= last_epoch && deletion.position < stored.position && deletion.batch != stored.batch
    });
    if is_deleted {
        return Some(format!(
            "report {marker} of epoch {epoch} was stored after its vehicle was deleted"
        ));
    }
    let newer = vehicle
        .session_changes
        .iter()
        .find(|change| change.session.epoch > epoch)
        .filter(|newer| stored.epoch >= newer.session.epoch && newer.batch != stored.batch);
    newer.map(|newer| {
        format!(
            "report {marker} of epoch {epoch} was stored after the login of epoch {}",
            newer.session.epoch
        )
    })
}

mod tests {
    use crate::history::{
        checker::{
            Invariant,
            timeline::{Timeline, findings, held},
        },
        record::{SessionRow, VehicleAction},
    };

    #[test]
    fn a_report_of_a_deleted_session_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).send_report(0, 1).delete();
        timeline
            .respond_to_action(VehicleAction::Delete, 204, "")
            .store_report(1, 1)
            .disconnect(0);
        // Made anew by a report for it, which says nothing of a session.
        timeline.write_session(
            "A",
            SessionRow {
                epoch: 1,
                ..SessionRow::default()
            },
        );
        timeline.log_in(1, 2);
        assert_eq!(
            findings(&timeline, Invariant::FencedWrites),
            ["report 1 of epoch 1 was stored after its vehicle was deleted"]
        );
    }

    #[test]
    fn writes_of_the_owner_and_for_a_dead_owner_hold() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .send_report(0, 1)
            .store_report(1, 1)
            .acknowledge(0, 1);
        timeline.disconnect(0).go_offline("A", "connection-closed");
        timeline.log_in(1, 2).send_report(1, 2);
        // The report of epoch 2 is stored in the batch of the login that ends it.
        timeline
            .send_hello(2)
            .write_session("A", held("A", 2, 3))
            .store_report_in_batch("A", 2, 3);
        timeline.disconnect(1).receive_greeting(2);
        timeline
            .set_instance_state("A", "dead")
            .start_grace("B", 2_000)
            .disconnect(2);
        timeline.log_in_at("B", 3, 4);
        assert_eq!(timeline.violations(), []);
    }

    #[test]
    fn a_report_after_a_newer_login_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).send_report(0, 1);
        timeline.log_in_at("B", 1, 2);
        timeline.store_report(1, 2);
        assert_eq!(
            findings(&timeline, Invariant::FencedWrites),
            ["report 1 of epoch 1 was stored after the login of epoch 2"]
        );
    }

    #[test]
    fn a_report_that_another_incarnation_stores_violates() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .send_report(0, 1)
            .store_report_by("B", 1, 1);
        assert_eq!(
            findings(&timeline, Invariant::FencedWrites),
            ["report 1 of epoch 1 was stored by B and received by A"]
        );
    }

    #[test]
    fn an_end_by_another_incarnation_of_a_live_owner_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).disconnect(0).start_grace("B", 2_000);
        timeline.log_in(1, 2);
        assert_eq!(
            findings(&timeline, Invariant::FencedWrites),
            ["B ended the session of epoch 1, whose owner A was live"]
        );
    }

    #[test]
    fn a_login_that_names_another_owner_violates() {
        let mut timeline = Timeline::new();
        timeline.send_hello(0).write_session("B", held("A", 0, 1));
        timeline.receive_greeting(0);
        assert_eq!(
            findings(&timeline, Invariant::FencedWrites),
            ["B wrote a login with the owner Some(\"A\")"]
        );
    }

    #[test]
    fn an_owner_without_a_login_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).go_offline("A", "goodbye");
        let session = SessionRow {
            online: true,
            incarnation: Some("B".to_owned()),
            ..timeline.session.clone()
        };
        timeline.write_session("B", session);
        assert_eq!(
            findings(&timeline, Invariant::FencedWrites),
            ["the session of epoch 1 got the owner B without a login"]
        );
    }
}
