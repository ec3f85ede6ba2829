//! Commands whose vehicle another instance holds: that one does all of it, and tells what came of it.
//!
//! Whoever is asked stores the command, or nobody does: so a command costs the same two commits wherever it
//! arrives. Both know its id. Whoever asks and hears nothing ends it in the store before it says so, unless it
//! was sent; and it bears the time from when on nobody may send it, however late the request arrives.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::{Asker, CommandError, CommandRequest, Commands, Outcome, journey::LOOK_UP};
use crate::{
    domain::{CommandOrigin, CommandState, DeviceId, Timestamp, Vehicle},
    fanout::{Answer, AskError, FanoutState, RemoteCommand, RemoteOutcome, Request},
    store::{CommandTransition, StoreError},
};

/// How long Redis may be away before that is told: a connection that was lost is back within moments.
const AWAY: Duration = Duration::from_secs(1);
/// How long an instance may stay deaf before its vehicles count as out of reach: those of one that has just
/// ended come back elsewhere within moments.
const DEAF: Duration = Duration::from_secs(2);
/// How long the end of a command that was sent may take to be stored when its time is over.
const LATE: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What asking another instance came to.
pub(super) enum Asked {
    /// This came of the command.
    Ended(Outcome),
    /// It has not the vehicle, or not any more; or it cannot now. The command may be stored, and is not sent.
    NotThere,
    /// Nobody listens there.
    Deaf,
    /// It cannot be asked: Redis is away, or there is none.
    Away,
    /// The time is over, and nothing was heard.
    Silent,
}

impl Commands {
    /// The instance that holds the vehicle's session, if it is another one.
    pub(super) async fn owner_elsewhere(
        &self,
        device_id: &DeviceId,
    ) -> Result<Option<Uuid>, StoreError> {
        if !self.store.is_shared() {
            return Ok(None);
        }
        let vehicle = self.store.vehicle(device_id).await?;
        Ok(vehicle.and_then(|vehicle| self.owner_of(&vehicle)))
    }

    fn owner_of(&self, vehicle: &Vehicle) -> Option<Uuid> {
        let owner = vehicle.instance_id?.as_uuid();
        (owner != self.incarnation()).then_some(owner)
    }

    /// The same for a command that may be stored, of a vehicle that was made at the latest then. If it was deleted since,
    /// what became of the command may be purged, and nobody may begin it anew for the vehicle that has its name now.
    pub(super) async fn owner_elsewhere_of(
        &self,
        device_id: &DeviceId,
        made: Timestamp,
    ) -> Result<Option<Uuid>, CommandError> {
        if !self.store.is_shared() {
            return Ok(None);
        }
        let vehicle = self.store.vehicle(device_id).await?;
        match vehicle {
            Some(vehicle) if vehicle.created_at > made => Err(CommandError::UnknownVehicle),
            vehicle => Ok(vehicle.and_then(|vehicle| self.owner_of(&vehicle))),
        }
    }

    /// Has the instance that holds the vehicle do it. `None` if none does, or this one; `id` is set once another
    /// was asked, which may have stored it.
    pub(super) async fn run_elsewhere(
        &self,
        request: &CommandRequest,
        id: &mut Option<Uuid>,
        deadline: Instant,
    ) -> Result<Option<Outcome>, CommandError> {
        let Some(vehicle) = self.store.vehicle(&request.device_id).await? else {
            return Ok(None);
        };
        let made = vehicle.created_at;
        let mut owner = self.owner_of(&vehicle);
        let (mut deaf_since, mut away_since) = (None, None);
        loop {
            let Some(asked) = owner else {
                return Ok(None);
            };
            let id = *id.get_or_insert_with(Uuid::now_v7);
            match self.ask_owner(asked, request, id, deadline).await? {
                Asked::Ended(outcome) => return Ok(Some(outcome)),
                Asked::Silent => {
                    let silent = self.silent(&request.device_id, id, deadline).await;
                    return silent.map(Some);
                }
                Asked::NotThere => (deaf_since, away_since) = (None, None),
                Asked::Away => {
                    let since = *away_since.get_or_insert_with(Instant::now);
                    let is_none = self.fanout.state() == FanoutState::None;
                    if is_none || since.elapsed() >= AWAY {
                        return Err(CommandError::FanOutUnavailable);
                    }
                }
                Asked::Deaf => {
                    let since = *deaf_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= DEAF {
                        let now = Instant::now();
                        return self.silent(&request.device_id, id, now).await.map(Some);
                    }
                }
            }
            if Instant::now() >= deadline {
                let silent = self.silent(&request.device_id, id, deadline).await;
                return silent.map(Some);
            }
            sleep(LOOK_AGAIN).await;
            owner = self.owner_elsewhere_of(&request.device_id, made).await?;
        }
    }

