//! Delivery: brings a stored command to its vehicle and to its end.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::{
    CommandRequest, Commands,
    fifo::OrderGuard,
    remote::{AskedPeer, Owner},
};
use crate::{
    backoff::Backoff,
    domain::{
        Action, Command, CommandOutcome, CommandState, DeviceId, DisconnectReason, Timestamp,
    },
    fanout::RequestError,
    sessions::{Abandoned, Session, SlotReservation},
    store::{Claimed, CommandTransition, CommandWatch, StoreError},
};

/// How long a late answer is expected before the next command of its kind may be written.
pub(super) const LATE_ANSWER_HOLD: Duration = Duration::from_secs(30);
/// The first pause before looking again for a session of a vehicle that is between two sessions. Pauses double up to
/// [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);

/// A stored command on its way to its vehicle.
pub(super) struct Delivery {
    pub(super) device_id: DeviceId,
    pub(super) id: Uuid,
    pub(super) action: Action,
    /// The command is not written after this instant.
    pub(super) deadline: Instant,
    /// How long to wait for the answer, counted from the moment at which the connection gets the command; `None` to
    /// wait until `deadline`.
    pub(super) answer_timeout: Option<Duration>,
    /// The epoch of the vehicle's newest session when the command was stored. A later login sends the desired report
    /// interval by itself, so that a command for it is not needed any more.
    pub(super) stored_epoch: i64,
    /// The command's place in the order of the vehicle's unsent commands; `None` if the order need not be kept.
    pub(super) order: Option<OrderGuard>,
    pub(super) watch: CommandWatch,
}

/// The result of an attempt to hand a command over to a session.
pub(super) enum Handover {
    /// The connection has the command. Its answer has to be awaited until this instant.
    Dispatched(Arc<Session>, Instant),
    /// The delivery is over without a write.
    Ended(CommandOutcome),
    /// The session has ended or does not hold the vehicle any more, or an older command goes first: look for a session
    /// again.
    Retry,
}

/// Where a command may be delivered, and whether it waits for a login if its vehicle is offline.
pub(super) struct DeliveryPlan {
    pub(super) request: CommandRequest,
    /// Until when the command waits for a login if the vehicle is offline; `None` to cancel the command then.
    pub(super) queue_until: Option<Timestamp>,
    pub(super) scope: DeliveryScope,
}

/// Which sessions a command may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeliveryScope {
    /// A session at any instance.
    Anywhere,
    /// A session at this instance, for a requester at another one, which looks for the vehicle itself.
    ForPeer,
    /// A session at this instance: a broadcast asks every instance for its vehicles.
    ThisInstance,
}

fn recorded(command: Command) -> CommandOutcome {
    CommandOutcome::Recorded { command }
}

