//! What several checks need, and the smallest of them.

use crate::history::checker::Violation;
use crate::history::record::{Change, Event, Fault, History, Moment};

/// All read one clock, in whole milliseconds.
pub(crate) const ROUNDING: Moment = 5;
/// Each reads it when it gets to it.
pub(crate) const READING: Moment = 100;
/// How long a transaction may take from what was noted to its commit, when the database stands still meanwhile.
pub(crate) const COMMIT: Moment = 15_000;
/// How much later than it was written a device may hear a sentence, on a busy machine.
pub(crate) const WAY: Moment = 1_500;

/// Devices heard nothing that the protocol does not say.
pub(crate) fn unexpected(history: &History) -> Vec<Violation> {
    let seen = history
        .seen
        .iter()
        .flat_map(|(id, seen)| seen.iter().map(move |seen| (id, seen)));
    seen.filter_map(|(id, seen)| match &seen.event {
        Event::Unexpected(said) => Some(Violation::new(
            0,
            id,
            Some(seen.at),
            format!(
                "connection {} heard what nobody may say then: {said}",
                seen.connection
            ),
        )),
        _ => None,
    })
    .collect()
}

/// Whether there is a time within these moments, longer than `length`, in which nothing was wrong with the
/// database, and at least one instance ran all the time.
pub(crate) fn had_calm(history: &History, from: Moment, until: Moment, length: Moment) -> bool {
    (0..history.instances.max(1)).any(|index| {
        let holds_up = |fault| is_of_instance(fault, index) || is_of_database(fault);
        longest_without(history, holds_up, from, until) > length
    })
}

/// The longest time within these moments in which there was no such fault.
pub(crate) fn longest_without(
    history: &History,
    is_such: impl Fn(Fault) -> bool,
    from: Moment,
    until: Moment,
) -> Moment {
    let mut troubles: Vec<(Moment, Moment)> = history
        .troubles
        .iter()
        .filter(|trouble| is_such(trouble.what))
        .map(|trouble| (trouble.from, trouble.until))
        .filter(|(begin, end)| *end > from && *begin < until)
        .collect();
    troubles.sort_unstable();
    let (mut longest, mut since) = (0, from);
    for (begin, end) in troubles {
        longest = longest.max(begin - since);
        since = since.max(end);
    }
    longest.max(until - since)
}

pub(crate) fn is_of_instance(fault: Fault, instance: usize) -> bool {
    match fault {
        Fault::Kill(index) | Fault::Pause(index) | Fault::Restart(index) => index == instance,
        _ => false,
    }
}

pub(crate) fn is_of_database(fault: Fault) -> bool {
    matches!(fault, Fault::DatabaseDown | Fault::DatabasePause)
}

/// Which instance had this life.
pub(crate) fn instance_of(history: &History, life: &str) -> Option<usize> {
    history.audit.iter().find_map(|audit| match &audit.change {
        Change::Instance { id, name, .. } if id == life => {
            let number: usize = name.strip_prefix("gateway-")?.parse().ok()?;
            number.checked_sub(1)
        }
        _ => None,
    })
}

/// Of which kind of answer a sentence is: one of each may be with a vehicle.
pub(crate) fn kind(sentence: &str) -> &'static str {
    match sentence {
        "HOW'S IT GOING?" => "FINE",
        "HEY YOU, RUN!" | "HEY YOU, REST!" => "DONE",
        "GOTTA GO." => "SEE YA",
        _ => "SURE",
    }
}

/// Whether this state is final.
pub(crate) fn is_final(state: &str) -> bool {
    !matches!(state, "created" | "queued" | "sent")
}

mod tests {
    use super::*;
    use crate::history::record::Trouble;

    #[test]
    fn calm_is_what_is_left_between_troubles() {
        let trouble = |from, until, what| Trouble { from, until, what };
        let history = History {
            troubles: vec![
                trouble(0, 100, Fault::DatabaseDown),
                trouble(50, 2_000, Fault::Pause(0)),
                trouble(3_000, 9_000, Fault::RedisDown),
                trouble(5_000, 6_000, Fault::Kill(0)),
            ],
            instances: 1,
            ..History::default()
        };
        assert!(
            !had_calm(&history, 0, 6_000, 3_000),
            "2000 to 5000 is no longer"
        );
        assert!(had_calm(&history, 0, 6_000, 2_999));
        assert!(!had_calm(&history, 2_500, 5_500, 2_600));
        assert!(had_calm(&history, 5_500, 9_000, 2_900));
        let more = History {
            instances: 2,
            ..history
        };
        assert!(had_calm(&more, 0, 6_000, 5_800), "the other one ran");
    }
}
