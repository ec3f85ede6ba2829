//! What a history says of one vehicle.

use std::collections::BTreeMap;

use crate::history::checker::fault_windows::{COMMIT, READING, ROUNDING};
use crate::history::record::{
    Audit, Change, CommandRow, Connection, Event, History, Kind, Marker, Moment, Seen, Session,
    StoredRow, VehicleRow, Writer,
};

/// A change of a vehicle's session, with its place among all that was noted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<'a> {
    pub(crate) place: usize,
    pub(crate) at: Moment,
    pub(crate) committed_after: Moment,
    pub(crate) writer: &'a Writer,
    pub(crate) session: &'a Session,
    /// The vehicle was deleted, and perhaps made anew in the same batch.
    pub(crate) deletes: bool,
}

/// A change of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move<'a> {
    pub(crate) place: usize,
    pub(crate) committed_after: Moment,
    pub(crate) writer: &'a Writer,
    pub(crate) id: &'a str,
    pub(crate) sentence: &'a str,
    pub(crate) state: &'a str,
    pub(crate) sent: bool,
    pub(crate) epoch: i64,
}

/// A report or a debug blob as it was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub(crate) place: usize,
    pub(crate) at: Moment,
    pub(crate) committed_after: Moment,
    pub(crate) kind: Kind,
    pub(crate) id: i64,
    pub(crate) marker: Option<Marker>,
    pub(crate) epoch: i64,
    pub(crate) writer: &'a Writer,
}

/// A message as it was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) place: usize,
    pub(crate) at: Moment,
    pub(crate) writer: &'a Writer,
    pub(crate) id: &'a str,
    pub(crate) sequence: i64,
    pub(crate) kind: &'a str,
}

/// All about one vehicle.
#[derive(Debug, Default)]
pub(crate) struct View<'a> {
    pub(crate) device_id: &'a str,
    pub(crate) seen: &'a [Seen],
    pub(crate) steps: Vec<Step<'a>>,
    pub(crate) moves: Vec<Move<'a>>,
    pub(crate) stored: Vec<Stored<'a>>,
    pub(crate) messages: Vec<Message<'a>>,
    /// What of that is there in the end.
    pub(crate) kept: Vec<&'a StoredRow>,
    pub(crate) commands: BTreeMap<&'a str, &'a CommandRow>,
    pub(crate) row: Option<&'a VehicleRow>,
    /// Where instances died, as it was noted.
    pub(crate) deaths: BTreeMap<&'a str, (usize, Moment)>,
    /// The epoch of each connection whose login was noted.
    pub(crate) epochs: BTreeMap<Connection, i64>,
}

impl View<'_> {
    /// The login that began this epoch, if it was the last of its batch.
    pub(crate) fn login(&self, epoch: i64) -> Option<Step<'_>> {
        let mut steps = self.steps.iter();
        steps.find(|step| step.session.epoch == epoch).copied()
    }

    /// Whether a vehicle existed all the time between these moments, for all that is known.
    pub(crate) fn existed(&self, from: Moment, until: Moment) -> bool {
        let before = self.steps.iter().take_while(|step| step.at < from - COMMIT);
        let is_there = before.last().is_some_and(|step| !step.session.deleted);
        let mut meanwhile = self.steps.iter();
        is_there
            && !meanwhile
                .any(|step| step.deletes && (from - COMMIT..=until + READING).contains(&step.at))
    }

    pub(crate) fn deletions(&self) -> impl DoubleEndedIterator<Item = Step<'_>> {
        self.steps.iter().copied().filter(|step| step.deletes)
    }

    /// Each change with what was before it.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (Session, Step<'_>)> {
        let before = self.steps.iter().map(|step| step.session.clone());
        std::iter::once(Session::default())
            .chain(before)
            .zip(self.steps.iter().copied())
    }
}

/// The view of this vehicle.
fn of<'v, 'a>(views: &'v mut BTreeMap<&'a str, View<'a>>, id: &'a str) -> &'v mut View<'a> {
    let view = views.entry(id).or_default();
    view.device_id = id;
    view
}

