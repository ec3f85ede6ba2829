//! The commands of a batch, and how submissions and the ends of sessions change them.

use std::{collections::HashMap, time::Duration};

use uuid::Uuid;

use crate::domain::{
    Action, AnswerKind, Command, CommandOrigin, CommandState, DeviceId, DisconnectReason,
    ReportInterval, Timestamp,
};

/// How long an idempotency key stands for its command.
pub const KEY_LIFETIME: Duration = Duration::from_hours(24);

/// A command to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommand {
    /// Its id.
    pub id: Uuid,
    /// The vehicle that it is for.
    pub device_id: DeviceId,
    /// What the vehicle is asked to do.
    pub action: Action,
    /// The kind of caller.
    pub origin: CommandOrigin,
    /// When it was submitted.
    pub at: Timestamp,
    /// From when on it must not be written to the vehicle.
    pub expires_at: Timestamp,
    /// The epoch of the session that is to write it at once: if that session holds the vehicle, the command is stored
    /// as `sent`.
    pub claim: Option<i64>,
    /// If the vehicle is offline: until when the command waits for its login; `None`: it is not stored.
    pub queue_until: Option<Timestamp>,
    /// The caller's idempotency key, if it sent one.
    pub key: Option<IdempotencyKey>,
    /// Store nothing, since too many commands wait; return the command that `key` stands for, if there is one.
    pub repeat_only: bool,
    /// Set if another instance may have stored the command under this id: when the vehicle was created that the request
    /// is for, or a later stamp of it. A command that is found is sent from here unless it was sent before. If none is
    /// found and the vehicle was created after this time, nothing is stored: the vehicle was deleted meanwhile, and the
    /// record of the command may have been deleted with it. Both times are stamps of one vehicle, which never go back,
    /// whatever the clock does.
    pub vehicle_since: Option<Timestamp>,
}

/// A caller's name for a request, so that a repeated request stores no second command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The name, 1 to 128 bytes.
    pub key: String,
    /// The request as text, up to 160 bytes. The same key with another text is refused.
    pub request: String,
}

/// The outcome of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It is stored: `created`, `queued`, or `sent` if it could be claimed at once; with the epoch of the
    /// vehicle's newest session.
    Stored(Command, i64),
    /// The key stands for this command already.
    Repeated(Command),
    /// The key stands for another request.
    KeyReused,
    /// The key stands for no command yet, and [`NewCommand::repeat_only`] was set.
    NoRoom,
    /// It expired before it could be stored, and the instance that asked for it no longer waits.
    TooLate,
    /// There is no such vehicle.
    UnknownVehicle,
    /// The vehicle is offline; nothing is stored.
    Offline,
    /// The vehicle is offline; the interval is stored with the vehicle, as desired, and there is no command.
    Desired(ReportInterval),
}

/// A command within a batch.
#[derive(Debug)]
pub(super) struct CommandEntry {
    pub(super) command: Command,
    /// Whether its row has to be written.
    pub(super) changed: bool,
    /// Whether it reached its final state in this batch.
    finished: bool,
    /// How long it waits for a login, if it was queued in this batch.
    queued_for: Option<Duration>,
}

/// A command that was queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueuedCommand {
    pub(crate) id: Uuid,
    pub(crate) device_id: DeviceId,
    /// How long it waits, from when it was queued.
    pub(crate) lasts: Duration,
}

/// The command that an idempotency key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredKey {
    pub(crate) device_id: DeviceId,
    pub(crate) key: String,
    pub(crate) command_id: Uuid,
    /// The request that was made under this key, as text.
    pub(crate) request: String,
    pub(crate) created_at: Timestamp,
}

/// The commands that a batch may touch, and the idempotency keys that its requests name.
#[derive(Debug, Default)]
pub(crate) struct CommandSet {
    /// All open commands of the vehicles whose sessions or queued commands change, and the commands that a request
    /// names.
    by_device: HashMap<DeviceId, Vec<CommandEntry>>,
    keys: HashMap<(DeviceId, String), StoredKey>,
    /// Keys that this batch adds.
    pub(crate) new_keys: Vec<StoredKey>,
}

