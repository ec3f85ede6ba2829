//! The way of a stored command to its vehicle, and its end.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::{CommandError, CommandRequest, Commands, Outcome, elsewhere::Asked, order::Place};
use crate::{
    domain::{Action, Command, CommandState, DeviceId, DisconnectReason, Timestamp},
    sessions::{Abandoned, Session, SlotReservation},
    store::{Claimed, CommandTransition, CommandWatch, StoreError},
};

/// How long a late answer is waited for before the next command of its kind may be written.
const HOLD: Duration = Duration::from_secs(30);
/// How long a command whose vehicle is between two sessions pauses before it looks for the new one: at
/// first, and at most.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const LOOK_SELDOM: Duration = Duration::from_millis(320);
/// How often a command that is waited for is looked up where others may end it.
pub(super) const LOOK_UP: Duration = Duration::from_millis(500);

/// A command on its way to its vehicle.
pub(super) struct Journey {
    pub(super) device_id: DeviceId,
    pub(super) id: Uuid,
    pub(super) action: Action,
    /// It is not written after this instant.
    pub(super) deadline: Instant,
    /// How long its answer is waited for once it is handed over, if not to `deadline`.
    pub(super) patience: Option<Duration>,
    /// The vehicle's newest session when the command was stored. A login after that has sent the interval
    /// that is desired.
    pub(super) epoch: i64,
    /// Its place among the vehicle's commands until it is sent, if it has to keep their order.
    pub(super) place: Option<Place>,
    pub(super) watch: CommandWatch,
}

/// How far an attempt to get a command to a session came.
pub(super) enum Sent {
    /// The connection has it, and its end is to be waited for until then.
    To(Arc<Session>, Instant),
    /// It came to its end before.
    Ended(Command),
    /// The session is over, or was not the right one.
    Moved,
}

/// Where a command may go.
pub(super) struct Route {
    pub(super) request: CommandRequest,
    /// If the vehicle is offline, it waits for the login until then.
    pub(super) queue_until: Option<Timestamp>,
    /// Another instance asks, and looks itself for where the vehicle is now.
    pub(super) is_for_other: bool,
    /// All vehicles are asked: where this one is now, it is asked by that instance.
    pub(super) is_broadcast: bool,
}

impl Commands {
    /// Brings a stored command to its end, or to where it waits for the next login.
    pub(super) async fn travel(
        self: &Arc<Self>,
        mut journey: Journey,
        mut command: Command,
        mut turn: Option<SlotReservation>,
        route: &Route,
    ) -> Result<Command, CommandError> {
        let mut pause = LOOK_AGAIN;
        loop {
            if let Some(turn) = turn.take() {
                match self.send(&mut journey, &mut command, turn).await? {
                    Sent::To(session, until) => {
                        return self.end_of(&mut journey, &session, until).await;
                    }
                    Sent::Ended(command) => return Ok(command),
                    Sent::Moved => {}
                }
            }
            if route.is_for_other {
                return Err(CommandError::Moved);
            }
            if route.is_broadcast {
                if self.owner_elsewhere(&journey.device_id).await?.is_some() {
                    return self.over(&journey, CommandTransition::Expire).await;
                }
            } else if let Some(ended) = self
                .pass_on(&mut journey, command.created_at, route)
                .await?
            {
                return Ok(ended);
            }
            let vehicle = self.store.vehicle(&journey.device_id).await?;
            if !vehicle.is_some_and(|vehicle| vehicle.online) {
                let ending = route
                    .queue_until
                    .map_or(CommandTransition::Cancel, CommandTransition::Queue);
                let over = self.over(&journey, ending).await?;
                if over.state != CommandState::Created {
                    return Ok(over);
                }
                // It is back.
            }
            if Instant::now() >= journey.deadline {
                return self.over(&journey, CommandTransition::Expire).await;
            }
            let session = self.registry.session(&journey.device_id);
            let is_interval = matches!(journey.action, Action::KeepMePosted(_));
            if is_interval
                && session
                    .as_ref()
                    .is_some_and(|s| s.key.epoch > journey.epoch)
            {
                return self.over(&journey, CommandTransition::Supersede).await;
            }
            turn = session.and_then(|session| {
                let kind = journey.action.answer_kind();
                let again = session.reserve_slot_for(kind, self.options.queue, journey.id);
                again.ok()
            });
            if turn.is_none() {
                sleep(pause).await;
                pause = (pause * 2).min(LOOK_SELDOM);
            }
        }
    }

