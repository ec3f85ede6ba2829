//! Remote delivery: commands whose vehicle another instance, the owner, holds.
//!
//! The owner stores the command, or no instance does: so a command costs the same two commits wherever its request
//! arrives. The requester chooses the id, so that it can end the command in the store when no answer comes, unless it
//! was sent. The request bears the time from which the command must not be sent, however late the request arrives.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::{CommandRequest, Commands, store::POLL_INTERVAL};
use crate::{
    domain::{CommandOutcome, CommandState, DeviceId, IncarnationId, Timestamp, Vehicle},
    fanout::{FanoutState, PeerAnswer, PeerRequest, RemoteCommand, RequestError},
    store::{CommandTransition, StoreError},
};

/// How long Redis may be unavailable before a request ends as [`CommandOutcome::FanOutUnavailable`]: a lost connection
/// is back within moments.
pub(super) const REDIS_TOLERANCE: Duration = Duration::from_secs(1);
/// How long an owner that does not listen is waited for before its vehicles count as unreachable: the vehicles of an
/// instance that has just stopped reconnect to another instance within moments.
pub(super) const OWNER_TOLERANCE: Duration = Duration::from_secs(2);
/// How long after the deadline the owner may take to store the end of a command that was sent.
const END_TOLERANCE: Duration = Duration::from_secs(1);
/// The pause before the owner is looked up and asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Which instance holds a vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Another instance holds the vehicle.
    Peer(IncarnationId),
    /// This instance holds the vehicle, or none does.
    NoPeer,
    /// The vehicle was deleted, and a new one with the same id has been created since.
    Replaced,
}

/// The command of a request that another instance was asked to execute.
#[derive(Debug, Clone, Copy)]
pub(super) struct AskedPeer {
    pub(super) id: Uuid,
    /// See [`RemoteCommand::vehicle_since`].
    pub(super) vehicle_since: Timestamp,
}

impl Commands {
    /// The other instance that holds the vehicle's session; `None` if this one or none does.
    pub(super) async fn owning_peer(
        &self,
        device_id: &DeviceId,
    ) -> Result<Option<IncarnationId>, StoreError> {
        if !self.store.is_shared() {
            return Ok(None);
        }
        let vehicle = self.store.vehicle(device_id).await?;
        Ok(vehicle.and_then(|vehicle| self.peer_of(&vehicle)))
    }

    fn peer_of(&self, vehicle: &Vehicle) -> Option<IncarnationId> {
        let owner = vehicle.instance_id?;
        (owner != self.incarnation()).then_some(owner)
    }

    /// Finds the instance that holds the vehicle of a command that may be stored already. `since` is the creation of
    /// the vehicle, or a later time that something of it was stamped with. A vehicle that was created later is another
    /// one with the same id: the command must not be submitted for it, because the record of the command may have been
    /// purged with the first vehicle.
    pub(super) async fn owner_of(
        &self,
        device_id: &DeviceId,
        since: Timestamp,
    ) -> Result<Owner, StoreError> {
        if !self.store.is_shared() {
            return Ok(Owner::NoPeer);
        }
        Ok(match self.store.vehicle(device_id).await? {
            Some(vehicle) if vehicle.created_at > since => Owner::Replaced,
            Some(vehicle) => self.peer_of(&vehicle).map_or(Owner::NoPeer, Owner::Peer),
            None => Owner::NoPeer,
        })
    }

