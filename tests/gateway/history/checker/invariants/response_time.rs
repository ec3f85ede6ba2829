//! Response time: a device gets its reply, or a close, within `store.commit_timeout` in any case, and soon if the
//! database is available. Only a fault of its instance excuses more; one of Redis excuses nothing.

use super::Finding;
use crate::history::{
    checker::{
        fault_windows::{instance_of, is_of_database, is_of_instance, longest_period_without},
        tolerances::lease,
        vehicle_history::VehicleHistory,
    },
    record::{DeviceEvent, Fault, Moment},
};

/// `store.commit_timeout`, the second that a connection waits beyond it, and what a busy machine takes, in
/// milliseconds. A device waits longer than this before it gives up.
const CLOSE_DELAY: Moment = 11_500;

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let run = vehicle.run;
    let mut findings = Vec::new();
    for observation in vehicle.observations {
        let DeviceEvent::TimedOut { waited } = observation.event else {
            continue;
        };
        let (from, until) = (observation.at - waited, observation.at);
        let login = vehicle.login_of(observation.connection);
        let owner = login.and_then(|login| login.session.incarnation.as_deref());
        // Without a stored login, the connection may be with any instance.
        let instances = match owner.and_then(|owner| instance_of(run, owner)) {
            Some(index) => index..index + 1,
            None => 0..run.instances.max(1),
        };
        let is_late = |index| {
            let is_down = |fault: Fault| is_of_instance(fault, index);
            let is_stuck = |fault: Fault| is_down(fault) || is_of_database(fault);
            longest_period_without(run, is_down, from, until) > CLOSE_DELAY
                || longest_period_without(run, is_stuck, from, until) > recovery()
        };
        if instances.into_iter().all(is_late) {
            let what = format!(
                "connection {} got neither a reply nor a close for {waited} ms, which no fault explains",
                observation.connection
            );
            findings.push(Finding::new(until, what));
        }
    }
    findings
}

/// How long a gateway may take to continue once its database is back, in milliseconds: it tries again every second or
/// two, and the server ends unfinished transactions of others within a third of a lease.
fn recovery() -> Moment {
    2 * lease()
}

mod tests {
    use crate::history::{
        checker::{
            Invariant,
            timeline::{Timeline, findings},
        },
        record::{Fault, Moment},
    };

    /// The findings about a device that gives up so many milliseconds after a fault, and has waited since its
    /// beginning.
    fn findings_after(fault: Fault, millis: Moment, more: Moment) -> Vec<String> {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).send_report(0, 1);
        timeline.fault(fault, millis).wait(more);
        timeline.time_out(0, millis + more).log_in(1, 2);
        findings(&timeline, Invariant::ResponseTime)
    }

    #[test]
    fn a_suspended_instance_excuses_its_own_delay_only() {
        assert_eq!(findings_after(Fault::Pause(0), 6_500, 5_500), [""; 0]);
        assert_eq!(findings_after(Fault::Pause(0), 5_500, 6_500).len(), 1);
    }

    #[test]
    fn a_database_or_redis_that_is_down_excuses_no_missing_close() {
        assert_eq!(
            findings_after(Fault::DatabaseDown, 12_000, 0),
            ["connection 0 got neither a reply nor a close for 12000 ms, which no fault explains"]
        );
        assert_eq!(findings_after(Fault::RedisDown, 12_000, 0).len(), 1);
        // The instance is suspended first, so the database holds up what it has read then.
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).send_report(0, 1);
        timeline.fault(Fault::Pause(0), 2_000);
        timeline.fault(Fault::DatabasePause, 10_000);
        timeline.time_out(0, 12_000).log_in(1, 2);
        assert_eq!(findings(&timeline, Invariant::ResponseTime), [""; 0]);
    }

    #[test]
    fn any_instance_may_have_a_connection_without_a_login() {
        let mut timeline = Timeline::new();
        timeline.history.instances = 2;
        timeline.send_hello(0).fault(Fault::Pause(1), 12_000);
        timeline.time_out(0, 12_000).log_in(1, 1);
        assert_eq!(findings(&timeline, Invariant::ResponseTime), [""; 0]);
        timeline.send_hello(2).time_out(2, 12_000).log_in(3, 2);
        timeline.history.faults.clear();
        assert_eq!(findings(&timeline, Invariant::ResponseTime).len(), 2);
    }
}
