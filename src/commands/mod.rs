//! Commands: what operators ask of vehicles, and what becomes of it.
//!
//! A command gets in line with the session that holds its vehicle, is claimed in the store when its turn
//! has come, and only then goes to the socket: so it is written at most once, and a crash between the two
//! leaves it unwritten. Usually the turn is there at once, and the command is stored and claimed by one
//! commit. Its end is another: the vehicle's answer, the end of the session, or the end of its time.

mod at_login;
mod broadcast;
mod elsewhere;
mod journey;
mod order;

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::Instant};
use tracing::field::display;
use uuid::Uuid;

use crate::{
    cluster::Peers,
    domain::{
        Action, Answer, Command, CommandOrigin, CommandState, DeviceId, DisconnectReason,
        ReportInterval, Timestamp,
    },
    fanout::Fanout,
    instance::Instance,
    sessions::{OfflineGrace, Registry, Session, SlotError, SlotReservation},
    store::{
        IdempotencyKey, NewCommand, PendingWrite, SessionWrite, Store, StoreError, Submitted,
        Written,
    },
};
use journey::{Journey, Route};
use order::Unsent;

pub use broadcast::{Broadcast, BroadcastError};

/// Requests under way at one time, also of callers that hung up. Their memory is a few MiB.
const MOST_UNDER_WAY: usize = 4_096;

/// How commands are treated.
#[derive(Debug, Clone, Copy)]
pub struct CommandOptions {
    /// Commands that may wait for one vehicle, beside those that it was asked.
    pub queue: usize,
    /// How long the answer to a command that nobody waits for is waited for: one that was sent because
    /// the vehicle logged in.
    pub timeout: Duration,
}

/// A command that an operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRequest {
    /// Of which vehicle.
    pub device_id: DeviceId,
    /// What is asked.
    pub action: Action,
    /// How long to wait for the answer. The command is written within this time or never.
    pub timeout: Duration,
    /// If the vehicle is offline, or goes offline first: keep it for the next login, so long at most.
    pub queue: Option<Duration>,
    /// The caller's name for the request, 1 to 128 bytes: repeating it does nothing.
    pub key: Option<String>,
}

/// What became of a [`CommandRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The command in its final state, or `queued`.
    Command(Command),
    /// The vehicle is offline; the interval is kept and sent at its next login.
    Desired(ReportInterval),
}

/// Why a [`CommandRequest`] came to nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommandError {
    /// The vehicle was never heard of, or is deleted.
    #[error("there is no vehicle with this id")]
    UnknownVehicle,
    /// The vehicle is offline.
    #[error("the vehicle is offline")]
    Offline,
    /// As many commands wait for the vehicle, or are under way at all, as may.
    #[error("too many commands wait for the vehicle")]
    TooMany,
    /// The idempotency key stands for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// Another instance holds the vehicle, and it cannot be reached: there is no Redis, or it is away.
    #[error("instances cannot reach each other")]
    FanOutUnavailable,
    /// Another instance holds the vehicle, and it does not answer.
    #[error("the instance that holds the vehicle does not answer")]
    OwnerUnreachable,
    /// The vehicle is not at the instance that was asked; whoever asked looks again.
    #[error("the vehicle is elsewhere")]
    Moved,
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who wants a command done.
#[derive(Debug, Clone, Copy)]
enum Asker {
    /// Somebody here.
    Here,
    /// Somebody here, after another instance was asked: the command may be stored already.
    HereAgain { id: Uuid, asked_at: Timestamp },
    /// Another instance.
    Other {
        id: Uuid,
        /// From when on nobody waits for it any more.
        expires_at: Timestamp,
    },
}

impl Asker {
    fn id(self) -> Option<Uuid> {
        match self {
            Self::Here => None,
            Self::HereAgain { id, .. } | Self::Other { id, .. } => Some(id),
        }
    }