impl CommandSet {
    /// Adds a command that was read, unless it was added before.
    pub(crate) fn add(&mut self, command: Command) {
        let entries = self.by_device.entry(command.device_id.clone()).or_default();
        if entries.iter().all(|entry| entry.command.id != command.id) {
            entries.push(CommandEntry {
                command,
                changed: false,
                finished: false,
                queued_for: None,
            });
        }
    }

    /// Adds a key that was read.
    pub(crate) fn add_key(&mut self, key: StoredKey) {
        let id = (key.device_id.clone(), key.key.clone());
        self.keys.insert(id, key);
    }

    /// The commands that have to be written.
    pub(crate) fn changed(&self) -> impl Iterator<Item = &Command> {
        let entries = self.by_device.values().flatten();
        entries
            .filter(|entry| entry.changed)
            .map(|entry| &entry.command)
    }

    /// The commands that reached their final state.
    pub(crate) fn finished(&self) -> impl Iterator<Item = Command> {
        let entries = self.by_device.values().flatten();
        entries
            .filter(|entry| entry.finished)
            .map(|entry| entry.command.clone())
    }

    /// The commands that were queued in this batch and still are.
    pub(crate) fn queued_now(&self) -> impl Iterator<Item = QueuedCommand> {
        let entries = self.by_device.values().flatten();
        entries.filter_map(|entry| {
            let command = &entry.command;
            let lasts = entry
                .queued_for
                .filter(|_| command.state == CommandState::Queued)?;
            Some(QueuedCommand {
                id: command.id,
                device_id: command.device_id.clone(),
                lasts,
            })
        })
    }

    pub(super) fn find(&mut self, device_id: &DeviceId, id: Uuid) -> Option<&mut CommandEntry> {
        let entries = self.by_device.get_mut(device_id)?;
        entries.iter_mut().find(|entry| entry.command.id == id)
    }

    pub(super) fn of(&mut self, device_id: &DeviceId) -> impl Iterator<Item = &mut CommandEntry> {
        self.by_device.get_mut(device_id).into_iter().flatten()
    }

    /// The commands that wait for the login of this vehicle and expect this kind of answer: one at most.
    fn queued(
        &mut self,
        device_id: &DeviceId,
        kind: AnswerKind,
    ) -> impl Iterator<Item = &mut CommandEntry> {
        self.of(device_id).filter(move |entry| {
            let command = &entry.command;
            command.state == CommandState::Queued && command.action.answer_kind() == kind
        })
    }

    /// Makes a command wait for the login, from `at` by the clock. `now` is the stamp of the change. Of the commands
    /// that wait for it and expect the same kind of answer, only the newest stays; the others are superseded.
    pub(super) fn queue(
        &mut self,
        device_id: &DeviceId,
        id: Uuid,
        until: Timestamp,
        at: Timestamp,
        now: Timestamp,
    ) {
        let Some(entry) = self.find(device_id, id) else {
            return;
        };
        let kind = entry.command.action.answer_kind();
        let mut newest = id;
        for other in self.queued(device_id, kind) {
            if other.command.id < id {
                other.finish(CommandState::Superseded, now);
            }
            newest = newest.max(other.command.id);
        }
        let Some(entry) = self.find(device_id, id) else {
            return;
        };
        if newest == id {
            entry.command.state = CommandState::Queued;
            entry.command.expires_at = until;
            entry.queued_for = Some(until.since(at));
            entry.changed = true;
        } else {
            entry.finish(CommandState::Superseded, now);
        }
    }

    /// Finishes the commands that the session of this vehicle had claimed, because the session has ended.
    pub(super) fn end_session(
        &mut self,
        device_id: &DeviceId,
        at: Timestamp,
        reason: DisconnectReason,
    ) {
        for entry in self.of(device_id) {
            if entry.command.state == CommandState::Sent {
                // The goodbye was written and the connection closed, but the vehicle did not answer it.
                let is_unanswered_goodbye =
                    entry.command.action == Action::Goodbye && reason == DisconnectReason::Operator;
                entry.finish(
                    if is_unanswered_goodbye {
                        CommandState::NoAnswer
                    } else {
                        CommandState::Disconnected
                    },
                    at,
                );
            }
        }
    }

