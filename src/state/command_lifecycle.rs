//! The life of a command, from its submission to its end. Which change may be made when:
//!
//! - A command is claimed (`sent`) only by the session that holds its vehicle, before it expires, and only from
//!   `created` or `queued`: so at most once.
//! - The transaction that ends a session also ends the commands that the session has claimed.
//! - A newer command supersedes a queued one that expects the same kind of answer.

use uuid::Uuid;

use super::{
    batch::BatchState,
    commands::{NewCommand, Submitted},
    vehicle::{ChangedColumns, VehicleEntry},
};
use crate::domain::{
    Action, Answer, Command, CommandOrigin, CommandState, DeviceId, Running, SessionKey, Timestamp,
};

/// The outcome of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// This session alone may write the command, with the action that it has here: its report interval may have
    /// changed.
    Claimed(Command),
    /// The session does not hold the vehicle.
    Moved,
    /// The command was claimed or has ended before, or expires now.
    Ended(Command),
    /// There is no such command.
    Gone,
}

/// A change of a command that the gateway makes by itself. It is made only if what its variant begins with still holds
/// when the batch is applied (not claimed: `created` or `queued`; written: `sent`); else the command stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandTransition {
    /// Not claimed in time: it expires.
    Expire,
    /// Not claimed, and the vehicle is offline: it is cancelled.
    Cancel,
    /// Not claimed, and another one asks for the same: it is superseded.
    Supersede,
    /// Not claimed, and the vehicle is offline: it waits for the login until then.
    Queue(Timestamp),
    /// Claimed or not, it was not written and never will be: it expires.
    Unwritten,
    /// Written and not answered in time.
    NoAnswer,
}

impl BatchState {
    /// Stores a command, unless there is a reason not to.
    pub(crate) fn submit(&mut self, new: &NewCommand) -> Submitted {
        let incarnation = self.incarnation;
        let Some(entry) = self.vehicles.get_mut(&new.device_id) else {
            return Submitted::UnknownVehicle;
        };
        let Some(record) = entry.existing() else {
            return Submitted::UnknownVehicle;
        };
        let (epoch, created_at) = (record.session_epoch, record.vehicle.created_at);
        let is_held = new
            .claim
            .is_some_and(|epoch| record.is_held_by(incarnation, epoch));
        if let Some(repeated) = self.commands.repeated(new, record.forget_through) {
            return repeated;
        }
        if let Some(known) = self.commands.find(&new.device_id, new.id) {
            return known.submit_again(new, is_held, epoch);
        }
        if new.repeat_only {
            return Submitted::NoRoom;
        }
        if let Some(since) = new.vehicle_since {
            if created_at > since {
                return Submitted::UnknownVehicle;
            }
            if new.at >= new.expires_at {
                return Submitted::TooLate;
            }
        }
        if let (Action::KeepMePosted(interval), true) =
            (new.action, new.origin != CommandOrigin::Login)
        {
            entry.desire_interval(interval, new.at);
        }
        let (state, expires_at) = match (entry.is_online(), new.action, new.queue_until) {
            (true, ..) if is_held => (CommandState::Sent, new.expires_at),
            (true, ..) => (CommandState::Created, new.expires_at),
            (false, Action::KeepMePosted(interval), _) => return Submitted::Desired(interval),
            (false, _, Some(until)) => (CommandState::Queued, until),
            (false, _, None) => return Submitted::Offline,
        };
        // Stamps the vehicle too: a later deletion is stamped after it, and hides the commands that were stamped
        // before.
        let at = entry.stamp(new.at, ChangedColumns::Telemetry);
        let command = Command {
            id: new.id,
            device_id: new.device_id.clone(),
            action: entry.with_desired_interval(new.action),
            origin: new.origin,
            state,
            created_at: at,
            expires_at,
            sent_at: (state == CommandState::Sent).then_some(at),
            finished_at: None,
            reply: None,
            late_reply: None,
        };
        self.commands
            .insert(command.clone(), new.at, new.key.as_ref());
        Submitted::Stored(command, epoch)
    }

