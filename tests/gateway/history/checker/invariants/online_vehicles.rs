//! Online vehicles: at the end, a vehicle is online exactly if one connection of its device is alive, and that is the
//! session of its row. During the run, no vehicle stays with an incarnation that is dead or killed, or online beyond
//! its grace.

use super::Finding;
use crate::history::{
    checker::{fault_windows::was_operational, tolerances::lease, vehicle_history::VehicleHistory},
    record::{ConnectionNumber, DeviceEvent, Moment},
};

/// What instances may take beyond a lease on a busy machine, in milliseconds.
const SLACK: Moment = 5_000;

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = at_the_end(vehicle)
        .into_iter()
        .map(|what| Finding::new(None, what))
        .collect();
    findings.extend(during_the_run(vehicle));
    findings.extend(with_killed_incarnations(vehicle));
    findings
}

fn at_the_end(vehicle: &VehicleHistory<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let with = |event: &DeviceEvent| -> Vec<ConnectionNumber> {
        let observations = vehicle.observations.iter();
        let matching = observations.filter(|observation| observation.event == *event);
        matching.map(|observation| observation.connection).collect()
    };
    let alive = with(&DeviceEvent::AliveAtEnd);
    for connection in with(&DeviceEvent::OpenAtEnd) {
        wrong.push(format!(
            "connection {connection} is abandoned, and the gateway has not closed it"
        ));
    }
    let Some(row) = vehicle.row else {
        if !alive.is_empty() {
            wrong.push(format!(
                "connections {alive:?} are alive, and there is no such vehicle"
            ));
        }
        return wrong;
    };
    let session = &row.session;
    if alive.len() > 1 {
        wrong.push(format!("connections {alive:?} are alive at once"));
    }
    if session.online != (alive.len() == 1) {
        wrong.push(format!(
            "online is {} and connections {alive:?} are alive",
            session.online
        ));
    }
    if let Some(due) = session.offline_due {
        wrong.push(format!(
            "it is due to be offline at {due}, although the run is quiet"
        ));
    }
    if session.online != session.incarnation.is_some() {
        wrong.push(format!(
            "online is {} and the owner {:?}",
            session.online, session.incarnation
        ));
    }
    if let Some(owner) = &session.incarnation
        && vehicle.deaths.contains_key(owner.as_str())
    {
        wrong.push(format!("its owner {owner} is dead"));
    }
    if let [connection] = alive[..]
        && let Some(&epoch) = vehicle.epochs.get(&connection)
        && epoch != session.epoch
    {
        wrong.push(format!(
            "connection {connection} of epoch {epoch} is alive, and the row has epoch {}",
            session.epoch
        ));
    }
    wrong
}

/// Finds times at which a vehicle stayed with a dead incarnation, or online beyond its grace, although some instance
/// could have ended that.
fn during_the_run(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let run = vehicle.run;
    let mut findings = Vec::new();
    for (change, until) in vehicle.session_periods() {
        let session = change.session;
        if let Some(owner) = &session.incarnation
            && let Some((_, died)) = vehicle.deaths.get(owner.as_str())
        {
            let since = change.at.max(*died);
            if was_operational(run, since, until, lease() + SLACK) {
                let what = format!("it stayed with {owner}, which was dead, until {until}");
                findings.push(Finding::new(since, what));
            }
        }
        if let (true, Some(due)) = (session.online, session.offline_due)
            && was_operational(run, due, until, lease() + SLACK)
        {
            let what = format!("it was due to be offline, and stayed online until {until}");
            findings.push(Finding::new(due, what));
        }
    }
    findings
}

/// Finds sessions that stayed with a killed incarnation for so long that it should have been declared dead.
fn with_killed_incarnations(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let run = vehicle.run;
    let mut findings = Vec::new();
    for (id, killed) in &run.killed {
        for (change, until) in vehicle.session_periods() {
            if change.session.incarnation.as_deref() == Some(id)
                && until > *killed
                && was_operational(run, change.at.max(*killed), until, lease() + SLACK)
            {
                let what = format!("it stayed with {id}, which was killed, until {until}");
                findings.push(Finding::new(*killed, what));
            }
        }
    }
    findings
}

