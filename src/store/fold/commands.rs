//! What a batch makes of commands. The rules of who may end what:
//!
//! - A command is claimed (`sent`) only by the session that holds its vehicle, before its time is over, and
//!   only from `created` or `queued`: so at most once.
//! - What ends a session ends what it claimed, in the same transaction.
//! - A newer command takes the place of one that is queued for the same kind of answer.

use std::{collections::HashMap, time::Duration};

use super::{Fold, Row};
use crate::{
    domain::{
        Action, Answer, AnswerKind, Command, CommandOrigin, CommandState, DeviceId,
        DisconnectReason, ReportInterval, SessionKey, Timestamp,
    },
    store::{
        entities::{idempotency_key, vehicle},
        intent::{Claimed, CommandTransition, NewCommand, Submitted},
    },
};
use uuid::Uuid;

/// How long a caller's key stands for its command.
pub const KEY_LIFETIME: Duration = Duration::from_hours(24);

/// A command's row during a batch.
#[derive(Debug)]
pub(in crate::store) struct CommandRow {
    pub(in crate::store) command: Command,
    pub(in crate::store) changed: bool,
    /// It came to its final state in this batch.
    pub(in crate::store) ended: bool,
}

/// The commands that a batch may touch, and the keys that its requests name.
#[derive(Debug, Default)]
pub(in crate::store) struct Commands {
    /// All open ones of the vehicles whose sessions or queues change, and those that are named.
    by_device: HashMap<DeviceId, Vec<CommandRow>>,
    keys: HashMap<(String, String), idempotency_key::Model>,
    /// Keys that this batch made.
    pub(in crate::store) new_keys: Vec<idempotency_key::Model>,
}

impl Commands {
    /// Takes in a row that was read; a row that is there already stays.
    pub(in crate::store) fn add(&mut self, command: Command) {
        let rows = self.by_device.entry(command.device_id.clone()).or_default();
        if rows.iter().all(|row| row.command.id != command.id) {
            rows.push(CommandRow {
                command,
                changed: false,
                ended: false,
            });
        }
    }

    pub(in crate::store) fn add_key(&mut self, key: idempotency_key::Model) {
        self.keys
            .insert((key.device_id.clone(), key.key.clone()), key);
    }

    /// What is to be written.
    pub(in crate::store) fn changed(&self) -> impl Iterator<Item = &Command> {
        let rows = self.by_device.values().flatten();
        rows.filter(|row| row.changed).map(|row| &row.command)
    }

    /// What came to its final state.
    pub(in crate::store) fn ended(&self) -> impl Iterator<Item = Command> {
        let rows = self.by_device.values().flatten();
        rows.filter(|row| row.ended).map(|row| row.command.clone())
    }

    fn find(&mut self, device_id: &DeviceId, id: Uuid) -> Option<&mut CommandRow> {
        let rows = self.by_device.get_mut(device_id)?;
        rows.iter_mut().find(|row| row.command.id == id)
    }

    fn of(&mut self, device_id: &DeviceId) -> impl Iterator<Item = &mut CommandRow> {
        self.by_device.get_mut(device_id).into_iter().flatten()
    }

    /// What waits for the login of this vehicle and for this kind of answer: one at most.
    fn queued(
        &mut self,
        device_id: &DeviceId,
        kind: AnswerKind,
    ) -> impl Iterator<Item = &mut CommandRow> {
        self.of(device_id).filter(move |row| {
            row.command.state == CommandState::Queued && row.command.action.answer_kind() == kind
        })
    }

    /// Lets a command that was on its way wait for the login, unless a newer one does.
    fn queue(&mut self, device_id: &DeviceId, id: Uuid, until: Timestamp, now: Timestamp) {
        let Some(row) = self.find(device_id, id) else {
            return;
        };
        let kind = row.command.action.answer_kind();
        let mut newest = id;
        for other in self.queued(device_id, kind) {
            if other.command.id < id {
                other.end(CommandState::Superseded, now);
            }
            newest = newest.max(other.command.id);
        }
        let Some(row) = self.find(device_id, id) else {
            return;
        };
        if newest == id {
            row.command.state = CommandState::Queued;
            row.command.expires_at = until;
            row.changed = true;
        } else {
            row.end(CommandState::Superseded, now);
        }
    }