    /// Cancels the commands of this vehicle that are not sent and whose state is one of `which`.
    pub(super) fn cancel(
        &mut self,
        device_id: &DeviceId,
        at: Timestamp,
        which: impl Fn(CommandState) -> bool,
    ) {
        for entry in self.of(device_id) {
            if entry.command.state.is_unsent() && which(entry.command.state) {
                entry.finish(CommandState::Cancelled, at);
            }
        }
    }

    /// The commands that wait for the login of this vehicle, oldest first. They stay queued until they are claimed;
    /// those past their time expire instead and are left out.
    pub(super) fn take_queued(
        &mut self,
        device_id: &DeviceId,
        at: Timestamp,
    ) -> Vec<(Uuid, Action)> {
        let mut queued = Vec::new();
        for entry in self.of(device_id) {
            if entry.command.state != CommandState::Queued {
                continue;
            }
            if at >= entry.command.expires_at {
                entry.finish(CommandState::Expired, at);
            } else {
                queued.push((entry.command.id, entry.command.action));
            }
        }
        queued.sort_unstable_by_key(|(id, _)| *id);
        queued
    }
}

impl CommandEntry {
    pub(super) fn finish(&mut self, state: CommandState, at: Timestamp) {
        let command = &mut self.command;
        command.state = state;
        command.finished_at = Some(at.max(command.sent_at.unwrap_or(command.created_at)));
        self.changed = true;
        self.finished = true;
    }
}

impl CommandSet {
    /// The outcome of a submission whose idempotency key was used before; `None` if it was not, or so long ago that it
    /// no longer counts.
    pub(super) fn repeated(
        &mut self,
        new: &NewCommand,
        forgotten: Option<Timestamp>,
    ) -> Option<Submitted> {
        let key = new.key.as_ref()?;
        let known = self.keys.get(&(new.device_id.clone(), key.key.clone()))?;
        let is_old = known.created_at <= new.at.before(KEY_LIFETIME);
        if is_old || forgotten.is_some_and(|through| known.created_at <= through) {
            return None;
        }
        if known.request != key.request {
            return Some(Submitted::KeyReused);
        }
        // The key was stored with this very command, which another instance stored and could not send.
        if known.command_id == new.id {
            return None;
        }
        let id = known.command_id;
        let entry = self.find(&new.device_id, id)?;
        Some(Submitted::Repeated(entry.command.clone()))
    }

    /// Adds a new command, submitted at this time, and its key. A queued command that expects the same kind of answer
    /// is superseded.
    pub(super) fn insert(
        &mut self,
        command: Command,
        submitted_at: Timestamp,
        key: Option<&IdempotencyKey>,
    ) {
        let (device_id, id, at) = (command.device_id.clone(), command.id, command.created_at);
        for older in self.queued(&device_id, command.action.answer_kind()) {
            older.finish(CommandState::Superseded, at);
        }
        if let Some(key) = key {
            let key = StoredKey {
                device_id: device_id.clone(),
                key: key.key.clone(),
                command_id: id,
                request: key.request.clone(),
                created_at: at,
            };
            self.new_keys.push(key.clone());
            self.add_key(key);
        }
        let is_queued = command.state == CommandState::Queued;
        let lasts = command.expires_at.since(submitted_at);
        self.add(command);
        if let Some(entry) = self.find(&device_id, id) {
            entry.changed = true;
            entry.queued_for = is_queued.then_some(lasts);
        }
    }
}

impl CommandEntry {
    /// Submits a command that another instance stored and could not send. If it is still `created` and `is_held`, that
    /// is, the session that is to write it holds the vehicle, it is `sent` now.
    pub(super) fn submit_again(
        &mut self,
        new: &NewCommand,
        is_held: bool,
        epoch: i64,
    ) -> Submitted {
        if self.command.state != CommandState::Created {
            return Submitted::Repeated(self.command.clone());
        }
        if new.at >= self.command.expires_at {
            self.finish(CommandState::Expired, new.at);
            return Submitted::Repeated(self.command.clone());
        }
        if is_held {
            self.command.state = CommandState::Sent;
            self.command.sent_at = Some(new.at.max(self.command.created_at));
            self.changed = true;
        }
        Submitted::Stored(self.command.clone(), epoch)
    }
}