    /// Has another instance send the command, which was made then, if the vehicle is there by now.
    async fn pass_on(
        &self,
        journey: &mut Journey,
        made: Timestamp,
        route: &Route,
    ) -> Result<Option<Command>, CommandError> {
        let device_id = &journey.device_id;
        let Some(owner) = self.owner_elsewhere_of(device_id, made).await? else {
            return Ok(None);
        };
        // Nothing of this instance's is before it in line there.
        journey.place = None;
        let asked = self
            .ask_owner(owner, &route.request, journey.id, journey.deadline)
            .await;
        match asked {
            Ok(Asked::Ended(Outcome::Command(command))) => Ok(Some(command)),
            Ok(Asked::Silent) => {
                match self.silent(device_id, journey.id, journey.deadline).await? {
                    Outcome::Command(command) => Ok(Some(command)),
                    Outcome::Desired(_) => Ok(None),
                }
            }
            Err(CommandError::UnknownVehicle) => Err(CommandError::UnknownVehicle),
            // Not now; perhaps in a moment, or when it has moved again.
            Ok(Asked::NotThere | Asked::Deaf | Asked::Away | Asked::Ended(Outcome::Desired(_)))
            | Err(_) => Ok(None),
        }
    }

    /// Waits for the turn, claims, and hands over to the connection.
    pub(super) async fn send(
        self: &Arc<Self>,
        journey: &mut Journey,
        command: &mut Command,
        mut turn: SlotReservation,
    ) -> Result<Sent, CommandError> {
        match timeout_at(journey.deadline, turn.granted()).await {
            Err(_elapsed) => {
                return self
                    .over(journey, CommandTransition::Expire)
                    .await
                    .map(Sent::Ended);
            }
            Ok(Err(_closed)) => return Ok(Sent::Moved),
            Ok(Ok(())) => {}
        }
        let session = Arc::clone(turn.session());
        if command.state != CommandState::Sent {
            if journey
                .place
                .as_ref()
                .is_some_and(|place| !place.is_first())
            {
                // An older one comes from an earlier session, too, and is behind it in line or not yet there.
                drop(turn);
                sleep(LOOK_AGAIN).await;
                return Ok(Sent::Moved);
            }
            match self.claim(journey, &session).await? {
                Claimed::Claimed(claimed) => *command = claimed,
                Claimed::Moved => {
                    drop(turn);
                    // The vehicle is no longer its own: its end, or the login of a successor here, is on its way, or the
                    // notice of a login elsewhere is lost. It must not hold up further commands until that is found.
                    session.close(DisconnectReason::Superseded);
                    sleep(LOOK_AGAIN).await;
                    return Ok(Sent::Moved);
                }
                Claimed::Ended(ended) => return Ok(Sent::Ended(ended)),
                Claimed::Gone => {
                    // Purged or never there: nothing is left to be told of it.
                    command.state = CommandState::Cancelled;
                    return Ok(Sent::Ended(command.clone()));
                }
            }
        }
        journey.place = None;
        let patience = journey.patience.map(|patience| Instant::now() + patience);
        let until = patience.unwrap_or(journey.deadline);
        turn.dispatch(command.action, until.min(journey.deadline));
        Ok(Sent::To(session, until))
    }

