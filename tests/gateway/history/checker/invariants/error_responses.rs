//! Answers that say that something is wrong are true: 502, 503 and 504 of the balancer and of the gateway come only while a
//! fault explains them, or shortly after it; so do requests that are not answered at all.

use crate::history::checker::Violation;
use crate::history::checker::fault_windows::{READING, is_of_database};
use crate::history::checker::lease;
use crate::history::checker::vehicle_history::View;
use crate::history::record::{Errand, Fault, History, Moment, Told, Wish};

/// How long the balancer takes at most to see that a gateway that was killed or cut off is back.
const NOTICED: Moment = 5_000;
/// How long a gateway takes at most to reach Redis when that is back: it waits up to three seconds between attempts, and
/// an attempt takes up to three.
const REDIS: Moment = 8_000;

/// Whether the answer is one of those that need a fault: then it is judged here, as far as it says so.
pub(crate) fn is_of_balancer(told: &Told) -> bool {
    matches!(told, Told::Answer { status: 502..=504, name, .. } if name.is_empty())
}

/// What is wrong with an answer that only a fault explains.
pub(crate) fn unexplained(
    history: &History,
    told: &Told,
    from: Moment,
    until: Moment,
) -> Option<String> {
    let happened = |is_such: fn(Fault) -> bool, recovery: Moment| {
        history.troubles.iter().any(|trouble| {
            is_such(trouble.what)
                && trouble.from <= until + READING
                && trouble.until + recovery >= from
        })
    };
    let recovery = 2 * lease();
    let is_explained = match told {
        Told::Nothing(_) => {
            happened(is_of_instances, NOTICED) || happened(is_of_database, recovery)
        }
        Told::Answer { .. } if is_of_balancer(told) => happened(is_of_instances, NOTICED),
        Told::Answer { status, name, .. } => match (status, name.as_str()) {
            // Also one that stood still and is declared dead cannot store anything.
            (503, "store-unavailable" | "request-timeout") => {
                happened(is_of_database, recovery) || happened(is_of_instances, recovery)
            }
            (503, "owner-unreachable") => {
                happened(is_of_database, recovery)
                    || happened(is_of_instances, recovery)
                    || happened(is_of_redis, REDIS)
            }
            (503, "fan-out-unavailable") => happened(is_of_redis, REDIS),
            _ => true,
        },
    };
    (!is_explained).then(|| "nothing was wrong".to_owned())
}

fn is_of_instances(fault: Fault) -> bool {
    matches!(fault, Fault::Kill(_) | Fault::Pause(_) | Fault::Restart(_))
}

fn is_of_redis(fault: Fault) -> bool {
    matches!(fault, Fault::RedisDown | Fault::RedisPause)
}

/// What whoever reported for this vehicle or wanted it deleted was told.
pub(crate) fn check(history: &History, view: &View<'_>) -> Vec<Violation> {
    let errands = history.errands.iter();
    let wrong = errands
        .filter(|errand| errand.device_id == view.device_id)
        .filter_map(|errand| {
            let what = wrong_answer(view, errand)
                .or_else(|| unexplained(history, &errand.told, errand.from, errand.until))?;
            Some(Violation::new(
                0,
                view.device_id,
                Some(errand.until),
                format!("{what}, of {:?} to {:?}", errand.told, errand.wish),
            ))
        });
    wrong.collect()
}

fn wrong_answer(view: &View<'_>, errand: &Errand) -> Option<String> {
    let Told::Answer { status, name, .. } = &errand.told else {
        return None;
    };
    match (&errand.wish, status, name.as_str()) {
        (Wish::Report(_), 200, _)
        | (Wish::Delete, 204, _)
        | (_, 503, "store-unavailable" | "request-timeout") => None,
        (Wish::Delete, 404, "unknown-vehicle") => view
            .existed(errand.from, errand.until)
            .then(|| "the vehicle was known".to_owned()),
        _ if is_of_balancer(&errand.told) => None,
        _ => Some("nobody expects this answer".to_owned()),
    }
}

mod tests {
    use crate::history::checker::timeline::{Story, faults_of};
    use crate::history::record::{Fault, Told, Wish};

    const RUN: &str = "HEY YOU, RUN!";

    /// How many of the answers that need a fault are found after this one, so much later.
    fn found_after(fault: Option<Fault>, then: i64) -> usize {
        let mut story = Story::new();
        story.log_in(0, 1);
        if let Some(fault) = fault {
            story.trouble(fault, 1_000);
        }
        story.passes(then);
        for name in [
            "store-unavailable",
            "request-timeout",
            "fan-out-unavailable",
        ] {
            story.told(RUN, 503, name, None);
        }
        story.told(RUN, 503, "", None);
        story.told(RUN, 502, "", None);
        story.wished(Wish::Report(1), 503, "store-unavailable");
        story.wished(Wish::Delete, 503, "");
        faults_of(&story, 0).len() + faults_of(&story, 6).len()
    }

    #[test]
    fn answers_that_something_is_wrong_are_found_when_nothing_is() {
        assert_eq!(found_after(None, 0), 7);
        for fault in [Fault::Kill(0), Fault::Pause(0), Fault::Restart(0)] {
            assert_eq!(found_after(Some(fault), 0), 1, "Redis was well");
            assert_eq!(found_after(Some(fault), 9_000), 7);
        }
    }

    #[test]
    fn each_of_them_needs_a_fault_of_its_own() {
        assert_eq!(found_after(Some(Fault::DatabaseDown), 0), 4);
        assert_eq!(found_after(Some(Fault::RedisPause), 0), 6);
        assert_eq!(found_after(Some(Fault::RedisPause), 9_000), 7);
    }

    #[test]
    fn a_request_that_is_not_answered_is_found_when_all_is_well() {
        let mut story = Story::new();
        story.log_in(0, 1).told(RUN, 200, "", None);
        story.history.requests[0].told = Told::Nothing("reset".to_owned());
        assert_eq!(faults_of(&story, 6).len(), 1);
        story.trouble(Fault::Kill(0), 300);
        assert_eq!(story.violations(), []);
    }

    #[test]
    fn a_vehicle_that_is_unknown_to_whoever_deletes_it_is_found_if_it_was_there() {
        let mut story = Story::new();
        story.log_in(0, 1).passes(20_000);
        story.wished(Wish::Delete, 404, "unknown-vehicle");
        story.wished(Wish::Delete, 500, "internal");
        assert_eq!(faults_of(&story, 0).len(), 2);
    }
}
