//! Invariants 2 and 6 over deletions: a vehicle is deleted if and only if somebody asked for it, its commands end with it,
//! and its epoch stays. That the epochs go on from there, and that nothing is stored for the session of before, is
//! judged where epochs and owners are.

use std::collections::BTreeMap;

use crate::history::checker::Violation;
use crate::history::checker::fault_windows::{COMMIT, READING, is_final};
use crate::history::checker::vehicle_history::{Step, View};
use crate::history::record::{Errand, History, Moment, Told, Wish};

pub(crate) fn check(history: &History, view: &View<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |invariant, at: Moment, what| {
        violations.push(Violation::new(invariant, view.device_id, Some(at), what));
    };
    for (before, step) in view.changes() {
        if step.deletes && step.session.epoch < before.epoch {
            wrong(2, step.at, "its epoch is lost by its deletion".to_owned());
        }
    }
    let errands = history.errands.iter();
    let asked: Vec<&Errand> = errands
        .filter(|errand| errand.device_id == view.device_id && errand.wish == Wish::Delete)
        .collect();
    for step in view.deletions() {
        // What nobody waits for any more may still be done.
        let is_asked = asked.iter().any(|errand| errand.from <= step.at + READING);
        if !is_asked {
            wrong(
                0,
                step.at,
                "it was deleted, and nobody asked for it".to_owned(),
            );
        }
        for what in open_commands(view, &step) {
            wrong(6, step.at, what);
        }
    }
    let deleted = view.deletions().count();
    let told = |wanted| {
        let told = asked.iter().filter(
            move |errand| matches!(errand.told, Told::Answer { status, .. } if status == wanted),
        );
        told.count()
    };
    if !(told(204)..=asked.len() - told(404)).contains(&deleted) {
        let what = format!(
            "it was deleted {deleted} times, and of {} who asked for it {} were told so",
            asked.len(),
            told(204)
        );
        wrong(0, history.end, what);
    }
    for errand in asked {
        if matches!(errand.told, Told::Answer { status: 204, .. }) && !is_done(view, errand) {
            let what = "somebody was told that it is deleted, and it was not".to_owned();
            wrong(0, errand.until, what);
        }
    }
    violations
}

fn is_done(view: &View<'_>, errand: &Errand) -> bool {
    let when = errand.from - COMMIT..=errand.until + READING;
    view.deletions().any(|step| when.contains(&step.at))
}

/// Commands that are open when the batch of a deletion is done.
fn open_commands(view: &View<'_>, deletion: &Step<'_>) -> Vec<String> {
    let mut states: BTreeMap<&str, &str> = BTreeMap::new();
    for step in &view.moves {
        let is_of_batch = step.writer == deletion.writer;
        // One that is made in this batch is of the vehicle that was made anew.
        if step.place < deletion.place && !is_of_batch
            || is_of_batch && states.contains_key(step.id)
        {
            states.insert(step.id, step.state);
        }
    }
    let open = states.into_iter().filter(|(_, state)| !is_final(state));
    open.map(|(id, state)| format!("{id} was {state} and its vehicle was deleted"))
        .collect()
}

mod tests {
    use crate::history::checker::timeline::{Story, faults_of, held};
    use crate::history::record::{Session, Wish};

    const RUN: &str = "HEY YOU, RUN!";

    #[test]
    fn a_vehicle_that_is_deleted_and_comes_back_is_well() {
        let mut story = Story::new();
        story.log_in(0, 1).report(0, 1).stored(1, 1).thanked(0, 1);
        story.asked("a", RUN, "queued");
        story.is_deleted().becomes_too("B", "a", "cancelled");
        story.wished(Wish::Delete, 204, "").leaves(0).is_purged();
        story.told(RUN, 404, "unknown-vehicle", None);
        story.told_again(Some("key"), RUN, 409, "vehicle-offline", Some("a"));
        story.wished(Wish::Delete, 404, "unknown-vehicle");
        story.log_in(1, 2).asked("b", RUN, "cancelled");
        story.told_again(Some("key"), RUN, 409, "vehicle-offline", Some("b"));
        assert_eq!(story.violations(), []);
    }

    #[test]
    fn a_deletion_that_takes_the_epoch_back_is_found() {
        let mut story = Story::new();
        story.log_in(0, 1).log_in(1, 2).leaves(1);
        story.session.epoch = 0;
        story.is_deleted().wished(Wish::Delete, 204, "");
        story.log_in(2, 1);
        let found = faults_of(&story, 2);
        assert!(found.contains(&"its epoch is lost by its deletion".to_owned()));
        assert!(found.contains(&"the epoch goes back from 2 to 0".to_owned()));
    }

    #[test]
    fn a_deletion_that_leaves_a_command_open_is_found() {
        let mut story = Story::new();
        story.log_in(0, 1).asked("a", RUN, "queued");
        story.is_deleted().wished(Wish::Delete, 204, "").leaves(0);
        story.log_in(1, 2).becomes("a", "sent").heard(1, RUN);
        story.becomes("a", "disconnected");
        assert_eq!(
            faults_of(&story, 6),
            ["a was queued and its vehicle was deleted"]
        );
    }

    #[test]
    fn a_deletion_that_nobody_asked_for_is_found_and_one_that_was_told_and_not_done() {
        let mut story = Story::new();
        story.log_in(0, 1).leaves(0).is_deleted().log_in(1, 2);
        assert_eq!(faults_of(&story, 0).len(), 2);
        let mut story = Story::new();
        story.log_in(0, 1).wished(Wish::Delete, 204, "");
        assert_eq!(faults_of(&story, 0).len(), 2);
    }

    #[test]
    fn a_vehicle_that_is_back_in_the_batch_of_its_deletion_is_well() {
        let mut story = Story::new();
        story.log_in(0, 1).hello(1);
        let mut reborn = held("B", 1, 2);
        reborn.forget = Some(90);
        story.step("B", reborn).tells("B", "vehicle.offline");
        story.tells("B", "vehicle.online").leaves(0).greeted(1);
        story.wished(Wish::Delete, 204, "");
        story.report(1, 1).stored_by("B", 1, 2).thanked(1, 1);
        assert_eq!(story.violations(), []);
    }

    #[test]
    fn a_report_of_the_session_that_was_deleted_is_found_when_it_is_stored() {
        let mut story = Story::new();
        story.log_in(0, 1).report(0, 1).is_deleted();
        story.wished(Wish::Delete, 204, "").stored(1, 1).leaves(0);
        // Made anew by a report for it, which says nothing of a session.
        story.step(
            "A",
            Session {
                epoch: 1,
                ..Session::default()
            },
        );
        story.log_in(1, 2);
        assert_eq!(
            faults_of(&story, 3),
            ["report 1 of epoch 1 was written after its vehicle was deleted"]
        );
    }
}