    /// Since when the command may be stored already; `timeout` is how long whoever asked first waits in all.
    fn since(self, timeout: Duration) -> Option<Timestamp> {
        match self {
            Self::Here => None,
            Self::HereAgain { asked_at, .. } => Some(asked_at),
            Self::Other { expires_at, .. } => Some(expires_at.before(timeout)),
        }
    }

    fn is_other(self) -> bool {
        matches!(self, Self::Other { .. })
    }
}

/// Commands to the vehicles of this instance, and of others through them.
#[derive(Debug)]
pub struct Commands {
    store: Arc<Store>,
    registry: Arc<Registry>,
    fanout: Arc<Fanout>,
    instance: Arc<Instance>,
    peers: Arc<Peers>,
    offline_grace: OfflineGrace,
    options: CommandOptions,
    unsent: Arc<Unsent>,
    /// Room for requests whose vehicles have yet to answer.
    under_way: Arc<Semaphore>,
    /// One broadcast at a time.
    broadcasts: Arc<Semaphore>,
}

/// The parts of the gateway that [`Commands`] works on.
#[derive(Debug)]
pub struct CommandParts {
    /// Where commands are stored.
    pub store: Arc<Store>,
    /// The connections and sessions of this instance.
    pub registry: Arc<Registry>,
    /// Messages between instances.
    pub fanout: Arc<Fanout>,
    /// This instance.
    pub instance: Arc<Instance>,
    /// The other instances.
    pub peers: Arc<Peers>,
    /// Which vehicles are expected back.
    pub offline_grace: OfflineGrace,
}

