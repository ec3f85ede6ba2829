//! Invariant 6: A command is written to a socket at most once, after `sent` was committed, before `expires_at`; it has
//! exactly one end state; the HTTP result is that state; what was answered 503 or 504-unsent is never written later.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::checker::Violation;
use crate::history::checker::command_matching::Matched;
use crate::history::checker::fault_windows::{READING, WAY, is_final};
use crate::history::checker::invariants::error_responses::{is_of_balancer, unexplained};
use crate::history::checker::vehicle_history::{Move, View};
use crate::history::record::{CommandRow, History, Moment, Request, Told};

/// How much later than its time the sweep may end a queued command.
const SWEEP: Moment = 5_000;

pub(crate) fn check(history: &History, view: &View<'_>, matched: &Matched) -> Vec<Violation> {
    let mut violations = matched.violations.clone();
    let mut wrong = |at, what| violations.push(Violation::new(6, view.device_id, Some(at), what));
    for row in view.commands.values() {
        for what in wrong_row(history.end, row, matched) {
            wrong(row.created_at, what);
        }
    }
    for (at, what) in wrong_ways(view).into_iter().chain(too_early(view, matched)) {
        wrong(at, what);
    }
    let requests: Vec<&Request> = history
        .requests
        .iter()
        .filter(|request| request.device_id == view.device_id)
        .collect();
    for request in &requests {
        let Request {
            from, until, told, ..
        } = request;
        let what = match wrong_answer(view, matched, request) {
            Some(what) if !is_of_balancer(told) => Some(what),
            _ => unexplained(history, told, *from, *until),
        };
        if let Some(what) = what {
            wrong(*until, format!("{what}, of {told:?}"));
        }
    }
    for (at, what) in wrong_repetitions(view, &requests) {
        wrong(at, what);
    }
    violations
}

/// What is wrong with the end of a command, and with when it was heard.
fn wrong_row(end: Moment, row: &CommandRow, matched: &Matched) -> Vec<String> {
    let CommandRow { id, state, .. } = row;
    let mut wrong = Vec::new();
    let heard = matched.heard.get(id);
    if let Some(heard) = heard {
        if !heard.late && heard.at > row.expires_at + WAY {
            let late = heard.at - row.expires_at;
            wrong.push(format!("{id} was heard {late} ms after its time"));
        }
        if matches!(
            state.as_str(),
            "expired" | "superseded" | "cancelled" | "created" | "queued"
        ) {
            wrong.push(format!("{id} is {state}, and was heard at {}", heard.at));
        }
    }
    let may_wait = state == "queued" && row.expires_at + SWEEP > end;
    if !is_final(state) && !may_wait {
        wrong.push(format!("{id} is {state} when all is over"));
    }
    if is_final(state) != row.finished_at.is_some() {
        wrong.push(format!(
            "{id} is {state} and ended at {:?}",
            row.finished_at
        ));
    }
    let is_sent = match state.as_str() {
        "done" | "refused" | "no-answer" | "disconnected" | "sent" => true,
        "superseded" | "cancelled" | "created" | "queued" => false,
        // Claimed too late to be written.
        _ => row.sent_at.is_some(),
    };
    if is_sent != row.sent_at.is_some() {
        wrong.push(format!("{id} is {state} and was sent at {:?}", row.sent_at));
    }
    wrong
}

/// Steps that a command must not take.
fn wrong_ways(view: &View<'_>) -> Vec<(Moment, String)> {
    let mut wrong = Vec::new();
    let mut states: BTreeMap<&str, &str> = BTreeMap::new();
    for step in &view.moves {
        let before = states.insert(step.id, step.state).unwrap_or("new");
        let is_right = match (before, step.state) {
            ("new", _) | ("created", "queued") => true,
            ("created" | "queued", after) => after != "created" && after != "queued",
            ("sent", after) => is_final(after) && !matches!(after, "superseded" | "cancelled"),
            _ => false,
        };
        if !is_right {
            let at = view.commands.get(step.id).map_or(0, |row| row.created_at);
            wrong.push((
                at,
                format!("{} went from {before} to {}", step.id, step.state),
            ));
        }
    }
    wrong
}

/// Commands that were heard before it was committed that they are sent. Where that and the end share a batch, it was so
/// by then.
fn too_early(view: &View<'_>, matched: &Matched) -> Vec<(Moment, String)> {
    let sent = view.moves.iter().filter(|step| step.sent);
    let mut wrong = Vec::new();
    let mut known = BTreeSet::new();
    for step in sent.filter(|step| known.insert(step.id)) {
        if let Some(heard) = matched.heard.get(step.id)
            && heard.at < step.committed_after
        {
            let what = format!("{} was heard before it was committed as sent", step.id);
            wrong.push((heard.at, what));
        }
    }
    wrong
}

