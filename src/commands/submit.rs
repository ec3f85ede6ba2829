//! Submission: decides which instance executes a request, stores the command and has it delivered.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::field::display;
use uuid::Uuid;

use super::{
    CommandRequest, Commands,
    admission::{QueueAdmission, Requester},
    delivery::{Delivery, DeliveryPlan, DeliveryScope},
    failure_log,
    remote::AskedPeer,
};
use crate::{
    domain::{Action, Command, CommandOrigin, CommandOutcome, CommandState, Timestamp},
    fanout::RemoteCommand,
    sessions::{Session, SlotReservation},
    store::{IdempotencyKey, NewCommand, StoreError, Submitted},
};

impl Commands {
    /// Sends a command and waits for its outcome. Dropping the future does not stop the command.
    pub async fn execute(self: &Arc<Self>, request: CommandRequest) -> CommandOutcome {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return CommandOutcome::TooMany;
        };
        let commands = Arc::clone(self);
        let executing = tokio::spawn(async move {
            let _permit = permit;
            commands.run(request, CommandOrigin::Api, None).await
        });
        outcome(executing.await.unwrap_or(Err(StoreError::Closed)))
    }

    /// Executes a request of another instance if this one holds the vehicle; otherwise returns
    /// [`CommandOutcome::Moved`].
    pub(crate) async fn execute_for_peer(&self, command: RemoteCommand) -> CommandOutcome {
        let Some(session) = self.registry.session(&command.device_id) else {
            return CommandOutcome::Moved;
        };
        let Ok(_permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return CommandOutcome::TooMany;
        };
        let requester = Requester::Peer {
            id: command.id,
            expires_at: command.expires_at,
            // Earlier versions do not say it. Then it is no later than the request, if no clock was set back since.
            vehicle_since: command
                .vehicle_since
                .unwrap_or_else(|| command.expires_at.before(command.timeout)),
        };
        // The request may have been under way for long, so less than its time-out may be left.
        let left = command.expires_at.since(self.store.now());
        let deadline = Instant::now() + left.min(command.timeout);
        let request = CommandRequest {
            device_id: command.device_id,
            action: command.action,
            timeout: command.timeout,
            queue: command.queue,
            key: command.key,
        };
        let run = self.run_here(
            request,
            CommandOrigin::Api,
            Some(session),
            requester,
            deadline,
        );
        outcome(run.await)
    }

    /// Executes a command that was published on the shared channel, for a vehicle with a session here.
    pub(crate) async fn execute_from_channel(&self, session: Arc<Session>, action: Action) {
        let device_id = session.key.device_id.clone();
        let Ok(_permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            failure_log::published_not_sent(&device_id, action, &"too many commands are under way");
            return;
        };
        // Every instance has received it; the store says which one holds the vehicle.
        match self.owning_peer(&device_id).await {
            Ok(None) => {}
            Ok(Some(_)) => return,
            Err(error) => {
                failure_log::published_not_sent(&device_id, action, &error);
                return;
            }
        }
        let request = CommandRequest {
            device_id: device_id.clone(),
            action,
            timeout: self.options.timeout,
            queue: None,
            key: None,
        };
        match self
            .run(request, CommandOrigin::Channel, Some(session))
            .await
        {
            Ok(CommandOutcome::Recorded { .. } | CommandOutcome::Desired { .. }) => {}
            Ok(outcome) => {
                failure_log::published_not_sent(&device_id, action, &format_args!("{outcome:?}"));
            }
            Err(error) => {
                failure_log::published_not_sent(&device_id, action, &error);
            }
        }
    }

    /// Executes a request at the instance that holds the vehicle. `session` is the vehicle's session here, if the
    /// caller has it.
    pub(super) async fn run(
        &self,
        request: CommandRequest,
        origin: CommandOrigin,
        session: Option<Arc<Session>>,
    ) -> Result<CommandOutcome, StoreError> {
        let deadline = Instant::now() + request.timeout;
        let session = session.or_else(|| self.registry.session(&request.device_id));
        let mut requester = Requester::Local;
        if session.is_none() && self.store.is_shared() {
            let mut asked = None;
            let remote = self.execute_remotely(&request, &mut asked, deadline);
            if let Some(outcome) = remote.await? {
                return Ok(outcome);
            }
            if let Some(AskedPeer { id, vehicle_since }) = asked {
                requester = Requester::LocalAfterRemote { id, vehicle_since };
            }
        }
        self.run_here(request, origin, session, requester, deadline)
            .await
    }

    /// Stores the command of a request, delivers it from this instance, and returns its outcome once it has ended or is
    /// queued. `session` is the vehicle's session here, if the caller has it; else it is looked up.
    async fn run_here(
        &self,
        request: CommandRequest,
        origin: CommandOrigin,
        session: Option<Arc<Session>>,
        requester: Requester,
        deadline: Instant,
    ) -> Result<CommandOutcome, StoreError> {
        // The place is taken before the command is stored: a command that finds no place leaves no record.
        let session = session.or_else(|| self.registry.session(&request.device_id));
        let admission = self.admit(&request, origin, session, requester.command_id());
        let (reservation, repeat_only) = match admission {
            QueueAdmission::Place(reservation) => (Some(reservation), false),
            QueueAdmission::NoPlace => (None, false),
            QueueAdmission::RepeatOnly => (None, true),
            QueueAdmission::TooMany => return Ok(CommandOutcome::TooMany),
            QueueAdmission::Offline => return Ok(CommandOutcome::Offline),
        };
        let id = reservation
            .as_ref()
            .map(SlotReservation::id)
            .or(requester.command_id());
        let id = id.unwrap_or_else(Uuid::now_v7);
        let kind = request.action.answer_kind();
        let order = self.order.add(&request.device_id, kind, id);
        let claim = reservation
            .as_ref()
            .filter(|reservation| reservation.is_granted() && order.is_first())
            .map(|reservation| reservation.session().key.epoch);
        let mut new = new_command(&request, origin, id, self.store.now());
        new.claim = claim;
        new.repeat_only = repeat_only;
        new.vehicle_since = requester.vehicle_since();
        if let Requester::Peer { expires_at, .. } = requester {
            new.expires_at = new.expires_at.min(expires_at);
        }
        let queue_until = new.queue_until;
        let mut delivery = Delivery {
            device_id: request.device_id.clone(),
            id: new.id,
            action: request.action,
            deadline,
            answer_timeout: None,
            stored_epoch: 0,
            order: Some(order),
            watch: self.store.watch(new.id),
        };
        let command = match self.store.submit(new).await? {
            Submitted::Stored(command, _) if command.state == CommandState::Queued => {
                log_end(&command);
                return Ok(CommandOutcome::Recorded { command });
            }
            Submitted::Stored(command, epoch) => {
                delivery.stored_epoch = epoch;
                command
            }
            Submitted::Repeated(command) => {
                // Frees the place for other commands, the repeated one among them.
                drop((reservation, delivery));
                return self.await_repeated(command).await;
            }
            Submitted::KeyReused => return Ok(CommandOutcome::KeyReused),
            Submitted::NoRoom => return Ok(CommandOutcome::TooMany),
            // The requester does not wait any more.
            Submitted::TooLate => return Ok(CommandOutcome::Moved),
            Submitted::UnknownVehicle => return Ok(CommandOutcome::UnknownVehicle),
            Submitted::Offline => return Ok(CommandOutcome::Offline),
            Submitted::Desired(interval) => return Ok(CommandOutcome::Desired { interval }),
        };
        // A desired interval is sent at the next login without being queued.
        let is_interval = matches!(request.action, Action::KeepMePosted(_));
        let plan = DeliveryPlan {
            request,
            queue_until: queue_until.filter(|_| !is_interval),
            scope: match (requester, origin) {
                (Requester::Peer { .. }, _) => DeliveryScope::ForPeer,
                (_, CommandOrigin::Broadcast) => DeliveryScope::ThisInstance,
                _ => DeliveryScope::Anywhere,
            },
        };
        let outcome = self.deliver(delivery, command, reservation, &plan).await?;
        if let CommandOutcome::Recorded { command } = &outcome {
            log_end(command);
        }
        Ok(outcome)
    }

    /// Waits for the end of a command that an earlier request with the same idempotency key delivers.
    async fn await_repeated(&self, command: Command) -> Result<CommandOutcome, StoreError> {
        let mut watch = self.store.watch(command.id);
        loop {
            let stored = self.store.command(&command.device_id, command.id).await?;
            let Some(command) = stored else {
                // The command was purged with its vehicle, so its end will not be notified.
                return Ok(CommandOutcome::UnknownVehicle);
            };
            if !matches!(command.state, CommandState::Created | CommandState::Sent) {
                return Ok(CommandOutcome::Recorded { command });
            }
            if let Some(command) = self.store.notified(&mut watch, None).await {
                return Ok(CommandOutcome::Recorded { command });
            }
        }
    }
}

