//! Commands: what operators ask of vehicles, and what becomes of it.
//!
//! A command gets in line with the session that holds its vehicle, is claimed in the store when its turn
//! has come, and only then goes to the socket: so it is written at most once, and a crash between the two
//! leaves it unwritten. Usually the turn is there at once, and the command is stored and claimed by one
//! commit. Its end is another: the vehicle's answer, the end of the session, or the end of its time.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use uuid::Uuid;

use super::{COMMIT_SLACK, Service, ServiceError};
use crate::{
    domain::{
        Action, Answer, Command, CommandOrigin, CommandState, DeviceId, ReportInterval, Timestamp,
    },
    registry::{GaveUp, Refused, Session, Turn},
    store::{
        Claimed, CommandPage, Ending, IdempotencyKey, NewCommand, SessionWrite, StoreError,
        Submitted, Ticket, Watch, Written,
    },
};

/// How long a late answer is waited for before the next command of its kind may be written.
const HOLD: Duration = Duration::from_secs(30);
/// How often a command whose vehicle is between two sessions looks for the new one.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

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
    /// As many commands wait for the vehicle as may.
    #[error("too many commands wait for the vehicle")]
    TooMany,
    /// The idempotency key stands for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is to be sent because a vehicle logged in.
#[derive(Debug)]
pub struct DueAtLogin {
    /// The report interval that an operator wants.
    pub desired: Option<ReportInterval>,
    /// Commands that waited for the login, oldest first.
    pub queued: Vec<(Uuid, Action)>,
}

/// A command on its way to its vehicle.
struct Journey {
    device_id: DeviceId,
    id: Uuid,
    action: Action,
    /// It is not written after this instant.
    deadline: Instant,
    /// How long its answer is waited for once it is handed over, if not to `deadline`.
    patience: Option<Duration>,
    /// The vehicle's newest session when the command was stored. A login after that has sent the interval
    /// that is desired.
    epoch: i64,
    watch: Watch,
}

/// How far an attempt to get a command to a session came.
enum Attempt {
    /// It is over, or the session has it: wait for its end.
    Ended(Command),
    /// The session is over, or was not the right one.
    Moved,
}

impl Service {
    /// Sends a command and waits for what becomes of it. A caller that hangs up does not stop it.
    pub async fn command(
        self: &Arc<Self>,
        request: CommandRequest,
    ) -> Result<Outcome, CommandError> {
        let service = Arc::clone(self);
        let under_way =
            tokio::spawn(async move { service.run(request, CommandOrigin::Api, None).await });
        under_way
            .await
            .unwrap_or(Err(CommandError::Store(StoreError::Closed)))
    }

    /// Commands of a vehicle, newest first.
    pub async fn commands(
        &self,
        device_id: &DeviceId,
        page: CommandPage,
    ) -> Result<Vec<Command>, ServiceError> {
        self.store
            .commands(device_id, page)
            .await?
            .ok_or(ServiceError::UnknownVehicle)
    }

    /// One command.
    pub async fn command_record(
        &self,
        device_id: &DeviceId,
        id: Uuid,
    ) -> Result<Command, ServiceError> {
        self.store
            .command(device_id, id)
            .await?
            .ok_or(ServiceError::UnknownCommand)
    }

    /// Stores an answer with the command of this session that it answers; `None` if nothing was asked.
    pub fn answer(&self, session: &Session, answer: Answer) -> Option<Ticket<Written>> {
        let credit = session.answered(answer.kind())?;
        let write = SessionWrite::Answer {
            id: credit.id,
            late: credit.late,
            answer,
        };
        Some(self.write(session, write))
    }

    /// What a request amounts to. With `session`, it is for that session alone.
    pub(super) async fn run(
        self: Arc<Self>,
        request: CommandRequest,
        origin: CommandOrigin,
        session: Option<Arc<Session>>,
    ) -> Result<Outcome, CommandError> {
        let deadline = Instant::now() + request.timeout;
        let kind = request.action.answer_kind();
        // In line first: what cannot wait leaves no record.
        let session = session.or_else(|| self.registry.session(&request.device_id));
        let turn = match session.map(|session| session.enter(kind, self.commands.queue)) {
            Some(Err(Refused::Full)) => return Err(CommandError::TooMany),
            Some(Err(Refused::Closed)) | None => None,
            Some(Ok(turn)) => Some(turn),
        };
        let new = new_command(&request, origin, turn.as_ref());
        let mut journey = Journey {
            device_id: request.device_id,
            id: new.id,
            action: request.action,
            deadline,
            patience: None,
            epoch: 0,
            watch: self.store.watch(new.id),
        };
        let command = match self.submit(new).await? {
            Submitted::Stored(command, _) if command.state == CommandState::Queued => {
                return Ok(Outcome::Command(command));
            }
            Submitted::Stored(command, epoch) => {
                journey.epoch = epoch;
                command
            }
            Submitted::Repeated(command) => return self.repeated(command).await,
            Submitted::KeyReused => return Err(CommandError::KeyReused),
            Submitted::UnknownVehicle => return Err(CommandError::UnknownVehicle),
            Submitted::Offline => return Err(CommandError::Offline),
            Submitted::Desired(interval) => return Ok(Outcome::Desired(interval)),
        };
        // An interval that is desired waits for the next login without being queued.
        let is_interval = matches!(request.action, Action::KeepMePosted(_));
        let queue = request.queue.filter(|_| !is_interval);
        self.travel(journey, command, turn, queue)
            .await
            .map(Outcome::Command)
    }