    /// Has the owner execute a request, and follows the vehicle if it moves. Returns `None` if no other instance holds
    /// the vehicle. `asked` is set before another instance is asked, which may store the command.
    pub(super) async fn execute_remotely(
        &self,
        request: &CommandRequest,
        asked: &mut Option<AskedPeer>,
        deadline: Instant,
    ) -> Result<Option<CommandOutcome>, StoreError> {
        let device_id = &request.device_id;
        let Some(vehicle) = self.store.vehicle(device_id).await? else {
            return Ok(None);
        };
        let vehicle_since = vehicle.created_at;
        let mut owner = self.peer_of(&vehicle).map_or(Owner::NoPeer, Owner::Peer);
        let (mut not_listening_since, mut unavailable_since) = (None, None);
        loop {
            let peer = match owner {
                Owner::Peer(peer) => peer,
                Owner::NoPeer => return Ok(None),
                Owner::Replaced => return Ok(Some(CommandOutcome::UnknownVehicle)),
            };
            let command = *asked.get_or_insert_with(|| AskedPeer {
                id: Uuid::now_v7(),
                vehicle_since,
            });
            let id = command.id;
            match self.request_owner(peer, request, command, deadline).await {
                Ok(CommandOutcome::Moved) => {
                    (not_listening_since, unavailable_since) = (None, None);
                }

                Ok(outcome) => return Ok(Some(outcome)),
                Err(RequestError::Unavailable) => {
                    let since = *unavailable_since.get_or_insert_with(Instant::now);
                    let is_configured = self.fanout.state() != FanoutState::None;
                    if !is_configured || since.elapsed() >= REDIS_TOLERANCE {
                        return Ok(Some(CommandOutcome::FanOutUnavailable));
                    }
                }
                Err(RequestError::NotListening) => {
                    let since = *not_listening_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= OWNER_TOLERANCE {
                        let now = Instant::now();
                        return self.end_unanswered(device_id, id, now).await.map(Some);
                    }
                }
                Err(RequestError::NoAnswer | RequestError::UnreadableAnswer) => {
                    return self.end_unanswered(device_id, id, deadline).await.map(Some);
                }
                Err(RequestError::Unsupported) => {
                    return Ok(Some(CommandOutcome::OwnerUnreachable));
                }
            }
            if Instant::now() >= deadline {
                return self.end_unanswered(device_id, id, deadline).await.map(Some);
            }
            sleep(RETRY_PAUSE).await;
            owner = self.owner_of(device_id, vehicle_since).await?;
        }
    }

    /// Sends one request to the owner. While no answer comes, reads the command in the store, too: the owner may have
    /// died, and its answer may be lost.
    pub(super) async fn request_owner(
        &self,
        owner: IncarnationId,
        request: &CommandRequest,
        AskedPeer { id, vehicle_since }: AskedPeer,
        deadline: Instant,
    ) -> Result<CommandOutcome, RequestError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let command = PeerRequest::Command(RemoteCommand {
            id,
            device_id: request.device_id.clone(),
            action: request.action,
            timeout: request.timeout,
            expires_at: self.store.now().after(left),
            queue: request.queue,
            key: request.key.clone(),
            vehicle_since: Some(vehicle_since),
        });
        tokio::select! {
            biased;
            answer = self.fanout.request(owner, &command, deadline) => match answer? {
                PeerAnswer::Command(outcome) => Ok(outcome),
                PeerAnswer::Broadcast(_) => Err(RequestError::UnreadableAnswer),
            },
            outcome = self.poll_outcome(owner, &request.device_id, id) => Ok(outcome),
        }
    }

    /// Resolves once the store has the outcome of a command that `owner` was asked for, or, as
    /// [`CommandOutcome::Moved`], once `owner` does not hold the vehicle any more and nobody has claimed the command.
    async fn poll_outcome(
        &self,
        owner: IncarnationId,
        device_id: &DeviceId,
        id: Uuid,
    ) -> CommandOutcome {
        loop {
            sleep(POLL_INTERVAL).await;
            // A read that fails is repeated: the wait for the answer has a deadline.
            let Ok(holder) = self.owning_peer(device_id).await else {
                continue;
            };
            let Ok(command) = self.store.command(device_id, id).await else {
                continue;
            };
            match command {
                Some(command) if command.state.is_final() => {
                    return CommandOutcome::Recorded { command };
                }
                // Sent or queued: the instance that holds the vehicle ends it.
                Some(command) if command.state != CommandState::Created => {}
                _ if holder != Some(owner) => return CommandOutcome::Moved,
                _ => {}
            }
        }
    }

    /// Ends a command whose owner gave no answer that can be read, unless it was sent. If it is not stored at
    /// `deadline`, until which the owner may still store it, the outcome is [`CommandOutcome::OwnerUnreachable`].
    pub(super) async fn end_unanswered(
        &self,
        device_id: &DeviceId,
        id: Uuid,
        deadline: Instant,
    ) -> Result<CommandOutcome, StoreError> {
        let latest = deadline.max(Instant::now()) + END_TOLERANCE;
        loop {
            let Some(command) = self
                .store
                .end(device_id, id, CommandTransition::Expire)
                .await?
            else {
                if Instant::now() >= deadline {
                    return Ok(CommandOutcome::OwnerUnreachable);
                }
                sleep_until(deadline.min(Instant::now() + POLL_INTERVAL)).await;
                continue;
            };
            let has_ended = command.state.is_final() || command.state == CommandState::Queued;
            if has_ended || Instant::now() >= latest {
                return Ok(CommandOutcome::Recorded { command });
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}
