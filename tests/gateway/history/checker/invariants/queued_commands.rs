//! Invariant 8: A queued command is never written after a newer one of its kind exists.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::checker::Violation;
use crate::history::checker::fault_windows::kind;
use crate::history::checker::vehicle_history::View;
use crate::history::record::Writer;

/// A command that waits, and the first that came after it.
struct Waiting<'a> {
    since: &'a Writer,
    newer: Option<&'a str>,
}

pub(crate) fn check(view: &View<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut waiting: BTreeMap<&str, Waiting<'_>> = BTreeMap::new();
    let mut known = BTreeSet::new();
    for step in &view.moves {
        if known.insert(step.id) {
            for (id, waiting) in &mut waiting {
                let row = view.commands.get(id);
                let is_rival = row.is_some_and(|row| kind(&row.sentence) == kind(step.sentence));
                // Which of two was first in one batch is not noted.
                if is_rival && waiting.since != step.writer {
                    waiting.newer.get_or_insert(step.id);
                }
            }
        }
        if step.state == "queued" {
            let since = step.writer;
            waiting.insert(step.id, Waiting { since, newer: None });
        } else if let Some(Waiting {
            newer: Some(newer), ..
        }) = waiting.remove(step.id)
            && step.sent
        {
            let at = view.commands.get(step.id).and_then(|row| row.sent_at);
            let what = format!("{} was queued and sent, and {newer} is newer", step.id);
            violations.push(Violation::new(8, view.device_id, at, what));
        }
    }
    violations
}

mod tests {
    use crate::history::checker::timeline::{Story, faults_of};

    const RUN: &str = "HEY YOU, RUN!";
    const REST: &str = "HEY YOU, REST!";

    #[test]
    fn a_queued_command_that_gives_way_is_well_and_one_of_another_kind_does_not() {
        let mut story = Story::new();
        story.log_in(0, 1).leaves(0).goes_offline("A", "goodbye");
        story
            .asked("a", RUN, "queued")
            .asked("b", REST, "queued")
            .becomes("a", "superseded");
        story.asked("c", "HOW'S IT GOING?", "queued");
        story
            .log_in(1, 2)
            .becomes("b", "sent")
            .heard(1, REST)
            .becomes("b", "no-answer");
        story.becomes("c", "expired");
        assert_eq!(story.violations(), []);
    }

    #[test]
    fn a_queued_command_that_is_written_though_a_newer_one_exists_is_found() {
        let mut story = Story::new();
        story.log_in(0, 1).leaves(0).goes_offline("A", "goodbye");
        story.asked("a", RUN, "queued").log_in(1, 2);
        story
            .asked("b", REST, "sent")
            .heard(1, REST)
            .becomes("b", "no-answer");
        story
            .becomes("a", "sent")
            .heard(1, RUN)
            .becomes("a", "no-answer");
        assert_eq!(
            faults_of(&story, 8),
            ["a was queued and sent, and b is newer"]
        );
    }
}
