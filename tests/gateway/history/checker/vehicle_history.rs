//! The history of one vehicle: what its device observed, and what was written about it, in order.

use std::collections::BTreeMap;

use super::tolerances::{CLOCK_ROUNDING, COMMIT_DELAY, READ_DELAY};
use crate::history::record::{
    AuditEntry, BatchId, Change, CommandRequest, CommandRow, ConnectionNumber, DeviceEvent,
    History, Marker, Moment, Observation, SessionRow, StoredKind, StoredRow, VehicleRequest,
    VehicleRow,
};

/// A change of a vehicle's session. `position` is the index of its audit entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionChange<'a> {
    pub(crate) position: usize,
    pub(crate) at: Moment,
    pub(crate) committed_after: Moment,
    pub(crate) batch: &'a BatchId,
    pub(crate) session: &'a SessionRow,
    /// The vehicle was deleted, and possibly created again in the same batch.
    pub(crate) deletes: bool,
}

/// A change of a command's state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommandChange<'a> {
    pub(crate) position: usize,
    pub(crate) committed_after: Moment,
    pub(crate) batch: &'a BatchId,
    pub(crate) id: &'a str,
    pub(crate) sentence: &'a str,
    pub(crate) state: &'a str,
    pub(crate) sent: bool,
    pub(crate) epoch: i64,
}

/// A report or a debug blob that was stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredChange<'a> {
    pub(crate) position: usize,
    pub(crate) at: Moment,
    pub(crate) committed_after: Moment,
    pub(crate) batch: &'a BatchId,
    pub(crate) kind: StoredKind,
    pub(crate) id: i64,
    pub(crate) marker: Option<Marker>,
    pub(crate) epoch: i64,
}

/// A webhook message that was stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessageChange<'a> {
    pub(crate) position: usize,
    pub(crate) at: Moment,
    pub(crate) batch: &'a BatchId,
    pub(crate) id: &'a str,
    pub(crate) sequence: i64,
    pub(crate) kind: &'a str,
}

/// Everything that is known of one vehicle.
#[derive(Debug)]
pub(crate) struct VehicleHistory<'a> {
    pub(crate) device_id: &'a str,
    /// The record of the whole run.
    pub(crate) run: &'a History,
    pub(crate) observations: &'a [Observation],
    pub(crate) session_changes: Vec<SessionChange<'a>>,
    pub(crate) command_changes: Vec<CommandChange<'a>>,
    pub(crate) stored_changes: Vec<StoredChange<'a>>,
    pub(crate) message_changes: Vec<MessageChange<'a>>,
    /// The reports and debug blobs that are still there at the end.
    pub(crate) stored_rows: Vec<&'a StoredRow>,
    pub(crate) command_rows: BTreeMap<&'a str, &'a CommandRow>,
    pub(crate) row: Option<&'a VehicleRow>,
    /// The position and the time at which each dead incarnation was declared dead.
    pub(crate) deaths: BTreeMap<&'a str, (usize, Moment)>,
    /// The epoch of each connection whose login has an audit entry of its own.
    pub(crate) epochs: BTreeMap<ConnectionNumber, i64>,
}

impl<'a> VehicleHistory<'a> {
    fn new(run: &'a History, device_id: &'a str) -> Self {
        Self {
            device_id,
            run,
            observations: run.observations.get(device_id).map_or(&[], Vec::as_slice),
            session_changes: Vec::new(),
            command_changes: Vec::new(),
            stored_changes: Vec::new(),
            message_changes: Vec::new(),
            stored_rows: Vec::new(),
            command_rows: BTreeMap::new(),
            row: None,
            deaths: BTreeMap::new(),
            epochs: BTreeMap::new(),
        }
    }
}

impl VehicleHistory<'_> {
    /// The login that began this epoch, if it was the last login of its batch.
    pub(crate) fn login(&self, epoch: i64) -> Option<SessionChange<'_>> {
        let mut changes = self.session_changes.iter();
        changes
            .find(|change| change.session.epoch == epoch)
            .copied()
    }

    /// The login of this connection, if it has an audit entry of its own.
    pub(crate) fn login_of(&self, connection: ConnectionNumber) -> Option<SessionChange<'_>> {
        self.login(*self.epochs.get(&connection)?)
    }

    /// Whether the vehicle certainly existed at every moment between these.
    pub(crate) fn existed(&self, from: Moment, until: Moment) -> bool {
        let from = from - COMMIT_DELAY;
        let until = until + READ_DELAY;
        let before = self
            .session_changes
            .iter()
            .take_while(|change| change.at < from);
        let existed_before = before.last().is_some_and(|last| !last.session.deleted);
        existed_before
            && !self
                .deletions()
                .any(|deletion| (from..=until).contains(&deletion.at))
    }

    /// The requests to send a command to this vehicle.
    pub(crate) fn command_requests(&self) -> impl Iterator<Item = &CommandRequest> {
        let requests = self.run.command_requests.iter();
        requests.filter(|request| request.device_id == self.device_id)
    }

    /// The other requests about this vehicle.
    pub(crate) fn requests(&self) -> impl Iterator<Item = &VehicleRequest> {
        let requests = self.run.vehicle_requests.iter();
        requests.filter(|request| request.device_id == self.device_id)
    }

    pub(crate) fn deletions(&self) -> impl DoubleEndedIterator<Item = SessionChange<'_>> {
        self.session_changes
            .iter()
            .copied()
            .filter(|change| change.deletes)
    }

    /// Each change of the session, with the session before it.
    pub(crate) fn session_transitions(
        &self,
    ) -> impl Iterator<Item = (SessionRow, SessionChange<'_>)> {
        let sessions = self.session_changes.iter();
        let before = sessions.map(|change| change.session.clone());
        std::iter::once(SessionRow::default())
            .chain(before)
            .zip(self.session_changes.iter().copied())
    }

    /// Each change of the session, with the moment until which it lasted.
    pub(crate) fn session_periods(&self) -> impl Iterator<Item = (SessionChange<'_>, Moment)> {
        let ends = self.session_changes.iter().skip(1).map(|next| next.at);
        self.session_changes
            .iter()
            .copied()
            .zip(ends.chain(std::iter::once(self.run.end)))
    }
}