impl Commands {
    /// Delivers a stored command until it ends or is queued for the next login. `reservation` is its place at the reply
    /// slot of a session here, if it has one.
    pub(super) async fn deliver(
        &self,
        mut delivery: Delivery,
        mut command: Command,
        mut reservation: Option<SlotReservation>,
        plan: &DeliveryPlan,
    ) -> Result<CommandOutcome, StoreError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            if let Some(reservation) = reservation.take() {
                match self
                    .hand_over(&mut delivery, &mut command, reservation)
                    .await?
                {
                    Handover::Dispatched(session, until) => {
                        return self.await_end(&mut delivery, &session, until).await;
                    }
                    Handover::Ended(outcome) => return Ok(outcome),
                    Handover::Retry => {}
                }
            }
            match plan.scope {
                DeliveryScope::ForPeer => return Ok(CommandOutcome::Moved),
                DeliveryScope::ThisInstance => {
                    if self.owning_peer(&delivery.device_id).await?.is_some() {
                        return self.end(&delivery, CommandTransition::Expire).await;
                    }
                }
                DeliveryScope::Anywhere => {
                    let since = command.created_at;
                    let remote = self.deliver_remotely(&mut delivery, since, &plan.request);
                    if let Some(outcome) = remote.await? {
                        return Ok(outcome);
                    }
                }
            }
            if let Some(outcome) = self.end_if_offline(&delivery, plan).await? {
                return Ok(outcome);
            }
            if Instant::now() >= delivery.deadline {
                return self.end(&delivery, CommandTransition::Expire).await;
            }
            let session = self.registry.session(&delivery.device_id);
            if session
                .as_ref()
                .is_some_and(|session| delivery.is_covered_by(session))
            {
                return self.end(&delivery, CommandTransition::Supersede).await;
            }
            reservation = session.and_then(|session| {
                let kind = delivery.action.answer_kind();
                let again = session.reserve_slot_for(kind, self.options.queue, delivery.id);
                again.ok()
            });
            if reservation.is_none() {
                sleep(backoff.next_pause()).await;
            }
        }
    }

    /// Has another instance deliver the command if that instance holds the vehicle by now. Returns `None` if none does,
    /// or if it cannot now. `vehicle_since` is when the command was created.
    async fn deliver_remotely(
        &self,
        delivery: &mut Delivery,
        vehicle_since: Timestamp,
        request: &CommandRequest,
    ) -> Result<Option<CommandOutcome>, StoreError> {
        let owner = match self.owner_of(&delivery.device_id, vehicle_since).await? {
            Owner::Peer(owner) => owner,
            Owner::NoPeer => return Ok(None),
            Owner::Replaced => return Ok(Some(CommandOutcome::UnknownVehicle)),
        };
        // The owner's reply slots keep the order from here on.
        delivery.order = None;
        let (id, deadline) = (delivery.id, delivery.deadline);
        let command = AskedPeer { id, vehicle_since };
        match self.request_owner(owner, request, command, deadline).await {
            Ok(outcome @ (CommandOutcome::Recorded { .. } | CommandOutcome::UnknownVehicle)) => {
                Ok(Some(outcome))
            }
            Err(RequestError::NoAnswer | RequestError::UnreadableAnswer) => {
                let ended = self.end_unanswered(&delivery.device_id, id, deadline);
                ended.await.map(Some)
            }
            // The owner may be able to deliver it in a moment, or the vehicle may move again.
            Ok(_)
            | Err(
                RequestError::Unavailable | RequestError::NotListening | RequestError::Unsupported,
            ) => Ok(None),
        }
    }

    /// Queues or cancels the command if its vehicle is offline; returns `None` if it is online.
    async fn end_if_offline(
        &self,
        delivery: &Delivery,
        plan: &DeliveryPlan,
    ) -> Result<Option<CommandOutcome>, StoreError> {
        let vehicle = self.store.vehicle(&delivery.device_id).await?;
        if vehicle.is_some_and(|vehicle| vehicle.online) {
            return Ok(None);
        }
        let ending = plan
            .queue_until
            .map_or(CommandTransition::Cancel, CommandTransition::Queue);
        Ok(match self.end(delivery, ending).await? {
            // The vehicle has logged in meanwhile.
            CommandOutcome::Recorded { command } if command.state == CommandState::Created => None,
            outcome => Some(outcome),
        })
    }

    /// Waits for the reply slot, claims the command, and hands it over to the connection.
    pub(super) async fn hand_over(
        &self,
        delivery: &mut Delivery,
        command: &mut Command,
        mut reservation: SlotReservation,
    ) -> Result<Handover, StoreError> {
        match timeout_at(delivery.deadline, reservation.granted()).await {
            Err(_elapsed) => {
                let ended = self.end(delivery, CommandTransition::Expire).await?;
                return Ok(Handover::Ended(ended));
            }
            Ok(Err(_closed)) => return Ok(Handover::Retry),
            Ok(Ok(())) => {}
        }
        let session = Arc::clone(reservation.session());
        if command.state != CommandState::Sent {
            if delivery
                .order
                .as_ref()
                .is_some_and(|order| !order.is_first())
            {
                // An older command, from an earlier session, is behind this one in the queue or has no place in it yet.
                drop(reservation);
                sleep(FIRST_PAUSE).await;
                return Ok(Handover::Retry);
            }
            match self.store.claim(delivery.id, session.key.clone()).await? {
                Claimed::Claimed(claimed) => *command = claimed,
                Claimed::Moved => {
                    drop(reservation);
                    // The session does not hold the vehicle any more. The notice of that, or the login of its successor
                    // here, is on its way; or the notice is lost. The session must not delay further commands until
                    // then.
                    session.close(DisconnectReason::Superseded);
                    sleep(FIRST_PAUSE).await;
                    return Ok(Handover::Retry);
                }
                Claimed::Ended(ended) => return Ok(Handover::Ended(recorded(ended))),
                Claimed::Gone => {
                    // The command was purged or never stored: there is no other record of it.
                    command.state = CommandState::Cancelled;
                    return Ok(Handover::Ended(recorded(command.clone())));
                }
            }
        }
        delivery.order = None;
        let answer_deadline = delivery
            .answer_timeout
            .map(|timeout| Instant::now() + timeout);
        let until = answer_deadline.unwrap_or(delivery.deadline);
        reservation.dispatch(command.action, until.min(delivery.deadline));
        Ok(Handover::Dispatched(session, until))
    }

    /// Waits for the end of a command that the connection has, and abandons the command at `until`.
    pub(super) async fn await_end(
        &self,
        delivery: &mut Delivery,
        session: &Arc<Session>,
        until: Instant,
    ) -> Result<CommandOutcome, StoreError> {
        if let Some(ended) = self.end_before(delivery, until).await? {
            return Ok(ended);
        }
        match session.abandon(delivery.id) {
            Abandoned::Unwritten => self.end(delivery, CommandTransition::Unwritten).await,
            Abandoned::Written if delivery.action == Action::Goodbye => {
                // A goodbye without an answer closes the connection all the same; the REST response says so.
                session.close(DisconnectReason::Operator);
                self.end(delivery, CommandTransition::NoAnswer).await
            }
            Abandoned::Written => {
                let (session, id) = (Arc::clone(session), delivery.id);
                tokio::spawn(async move {
                    sleep(LATE_ANSWER_HOLD).await;
                    session.release_slot(id);
                });
                self.end(delivery, CommandTransition::NoAnswer).await
            }
            // The command's answer, or the end of its session, is on its way to the store.
            Abandoned::Settled => {
                let until = Instant::now() + self.store.commit_wait();
                let ended = self.end_before(delivery, until).await?;
                ended.ok_or(StoreError::Unavailable)
            }
        }
    }

    /// The outcome of a command if it ends before `until`.
    async fn end_before(
        &self,
        delivery: &mut Delivery,
        until: Instant,
    ) -> Result<Option<CommandOutcome>, StoreError> {
        loop {
            let ended = self.store.notified(&mut delivery.watch, Some(until)).await;
            if ended.is_some() || Instant::now() >= until {
                return Ok(ended.map(recorded));
            }
            match self.store.command(&delivery.device_id, delivery.id).await {
                Ok(Some(command)) if command.state.is_final() => {
                    return Ok(Some(recorded(command)));
                }
                // The command was purged with its vehicle.
                Ok(None) => return Ok(Some(CommandOutcome::UnknownVehicle)),
                // A read that failed may succeed the next time, and the vehicle may answer meanwhile.
                Ok(Some(_)) | Err(StoreError::Unavailable) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends a command unless something else has ended it. The outcome is the command as it is stored then.
    async fn end(
        &self,
        delivery: &Delivery,
        ending: CommandTransition,
    ) -> Result<CommandOutcome, StoreError> {
        let ended = self
            .store
            .end(&delivery.device_id, delivery.id, ending)
            .await?;
        // The command was purged with its vehicle.
        Ok(ended.map_or(CommandOutcome::UnknownVehicle, recorded))
    }
}

impl Delivery {
    /// Whether the login of this session has sent the interval that the command would set.
    fn is_covered_by(&self, session: &Session) -> bool {
        matches!(self.action, Action::KeepMePosted(_)) && session.key.epoch > self.stored_epoch
    }
}