    /// The session of this vehicle is over: ends what it claimed.
    pub(super) fn end_session(
        &mut self,
        device_id: &DeviceId,
        at: Timestamp,
        reason: DisconnectReason,
    ) {
        for row in self.of(device_id) {
            if row.command.state == CommandState::Sent {
                // The goodbye was said and the connection closed, but the vehicle did not agree.
                let left_alone =
                    row.command.action == Action::Goodbye && reason == DisconnectReason::Operator;
                row.end(
                    if left_alone {
                        CommandState::NoAnswer
                    } else {
                        CommandState::Disconnected
                    },
                    at,
                );
            }
        }
    }

    /// Nobody will send them any more: ends those that are not sent.
    pub(super) fn cancel(
        &mut self,
        device_id: &DeviceId,
        at: Timestamp,
        which: impl Fn(CommandState) -> bool,
    ) {
        for row in self.of(device_id) {
            if row.command.state.is_unsent() && which(row.command.state) {
                row.end(CommandState::Cancelled, at);
            }
        }
    }

    /// What waits for the login of this vehicle, oldest first; what came too late is ended.
    pub(super) fn take_queued(
        &mut self,
        device_id: &DeviceId,
        at: Timestamp,
    ) -> Vec<(Uuid, Action)> {
        let mut queued = Vec::new();
        for row in self.of(device_id) {
            if row.command.state != CommandState::Queued {
                continue;
            }
            if at >= row.command.expires_at {
                row.end(CommandState::Expired, at);
            } else {
                queued.push((row.command.id, row.command.action));
            }
        }
        queued.sort_unstable_by_key(|(id, _)| *id);
        queued
    }
}

impl CommandRow {
    fn end(&mut self, state: CommandState, at: Timestamp) {
        let command = &mut self.command;
        command.state = state;
        command.finished_at = Some(at.max(command.sent_at.unwrap_or(command.created_at)));
        self.changed = true;
        self.ended = true;
    }
}

impl CommandRow {
    /// Another instance stored it, and could not send it: it is sent by the session that asks, if that holds
    /// the vehicle and may write it at once.
    fn submit_again(&mut self, new: &NewCommand, held: bool, epoch: i64) -> Submitted {
        if self.command.state != CommandState::Created {
            return Submitted::Repeated(self.command.clone());
        }
        if new.at >= self.command.expires_at {
            self.end(CommandState::Expired, new.at);
            return Submitted::Repeated(self.command.clone());
        }
        if held {
            self.command.state = CommandState::Sent;
            self.command.sent_at = Some(new.at.max(self.command.created_at));
            self.changed = true;
        }
        Submitted::Stored(self.command.clone(), epoch)
    }
}

