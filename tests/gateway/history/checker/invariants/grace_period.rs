//! Invariant 5: Online and offline of a vehicle alternate, and a login within grace of a session that its instance
//! ended makes no flip. What REST says of it is what the database has.

use crate::history::checker::Violation;
use crate::history::checker::fault_windows::{COMMIT, READING, had_calm};
use crate::history::checker::grace;
use crate::history::checker::vehicle_history::{Step, View};
use crate::history::record::{History, Moment, Session};

/// How much sooner or later than grace a vehicle may be due: the transaction takes its time.
const SOON: Moment = 1_500;

pub(crate) fn check(history: &History, view: &View<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (before, step) in view.changes() {
        if let Some(what) = wrong_step(history, &before, step) {
            violations.push(Violation::new(5, view.device_id, Some(step.at), what));
        }
    }
    let polled = history.polled.iter();
    for polled in polled.filter(|polled| polled.device_id == view.device_id) {
        let state_at = |moment: Moment| {
            let steps = view.steps.iter();
            let last = steps.take_while(|step| step.at <= moment).last();
            last.is_some_and(|step| step.session.online)
        };
        let (from, until) = (polled.from - COMMIT, polled.until + READING);
        let changed = view
            .steps
            .iter()
            .any(|step| (from..=until).contains(&step.at) && step.session.online == polled.online);
        if state_at(from) != polled.online && !changed {
            violations.push(Violation::new(
                5,
                view.device_id,
                Some(polled.until),
                format!(
                    "REST said that online is {}, which it was not",
                    polled.online
                ),
            ));
        }
    }
    violations
}

fn wrong_step(history: &History, before: &Session, step: Step<'_>) -> Option<String> {
    let after = step.session;
    let is_login = after.epoch > before.epoch;
    if !after.online && (after.instance.is_some() || after.offline_due.is_some()) {
        return Some("it is offline, and has an owner or is due to be".to_owned());
    }
    if after.online && after.instance.is_none() && after.offline_due.is_none() {
        return Some("it is online, and nobody holds it or will end it".to_owned());
    }
    if after.instance.is_some() && after.offline_due.is_some() {
        return Some("it is held, and due to be offline".to_owned());
    }
    let reason = after.reason.as_deref().unwrap_or_default();
    let by_instance = matches!(reason, "shutdown" | "instance-lost");
    match (before.online, after.online) {
        // Whoever is deleted has no grace.
        (true, false) if step.deletes => None,
        (true, false) if before.offline_due.is_some() => {
            let due = before.offline_due?;
            (step.at + READING < due)
                .then(|| format!("it went offline, and was not due to be until {due}"))
        }
        (true, false) if by_instance && !is_login => Some(format!(
            "its session was ended by its instance ({reason}), and it had no grace"
        )),
        (true, true) if before.offline_due != after.offline_due => {
            let due = after.offline_due?;
            // What waits for a server takes the time that it had before.
            let held_up = !had_calm(history, step.at - COMMIT, step.at, COMMIT - 1);
            let tolerance = if held_up { COMMIT } else { SOON };
            let early = due < step.at + grace() - tolerance;
            let late = due > step.at + grace() + tolerance;
            (early || late)
                .then(|| format!("it is due to be offline at {due}, which is not after its grace"))
        }
        _ => None,
    }
}

mod tests {
    use crate::history::checker::timeline::{Story, faults_of};
    use crate::history::record::Session;

    #[test]
    fn a_vehicle_that_comes_back_within_its_grace_is_well_and_one_that_does_not_goes_offline() {
        let mut story = Story::new();
        story
            .log_in(0, 1)
            .leaves(0)
            .is("A", "dead")
            .is_given("B", 2_000);
        story.polled(true).log_in_at("B", 1, 2).leaves(1);
        story
            .goes_offline("B", "goodbye")
            .passes(7_000)
            .polled(false);
        story.log_in_at("B", 2, 3).is_given("B", 2_000).leaves(2);
        story.passes(2_000).goes_offline("B", "shutdown");
        story.passes(50).log_in_at("B", 3, 4);
        assert_eq!(story.violations(), []);
    }

    #[test]
    fn an_end_by_the_instance_without_grace_is_found_and_one_that_comes_too_early() {
        let mut story = Story::new();
        story.log_in(0, 1).leaves(0).goes_offline("A", "shutdown");
        story.log_in(1, 2).leaves(1).is_given("A", 2_000);
        story.goes_offline("A", "shutdown").log_in(2, 3);
        assert_eq!(
            faults_of(&story, 5),
            [
                "its session was ended by its instance (shutdown), and it had no grace",
                "it went offline, and was not due to be until 2140",
            ]
        );
    }

    #[test]
    fn a_grace_of_another_length_is_found() {
        let mut story = Story::new();
        story
            .log_in(0, 1)
            .leaves(0)
            .is_given("A", 9_000)
            .log_in(1, 2);
        assert_eq!(
            faults_of(&story, 5),
            ["it is due to be offline at 9080, which is not after its grace"]
        );
    }

    #[test]
    fn sessions_that_are_neither_held_nor_due_are_found() {
        let mut story = Story::new();
        story.log_in(0, 1);
        let nobodys = Session {
            instance: None,
            ..story.session.clone()
        };
        story.step("A", nobodys.clone());
        story.step(
            "A",
            Session {
                online: false,
                offline_due: Some(9),
                ..nobodys
            },
        );
        assert_eq!(
            faults_of(&story, 5),
            [
                "it is online, and nobody holds it or will end it",
                "it is offline, and has an owner or is due to be",
            ]
        );
    }

    #[test]
    fn an_answer_over_rest_that_the_database_never_had_is_found() {
        let mut story = Story::new();
        story.log_in(0, 1).passes(20_000).polled(false);
        assert_eq!(
            faults_of(&story, 5),
            ["REST said that online is false, which it was not"]
        );
    }
}