impl Commands {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: CommandParts, options: CommandOptions) -> Self {
        let CommandParts {
            store,
            registry,
            fanout,
            instance,
            peers,
            offline_grace,
        } = parts;
        Self {
            store,
            registry,
            fanout,
            instance,
            peers,
            offline_grace,
            options,
            unsent: Arc::default(),
            under_way: Arc::new(Semaphore::new(MOST_UNDER_WAY)),
            broadcasts: Arc::new(Semaphore::new(1)),
        }
    }

    fn incarnation(&self) -> Uuid {
        self.instance.incarnation().as_uuid()
    }

    /// Sends a command and waits for what becomes of it. A caller that hangs up does not stop it.
    pub async fn command(
        self: &Arc<Self>,
        request: CommandRequest,
    ) -> Result<Outcome, CommandError> {
        let Ok(permit) = Arc::clone(&self.under_way).try_acquire_owned() else {
            return Err(CommandError::TooMany);
        };
        let service = Arc::clone(self);
        let under_way = tokio::spawn(async move {
            let _until_it_ends = permit;
            service.run(request, CommandOrigin::Api, None).await
        });
        under_way
            .await
            .unwrap_or(Err(CommandError::Store(StoreError::Closed)))
    }

    /// Stores an answer with the command of this session that it answers; `None` if nothing was asked.
    pub fn answer(&self, session: &Session, answer: Answer) -> Option<PendingWrite<Written>> {
        let credit = session.match_answer(answer.kind())?;
        let write = SessionWrite::Answer {
            id: credit.id,
            late: credit.late,
            answer,
        };
        Some(
            self.store
                .write(session.key.clone(), self.store.now(), write),
        )
    }

    /// Says what was published to all instances, to a vehicle that is here.
    pub(crate) async fn command_by_channel(self: Arc<Self>, session: Arc<Session>, action: Action) {
        let device_id = session.key.device_id.clone();
        let Ok(_permit) = Arc::clone(&self.under_way).try_acquire_owned() else {
            tracing::warn!(%device_id, %action, "too many commands are under way for one that was published");
            return;
        };
        // All instances have heard it; who holds the vehicle is for the store to say.
        match self.owner_elsewhere(&device_id).await {
            Ok(None) => {}
            Ok(Some(_)) => return,
            Err(error) => {
                tracing::warn!(%device_id, %action, %error, "a command that was published is not sent");
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
        let run = self.run(request, CommandOrigin::Channel, Some(session));
        if let Err(error) = run.await {
            tracing::warn!(%device_id, %action, %error, "a command that was published is not sent");
        }
    }

    /// What a request amounts to. With `session` that one is tried first.
    async fn run(
        self: Arc<Self>,
        request: CommandRequest,
        origin: CommandOrigin,
        session: Option<Arc<Session>>,
    ) -> Result<Outcome, CommandError> {
        let deadline = Instant::now() + request.timeout;
        let asked_at = self.store.now();
        let session = session.or_else(|| self.registry.session(&request.device_id));
        let mut asker = Asker::Here;
        if session.is_none() && self.store.is_shared() {
            let mut id = None;
            let elsewhere = self.run_elsewhere(&request, &mut id, deadline).await?;
            if let Some(outcome) = elsewhere {
                return Ok(outcome);
            }
            asker = id.map_or(asker, |id| Asker::HereAgain { id, asked_at });
        }
        self.run_here(request, origin, session, asker, deadline)
            .await
    }

    /// The same by this instance, whether or not it holds the vehicle.
    async fn run_here(
        self: Arc<Self>,
        request: CommandRequest,
        origin: CommandOrigin,
        session: Option<Arc<Session>>,
        asker: Asker,
        deadline: Instant,
    ) -> Result<Outcome, CommandError> {
        let kind = request.action.answer_kind();
        // In line first: what cannot wait leaves no record.
        let session = session.or_else(|| self.registry.session(&request.device_id));
        let entered = session.as_ref().map(|session| match asker.id() {
            None => session.reserve_slot(kind, self.options.queue),
            Some(id) => session.reserve_slot_for(kind, self.options.queue, id),
        });
        let is_parting = session.is_some_and(|session| self.is_newest(&session));
        let repeat_only = matches!(entered, Some(Err(SlotError::QueueFull)));
        let turn = match entered {
            // What was asked before needs no place.
            Some(Err(SlotError::QueueFull)) if request.key.is_some() => None,
            Some(Err(SlotError::QueueFull)) => return Err(CommandError::TooMany),
            // It is saying goodbye: what need not wait for the next login does not wait for the end.
            // But one that is sent elsewhere is back within moments.
            Some(Err(SlotError::SessionClosed))
                if is_parting && !keeps(&request) && !self.is_sent_elsewhere(origin) =>
            {
                return Err(CommandError::Offline);
            }
            // Asked for twice: the store knows which of them is the repetition.
            Some(Err(SlotError::SessionClosed | SlotError::Duplicate)) | None => None,
            Some(Ok(turn)) => Some(turn),
        };
        let id = turn.as_ref().map(SlotReservation::id).or(asker.id());
        let id = id.unwrap_or_else(Uuid::now_v7);
        let place = self.unsent.place(&request.device_id, kind, id);
        let now = turn
            .as_ref()
            .filter(|turn| turn.is_granted() && place.is_first());
        let mut new = new_command(&request, origin, id, self.store.now(), now);
        new.repeat_only = repeat_only;
        new.may_exist_since = asker.since(request.timeout);
        if let Asker::Other { expires_at, .. } = asker {
            new.expires_at = new.expires_at.min(expires_at);
        }
        let queue_until = new.queue_until;
        let mut journey = Journey {
            device_id: request.device_id.clone(),
            id: new.id,
            action: request.action,
            deadline,
            patience: None,
            epoch: 0,
            place: Some(place),
            watch: self.store.watch_command(new.id),
        };
        let command = match self.submit(new).await? {
            Submitted::Stored(command, _) if command.state == CommandState::Queued => {
                log(&command);
                return Ok(Outcome::Command(command));
            }
            Submitted::Stored(command, epoch) => {
                journey.epoch = epoch;
                command
            }
            Submitted::Repeated(command) => {
                // Its place in the line is for others, the first one among them.
                drop((turn, journey));
                return self.repeated(command).await;
            }
            Submitted::KeyReused => return Err(CommandError::KeyReused),
            Submitted::NoRoom => return Err(CommandError::TooMany),
            // Nobody waits for it any more.
            Submitted::TooLate => return Err(CommandError::Moved),
            Submitted::UnknownVehicle => return Err(CommandError::UnknownVehicle),
            Submitted::Offline => return Err(CommandError::Offline),
            Submitted::Desired(interval) => return Ok(Outcome::Desired(interval)),
        };
        // An interval that is desired waits for the next login without being queued.
        let is_interval = matches!(request.action, Action::KeepMePosted(_));
        let queue_until = queue_until.filter(|_| !is_interval);
        let route = Route {
            request,
            queue_until,
            is_for_other: asker.is_other(),
            is_broadcast: origin == CommandOrigin::Broadcast,
        };
        let ended = self.travel(journey, command, turn, &route).await?;
        log(&ended);
        Ok(Outcome::Command(ended))
    }

    /// Whether vehicles that part now are expected at other instances. A broadcast reaches them there by itself.
    fn is_sent_elsewhere(&self, origin: CommandOrigin) -> bool {
        self.instance.is_draining()
            && origin != CommandOrigin::Broadcast
            && self
                .offline_grace
                .after(DisconnectReason::Shutdown)
                .is_some()
            && !self.peers.list().is_empty()
    }

    /// Whether the vehicle has no newer session here.
    fn is_newest(&self, session: &Session) -> bool {
        let current = self.registry.session(&session.key.device_id);
        current.is_none_or(|current| current.key == session.key)
    }

    /// Stores a command. If the database hangs, nobody knows whether it is stored; should it turn out to
    /// be, it is ended: what a caller was told not to be stored is never written.
    async fn submit(self: &Arc<Self>, new: NewCommand) -> Result<Submitted, StoreError> {
        let mut ticket = self.store.submit(new);
        let patience = self.store.commit_wait();
        if let Ok(submitted) = tokio::time::timeout(patience, &mut ticket).await {
            return submitted;
        }
        let service = Arc::clone(self);
        tokio::spawn(async move {
            if let Ok(Submitted::Stored(command, _)) = ticket.await {
                service.disown(&command.device_id, command.id).await;
            }
        });
        Err(StoreError::Unavailable)
    }

    /// Waits for the end of a command that somebody else is about.
    async fn repeated(&self, command: Command) -> Result<Outcome, CommandError> {
        let mut watch = self.store.watch_command(command.id);
        loop {
            let now = self.store.command(&command.device_id, command.id).await?;
            // Deleted meanwhile, with its vehicle: nobody would tell of its end any more.
            let now = now.ok_or(CommandError::UnknownVehicle)?;
            if !matches!(now.state, CommandState::Created | CommandState::Sent) {
                return Ok(Outcome::Command(now));
            }
            if let Some(ended) = self.heard(&mut watch, None).await {
                return Ok(Outcome::Command(ended));
            }
        }
    }
}

/// Whether a request is of use to a vehicle that is offline.
fn keeps(request: &CommandRequest) -> bool {
    request.queue.is_some() || matches!(request.action, Action::KeepMePosted(_))
}

/// What an operator made one vehicle do is worth a line; what is only asked, what the gateway asks by
/// itself, or of all of them, is not.
fn log(command: &Command) {
    let Command {
        id,
        device_id,
        action,
        state,
        ..
    } = command;
    let (said, state) = (action.to_string(), display(state.as_str()));
    let asked = matches!(command.origin, CommandOrigin::Api | CommandOrigin::Channel);
    if asked && *action != Action::AskState {
        tracing::info!(%device_id, %id, said, state, "command");
    } else {
        tracing::debug!(%device_id, %id, said, state, "command");
    }
}

/// With `now`, the command is sent as soon as it is stored.
fn new_command(
    request: &CommandRequest,
    origin: CommandOrigin,
    id: Uuid,
    at: Timestamp,
    now: Option<&SlotReservation>,
) -> NewCommand {
    NewCommand {
        id,
        device_id: request.device_id.clone(),
        action: request.action,
        origin,
        at,
        expires_at: at.after(request.timeout),
        claim: now.map(|turn| turn.session().key.epoch),
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
        may_exist_since: None,
    }
}