/// What is wrong with what a client was told.
fn wrong_answer(view: &View<'_>, matched: &Matched, request: &Request) -> Option<String> {
    let Told::Answer {
        status,
        name,
        command,
        reply,
    } = &request.told
    else {
        return None;
    };
    let Some(id) = command else {
        return without_record(view, request, *status, name);
    };
    let Some(row) = view.commands.get(id.as_str()) else {
        return Some(format!("there is no command {id}"));
    };
    let is_interval = |sentence: &str| sentence.starts_with("KEEP ME POSTED ");
    if row.sentence != request.sentence
        && !(is_interval(&row.sentence) && is_interval(&request.sentence))
    {
        return Some(format!("{id} is about {:?}", row.sentence));
    }
    let state = row.state.as_str();
    let is_right = match (*status, name.as_str()) {
        (200, "done") => {
            let mut moves = view.moves.iter();
            let is_done = |step: &Move<'_>| step.id == id && step.state == "done";
            let end = moves.find(|step| is_done(step));
            if end.is_some_and(|end| end.committed_after > request.until) {
                return Some(format!("{id} was not committed as done by then"));
            }
            state == "done" && row.reply == *reply
        }
        // One that came and went within a batch was never seen waiting.
        (202, "queued") => {
            let mut moves = view.moves.iter();
            state == "superseded" || moves.any(|step| step.id == id && step.state == "queued")
        }
        (202, "desired") => {
            is_interval(&row.sentence) && matches!(state, "superseded" | "cancelled")
        }
        (409, "vehicle-refused") => state == "refused",
        (409, "vehicle-disconnected") => state == "disconnected",
        (409, "command-superseded") => state == "superseded",
        (409, "vehicle-offline") => state == "cancelled",
        (504, "vehicle-no-answer") => state == "no-answer",
        (504, "command-expired") => state == "expired",
        (503, "fan-out-unavailable") => {
            matches!(state, "expired" | "cancelled" | "superseded")
        }
        // One that was claimed may still come to any end; but it is not said any more.
        (503, "store-unavailable" | "request-timeout" | "owner-unreachable") => {
            let heard = matched.heard.get(id);
            if heard.is_some_and(|heard| !heard.late && heard.at > request.until + READING) {
                return Some(format!("{id} was heard after the answer"));
            }
            true
        }
        _ => return Some("nobody expects this answer".to_owned()),
    };
    (!is_right).then(|| format!("{id} is {state} with reply {:?}", row.reply))
}

/// What is wrong with an answer without a command.
fn without_record(view: &View<'_>, request: &Request, status: u16, name: &str) -> Option<String> {
    let is_asked = request.sentence == "HOW'S IT GOING?";
    match (status, name) {
        (200, "CONNECTED" | "DISCONNECTED") if is_asked => None,
        (202, "desired")
        | (409, "vehicle-offline")
        | (
            503,
            "store-unavailable" | "request-timeout" | "owner-unreachable" | "fan-out-unavailable",
        ) => None,
        (404, "unknown-vehicle") => view
            .existed(request.from, request.until)
            .then(|| "the vehicle was known".to_owned()),
        _ => Some("nobody expects this answer without a command".to_owned()),
    }
}

/// How often the vehicle had been deleted when this command was made.
fn life(view: &View<'_>, id: &str) -> usize {
    let first = view.moves.iter().find(|step| step.id == id);
    let place = first.map_or(usize::MAX, |step| step.place);
    view.deletions().filter(|step| step.place < place).count()
}

/// One key is one command as long as the vehicle is not deleted, and one command is one request.
fn wrong_repetitions(view: &View<'_>, requests: &[&Request]) -> Vec<(Moment, String)> {
    let mut wrong = Vec::new();
    let mut by_key: BTreeMap<(usize, &str), BTreeSet<&str>> = BTreeMap::new();
    let mut without_key: BTreeMap<&str, usize> = BTreeMap::new();
    for request in requests {
        let Told::Answer {
            command: Some(id), ..
        } = &request.told
        else {
            continue;
        };
        if let Some(key) = &request.key {
            let ids = by_key.entry((life(view, id), key)).or_default();
            ids.insert(id);
            if ids.len() > 1 {
                wrong.push((request.until, format!("{key} made the commands {ids:?}")));
            }
        } else {
            let count = without_key.entry(id).or_default();
            *count += 1;
            if *count > 1 {
                wrong.push((request.until, format!("{id} answered {count} requests")));
            }
        }
    }
    wrong
}

mod tests {
    use crate::history::checker::timeline::{Story, faults_of};
    use crate::history::record::Change;

    const RUN: &str = "HEY YOU, RUN!";

    fn story() -> Story {
        let mut story = Story::new();
        story.log_in(0, 1);
        story
    }

