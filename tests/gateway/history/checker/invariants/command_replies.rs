//! Invariant 7: `done` ⇒ the answer was matched in the order in which that kind was written on that session. What a
//! row has as its answer is what the device answered to that command, and to no other.

use std::collections::BTreeMap;

use crate::history::checker::Violation;
use crate::history::checker::command_matching::Matched;
use crate::history::checker::vehicle_history::View;
use crate::history::record::{Connection, Event, Marker};

/// An answer as a device gave it.
struct Given<'a> {
    sentence: &'a str,
    marker: Option<Marker>,
}

pub(crate) fn check(view: &View<'_>, matched: &Matched) -> Vec<Violation> {
    let mut given: BTreeMap<(Connection, usize), Given<'_>> = BTreeMap::new();
    for seen in view.seen {
        if let Event::Answered {
            nth,
            sentence,
            marker,
        } = &seen.event
        {
            let marker = *marker;
            given.insert((seen.connection, *nth), Given { sentence, marker });
        }
    }
    let mut violations = Vec::new();
    for row in view.commands.values() {
        for reply in [&row.reply, &row.late_reply].into_iter().flatten() {
            let heard = matched.heard.get(&row.id);
            let answer = heard.and_then(|heard| given.get(&(heard.connection, heard.nth)));
            let what = match (heard, answer) {
                (None, _) => format!("{} was answered {reply:?}, and nobody heard it", row.id),
                (_, None) => format!(
                    "{} was answered {reply:?}, and the vehicle did not answer",
                    row.id
                ),
                (_, Some(answer)) if !is_same(reply, answer) => format!(
                    "{} was answered {reply:?}, and the vehicle answered {:?} to it",
                    row.id, answer.sentence
                ),
                _ => continue,
            };
            violations.push(Violation::new(7, view.device_id, row.finished_at, what));
        }
    }
    violations
}

/// Values are stored as numbers: what is the same number may be written in another way.
fn is_same(reply: &str, answer: &Given<'_>) -> bool {
    match answer.marker {
        Some(marker) => marker_of(reply) == Some(marker),
        None => reply == answer.sentence,
    }
}

/// The number that the longitude of `FINE. I'M HERE <lat> <lon>, …` encodes.
fn marker_of(reply: &str) -> Option<Marker> {
    let (_, rest) = reply.split_once("I'M HERE ")?;
    let (place, _) = rest.split_once(',')?;
    let (_, longitude) = place.split_once(' ')?;
    let decimals = longitude
        .split_once('.')
        .map_or("", |(_, decimals)| decimals);
    format!("{decimals:0<9}").parse().ok()
}

mod tests {
    use super::marker_of;
    use crate::history::checker::timeline::{Story, faults_of};

    const RUN: &str = "HEY YOU, RUN!";

    #[test]
    fn answers_that_are_credited_to_their_commands_are_well_late_ones_too() {
        let mut story = Story::new();
        story.log_in(0, 1).runs("a", 0, 0).runs("b", 0, 1);
        story
            .asked("c", RUN, "sent")
            .heard(0, RUN)
            .becomes("c", "no-answer");
        story.answers(0, 2, "I CAN'T, SORRY.");
        story.command("c").late_reply = Some("I CAN'T, SORRY.".to_owned());
        story
            .asked("d", RUN, "sent")
            .heard(0, RUN)
            .becomes("d", "no-answer");
        assert_eq!(story.violations(), []);
    }

    #[test]
    fn an_answer_that_is_credited_to_the_next_command_is_found() {
        let mut story = Story::new();
        story.log_in(0, 1);
        story
            .asked("a", RUN, "sent")
            .heard(0, RUN)
            .becomes("a", "no-answer");
        story.asked("b", RUN, "sent").heard(0, RUN);
        story.answers(0, 0, "DONE!").ends("b", "done", "DONE!");
        story.answers(0, 1, "I CAN'T, SORRY.");
        story.asked("c", RUN, "sent").heard(0, RUN);
        story
            .answers(0, 2, "I CAN'T, SORRY.")
            .ends("c", "done", "DONE!");
        story.asked("d", RUN, "sent").ends("d", "done", "DONE!");
        story
            .asked("e", RUN, "sent")
            .heard(0, RUN)
            .ends("e", "done", "DONE!");
        let found = faults_of(&story, 7);
        assert_eq!(
            found,
            [
                "b was answered \"DONE!\", and the vehicle answered \"I CAN'T, SORRY.\" to it",
                "c was answered \"DONE!\", and the vehicle answered \"I CAN'T, SORRY.\" to it",
                "d was answered \"DONE!\", and nobody heard it",
                "e was answered \"DONE!\", and the vehicle did not answer",
            ]
        );
    }

    #[test]
    fn values_are_compared_as_numbers() {
        let fine = |place| format!("FINE. I'M HERE {place}, RUNNING AND CHARGED AT 3%.");
        assert_eq!(marker_of(&fine("0.01 3.000000003")), Some(3));
        assert_eq!(marker_of(&fine("0.01 120.0000003")), Some(300));
        assert_eq!(marker_of(&fine("1 2")), Some(0));
        assert_eq!(marker_of("DONE!"), None);
    }
}