impl Fold {
    pub(super) fn submit(&mut self, new: &NewCommand) -> Submitted {
        let held = new.claim.is_some_and(|epoch| {
            let session = SessionKey {
                device_id: new.device_id.clone(),
                epoch,
            };
            self.held(&session).is_some()
        });
        let row = self.rows.get_mut(&new.device_id);
        let Some((row, forgotten)) = row.and_then(living) else {
            return Submitted::UnknownVehicle;
        };
        if let Some(repeated) = repeated(&mut self.commands, new, forgotten) {
            return repeated;
        }
        let epoch = row.model.as_ref().map_or(0, |model| model.session_epoch);
        if let Some(known) = self.commands.find(&new.device_id, new.id) {
            return known.submit_again(new, held, epoch);
        }
        if new.repeat_only {
            return Submitted::NoRoom;
        }
        if let Some(since) = new.may_exist_since {
            let made_at = row.model.as_ref().map_or(0, |model| model.created_at);
            if made_at > since.as_millis() {
                return Submitted::UnknownVehicle;
            }
            if new.at >= new.expires_at {
                return Submitted::TooLate;
            }
        }
        if let (Action::KeepMePosted(interval), true) =
            (new.action, new.origin != CommandOrigin::Login)
        {
            row.desire(interval, new.at);
        }
        let online = row.model.as_ref().is_some_and(|model| model.online);
        let (state, expires_at) = match (online, new.action, new.queue_until) {
            (true, ..) if held => (CommandState::Sent, new.expires_at),
            (true, ..) => (CommandState::Created, new.expires_at),
            (false, Action::KeepMePosted(interval), _) => return Submitted::Desired(interval),
            (false, _, Some(until)) => (CommandState::Queued, until),
            (false, _, None) => return Submitted::Offline,
        };
        // A deletion later hides what was stamped before it: so the vehicle's clock has to know.
        let at = Timestamp::from_millis(row.stamp(new.at, super::Change::Telemetry));
        let action = row.newest(new.action);
        for older in self.commands.queued(&new.device_id, action.answer_kind()) {
            older.end(CommandState::Superseded, at);
        }
        let command = Command {
            id: new.id,
            device_id: new.device_id.clone(),
            action,
            origin: new.origin,
            state,
            created_at: at,
            expires_at,
            sent_at: (state == CommandState::Sent).then_some(at),
            finished_at: None,
            reply: None,
            late_reply: None,
        };
        if let Some(key) = &new.key {
            self.commands.new_keys.push(idempotency_key::Model {
                device_id: new.device_id.as_str().to_owned(),
                key: key.key.clone(),
                command_id: new.id.to_string(),
                request: key.request.clone(),
                created_at: at.as_millis(),
            });
            let key = self.commands.new_keys[self.commands.new_keys.len() - 1].clone();
            self.commands.add_key(key);
        }
        self.commands.add(command.clone());
        if let Some(row) = self.commands.find(&new.device_id, new.id) {
            row.changed = true;
        }
        Submitted::Stored(command, epoch)
    }

    pub(super) fn claim(&mut self, id: Uuid, session: &SessionKey, at: Timestamp) -> Claimed {
        let held = self.held(session).map(|row| {
            let now = row.now(at);
            (now, row.model.as_ref().and_then(desired))
        });
        let Some(row) = self.commands.find(&session.device_id, id) else {
            return Claimed::Gone;
        };
        if !row.command.state.is_unsent() {
            return Claimed::Ended(row.command.clone());
        }
        if at >= row.command.expires_at {
            row.end(CommandState::Expired, at);
            return Claimed::Ended(row.command.clone());
        }
        let Some((now, desired)) = held else {
            return Claimed::Moved;
        };
        if let (Action::KeepMePosted(_), Some(newest)) = (row.command.action, desired) {
            row.command.action = Action::KeepMePosted(newest);
        }
        row.command.state = CommandState::Sent;
        row.command.sent_at = Some(now.max(row.command.created_at));
        row.changed = true;
        Claimed::Claimed(row.command.clone())
    }

    pub(super) fn finish(
        &mut self,
        device_id: &DeviceId,
        id: Uuid,
        ending: CommandTransition,
        at: Timestamp,
    ) -> Option<Command> {
        let vehicle = self.rows.get(device_id);
        let now = vehicle.map_or(at, |row| row.now(at));
        let online = vehicle
            .and_then(|row| row.model.as_ref())
            .is_some_and(|model| model.online);
        let row = self.commands.find(device_id, id)?;
        let state = row.command.state;
        match ending {
            CommandTransition::Expire if state.is_unsent() => row.end(CommandState::Expired, now),
            CommandTransition::Cancel if state.is_unsent() && !online => {
                row.end(CommandState::Cancelled, now);
            }
            CommandTransition::Supersede if state.is_unsent() => {
                row.end(CommandState::Superseded, now);
            }
            CommandTransition::Queue(until) if state == CommandState::Created && !online => {
                self.commands.queue(device_id, id, until, now);
            }
            CommandTransition::Unwritten if !state.is_final() => {
                row.end(CommandState::Expired, now);
            }
            CommandTransition::NoAnswer if state == CommandState::Sent => {
                row.end(CommandState::NoAnswer, now);
            }
            // Somebody else was first, or the vehicle is back.
            _ => {}
        }
        let row = self.commands.find(device_id, id)?;
        Some(row.command.clone())
    }