/// The outcome that a caller gets: an error of the store becomes an outcome, too.
pub(super) fn outcome(result: Result<CommandOutcome, StoreError>) -> CommandOutcome {
    match result {
        Ok(outcome) => outcome,
        Err(StoreError::Unavailable | StoreError::Fenced | StoreError::Closed) => {
            CommandOutcome::StoreUnavailable
        }
        Err(error) => {
            failure_log::failed_in_store(&error);
            CommandOutcome::StoreFailed
        }
    }
}

/// Logs the end of a command. Commands by which an operator changes one vehicle are logged at info; questions,
/// broadcasts and what the gateway sends by itself at debug.
pub(super) fn log_end(command: &Command) {
    let Command {
        id,
        device_id,
        action,
        state,
        ..
    } = command;
    let (said, state) = (action.to_string(), display(state.as_str()));
    let is_operators = matches!(command.origin, CommandOrigin::Api | CommandOrigin::Channel);
    if is_operators && *action != Action::AskState {
        tracing::info!(%device_id, %id, said, state, "command");
    } else {
        tracing::debug!(%device_id, %id, said, state, "command");
    }
}

fn new_command(
    request: &CommandRequest,
    origin: CommandOrigin,
    id: Uuid,
    at: Timestamp,
) -> NewCommand {
    NewCommand {
        id,
        device_id: request.device_id.clone(),
        action: request.action,
        origin,
        at,
        expires_at: at.after(request.timeout),
        claim: None,
        queue_until: request.queue.map(|ttl| at.after(ttl)),
        key: request.key.as_ref().map(|key| IdempotencyKey {
            key: key.clone(),
            request: format!(
                "{} within {} s, queue {}",
                request.action,
                request.timeout.as_secs(),
                request.queue.map_or(0, |ttl| ttl.as_secs())
            ),
        }),
        repeat_only: false,
        vehicle_since: None,
    }
}
