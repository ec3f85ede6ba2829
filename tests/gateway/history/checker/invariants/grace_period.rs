//! Grace period: a session that ends because its instance stops or dies leaves its vehicle online, due to be offline
//! after the grace period. Each row is in a state that this allows.

use super::Finding;
use crate::history::{
    checker::{
        fault_windows::was_operational,
        tolerances::{COMMIT_DELAY, READ_DELAY, grace},
        vehicle_history::{SessionChange, VehicleHistory},
    },
    record::{History, Moment, SessionRow},
};

/// How much sooner or later than the grace period a vehicle may be due, in milliseconds: its transaction takes time.
const DUE_TOLERANCE: Moment = 1_500;

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    vehicle
        .session_transitions()
        .filter_map(|(before, change)| {
            let what = wrong_state(change.session)
                .or_else(|| wrong_transition(vehicle.run, &before, change))?;
            Some(Finding::new(change.at, what))
        })
        .collect()
}

fn wrong_state(session: &SessionRow) -> Option<String> {
    let wrong = match (
        session.online,
        session.incarnation.is_some(),
        session.offline_due.is_some(),
    ) {
        (false, true, _) | (false, _, true) => "it is offline, and has an owner or is due to be",
        (true, false, false) => "it is online, and has neither an owner nor a due time",
        (true, true, true) => "it has an owner, and is due to be offline",
        (true, true, false) | (true, false, true) | (false, false, false) => return None,
    };
    Some(wrong.to_owned())
}

fn wrong_transition(
    history: &History,
    before: &SessionRow,
    change: SessionChange<'_>,
) -> Option<String> {
    let after = change.session;
    let is_login = after.epoch > before.epoch;
    let reason = after.disconnect_reason.as_deref().unwrap_or_default();
    let is_by_instance = matches!(reason, "shutdown" | "instance-lost");
    match (before.online, after.online) {
        // A deletion grants no grace.
        (true, false) if change.deletes => None,
        (true, false) if before.offline_due.is_some() => {
            let due = before.offline_due?;
            (change.at + READ_DELAY < due)
                .then(|| format!("it went offline, and was not due to be until {due}"))
        }
        (true, false) if is_by_instance && !is_login => Some(format!(
            "its session was ended by its instance ({reason}), and it had no grace"
        )),
        (true, true) if before.offline_due != after.offline_due => {
            let due = after.offline_due?;
            // A transaction that waits for the database uses the time of its statement.
            let was_held_up = !was_operational(
                history,
                change.at - COMMIT_DELAY,
                change.at,
                COMMIT_DELAY - 1,
            );
            let tolerance = if was_held_up {
                COMMIT_DELAY
            } else {
                DUE_TOLERANCE
            };
            let is_early = due < change.at + grace() - tolerance;
            let is_late = due > change.at + grace() + tolerance;
            (is_early || is_late)
                .then(|| format!("it is due to be offline at {due}, which is not after its grace"))
        }
        _ => None,
    }
}

mod tests {
    use crate::history::{
        checker::{
            Invariant,
            timeline::{Timeline, findings},
        },
        record::SessionRow,
    };

    #[test]
    fn a_return_within_grace_and_an_end_after_it_hold() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .disconnect(0)
            .set_instance_state("A", "dead")
            .start_grace("B", 2_000);
        timeline
            .read_presence(true)
            .log_in_at("B", 1, 2)
            .disconnect(1);
        timeline
            .go_offline("B", "goodbye")
            .wait(7_000)
            .read_presence(false);
        timeline
            .log_in_at("B", 2, 3)
            .start_grace("B", 2_000)
            .disconnect(2);
        timeline.wait(2_000).go_offline("B", "shutdown");
        timeline.wait(50).log_in_at("B", 3, 4);
        assert_eq!(timeline.violations(), []);
    }

    #[test]
    fn an_end_without_grace_or_before_its_end_violates() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .disconnect(0)
            .go_offline("A", "shutdown");
        timeline.log_in(1, 2).disconnect(1).start_grace("A", 2_000);
        timeline.go_offline("A", "shutdown").log_in(2, 3);
        assert_eq!(
            findings(&timeline, Invariant::GracePeriod),
            [
                "its session was ended by its instance (shutdown), and it had no grace",
                "it went offline, and was not due to be until 2140",
            ]
        );
    }

    #[test]
    fn a_grace_of_another_length_violates() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .disconnect(0)
            .start_grace("A", 9_000)
            .log_in(1, 2);
        assert_eq!(
            findings(&timeline, Invariant::GracePeriod),
            ["it is due to be offline at 9080, which is not after its grace"]
        );
    }

    #[test]
    fn a_session_with_both_owner_and_due_time_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1);
        let session = SessionRow {
            offline_due: Some(2_000),
            ..timeline.session.clone()
        };
        timeline.write_session("A", session);
        assert_eq!(
            findings(&timeline, Invariant::GracePeriod),
            ["it has an owner, and is due to be offline"]
        );
    }

    #[test]
    fn a_session_with_neither_owner_nor_due_time_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1);
        let without_owner = SessionRow {
            incarnation: None,
            ..timeline.session.clone()
        };
        timeline.write_session("A", without_owner.clone());
        timeline.write_session(
            "A",
            SessionRow {
                online: false,
                offline_due: Some(9),
                ..without_owner
            },
        );
        assert_eq!(
            findings(&timeline, Invariant::GracePeriod),
            [
                "it is online, and has neither an owner nor a due time",
                "it is offline, and has an owner or is due to be",
            ]
        );
    }
}