type VehicleHistories<'a> = BTreeMap<&'a str, VehicleHistory<'a>>;

fn of<'h, 'a>(
    vehicles: &'h mut VehicleHistories<'a>,
    run: &'a History,
    device_id: &'a str,
) -> &'h mut VehicleHistory<'a> {
    vehicles
        .entry(device_id)
        .or_insert_with(|| VehicleHistory::new(run, device_id))
}

/// Returns the history of each vehicle that a device observed or that the database knows, by device id.
pub(crate) fn vehicle_histories(history: &History) -> VehicleHistories<'_> {
    let mut vehicles = BTreeMap::new();
    for id in history.observations.keys() {
        of(&mut vehicles, history, id);
    }
    let mut deaths = BTreeMap::new();
    for (position, entry) in history.audit.iter().enumerate() {
        if let Change::Instance { id, state, .. } = &entry.change {
            if state == "dead" {
                deaths.entry(id.as_str()).or_insert((position, entry.at));
            }
        } else {
            add_entry(&mut vehicles, history, position, entry);
        }
    }
    add_rows(&mut vehicles, history);
    for vehicle in vehicles.values_mut() {
        vehicle.epochs = epochs(vehicle.observations, &vehicle.session_changes);
        vehicle.deaths.clone_from(&deaths);
    }
    vehicles
}

/// Adds what an audit entry says about a vehicle.
fn add_entry<'a>(
    vehicles: &mut VehicleHistories<'a>,
    history: &'a History,
    position: usize,
    entry: &'a AuditEntry,
) {
    let AuditEntry {
        at,
        committed_after,
        batch,
        change,
    } = entry;
    let (at, committed_after) = (*at, *committed_after);
    match change {
        Change::Session { device_id, session } => {
            let changes = &mut of(vehicles, history, device_id).session_changes;
            let before = changes.last().and_then(|last| last.session.forget_through);
            changes.push(SessionChange {
                position,
                at,
                committed_after,
                batch,
                session,
                deletes: session.forget_through.is_some() && session.forget_through != before,
            });
        }
        Change::Stored {
            device_id,
            kind,
            id,
            epoch,
            marker,
        } => of(vehicles, history, device_id)
            .stored_changes
            .push(StoredChange {
                position,
                at,
                committed_after,
                batch,
                kind: *kind,
                id: *id,
                marker: *marker,
                epoch: *epoch,
            }),
        Change::Command {
            device_id,
            id,
            sentence,
            state,
            sent,
            epoch,
        } => {
            let changes = &mut of(vehicles, history, device_id).command_changes;
            let last = changes.iter().rev().find(|change| change.id == id);
            // An entry with the same state notes a late reply.
            if last.is_none_or(|last| last.state != state) {
                changes.push(CommandChange {
                    position,
                    committed_after,
                    batch,
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
        } => of(vehicles, history, device_id)
            .message_changes
            .push(MessageChange {
                position,
                at,
                batch,
                id,
                sequence: *sequence,
                kind,
            }),
        Change::Instance { .. } => {}
    }
}

/// Adds the rows that are there at the end.
fn add_rows<'a>(vehicles: &mut VehicleHistories<'a>, history: &'a History) {
    for row in &history.stored_rows {
        of(vehicles, history, &row.device_id).stored_rows.push(row);
    }
    for row in &history.command_rows {
        of(vehicles, history, &row.device_id)
            .command_rows
            .insert(&row.id, row);
    }
    for row in &history.vehicle_rows {
        of(vehicles, history, &row.device_id).row = Some(row);
    }
}

/// Finds the connection of each login by the device's address, which the gateway stores. A port may be used again, but
/// not by two connections at one time, so the connection is the last one from this address.
fn epochs(
    observations: &[Observation],
    changes: &[SessionChange<'_>],
) -> BTreeMap<ConnectionNumber, i64> {
    let mut epochs = BTreeMap::new();
    let mut before = 0;
    for change in changes {
        let is_login = change.session.epoch > before;
        before = change.session.epoch;
        let Some(remote) = change.session.remote_addr.as_ref().filter(|_| is_login) else {
            continue;
        };
        let connected = observations.iter().rev().find(|observation| {
            let is_it = matches!(&observation.event, DeviceEvent::Connected { address } if address == remote);
            is_it && observation.at <= change.at + CLOCK_ROUNDING
        });
        if let Some(connected) = connected {
            epochs.insert(connected.connection, change.session.epoch);
        }
    }
    epochs
}

mod tests {
    use super::vehicle_histories;
    use crate::history::{
        checker::timeline::{Timeline, address},
        record::DeviceEvent,
    };

    #[test]
    fn a_login_belongs_to_the_last_connection_from_its_address() {
        let mut timeline = Timeline::new();
        // Connection 0 is refused, and connection 1 gets its port later.
        timeline.send_hello(0).disconnect(0).log_in(1, 1);
        let mut history = timeline.finish();
        for observation in history.observations.values_mut().flatten() {
            if let DeviceEvent::Connected { address: used } = &mut observation.event {
                *used = address(1);
            }
        }
        let vehicles = vehicle_histories(&history);
        let epochs = vehicles.values().next().map(|vehicle| &vehicle.epochs);
        assert_eq!(epochs, Some(&[(1, 1)].into()));
    }
}
