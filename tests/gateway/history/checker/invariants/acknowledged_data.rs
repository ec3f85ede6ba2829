//! Invariant 1: Thanked ⇒ committed before the reply, as exactly one row. It holds for reports and debug blobs of devices,
//! for reports over HTTP, and for what a device says of its interval.

use std::collections::BTreeMap;

use crate::history::checker::Violation;
use crate::history::checker::fault_windows::READING;
use crate::history::checker::vehicle_history::{Stored, View};
use crate::history::record::{Event, History, Kind, Marker, Moment, Told, Wish};

/// What somebody sent to be stored.
struct Sent {
    kind: Kind,
    at: Moment,
    thanked: Option<Moment>,
}

pub(crate) fn check(history: &History, view: &View<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |at, what| violations.push(Violation::new(1, view.device_id, at, what));
    let mut stored: BTreeMap<Marker, Vec<&Stored<'_>>> = BTreeMap::new();
    for entry in &view.stored {
        match entry.marker {
            Some(marker) => stored.entry(marker).or_default().push(entry),
            None => wrong(
                Some(entry.at),
                format!(
                    "{} {} has values that no device sent",
                    name(entry.kind),
                    entry.id
                ),
            ),
        }
    }
    let sent = sent(history, view);
    for (marker, sent) in &sent {
        let stored = stored.get(marker).map_or(&[][..], Vec::as_slice);
        for what in wrong_thanks(view, *marker, sent, stored) {
            wrong(sent.thanked, what);
        }
    }
    for (marker, stored) in &stored {
        let kind = stored[0].kind;
        let what = name(kind);
        match sent.get(marker) {
            None => wrong(None, format!("{what} {marker} was stored and never sent")),
            Some(sent) if stored.len() > 1 || sent.kind != kind => wrong(
                Some(sent.at),
                format!("{what} {marker} is stored {} times", stored.len()),
            ),
            Some(_) => {}
        }
    }
    for entry in &view.stored {
        let mut kept = view.kept.iter();
        let is_kept = kept
            .any(|row| (row.kind, row.id) == (entry.kind, entry.id) && row.marker == entry.marker);
        if !is_kept && view.deletions().all(|step| step.place < entry.place) {
            let what = format!("{} {} was stored and is gone", name(entry.kind), entry.id);
            wrong(Some(entry.at), what);
        }
    }
    for what in wrong_state(view).into_iter().chain(wrong_interval(view)) {
        wrong(None, what);
    }
    violations
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Report => "report",
        Kind::Blob => "blob",
    }
}

/// All that was sent for this vehicle.
fn sent(history: &History, view: &View<'_>) -> BTreeMap<Marker, Sent> {
    let mut all = BTreeMap::new();
    for seen in view.seen {
        let (marker, kind) = match seen.event {
            Event::Reported(marker)
            | Event::Answered {
                marker: Some(marker),
                ..
            } => (marker, Kind::Report),
            Event::Dumped(marker) => (marker, Kind::Blob),
            Event::Thanked(marker) => {
                if let Some(Sent { thanked, .. }) = all.get_mut(&marker) {
                    *thanked = Some(seen.at);
                }
                continue;
            }
            _ => continue,
        };
        let (at, thanked) = (seen.at, None);
        all.insert(marker, Sent { kind, at, thanked });
    }
    let errands = history.errands.iter();
    for errand in errands.filter(|errand| errand.device_id == view.device_id) {
        if let Wish::Report(marker) = errand.wish {
            let is_done = matches!(errand.told, Told::Answer { status: 200, .. });
            let sent = Sent {
                kind: Kind::Report,
                at: errand.from,
                thanked: is_done.then_some(errand.until),
            };
            all.insert(marker, sent);
        }
    }
    all
}

/// What is wrong with a thanks, if there was one.
fn wrong_thanks(
    view: &View<'_>,
    marker: Marker,
    sent: &Sent,
    stored: &[&Stored<'_>],
) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(thanked) = sent.thanked else {
        return wrong;
    };
    let what = name(sent.kind);
    let when = sent.at - READING..=thanked + READING;
    // Deleted in the batch in which it would have been stored.
    let is_forgotten = stored.is_empty() && view.deletions().any(|step| when.contains(&step.at));
    if stored.len() != 1 && !is_forgotten {
        wrong.push(format!(
            "{what} {marker} was thanked and is stored {} times",
            stored.len()
        ));
    }
    if stored
        .first()
        .is_some_and(|entry| entry.committed_after > thanked)
    {
        wrong.push(format!(
            "{what} {marker} was thanked before it was committed"
        ));
    }
    wrong
}