    /// Claims a command for a session, if the session holds the vehicle and the command may still be sent.
    pub(crate) fn claim(&mut self, id: Uuid, session: &SessionKey, at: Timestamp) -> Claimed {
        let held = self
            .held(session)
            .map(|entry| (entry.no_earlier(at), entry.desired_interval()));
        let Some(entry) = self.commands.find(&session.device_id, id) else {
            return Claimed::Gone;
        };
        if !entry.command.state.is_unsent() {
            return Claimed::Ended(entry.command.clone());
        }
        if at >= entry.command.expires_at {
            entry.finish(CommandState::Expired, at);
            return Claimed::Ended(entry.command.clone());
        }
        let Some((now, desired)) = held else {
            return Claimed::Moved;
        };
        if let (Action::KeepMePosted(_), Some(newest)) = (entry.command.action, desired) {
            entry.command.action = Action::KeepMePosted(newest);
        }
        entry.command.state = CommandState::Sent;
        entry.command.sent_at = Some(now.max(entry.command.created_at));
        entry.changed = true;
        Claimed::Claimed(entry.command.clone())
    }

    /// Makes a transition, if the command is still in a state that the transition starts from. Returns the command as
    /// it is afterwards, changed or not; `None` if there is no such command.
    pub(crate) fn transition(
        &mut self,
        device_id: &DeviceId,
        id: Uuid,
        transition: CommandTransition,
        at: Timestamp,
    ) -> Option<Command> {
        use CommandTransition as T;
        let vehicle = self.vehicles.get(device_id);
        let now = vehicle.map_or(at, |entry| entry.no_earlier(at));
        let online = vehicle.is_some_and(VehicleEntry::is_online);
        let entry = self.commands.find(device_id, id)?;
        let state = entry.command.state;
        match transition {
            T::Expire if state.is_unsent() => entry.finish(CommandState::Expired, now),
            T::Cancel if state.is_unsent() && !online => entry.finish(CommandState::Cancelled, now),
            T::Supersede if state.is_unsent() => entry.finish(CommandState::Superseded, now),
            T::Queue(until) if state == CommandState::Created && !online => {
                self.commands.queue(device_id, id, until, at, now);
            }
            T::Unwritten if !state.is_final() => entry.finish(CommandState::Expired, now),
            T::NoAnswer if state == CommandState::Sent => entry.finish(CommandState::NoAnswer, now),
            // Another change came first, or the vehicle is online again.
            _ => {}
        }
        let entry = self.commands.find(device_id, id)?;
        Some(entry.command.clone())
    }

    /// Applies a vehicle's answer to a command of the session that holds it. The answer changes the vehicle, even if it
    /// is late; it ends the command as done or refused only if it is in time.
    pub(super) fn answer(
        &mut self,
        session: &SessionKey,
        id: Uuid,
        late: bool,
        answer: Answer,
        at: Timestamp,
    ) {
        if let Answer::Fine(state) = answer {
            self.report(&session.device_id, at, &state);
        }
        let before = self.entry(&session.device_id).readings();
        self.finish_answered(session, id, late, answer, at);
        self.emit_change(&session.device_id, before);
    }

    fn finish_answered(
        &mut self,
        session: &SessionKey,
        id: Uuid,
        late: bool,
        answer: Answer,
        at: Timestamp,
    ) {
        let (Some(vehicle), Some(entry)) = (
            self.vehicles.get_mut(&session.device_id),
            self.commands.find(&session.device_id, id),
        ) else {
            return;
        };
        match (answer, entry.command.action) {
            (Answer::Done, Action::Run) => vehicle.set_running(Running::Running, at),
            (Answer::Done, Action::Rest) => vehicle.set_running(Running::Resting, at),
            (Answer::Sure, Action::KeepMePosted(interval)) => {
                vehicle.acknowledge_interval(interval, at);
            }
            _ => {}
        }
        let now = vehicle.no_earlier(at);
        if late {
            entry.command.late_reply = Some(answer.to_string());
            entry.changed = true;
            // The session gave the command up, and could not store that because the database did not answer.
            if entry.command.state == CommandState::Sent {
                entry.finish(CommandState::NoAnswer, now);
            }
        } else if entry.command.state == CommandState::Sent {
            entry.command.reply = Some(answer.to_string());
            entry.finish(
                match answer {
                    Answer::Cannot => CommandState::Refused,
                    _ => CommandState::Done,
                },
                now,
            );
        }
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