    /// Stores a command. If the database hangs, nobody knows whether it is stored; should it turn out to
    /// be, it is ended: what a caller was told not to be stored is never written.
    async fn submit(self: &Arc<Self>, new: NewCommand) -> Result<Submitted, StoreError> {
        let mut ticket = self.store.submit(new);
        let patience = self.commit_timeout + COMMIT_SLACK;
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
        let watch = self.store.watch(command.id);
        let now = self.store.command(&command.device_id, command.id).await?;
        let command = match now.unwrap_or(command) {
            open if matches!(open.state, CommandState::Created | CommandState::Sent) => watch.await,
            ended => ended,
        };
        Ok(Outcome::Command(command))
    }

    /// Brings a stored command to its end, or to where it waits for the next login.
    async fn travel(
        self: &Arc<Self>,
        mut journey: Journey,
        mut command: Command,
        mut turn: Option<Turn>,
        queue: Option<Duration>,
    ) -> Result<Command, CommandError> {
        loop {
            if let Some(turn) = turn.take() {
                match self.attempt(&mut journey, &mut command, turn).await? {
                    Attempt::Ended(command) => return Ok(command),
                    Attempt::Moved => {}
                }
            }
            let vehicle = self.store.vehicle(&journey.device_id).await?;
            if !vehicle.is_some_and(|vehicle| vehicle.online) {
                let until = |ttl| Ending::Queue(command.created_at.after(ttl));
                let ending = queue.map_or(Ending::Cancel, until);
                let over = self.over(&journey, ending).await?;
                if over.state != CommandState::Created {
                    return Ok(over);
                }
                // It is back.
            }
            if Instant::now() >= journey.deadline {
                return self.over(&journey, Ending::Expire).await;
            }
            let session = self.registry.session(&journey.device_id);
            let is_interval = matches!(journey.action, Action::KeepMePosted(_));
            if is_interval
                && session
                    .as_ref()
                    .is_some_and(|s| s.key.epoch > journey.epoch)
            {
                return self.over(&journey, Ending::Supersede).await;
            }
            turn = session.and_then(|session| {
                let kind = journey.action.answer_kind();
                let again = session.enter_again(kind, self.commands.queue, journey.id);
                again.ok()
            });
            if turn.is_none() {
                sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// Waits for the turn, claims, hands over to the connection and waits for the end.
    async fn attempt(
        self: &Arc<Self>,
        journey: &mut Journey,
        command: &mut Command,
        mut turn: Turn,
    ) -> Result<Attempt, CommandError> {
        match timeout_at(journey.deadline, turn.come()).await {
            Err(_elapsed) => {
                return self.over(journey, Ending::Expire).await.map(Attempt::Ended);
            }
            Ok(Err(_closed)) => return Ok(Attempt::Moved),
            Ok(Ok(())) => {}
        }
        let session = Arc::clone(turn.session());
        if command.state != CommandState::Sent {
            match self.claim(journey, &session).await? {
                Claimed::Claimed(claimed) => *command = claimed,
                Claimed::Moved => {
                    drop(turn);
                    // Its end, or the login of its successor, is on its way.
                    sleep(LOOK_AGAIN).await;
                    return Ok(Attempt::Moved);
                }
                Claimed::Ended(ended) => return Ok(Attempt::Ended(ended)),
                Claimed::Gone => {
                    // Purged or never there: nothing is left to be told of it.
                    command.state = CommandState::Cancelled;
                    return Ok(Attempt::Ended(command.clone()));
                }
            }
        }
        let patience = journey.patience.map(|patience| Instant::now() + patience);
        let until = patience.unwrap_or(journey.deadline);
        turn.dispatch(command.action, until.min(journey.deadline));
        self.end_of(journey, &session, until)
            .await
            .map(Attempt::Ended)
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
            .claim(journey.id, session.key.clone(), Timestamp::now());
        let patience = self.commit_timeout + COMMIT_SLACK;
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
    async fn disown(&self, device_id: &DeviceId, id: Uuid) {
        if let Err(error) = self.end(device_id, id, Ending::Unwritten).await {
            tracing::warn!(%device_id, %id, %error, "a command that is not written stays open until its session ends");
        }
    }

    /// Waits for the end of a command that the connection has.
    async fn end_of(
        self: &Arc<Self>,
        journey: &mut Journey,
        session: &Arc<Session>,
        until: Instant,
    ) -> Result<Command, CommandError> {
        tokio::select! {
            biased;
            ended = &mut journey.watch => return Ok(ended),
            () = sleep_until(until) => {}
        }
        match session.give_up(journey.id) {
            GaveUp::Unwritten => self.over(journey, Ending::Unwritten).await,
            GaveUp::Written => {
                let (session, id) = (Arc::clone(session), journey.id);
                tokio::spawn(async move {
                    sleep(HOLD).await;
                    session.release(id);
                });
                self.over(journey, Ending::NoAnswer).await
            }
            // Its answer, or the end of its session, is on its way to the store.
            GaveUp::Settled => {
                let patience = self.commit_timeout + COMMIT_SLACK;
                tokio::time::timeout(patience, &mut journey.watch)
                    .await
                    .map_err(|_elapsed| CommandError::Store(StoreError::Unavailable))
            }
        }
    }

    /// Ends a command, unless somebody else was first, and returns it as it is then.
    async fn over(&self, journey: &Journey, ending: Ending) -> Result<Command, CommandError> {
        let ended = self.end(&journey.device_id, journey.id, ending).await?;
        // Purged under our hands: its vehicle is deleted.
        ended.ok_or(CommandError::UnknownVehicle)
    }

    async fn end(
        &self,
        device_id: &DeviceId,
        id: Uuid,
        ending: Ending,
    ) -> Result<Option<Command>, StoreError> {
        let ticket = self
            .store
            .finish(device_id.clone(), id, ending, Timestamp::now());
        self.settled(ticket).await
    }

    /// Sends what waited for the login of this session: the desired interval, and queued commands.
    pub fn deliver(self: &Arc<Self>, session: &Arc<Session>, due: DueAtLogin) {
        let DueAtLogin { desired, queued } = due;
        if let Some(interval) = desired {
            let request = CommandRequest {
                device_id: session.key.device_id.clone(),
                action: Action::KeepMePosted(interval),
                timeout: self.commands.timeout,
                queue: None,
                key: None,
            };
            let (service, session) = (Arc::clone(self), Arc::clone(session));
            tokio::spawn(async move {
                let run = service.run(request, CommandOrigin::Login, Some(session));
                if let Err(CommandError::Store(error)) = run.await {
                    tracing::warn!(%error, "a desired report interval is not sent; it will be at the next login");
                }
            });
        }
        for (id, action) in queued {
            // In line now, in the order in which they were asked for.
            let kind = action.answer_kind();
            let Ok(turn) = session.enter_again(kind, self.commands.queue, id) else {
                return;
            };
            let (service, session) = (Arc::clone(self), Arc::clone(session));
            tokio::spawn(async move {
                if let Err(error) = service.deliver_queued(turn, &session, id, action).await {
                    tracing::warn!(device_id = %session.key.device_id, %id, %error, "a queued command could not be sent");
                }
            });
        }
    }

    /// One attempt: what does not come to be claimed stays queued for the next login.
    async fn deliver_queued(
        self: &Arc<Self>,
        turn: Turn,
        session: &Arc<Session>,
        id: Uuid,
        action: Action,
    ) -> Result<(), CommandError> {
        let device_id = session.key.device_id.clone();
        let Some(mut command) = self.store.command(&device_id, id).await? else {
            return Ok(());
        };
        let left = command.expires_at.since(Timestamp::now());
        let mut journey = Journey {
            device_id,
            id,
            action,
            deadline: Instant::now() + left,
            patience: Some(self.commands.timeout),
            epoch: session.key.epoch,
            watch: self.store.watch(id),
        };
        self.attempt(&mut journey, &mut command, turn)
            .await
            .map(drop)
    }
}

fn new_command(request: &CommandRequest, origin: CommandOrigin, turn: Option<&Turn>) -> NewCommand {
    let at = Timestamp::now();
    NewCommand {
        id: turn.map_or_else(Uuid::now_v7, Turn::id),
        device_id: request.device_id.clone(),
        action: request.action,
        origin,
        at,
        expires_at: at.after(request.timeout),
        claim: turn
            .filter(|turn| turn.has_come())
            .map(|turn| turn.session().key.epoch),
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
    }
}