mod tests {
    use crate::history::{
        checker::{
            Invariant,
            timeline::{Timeline, findings},
        },
        record::{DeviceEvent, Fault, Observation},
    };

    #[test]
    fn one_live_connection_that_the_row_names_holds() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).disconnect(0).log_in_at("B", 1, 2);
        assert_eq!(timeline.violations(), []);
    }

    #[test]
    fn a_presence_that_differs_from_the_connections_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).disconnect(0);
        assert_eq!(
            findings(&timeline, Invariant::OnlineVehicles),
            ["online is true and connections [] are alive"]
        );
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).go_offline("A", "silent");
        assert_eq!(
            findings(&timeline, Invariant::OnlineVehicles),
            ["online is false and connections [0] are alive"]
        );
    }

    #[test]
    fn an_older_connection_that_is_alive_violates() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .log_in(1, 2)
            .disconnect(1)
            .set_alive(Some(0));
        assert_eq!(
            findings(&timeline, Invariant::OnlineVehicles),
            ["connection 0 of epoch 1 is alive, and the row has epoch 2"]
        );
    }

    #[test]
    fn two_connections_that_are_alive_violate() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).log_in(1, 2);
        timeline.observe(0, DeviceEvent::AliveAtEnd);
        assert_eq!(
            findings(&timeline, Invariant::OnlineVehicles)[0],
            "connections [0, 1] are alive at once"
        );
    }

    #[test]
    fn an_owner_that_is_dead_at_the_end_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).set_instance_state("A", "dead");
        assert_eq!(
            findings(&timeline, Invariant::OnlineVehicles),
            ["its owner A is dead"]
        );
    }

    #[test]
    fn an_abandoned_connection_that_stays_open_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).log_in(1, 2);
        let still_open = Observation {
            at: 900,
            connection: 0,
            event: DeviceEvent::OpenAtEnd,
        };
        let observations = timeline.history.observations.values_mut();
        observations.last().unwrap().push(still_open);
        assert_eq!(
            findings(&timeline, Invariant::OnlineVehicles),
            ["connection 0 is abandoned, and the gateway has not closed it"]
        );
    }

    #[test]
    fn an_offline_due_time_that_is_missed_or_left_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).disconnect(0).start_grace("A", 2_000);
        timeline.wait(12_000).go_offline("B", "instance-lost");
        assert_eq!(
            findings(&timeline, Invariant::OnlineVehicles),
            ["it was due to be offline, and stayed online until 12090"]
        );
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).disconnect(0).start_grace("A", 2_000);
        assert_eq!(findings(&timeline, Invariant::OnlineVehicles).len(), 3);
    }

    #[test]
    fn a_stay_with_a_dead_owner_violates_if_any_could_end_it() {
        let stays = |fault| {
            let mut timeline = Timeline::new();
            timeline.log_in(0, 1);
            timeline.history.killed.push(("A".to_owned(), 70));
            timeline.disconnect(0).fault(fault, 20_000);
            timeline
                .set_instance_state("A", "dead")
                .start_grace("B", 2_000)
                .log_in_at("B", 1, 2);
            findings(&timeline, Invariant::OnlineVehicles)
        };
        assert_eq!(
            stays(Fault::RedisDown),
            ["it stayed with A, which was killed, until 20090"]
        );
        assert_eq!(stays(Fault::DatabaseDown), [""; 0]);
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .set_instance_state("A", "dead")
            .wait(9_000);
        timeline
            .disconnect(0)
            .start_grace("B", 2_000)
            .log_in_at("B", 1, 2);
        assert_eq!(
            findings(&timeline, Invariant::OnlineVehicles),
            ["it stayed with A, which was dead, until 9090"]
        );
    }
}
