//! Finds the row of each command that a device received. Sentences carry no ids, but a session writes its commands of
//! one reply kind in the order in which it claims them, and each only after the reply to the one before.

use std::collections::BTreeMap;

use super::{
    command_model::reply_kind,
    fault_windows::instance_of,
    tolerances::{CLOCK_ROUNDING, READ_DELAY, TRANSIT_DELAY},
    vehicle_history::VehicleHistory,
};
use crate::history::record::{ConnectionNumber, DeviceEvent, Fault, History, Moment};

/// A command that a device received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReceivedCommand {
    pub(crate) at: Moment,
    pub(crate) connection: ConnectionNumber,
    /// Its place among the commands of its connection, counted from 0.
    pub(crate) nth: usize,
    pub(crate) late: bool,
    pub(crate) sentence: String,
}

/// The commands that a vehicle's device received.
#[derive(Debug, Default)]
pub(crate) struct MatchedCommands {
    /// By the id of their row.
    pub(crate) received: BTreeMap<String, ReceivedCommand>,
    /// Those that no row accounts for.
    pub(crate) unmatched: Vec<ReceivedCommand>,
}

/// Claimed commands that are not matched yet.
#[derive(Default)]
struct Claims<'a> {
    /// By epoch and reply kind, in the order of the claims.
    by_session: BTreeMap<(i64, &'static str), Vec<&'a str>>,
    /// Claimed and ended in one batch, so that the session is not known.
    without_session: Vec<&'a str>,
}

pub(crate) fn match_commands(vehicle: &VehicleHistory<'_>) -> MatchedCommands {
    let mut claims = claims(vehicle);
    let mut matched = MatchedCommands::default();
    for received in received_commands(vehicle) {
        if let Some(id) = take_claim(vehicle, &mut claims, &received) {
            matched.received.insert(id.to_owned(), received);
        } else if !is_shutdown_goodbye(vehicle.run, &received) {
            matched.unmatched.push(received);
        }
    }
    matched
}

fn claims<'a>(vehicle: &VehicleHistory<'a>) -> Claims<'a> {
    let mut claims = Claims::default();
    for change in &vehicle.command_changes {
        if change.state == "sent" {
            let key = (change.epoch, reply_kind(change.sentence));
            claims.by_session.entry(key).or_default().push(change.id);
        }
    }
    let claimed: Vec<&str> = claims.by_session.values().flatten().copied().collect();
    let without_session = vehicle
        .command_changes
        .iter()
        .filter(|change| change.sent && !claimed.contains(&change.id));
    claims.without_session = without_session.map(|change| change.id).collect();
    claims
}

fn received_commands(vehicle: &VehicleHistory<'_>) -> Vec<ReceivedCommand> {
    let mut counts: BTreeMap<ConnectionNumber, usize> = BTreeMap::new();
    let mut all = Vec::new();
    for observation in vehicle.observations {
        if let DeviceEvent::ReceivedCommand { sentence, late } = &observation.event {
            let count = counts.entry(observation.connection).or_default();
            all.push(ReceivedCommand {
                at: observation.at,
                connection: observation.connection,
                nth: *count,
                late: *late,
                sentence: sentence.clone(),
            });
            *count += 1;
        }
    }
    all
}

/// Removes the claim that belongs to a received command, and the claims of its session before it: those were lost.
fn take_claim<'a>(
    vehicle: &VehicleHistory<'a>,
    claims: &mut Claims<'a>,
    received: &ReceivedCommand,
) -> Option<&'a str> {
    let fits = |id: &&'a str| {
        vehicle.command_rows.get(id).is_some_and(|row| {
            let was_sent = row
                .sent_at
                .is_some_and(|sent| sent <= received.at + CLOCK_ROUNDING);
            row.sentence == received.sentence && was_sent
        })
    };
    let epoch = vehicle.epochs.get(&received.connection);
    let key = (epoch.copied().unwrap_or(-1), reply_kind(&received.sentence));
    if let Some(claimed) = claims.by_session.get_mut(&key) {
        // A command that expired after its claim was probably not written, so another one that fits goes first.
        let was_written = |id: &&'a str| {
            let row = vehicle.command_rows.get(id);
            row.is_some_and(|row| row.state != "expired")
        };
        let index = if received.late {
            let written = claimed.iter().position(|id| fits(id) && was_written(id));
            written.or_else(|| claimed.iter().position(fits))
        } else {
            claimed.iter().rposition(fits)
        };
        if let Some(index) = index {
            if is_goodbye_of_owner(vehicle, claimed[index], received) {
                return None;
            }
            return claimed.drain(..=index).next_back();
        }
    }
    // Such a command ended together with its session, so only a late read can come long after its end.
    let is_in_time = |id: &&'a str| {
        let row = vehicle.command_rows.get(id);
        let finished = row.and_then(|row| row.finished_at);
        received.late || finished.is_none_or(|finished| received.at <= finished + TRANSIT_DELAY)
    };
    let index = claims
        .without_session
        .iter()
        .position(|id| fits(id) && is_in_time(id))?;
    Some(claims.without_session.remove(index))
}

