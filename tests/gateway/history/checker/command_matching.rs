//! Which row each command that a device heard belongs to. Sentences carry no ids, but a session writes those of one
//! kind of answer in the order in which it claims them, and the next only after the answer to the last.

use std::collections::BTreeMap;

use crate::history::checker::Violation;
use crate::history::checker::fault_windows::{READING, ROUNDING, WAY, kind};
use crate::history::checker::vehicle_history::View;
use crate::history::record::{Connection, Event, Fault, History, Moment};

/// A command that a device heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) at: Moment,
    pub(crate) connection: Connection,
    /// It was the nth on its connection, counted from 0.
    pub(crate) nth: usize,
    pub(crate) late: bool,
    pub(crate) sentence: String,
}

/// What was heard of each row, and what belongs to none.
#[derive(Debug, Default)]
pub(crate) struct Matched {
    pub(crate) heard: BTreeMap<String, Heard>,
    pub(crate) violations: Vec<Violation>,
}

/// What a session has claimed and not said yet, as far as that is known.
#[derive(Default)]
struct Claims<'a> {
    /// By epoch and kind of answer, in the order of the claims.
    by_session: BTreeMap<(i64, &'static str), Vec<&'a str>>,
    /// Claimed and ended in one batch: of which session is not noted.
    loose: Vec<&'a str>,
}

pub(crate) fn matched(history: &History, view: &View<'_>) -> Matched {
    let mut claims = claims(view);
    let mut matched = Matched::default();
    for heard in heard(view) {
        match find(view, &mut claims, &heard) {
            Some(id) => {
                matched.heard.insert(id.to_owned(), heard);
            }
            // A gateway that stops says goodbye by itself.
            None if heard.sentence == "GOTTA GO." && stops(history, &heard) => {}
            None => matched.violations.push(Violation::new(
                6,
                view.device_id,
                Some(heard.at),
                format!(
                    "connection {} heard {:?}, which no row accounts for",
                    heard.connection, heard.sentence
                ),
            )),
        }
    }
    matched
}

fn claims<'a>(view: &View<'a>) -> Claims<'a> {
    let mut claims = Claims::default();
    for step in &view.moves {
        if step.state == "sent" {
            let key = (step.epoch, kind(step.sentence));
            claims.by_session.entry(key).or_default().push(step.id);
        }
    }
    let claimed: Vec<&str> = claims.by_session.values().flatten().copied().collect();
    let loose = view
        .moves
        .iter()
        .filter(|step| step.sent && !claimed.contains(&step.id));
    claims.loose = loose.map(|step| step.id).collect();
    claims
}

fn heard(view: &View<'_>) -> Vec<Heard> {
    let mut counts: BTreeMap<Connection, usize> = BTreeMap::new();
    let mut all = Vec::new();
    for seen in view.seen {
        if let Event::Heard { sentence, late } = &seen.event {
            let count = counts.entry(seen.connection).or_default();
            all.push(Heard {
                at: seen.at,
                connection: seen.connection,
                nth: *count,
                late: *late,
                sentence: sentence.clone(),
            });
            *count += 1;
        }
    }
    all
}

/// Takes the row of this command, and those before it, from what its session has claimed.
fn find<'a>(view: &View<'a>, claims: &mut Claims<'a>, heard: &Heard) -> Option<&'a str> {
    let fits = |id: &&'a str| {
        view.commands.get(id).is_some_and(|row| {
            let was_sent = row.sent_at.is_some_and(|sent| sent <= heard.at + ROUNDING);
            row.sentence == heard.sentence && was_sent
        })
    };
    let epoch = view.epochs.get(&heard.connection).copied().unwrap_or(-1);
    if let Some(list) = claims.by_session.get_mut(&(epoch, kind(&heard.sentence))) {
        // Of two that may be meant, it is the one that was not given up before it could be written.
        let was_written = |id: &&'a str| {
            let row = view.commands.get(id);
            row.is_some_and(|row| row.state != "expired")
        };
        let place = if heard.late {
            let mut all = list.iter();
            let written = all.position(|id| fits(id) && was_written(id));
            written.or_else(|| list.iter().position(fits))
        } else {
            list.iter().rposition(fits)
        };
        if let Some(place) = place {
            return list.drain(..=place).next_back();
        }
    }
    // Its session ended when it did, so only who reads late can hear it later.
    let is_in_time = |id: &&'a str| {
        let ended = view.commands.get(id).and_then(|row| row.finished_at);
        heard.late || ended.is_none_or(|ended| heard.at <= ended + WAY)
    };
    let mut loose = claims.loose.iter();
    let place = loose.position(|id| fits(id) && is_in_time(id))?;
    Some(claims.loose.remove(place))
}