    /// One request to the instance that holds the vehicle.
    pub(super) async fn ask_owner(
        &self,
        owner: Uuid,
        request: &CommandRequest,
        id: Uuid,
        deadline: Instant,
    ) -> Result<Asked, CommandError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let command = RemoteCommand {
            id,
            device_id: request.device_id.clone(),
            action: request.action,
            timeout: request.timeout,
            expires_at: self.store.now().after(left),
            queue: request.queue,
            key: request.key.clone(),
        };
        let command = Request::Command(command);
        let asked = tokio::select! {
            biased;
            asked = self.fanout.ask(owner, &command, deadline) => asked,
            found = self.look_up(owner, &request.device_id, id) => return Ok(found),
        };
        let outcome = match asked {
            Ok(Answer::Command(outcome)) => outcome,
            Ok(Answer::Broadcast(_)) | Err(AskError::Unsupported) => {
                return Err(CommandError::OwnerUnreachable);
            }
            Err(AskError::Unavailable) => return Ok(Asked::Away),
            Err(AskError::NobodyThere) => return Ok(Asked::Deaf),
            Err(AskError::NoAnswer) => return Ok(Asked::Silent),
        };
        match outcome {
            RemoteOutcome::Ended(command) => Ok(Asked::Ended(Outcome::Command(command))),
            RemoteOutcome::Desired(interval) => Ok(Asked::Ended(Outcome::Desired(interval))),
            RemoteOutcome::Moved => Ok(Asked::NotThere),
            RemoteOutcome::UnknownVehicle => Err(CommandError::UnknownVehicle),
            RemoteOutcome::Offline => Err(CommandError::Offline),
            RemoteOutcome::TooMany => Err(CommandError::TooMany),
            RemoteOutcome::KeyReused => Err(CommandError::KeyReused),
            RemoteOutcome::StoreUnavailable => Err(StoreError::Unavailable.into()),
        }
    }

    /// Resolves if the store says what came of a command that another instance has: that one may have ended, and
    /// its answer may be lost.
    async fn look_up(&self, owner: Uuid, device_id: &DeviceId, id: Uuid) -> Asked {
        loop {
            sleep(LOOK_UP).await;
            // What cannot be read now is looked at again; the wait for the answer has a deadline.
            let Ok(holder) = self.owner_elsewhere(device_id).await else {
                continue;
            };
            let Ok(command) = self.store.command(device_id, id).await else {
                continue;
            };
            match command {
                Some(command) if command.state.is_final() => {
                    return Asked::Ended(Outcome::Command(command));
                }
                // Whoever has it now would end it.
                Some(command) if command.state != CommandState::Created => {}
                _ if holder != Some(owner) => return Asked::NotThere,
                _ => {}
            }
        }
    }

    /// Nothing was heard of a command: ends it, unless it was sent or nobody has stored it. Until `deadline`
    /// whoever was asked may still store it.
    pub(super) async fn silent(
        &self,
        device_id: &DeviceId,
        id: Uuid,
        deadline: Instant,
    ) -> Result<Outcome, CommandError> {
        let late = deadline.max(Instant::now()) + LATE;
        loop {
            let ended = self.end(device_id, id, CommandTransition::Expire).await?;
            let Some(command) = ended else {
                if Instant::now() >= deadline {
                    return Err(CommandError::OwnerUnreachable);
                }
                sleep_until(deadline.min(Instant::now() + LOOK_UP)).await;
                continue;
            };
            let is_over = command.state.is_final() || command.state == CommandState::Queued;
            if is_over || Instant::now() >= late {
                return Ok(Outcome::Command(command));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Does what another instance asks, if the vehicle is here.
    pub(crate) async fn run_for_other(self: Arc<Self>, command: RemoteCommand) -> RemoteOutcome {
        let Some(session) = self.registry.session(&command.device_id) else {
            return RemoteOutcome::Moved;
        };
        let Ok(_permit) = Arc::clone(&self.under_way).try_acquire_owned() else {
            return RemoteOutcome::TooMany;
        };
        let asker = Asker::Other {
            id: command.id,
            expires_at: command.expires_at,
        };
        // It may have been long on its way.
        let left = command.expires_at.since(self.store.now());
        let deadline = Instant::now() + left.min(command.timeout);
        let request = CommandRequest {
            device_id: command.device_id,
            action: command.action,
            timeout: command.timeout,
            queue: command.queue,
            key: command.key,
        };
        let run = self.run_here(request, CommandOrigin::Api, Some(session), asker, deadline);
        match run.await {
            Ok(Outcome::Command(command)) => RemoteOutcome::Ended(command),
            Ok(Outcome::Desired(interval)) => RemoteOutcome::Desired(interval),
            Err(CommandError::UnknownVehicle) => RemoteOutcome::UnknownVehicle,
            Err(CommandError::Offline) => RemoteOutcome::Offline,
            Err(CommandError::TooMany) => RemoteOutcome::TooMany,
            Err(CommandError::KeyReused) => RemoteOutcome::KeyReused,
            Err(CommandError::Store(_)) => RemoteOutcome::StoreUnavailable,
            Err(
                CommandError::Moved
                | CommandError::FanOutUnavailable
                | CommandError::OwnerUnreachable,
            ) => RemoteOutcome::Moved,
        }
    }
}
