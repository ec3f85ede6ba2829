//! Invariant 1: Thanked ⇒ committed before the reply, as exactly one row.

use std::collections::BTreeMap;

use super::{Violation, tools::READING, view::View};
use crate::history::record::{Event, History, Marker, Moment, ReportRow};

pub(super) fn check(_history: &History, view: &View<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |at, what| violations.push(Violation::new(1, view.device_id, at, what));
    let mut rows: BTreeMap<Marker, Vec<&ReportRow>> = BTreeMap::new();
    for &row in &view.reports {
        match row.marker {
            Some(marker) => rows.entry(marker).or_default().push(row),
            None => wrong(
                None,
                format!("report {} has values that no device sent", row.id),
            ),
        }
    }
    let stored: BTreeMap<i64, Moment> = view
        .stored
        .iter()
        .map(|stored| (stored.id, stored.at))
        .collect();
    let mut sent = BTreeMap::new();
    for seen in view.seen {
        match seen.event {
            Event::Reported(marker)
            | Event::Answered {
                marker: Some(marker),
                ..
            } => {
                sent.insert(marker, seen.at);
            }
            Event::Thanked(marker) => {
                let found = rows.get(&marker).map_or(0, Vec::len);
                if found != 1 {
                    wrong(
                        Some(seen.at),
                        format!("report {marker} was thanked and is stored {found} times"),
                    );
                }
                let written = rows
                    .get(&marker)
                    .and_then(|rows| stored.get(&rows[0].id).copied());
                if written.is_some_and(|written| written > seen.at + READING) {
                    wrong(
                        Some(seen.at),
                        format!("report {marker} was thanked before it was written"),
                    );
                }
            }
            _ => {}
        }
    }
    for (marker, rows) in &rows {
        let at = sent.get(marker).copied();
        if at.is_none() {
            wrong(None, format!("report {marker} was stored and never sent"));
        }
        if rows.len() > 1 {
            wrong(
                at,
                format!("report {marker} is stored {} times", rows.len()),
            );
        }
    }
    let last = view.reports.iter().max_by_key(|row| row.id);
    if let (Some(last), Some(row)) = (last, view.row)
        && last.marker != row.marker
    {
        wrong(
            None,
            format!(
                "the vehicle's state is of report {:?}, and the last one is {:?}",
                row.marker, last.marker
            ),
        );
    }
    violations
}

mod tests {
    use super::super::story::{Story, faults_of};

    #[test]
    fn a_report_that_is_thanked_and_stored_once_is_well_and_one_that_is_not_thanked_may_be_lost() {
        let mut story = Story::new();
        story.log_in(0, 1);
        story.report(0, 1).stored(1, 1).thanked(0, 1);
        story.report(0, 2);
        assert_eq!(story.violations(), []);
    }

    #[test]
    fn a_thanked_report_that_is_lost_or_stored_twice_is_found() {
        let mut story = Story::new();
        story.log_in(0, 1);
        story.report(0, 1).thanked(0, 1);
        story.report(0, 2).stored(2, 1).stored(2, 1).thanked(0, 2);
        assert_eq!(
            faults_of(&story, 1),
            [
                "report 1 was thanked and is stored 0 times",
                "report 2 is stored 2 times",
                "report 2 was thanked and is stored 2 times",
            ]
        );
    }

    #[test]
    fn a_report_that_is_thanked_before_it_is_written_is_found() {
        let mut story = Story::new();
        story.log_in(0, 1);
        story.report(0, 1).thanked(0, 1);
        story.passes(500).stored(1, 1);
        assert_eq!(
            faults_of(&story, 1),
            ["report 1 was thanked before it was written"]
        );
    }

    #[test]
    fn a_report_that_nobody_sent_is_found_and_a_state_that_is_not_of_the_last_one() {
        let mut story = Story::new();
        story.log_in(0, 1);
        story.report(0, 1).stored(1, 1).thanked(0, 1);
        story.stored(7, 1);
        story.row_has_report(1);
        assert_eq!(
            faults_of(&story, 1),
            [
                "report 7 was stored and never sent",
                "the vehicle's state is of report Some(1), and the last one is Some(7)",
            ]
        );
    }
}