/// A view of every vehicle that somebody saw.
pub(crate) fn views(history: &History) -> BTreeMap<&str, View<'_>> {
    let mut views: BTreeMap<&str, View<'_>> = BTreeMap::new();
    for (id, seen) in &history.seen {
        let view = views.entry(id.as_str()).or_default();
        view.device_id = id;
        view.seen = seen;
    }
    let mut deaths = BTreeMap::new();
    for (place, audit) in history.audit.iter().enumerate() {
        let Audit {
            at,
            committed_after,
            writer,
            change,
        } = audit;
        let (at, committed_after) = (*at, *committed_after);
        match change {
            Change::Session { device_id, session } => {
                let steps = &mut of(&mut views, device_id).steps;
                let before = steps.last().and_then(|step: &Step<'_>| step.session.forget);
                steps.push(Step {
                    place,
                    at,
                    committed_after,
                    writer,
                    session,
                    deletes: session.forget.is_some() && session.forget != before,
                });
            }
            Change::Stored {
                device_id,
                kind,
                id,
                epoch,
                marker,
            } => of(&mut views, device_id).stored.push(Stored {
                place,
                at,
                committed_after,
                kind: *kind,
                id: *id,
                marker: *marker,
                epoch: *epoch,
                writer,
            }),
            Change::Command {
                device_id,
                id,
                sentence,
                state,
                sent,
                epoch,
            } => {
                let moves = &mut of(&mut views, device_id).moves;
                let mut before = moves.iter().rev().filter(|step| step.id == id);
                // Or it was a late answer.
                if before.next().is_none_or(|step| step.state != state) {
                    moves.push(Move {
                        place,
                        committed_after,
                        writer,
                        id,
                        sentence,
                        state,
                        sent: *sent,
                        epoch: *epoch,
                    });
                }
            }
            Change::Message {
                device_id,
                id,
                sequence,
                kind,
            } => of(&mut views, device_id).messages.push(Message {
                place,
                at,
                writer,
                id,
                sequence: *sequence,
                kind,
            }),
            Change::Instance { id, state, .. } => {
                if state == "dead" {
                    deaths.entry(id.as_str()).or_insert((place, at));
                }
            }
        }
    }
    add_rows(&mut views, history);
    for view in views.values_mut() {
        view.epochs = epochs(view.seen, &view.steps);
        view.deaths.clone_from(&deaths);
    }
    views
}

/// Adds what is there in the end.
fn add_rows<'a>(views: &mut BTreeMap<&'a str, View<'a>>, history: &'a History) {
    for row in &history.stored {
        of(views, &row.device_id).kept.push(row);
    }
    for command in &history.commands {
        of(views, &command.device_id)
            .commands
            .insert(&command.id, command);
    }
    for row in &history.vehicles {
        of(views, &row.device_id).row = Some(row);
    }
}

/// Which login was which connection's: told by the device's address, which the gateway notes. A port is used again,
/// but not by two connections at one time: so it is the last one before.
fn epochs(seen: &[Seen], steps: &[Step<'_>]) -> BTreeMap<Connection, i64> {
    let mut epochs = BTreeMap::new();
    let mut before = 0;
    for step in steps {
        let is_login = step.session.epoch > before;
        before = step.session.epoch;
        let Some(remote) = step.session.remote.as_ref().filter(|_| is_login) else {
            continue;
        };
        let connected = seen.iter().rev().find(|seen| {
            let is_it = matches!(&seen.event, Event::Connected { address } if address == remote);
            is_it && seen.at <= step.at + ROUNDING
        });
        if let Some(connected) = connected {
            epochs.insert(connected.connection, step.session.epoch);
        }
    }
    epochs
}

mod tests {
    use super::views;
    use crate::history::checker::timeline::{Story, address};
    use crate::history::record::Event;

    #[test]
    fn a_login_is_of_the_last_connection_from_its_address() {
        let mut story = Story::new();
        // It was refused; later somebody got its port.
        story.hello(0).leaves(0).log_in(1, 1);
        let mut history = story.over();
        for seen in history.seen.values_mut().flatten() {
            if let Event::Connected { address: of } = &mut seen.event {
                *of = address(1);
            }
        }
        let views = views(&history);
        let epochs = views.values().next().map(|view| view.epochs.clone());
        assert_eq!(epochs, Some([(1, 1)].into()));
    }
}
