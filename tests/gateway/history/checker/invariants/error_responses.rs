//! Error responses: a request gets 502, 503 or 504 from the balancer, an error of the gateway, or no response at all
//! only during a fault that explains it, or shortly after. Reports and deletions get no responses other than these and
//! those of their routes.

use super::Finding;
use crate::history::{
    checker::{
        fault_windows::{is_of_any_instance, is_of_database, is_of_redis},
        tolerances::{READ_DELAY, lease},
        vehicle_history::VehicleHistory,
    },
    record::{Fault, History, HttpResult, Moment, VehicleAction, VehicleRequest},
};

/// How long the balancer may take to notice that a gateway is back, in milliseconds.
const BALANCER_RECOVERY: Moment = 5_000;
/// How long a gateway may take to reach Redis again, in milliseconds: it waits for up to three seconds between
/// attempts, and an attempt takes up to three.
const REDIS_RECOVERY: Moment = 8_000;

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let run = vehicle.run;
    let commands = vehicle.command_requests().filter_map(|request| {
        let what = unexplained(run, &request.result, request.from, request.until)?;
        let what = format!("{what}, of {:?}", request.result);
        Some(Finding::new(request.until, what))
    });
    let others = vehicle.requests().filter_map(|request| {
        let what = unexpected(vehicle, request)
            .or_else(|| unexplained(run, &request.result, request.from, request.until))?;
        let what = format!("{what}, of {:?} to {:?}", request.result, request.action);
        Some(Finding::new(request.until, what))
    });
    commands.chain(others).collect()
}

/// Finds a result that only a fault explains, without such a fault.
fn unexplained(
    history: &History,
    result: &HttpResult,
    from: Moment,
    until: Moment,
) -> Option<String> {
    let had_fault = |is_such: fn(Fault) -> bool, recovery: Moment| {
        history.faults.iter().any(|window| {
            is_such(window.fault)
                && window.from <= until + READ_DELAY
                && window.until + recovery >= from
        })
    };
    let recovery = 2 * lease();
    let is_explained = match result {
        HttpResult::NoResponse(_) => {
            had_fault(is_of_any_instance, BALANCER_RECOVERY) || had_fault(is_of_database, recovery)
        }
        HttpResult::Response { .. } if result.is_from_balancer() => {
            had_fault(is_of_any_instance, BALANCER_RECOVERY)
        }
        HttpResult::Response { status, name, .. } => match (status, name.as_str()) {
            // An instance that was suspended and declared dead cannot store anything either.
            (503, "store-unavailable" | "request-timeout") => {
                had_fault(is_of_database, recovery) || had_fault(is_of_any_instance, recovery)
            }
            (503, "owner-unreachable") => {
                had_fault(is_of_database, recovery)
                    || had_fault(is_of_any_instance, recovery)
                    || had_fault(is_of_redis, REDIS_RECOVERY)
            }
            (503, "fan-out-unavailable") => had_fault(is_of_redis, REDIS_RECOVERY),
            _ => true,
        },
    };
    (!is_explained).then(|| "no fault explains this".to_owned())
}

/// Finds a response that the route of a report or of a deletion does not give.
fn unexpected(vehicle: &VehicleHistory<'_>, request: &VehicleRequest) -> Option<String> {
    let HttpResult::Response { status, name, .. } = &request.result else {
        return None;
    };
    match (&request.action, status, name.as_str()) {
        (VehicleAction::Report(_), 200, _)
        | (VehicleAction::Delete, 204, _)
        | (_, 503, "store-unavailable" | "request-timeout") => None,
        (VehicleAction::Delete, 404, "unknown-vehicle") => vehicle
            .existed(request.from, request.until)
            .then(|| "the vehicle existed".to_owned()),
        _ if request.result.is_from_balancer() => None,
        _ => Some("the route has no such response".to_owned()),
    }
}

mod tests {
    use crate::history::{
        checker::{
            Invariant,
            timeline::{Timeline, findings},
        },
        record::{Fault, HttpResult, Moment, VehicleAction},
    };

    const RUN: &str = "HEY YOU, RUN!";

    /// How many of seven errors violate, some time after this fault.
    fn violations_after(fault: Option<Fault>, millis: Moment) -> usize {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1);
        if let Some(fault) = fault {
            timeline.fault(fault, 1_000);
        }
        timeline.wait(millis);
        for name in [
            "store-unavailable",
            "request-timeout",
            "fan-out-unavailable",
        ] {
            timeline.respond(RUN, 503, name, None);
        }
        timeline.respond(RUN, 503, "", None);
        timeline.respond(RUN, 502, "", None);
        timeline.respond_to_action(VehicleAction::Report(1), 503, "store-unavailable");
        timeline.respond_to_action(VehicleAction::Delete, 503, "");
        findings(&timeline, Invariant::ErrorResponses).len()
    }

    #[test]
    fn errors_violate_without_a_fault() {
        assert_eq!(violations_after(None, 0), 7);
        for fault in [Fault::Kill(0), Fault::Pause(0), Fault::Restart(0)] {
            assert_eq!(
                violations_after(Some(fault), 0),
                1,
                "that of the fan-out needs a fault of Redis"
            );
            assert_eq!(violations_after(Some(fault), 9_000), 7);
        }
    }

    #[test]
    fn each_error_needs_a_fault_that_explains_it() {
        assert_eq!(violations_after(Some(Fault::DatabaseDown), 0), 4);
        assert_eq!(violations_after(Some(Fault::RedisPause), 0), 6);
        assert_eq!(violations_after(Some(Fault::RedisPause), 9_000), 7);
    }

    #[test]
    fn a_lost_response_violates_without_a_fault() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).respond(RUN, 200, "", None);
        timeline.history.command_requests[0].result = HttpResult::NoResponse("reset".to_owned());
        assert_eq!(findings(&timeline, Invariant::ErrorResponses).len(), 1);
        timeline.fault(Fault::Kill(0), 300);
        assert_eq!(timeline.violations(), []);
    }

    #[test]
    fn a_404_for_a_vehicle_that_existed_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).wait(20_000);
        timeline.respond_to_action(VehicleAction::Delete, 404, "unknown-vehicle");
        timeline.respond_to_action(VehicleAction::Delete, 500, "internal");
        assert_eq!(findings(&timeline, Invariant::ErrorResponses).len(), 2);
    }
}