    /// Makes the command the session's to write. If the database hangs, nobody knows whether it is; then
    /// it is not written.
    async fn claim(
        self: &Arc<Self>,
        journey: &Journey,
        session: &Session,
    ) -> Result<Claimed, StoreError> {
        let mut ticket = self
            .store
            .claim(journey.id, session.key.clone(), self.store.now());
        let patience = self.store.commit_wait();
        if let Ok(claimed) = tokio::time::timeout(patience, &mut ticket).await {
            return claimed;
        }
        let (service, device_id, id) = (Arc::clone(self), journey.device_id.clone(), journey.id);
        tokio::spawn(async move {
            if let Ok(Claimed::Claimed(_)) = ticket.await {
                service.disown(&device_id, id).await;
            }
        });
        Err(StoreError::Unavailable)
    }

    /// Ends a command that was stored or claimed too late for anybody to write it.
    pub(super) async fn disown(&self, device_id: &DeviceId, id: Uuid) {
        if let Err(error) = self.end(device_id, id, CommandTransition::Unwritten).await {
            tracing::warn!(%device_id, %id, %error, "a command that is not written stays open until its session ends");
        }
    }

    /// Waits for the end of a command that the connection has.
    pub(super) async fn end_of(
        self: &Arc<Self>,
        journey: &mut Journey,
        session: &Arc<Session>,
        until: Instant,
    ) -> Result<Command, CommandError> {
        if let Some(ended) = self.ended_before(journey, until).await? {
            return Ok(ended);
        }
        match session.abandon(journey.id) {
            Abandoned::Unwritten => self.over(journey, CommandTransition::Unwritten).await,
            Abandoned::Written if journey.action == Action::Goodbye => {
                // Whoever asked is told that the connection is closed all the same.
                session.close(DisconnectReason::Operator);
                self.over(journey, CommandTransition::NoAnswer).await
            }
            Abandoned::Written => {
                let (session, id) = (Arc::clone(session), journey.id);
                tokio::spawn(async move {
                    sleep(HOLD).await;
                    session.release_slot(id);
                });
                self.over(journey, CommandTransition::NoAnswer).await
            }
            // Its answer, or the end of its session, is on its way to the store.
            Abandoned::Settled => {
                let patience = Instant::now() + self.store.commit_wait();
                let ended = self.ended_before(journey, patience).await?;
                ended.ok_or(CommandError::Store(StoreError::Unavailable))
            }
        }
    }

    /// The command once it has ended, if it does so in time.
    async fn ended_before(
        &self,
        journey: &mut Journey,
        until: Instant,
    ) -> Result<Option<Command>, CommandError> {
        loop {
            let ended = self.heard(&mut journey.watch, Some(until)).await;
            if ended.is_some() || Instant::now() >= until {
                return Ok(ended);
            }
            let command = match self.store.command(&journey.device_id, journey.id).await {
                // Deleted with its vehicle.
                Ok(found) => found.ok_or(CommandError::UnknownVehicle)?,
                // Perhaps the next time; the vehicle may answer meanwhile.
                Err(StoreError::Unavailable) => continue,
                Err(error) => return Err(error.into()),
            };
            if command.state.is_final() {
                return Ok(Some(command));
            }
        }
    }

    /// The command if its end is heard of before `until`. What another instance ends is not heard of: on a
    /// shared database this returns now and then, to look.
    pub(super) async fn heard(
        &self,
        watch: &mut CommandWatch,
        until: Option<Instant>,
    ) -> Option<Command> {
        let look = self.store.is_shared().then(|| Instant::now() + LOOK_UP);
        let Some(until) = until.into_iter().chain(look).min() else {
            return Some(watch.await);
        };
        timeout_at(until, watch).await.ok()
    }

    /// Ends a command, unless somebody else was first, and returns it as it is then.
    async fn over(
        &self,
        journey: &Journey,
        ending: CommandTransition,
    ) -> Result<Command, CommandError> {
        let ended = self.end(&journey.device_id, journey.id, ending).await?;
        // Purged under our hands: its vehicle is deleted.
        ended.ok_or(CommandError::UnknownVehicle)
    }

    pub(super) async fn end(
        &self,
        device_id: &DeviceId,
        id: Uuid,
        ending: CommandTransition,
    ) -> Result<Option<Command>, StoreError> {
        let ticket = self
            .store
            .finish(device_id.clone(), id, ending, self.store.now());
        self.store.settled(ticket).await
    }
}