    #[test]
    fn commands_that_end_as_their_callers_were_told_are_well() {
        let mut story = story();
        story.runs("a", 0, 0);
        story
            .asked("b", RUN, "sent")
            .heard(0, RUN)
            .becomes("b", "no-answer");
        story.told(RUN, 504, "vehicle-no-answer", Some("b"));
        story.asked("c", RUN, "created").becomes("c", "expired");
        story.told(RUN, 504, "command-expired", Some("c"));
        story
            .asked("d", RUN, "queued")
            .told(RUN, 202, "queued", Some("d"));
        story.becomes("d", "superseded");
        story.told_again(Some("key"), RUN, 409, "vehicle-offline", None);
        story.asked("e", RUN, "created").becomes("e", "cancelled");
        story.told_again(Some("key"), RUN, 409, "vehicle-offline", Some("e"));
        story.told_again(Some("key"), RUN, 409, "vehicle-offline", Some("e"));
        assert_eq!(story.violations(), []);
    }

    #[test]
    fn a_command_that_is_heard_after_its_time_is_found() {
        let mut story = story();
        story.asked("a", RUN, "sent").passes(4_000).heard(0, RUN);
        story.becomes("a", "disconnected");
        assert_eq!(faults_of(&story, 6), ["a was heard 2020 ms after its time"]);
    }

    #[test]
    fn a_command_that_is_heard_though_it_ended_unsent_is_found() {
        let mut story = story();
        story.asked("a", RUN, "sent").becomes("a", "expired");
        story
            .told(RUN, 504, "command-expired", Some("a"))
            .heard(0, RUN);
        assert_eq!(faults_of(&story, 6), ["a is expired, and was heard at 90"]);
    }

    #[test]
    fn a_command_that_has_no_end_or_two_is_found() {
        let mut story = story();
        story.asked("a", RUN, "created");
        story.asked("b", RUN, "sent").becomes("b", "no-answer");
        story.ends("b", "done", "DONE!");
        story.asked("c", RUN, "sent").becomes("c", "cancelled");
        story.asked("d", RUN, "created").becomes("d", "done");
        story.asked("e", RUN, "queued").passes(7_100);
        assert_eq!(
            faults_of(&story, 6),
            [
                "a is created when all is over",
                "b went from no-answer to done",
                "c is cancelled and was sent at Some(110)",
                "c went from sent to cancelled",
                "d is done and was sent at None",
                "e is queued when all is over",
            ]
        );
    }

    #[test]
    fn callers_that_were_told_something_else_than_what_became_of_it_are_found() {
        let mut story = story();
        story
            .asked("a", RUN, "sent")
            .heard(0, RUN)
            .becomes("a", "no-answer");
        for (status, name) in [
            (200, "done"),
            (202, "queued"),
            (202, "desired"),
            (409, "vehicle-refused"),
            (409, "vehicle-disconnected"),
            (409, "vehicle-offline"),
            (504, "command-expired"),
            (503, "fan-out-unavailable"),
            (500, "internal"),
        ] {
            story.told_again(Some("key"), RUN, status, name, Some("a"));
        }
        assert_eq!(faults_of(&story, 6).len(), 9);
    }

    #[test]
    fn what_was_answered_503_and_is_heard_later_is_found() {
        let mut story = story();
        story
            .asked("a", RUN, "sent")
            .told(RUN, 503, "store-unavailable", Some("a"));
        story.passes(500).heard(0, RUN).becomes("a", "disconnected");
        let found = faults_of(&story, 6);
        assert!(
            found[0].starts_with("a was heard after the answer"),
            "{found:?}"
        );
    }

    #[test]
    fn a_key_that_makes_two_commands_is_found_and_a_command_that_answers_two_requests() {
        let mut story = story();
        story.asked("a", RUN, "created").becomes("a", "cancelled");
        story.asked("b", RUN, "created").becomes("b", "cancelled");
        for id in ["a", "b"] {
            story.told_again(Some("key"), RUN, 409, "vehicle-offline", Some(id));
            story.told(RUN, 409, "vehicle-offline", Some("a"));
        }
        assert_eq!(
            faults_of(&story, 6),
            [
                "key made the commands {\"a\", \"b\"}",
                "a answered 2 requests",
            ]
        );
    }

    #[test]
    fn answers_that_nobody_expects_are_found() {
        let mut story = story();
        story.told(RUN, 422, "idempotency-key-reused", None);
        story.told(RUN, 200, "CONNECTED", None);
        story.passes(20_000).told(RUN, 404, "unknown-vehicle", None);
        story.told(RUN, 409, "vehicle-offline", Some("x"));
        assert_eq!(faults_of(&story, 6).len(), 4);
    }

    #[test]
    fn what_is_heard_or_told_before_it_is_committed_is_found() {
        let mut story = story();
        story.runs("a", 0, 0);
        for audit in &mut story.history.audit {
            if let Change::Command { .. } = audit.change {
                audit.committed_after += 50;
            }
        }
        let found = faults_of(&story, 6);
        assert_eq!(found[0], "a was heard before it was committed as sent");
        assert!(found[1].starts_with("a was not committed as done by then"));
    }
}
