//! Consecutive epochs: each committed login gets the next epoch of its vehicle, and no epoch goes back or is lost, also
//! not by a deletion.
//!
//! Logins that share a batch leave one audit entry, that of the last of them, which stands for as many logins as it
//! adds to the epoch.

use super::Finding;
use crate::history::{checker::vehicle_history::VehicleHistory, record::DeviceEvent};

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Logins without an audit entry of their own.
    let mut hidden = 0;
    let mut last = 0;
    for (before, change) in vehicle.session_transitions() {
        last = change.session.epoch;
        if last < before.epoch {
            let by = if change.deletes { " by a deletion" } else { "" };
            let what = format!("the epoch goes back from {} to {last}{by}", before.epoch);
            findings.push(Finding::new(change.at, what));
        }
        // A batch that logs in and then deletes the vehicle leaves only the epoch of the login.
        let is_shown = i64::from(change.session.remote_addr.is_some());
        hidden += (last - before.epoch - is_shown).max(0);
    }
    let row = vehicle.row.map_or(0, |row| row.session.epoch);
    if row != last {
        let what = format!("the epoch is {row} at the end, and {last} was written last");
        findings.push(Finding::new(None, what));
    }
    findings.extend(wrong_greetings(vehicle, hidden));
    let count = |event: &DeviceEvent| {
        let observations = vehicle.observations.iter();
        let count = observations.filter(|observation| observation.event == *event);
        i64::try_from(count.count()).unwrap()
    };
    let (hellos, greeted) = (count(&DeviceEvent::SentHello), count(&DeviceEvent::Greeted));
    if !(greeted..=hellos).contains(&row) {
        let what = format!("the epoch is {row}: {hellos} logins were sent, {greeted} were greeted");
        findings.push(Finding::new(None, what));
    }
    findings
}

/// Greetings before the commit of their login, and more greetings without an audited login than logins are hidden.
fn wrong_greetings(vehicle: &VehicleHistory<'_>, hidden: i64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut unaudited = Vec::new();
    for observation in vehicle.observations {
        if observation.event != DeviceEvent::Greeted {
            continue;
        }
        let connection = observation.connection;
        match vehicle.login_of(connection) {
            None => unaudited.push(connection),
            Some(login) if login.committed_after > observation.at => findings.push(Finding::new(
                observation.at,
                format!("connection {connection} was greeted before its login was committed"),
            )),
            Some(_) => {}
        }
    }
    if i64::try_from(unaudited.len()).unwrap() > hidden {
        findings.push(Finding::new(
            None,
            format!(
                "connections {unaudited:?} were greeted without an audited login, and batches hide {hidden} logins"
            ),
        ));
    }
    findings
}

mod tests {
    use crate::history::{
        checker::{
            Invariant,
            timeline::{Timeline, findings, held},
        },
        record::VehicleAction,
    };

    #[test]
    fn consecutive_logins_hold_also_several_in_one_batch() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1);
        timeline.send_hello(1).send_hello(2);
        timeline.write_session("A", held("A", 2, 3));
        timeline
            .receive_greeting(1)
            .disconnect(1)
            .receive_greeting(2)
            .disconnect(2);
        timeline
            .send_hello(3)
            .write_session("B", held("B", 3, 4))
            .disconnect(3);
        timeline.log_in(4, 5);
        assert_eq!(timeline.violations(), []);
    }

    #[test]
    fn a_login_and_a_deletion_in_one_batch_hold() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).disconnect(0).send_hello(1);
        timeline.session.epoch = 2;
        timeline
            .delete()
            .respond_to_action(VehicleAction::Delete, 204, "")
            .receive_greeting(1);
        timeline.disconnect(1).log_in(2, 3);
        assert_eq!(timeline.violations(), []);
    }

    #[test]
    fn an_epoch_that_goes_back_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).log_in(1, 2).log_in(2, 1);
        assert_eq!(
            findings(&timeline, Invariant::ConsecutiveEpochs)[0],
            "the epoch goes back from 2 to 1"
        );
    }

    #[test]
    fn two_logins_with_one_epoch_violate() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1);
        timeline.send_hello(1).receive_greeting(1);
        assert_eq!(
            findings(&timeline, Invariant::ConsecutiveEpochs),
            [
                "connections [1] were greeted without an audited login, and batches hide 0 logins",
                "the epoch is 1: 2 logins were sent, 2 were greeted",
            ]
        );
    }

    #[test]
    fn an_epoch_without_a_login_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 2);
        assert_eq!(
            findings(&timeline, Invariant::ConsecutiveEpochs),
            ["the epoch is 2: 1 logins were sent, 1 were greeted"]
        );
    }

    #[test]
    fn a_greeting_before_the_commit_of_the_login_violates() {
        let mut timeline = Timeline::new();
        timeline.send_hello(0).receive_greeting(0);
        timeline.write_session("A", held("A", 0, 1));
        assert_eq!(
            findings(&timeline, Invariant::ConsecutiveEpochs),
            ["connection 0 was greeted before its login was committed"]
        );
    }

    #[test]
    fn a_deletion_that_resets_the_epoch_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).log_in(1, 2).disconnect(1);
        timeline.session.epoch = 0;
        timeline
            .delete()
            .respond_to_action(VehicleAction::Delete, 204, "");
        timeline.log_in(2, 1);
        assert_eq!(
            findings(&timeline, Invariant::ConsecutiveEpochs)[0],
            "the epoch goes back from 2 to 0 by a deletion"
        );
    }
}