/// Whether some instance was told to stop at about that time.
fn stops(history: &History, heard: &Heard) -> bool {
    history.troubles.iter().any(|trouble| {
        let is_near =
            trouble.from <= heard.at && (heard.late || heard.at <= trouble.until + READING);
        matches!(trouble.what, Fault::Restart(_)) && is_near
    })
}

mod tests {
    use crate::history::checker::timeline::{Story, faults_of};
    use crate::history::record::Fault;

    const RUN: &str = "HEY YOU, RUN!";
    const REST: &str = "HEY YOU, REST!";

    #[test]
    fn commands_that_were_claimed_are_well_also_one_that_was_lost_and_a_goodbye_at_a_stop() {
        let mut story = Story::new();
        story.log_in(0, 1).runs("a", 0, 0);
        story.asked("b", RUN, "sent").becomes("b", "disconnected");
        story
            .asked("c", RUN, "sent")
            .heard(0, RUN)
            .becomes("c", "disconnected");
        // Claimed and ended in one batch.
        story.asked("d", REST, "created");
        story.command("d").sent_at = Some(0);
        story.becomes("d", "disconnected").heard(0, REST);
        story.trouble(Fault::Restart(0), 0).heard(0, "GOTTA GO.");
        assert_eq!(story.violations(), []);
    }

    #[test]
    fn a_goodbye_at_a_stop_is_not_that_of_a_command_that_ended_long_before() {
        let mut story = Story::new();
        story.log_in(0, 1).asked("a", "GOTTA GO.", "created");
        story.command("a").sent_at = Some(0);
        story.becomes("a", "disconnected").passes(9_000);
        story.log_in(1, 2).trouble(Fault::Restart(0), 9_000);
        story.heard(1, "GOTTA GO.");
        assert_eq!(story.violations(), []);
    }

    #[test]
    fn what_is_read_late_is_the_command_that_was_written_and_not_the_one_before_it_that_expired() {
        let mut story = Story::new();
        story.log_in(0, 1);
        story.asked("a", RUN, "sent").becomes("a", "expired");
        story.asked("b", RUN, "sent").becomes("b", "disconnected");
        story.heard_late(0, RUN);
        assert_eq!(story.violations(), []);
        story.heard_late(0, RUN);
        assert_eq!(faults_of(&story, 6).len(), 1);
    }

    #[test]
    fn a_command_that_is_heard_twice_is_found_on_whatever_connection() {
        let mut story = Story::new();
        story.log_in(0, 1);
        story.asked("a", RUN, "sent").heard(0, RUN).heard(0, RUN);
        story.becomes("a", "disconnected");
        story.log_in(1, 2).heard(1, RUN);
        assert_eq!(
            faults_of(&story, 6),
            [
                "connection 0 heard \"HEY YOU, RUN!\", which no row accounts for",
                "connection 1 heard \"HEY YOU, RUN!\", which no row accounts for",
            ]
        );
    }

    #[test]
    fn a_command_that_nobody_claimed_or_that_another_session_claimed_is_found() {
        let mut story = Story::new();
        story.log_in(0, 1).asked("a", RUN, "created").heard(0, RUN);
        story.becomes("a", "expired");
        story.asked("b", RUN, "sent").becomes("b", "disconnected");
        story.log_in(1, 2).heard(1, RUN);
        story.heard(1, "GOTTA GO.");
        assert_eq!(faults_of(&story, 6).len(), 3);
    }
}