    /// A vehicle's answer to a command of the session that holds it: its effects, which a late answer has
    /// as well, and the end of the command, which a late one has not.
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
        let before = self.row(&session.device_id).state();
        self.settle_answer(session, id, late, answer, at);
        self.tell_change(&session.device_id, before);
    }

    fn settle_answer(
        &mut self,
        session: &SessionKey,
        id: Uuid,
        late: bool,
        answer: Answer,
        at: Timestamp,
    ) {
        let (Some(vehicle), Some(row)) = (
            self.rows.get_mut(&session.device_id),
            self.commands.find(&session.device_id, id),
        ) else {
            return;
        };
        match (answer, row.command.action) {
            (Answer::Done, Action::Run) => vehicle.run(true, at),
            (Answer::Done, Action::Rest) => vehicle.run(false, at),
            (Answer::Sure, Action::KeepMePosted(interval)) => vehicle.acknowledge(interval, at),
            _ => {}
        }
        if late {
            row.command.late_reply = Some(answer.to_string());
            row.changed = true;
            // Whoever gave it up could not say so: the database was away.
            if row.command.state == CommandState::Sent {
                let now = vehicle.now(at);
                row.end(CommandState::NoAnswer, now);
            }
        } else if row.command.state == CommandState::Sent {
            let now = vehicle.now(at);
            row.command.reply = Some(answer.to_string());
            row.end(
                match answer {
                    Answer::Cannot => CommandState::Refused,
                    _ => CommandState::Done,
                },
                now,
            );
        }
    }
}

/// The row of a vehicle that exists, and up to when its history is forgotten.
fn living(row: &mut Row) -> Option<(&mut Row, Option<i64>)> {
    let model = row.model.as_ref()?;
    let forgotten = model.forget_through;
    model.deleted_at.is_none().then_some((row, forgotten))
}

/// What a request amounts to whose key was used before.
fn repeated(
    commands: &mut Commands,
    new: &NewCommand,
    forgotten: Option<i64>,
) -> Option<Submitted> {
    let key = new.key.as_ref()?;
    let place = (new.device_id.as_str().to_owned(), key.key.clone());
    let known = commands.keys.get(&place)?;
    let is_old = known.created_at <= new.at.before(KEY_LIFETIME).as_millis();
    if is_old || forgotten.is_some_and(|through| known.created_at <= through) {
        return None;
    }
    if known.request != key.request {
        return Some(Submitted::KeyReused);
    }
    let id: Uuid = known.command_id.parse().ok()?;
    // The request itself, after another instance has stored it and could not send it: nobody else is about it.
    if id == new.id {
        return None;
    }
    let row = commands.find(&new.device_id, id)?;
    Some(Submitted::Repeated(row.command.clone()))
}

pub(super) fn desired(model: &vehicle::Model) -> Option<ReportInterval> {
    let seconds = u64::try_from(model.update_frequency?).ok()?;
    ReportInterval::new(seconds).ok()
}

impl Row {
    /// The time to put on something of this vehicle, without putting it on the vehicle.
    fn now(&self, at: Timestamp) -> Timestamp {
        let updated_at = self.model.as_ref().map(|model| model.updated_at);
        at.max(updated_at.map_or(at, Timestamp::from_millis))
    }

    fn desire(&mut self, interval: ReportInterval, at: Timestamp) {
        self.stamp(at, super::Change::All);
        if let Some(model) = &mut self.model {
            model.update_frequency = i16::try_from(interval.seconds()).ok();
        }
    }

    /// The action with the value that is desired by now.
    fn newest(&self, action: Action) -> Action {
        match (action, self.model.as_ref().and_then(desired)) {
            (Action::KeepMePosted(_), Some(interval)) => Action::KeepMePosted(interval),
            _ => action,
        }
    }

    fn run(&mut self, running: bool, at: Timestamp) {
        self.stamp(at, super::Change::Telemetry);
        if let Some(model) = &mut self.model {
            model.running = Some(running);
        }
    }

    pub(super) fn acknowledge(&mut self, interval: ReportInterval, at: Timestamp) {
        self.stamp(at, super::Change::All);
        if let Some(model) = &mut self.model {
            model.acknowledged_update_frequency = i16::try_from(interval.seconds()).ok();
        }
    }
}

#[cfg(test)]
#[path = "commands_tests.rs"]
mod tests;