/// The vehicle's state is that of its last report since it was deleted last.
fn wrong_state(view: &View<'_>) -> Option<String> {
    let row = view.row?;
    let reborn = view.deletions().next_back();
    let mut reports = view.stored.iter().rev();
    let last = reports.find(|entry| {
        let is_of_this_life =
            reborn.is_none_or(|step| entry.place > step.place || entry.writer == step.writer);
        entry.kind == Kind::Report && is_of_this_life
    });
    let last = last.and_then(|entry| entry.marker);
    (last != row.marker).then(|| {
        format!(
            "the vehicle's state is of report {:?}, and the last one is {last:?}",
            row.marker
        )
    })
}

/// The interval that the row has is the last that the device said on the connection that is alive in the end: its own,
/// or one that it agreed to.
fn wrong_interval(view: &View<'_>) -> Option<String> {
    let alive = view.seen.iter().rfind(|seen| seen.event == Event::Alive)?;
    let mut asked: Vec<Option<u32>> = Vec::new();
    let mut last = None;
    for seen in view.seen {
        if seen.connection != alive.connection {
            continue;
        }
        match &seen.event {
            Event::Heard { sentence, .. } => asked.push(interval(sentence)),
            Event::Stated(seconds) => last = Some(*seconds),
            Event::Answered { nth, .. } => last = asked.get(*nth).copied().flatten().or(last),
            _ => {}
        }
    }
    let (row, last) = (view.row?.acknowledged, i64::from(last?));
    (row != Some(last)).then(|| {
        format!("the vehicle said last that it reports every {last} s, and the row has {row:?}")
    })
}

/// What the sentence `KEEP ME POSTED EVERY <s> SECONDS.` asks for.
fn interval(sentence: &str) -> Option<u32> {
    let seconds = sentence.strip_prefix("KEEP ME POSTED EVERY ")?;
    seconds.strip_suffix(" SECONDS.")?.parse().ok()
}

mod tests {
    use crate::history::checker::timeline::{Story, faults_of};
    use crate::history::record::{Kind, Wish};

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
    fn a_report_that_is_thanked_before_it_is_committed_is_found() {
        let mut story = Story::new();
        story.log_in(0, 1);
        story.report(0, 1).thanked(0, 1);
        story.stored(1, 1);
        assert_eq!(
            faults_of(&story, 1),
            ["report 1 was thanked before it was committed"]
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

    #[test]
    fn blobs_and_reports_over_http_are_held_to_the_same() {
        let mut story = Story::new();
        story.log_in(0, 1).dumps(0, 1);
        story.stored_as(Kind::Blob, "A", 1, 1).thanked(0, 1);
        story.stored(7, 1).wished(Wish::Report(7), 200, "");
        story.wished(Wish::Report(8), 503, "store-unavailable");
        assert_eq!(faults_of(&story, 1), [""; 0]);
        story.dumps(0, 2).thanked(0, 2);
        story.wished(Wish::Report(9), 200, "");
        // Stored as something else than it is.
        story.dumps(0, 3).stored(3, 1);
        assert_eq!(
            faults_of(&story, 1),
            [
                "blob 2 was thanked and is stored 0 times",
                "report 9 was thanked and is stored 0 times",
                "report 3 is stored 1 times",
            ]
        );
    }

    #[test]
    fn what_is_gone_is_found_unless_its_vehicle_was_deleted_since() {
        let mut story = Story::new();
        story.log_in(0, 1).report(0, 1).stored(1, 1).thanked(0, 1);
        story.is_purged();
        assert_eq!(faults_of(&story, 1), ["report 0 was stored and is gone"]);
        story.is_deleted().wished(Wish::Delete, 204, "");
        // Deleted in the batch in which it would have been stored.
        story.report(0, 2).thanked(0, 2).leaves(0).log_in(1, 2);
        assert_eq!(story.violations(), []);
    }

    #[test]
    fn an_interval_that_is_not_the_last_that_was_said_is_found() {
        const ASK: &str = "KEEP ME POSTED EVERY 60 SECONDS.";
        let mut story = Story::new();
        story.log_in(0, 1).states(0, 30);
        assert_eq!(story.violations(), []);
        story.asked("a", ASK, "sent").heard(0, ASK);
        story.answers(0, 0, "SURE, I WILL!");
        story.ends("a", "done", "SURE, I WILL!");
        assert_eq!(
            faults_of(&story, 1),
            ["the vehicle said last that it reports every 60 s, and the row has Some(30)"]
        );
    }
}