/// Whether the instance of this connection was being stopped and said goodbye by itself, after it had ended this
/// command as expired: such a command was claimed too late to be written, and the stop no longer waits for it.
fn is_goodbye_of_owner(vehicle: &VehicleHistory<'_>, id: &str, received: &ReceivedCommand) -> bool {
    let is_ended = vehicle.command_rows.get(id).is_some_and(|row| {
        let finished = row.finished_at;
        row.state == "expired" && finished.is_some_and(|finished| finished <= received.at)
    });
    let login = vehicle.login_of(received.connection);
    let owner = login.and_then(|login| login.session.incarnation.as_deref());
    let instance = owner.and_then(|owner| instance_of(vehicle.run, owner));
    let is_stopped = vehicle.run.faults.iter().any(|window| {
        matches!(window.fault, Fault::Restart(index) if instance.is_none_or(|own| own == index))
            && (window.from..=window.until + READ_DELAY).contains(&received.at)
    });
    received.sentence == "GOTTA GO." && !received.late && is_ended && is_stopped
}

/// Whether this is the goodbye that an instance sends without a command when it stops: some instance was stopped about
/// then.
fn is_shutdown_goodbye(history: &History, received: &ReceivedCommand) -> bool {
    let is_near = |from: Moment, until: Moment| {
        from <= received.at && (received.late || received.at <= until + READ_DELAY)
    };
    received.sentence == "GOTTA GO."
        && history.faults.iter().any(|window| {
            matches!(window.fault, Fault::Restart(_)) && is_near(window.from, window.until)
        })
}

mod tests {
    use crate::history::{
        checker::{
            Invariant,
            timeline::{Timeline, findings},
        },
        record::Fault,
    };

    const RUN: &str = "HEY YOU, RUN!";
    const REST: &str = "HEY YOU, REST!";

    #[test]
    fn claimed_lost_and_shutdown_commands_are_matched() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).run_command("a", 0, 0);
        timeline
            .create_command("b", RUN, "sent")
            .set_command_state("b", "disconnected");
        timeline
            .create_command("c", RUN, "sent")
            .receive_command(0, RUN)
            .set_command_state("c", "disconnected");
        // Claimed and ended in one batch.
        timeline.create_command("d", REST, "created");
        timeline.command_row("d").sent_at = Some(0);
        timeline
            .set_command_state("d", "disconnected")
            .receive_command(0, REST);
        timeline
            .fault(Fault::Restart(0), 0)
            .receive_command(0, "GOTTA GO.");
        assert_eq!(timeline.violations(), []);
    }

    #[test]
    fn a_shutdown_goodbye_is_not_an_older_command() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .create_command("a", "GOTTA GO.", "created");
        timeline.command_row("a").sent_at = Some(0);
        timeline.set_command_state("a", "disconnected").wait(9_000);
        timeline.log_in(1, 2).fault(Fault::Restart(0), 9_000);
        timeline.receive_command(1, "GOTTA GO.");
        assert_eq!(timeline.violations(), []);
    }

    #[test]
    fn a_shutdown_goodbye_is_not_a_command_that_expired_before_it() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .create_command("a", "GOTTA GO.", "sent")
            .set_command_state("a", "expired")
            .receive_command(0, "GOTTA GO.");
        assert_eq!(findings(&timeline, Invariant::CommandLifecycle).len(), 1);
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .create_command("a", "GOTTA GO.", "sent")
            .set_command_state("a", "expired")
            .fault(Fault::Restart(0), 1_000)
            .receive_command(0, "GOTTA GO.");
        assert_eq!(timeline.violations(), []);
    }

    #[test]
    fn a_late_read_matches_the_written_command_not_the_expired() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1);
        timeline
            .create_command("a", RUN, "sent")
            .set_command_state("a", "expired");
        timeline
            .create_command("b", RUN, "sent")
            .set_command_state("b", "disconnected");
        timeline.receive_command_late(0, RUN);
        assert_eq!(timeline.violations(), []);
        timeline.receive_command_late(0, RUN);
        assert_eq!(findings(&timeline, Invariant::CommandLifecycle).len(), 1);
    }

    #[test]
    fn a_command_that_is_received_twice_is_unmatched() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1);
        timeline
            .create_command("a", RUN, "sent")
            .receive_command(0, RUN)
            .receive_command(0, RUN);
        timeline.set_command_state("a", "disconnected");
        timeline.log_in(1, 2).receive_command(1, RUN);
        assert_eq!(
            findings(&timeline, Invariant::CommandLifecycle),
            [
                "connection 0 received \"HEY YOU, RUN!\", which no row accounts for",
                "connection 1 received \"HEY YOU, RUN!\", which no row accounts for",
            ]
        );
    }

    #[test]
    fn a_command_that_its_session_did_not_claim_is_unmatched() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .create_command("a", RUN, "created")
            .receive_command(0, RUN);
        timeline.set_command_state("a", "expired");
        timeline
            .create_command("b", RUN, "sent")
            .set_command_state("b", "disconnected");
        timeline.log_in(1, 2).receive_command(1, RUN);
        timeline.receive_command(1, "GOTTA GO.");
        assert_eq!(findings(&timeline, Invariant::CommandLifecycle).len(), 3);
    }
}
